//! Fulfils orders that arrive by direct invocation or by SQS.

use datadog_lambda_rs as datadog;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::KeyValue;
use opentelemetry::global;
use opentelemetry::trace::{TraceContextExt, Tracer};
use serde::Deserialize;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog::init();
    datadog::run(service_fn(handler)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Order {
    #[serde(alias = "order")]
    id: u64,
    /// Asks for an error, to see what becomes of one.
    fail: bool,
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let orders = orders(&event.payload)?;
    for order in &orders {
        fulfil(order).await?;
    }
    Ok(json!({"fulfilled": orders.len()}))
}

/// The orders of an event: one for each message of an SQS event, else the event itself.
fn orders(event: &Value) -> Result<Vec<Order>, Error> {
    match event.get("Records").and_then(Value::as_array) {
        Some(records) => {
            let bodies = records.iter().filter_map(|record| record.get("body")?.as_str());
            Ok(bodies.map(serde_json::from_str).collect::<Result<_, _>>()?)
        }
        None => Ok(vec![Order::deserialize(event)?]),
    }
}

/// A span by `tracing`, with one by the OpenTelemetry API in it.
#[tracing::instrument(skip_all, err, fields(order.id = order.id))]
async fn fulfil(order: &Order) -> Result<(), Error> {
    if order.fail {
        return Err("the order was told to fail".into());
    }
    global::tracer("orders-worker").in_span("pack_order", |cx| {
        cx.span().set_attribute(KeyValue::new("parcels", 1));
    });
    tokio::task::yield_now().await;
    tracing::info!(order = order.id, "order fulfilled");
    Ok(())
}
