//! Sends orders to a queue: the Rust half of this pair. `app.py` is the other.

use std::env;

use aws_sdk_sqs::Client;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use datadog_lambda_rs as datadog;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog::init();
    // ring compiles without cmake; `aws_config::load_from_env()` is shorter where aws-lc does.
    let https =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::from_env().http_client(https).load().await;
    // The interceptor: a span for each call, and the trace context in an attribute of the message.
    let sqs = datadog_aws_sdk::client!(aws_sdk_sqs, &config);
    let queue = env::var("QUEUE_URL").map_err(|_| "QUEUE_URL is not set")?;
    datadog::run(service_fn(|event| handler(&sqs, &queue, event))).await
}

async fn handler(sqs: &Client, queue: &str, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order = json!({"id": event.payload.get("id")});
    let sent = sqs
        .send_message()
        .queue_url(queue)
        .message_body(order.to_string())
        .send()
        .await
        .map_err(aws_sdk_sqs::Error::from)?;
    tracing::info!(%order, "order sent");
    Ok(json!({"sent": sent.message_id()}))
}
