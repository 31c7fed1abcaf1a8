//! What OpenTelemetry's exporters send, over HTTP and over gRPC, and the younger protocols of Datadog's tracers:
//! what goes in, and what arrives at the intake.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use intake::{LogFilter, MetricValue, MetricView, Snapshot};
use model::{Chunk, Span, SpanId, TraceId, TracerInfo, UnixNanos};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::otlp::{Signal, to_protobuf};

use crate::agent::{Agent, Answer, http, raw};
use crate::fake_lambda::{FakeLambda, PATIENCE, millis};
use crate::ports::Ports;
use crate::records::{TRACE, delivery, runtime_done, start};
use crate::watched::Intake;
use crate::{arrives, to};

const HTTP: &str = "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT";
const GRPC: &str = "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_ENDPOINT";
const MINUTE: Duration = Duration::from_secs(60);

/// An agent that listens for exporters, and where.
struct Listening {
    lambda: FakeLambda,
    intake: Intake,
    agent: Agent,
    http: u16,
    grpc: u16,
}

impl Listening {
    /// In an invocation that has begun.
    async fn start(more: &[(&str, &str)]) -> Self {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let ports = Ports::free();
        let endpoints = [format!("0.0.0.0:{}", ports.traces), format!("localhost:{}", ports.lifecycle)];
        let url = intake.url();
        let mut variables = to(&url).to_vec();
        variables.extend([
            (HTTP, endpoints[0].as_str()),
            (GRPC, &endpoints[1]),
            ("DD_OTLP_CONFIG_LOGS_ENABLED", "1"),
        ]);
        variables.extend(more);
        let agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        lambda.invoke("r-1", MINUTE);
        Self { lambda, intake, agent, http: ports.traces, grpc: ports.lifecycle }
    }

    async fn end_invocation(&self) {
        self.agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    }

    async fn shut_down(mut self) -> Snapshot {
        self.lambda.shutdown(Duration::from_secs(2));
        assert!(self.agent.ended().await.success());
        self.intake.store().snapshot()
    }
}

fn number(value: f64) -> MetricValue {
    MetricValue::Number { value }
}

fn nanos() -> String {
    (millis() * 1_000_000).to_string()
}

fn resource() -> Value {
    json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": "shop" } },
        { "key": "telemetry.sdk.language", "value": { "stringValue": "python" } },
    ] })
}

fn spans(id: u64) -> Value {
    json!({ "resourceSpans": [{ "resource": resource(), "scopeSpans": [{ "scope": { "name": "lib" }, "spans": [{
        "traceId": format!("66a1b2c300000000{TRACE:016x}"),
        "spanId": format!("{id:016x}"),
        "name": "GET /orders/{id}",
        "kind": 2,
        "startTimeUnixNano": nanos(),
        "endTimeUnixNano": nanos(),
        "attributes": [
            { "key": "http.request.method", "value": { "stringValue": "GET" } },
            { "key": "http.route", "value": { "stringValue": "/orders/{id}" } },
            { "key": "http.response.status_code", "value": { "intValue": "200" } },
        ],
    }] }] }] })
}

fn metrics(name: &str) -> Value {
    let point = |more: Value| {
        let mut point = json!({ "timeUnixNano": nanos(), "startTimeUnixNano": nanos() });
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([point])
    };
    json!({ "resourceMetrics": [{ "resource": resource(), "scopeMetrics": [{ "metrics": [
        { "name": format!("{name}.count"), "sum": {
            "dataPoints": point(json!({ "asInt": "5" })), "aggregationTemporality": 1, "isMonotonic": true,
        } },
        { "name": format!("{name}.gauge"), "gauge": { "dataPoints": point(json!({ "asDouble": 2.5 })) } },
        { "name": format!("{name}.histogram"), "histogram": { "aggregationTemporality": 1, "dataPoints": point(json!({
            "count": "3", "sum": 60.0, "min": 10, "max": 30, "bucketCounts": ["0", "3", "0"], "explicitBounds": [5, 50],
        })) } },
    ] }] }] })
}

fn logs(text: &str) -> Value {
    json!({ "resourceLogs": [{ "resource": resource(), "scopeLogs": [{ "logRecords": [{
        "timeUnixNano": nanos(),
        "severityNumber": 17,
        "body": { "stringValue": text },
        "traceId": format!("66a1b2c300000000{TRACE:016x}"),
        "spanId": "000000000000000b",
    }] }] }] })
}

async fn post(port: u16, path: &str, kind: &str, encoding: &str, body: &[u8]) -> Answer {
    let mut headers = vec![("content-type", kind)];
    headers.extend((!encoding.is_empty()).then_some(("content-encoding", encoding)));
    http(port, "POST", path, &headers, body).await
}

const PROTOBUF: &str = "application/x-protobuf";

#[tokio::test]
async fn all_three_signals_over_http() {
    let all = Listening::start(&[]).await;
    let json = spans(11).to_string().into_bytes();
    let answer = post(all.http, "/v1/traces", "application/json; charset=utf-8", "", &json).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let proto = to_protobuf(Signal::Traces, &spans(12).to_string().into_bytes()).unwrap();
    let answer = post(all.http, "/v1/traces", PROTOBUF, "", &proto).await;
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.header("content-type")),
        (200, "", Some(PROTOBUF))
    );
    let packed = |body: &[u8]| payload::compress(body, payload::Encoding::Gzip).body.into_owned();
    let proto = to_protobuf(Signal::Traces, &spans(13).to_string().into_bytes()).unwrap();
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "gzip", &packed(&proto)).await.status, 200);
    let json = packed(&spans(14).to_string().into_bytes());
    assert_eq!(post(all.http, "/v1/traces", "application/json", "gzip", &json).await.status, 200);
    let proto = to_protobuf(Signal::Metrics, &metrics("m").to_string().into_bytes()).unwrap();
    assert_eq!(post(all.http, "/v1/metrics", PROTOBUF, "", &proto).await.status, 200);
    let json = logs("it failed").to_string().into_bytes();
    assert_eq!(post(all.http, "/v1/logs", "application/json", "", &json).await.status, 200);
    // Garbage is answered as such, and costs nothing else.
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "", b"garbage").await.status, 400);
    assert_eq!(post(all.http, "/v1/traces", "application/json", "", b"[1]").await.status, 400);
    assert_eq!(post(all.http, "/v1/logs", "application/json", "", b"{\"resourceLogs\":x}").await.status, 200);
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "br", b"garbage").await.status, 415);
    assert_eq!(post(all.http, "/v1/profiles", PROTOBUF, "", b"").await.status, 404);
    assert_eq!(http(all.http, "GET", "/v1/traces", &[], b"").await.status, 404);
    all.end_invocation().await;
    arrives(&all.intake, "all of it", |s| {
        let metric = |name: &str| s.metrics(name).iter().any(|m| m.name == name);
        s.counts().spans >= 4
            && ["m.count", "m.gauge", "m.histogram"].into_iter().all(metric)
            && s.logs(&LogFilter::default()).iter().any(|l| l.message.contains("it failed"))
    })
    .await;
    let state = all.shut_down().await;
    let trace = state.traces.iter().find(|t| t.trace_id.low() == TRACE).unwrap();
    assert_eq!(trace.trace_id.high(), 0x66a1_b2c3_0000_0000);
    let mut ids: Vec<_> = trace.spans.iter().map(|s| s.span_id.get()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [11, 12, 13, 14]);
    for span in &trace.spans {
        assert_eq!(
            (span.service.as_str(), span.name.as_str(), span.resource.as_str(), span.kind.as_str()),
            ("shop", "http.server.request", "GET /orders/{id}", "web")
        );
        assert_eq!((span.tag("span.kind"), span.tag("functionname")), (Some("server"), Some("orders")));
        assert_eq!(span.metrics.get("http.status_code"), Some(&200.0));
    }
    let metric = |name: &str| state.metrics.iter().find(|m| m.name == name).unwrap();
    assert_eq!(metric("m.count").total, number(5.0));
    assert_eq!(metric("m.gauge").total, number(2.5));
    let MetricValue::Distribution { count, sum, min, max, .. } = metric("m.histogram").total else {
        panic!()
    };
    assert_eq!((count, sum, min, max), (3, 60.0, 10.0, 30.0));
    for name in ["m.count", "m.histogram"] {
        let tags = &metric(name).tags;
        assert!(
            ["service:shop", "functionname:orders"].iter().all(|t| tags.iter().any(|tag| tag == t)),
            "{tags:?}"
        );
    }
    let log = state.logs.iter().find(|l| l.message.contains("it failed")).unwrap();
    assert_eq!((log.status, log.trace_id.map(TraceId::low)), ("error", Some(TRACE)));
    // Two bodies of traces were refused and one could not be unpacked; one of logs could not be read.
    let dropped = |signal: &str| {
        let mut all = state.metrics.iter().filter(|m| m.name.ends_with("extension.dropped"));
        all.find(|m| m.tag("signal") == Some(signal)).map(|m| m.total)
    };
    assert_eq!(dropped("traces"), Some(number(3.0)));
    assert_eq!(dropped("logs"), Some(number(1.0)));
}

#[tokio::test]
async fn cumulative_sums_become_counts_of_what_is_new() {
    let all = Listening::start(&[]).await;
    let begun = millis() * 1_000_000;
    for (n, value) in [(1, 5), (2, 7), (2, 7), (3, 12)] {
        let point = json!({ "startTimeUnixNano": begun.to_string(), "timeUnixNano": (begun + n).to_string(), "asInt": value });
        let request = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [
            { "name": "requests", "sum": { "dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": true } },
        ] }] }] });
        let json = request.to_string().into_bytes();
        assert_eq!(post(all.http, "/v1/metrics", "application/json", "", &json).await.status, 200);
    }
    all.end_invocation().await;
    let sum = |m: &MetricView| m.name == "requests" && m.total == number(12.0);
    arrives(&all.intake, "the sum", |s| s.metrics("requests").iter().any(sum)).await;
}

/// One call; gives the status and what was said.
async fn call(port: u16, path: &str, encoding: Option<&str>, message: &[u8]) -> (String, String) {
    let mut framed = BytesMut::new();
    framed.put_u8(u8::from(encoding.is_some()));
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    call_raw(port, path, encoding, &[], framed.freeze()).await
}

async fn call_raw(
    port: u16,
    path: &str,
    encoding: Option<&str>,
    more: &[(&str, &str)],
    framed: Bytes,
) -> (String, String) {
    let exchange = async {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::post(format!("http://localhost:{port}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in encoding.map(|encoding| ("grpc-encoding", encoding)).iter().chain(more) {
            request = request.header(*name, *value);
        }
        let answer = sender.send_request(request.body(Full::new(framed)).unwrap()).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        if head.headers.get("grpc-status").is_none() {
            assert_eq!(body.to_bytes().as_ref(), [0; 5]);
        }
        connection.abort();
        let text =
            |headers: &HeaderMap, name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let find = |name| text(&trailers, name).or_else(|| text(&head.headers, name)).unwrap_or_default();
        (find("grpc-status"), find("grpc-message"))
    };
    timeout(PATIENCE, exchange).await.expect("no answer")
}

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

#[tokio::test]
async fn all_three_signals_over_grpc() {
    let all = Listening::start(&[]).await;
    let proto = |signal, json: &Value| to_protobuf(signal, json.to_string().as_bytes()).unwrap();
    let taken = ("0".to_owned(), String::new());
    assert_eq!(call(all.grpc, TRACES, None, &proto(Signal::Traces, &spans(21))).await, taken);
    let packed =
        payload::compress(&proto(Signal::Traces, &spans(22)), payload::Encoding::Gzip).body.into_owned();
    assert_eq!(call(all.grpc, TRACES, Some("gzip"), &packed).await, taken);
    assert_eq!(call(all.grpc, METRICS, None, &proto(Signal::Metrics, &metrics("g"))).await, taken);
    assert_eq!(call(all.grpc, LOGS, None, &proto(Signal::Logs, &logs("by grpc"))).await, taken);
    let status = |(status, _): (String, String)| status.parse::<u16>().unwrap();
    assert_eq!(status(call(all.grpc, TRACES, None, b"garbage").await), 3);
    assert_eq!(status(call(all.grpc, TRACES, Some("br"), b"x").await), 12);
    assert_eq!(status(call(all.grpc, "/other.Service/Export", None, b"").await), 12);
    assert_eq!(status(call_raw(all.grpc, TRACES, None, &[], Bytes::from_static(b"\0\0")).await), 3);
    assert_eq!(status(call(all.grpc, TRACES, None, &vec![0; 5 << 20]).await), 8);
    // HTTP/1.1 is not spoken there; that hurts nobody.
    let _ = raw(all.grpc, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    all.end_invocation().await;
    arrives(&all.intake, "all of it", |s| {
        s.counts().spans >= 2
            && s.metrics("g.").iter().any(|m| m.name == "g.histogram")
            && s.logs(&LogFilter::default()).iter().any(|l| l.message.contains("by grpc"))
    })
    .await;
    all.shut_down().await;
}

/// Who counts its spans itself says so; the backend is told to count all others.
#[tokio::test]
async fn an_exporter_that_counts_its_spans_is_believed() {
    let all = Listening::start(&[]).await;
    let proto = |id: u64| to_protobuf(Signal::Traces, spans(id).to_string().as_bytes()).unwrap();
    let computed = [("datadog-client-computed-stats", "true")];
    let headers = [computed[0], ("content-type", PROTOBUF)];
    assert_eq!(http(all.http, "POST", "/v1/traces", &headers, &proto(51)).await.status, 200);
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "", &proto(52)).await.status, 200);
    let framed = |body: Vec<u8>| {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(body.len()).unwrap());
        framed.put_slice(&body);
        framed.freeze()
    };
    assert_eq!(call_raw(all.grpc, TRACES, None, &computed, framed(proto(53))).await.0, "0");
    assert_eq!(call_raw(all.grpc, TRACES, None, &[], framed(proto(54))).await.0, "0");
    all.end_invocation().await;
    arrives(&all.intake, "four spans", |s| s.counts().spans >= 4).await;
    let state = all.shut_down().await;
    let trace = state.traces.iter().find(|t| t.trace_id.low() == TRACE).unwrap();
    let mut told: Vec<_> =
        trace.spans.iter().map(|s| (s.span_id.get(), s.tag("_dd.compute_stats"))).collect();
    told.sort_unstable();
    assert_eq!(told, [(51, None), (52, Some("1")), (53, None), (54, Some("1"))]);
}

/// Larger than what HTTP servers take unless told otherwise.
#[tokio::test]
async fn a_large_request_of_an_exporter_is_taken() {
    const SPANS: u64 = 250;
    let all = Listening::start(&[]).await;
    let request = |from: u64| {
        let mut request = spans(from);
        let list =
            request.pointer_mut("/resourceSpans/0/scopeSpans/0/spans").unwrap().as_array_mut().unwrap();
        let mut one = list.remove(0);
        one["attributes"] = json!([{ "key": "filler", "value": { "stringValue": "x".repeat(9000) } }]);
        list.extend((from..from + SPANS).map(|id| {
            one["spanId"] = format!("{id:016x}").into();
            one.clone()
        }));
        request
    };
    let json = request(10_000).to_string().into_bytes();
    let http = to_protobuf(Signal::Traces, &request(20_000).to_string().into_bytes()).unwrap();
    let grpc = to_protobuf(Signal::Traces, &request(30_000).to_string().into_bytes()).unwrap();
    assert!([&json, &http, &grpc].iter().all(|body| body.len() > 2 << 20));
    assert_eq!(post(all.http, "/v1/traces", "application/json", "", &json).await.status, 200);
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "", &http).await.status, 200);
    assert_eq!(call(all.grpc, TRACES, None, &grpc).await.0, "0");
    all.end_invocation().await;
    arrives(&all.intake, "all spans", |s| s.counts().spans >= 3 * SPANS).await;
    // Far more than could be told is refused.
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "", &vec![0; 21 << 20]).await.status, 413);
}

/// Packed or not, it is taken apart while it comes: neither it nor its spans are ever there as a whole.
#[tokio::test]
async fn a_request_of_20_mib_is_taken_and_never_held_whole() {
    const SPANS: u64 = 900;
    let all = Listening::start(&[]).await;
    let body = |from: u64| {
        let mut request = spans(from);
        let list =
            request.pointer_mut("/resourceSpans/0/scopeSpans/0/spans").unwrap().as_array_mut().unwrap();
        let mut one = list.remove(0);
        list.extend((from..from + SPANS).map(|id| {
            one["attributes"] =
                json!([{ "key": "filler", "value": { "stringValue": format!("{id} ").repeat(3000) } }]);
            one["spanId"] = format!("{id:016x}").into();
            one.clone()
        }));
        to_protobuf(Signal::Traces, request.to_string().as_bytes()).unwrap()
    };
    let (plain, packed) = (body(100_000), body(200_000));
    assert!([&plain, &packed].iter().all(|body| (17 << 20..20 << 20).contains(&body.len())));
    let packed = payload::compress(&packed, payload::Encoding::Gzip).body.into_owned();
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "", &plain).await.status, 200);
    assert_eq!(post(all.http, "/v1/traces", PROTOBUF, "gzip", &packed).await.status, 200);
    all.end_invocation().await;
    arrives(&all.intake, "all spans", |s| s.counts().spans >= 2 * SPANS).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", all.agent.child.id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB");
    let state = all.shut_down().await;
    assert_eq!(state.counts.spans, 2 * SPANS);
    let told =
        state.traces.iter().flat_map(|trace| &trace.spans).map(|s| (s.service.as_str(), s.name.as_str()));
    assert_eq!(told.collect::<std::collections::BTreeSet<_>>().len(), 1, "every piece says whose it is");
}

#[tokio::test]
async fn what_cannot_be_taken_is_answered_and_counted() {
    let all = Listening::start(&[]).await;
    let body = to_protobuf(Signal::Traces, spans(7).to_string().as_bytes()).unwrap();
    let gzip = payload::compress(&body, payload::Encoding::Gzip).body.into_owned();
    let bomb = payload::compress(&vec![0; 30 << 20], payload::Encoding::Gzip).body.into_owned();
    // Fields that nobody knows, a MiB each: a valid request, and more than is taken.
    let unknown = [b"\x7a\x80\x80\x40".as_slice(), &vec![0; 1 << 20]].concat();
    let many = payload::compress(&unknown.repeat(21), payload::Encoding::Gzip).body.into_owned();
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20)).into_bytes();
    let packed_json = payload::compress(&large, payload::Encoding::Gzip).body.into_owned();
    let json = "application/json";
    for (kind, encoding, body, status) in [
        (PROTOBUF, "br", &body, 415),
        (PROTOBUF, "gzip", &body, 400),
        (PROTOBUF, "gzip", &gzip[..gzip.len() / 2].to_vec(), 400),
        (PROTOBUF, "gzip", &bomb, 400),
        (PROTOBUF, "gzip", &many, 413),
        (json, "", &large, 413),
        (json, "gzip", &packed_json, 413),
        (json, "gzip", &gzip, 400),
    ] {
        let answer = post(all.http, "/v1/traces", kind, encoding, body).await;
        assert_eq!(answer.status, status, "{kind} {encoding} {answer:?}");
    }
    all.end_invocation().await;
    let state = all.shut_down().await;
    let dropped = state.metrics.iter().filter(|m| m.name.ends_with("extension.dropped"));
    let dropped: Vec<_> = dropped.filter(|m| m.tag("signal") == Some("traces")).map(|m| &m.total).collect();
    assert!(!dropped.is_empty(), "{:#?}", state.metrics);
}

#[tokio::test]
async fn nothing_is_listened_for_unless_that_is_set() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let (ports, url) = (Ports::free(), intake.url());
    let endpoint = format!("localhost:{}", ports.traces);
    let mut variables = to(&url).to_vec();
    variables.extend([(HTTP, endpoint.as_str()), ("DD_OTLP_CONFIG_METRICS_ENABLED", "false")]);
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    assert!(TcpStream::connect(("127.0.0.1", ports.lifecycle)).await.is_err());
    // Logs are off unless asked for, metrics were turned off.
    for (path, status) in [("/v1/traces", 200), ("/v1/metrics", 404), ("/v1/logs", 404)] {
        assert_eq!(post(ports.traces, path, PROTOBUF, "", b"").await.status, status, "{path}");
    }
    drop(agent);
}

fn span(id: u64) -> Chunk {
    let trace = TraceId::new(0x66a1_b2c3_0000_0000, TRACE).unwrap();
    let mut span = Span::new("work", trace, SpanId::new(id).unwrap(), SpanId::new(77));
    span.service = "shop".into();
    span.start = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
    span.meta.insert("own", "tag");
    span.metrics.insert("number", 1.5);
    span.metrics.insert("_sampling_priority_v1", 1.0);
    Chunk { spans: vec![span] }
}

#[tokio::test]
async fn the_younger_protocols_of_tracers() {
    let all = Listening::start(&[]).await;
    let port = all.agent.ports.traces;
    let tracer = TracerInfo { language: "go".into(), tracer_version: "2.1".into(), ..TracerInfo::default() };
    let tags = [("team", "a")].into_iter().collect();
    for (n, method) in (0..).zip(["PUT", "POST"]) {
        let v07 = wire::v07::encode(&tracer, &tags, &[span(31 + n)]);
        let v1 = wire::v1::encode(&tracer, &[span(41 + n)]);
        for (path, body) in [("/v0.7/traces", v07), ("/v1.0/traces", v1)] {
            let answer = http(port, method, path, &[], &body).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (200, r#"{"rate_by_service":{}}"#),
                "{method} {path}"
            );
        }
    }
    for path in ["/v0.7/traces", "/v1.0/traces"] {
        assert_eq!(http(port, "PUT", path, &[], b"garbage").await.status, 200);
    }
    let info: Value = serde_json::from_str(&http(port, "GET", "/info", &[], b"").await.body).unwrap();
    for path in ["/v0.4/traces", "/v0.5/traces", "/v0.7/traces", "/v1.0/traces", "/v0.6/stats", "/info"] {
        assert!(info["endpoints"].as_array().unwrap().contains(&path.into()), "{path}");
    }
    all.end_invocation().await;
    arrives(&all.intake, "four spans", |s| s.counts().spans >= 4).await;
    let state = all.shut_down().await;
    let trace = state.traces.iter().find(|t| t.trace_id.low() == TRACE).unwrap();
    let mut told: Vec<_> = trace
        .spans
        .iter()
        .map(|s| {
            format!(
                "{} {:?} {:?} {:?}",
                s.span_id.get(),
                s.tag("own"),
                s.tag("team"),
                s.metrics.get("number")
            )
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            r#"31 Some("tag") Some("a") Some(1.5)"#,
            r#"32 Some("tag") Some("a") Some(1.5)"#,
            r#"41 Some("tag") None Some(1.5)"#,
            r#"42 Some("tag") None Some(1.5)"#,
        ]
    );
}
