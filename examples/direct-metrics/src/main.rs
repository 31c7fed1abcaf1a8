//! Counts orders by their channel. There is no extension beside it: with `DD_API_KEY`, or a variable that says where
//! the key is, the counts go straight to Datadog once an invocation is over. Traces become log lines.

use datadog_lambda_rs::metric;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let channel = event.payload.get("channel").and_then(Value::as_str).unwrap_or("web");
    metric("orders.received", 1.0).tag("channel", channel).send();
    Ok(json!({"statusCode": 200}))
}
