//! A response that is streamed: the span `aws.lambda` lasts until its end, the time to its first byte is a metric,
//! and what the task that writes it does is part of the trace.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"parts": 3}' > event.json
//! cargo run --package cli -- dev --function streaming=target/debug/streaming --event event.json --exit
//! ```

use lambda_runtime::streaming::{Body, Response, Sender, channel};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::trace::FutureExt;
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let parts = event.payload.get("parts").and_then(Value::as_u64).unwrap_or(1);
    let (sender, body) = channel();
    // A task has no context but the one that it is given.
    tokio::spawn(write(sender, parts).with_current_context());
    Ok(Response::from(body))
}

async fn write(mut sender: Sender, parts: u64) {
    for n in 1..=parts {
        let part = tracing::info_span!("render", part = n).in_scope(|| format!("part {n}\n"));
        if sender.send_data(part.into()).await.is_err() {
            tracing::warn!("the caller has gone");
            return;
        }
    }
}
