//! A web application behind AWS's own Lambda Web Adapter, an extension that is the runtime: its calls of Lambda go through
//! ours, as both read from one variable.

use intake::{Intake, Snapshot, SpanView};
use sandbox::{FunctionConfig, InvokeResult, Lambda, LambdaConfig};
use serde_json::{Value, json};

use crate::functions::{folder, namespaces, private};
use crate::no_library::{arrived, beside_the_extension, callers, named, request};
use crate::ports::Ports;

/// With the ports that documentation names where this machine allows namespaces.
fn function(intake: &Intake, variables: &[(&str, &str)]) -> FunctionConfig {
    let adapter = std::env::var("REAL_ADAPTER").expect("REAL_ADAPTER: cargo xtask test --only Adapter");
    let own = namespaces();
    eprintln!("{}", if own { "in namespaces" } else { "no namespaces here: told by settings" });
    let (proxy, app) = match own {
        true => (9002, 8080),
        false => (Ports::free().runtime, Ports::free().traces),
    };
    let config = FunctionConfig::new("orders", ["python3", "app.py"])
        .working_dir(folder("adapter"))
        .env("AWS_LWA_LAMBDA_RUNTIME_API_PROXY", format!("127.0.0.1:{proxy}"))
        .env("AWS_LWA_PORT", app.to_string())
        .env("REAL_ADAPTER", adapter)
        .env("DD_CAPTURE_LAMBDA_PAYLOAD", "true");
    let config = variables.iter().fold(config, |config, (name, value)| config.env(*name, *value));
    let config = beside_the_extension(config, intake).extension(folder("adapter/lambda-adapter"));
    if own { private(config) } else { config }
}

/// Runs it with requests for these paths; gives the answers and what has arrived.
async fn requests(variables: &[(&str, &str)], paths: &[&str]) -> (Vec<InvokeResult>, Snapshot) {
    let intake = Intake::start().await.unwrap();
    let lambda = Lambda::start(vec![function(&intake, variables)], LambdaConfig::default()).await.unwrap();
    let mut answers = Vec::new();
    for path in paths {
        answers.push(request(&lambda, path).await);
    }
    let state = arrived(lambda, &intake, paths.len()).await;
    (answers, state)
}

/// The invocation of a path.
fn root<'s>(state: &'s Snapshot, path: &str) -> &'s SpanView {
    let roots = named(callers(state), "aws.lambda");
    let mut those = roots.into_iter().filter(|span| span.tag("function.request.rawPath") == Some(path));
    those.next().unwrap_or_else(|| panic!("{path}: {state:#?}"))
}

/// Status, error, and the error's type and message.
fn outcome(span: &SpanView) -> (Option<&str>, bool, Option<&str>) {
    (span.tag("http.status_code"), span.error, span.tag("error.type"))
}

#[tokio::test]
#[ignore = "needs the Lambda Web Adapter: cargo xtask test --only Adapter"]
async fn a_web_application_behind_the_adapter_is_in_its_callers_trace() {
    let variables = [("AWS_LWA_ERROR_STATUS_CODES", "502")];
    let paths = ["/orders/17", "/teapot", "/broken", "/gone"];
    let (answers, state) = requests(&variables, &paths).await;
    let bodies: Vec<Value> = answers.iter().map(|a| serde_json::from_slice(&a.payload).unwrap()).collect();
    let statuses: Vec<_> = bodies.iter().map(|body| &body["statusCode"]).collect();
    assert_eq!(statuses, [&json!(200), &json!(418), &json!(500), &Value::Null], "{bodies:#?}");
    assert!(answers[3].function_error.is_some(), "{:?}", answers[3]);
    // The application has seen its caller's headers.
    assert_eq!(bodies[0]["body"], json!(r#"{"order": 17, "caller": "77"}"#));

    let outcomes = paths.map(|path| outcome(root(&state, path)));
    assert_eq!(outcomes[..2], [(Some("200"), false, None), (Some("418"), false, None)]);
    assert_eq!((outcomes[2].0, outcomes[2].1), (Some("500"), true));
    assert!(outcomes[3].1 && outcomes[3].2.is_some(), "{:#?}", root(&state, "/gone"));
    assert!(root(&state, "/gone").tag("error.message").unwrap().contains("502"));

    let first = root(&state, "/orders/17");
    let tags = [
        ("http.url", "https://api.example.com/orders/17"),
        ("http.useragent", "a caller"),
        ("function.request.requestContext.stage", "$default"),
        ("function.response.statusCode", "200"),
        ("function.response.body.caller", "77"),
        ("request_id", answers[0].request_id.as_str()),
        ("cold_start", "true"),
    ];
    for (key, value) in tags {
        assert_eq!(first.tag(key), Some(value), "{key}: {first:#?}");
    }
}

#[tokio::test]
#[ignore = "needs the Lambda Web Adapter: cargo xtask test --only Adapter"]
async fn a_web_application_that_streams_behind_the_adapter() {
    let variables = [("AWS_LWA_INVOKE_MODE", "response_stream")];
    let paths = ["/orders/17", "/broken"];
    let (answers, state) = requests(&variables, &paths).await;
    for answer in &answers {
        let text = String::from_utf8_lossy(&answer.payload);
        assert!(text.ends_with(r#"{"order": 17, "caller": "77"}"#), "{text}");
        assert_eq!(answer.function_error, None);
    }
    assert_eq!(outcome(root(&state, paths[0])), (Some("200"), false, None));
    let broken = outcome(root(&state, paths[1]));
    assert_eq!((broken.0, broken.1), (Some("500"), true));
}
