//! Fulfils the orders of an event bus: the Rust half of this pair. `app.py` is the other.

use datadog_lambda_rs as datadog;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog::init();
    datadog::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order = event.payload.get("detail").ok_or("this is no event of EventBridge")?;
    fulfil_order(order).await?;
    Ok(json!({"fulfilled": 1}))
}

/// A span of `tracing` is a span of the invocation's trace, which is that of whoever put the event.
#[tracing::instrument(skip_all, err)]
async fn fulfil_order(order: &Value) -> Result<(), Error> {
    let id = order.get("id").ok_or("the order has no id")?;
    tracing::info!(%id, "order fulfilled");
    Ok(())
}
