//! `DD_UNIVERSAL_INSTRUMENTATION` with the real extension in a local Lambda: who makes the span of the invocation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use intake::{Intake, SpanView, State, TraceView};
use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig};

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
const EVENT: &str = include_str!("../../testkit/events/http-api.json");
const SPANS: [&str; 5] = ["aws.httpapi", "aws.lambda", "look_up_tax", "price_order", "reserve_stock"];

/// Beside the functions of this package, when the whole workspace was built.
fn extension() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_interop-universal")).with_file_name("datadog-agent");
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo).args(["build", "--package", "extension"]).status().unwrap();
        assert!(built.success() && path.exists(), "no {}", path.display());
    }
    path
}

fn has_all(state: &State) -> bool {
    let traces = state.traces();
    let names: Vec<_> = traces.iter().flat_map(|trace| &trace.spans).map(|span| span.name.as_str()).collect();
    SPANS.iter().all(|name| names.contains(name))
}

/// The trace of one invocation, but for the span of the cold start: each span with its status code, and how often
/// it came.
async fn trace(universal: bool) -> String {
    let intake = Intake::start().await.unwrap();
    let mut function = FunctionConfig::new("orders", [env!("CARGO_BIN_EXE_interop-universal")])
        .extension(extension())
        .timeout(PATIENCE)
        .env("DD_API_KEY", "0123456789abcdef")
        .env("DD_UNIVERSAL_INSTRUMENTATION", universal.to_string());
    for name in ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"] {
        function = function.env(name, intake.url());
    }
    let lambda = Lambda::start(vec![function], LambdaConfig::default()).await.unwrap();
    let answer = lambda.invoke("orders", EVENT.into(), InvokeOptions::default());
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!((answer.status, &answer.function_error), (200, &None), "{answer:?}");
    lambda.shutdown().await;
    let arrived = intake.store().wait_until(has_all, Instant::now() + PATIENCE).await;
    let snapshot = intake.store().snapshot();
    assert!(arrived, "{snapshot:#?}");
    let [trace] = &snapshot.traces[..] else { panic!("{:#?}", snapshot.traces) };
    let spans = trace.spans.iter().filter(|span| span.name != "aws.lambda.cold_start");
    let lines = spans.map(|span| {
        let status = span.tag("http.status_code").unwrap_or("-");
        format!("{} {} {} {status} x{}", parent(trace, span), span.name, span.resource, span.copies)
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    format!("{}\n{}", trace.trace_id, lines.join("\n"))
}

fn parent<'a>(trace: &'a TraceView, span: &SpanView) -> &'a str {
    let parent = trace.spans.iter().find(|other| Some(other.span_id) == span.parent_id);
    parent.map_or("-", |parent| parent.name.as_str())
}

const TRACE: &str = "66a1b2c300000000112210f47de98115
- aws.httpapi GET /orders/{id} 200 x1
aws.httpapi aws.lambda orders 200 x1
aws.lambda price_order price_order - x1
aws.lambda reserve_stock reserve_stock - x1
price_order look_up_tax look_up_tax - x1";

/// The library has sent a span that only stands for the invocation: without the extension there would be none.
#[tokio::test]
async fn the_extension_makes_the_span_of_the_invocation() {
    assert_eq!(trace(true).await, TRACE);
}

/// The library's own trace has the span of its start, too.
#[tokio::test]
async fn the_library_does_unless_told_otherwise() {
    let trace = trace(false).await;
    let (load, others): (Vec<_>, Vec<_>) = trace.lines().partition(|line| line.contains("aws.lambda.load"));
    assert_eq!((load.len(), others.join("\n").as_str()), (1, TRACE), "{trace}");
}
