//! Functions with providers of their own, as processes. What is checked: the span of the invocation is there, the
//! spans of the other provider hang from it in the same trace, and all are sent before the next event is asked for.
//!
//! One server plays the Runtime API, the extension and the collector, so that the order of what arrives is known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use model::Span;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use prost::Message;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Notify;

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:orders-api";
/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
const EVENTS: usize = 3;
const ATTEMPTS: usize = 5;
/// Of the caller, for which every event but the first is.
const CALLER_TRACE: u64 = 1_234_567_890_123_456_789;
const CALLER_SPAN: u64 = 987_654_321;

/// What a function has done, in the order of arrival.
#[derive(Debug)]
enum Seen {
    /// It has asked for an event.
    Next,
    Response(String),
    /// To the extension's port.
    Datadog(Vec<Span>),
    /// To the collector.
    Otlp(Vec<OtlpSpan>),
}

#[derive(Default)]
struct World {
    seen: Mutex<Vec<Seen>>,
    asked: Mutex<usize>,
    idle: Notify,
}

impl World {
    fn see(&self, one: Seen) {
        self.seen.lock().unwrap().push(one);
    }
}

async fn serve(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match uri.path() {
        "/2018-06-01/runtime/invocation/next" => {
            world.see(Seen::Next);
            let n = {
                let mut asked = world.asked.lock().unwrap();
                *asked += 1;
                *asked
            };
            if n > EVENTS {
                world.idle.notify_one();
                // Lambda lets it wait.
                return std::future::pending().await;
            }
            event(n).into_response()
        }
        path if path.starts_with("/2018-06-01/runtime/invocation/") => {
            world.see(Seen::Response(String::from_utf8_lossy(&body).into_owned()));
            (axum::http::StatusCode::ACCEPTED, "{}").into_response()
        }
        "/v0.4/traces" => {
            let chunks = wire::v04::decode(&body).unwrap().chunks;
            world.see(Seen::Datadog(chunks.into_iter().flat_map(|chunk| chunk.spans).collect()));
            ([("content-type", "application/json")], "{\"rate_by_service\":{}}").into_response()
        }
        "/v1/traces" => {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            world.see(Seen::Otlp(scopes.flat_map(|scope| scope.spans).collect()));
            ([("content-type", "application/x-protobuf")], Vec::new()).into_response()
        }
        other => {
            // What else a tracer asks of an agent: the extension need not have it.
            eprintln!("{method} {other}");
            (axum::http::StatusCode::NOT_FOUND, "").into_response()
        }
    }
}

/// An event, of a caller that traces from the second on.
fn event(n: usize) -> impl IntoResponse {
    let headers = [
        ("lambda-runtime-aws-request-id".to_owned(), format!("req-{n}")),
        ("lambda-runtime-deadline-ms".to_owned(), "9999999999999".to_owned()),
        ("lambda-runtime-invoked-function-arn".to_owned(), ARN.to_owned()),
    ];
    let caller = format!(
        r#"{{"x-datadog-trace-id":"{CALLER_TRACE}","x-datadog-parent-id":"{CALLER_SPAN}","x-datadog-sampling-priority":"1"}}"#
    );
    let of_caller = if n > 1 { caller } else { "{}".to_owned() };
    (axum::response::AppendHeaders(headers), format!(r#"{{"n":{n},"headers":{of_caller}}}"#))
}

async fn run(program: &str) -> Vec<Seen> {
    let world = Arc::new(World::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap().to_string();
    let router =
        Router::new().fallback(serve).layer(DefaultBodyLimit::max(64 << 20)).with_state(world.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut command = Command::new(program);
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).envs([
        ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "orders-api"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("DD_SERVICE", "orders"),
        ("DD_TRACE_AGENT_URL", &format!("http://{api}")),
        ("DD_TRACE_STATS_COMPUTATION_ENABLED", "false"),
        ("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false"),
        ("DD_REMOTE_CONFIGURATION_ENABLED", "false"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{api}")),
    ]);
    let mut child: Child = command.spawn().unwrap();
    tokio::select! {
        () = world.idle.notified() => {}
        status = child.wait() => panic!("{program} has ended: {status:?}"),
        () = tokio::time::sleep(PATIENCE) => panic!("{program} does not come to its end: {:?}", world.seen),
    }
    child.kill().await.unwrap();
    std::mem::take(&mut world.seen.lock().unwrap())
}

/// What was sent between one event and the next.
#[derive(Debug, Default)]
struct Sent {
    response: String,
    datadog: Vec<Span>,
    otlp: Vec<OtlpSpan>,
}

fn by_event(seen: Vec<Seen>) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    for one in seen {
        match one {
            Seen::Next => all.push(Sent::default()),
            Seen::Response(text) => all.last_mut().unwrap().response = text,
            Seen::Datadog(spans) => all.last_mut().unwrap().datadog.extend(spans),
            Seen::Otlp(spans) => all.last_mut().unwrap().otlp.extend(spans),
        }
    }
    let last = all.pop().unwrap();
    assert!(last.datadog.is_empty() && last.otlp.is_empty(), "after the last event: {last:?}");
    assert_eq!(all.len(), EVENTS);
    all
}

fn root(spans: &[Span]) -> &Span {
    let mut roots = spans.iter().filter(|span| span.name == "aws.lambda");
    let root = roots.next().unwrap_or_else(|| panic!("no aws.lambda in {spans:?}"));
    assert!(roots.next().is_none(), "two roots: {spans:?}");
    root
}

/// The upper half is a tag of a chunk's first span.
fn whole_trace_id(spans: &[Span]) -> [u8; 16] {
    let upper = spans.iter().find_map(|span| span.meta.get("_dd.p.tid"));
    let upper = upper.map_or(0, |upper| u64::from_str_radix(upper, 16).unwrap());
    (u128::from(upper) << 64 | u128::from(root(spans).trace_id.low())).to_be_bytes()
}

/// The first event begins a trace, the others continue that of their caller.
fn check_root(n: usize, root: &Span) {
    let continued =
        (root.trace_id.low() == CALLER_TRACE, root.parent_id.map(model::SpanId::get) == Some(CALLER_SPAN));
    assert_eq!(continued, (n > 0, n > 0), "{root:?}");
    assert_eq!(root.meta.get("request_id").map(AsRef::as_ref), Some(format!("req-{}", n + 1).as_str()));
}

/// A flush has half a second, which a machine that is busy with other things may need for itself: what is wrong is
/// wrong each time.
async fn check(program: &str, check: fn(&[Sent])) {
    for _ in 1..ATTEMPTS {
        let sent = run(program).await;
        if std::panic::catch_unwind(|| check(&by_event(sent))).is_ok() {
            return;
        }
    }
    check(&by_event(run(program).await));
}

#[tokio::test]
async fn spans_for_a_collector_hang_from_the_invocation() {
    check(env!("CARGO_BIN_EXE_interop-otlp"), for_a_collector).await;
}

#[tokio::test]
async fn spans_of_datadogs_own_crate_hang_from_the_invocation() {
    check(env!("CARGO_BIN_EXE_interop-datadog"), of_datadogs_crate).await;
}

fn for_a_collector(sent: &[Sent]) {
    for (n, sent) in sent.iter().enumerate() {
        let root = root(&sent.datadog);
        check_root(n, root);
        let others: Vec<_> = sent.datadog.iter().map(|span| span.name.as_ref()).collect();
        assert!(!others.contains(&"price_order"), "sent twice: {others:?}");
        let named = |name: &str| {
            let mut found = sent.otlp.iter().filter(|span| span.name == name);
            let span = found.next().unwrap_or_else(|| panic!("no {name} for event {n}: {sent:?}"));
            assert!(found.next().is_none(), "{name} twice: {sent:?}");
            assert_eq!(span.trace_id, whole_trace_id(&sent.datadog), "{name}");
            span
        };
        let (outer, inner, reserve) = (named("price_order"), named("look_up_tax"), named("reserve_stock"));
        let of_root = root.span_id.get().to_be_bytes();
        assert_eq!((&outer.parent_span_id[..], &reserve.parent_span_id[..]), (&of_root[..], &of_root[..]));
        assert_eq!(inner.parent_span_id, outer.span_id);
        check_response(&sent.response, root);
    }
}

fn of_datadogs_crate(sent: &[Sent]) {
    for (n, sent) in sent.iter().enumerate() {
        let root = root(&sent.datadog);
        check_root(n, root);
        let named = |resource: &str| {
            let mut found = sent.datadog.iter().filter(|span| span.resource == resource);
            let span = found.next().unwrap_or_else(|| panic!("no {resource} for event {n}: {sent:?}"));
            assert!(found.next().is_none(), "{resource} twice: {sent:?}");
            assert_eq!(span.trace_id.low(), root.trace_id.low(), "{resource}");
            span
        };
        let (outer, inner, reserve) = (named("price_order"), named("look_up_tax"), named("reserve_stock"));
        assert_eq!((outer.parent_id, reserve.parent_id), (Some(root.span_id), Some(root.span_id)));
        assert_eq!(inner.parent_id, Some(outer.span_id));
        check_response(&sent.response, root);
    }
}

/// What the handler would have told the next service continues the invocation.
fn check_response(response: &str, root: &Span) {
    let ids = [
        format!(r#""x-datadog-trace-id":"{}""#, root.trace_id.low()),
        format!(r#""x-datadog-parent-id":"{}""#, root.span_id.get()),
    ];
    assert!(ids.iter().all(|id| response.contains(id)), "{ids:?} in {response}");
}
