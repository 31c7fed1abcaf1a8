//! A batch of queue messages: each is worked on in the trace of the one who sent it, and those that fail are
//! given back to the queue alone.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! cargo run --package cli -- dev --function batch=target/debug/batch \
//!     --event crates/testkit/events/sqs-batch.json --exit
//! ```

use datadog_lambda_rs::trace_record;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let mut failures = Vec::new();
    for record in event.payload.get("Records").and_then(Value::as_array).into_iter().flatten() {
        if let Err(error) = trace_record("fulfil_order", record, fulfil(record)).await {
            tracing::warn!(%error, "to be tried again");
            failures.push(json!({"itemIdentifier": record.get("messageId")}));
        }
    }
    Ok(json!({"batchItemFailures": failures}))
}

async fn fulfil(record: &Value) -> Result<(), Error> {
    let body = record.get("body").and_then(Value::as_str).unwrap_or_default();
    let order: Value = serde_json::from_str(body)?;
    tracing::info_span!("pack").in_scope(|| tracing::info!(%order, "packed"));
    Ok(())
}
