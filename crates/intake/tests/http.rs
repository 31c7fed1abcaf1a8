//! The intake over its sockets: what an agent sends comes out of the query API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use intake::{Fault, FaultKind, Intake, Limits};
use model::{
    Batch, Log, LogLevel, RequestId, SamplingPriority, Series, SeriesKind, Signal, Sketch, SketchSeries,
    Span, SpanId, SpanLink, Tags, TraceChunk, TraceId, TracerPayload, UnixNanos, keys,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "DD-API-KEY: 0123456789abcdef0123456789abcdef\r\n";

/// Status and body; `None` when the connection was closed without an answer.
async fn call(intake: &Intake, method: &str, path: &str, headers: &str, body: &[u8]) -> Option<(u16, Value)> {
    let address = intake.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, stream.read_to_end(&mut answer))
        .await
        .expect("an answer or a closed connection")
        .ok()?;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

async fn ask(intake: &Intake, path: &str) -> Value {
    let (status, answer) = call(intake, "GET", path, "", b"").await.unwrap();
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn send(intake: &Intake, batch: &Batch) {
    let endpoint = payload::endpoint(batch.signal());
    let plain = payload::encode(batch);
    let packed = payload::compress(&plain, payload::Encoding::Zstd);
    let headers = format!("{KEY}content-encoding: zstd\r\ncontent-type: {}\r\n", endpoint.content_type);
    let (status, answer) = call(intake, "POST", endpoint.path, &headers, &packed.body).await.unwrap();
    assert_eq!(status, 202, "{answer}");
}

fn span(name: &'static str, id: u64, parent: u64, start: u64) -> Span {
    let mut span =
        Span::new(name, TraceId::new(0, 9).unwrap(), SpanId::new(id).unwrap(), SpanId::new(parent));
    span.start = UnixNanos::from_millis(start);
    span.duration = Duration::from_millis(10);
    span
}

fn payload_of(spans: Vec<Span>) -> TracerPayload {
    let chunk = TraceChunk { priority: Some(SamplingPriority::AutoKeep), spans, ..TraceChunk::default() };
    TracerPayload { chunks: vec![chunk], ..TracerPayload::default() }
}

fn traces() -> Batch {
    let mut root = span("aws.lambda", 1, 0, 1000);
    root.meta.insert(keys::trace::TID, "00000000000000ab");
    let other = TraceId::new(5, 6).unwrap();
    root.links.push(SpanLink {
        trace_id: Some(other),
        span_id: SpanId::new(7),
        attributes: Tags::new(),
        tracestate: "".into(),
        flags: 0,
    });
    let mut worker = span("aws.lambda", 3, 2, 1004);
    worker.error = true;
    // Of another function: another payload, whose chunk does not tell the high half.
    Batch::Traces(vec![payload_of(vec![root, span("work", 2, 1, 1002)]), payload_of(vec![worker])])
}

fn log(message: &str) -> Log {
    Log {
        message: message.to_owned(),
        level: LogLevel::Warn,
        time: UnixNanos::from_millis(5),
        request_id: RequestId::new("r-1"),
        arn: "arn:aws:lambda:us-east-1:123456789012:function:orders".into(),
        service: "orders".into(),
        tags: "env:test,a:b".into(),
        durable: None,
    }
}

#[tokio::test]
async fn every_signal_arrives_and_can_be_asked_for() {
    let intake = Intake::start().await.unwrap();
    send(&intake, &traces()).await;
    let line = r#"{"message":"hi","dd.trace_id":"00000000000000ab0000000000000009","dd.span_id":"2"}"#;
    send(&intake, &Batch::Logs(vec![log(line), log("START")])).await;
    let series = Series {
        name: "orders.made".into(),
        kind: SeriesKind::Count,
        tags: vec!["a:b".into()],
        points: vec![(UnixNanos::from_secs(5), 3.0)],
        interval_secs: Some(10),
    };
    send(&intake, &Batch::Series(vec![series])).await;
    let mut sketch = Sketch::default();
    (1..=100).for_each(|n| assert!(sketch.insert(f64::from(n), 1)));
    let points = vec![(UnixNanos::from_secs(5), sketch)];
    let sketches = SketchSeries { name: "orders.price".into(), tags: vec![], points };
    send(&intake, &Batch::Sketches(vec![sketches])).await;

    let trace = ask(&intake, "/local/traces/9").await;
    assert_eq!(trace["trace_id"], "00000000000000ab0000000000000009");
    assert_eq!((&trace["errors"], &trace["duration_ns"]), (&1.into(), &14_000_000.into()));
    let spans = trace["spans"].as_array().unwrap();
    let tree: Vec<_> =
        spans.iter().map(|s| format!("{}{}@{}", s["depth"], s["name"], s["offset_ns"])).collect();
    assert_eq!(tree, ["0\"aws.lambda\"@0", "1\"work\"@2000000", "2\"aws.lambda\"@4000000"]);
    assert_eq!(spans[0]["links"][0]["trace_id"], "00000000000000050000000000000006");
    assert_eq!(spans[0]["links"][0]["span_id"], "7");
    assert_eq!(ask(&intake, "/local/traces/00000000000000ab0000000000000009").await, trace);

    let logs = ask(&intake, "/local/logs?trace_id=00000000000000ab0000000000000009").await;
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert_eq!((&logs[0]["span_id"], &logs[0]["status"]), (&"2".into(), &"warn".into()));
    assert_eq!(ask(&intake, "/local/logs?request_id=r-1&function=Orders").await.as_array().unwrap().len(), 2);
    assert_eq!(ask(&intake, "/local/logs?function=other").await, Value::Array(Vec::new()));

    let metrics = ask(&intake, "/local/metrics?name=orders.").await;
    assert_eq!((&metrics[0]["type"], &metrics[0]["total"]["value"]), (&"count".into(), &3.0.into()));
    let price = &metrics[1]["points"][0];
    assert_eq!((&price["count"], &price["min"], &price["max"]), (&100.into(), &1.0.into(), &100.0.into()));
    assert!((94.0..=97.0).contains(&price["p95"].as_f64().unwrap()), "{price}");

    let state = ask(&intake, "/local/state").await;
    assert_eq!(
        state["counts"],
        serde_json::json!({
            "requests": 4, "failed_requests": 0, "violations": 7, "spans": 3, "logs": 2, "points": 2
        })
    );
    let text = state["requests"].to_string();
    assert!(text.contains("content-encoding") && !text.contains("0123456789abcdef"), "{text}");
    assert_eq!(state["requests"][0]["items"], 3);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_and_kept() {
    let intake = Intake::start().await.unwrap();
    let check = async |path: &str, headers: &str, body: &[u8], status: u16, error: &str| {
        let (found, answer) = call(&intake, "POST", path, headers, body).await.unwrap();
        assert_eq!(found, status, "{path} {answer}");
        let requests = intake.store().read(|state| state.requests(false));
        let last = requests.last().unwrap();
        assert_eq!(last.status, Some(status));
        assert!(last.error.as_deref().unwrap_or_default().contains(error), "{last:?}");
    };
    check("/api/v2/logs", "", b"[]", 401, "DD-API-KEY").await;
    check("/api/v0.2/traces", "", b"", 403, "DD-API-KEY").await;
    check("/api/v2/logs", KEY, b"{{{", 400, "not readable as logs").await;
    check("/api/v2/logs", KEY, b"[]", 202, "").await;
    check(
        "/api/v0.2/traces",
        &format!("{KEY}content-encoding: zstd\r\n"),
        b"no zstd",
        400,
        "content-encoding",
    )
    .await;
    check("/api/v2/logs", KEY, &vec![b' '; 6_000_000], 413, "more than").await;
    check("/api/v2/profile", KEY, b"\x00\x01", 202, "").await;
    let errors = ask(&intake, "/local/requests?errors=true").await;
    assert_eq!(errors.as_array().unwrap().len(), 5);
    assert_eq!(errors[2]["preview"], "{{{");
    let (status, _) = call(&intake, "GET", "/local/traces/xyz", "", b"").await.unwrap();
    assert_eq!(status, 400);
    let (status, _) = call(&intake, "GET", "/local/traces/77", "", b"").await.unwrap();
    assert_eq!(status, 404);
}

#[tokio::test]
async fn it_fails_when_told_to() {
    let intake = Intake::start().await.unwrap();
    let fault = br#"{"signal":"logs","status":503,"count":1}"#;
    assert_eq!(call(&intake, "POST", "/local/faults", "", fault).await.unwrap().0, 201);
    let bad = br#"{"signal":"logs"}"#;
    assert_eq!(call(&intake, "POST", "/local/faults", "", bad).await.unwrap().0, 400);
    let post = async || call(&intake, "POST", "/api/v2/logs", KEY, b"[]").await.map(|(status, _)| status);
    assert_eq!([post().await, post().await], [Some(503), Some(202)]);
    intake.fail(Fault { signal: None, kind: FaultKind::Close, count: 1 });
    assert_eq!([post().await, post().await], [None, Some(202)]);

    intake.fail(Fault { signal: None, kind: FaultKind::Hang, count: 1 });
    tokio::select! {
        answer = post() => panic!("answered {answer:?}"),
        hung = intake.store().wait_until(|s| s.counts().failed_requests == 3, Instant::now() + Duration::from_secs(20)) => {
            assert!(hung);
        }
    }
    intake.stop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(intake.url().replace("http://", "")).await.is_ok() {
        assert!(Instant::now() < deadline, "the port is still open");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn faults_have_a_place_and_may_cut_or_delay() {
    let intake = Intake::start().await.unwrap();
    let fault = br#"{"path":"/api/v2/logs","probability":0.5,"status":429,"count":2}"#;
    assert_eq!(call(&intake, "POST", "/local/faults", "", fault).await.unwrap().0, 201);
    let post = async |path: &str| call(&intake, "POST", path, KEY, b"[]").await.map(|(status, _)| status);
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(post("/api/v2/logs").await);
        assert_eq!(post("/api/v2/other").await, Some(202));
    }
    assert_eq!(answers, [202, 429, 202, 429, 202].map(Some));
    for wrong in
        [&br#"{"status":429,"cut":true}"#[..], br#"{"cut":true,"probability":2}"#, br#"{"status":99}"#]
    {
        assert_eq!(call(&intake, "POST", "/local/faults", "", wrong).await.unwrap().0, 400);
    }
    let before = intake.store().read(|state| state.counts().requests);
    intake.fail(Fault { signal: None, kind: FaultKind::Cut, count: 1 });
    // The answer has a length, and is shorter.
    let cut = call(&intake, "POST", "/api/v2/logs", KEY, b"[]").await;
    assert!(cut.is_none_or(|(status, body)| (status, body) == (202, Value::Null)));
    let delay = Duration::from_millis(50);
    intake.fail(Fault { signal: None, kind: FaultKind::Delay(delay), count: 1 });
    let began = Instant::now();
    assert_eq!(post("/api/v2/logs").await, Some(202));
    assert!(began.elapsed() >= delay);
    assert_eq!(intake.store().read(|state| state.counts().requests), before + 2);
}

#[tokio::test]
async fn libraries_send_metrics_logs_events_and_checks_themselves() {
    let intake = Intake::start().await.unwrap();
    let check = async |method: &str, path: &str, headers: &str, body: &str, status: u16, said: &str| {
        let (found, answer) = call(&intake, method, path, headers, body.as_bytes()).await.unwrap();
        assert_eq!((found, answer.to_string()), (status, said.to_owned()), "{method} {path} {body}");
    };
    let ok = r#"{"status":"ok"}"#;
    check("GET", "/api/v1/validate", KEY, "", 200, r#"{"valid":true}"#).await;
    check("GET", "/api/v1/validate", "", "", 403, r#"{"errors":["Forbidden"]}"#).await;
    let series = r#"{"series":[{"metric":"old.gauge","points":[[1700000000,2.5]],"tags":["a:b"]}]}"#;
    check("POST", "/api/v1/series", KEY, series, 202, ok).await;
    check("POST", "/api/v1/series", "", series, 403, r#"{"errors":["Forbidden"]}"#).await;
    check("POST", "/api/v1/series", KEY, "{}", 400, r#"{"errors":["series is missing"]}"#).await;
    let points = r#"{"series":[{"metric":"old.dist","points":[[1700000000,[1,2,4]]]}]}"#;
    check("POST", "/api/v1/distribution_points", KEY, points, 202, ok).await;
    check("POST", "/api/v1/events", KEY, r#"{"title":"t","text":"x"}"#, 202, ok).await;
    check("POST", "/api/v1/check_run", KEY, "[{}]", 400, r#"{"errors":["check is missing"]}"#).await;
    check("POST", "/v1/input/some-key", "", r#"[{"message":"old log"}]"#, 200, "{}").await;
    let metrics = ask(&intake, "/local/metrics?name=old.").await;
    assert_eq!(
        (metrics[0]["name"].as_str(), metrics[1]["name"].as_str()),
        (Some("old.dist"), Some("old.gauge"))
    );
    assert_eq!(metrics[0]["total"]["count"], 3, "{metrics}");
    assert_eq!(ask(&intake, "/local/logs").await[0]["message"], "old log");
    let errors = ask(&intake, "/local/requests?errors=true").await;
    assert_eq!(errors.as_array().unwrap().len(), 4, "{errors}");
}

#[tokio::test]
async fn stopping_closes_connections_that_wait() {
    let intake = Intake::start().await.unwrap();
    intake.fail(Fault { signal: Some(Signal::Traces), kind: FaultKind::Hang, count: 1 });
    let hanging = call(&intake, "POST", "/api/v0.2/traces", KEY, b"");
    let stop = async {
        let arrived = |s: &intake::State| s.counts().requests == 1;
        assert!(intake.store().wait_until(arrived, Instant::now() + Duration::from_secs(20)).await);
        intake.stop();
    };
    assert_eq!(tokio::join!(hanging, stop).0, None);
}

#[tokio::test]
async fn waiting_ends_when_enough_arrived_or_at_the_deadline() {
    let intake = Intake::start().await.unwrap();
    let late = ask(&intake, "/local/wait?spans=1&timeout_ms=20").await;
    assert_eq!(late["satisfied"], false);
    let wait = ask(&intake, "/local/wait?spans=3&traces=1&trace_id=9&after=0&timeout_ms=20000");
    let batch = traces();
    let (answer, ()) = tokio::join!(wait, send(&intake, &batch));
    assert_eq!((&answer["satisfied"], &answer["version"]), (&true.into(), &1.into()));
}

#[tokio::test]
async fn it_holds_no_more_than_its_limits() {
    let limits = Limits { span_bytes: 2000, log_bytes: 2000, points: 3, requests: 2 };
    let intake = Intake::start_on(([127, 0, 0, 1], 0).into(), limits).await.unwrap();
    for low in 1..100 {
        let mut span = span("work", 1, 0, 1);
        span.trace_id = TraceId::new(0, low).unwrap();
        intake.store().add(Batch::Traces(vec![payload_of(vec![span])]));
        intake.store().add(Batch::Logs(vec![log("x")]));
    }
    for _ in 0..5 {
        call(&intake, "POST", "/api/v2/logs", KEY, b"[]").await.unwrap();
    }
    let state = intake.store().snapshot();
    assert_eq!(state.requests.iter().map(|r| r.number).collect::<Vec<_>>(), [4, 5]);
    assert!((1..50).contains(&state.traces.len()) && (1..50).contains(&state.logs.len()));
    assert_eq!(state.dropped.spans as usize + state.traces.len(), 99);
    assert_eq!(state.dropped.logs as usize + state.logs.len(), 99);
    assert_eq!((state.counts.spans, state.counts.logs), (99, 99));
}

#[tokio::test]
async fn what_a_page_asks_for_is_short_and_bodies_are_shown_decoded() {
    let intake = Intake::start().await.unwrap();
    let mut pointing = payload_of(vec![span("aws.lambda", 1, 0, 1000), span("work", 2, 1, 1001)]);
    let chunk = &mut pointing.chunks[0];
    chunk.spans[0].meta.insert("request_id", "r-1");
    chunk.spans[0].resource = "orders".into();
    chunk.spans[1].error = true;
    let pointer = [("ptr.hash", "abc"), ("ptr.kind", "aws.s3.object")];
    chunk.spans[1].links.push(SpanLink {
        trace_id: None,
        span_id: None,
        attributes: pointer.map(|(key, value)| (key, value.to_owned())).into_iter().collect(),
        tracestate: "".into(),
        flags: 0,
    });
    let batch = Batch::Traces(vec![pointing]);
    send(&intake, &batch).await;
    send(&intake, &batch).await;

    let overview = ask(&intake, "/local/overview").await;
    let trace = &overview["traces"][0];
    assert_eq!((&trace["spans"], &trace["arrived"], &trace["errors"]), (&2.into(), &4.into(), &1.into()));
    assert_eq!((&trace["resource"], &trace["duration_ns"]), (&"orders".into(), &11_000_000.into()));
    let invoked = serde_json::json!([{ "request_id": "r-1", "span_id": "1", "function": "orders" }]);
    assert_eq!(trace["invocations"], invoked);
    let pointers = serde_json::json!([{ "span_id": "2", "kind": "aws.s3.object", "hash": "abc" }]);
    assert_eq!(trace["pointers"], pointers);
    assert_eq!(ask(&intake, "/local/overview?last=0").await["traces"], serde_json::json!([]));
    assert_eq!(ask(&intake, "/local/requests?last=1").await[0]["number"], 2);

    let request = ask(&intake, "/local/requests/1").await;
    assert_eq!(request["request"]["path"], "/api/v0.2/traces");
    assert_eq!(request["body"]["decoded"][0]["chunks"][0]["spans"][1]["name"], "work");
    let (status, _) = call(&intake, "GET", "/local/requests/9", "", b"").await.unwrap();
    assert_eq!(status, 404);
    let headers = format!("{KEY}content-type: application/json\r\n");
    call(&intake, "POST", "/api/v2/new", &headers, br#"{"a":[1]}"#).await.unwrap();
    assert_eq!(ask(&intake, "/local/requests/3").await["body"]["decoded"], serde_json::json!({ "a": [1] }));
    assert_eq!(ask(&intake, "/local/requests/3/body").await, serde_json::json!({ "a": [1] }));
}
