//! A function in Python: AWS's runtime client, Datadog's library and tracer, as their layers put them together.

use sandbox::FunctionConfig;

use crate::functions::{Language, check, folder, namespaces};
use crate::statsd;

const PYTHON: Language = Language { name: "Python", error: "app.OutOfStock", imports: "aws.lambda.import" };

fn program() -> String {
    std::env::var("REAL_PYTHON").expect("REAL_PYTHON: cargo xtask test --only real")
}

fn function(name: &str) -> FunctionConfig {
    let python = program();
    let words: &[&str] = match namespaces() {
        true => &["-m", "awslambdaric", "datadog_lambda.handler.handler"],
        false => &["by_settings.py"],
    };
    FunctionConfig::new(name, [&*python].into_iter().chain(words.iter().copied()))
        .runtime("python3.11")
        .handler("datadog_lambda.handler.handler")
        .working_dir(folder("python"))
        .env("DD_LAMBDA_HANDLER", "app.handler")
        .env("PYTHONDONTWRITEBYTECODE", "1")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python with Datadog's library: cargo xtask test --only real"]
async fn python_functions_are_in_their_callers_traces() {
    check(&PYTHON, function).await;
}

#[tokio::test]
#[ignore = "needs Python with Datadog's library: cargo xtask test --only real"]
async fn all_that_datadogs_dogstatsd_client_for_python_tells() {
    let variables = [("PYTHONDONTWRITEBYTECODE", "1".to_owned())];
    statsd::check(&statsd::sent(&folder("python"), &[&program(), "statsd.py"], &variables).await);
}
