//! Work that outlives its invocation: here orders are stored two at a time, so that the first waits for the second.
//! Its span is sent when it has ended, with a later invocation, and is part of its own trace.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"order": 17}' > event.json
//! cargo run --package cli -- dev --function background=target/debug/background --event event.json
//! ```

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::Span;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    let (store, orders) = channel(100);
    tokio::spawn(store_pairs(orders));
    datadog_lambda_rs::run(service_fn(|event| handler(&store, event))).await
}

async fn handler(store: &Sender<(Value, Span)>, event: LambdaEvent<Value>) -> Result<(), Error> {
    store.send((event.payload, tracing::info_span!("store"))).await?;
    Ok(())
}

async fn store_pairs(mut orders: Receiver<(Value, Span)>) {
    let mut pair = Vec::new();
    while orders.recv_many(&mut pair, 1).await > 0 {
        if pair.len() == 2 {
            for (order, span) in pair.drain(..) {
                span.in_scope(|| tracing::info!(%order, "stored"));
            }
        }
    }
}
