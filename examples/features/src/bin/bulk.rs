//! Thousands of spans in one invocation: they are sent in parts while the handler runs, and without an extension they
//! are lines that are no longer than CloudWatch takes.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"rows": 2000}' > event.json
//! cargo run --package cli -- dev --function bulk=target/debug/bulk --event event.json --exit
//! ```
//! `--env DD_TRACE_PARTIAL_FLUSH_MIN_SPANS=100` sets how many a part has.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<u64, Error> {
    let rows = event.payload.get("rows").and_then(Value::as_u64).unwrap_or(1);
    for row in 0..rows {
        store(row).await;
    }
    Ok(rows)
}

#[tracing::instrument(fields(text = "a \"row\" of the table, with all that it has to say".repeat(5)))]
async fn store(row: u64) {
    // As with any store, others get their turn meanwhile: those who send, too.
    tokio::task::yield_now().await;
}
