//! A Lambda authorizer of API Gateway: the policy that it gives carries the trace to the function behind it. Nothing
//! is to be done for it; `DD_ENCODE_AUTHORIZER_CONTEXT=false` turns it off.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! cargo run --package cli -- dev --function authorizer=target/debug/authorizer \
//!     --event crates/testkit/events/api-authorizer-request.json --exit
//! ```

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

#[tracing::instrument(skip_all)]
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let statement = json!({
        "Action": "execute-api:Invoke",
        "Effect": "Allow",
        "Resource": event.payload.get("methodArn"),
    });
    Ok(json!({
        "principalId": "user-17",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"plan": "gold"},
    }))
}
