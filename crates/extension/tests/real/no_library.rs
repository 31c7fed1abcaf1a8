//! Functions without a line of Datadog's in them: started by our wrapper, their invocations have their spans in the
//! caller's trace all the same. In Python here; the same for other languages beside.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use intake::{Intake, Snapshot, SpanView, State, TraceView};
use sandbox::{FunctionConfig, InvokeOptions, InvokeResult, Lambda, LambdaConfig};
use serde_json::{Value, json};

const WRAPPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/layer/datadog_wrapper");
/// The caller's trace, and its span.
pub(crate) const TRACE: u64 = 1_234_567_890_123_456_789;
pub(crate) const PARENT: u64 = 77;
/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const HANDLER: &str = r#"
import os

class OutOfStock(Exception):
    pass

def handler(event, context):
    if event.get("rawPath") == "/fail":
        raise OutOfStock("none left")
    return {"statusCode": 503, "body": os.environ["AWS_LAMBDA_RUNTIME_API"]}
"#;

/// A function, and the runtime that it is run by. It answers 503 with the address of Lambda that it knows, and throws
/// `OutOfStock: none left` when asked for `/fail`.
pub(crate) struct Function<'a> {
    pub(crate) command: Vec<String>,
    pub(crate) file: (&'a str, &'a str),
    /// What the stack has of the line that throws.
    pub(crate) thrown: &'a str,
    pub(crate) variables: Vec<(&'a str, String)>,
}

/// A folder with a file, gone at the end.
pub(crate) struct Task(pub(crate) PathBuf);

impl Task {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("no-library-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        Self(folder)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Beside the extension, all that it has sent to the intake.
pub(crate) fn beside_the_extension(config: FunctionConfig, intake: &Intake) -> FunctionConfig {
    let config = config
        .extension(env!("CARGO_BIN_EXE_datadog-agent"))
        .timeout(PATIENCE)
        .init_limit(PATIENCE)
        .max_sandboxes(1)
        .env("DD_API_KEY", "0123456789abcdef0123456789abcdef");
    let url = intake.url();
    let urls = ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"];
    urls.into_iter().fold(config, |config, name| config.env(name, &url))
}

/// A request to an HTTP API, of a caller that has a trace.
pub(crate) async fn request(lambda: &Lambda, path: &str) -> InvokeResult {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "isBase64Encoded": false,
        "headers": {
            "x-datadog-trace-id": TRACE.to_string(), "x-datadog-parent-id": PARENT.to_string(),
            "x-datadog-sampling-priority": "1", "user-agent": "a caller", "host": "api.example.com",
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "a1b2c3", "domainName": "api.example.com", "domainPrefix": "api",
            "stage": "$default", "routeKey": "$default", "requestId": "q", "time": "01/Jan/2026:00:00:00 +0000",
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "a caller"},
            "timeEpoch": 1_700_000_000_000u64,
        },
    });
    let answer = lambda.invoke("orders", Bytes::from(event.to_string()), InvokeOptions::default());
    tokio::time::timeout(2 * PATIENCE, answer).await.expect("no answer").unwrap()
}

/// Ends the sandbox, with which what is left is sent; gives what has arrived once there are so many invocations.
pub(crate) async fn arrived(lambda: Lambda, intake: &Intake, roots: usize) -> Snapshot {
    let all = |s: &State| {
        let named =
            |name: &str| s.traces().iter().flat_map(|t| &t.spans).filter(|span| span.name == name).count();
        named("aws.lambda") == roots && named("aws.lambda.cold_start") == 1
    };
    lambda.shutdown().await;
    let arrived = intake.store().wait_until(all, Instant::now() + PATIENCE).await;
    let state = intake.store().snapshot();
    assert!(arrived, "{:#?}\n{:#?}", state.traces, lambda.timeline());
    assert_eq!(state.counts.failed_requests, 0, "{:#?}", state.requests);
    state
}

/// What the intake has of the caller's trace, with the names that tell of invocations: each below what brought it.
pub(crate) fn callers(state: &Snapshot) -> &TraceView {
    let trace = state.traces.iter().find(|trace| trace.trace_id.low() == TRACE).unwrap();
    let (roots, inferred) = (named(trace, "aws.lambda"), named(trace, "aws.httpapi"));
    assert_eq!(roots.len(), inferred.len(), "{trace:#?}");
    assert_eq!(named(trace, "aws.lambda.cold_start").len(), 1, "{trace:#?}");
    assert!(inferred.iter().all(|span| span.parent_id.map(model::SpanId::get) == Some(PARENT)), "{trace:#?}");
    for root in &roots {
        assert_eq!(
            inferred.iter().filter(|span| root.parent_id == Some(span.span_id)).count(),
            1,
            "{trace:#?}"
        );
        assert_eq!(root.tag("function_trigger.event_source"), Some("api-gateway"), "{trace:#?}");
        assert_eq!(root.tag("http.method"), Some("GET"), "{trace:#?}");
    }
    trace
}

pub(crate) fn named<'t>(trace: &'t TraceView, name: &str) -> Vec<&'t SpanView> {
    trace.spans.iter().filter(|span| span.name == name).collect()
}

/// Runs one with two requests; gives the first answer and what has arrived.
pub(crate) async fn check(function: &Function<'_>) -> (Value, Snapshot) {
    let (name, text) = function.file;
    let (task, intake) = (Task::new(name, text), Intake::start().await.unwrap());
    let command = [WRAPPER.to_owned()].into_iter().chain(function.command.clone());
    let config = FunctionConfig::new("orders", command)
        .working_dir(&task.0)
        .handler("app.handler")
        .env("DD_EXPERIMENTAL_ENABLE_PROXY", "true");
    let config = function.variables.iter().fold(config, |config, (name, value)| config.env(*name, value));
    let config = beside_the_extension(config, &intake);
    let lambda = Lambda::start(vec![config], LambdaConfig::default()).await.unwrap();
    let answer = request(&lambda, "/orders").await;
    let body: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(body["statusCode"], 503, "{body} {:#?}", lambda.timeline());
    // The function calls Lambda by way of the extension.
    assert!(body["body"].as_str().unwrap().starts_with("127.0.0.1:"), "{body}");
    let failed = request(&lambda, "/fail").await;
    assert!(failed.function_error.is_some(), "{failed:?}");
    let state = arrived(lambda, &intake, 2).await;

    let trace = callers(&state);
    let roots = named(trace, "aws.lambda");
    assert!(roots.iter().all(|root| root.error), "{roots:#?}");
    let told = |key: &str| roots.iter().filter_map(|span| span.tag(key)).collect::<Vec<_>>();
    assert_eq!(told("http.status_code"), ["503"]);
    assert_eq!((told("error.type"), told("error.message")), (vec!["OutOfStock"], vec!["none left"]));
    assert!(told("error.stack")[0].contains(function.thrown), "{roots:#?}");
    (body, state)
}

#[tokio::test]
#[ignore = "needs Python with AWS's runtime client: cargo xtask test --only real"]
async fn a_python_function_without_any_library_is_in_its_callers_trace() {
    let python = std::env::var("REAL_PYTHON").expect("REAL_PYTHON: cargo xtask test --only real");
    let function = Function {
        command: [&python, "-m", "awslambdaric", "app.handler"].map(str::to_owned).to_vec(),
        file: ("app.py", HANDLER),
        thrown: "raise OutOfStock",
        variables: Vec::new(),
    };
    check(&function).await;
}
