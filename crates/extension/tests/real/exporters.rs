//! OpenTelemetry's own exporters, those for Python, over HTTP and over gRPC: what they are told, and what is at the
//! intake then.

use std::process::Stdio;
use std::time::{Duration, Instant};

use intake::{Intake, LogFilter, MetricType, MetricValue, Snapshot, SpanView, State};
use model::TraceId;
use tokio::process::Command;

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::functions::folder;
use crate::ports::Ports;
use crate::records::{TRACE, delivery, runtime_done, start};

const HTTP: &str = "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT";
const GRPC: &str = "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_ENDPOINT";

/// What arrives of all that the exporters of one protocol send.
async fn exported(protocol: &str) -> Snapshot {
    let (lambda, intake, ports) = (FakeLambda::start().await, Intake::start().await.unwrap(), Ports::free());
    let listening = format!("127.0.0.1:{}", ports.traces);
    let url = intake.url();
    let mut variables = vec![(if protocol == "http" { HTTP } else { GRPC }, listening.as_str())];
    variables.extend(["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map(|name| (name, &*url)));
    variables.push(("DD_OTLP_CONFIG_LOGS_ENABLED", "true"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", 10 * PATIENCE);
    let python = std::env::var("REAL_PYTHON").expect("REAL_PYTHON: cargo xtask test --only real");
    let mut exporters = Command::new(python);
    exporters.current_dir(folder("python")).env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    exporters.args(["exporters.py", protocol, &format!("http://{listening}")]);
    exporters.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = tokio::time::timeout(10 * PATIENCE, exporters.output()).await.expect("no end").unwrap();
    // They tell of what is not taken.
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(agent.printed(), "");
    let all = |state: &State| state.counts().spans >= 4 && state.logs(&LogFilter::default()).len() >= 2;
    assert!(
        intake.store().wait_until(all, Instant::now() + PATIENCE).await,
        "{:#?}",
        intake.store().snapshot()
    );
    let state = intake.store().snapshot();
    if let Some(path) = std::env::var_os("REAL_STATE") {
        std::fs::write(path, serde_json::to_string(&state).unwrap()).unwrap();
    }
    state
}

#[tokio::test]
#[ignore = "needs OpenTelemetry's exporters: cargo xtask test --only real"]
async fn all_three_signals_by_http() {
    check(&exported("http").await);
}

#[tokio::test]
#[ignore = "needs OpenTelemetry's exporters: cargo xtask test --only real"]
async fn all_three_signals_by_grpc() {
    check(&exported("grpc").await);
}

fn check(state: &Snapshot) {
    check_spans(state);
    check_measures(state);
    check_lines(state);
}

fn spans(state: &Snapshot) -> [&SpanView; 4] {
    assert_eq!(state.traces.len(), 1, "{:#?}", state.traces);
    let trace = &state.traces[0];
    assert_eq!(trace.trace_id, TraceId::new(0x66a1_b2c3_0000_0000, TRACE).unwrap());
    assert_eq!((trace.spans.len(), &trace.missing_parents[..]), (4, &["77".to_owned()][..]), "{trace:#?}");
    ["GET /orders/{id}", "SELECT ?", "send orders", "pack"].map(|resource| {
        let found = trace.spans.iter().find(|span| span.resource == resource);
        found.unwrap_or_else(|| panic!("no {resource} in {trace:#?}"))
    })
}

fn check_spans(state: &Snapshot) {
    let [request, query, sent, packed] = spans(state);
    let names =
        |span: &SpanView| (span.name.clone(), span.kind.clone(), span.tag("span.kind").unwrap().to_owned());
    let told = [
        (request, "http.server.request", "web", "server"),
        (query, "postgresql.query", "sql", "client"),
        (sent, "kafka.send", "custom", "producer"),
        (packed, "Internal", "custom", "internal"),
    ];
    for (span, name, kind, of) in told {
        assert_eq!(names(span), (name.to_owned(), kind.to_owned(), of.to_owned()));
        let tags =
            ["env", "version", "team", "functionname", "otel.scope.name"].map(|key| span.tag(key).unwrap());
        assert_eq!(tags, ["staging", "1.2", "orders", "orders", "shop.web"], "{span:#?}");
        assert_eq!(
            (span.service.as_str(), span.error),
            ("shop", span.span_id == request.span_id),
            "{span:#?}"
        );
    }
    assert!([query, sent, packed].iter().all(|span| span.parent_id == Some(request.span_id)));
    let error = ["error.type", "error.msg", "otel.status_code", "otel.status_description"]
        .map(|key| request.tag(key));
    assert_eq!(error, [Some("ValueError"), Some("out of stock"), Some("Error"), Some("none left")]);
    assert!(request.tag("error.stack").unwrap().contains("trace_requests"), "{request:#?}");
    assert_eq!(request.metrics.get("http.status_code"), Some(&500.0));
    assert_eq!(request.events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["exception"]);
    assert_eq!(query.tag("db.query.text"), Some("SELECT ?"), "{query:#?}");
    let [link] = &sent.links[..] else { panic!("{sent:#?}") };
    assert_eq!(link.trace_id.map(TraceId::to_u128), Some(0x66a1_b2c3_0000_0000_0000_0000_0000_0bad));
    assert_eq!(link.span_id.map(model::SpanId::get), Some(99));
    assert_eq!(link.attributes.get("why").map(ToString::to_string).as_deref(), Some("retry"));
    let [event] = &packed.events[..] else { panic!("{packed:#?}") };
    let attribute = |key: &str| event.attributes.get(key).map(ToString::to_string);
    assert_eq!(
        (event.name.as_str(), attribute("boxes"), attribute("sizes")),
        ("packed", Some("3".to_owned()), Some("[1,2]".to_owned()))
    );
    assert_eq!(
        (packed.metrics.get("count"), packed.metrics.get("ratio"), packed.tag("fast")),
        (Some(&3.0), Some(&0.5), Some("true"))
    );
}

fn check_measures(state: &Snapshot) {
    let metric = |name: &str| {
        let mut named = state.metrics.iter().filter(|metric| metric.name == name);
        let metric = named.next().unwrap_or_else(|| panic!("no {name} in {:#?}", state.metrics));
        assert!(named.next().is_none(), "{name} with other tags");
        assert_eq!(
            (metric.tag("service"), metric.tag("env"), metric.tag("functionname")),
            (Some("shop"), Some("staging"), Some("orders"))
        );
        metric
    };
    let numbers = [
        ("orders.taken", MetricType::Count, 12.0, Some("a")),
        ("orders.open", MetricType::Gauge, 2.0, None),
        ("orders.waiting", MetricType::Gauge, 2.5, Some("a")),
    ];
    for (name, kind, value, shop) in numbers {
        let metric = metric(name);
        assert_eq!(
            (metric.kind, metric.total, metric.tag("shop")),
            (kind, MetricValue::Number { value }, shop),
            "{name}"
        );
    }
    // Of the one there are buckets with bounds, of the other exponential ones.
    for (name, factor) in [("orders.value", 1.0), ("orders.weight", 0.1)] {
        let MetricValue::Distribution { count, sum, min, max, .. } = metric(name).total else {
            panic!("{name}")
        };
        assert_eq!(count, 3, "{name}");
        for (found, wanted) in [(sum, 60.0), (min, 10.0), (max, 30.0)] {
            assert!((found - wanted * factor).abs() < 1e-6, "{name}: {found} {wanted}");
        }
    }
}

fn check_lines(state: &Snapshot) {
    let [request, query, ..] = spans(state);
    for (text, status, span) in
        [("looking for order 17", "info", query), ("could not pack", "error", request)]
    {
        let log = state.logs.iter().find(|log| log.message.contains(text)).unwrap();
        assert_eq!(
            (log.status, log.service.as_str(), log.request_id.as_deref()),
            (status, "shop", Some("r-1")),
            "{log:#?}"
        );
        assert_eq!(
            (log.trace_id.map(TraceId::low), log.span_id),
            (Some(TRACE), Some(span.span_id)),
            "{log:#?}"
        );
        assert!(log.tags.iter().any(|tag| tag == "env:staging"), "{log:#?}");
        let line: serde_json::Value = serde_json::from_str(&log.message).unwrap();
        assert_eq!((&line["message"], &line["team"]), (&text.into(), &"orders".into()), "{line}");
        match status {
            "error" => assert_eq!(line["exception.type"], "ValueError", "{line}"),
            _ => assert_eq!(line["order"], 17, "{line}"),
        }
    }
}
