//! What goes in comes out: traces, metrics, logs and platform records of invocations.

use std::time::{Duration, Instant};

use intake::{LogFilter, MetricType};
use model::SpanId;

use crate::agent::{Agent, http};
use crate::fake_lambda::{ARN, FakeLambda};
use crate::records::{TRACE, delivery, log, report, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_invocation_gives_its_traces_metrics_and_logs() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([("DD_SERVICE", "Shop"), ("DD_ENV", "test"), ("DD_TAGS", "team:a")]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;

    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1"), log("hello from the function")])).await;
    let answer = agent.put_traces(&traces(5)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"rate_by_service":{}}"#));
    agent.metric("orders.size:3:5|d|#size:l\norders.size:4|d|#size:l");
    arrives_at_port(&agent).await;
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;

    arrives(&intake, "span", |s| s.traces().iter().any(|t| t.spans.iter().any(|s| s.span_id.get() == 5)))
        .await;
    arrives(&intake, "metric", |s| {
        s.metrics("orders.size").iter().map(|m| m.total.count()).sum::<u64>() == 3
    })
    .await;
    arrives(&intake, "log", |s| {
        s.logs(&LogFilter::default()).iter().any(|l| l.message.contains("hello from"))
    })
    .await;

    lambda.invoke("r-2", MINUTE);
    agent.telemetry(&delivery(&[report("r-1"), start("r-2"), runtime_done("r-2")])).await;
    lambda.asked(3).await;
    let billed = |s: &intake::State| !s.metrics("aws.lambda.enhanced.billed_duration").is_empty();
    arrives(&intake, "billed_duration", billed).await;

    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());

    let state = intake.store().snapshot();
    let size = state.metrics.iter().find(|m| m.name == "orders.size").unwrap();
    assert_eq!(
        (size.kind, size.tag("size"), size.tag("team")),
        (MetricType::Distribution, Some("l"), Some("a"))
    );
    let log = state.logs.iter().find(|l| l.message.contains("hello from")).unwrap();
    assert_eq!(
        (log.arn.as_str(), log.request_id.as_deref(), log.service.as_str()),
        (ARN, Some("r-1"), "shop")
    );
    for name in ["invocations", "duration", "max_memory_used", "init_duration", "runtime_duration"] {
        let name = format!("aws.lambda.enhanced.{name}");
        assert!(state.metrics.iter().any(|m| m.name == name), "{name}");
    }
    assert_eq!(state.counts.failed_requests, 0);
    let trace = state.traces.iter().find(|t| t.trace_id.low() == TRACE).unwrap();
    assert!(trace.spans.iter().all(|s| s.copies == 1), "{trace:?}");
    assert!(
        state.requests.iter().all(|r| r.headers.iter().any(|(n, v)| n == "content-encoding" && v == "zstd"))
    );
}

/// Every line belongs to a service: the one that is set, else the function. What a line names itself goes before both.
#[tokio::test]
async fn lines_without_a_service_are_of_the_functions() {
    for (set, want) in [("", "orders"), ("Shop", "shop")] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let url = intake.url();
        let mut variables = to(&url).to_vec();
        variables.push(("DD_SERVICE", set));
        let mut agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        lambda.invoke("r-1", MINUTE);
        let own = log(r#"{"message":"own","service.name":"billing"}"#);
        let records = [start("r-1"), log("hello"), own, runtime_done("r-1"), report("r-1")];
        agent.telemetry(&delivery(&records)).await;
        lambda.asked(2).await;
        lambda.shutdown(Duration::from_secs(2));
        assert!(agent.ended().await.success());
        let logs = intake.store().snapshot().logs;
        let mut services: Vec<_> = logs
            .iter()
            .map(|line| (line.message.split(' ').next().unwrap(), line.service.as_str()))
            .filter(|(_, service)| *service != "billing")
            .collect();
        services.sort_unstable();
        assert_eq!(services, ["END", "REPORT", "START", "hello"].map(|line| (line, want)));
        assert_eq!(logs.len(), 5);
    }
}

/// A datagram has no answer: one that was sent is read before a request that came after it.
async fn arrives_at_port(agent: &Agent) {
    assert_eq!(http(agent.ports.traces, "GET", "/info", &[], b"").await.status, 200);
}

#[tokio::test]
async fn start_and_end_calls_give_the_invocation_span() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let id = [("lambda-runtime-aws-request-id", "r-1")];
    let event = br#"{"headers":{"x-datadog-trace-id":"1234567890123456789","x-datadog-parent-id":"77",
        "x-datadog-sampling-priority":"2","x-datadog-tags":"_dd.p.tid=66a1b2c300000000"}}"#;
    let answer = http(agent.ports.lifecycle, "POST", "/lambda/start-invocation", &id, event).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!(answer.header("x-datadog-trace-id"), Some("1234567890123456789"));
    assert_eq!(answer.header("x-datadog-sampling-priority"), Some("2"));
    assert_eq!(answer.header("x-datadog-tags"), Some("_dd.p.tid=66a1b2c300000000"));

    agent.telemetry(&delivery(&[start("r-1")])).await;
    let headers = [
        ("lambda-runtime-aws-request-id", "r-1"),
        ("x-datadog-trace-id", "1234567890123456789"),
        ("x-datadog-span-id", "99"),
        ("x-datadog-invocation-error", "true"),
        ("x-datadog-invocation-error-type", "S2FwdXR0"),
    ];
    let answer = http(agent.ports.lifecycle, "POST", "/lambda/end-invocation", &headers, b"{}").await;
    assert_eq!(answer.status, 200);
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;

    let is_there =
        |s: &intake::State| s.traces().iter().any(|t| t.spans.iter().any(|s| s.name == "aws.lambda"));
    arrives(&intake, "aws.lambda", is_there).await;
    let traces = intake.store().snapshot().traces;
    let trace = traces.iter().find(|t| t.trace_id.low() == TRACE).unwrap();
    let span = trace.spans.iter().find(|s| s.name == "aws.lambda").unwrap();
    assert_eq!((span.span_id.get(), span.parent_id.map(SpanId::get)), (99, Some(77)));
    assert_eq!(
        (span.error, span.tag("error.type"), span.tag("request_id")),
        (true, Some("Kaputt"), Some("r-1"))
    );
}

#[tokio::test]
async fn traces_come_through_a_unix_socket_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let path = std::env::temp_dir().join(format!("apm-{}.sock", std::process::id()));
    // One that was left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    let path_text = path.to_str().unwrap().to_owned();
    variables.push(("DD_APM_RECEIVER_SOCKET", &path_text));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let body = traces(6);
    let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
    let head = format!(
        "PUT /v0.4/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "span", |s| s.counts().spans > 0).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_shutdown_sends_what_is_left_and_ends_in_time() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    assert_eq!(agent.put_traces(&traces(8)).await.status, 200);
    agent.metric("late:1|c");
    arrives_at_port(&agent).await;
    let begun = Instant::now();
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let state = intake.store().snapshot();
    assert_eq!(state.counts.spans, 1, "{state:#?}");
    assert!(state.metrics.iter().any(|m| m.name == "late"), "{state:#?}");
}

#[tokio::test]
async fn a_large_request_is_taken_and_one_too_large_is_not() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let answer = agent.put_traces(&vec![0xc0; (50 << 20) + 1]).await;
    assert_eq!(answer.status, 413);
    let answer =
        http(agent.ports.lifecycle, "POST", "/lambda/end-invocation", &[], &vec![b' '; 7 << 20]).await;
    assert_eq!(answer.status, 413);
    assert_eq!(agent.put_traces(&traces(9)).await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "span", |s| s.traces().iter().any(|t| t.spans.iter().any(|s| s.span_id.get() == 9)))
        .await;
    assert!(agent.is_alive());
}

#[tokio::test]
async fn a_client_that_stalls_blocks_nobody() {
    use tokio::io::AsyncWriteExt;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    let mut stalled = tokio::net::TcpStream::connect(("127.0.0.1", agent.ports.traces)).await.unwrap();
    stalled.write_all(b"PUT /v0.4/traces HTTP/1.1\r\ncontent-length: 100\r\n\r\n\x91").await.unwrap();
    let mut other = tokio::net::TcpStream::connect(("127.0.0.1", agent.ports.traces)).await.unwrap();
    other.write_all(b"PUT /v0.4/tra").await.unwrap();
    assert_eq!(agent.put_traces(&traces(3)).await.status, 200);
}
