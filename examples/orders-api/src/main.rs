//! Takes an order over HTTP, does some work, asks orders-worker to fulfil it.

use std::env;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::{Builder, Credentials, Region};
use aws_sdk_lambda::primitives::Blob;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use datadog_aws_sdk::DatadogInterceptor;
use datadog_lambda_rs as datadog;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::KeyValue;
use opentelemetry::global;
use opentelemetry::trace::{TraceContextExt, Tracer};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog::init();
    let client = lambda_client();
    datadog::run(service_fn(|event| handler(&client, event))).await
}

async fn handler(client: &Client, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order = validate_order(&event.payload).await?;
    let price = price_order(&order);
    datadog::metric("orders.received", 1.0).tag("channel", "web").send();
    tracing::info!(%order, price, "order received");
    let fulfilled = ask_worker(client, &order).await?;
    let body = json!({"price": price, "fulfilled": fulfilled});
    Ok(json!({
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": body.to_string(),
    }))
}

/// A span by `tracing`. The body of the request is the order, or else its path names one.
#[tracing::instrument(skip_all)]
async fn validate_order(event: &Value) -> Result<Value, Error> {
    tokio::task::yield_now().await;
    match event.get("body").and_then(Value::as_str) {
        Some(body) => Ok(serde_json::from_str(body)?),
        None => {
            let id = event
                .pointer("/pathParameters/id")
                .and_then(Value::as_str)
                .and_then(|id| id.parse::<u64>().ok());
            Ok(json!({"id": id.unwrap_or(1)}))
        }
    }
}

/// A span by the OpenTelemetry API.
fn price_order(order: &Value) -> u64 {
    global::tracer("orders-api").in_span("price_order", |cx| {
        let price = order.get("id").and_then(Value::as_u64).unwrap_or(1).saturating_mul(3);
        cx.span().set_attribute(KeyValue::new("price", i64::try_from(price).unwrap_or(i64::MAX)));
        price
    })
}

/// Invokes the function that `ORDERS_WORKER` names: the interceptor gives the call its span, and tells the
/// worker of it.
async fn ask_worker(client: &Client, order: &Value) -> Result<Value, Error> {
    let Ok(worker) = env::var("ORDERS_WORKER") else { return Ok(Value::Null) };
    let answer = client.invoke().function_name(worker).payload(Blob::new(order.to_string())).send().await?;
    if let Some(error) = answer.function_error() {
        return Err(format!("the worker failed: {error}").into());
    }
    let payload = answer.payload().map(Blob::as_ref).unwrap_or(b"null");
    Ok(serde_json::from_slice(payload)?)
}

/// From the variables that Lambda sets; a function with `aws-config` has
/// `Builder::from(&aws_config::load_from_env().await)` instead.
fn lambda_client() -> Client {
    let var = |key| env::var(key).unwrap_or_default();
    let token = env::var("AWS_SESSION_TOKEN").ok().filter(|token| !token.is_empty());
    let credentials =
        Credentials::new(var("AWS_ACCESS_KEY_ID"), var("AWS_SECRET_ACCESS_KEY"), token, None, "Environment");
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut config = Builder::new()
        .behavior_version_latest()
        .region(Region::new(env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned())))
        .credentials_provider(credentials)
        .http_client(http)
        .interceptor(DatadogInterceptor::new());
    let endpoint = ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"].iter().find_map(|key| env::var(key).ok());
    if let Some(endpoint) = endpoint.filter(|url| !url.is_empty()) {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}
