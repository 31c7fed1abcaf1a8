//! Fulfils the orders of a topic: the Rust half of this pair. `app.py` is the other.

use datadog_lambda_rs as datadog;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog::init();
    datadog::run(service_fn(handler)).await
}

/// SNS sends one record at a time. Its span continues the trace of who published it.
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let records = event.payload.get("Records").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for record in records {
        datadog::trace_record("fulfil_order", record, fulfil(record)).await?;
    }
    Ok(json!({"fulfilled": records.len()}))
}

async fn fulfil(record: &Value) -> Result<(), Error> {
    let message = record.pointer("/Sns/Message").and_then(Value::as_str).unwrap_or_default();
    let order: Value = serde_json::from_str(message)?;
    tracing::info!(%order, "order fulfilled");
    Ok(())
}
