//! Outgoing HTTP by `reqwest`, with the feature `reqwest-middleware`: each request has a span and carries the trace
//! on. One that is signed for AWS has the span, and is sent as it is.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{}' > event.json
//! cargo run --package cli -- dev --function client=target/debug/client --env STOCK_URL=http://127.0.0.1:8000 \
//!     --event event.json --exit
//! ```

use std::env;

use datadog_lambda_rs::HttpMiddleware;
use http::header::AUTHORIZATION;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    let client = ClientBuilder::new(reqwest::Client::new()).with(HttpMiddleware::new()).build();
    datadog_lambda_rs::run(service_fn(|_: LambdaEvent<Value>| handler(&client))).await
}

#[tracing::instrument(skip_all)]
async fn handler(client: &ClientWithMiddleware) -> Result<Value, Error> {
    let url = env::var("STOCK_URL").unwrap_or_else(|_| "http://127.0.0.1:8000".to_owned());
    // What follows the question mark may be a secret, and is not on the span.
    let stock = client.get(format!("{url}/stock/17?key=s3cret")).send().await?;
    let signed = client.get(format!("{url}/bucket/order-17"));
    let signed = signed.header(AUTHORIZATION, "AWS4-HMAC-SHA256 Credential=a, Signature=b").send().await?;
    Ok(json!({"stock": stock.status().as_u16(), "signed": signed.status().as_u16()}))
}
