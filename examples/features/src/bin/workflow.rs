//! A task of a Step Functions state machine: its span becomes part of the workflow's trace, and it passes the trace
//! on in a payload of its own. `DD_MERGE_XRAY_TRACES=true` puts its trace together with that of X-Ray.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! cargo run --package cli -- dev --function workflow=target/debug/workflow \
//!     --event crates/testkit/events/step-functions.json --exit
//! ```

use datadog_lambda_rs::current_trace_context;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

/// The answer is the message for another service, over a way that no library knows. Datadog's libraries look for
/// the context under `_datadog`.
#[tracing::instrument(skip_all)]
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    Ok(json!({"order": event.payload.get("order"), "_datadog": current_trace_context()}))
}
