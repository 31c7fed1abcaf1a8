//! What tracers of other languages send: the other trace protocols, and HTTP as their clients speak it.

use std::time::Duration;

use crate::agent::{Agent, http, raw};
use crate::fake_lambda::FakeLambda;
use crate::records::{TRACE, delivery, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);

/// A span as Python sends it: texts by index, no field names.
fn v05(span: u8) -> Vec<u8> {
    let mut body = b"\x92".to_vec();
    let texts: [&[u8]; 9] = [
        b"",
        b"shop",
        b"flask.request",
        b"GET /orders",
        b"language",
        b"python",
        b"process_id",
        b"web",
        b"_sampling_priority_v1",
    ];
    body.push(0x90 | texts.len() as u8);
    for text in texts {
        body.push(0xa0 | text.len() as u8);
        body.extend_from_slice(text);
    }
    body.extend_from_slice(b"\x91\x91\x9c\x01\x02\x03\xcf");
    body.extend_from_slice(&TRACE.to_be_bytes());
    body.extend_from_slice(&[span, 0, 0xcf]);
    body.extend_from_slice(&1_722_369_353_000_000_000u64.to_be_bytes());
    // Duration, error, meta, metrics, type.
    body.extend_from_slice(b"\x0a\x00\x81\x04\x05\x82\x06\x07\x08\x01\x07");
    body
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in body.chunks(7) {
        bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[tokio::test]
async fn traces_in_every_way_that_tracers_send_them() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let port = agent.ports.traces;
    for (method, path, span) in [("PUT", "/v0.5/traces", 11), ("POST", "/v0.5/traces", 12)] {
        let answer = http(port, method, path, &[("datadog-meta-lang", "python")], &v05(span)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"rate_by_service":{}}"#), "{method}");
    }
    assert_eq!(http(port, "POST", "/v0.4/traces", &[], &traces(13)).await.status, 200);
    let zstd = payload::compress(&v05(14), payload::Encoding::Zstd).body.into_owned();
    assert_eq!(http(port, "PUT", "/v0.5/traces", &[("content-encoding", "zstd")], &zstd).await.status, 200);
    let head =
        b"PUT /v0.5/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = raw(port, &[head, &chunked(&v05(15))[..]].concat()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let body = v05(16);
    let head = format!(
        "PUT /v0.5/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw(port, &[head.as_bytes(), &body].concat()).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // A server may leave the interim answer out once the body is there.
    assert!(
        answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer).starts_with("HTTP/1.1 200")
    );
    // What cannot be read was answered too, and costs nothing else.
    assert_eq!(http(port, "PUT", "/v0.5/traces", &[], b"\x93garbage").await.status, 200);
    assert_eq!(http(port, "GET", "/v0.5/traces", &[], b"").await.status, 404);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "spans", |s| s.counts().spans >= 6).await;
    let state = intake.store().snapshot();
    let trace = state.traces.iter().find(|t| t.trace_id.low() == TRACE).unwrap();
    let mut ids: Vec<_> = trace.spans.iter().map(|s| s.span_id.get()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [11, 12, 13, 14, 15, 16]);
    let python = trace.spans.iter().find(|s| s.span_id.get() == 11).unwrap();
    assert_eq!(
        (python.service.as_str(), python.name.as_str(), python.resource.as_str(), python.tag("language")),
        ("shop", "flask.request", "GET /orders", Some("python"))
    );
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    let body = v05(1);
    let head = format!(
        "PUT /v0.5/traces HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", agent.ports.traces)).await.unwrap();
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    tcp.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    tcp.write_all(&body).await.unwrap();
    let mut status = [0; 12];
    tcp.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

/// What a tracer that computes statistics sends: one map, one bucket.
const STATS: &[u8] =
    b"\x83\xa8Hostname\xa1h\xa3Env\xa0\xa5Stats\x91\x83\xa5Start\x01\xa8Duration\x02\xa5Stats\x90";

#[tokio::test]
async fn statistics_and_what_is_passed_on_reach_their_intakes() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    // As this tracer sends it.
    intake.excepts(&["stats-bucket", "stats-empty", "content-type", "log-source", "log-service"]);
    let profiles = format!("{url}/api/v2/profile");
    let mut variables = to(&url).to_vec();
    variables.extend([
        ("DD_APM_PROFILING_DD_URL", profiles.as_str()),
        ("DD_APM_DEBUGGER_DD_URL", &url),
        ("DD_APM_TELEMETRY_DD_URL", &url),
        ("DD_EVP_PROXY_CONFIG_DD_URL", &url),
        ("DD_ENV", "prod"),
    ]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let port = agent.ports.traces;
    let python = [("datadog-meta-lang", "python"), ("content-type", "application/msgpack")];
    assert_eq!(http(port, "PUT", "/v0.6/stats", &python, STATS).await.status, 202);
    assert_eq!(http(port, "PUT", "/v0.6/stats", &python, b"\x80").await.status, 202);
    assert_eq!(http(port, "PUT", "/v0.6/stats", &python, b"garbage").await.status, 400);
    let sent = [
        ("/profiling/v1/input", "/api/v2/profile", None),
        ("/debugger/v1/input?ddtags=a%3Ab&x=1", "/api/v2/logs", Some("ddtags=a%3Ab&x=1")),
        ("/debugger/v1/diagnostics", "/api/v2/debugger", None),
        ("/telemetry/proxy/api/v2/apmtelemetry", "/api/v2/apmtelemetry", None),
        ("/v0.1/pipeline_stats", "/api/v0.1/pipeline_stats", None),
        ("/evp_proxy/v2/api/v2/llmobs", "/api/v2/llmobs", None),
    ];
    for (path, ..) in sent {
        let headers = [("content-type", "text/x-test"), ("dd-api-key", "theirs")];
        let answer = http(port, "POST", path, &headers, br#"[{"message":"hm"}]"#).await;
        assert_eq!(answer.status, 202, "{path}: {answer:?}");
    }
    let named = [("x-datadog-evp-subdomain", "evil.example/")];
    assert_eq!(http(port, "POST", "/evp_proxy/v2/api/v2/x", &named, b"{}").await.status, 404);
    assert_eq!(http(port, "POST", "/profiling/v1/input", &[], &vec![b'x'; 11 << 20]).await.status, 413);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "all requests", |s| {
        let taken = s.requests(false);
        let has = |path: &str| taken.iter().any(|r| r.path == path);
        sent.iter().all(|(_, path, _)| has(path)) && has("/api/v0.2/stats")
    })
    .await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    for (_, path, query) in sent {
        let is_it = |r: &&intake::RequestView| r.path == path && r.query.as_deref() == query;
        let request = state.requests.iter().find(is_it).unwrap_or_else(|| panic!("{path}"));
        let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(header("content-type"), Some("text/x-test"), "{path}");
        assert_eq!(header("x-datadog-additional-tags"), Some("_dd.origin:lambda;functionname:orders"));
        assert_eq!((request.method.as_str(), header("content-encoding")), ("POST", None));
    }
    let stats = state.requests.iter().find(|r| r.path == "/api/v0.2/stats").unwrap();
    assert_eq!((stats.items, stats.status), (1, Some(202)), "{stats:?}");
    assert!(stats.headers.contains(&("content-encoding".into(), "gzip".into())));
    // What was turned away is told.
    let dropped = state.metrics.iter().filter(|m| m.name.ends_with("extension.dropped"));
    let mut signals: Vec<_> = dropped.filter_map(|m| m.tag("signal").map(str::to_owned)).collect();
    signals.sort_unstable();
    assert_eq!(signals, ["forwards", "stats"]);
}

/// Node's tracer sends its metrics so when it is told of the agent by a URL.
#[tokio::test]
async fn metrics_in_requests() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let port = agent.ports.traces;
    let post = |body: Vec<u8>| async move { http(port, "POST", "/dogstatsd/v2/proxy", &[], &body).await };
    let lines = b"runtime.node.cpu:1.5|g|#a:b\nno metric\nruntime.node.gc:3|c\n".to_vec();
    let answer = post(lines).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(post(Vec::new()).await.status, 200);
    assert_eq!(post(vec![b'x'; 2 << 20]).await.status, 413);
    assert_eq!(http(port, "GET", "/dogstatsd/v2/proxy", &[], b"").await.status, 404);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "the metrics", |s| {
        !s.metrics("runtime.node.cpu").is_empty() && !s.metrics("runtime.node.gc").is_empty()
    })
    .await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let cpu = state.metrics.iter().find(|m| m.name == "runtime.node.cpu").unwrap();
    assert_eq!((cpu.tag("a"), cpu.tag("functionname")), (Some("b"), Some("orders")));
    let dropped = state.metrics.iter().filter(|m| m.name.ends_with("extension.dropped"));
    assert!(
        dropped.filter_map(|m| m.tag("signal")).any(|signal| signal == "metrics"),
        "{:#?}",
        state.metrics
    );
}

#[tokio::test]
async fn an_intake_that_is_gone_holds_up_no_other() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (url, gone) = (intake.url(), format!("http://{gone}"));
    let mut variables = to(&url).to_vec();
    variables.extend([("DD_APM_PROFILING_DD_URL", gone.as_str()), ("DD_APM_DEBUGGER_DD_URL", &url)]);
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    for path in ["/profiling/v1/input", "/debugger/v2/input"] {
        assert_eq!(http(agent.ports.traces, "POST", path, &[], b"{}").await.status, 202);
    }
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "the debugger's", |s| s.requests(false).iter().any(|r| r.path == "/api/v2/debugger"))
        .await;
    lambda.asked(2).await;
}

#[tokio::test]
async fn what_is_passed_on_goes_to_further_intakes_too() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    for place in [&intake, &other] {
        // As this tracer sends it.
        place.excepts(&["content-type", "log-source", "log-service"]);
    }
    let (url, key) = (intake.url(), "ffffffffffffffffffffffffffffffff");
    let further = format!(r#"{{"{}":["{key}"]}}"#, other.url());
    let profiles = format!(r#"{{"{}/api/v2/profile":["{key}"]}}"#, other.url());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", gone.local_addr().unwrap());
    let mut variables = to(&url).to_vec();
    variables.extend([
        // The main one of profiles never answers.
        ("DD_APM_PROFILING_DD_URL", gone.as_str()),
        ("DD_APM_DEBUGGER_DD_URL", &url),
        ("DD_APM_TELEMETRY_DD_URL", &url),
        ("DD_EVP_PROXY_CONFIG_DD_URL", &url),
        ("DD_APM_PROFILING_ADDITIONAL_ENDPOINTS", &profiles),
        ("DD_APM_DEBUGGER_ADDITIONAL_ENDPOINTS", &further),
        ("DD_APM_DEBUGGER_DIAGNOSTICS_ADDITIONAL_ENDPOINTS", &further),
        ("DD_APM_TELEMETRY_ADDITIONAL_ENDPOINTS", &further),
        ("DD_APM_ADDITIONAL_ENDPOINTS", &further),
        ("DD_EVP_PROXY_CONFIG_ADDITIONAL_ENDPOINTS", &further),
    ]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let sent = [
        ("/profiling/v1/input?a=b%20c", "/api/v2/profile", Some("a=b%20c")),
        ("/debugger/v1/input?ddtags=x", "/api/v2/logs", Some("ddtags=x")),
        ("/debugger/v2/input", "/api/v2/debugger", None),
        ("/telemetry/proxy/api/v2/apmtelemetry", "/api/v2/apmtelemetry", None),
        ("/v0.1/pipeline_stats", "/api/v0.1/pipeline_stats", None),
        ("/evp_proxy/v4/api/v2/llmobs", "/api/v2/llmobs", None),
    ];
    for (path, ..) in sent {
        let answer = http(agent.ports.traces, "POST", path, &[], br#"[{"message":"hm"}]"#).await;
        assert_eq!(answer.status, 202, "{path}: {answer:?}");
    }
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&other, "a copy of each", |s| {
        let taken = s.requests(false);
        sent.iter().all(|(_, path, _)| taken.iter().any(|r| r.path == *path))
    })
    .await;
    arrives(&intake, "each", |s| {
        let taken = s.requests(false);
        sent.iter().skip(1).all(|(_, path, _)| taken.iter().any(|r| r.path == *path))
    })
    .await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = other.store().snapshot();
    for (_, path, query) in sent {
        let of_path: Vec<_> = state.requests.iter().filter(|r| r.path == path).collect();
        let [one] = of_path[..] else { panic!("{path}: {of_path:?}") };
        assert_eq!(one.query.as_deref(), query, "{path}");
    }
}
