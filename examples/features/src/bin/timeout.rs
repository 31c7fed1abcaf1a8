//! A handler that takes too long: shortly before Lambda kills it, its span and what is open in it are sent as an
//! error. It makes no difference whether the handler waits or keeps its thread busy.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"spin": true}' > event.json
//! cargo run --package cli -- dev --function timeout=target/debug/timeout --timeout 2 --event event.json --exit
//! ```

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<(), Error> {
    tracing::info_span!("quick").in_scope(|| {});
    slow(event.payload.get("spin") == Some(&true.into())).await;
    Ok(())
}

#[tracing::instrument]
async fn slow(spin: bool) {
    if spin {
        loop {
            std::thread::park();
        }
    }
    std::future::pending::<()>().await;
}
