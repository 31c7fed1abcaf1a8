//! The lower level, for a runtime loop or a wrapper of one's own: the invocation's span is begun and ended by
//! hand, and what is made in its context becomes part of it.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! cargo run --package cli -- dev --function root-span=target/debug/root-span \
//!     --event crates/testkit/events/sqs.json --exit
//! ```

use datadog_lambda_rs::{create_root_span, end_root_span};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    lambda_runtime::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let root = create_root_span(&event.payload, &event.context);
    let result = work(event.payload).with_context(root.context()).await;
    end_root_span(root, &result).await;
    result
}

#[tracing::instrument(skip_all)]
async fn work(event: Value) -> Result<Value, Error> {
    match event.get("fail") {
        Some(_) => Err("told to fail".into()),
        None => Ok(json!({"done": true})),
    }
}
