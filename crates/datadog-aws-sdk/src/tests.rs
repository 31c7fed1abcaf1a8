//! The real Lambda client against a server of our own: what is sent, and which spans are left.

mod compatibility;
mod kept;
mod messages;
mod streams;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::{Builder, Credentials, Region};
use aws_smithy_http_client::Builder as HttpBuilder;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry::trace::{FutureExt, Status, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::DatadogInterceptor;
use kept::kept;

/// The SDK spans of a trace, with their tags.
fn spans(trace: TraceId) -> Vec<(SpanData, HashMap<String, String>)> {
    let all = kept().lock();
    let of_sdk = all.iter().filter(|s| s.span_context.trace_id() == trace && s.name != "caller");
    let tags =
        |s: &SpanData| s.attributes.iter().map(|kv| (kv.key.to_string(), kv.value.to_string())).collect();
    of_sdk.map(|s| (s.clone(), tags(s))).collect()
}

/// A context with an active span, under which a test makes its calls.
fn caller() -> (Context, TraceId) {
    kept();
    let context = Context::new().with_span(global::tracer("test").start("caller"));
    let trace = context.span().span_context().trace_id();
    (context, trace)
}

/// Answers each request in turn with one of the answers; gives the heads of the requests.
async fn server(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let (port, served) = whole_server(answers).await;
    let heads = |requests: Vec<String>| {
        requests.iter().map(|whole| whole.split_once("\r\n\r\n").unwrap().0.to_owned()).collect()
    };
    (port, tokio::spawn(async move { heads(served.await.unwrap()) }))
}

/// The same, with the bodies of the requests.
async fn whole_server(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut requests, mut stream) = (Vec::new(), None::<TcpStream>);
        for answer in answers {
            loop {
                let mut open = match stream.take() {
                    Some(open) => open,
                    None => listener.accept().await.unwrap().0,
                };
                let Some(whole) = read_whole(&mut open).await else { continue };
                requests.push(whole);
                open.write_all(answer.as_bytes()).await.unwrap();
                stream = Some(open);
                break;
            }
        }
        requests
    });
    (port, served)
}

async fn read_whole(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |n| n.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nx-amzn-requestid: aws-1\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

fn client(port: u16) -> Client {
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

fn client_context(head: &str) -> Value {
    let value = header(head, "x-amz-client-context").unwrap_or_else(|| panic!("{head}"));
    serde_json::from_slice(&BASE64_STANDARD.decode(value).unwrap()).unwrap()
}

#[tokio::test]
async fn a_function_that_is_invoked_is_told_of_the_calls_span() {
    let (port, served) = server(vec![answer("200 OK", "", "{}")]).await;
    let (context, trace) = caller();
    let existing = BASE64_STANDARD.encode(r#"{"client":{"appTitle":"shop"},"custom":{"user":"17"}}"#);
    let invoke = client(port).invoke().function_name("orders-worker:live").client_context(existing);
    invoke.send().with_context(context.clone()).await.unwrap();
    let heads = served.await.unwrap();
    let [(span, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!(span.parent_span_id, context.span().span_context().span_id());
    let expect = [
        ("operation.name", "aws.request"),
        ("service.name", "aws.Lambda"),
        ("resource.name", "Lambda.Invoke"),
        ("span.type", "http"),
        ("aws.service", "Lambda"),
        ("aws.operation", "Invoke"),
        ("aws.region", "eu-west-1"),
        ("aws.partition", "aws"),
        ("aws.request_id", "aws-1"),
        ("aws.retry_count", "0"),
        ("functionname", "orders-worker"),
        ("http.method", "POST"),
        ("http.status_code", "200"),
    ];
    for (key, value) in expect {
        assert_eq!(tags.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(span.status, Status::Unset);
    let id = u64::from_be_bytes(span.span_context.span_id().to_bytes());
    let low = u128::from_be_bytes(trace.to_bytes()) as u64;
    let told = client_context(&heads[0]);
    assert_eq!(told["client"], json!({"appTitle": "shop"}));
    assert_eq!(told["custom"]["user"], "17");
    assert_eq!(told["custom"]["x-datadog-trace-id"], low.to_string());
    assert_eq!(told["custom"]["x-datadog-parent-id"], id.to_string());
    assert_eq!(told["custom"]["x-datadog-sampling-priority"], "1");
    assert!(told["custom"].as_object().unwrap().values().all(Value::is_string), "{told}");
    // It is signed with the rest.
    let authorization = header(&heads[0], "authorization").unwrap();
    assert!(authorization.contains("x-amz-client-context"), "{authorization}");
}

#[tokio::test]
async fn what_leaves_no_room_stays_as_it_is() {
    for existing in [
        BASE64_STANDARD.encode(format!(r#"{{"custom":{{"a":"{}"}}}}"#, "x".repeat(2600))),
        "no base64".to_owned(),
    ] {
        let (port, served) = server(vec![answer("200 OK", "", "{}")]).await;
        let (context, trace) = caller();
        let invoke = client(port).invoke().function_name("f").client_context(&existing);
        invoke.send().with_context(context).await.unwrap();
        let heads = served.await.unwrap();
        assert_eq!(header(&heads[0], "x-amz-client-context"), Some(existing.as_str()));
        assert_eq!(spans(trace).len(), 1);
    }
}

/// Room for the ids, and for no more.
#[tokio::test]
async fn what_leaves_little_room_gets_the_ids() {
    let existing = BASE64_STANDARD.encode(format!(r#"{{"custom":{{"a":"{}"}}}}"#, "x".repeat(2450)));
    let (port, served) = server(vec![answer("200 OK", "", "{}")]).await;
    let (context, _) = caller();
    let invoke = client(port).invoke().function_name("f").client_context(&existing);
    invoke.send().with_context(context).await.unwrap();
    let heads = served.await.unwrap();
    let told = client_context(&heads[0]);
    assert!(told["custom"]["x-datadog-trace-id"].is_string(), "{told}");
    assert_eq!(told["custom"].get("traceparent"), None);
}

#[tokio::test]
async fn a_function_that_streams_is_told_too() {
    let (port, served) =
        server(vec![answer("200 OK", "content-type: application/vnd.amazon.eventstream\r\n", "")]).await;
    let (context, trace) = caller();
    let invoke = client(port).invoke_with_response_stream().function_name("f");
    invoke.send().with_context(context).await.unwrap();
    let heads = served.await.unwrap();
    let [(span, _)] = &spans(trace)[..] else { panic!("one span") };
    let id = u64::from_be_bytes(span.span_context.span_id().to_bytes());
    assert_eq!(client_context(&heads[0])["custom"]["x-datadog-parent-id"], id.to_string());
}

#[tokio::test]
async fn a_retry_sends_the_same() {
    let busy = answer("503 Busy", "x-amzn-errortype: ServiceException\r\n", "{}");
    let (port, served) = server(vec![busy, answer("200 OK", "", "{}")]).await;
    let (context, trace) = caller();
    client(port).invoke().function_name("f").send().with_context(context).await.unwrap();
    let heads = served.await.unwrap();
    assert_eq!(heads.len(), 2);
    assert_eq!(client_context(&heads[0]), client_context(&heads[1]));
    assert_eq!(heads[1].to_lowercase().matches("x-amz-client-context:").count(), 1);
    let [(span, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!((tags["aws.retry_count"].as_str(), tags["http.status_code"].as_str()), ("1", "200"));
    assert_eq!(span.status, Status::Unset);
}

#[tokio::test]
async fn an_error_of_the_service_has_its_code_and_message() {
    let headers = "x-amzn-errortype: ResourceNotFoundException:http://x\r\n";
    let (port, served) =
        server(vec![answer("404 Not Found", headers, r#"{"Message":"no such function"}"#)]).await;
    let (context, trace) = caller();
    let error = client(port).invoke().function_name("f").send().with_context(context).await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    served.await.unwrap();
    let [(span, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!(span.status, Status::error("no such function"));
    assert_eq!(
        (tags["error.type"].as_str(), tags["http.status_code"].as_str()),
        ("ResourceNotFoundException", "404")
    );
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error() {
    let (port, served) = server(vec![]).await;
    served.await.unwrap();
    let (context, trace) = caller();
    client(port).invoke().function_name("f").send().with_context(context).await.unwrap_err();
    let [(span, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!(tags["error.type"], "ConnectorError");
    let Status::Error { description } = &span.status else { panic!("{:?}", span.status) };
    assert!(description.len() > "connector error: ".len(), "{description}");
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_its_span() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (context, trace) = caller();
    let client = client(listener.local_addr().unwrap().port());
    let call = client.invoke().function_name("f").send().with_context(context);
    // Given up once its request is there.
    let sent = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_whole(&mut stream).await.unwrap()
    };
    tokio::select! {
        _ = call => panic!("nobody answers"),
        head = sent => assert!(head.starts_with("POST ")),
    }
    let [(span, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert!(span.end_time > span.start_time);
    assert_eq!(tags["aws.given_up"], "true");
}

#[tokio::test]
async fn other_operations_are_traced_and_not_touched() {
    let body = r#"{"Configuration":{"FunctionName":"f"}}"#;
    let (port, served) = server(vec![answer("200 OK", "", body)]).await;
    let (context, trace) = caller();
    client(port).get_function().function_name("f").send().with_context(context).await.unwrap();
    let heads = served.await.unwrap();
    assert_eq!(header(&heads[0], "x-amz-client-context"), None);
    let [(span, tags)] = &spans(trace)[..] else { panic!("one span") };
    assert_eq!(span.name, "Lambda.GetFunction");
    assert_eq!(tags["functionname"], "f");
}

#[tokio::test]
async fn a_client_that_has_it_twice_is_traced_once() {
    let (port, served) = server(vec![answer("200 OK", "", "{}")]).await;
    let (context, trace) = caller();
    let once = client(port);
    let twice = Client::from_conf(once.config().to_builder().interceptor(DatadogInterceptor::new()).build());
    twice.invoke().function_name("f").send().with_context(context).await.unwrap();
    served.await.unwrap();
    assert_eq!(spans(trace).len(), 1);
}
