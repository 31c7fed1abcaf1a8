//! A function with Datadog's own library, as AWS's own runtime client runs it, in the local Lambda: with the ports and
//! places that the library knows where this machine allows namespaces, else told by settings where things are. The same
//! events for every language, and what has to be at the intake afterwards.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use intake::{Intake, LogFilter, MetricValue, MetricView, Parent, Snapshot, SpanView, State, TraceView};
use model::TraceId;
use sandbox::{FunctionConfig, InvokeOptions, InvokeResult, Lambda, LambdaConfig};
use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of the callers that the events name; the last digits tell the events apart.
const CALLER: u64 = 1_234_567_890_123_456_700;
const HIGH: u64 = 0x66a1_b2c3_0000_0000;
const PARENT: u64 = 987_654_321;

/// An event of the corpus, the span that stands for what brought it, and what the function is to do with it.
struct Case {
    event: &'static str,
    inferred: &'static str,
    source: &'static str,
    way: &'static str,
    number: u64,
}

const fn case(
    number: u64,
    event: &'static str,
    inferred: &'static str,
    source: &'static str,
    way: &'static str,
) -> Case {
    Case { event, inferred, source, way, number }
}

/// The first is the cold one.
const CASES: [Case; 5] = [
    case(1, "sqs", "aws.sqs", "sqs", ""),
    case(2, "sns", "aws.sns", "sns", ""),
    case(3, "http-api", "aws.httpapi", "api-gateway", ""),
    case(4, "eventbridge", "aws.eventbridge", "eventbridge", ""),
    case(5, "http-api", "aws.httpapi", "api-gateway", "raise"),
];
const HANGS: Case = case(6, "sqs", "aws.sqs", "sqs", "hang");

impl Case {
    fn trace(&self) -> TraceId {
        TraceId::new(HIGH, CALLER + self.number).unwrap()
    }

    /// The event, with a trace of its own, and what to do.
    fn event(&self) -> String {
        let low = self.trace().low();
        let text = testkit::event(self.event)
            .replace("1234567890123456789", &low.to_string())
            .replace("112210f47de98115", &format!("{low:016x}"));
        let mut event: Value = serde_json::from_str(&text).unwrap();
        event["do"] = self.way.into();
        event.to_string()
    }
}

/// Whether this machine allows what a network and files of its own need.
pub(crate) fn namespaces() -> bool {
    let arguments =
        ["--user", "--map-root-user", "--mount", "--net", "--", "mount", "-t", "tmpfs", "none", "/tmp"];
    let mut unshare = Command::new("unshare");
    unshare.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    std::env::var_os("REAL_WITHOUT_NAMESPACES").is_none()
        && unshare.status().is_ok_and(|status| status.success())
}

/// A folder of this one.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(name)
}

/// Beside the extension, all that it has sent to the intake.
fn beside_the_extension(function: FunctionConfig, intake: &Intake) -> FunctionConfig {
    let function = function
        .extension(env!("CARGO_BIN_EXE_datadog-agent"))
        .init_limit(PATIENCE)
        .max_sandboxes(1)
        .memory_mb(512)
        .env("DD_API_KEY", "0123456789abcdef0123456789abcdef")
        .env("DD_SERVICE", "shop")
        .env("DD_ENV", "test")
        .env("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false")
        .env("DD_REMOTE_CONFIGURATION_ENABLED", "false");
    let urls = ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"];
    urls.into_iter().fold(function, |function, name| function.env(name, intake.url()))
}

/// In a network of its own.
pub(crate) fn private(function: FunctionConfig) -> FunctionConfig {
    let probe = Path::new(env!("CARGO_BIN_EXE_datadog-agent")).with_file_name("sandbox-probe");
    assert!(probe.exists(), "{} is not built: cargo build --workspace --bins", probe.display());
    function.private([probe.to_str().unwrap(), "inside"])
}

async fn invoke(lambda: &Lambda, function: &str, case: &Case) -> InvokeResult {
    let answer = lambda.invoke(function, case.event().into(), InvokeOptions::default());
    tokio::time::timeout(2 * PATIENCE, answer).await.expect("no answer").unwrap()
}

/// How a language's libraries tell what everybody's tell.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    /// The type of the error that the function ends with.
    pub(crate) error: &'static str,
    /// Spans of what was loaded, of which there are many.
    pub(crate) imports: &'static str,
}

/// Runs two functions that a language makes with the first of the events each, and looks at what arrived.
pub(crate) async fn check(language: &Language, make: impl Fn(&str) -> FunctionConfig) {
    let own = namespaces();
    let how = if own { "in namespaces" } else { "no namespaces here: told by settings" };
    eprintln!("{}: {how}", language.name);
    let intake = Intake::start().await.unwrap();
    let function = |name: &str| beside_the_extension(make(name), &intake);
    let functions = [
        function(REGULAR).timeout(PATIENCE),
        // The library sends what is open in time, which is long before the end: the machine may be busy.
        function(LATE).timeout(Duration::from_secs(10)).env("DD_APM_FLUSH_DEADLINE_MILLISECONDS", "6000"),
    ];
    let functions = functions.into_iter().map(|function| if own { private(function) } else { function });
    let lambda = Lambda::start(functions.collect(), LambdaConfig::default()).await.unwrap();
    let regular = async {
        let mut answers = Vec::new();
        for case in &CASES {
            answers.push(invoke(&lambda, REGULAR, case).await);
        }
        answers
    };
    let (answers, late) = tokio::join!(regular, invoke(&lambda, LATE, &HANGS));
    lambda.shutdown().await;
    let arrived = intake.store().wait_until(is_all_there, Instant::now() + PATIENCE).await;
    let state = intake.store().snapshot();
    if let Some(path) = std::env::var_os("REAL_STATE") {
        std::fs::write(path, serde_json::to_string(&state).unwrap()).unwrap();
    }
    assert!(arrived, "{state:#?}\n{:#?}", lambda.timeline());
    for (n, (case, answer)) in CASES.iter().zip(&answers).enumerate() {
        assert_eq!(answer.function_error.is_some(), case.way == "raise", "{answer:?}");
        check_trace(&state, language, case, REGULAR, answer, n == 0);
    }
    check_trace(&state, language, &HANGS, LATE, &late, true);
    check_metrics(&state);
    assert_eq!(state.counts.failed_requests, 0, "{:#?}", state.requests);
}

const REGULAR: &str = "regular";
const LATE: &str = "late";

/// Every invocation's spans and line, and the last report.
fn is_all_there(state: &State) -> bool {
    let has = |case: &Case, name: &str| {
        state.trace(case.trace()).is_some_and(|trace| trace.spans.iter().any(|span| span.name == name))
    };
    let line = |case: &Case| !state.logs(&lines_of(case)).is_empty();
    let there =
        |case: &Case| has(case, case.inferred) && has(case, "aws.lambda") && has(case, "work") && line(case);
    let reports = state.metrics("aws.lambda.enhanced.duration");
    let reports = reports.iter().filter(|m| m.tag("functionname") == Some(REGULAR)).map(|m| m.total.count());
    CASES.iter().chain([&HANGS]).all(there)
        && reports.sum::<u64>() == CASES.len() as u64
        && !state.metrics("aws.lambda.enhanced.timeouts").is_empty()
}

fn lines_of(case: &Case) -> LogFilter {
    LogFilter { trace_id: Some(case.trace()), ..LogFilter::default() }
}

/// One connected trace: below the caller's span the one that stands for what brought the event, below that the
/// invocation's, below that the user's.
fn check_trace(
    state: &Snapshot,
    language: &Language,
    case: &Case,
    function: &str,
    answer: &InvokeResult,
    cold: bool,
) {
    let trace = state.traces.iter().find(|trace| trace.trace_id == case.trace()).unwrap();
    let told = format!("{} of {:#?}", case.event, own_spans(trace, language));
    assert_eq!(trace.missing_parents, [PARENT.to_string()], "{told}");
    let below_the_caller = trace.spans.iter().filter(|span| span.parent == Parent::Missing);
    let names: Vec<_> = below_the_caller.map(|span| span.name.as_str()).collect();
    assert_eq!(names, [case.inferred], "{told}");
    for span in &trace.spans {
        assert_eq!((span.copies, span.origin.as_str(), span.priority), (1, "lambda", Some(1)), "{told}");
        assert_eq!(span.tag("functionname"), Some(function), "{told}");
        assert_eq!((span.tag("env"), span.tag("_dd.origin")), (Some("test"), Some("lambda")), "{told}");
    }
    let inferred = only(trace, case.inferred);
    let (root, work) = (only(trace, "aws.lambda"), only(trace, "work"));
    assert_eq!((root.parent_id, work.parent_id), (Some(inferred.span_id), Some(root.span_id)), "{told}");
    assert_eq!(
        (root.service.as_str(), root.kind.as_str(), root.resource.as_str()),
        ("shop", "serverless", function)
    );
    assert_eq!(
        (work.resource.as_str(), work.tag("order"), work.metrics.get("items")),
        ("order 17", Some("17"), Some(&3.0))
    );
    let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:{function}");
    let tags = [
        ("request_id", answer.request_id.as_str()),
        ("cold_start", if cold { "true" } else { "false" }),
        ("function_trigger.event_source", case.source),
        ("function_arn", &arn),
        ("span.kind", "server"),
    ];
    for (key, value) in tags {
        assert_eq!(root.tag(key), Some(value), "{key}: {told}");
    }
    assert_eq!(root.metrics.get("_top_level"), Some(&1.0), "{told}");
    check_error(language, case, root, inferred, work, &told);
    // Datadog's extension makes this one. What the library was loaded with is below it.
    let cold_starts = trace.spans.iter().filter(|span| span.name == "aws.lambda.cold_start").count();
    assert_eq!(cold_starts, usize::from(cold && case.way != "hang"), "{told}");
    let lines: Vec<_> = state.logs.iter().filter(|log| lines_of(case).matches(log)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].message.contains("working on order 17"), "{lines:#?}");
    assert_eq!(
        (lines[0].span_id, lines[0].request_id.as_deref()),
        (Some(work.span_id), Some(answer.request_id.as_str()))
    );
}

fn check_error(
    language: &Language,
    case: &Case,
    root: &SpanView,
    inferred: &SpanView,
    work: &SpanView,
    told: &str,
) {
    match case.way {
        "raise" => {
            assert!(root.error && work.error, "{told}");
            let of_root = (root.tag("error.type"), root.tag("error.message"));
            assert_eq!(of_root, (Some(language.error), Some("none left")), "{told}");
            assert!(root.tag("error.stack").unwrap().contains("app."), "{told}");
            assert_eq!(root.tag("http.status_code"), Some("502"), "{told}");
        }
        // The libraries tell it of the top of what they have of the trace.
        "hang" => {
            let tops = [inferred, root].map(|span| (span.error, span.tag("error.type")));
            assert!(tops.contains(&(true, Some("Impending Timeout"))), "{told}");
        }
        _ => {
            assert!(!root.error && !work.error && !inferred.error, "{told}");
            let status = (case.source == "api-gateway").then_some("200");
            assert_eq!(root.tag("http.status_code"), status, "{told}");
        }
    }
}

fn check_metrics(state: &Snapshot) {
    let all = CASES.len() as u64;
    let regular = [
        ("invocations", all),
        ("errors", 1),
        ("timeouts", 0),
        ("out_of_memory", 0),
        ("init_duration", 1),
        ("duration", all),
        ("billed_duration", all),
        ("runtime_duration", all),
        ("max_memory_used", all),
        ("estimated_cost", all),
    ];
    for (name, times) in regular {
        assert_eq!(total(state, REGULAR, &format!("aws.lambda.enhanced.{name}")), times, "{name}");
    }
    for name in ["invocations", "errors", "timeouts"] {
        assert_eq!(total(state, LATE, &format!("aws.lambda.enhanced.{name}")), 1, "{name}");
    }
    let cold = |metric: &&MetricView| {
        metric.name == "aws.lambda.enhanced.invocations"
            && metric.tag("functionname") == Some(REGULAR)
            && metric.tag("cold_start") == Some("true")
    };
    assert_eq!(state.metrics.iter().filter(cold).map(|m| m.total.count()).collect::<Vec<_>>(), [1]);
    let own =
        |metric: &&MetricView| metric.name == "orders.value" && metric.tag("functionname") == Some(REGULAR);
    let own: Vec<_> = state.metrics.iter().filter(own).collect();
    assert_eq!(own.len(), 1, "{own:#?}");
    let MetricValue::Distribution { count, sum, .. } = own[0].total else { panic!("{own:#?}") };
    assert_eq!((count, sum, own[0].tag("shop")), (all, 12.5 * all as f64, Some("test")), "{own:#?}");
    let dropped = state.metrics.iter().filter(|m| m.name.ends_with("extension.dropped"));
    assert_eq!(dropped.count(), 0);
}

fn only<'a>(trace: &'a TraceView, name: &str) -> &'a SpanView {
    let mut named = trace.spans.iter().filter(|span| span.name == name);
    let span = named.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(named.next().is_none(), "more than one {name}");
    span
}

/// Without those of what was loaded.
fn own_spans<'a>(trace: &'a TraceView, language: &Language) -> Vec<&'a SpanView> {
    trace.spans.iter().filter(|span| span.name != language.imports).collect()
}

/// How often a metric of a function was measured.
fn total(state: &Snapshot, function: &str, name: &str) -> u64 {
    let of = state.metrics.iter().filter(|m| m.name == name && m.tag("functionname") == Some(function));
    of.map(|metric| metric.total.count()).sum()
}
