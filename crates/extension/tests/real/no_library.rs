//! A function in Python as AWS's own runtime client runs it, without a line of Datadog's in it: started by our
//! wrapper, its invocations have their spans in the caller's trace all the same.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use intake::{Intake, SpanView, State};
use sandbox::{FunctionConfig, InvokeOptions, InvokeResult, Lambda, LambdaConfig};
use serde_json::json;

use crate::fake_lambda::PATIENCE;

const WRAPPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/layer/datadog_wrapper");
const TRACE: u64 = 1_234_567_890_123_456_789;

const HANDLER: &str = r#"
import os

class OutOfStock(Exception):
    pass

def handler(event, context):
    if event.get("rawPath") == "/fail":
        raise OutOfStock("none left")
    return {"statusCode": 503, "body": os.environ["AWS_LAMBDA_RUNTIME_API"]}
"#;

/// A folder with the handler, gone at the end.
struct Task(PathBuf);

impl Task {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("no-library-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("app.py"), HANDLER).unwrap();
        Self(folder)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn function(task: &Path, intake: &Intake) -> FunctionConfig {
    let python = std::env::var("REAL_PYTHON").expect("REAL_PYTHON: cargo xtask test --only real");
    let config = FunctionConfig::new("orders", [WRAPPER, &python, "-m", "awslambdaric", "app.handler"])
        .extension(env!("CARGO_BIN_EXE_datadog-agent"))
        .working_dir(task)
        .timeout(Duration::from_secs(30))
        .env("DD_API_KEY", "0123456789abcdef")
        .env("DD_EXPERIMENTAL_ENABLE_PROXY", "true");
    let url = intake.url();
    let urls = ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"];
    urls.into_iter().fold(config, |config, name| config.env(name, &url))
}

async fn invoke(lambda: &Lambda, path: &str) -> InvokeResult {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path,
        "headers": {"x-datadog-trace-id": TRACE.to_string(), "x-datadog-parent-id": "77", "x-datadog-sampling-priority": "1"},
        "requestContext": {"accountId": "123456789012", "apiId": "a1b2c3", "domainName": "api.example.com", "stage": "$default",
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4"}, "timeEpoch": 1_700_000_000_000u64},
    });
    let answer = lambda.invoke("orders", Bytes::from(event.to_string()), InvokeOptions::default());
    tokio::time::timeout(PATIENCE * 3, answer).await.unwrap().unwrap()
}

#[tokio::test]
#[ignore = "needs Python with AWS's runtime client: cargo xtask test --only real"]
async fn a_python_function_without_any_library_is_in_its_callers_trace() {
    let (task, intake) = (Task::new(), Intake::start().await.unwrap());
    let lambda = Lambda::start(vec![function(&task.0, &intake)], LambdaConfig::default()).await.unwrap();
    let answer = invoke(&lambda, "/orders").await;
    let body: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(body["statusCode"], 503, "{body} {:#?}", lambda.timeline());
    // The function calls Lambda by way of the extension.
    assert!(body["body"].as_str().unwrap().starts_with("127.0.0.1:"), "{body}");
    let failed = invoke(&lambda, "/fail").await;
    assert!(failed.function_error.is_some(), "{failed:?}");
    let roots = |s: &State| {
        let traces = s.traces();
        traces.iter().flat_map(|t| &t.spans).filter(|span| span.name == "aws.lambda").count()
    };
    let all = |s: &State| roots(s) == 2 && s.traces().iter().any(|t| has(&t.spans, "aws.lambda.cold_start"));
    let arrived = intake.store().wait_until(all, Instant::now() + PATIENCE).await;
    lambda.shutdown().await;
    let state = intake.store().snapshot();
    assert!(arrived, "{:#?}\n{:#?}", state.traces, lambda.timeline());

    let trace = state.traces.iter().find(|trace| trace.trace_id.low() == TRACE).unwrap();
    let spans = |name: &str| trace.spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (roots, inferred) = (spans("aws.lambda"), spans("aws.httpapi"));
    assert_eq!((roots.len(), inferred.len(), spans("aws.lambda.cold_start").len()), (2, 2, 1), "{trace:#?}");
    assert!(inferred.iter().all(|span| span.parent_id.map(model::SpanId::get) == Some(77)), "{trace:#?}");
    for root in &roots {
        assert!(inferred.iter().any(|span| root.parent_id == Some(span.span_id)), "{trace:#?}");
        assert!(root.error, "{root:#?}");
    }
    let told = |key: &str| roots.iter().filter_map(|span| span.tag(key)).collect::<Vec<_>>();
    assert_eq!(told("http.status_code"), ["503"]);
    assert_eq!((told("error.type"), told("error.message")), (vec!["OutOfStock"], vec!["none left"]));
    assert!(told("error.stack")[0].contains("raise OutOfStock"), "{trace:#?}");
    assert_eq!(told("function_trigger.event_source"), ["api-gateway", "api-gateway"]);
}

fn has(spans: &[SpanView], name: &str) -> bool {
    spans.iter().any(|span| span.name == name)
}
