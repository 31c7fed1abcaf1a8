//! What is set: off, to log lines, which traces are kept, how deep payloads are looked at, how many spans go at once;
//! and what is set wrongly.

use serde_json::{Value, json};

use crate::seen::{Seen, Span};
use crate::world::{World, with_env};

const EVENT: &str = r#"{"order": 17}"#;

#[tokio::test]
async fn switched_off_there_are_no_spans() {
    for world in World::both(env!("CARGO_BIN_EXE_logs"), &[("DD_TRACE_ENABLED", "false")]).await {
        let answer = world.invoke(EVENT).await;
        let invocations = "aws.lambda.enhanced.invocations";
        let there = |seen: &Seen| seen.log("order received").is_some() && seen.total(invocations).0 == 1;
        let seen = world.end(there).await;
        assert!(seen.spans.is_empty(), "{seen:#?}");
        let line = seen.log("order received").unwrap();
        assert_eq!(line["requestId"], answer.request_id.as_str());
        assert!(line["dd.trace_id"].is_null() && line["dd.span_id"].is_null(), "{line}");
    }
}

/// Even where there is an extension.
#[tokio::test]
async fn all_can_be_log_lines() {
    let env = [("DD_FLUSH_TO_LOG", "true")];
    let world = World::beside(env!("CARGO_BIN_EXE_metrics"), |config| with_env(config, &env)).await;
    let answer = world.invoke(r#"{"amounts": [12.5, 99]}"#).await;
    let there = |seen: &Seen| seen.count("aws.lambda") == 1 && seen.total("orders.amount").0 == 2;
    let printed = world.end_and_read(there).await;
    assert_eq!(printed.root(answer.request_id.as_str()).tag("cold_start"), "true");
    assert_eq!(printed.total("orders.amount").1, 111.5);
    // And nothing twice.
    let arrived = world.seen(|_| true).await;
    assert!(arrived.spans.is_empty(), "{arrived:#?}");
    assert_eq!(arrived.total("orders.amount").0, 0);
}

#[tokio::test]
async fn which_traces_are_kept() {
    type Told = (Option<i64>, &'static str, Option<f64>, Option<f64>);
    let check = async |env: &[(&str, &str)], expect: Told| {
        for world in World::both(env!("CARGO_BIN_EXE_logs"), env).await {
            let (own, called) = (world.invoke(EVENT).await, world.invoke(testkit::event("http-api")).await);
            let seen = world.end(|seen| seen.count("aws.lambda") == 2).await;
            let root = seen.root(own.request_id.as_str());
            let rates = (root.number("_dd.rule_psr"), root.number("_dd.limit_psr"));
            assert_eq!((root.priority, root.tag("_dd.p.dm"), rates.0, rates.1), expect, "{env:?}");
            // The caller has decided.
            assert_eq!(seen.root(called.request_id.as_str()).priority, Some(1), "{env:?}");
        }
    };
    check(&[], (Some(1), "-0", None, None)).await;
    check(&[("DD_TRACE_SAMPLE_RATE", "1")], (Some(2), "-3", Some(1.0), Some(1.0))).await;
    check(&[("DD_TRACE_SAMPLE_RATE", "0")], (Some(-1), "", Some(0.0), None)).await;
    let none = [("DD_TRACE_SAMPLE_RATE", "1"), ("DD_TRACE_RATE_LIMIT", "0")];
    check(&none, (Some(-1), "", Some(1.0), Some(0.0))).await;
}

#[tokio::test]
async fn payloads_down_to_a_depth() {
    let env = [("DD_CAPTURE_LAMBDA_PAYLOAD", "true"), ("DD_CAPTURE_LAMBDA_PAYLOAD_MAX_DEPTH", "1")];
    for world in World::both(env!("CARGO_BIN_EXE_workflow"), &env).await {
        let event =
            json!({"order": {"id": 17, "token": "t0p"}, "Password": "hush", "text": "x".repeat(50_000)});
        let answer = world.invoke(event.to_string()).await;
        let seen = world.end(|seen| seen.count("aws.lambda") == 1).await;
        let root = seen.root(answer.request_id.as_str());
        let order: Value = serde_json::from_str(root.tag("function.request.order")).unwrap();
        assert_eq!(order, json!({"id": 17, "token": "redacted"}));
        assert_eq!(root.tag("function.request.Password"), "redacted");
        let text = root.tag("function.request.text");
        assert!(text.len() > 1000 && text.len() < 6000, "{} bytes", text.len());
        let order: Value = serde_json::from_str(root.tag("function.response.order")).unwrap();
        assert_eq!(order["id"], 17);
    }
}

#[tokio::test]
async fn thousands_of_spans() {
    const ROWS: usize = 1500;
    for world in World::both(env!("CARGO_BIN_EXE_bulk"), &[]).await {
        let answer = world.invoke(json!({"rows": ROWS}).to_string()).await;
        assert_eq!(answer.payload, ROWS.to_string());
        let seen = world.end(|seen| seen.count("store") == ROWS && seen.count("aws.lambda") == 1).await;
        let root = seen.root(answer.request_id.as_str());
        let mut rows: Vec<u64> = Vec::new();
        for span in seen.all("store") {
            assert_eq!((&span.trace, span.parent, span.error), (&root.trace, Some(root.id), false));
            rows.push(span.field("row").parse().unwrap());
        }
        rows.sort_unstable();
        assert!(rows.iter().copied().eq(0..ROWS as u64), "each once");
        assert_eq!(root.number("datadog_lambda.dropped_spans"), None);
        if !world.has_extension() {
            let lines = world.lines();
            let traces: Vec<_> = lines.iter().filter(|line| line.starts_with(r#"{"traces""#)).collect();
            assert!(traces.len() > 3, "{} lines", traces.len());
            // One that is cut is no JSON any more.
            assert!(traces.iter().all(|line| line.len() < 256 * 1024));
        }
    }
}

/// Where a key is searched, and where it would go to, is not tried out with nonsense.
const OF_THE_KEY: &[&str] = &[
    "DATADOG_API_KEY",
    "DD_API_KEY",
    "DD_API_KEY_SECRET_ARN",
    "DD_API_KEY_SSM_ARN",
    "DD_API_KEY_SSM_NAME",
    "DD_KMS_API_KEY",
];

/// Any text of it names a target, and then nobody else may log.
const LEVELS: &str = "RUST_LOG";

/// Any text will do for these.
const ANY_TEXT: &[&str] = &["DD_DSM_EXCHANGE_NAME", "DD_ENV", "DD_SERVICE", "DD_TLS_CERT_FILE", "DD_VERSION"];

#[tokio::test]
async fn what_is_set_wrongly_is_told_once_and_stops_nothing() {
    let all = datadog_lambda_rs::settings().iter().map(|setting| setting.key);
    let set: Vec<_> =
        all.filter(|key| !key.starts_with("AWS_") && !OF_THE_KEY.contains(key) && *key != LEVELS).collect();
    assert!(set.len() > 30, "{set:?}");
    let env: Vec<_> = set.iter().map(|key| (*key, "?!")).collect();
    let world = World::alone(env!("CARGO_BIN_EXE_logs"), |config| with_env(config, &env)).await;
    let answer = world.invoke(EVENT).await;
    assert_eq!((&answer.payload[..], &answer.function_error), (&b"null"[..], &None));
    let seen = world.end(|seen| seen.count("aws.lambda") == 1 && seen.log("order received").is_some()).await;
    let root: &Span = seen.root(answer.request_id.as_str());
    // What any text will do for is what it is set to; all else is as if it were not set.
    assert_eq!((root.tag("env"), root.service.as_str(), root.priority), ("?!", "?!", Some(1)));
    for key in set {
        let prefix = format!("{key}: ");
        let said = |line: &&Value| line["message"].as_str().is_some_and(|text| text.starts_with(&prefix));
        let told: Vec<_> = seen.logs.iter().filter(said).collect();
        assert_eq!(told.len(), usize::from(!ANY_TEXT.contains(&key)), "{key}: {told:?}");
        for line in told {
            let text = line["message"].as_str().unwrap();
            assert!(line["level"] == "WARN" && text.contains("; using "), "{line}");
        }
    }
}
