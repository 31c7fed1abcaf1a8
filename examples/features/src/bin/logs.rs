//! Log lines by `tracing` and by the `log` crate: JSON with the ids of trace and span, and with the keys by which
//! Lambda filters.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"order": 17}' > event.json
//! cargo run --package cli -- dev --function logs=target/debug/logs --event event.json --exit
//! ```
//! `--env RUST_LOG=warn,logs=debug` sets the levels.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    tracing::info!("starting");
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<(), Error> {
    let order = event.payload.get("order").and_then(Value::as_u64);
    tracing::info!(order, channel = "web", "order received");
    tracing::info_span!("reserve").in_scope(|| log::warn!("only {} left", 2));
    tracing::debug!("for those who look closely");
    Ok(())
}
