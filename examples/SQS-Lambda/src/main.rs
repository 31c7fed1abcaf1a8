//! Fulfils the orders of a queue: the Rust half of this pair. `app.py` is the other.

use datadog_lambda_rs as datadog;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog::init();
    datadog::run(service_fn(handler)).await
}

/// A batch may hold orders of many senders: each is worked on in a span of its own, in the trace of who sent it.
/// What fails is told by its id, and comes again without the others.
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let mut failures = Vec::new();
    for record in event.payload.get("Records").and_then(Value::as_array).into_iter().flatten() {
        if datadog::trace_record("fulfil_order", record, fulfil(record)).await.is_err() {
            failures.push(json!({"itemIdentifier": record.get("messageId")}));
        }
    }
    Ok(json!({"batchItemFailures": failures}))
}

async fn fulfil(record: &Value) -> Result<(), Error> {
    let body = record.get("body").and_then(Value::as_str).unwrap_or_default();
    let order: Value = serde_json::from_str(body)?;
    tracing::info!(%order, "order fulfilled");
    Ok(())
}
