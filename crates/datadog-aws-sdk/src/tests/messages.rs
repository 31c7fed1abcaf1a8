//! A client whose request bodies are edited, against a server of our own: what is signed, and what a retry sends.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{Builder, Credentials, Region};
use aws_smithy_http_client::Builder as HttpBuilder;
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, SpanContext, TraceContextExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use std::time::Duration;

use super::{answer, caller, header, kept, spans, whole_server};
use crate::{DatadogInterceptor, Received, received, trace_messages};

pub(super) fn client(port: u16) -> Client {
    let config = Builder::new()
        .behavior_version_latest()
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .http_client(HttpBuilder::new().build_http())
        .interceptor(DatadogInterceptor::new())
        .build();
    Client::from_conf(config)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let pad = |byte: u8| (0..64).map(|n| key.get(n).unwrap_or(&0) ^ byte).collect::<Vec<u8>>();
    let inner = Sha256::digest([pad(0x36), text.as_bytes().to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// AWS's signature of a request, computed anew from what arrived.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>
fn signature(head: &str, body: &str) -> String {
    let authorization = header(head, "authorization").unwrap();
    let part = |name: &str| authorization.split_once(name).unwrap().1.split(',').next().unwrap();
    let signed = part("SignedHeaders=");
    let scope = part("Credential=").split_once('/').unwrap().1;
    let headers: Vec<_> =
        signed.split(';').map(|name| format!("{name}:{}\n", header(head, name).unwrap())).collect();
    let body = hex(&Sha256::digest(body));
    let canonical = format!("POST\n/\n\n{}\n{signed}\n{body}", headers.concat());
    let time = header(head, "x-amz-date").unwrap();
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(b"AWS4secret".to_vec(), |key, part| hmac(&key, part));
    hex(&hmac(&key, &text))
}

#[tokio::test]
async fn what_is_edited_is_signed_and_sent_again_as_it_is() {
    let kind = "content-type: application/x-amz-json-1.0\r\n";
    let busy = answer("503 Busy", kind, r#"{"__type":"ServiceUnavailable"}"#);
    let (port, served) = whole_server(vec![busy, answer("200 OK", kind, r#"{"MessageId":"m"}"#)]).await;
    let (context, trace) = caller();
    let send =
        client(port).send_message().queue_url("http://x/123456789012/orders").message_body("\u{e9} \"\n");
    send.send().with_context(context).await.unwrap();
    let requests = served.await.unwrap();
    assert_eq!(requests.len(), 2);
    let mut bodies = Vec::new();
    for request in &requests {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(header(head, "content-length"), Some(body.len().to_string().as_str()));
        assert!(header(head, "authorization").unwrap().ends_with(&signature(head, body)), "{request}");
        assert_eq!(body.matches("_datadog").count(), 1, "{body}");
        bodies.push(body);
    }
    assert_eq!(bodies[0], bodies[1]);
    let body: Value = serde_json::from_str(bodies[0]).unwrap();
    assert_eq!(body["MessageBody"], "\u{e9} \"\n");
    let [(_, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!((tags["retry_attempts"].as_str(), tags["queuename"].as_str()), ("1", "orders"));
}

#[tokio::test]
async fn without_a_trace_nothing_is_told() {
    kept();
    let (context, trace) = caller();
    let (port, served) = whole_server(vec![answer("200 OK", "", r#"{"MessageId":"m"}"#)]).await;
    let send = client(port).send_message().queue_url("http://x/1/orders").message_body("x").send();
    send.with_context(context.with_telemetry_suppressed()).await.unwrap();
    let requests = served.await.unwrap();
    assert!(!requests[0].contains("_datadog"), "{requests:?}");
    assert_eq!(spans(trace).len(), 0);
    let none = Context::new().with_remote_span_context(SpanContext::NONE);
    assert!(crate::carrier::Carrier::of(&none, propagation::DEFAULT_STYLES).is_none());
}

const CARRIER: &str =
    r#"{"x-datadog-trace-id":"7","x-datadog-parent-id":"8","x-datadog-sampling-priority":"1"}"#;

fn ids(received: &Received<'_>) -> Option<(u128, u64)> {
    let context = received.context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| {
        (u128::from_be_bytes(span.trace_id().to_bytes()), u64::from_be_bytes(span.span_id().to_bytes()))
    })
}

#[test]
fn messages_tell_their_context_in_many_ways() {
    let of = |received: Received<'_>| ids(&received);
    assert_eq!(of(Received::message("x").attribute_text(CARRIER)), Some((7, 8)));
    assert_eq!(of(Received::message("x").attribute_bytes(CARRIER.as_bytes())), Some((7, 8)));
    assert_eq!(of(Received::data(format!("{{\"_datadog\":{CARRIER}}}").as_bytes())), Some((7, 8)));
    let event = json!({"source": "shop", "detail-type": "t", "detail": {"_datadog": serde_json::from_str::<Value>(CARRIER).unwrap()}});
    assert_eq!(of(Received::message(&event.to_string())), Some((7, 8)));
    let header = "Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1";
    let of_java = of(Received::message("x").trace_header(header)).unwrap();
    assert_eq!((of_java.0 as u64, of_java.1), (0x6dfd_06bf_489a_a4e5, 0x48cc_02b6_aafa_e897));
    for nothing in
        [Received::message(""), Received::message("[]").attribute_text("7"), Received::data(b"\xff")]
    {
        assert_eq!(ids(&nothing), None, "{nothing:?}");
    }
}

#[test]
fn a_message_of_the_sdk_is_read() {
    use aws_sdk_sqs::primitives::Blob;
    use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};

    let text = MessageAttributeValue::builder().data_type("String").string_value(CARRIER).build().unwrap();
    let bytes = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new(CARRIER))
        .build()
        .unwrap();
    for attribute in [text, bytes] {
        let message = Message::builder().body("x").message_attributes("_datadog", attribute).build();
        assert_eq!(ids(&received!(message)), Some((7, 8)));
        let borrowed = &message;
        assert_eq!(ids(&received!(borrowed)), Some((7, 8)));
    }
    let header = "Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1";
    let message = Message::builder().attributes(MessageSystemAttributeName::AwsTraceHeader, header).build();
    assert!(ids(&received!(message)).is_some());
    let empty = Message::builder().build();
    assert_eq!(ids(&received!(empty)), None);
}

/// Without any context the work goes on where it is.
#[tokio::test]
async fn messages_without_a_context_stay_in_the_trace_that_is_active() {
    let (context, trace) = caller();
    let messages = [Received::message("x"), Received::message("y")];
    let work = async { Ok::<_, std::fmt::Error>(()) };
    trace_messages("fulfil", &messages, work).with_context(context.clone()).await.unwrap();
    let [(span, _)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!(span.parent_span_id, context.span().span_context().span_id());
    assert_eq!(span.links.len(), 0);
}
