//! The handler that the functions of this package share: children by `tracing` and by the OpenTelemetry API. What
//! differs between the functions is whose provider takes them.

use lambda_runtime::{Error, LambdaEvent};
use opentelemetry::global;
use opentelemetry::trace::Tracer;
use serde_json::{Value, json};

/// Makes three spans, one of them under another.
///
/// # Errors
/// None.
pub async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    price_order();
    global::tracer("interop").in_span("reserve_stock", |_| {});
    Ok(
        json!({"statusCode": 200, "context": datadog_lambda_rs::current_trace_context(), "n": event.payload.get("n")}),
    )
}

#[tracing::instrument]
fn price_order() {
    tracing::info_span!("look_up_tax").in_scope(|| {});
}
