//! Puts orders on an event bus: the Rust half of this pair. `app.py` is the other.

use std::env;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
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
    // The interceptor: a span for each call, and the trace context in the event's detail.
    let events = datadog_aws_sdk::client!(aws_sdk_eventbridge, &config);
    let bus = env::var("EVENT_BUS").map_err(|_| "EVENT_BUS is not set")?;
    datadog::run(service_fn(|event| handler(&events, &bus, event))).await
}

async fn handler(events: &Client, bus: &str, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order = json!({"id": event.payload.get("id")});
    let entry = PutEventsRequestEntry::builder().source("orders").detail_type("order placed");
    let entry = entry.event_bus_name(bus).detail(order.to_string()).build();
    let sent = events.put_events().entries(entry).send().await.map_err(aws_sdk_eventbridge::Error::from)?;
    if let Some(why) = sent.entries().iter().find_map(|entry| entry.error_message()) {
        return Err(format!("the bus did not take the order: {why}").into());
    }
    tracing::info!(%order, "order put");
    Ok(json!({"sent": sent.entries().iter().find_map(|entry| entry.event_id())}))
}
