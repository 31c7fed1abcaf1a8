//! Settings in code in place of the environment: service, env, version, rules for which traces are kept, and a
//! way of one's own to the trace context of a caller that no library knows.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"meta": {"trace": {"x-datadog-trace-id": "5", "x-datadog-parent-id": "6"}}}' > event.json
//! cargo run --package cli -- dev --function in-code=target/debug/in-code --event event.json --exit
//! ```

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// Health checks are not kept, all else is. The first rule that fits holds.
const RULES: &str = r#"[{"resource": "GET /health", "sample_rate": 0}, {"sample_rate": 1}]"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::builder()
        .service("shop")
        .env("staging")
        .version("7.1")
        .set("DD_TRACE_SAMPLING_RULES", RULES)
        .extractor(|event, _| {
            // Where our own broker puts the headers of the sender. Other events are looked at as usual.
            serde_json::from_value(event.pointer("/meta/trace")?.clone()).ok()
        })
        .init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

async fn handler(_: LambdaEvent<Value>) -> Result<Value, Error> {
    tracing::info_span!("work").in_scope(|| {});
    // What the next service would be told of the decision.
    let told = datadog_lambda_rs::current_trace_context();
    Ok(json!({"priority": told.get("x-datadog-sampling-priority")}))
}
