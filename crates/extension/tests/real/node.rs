//! A function in Node: AWS's runtime client, Datadog's library and tracer, as their layers put them together.

use std::path::PathBuf;

use sandbox::FunctionConfig;

use crate::functions::{Language, check, folder, namespaces};
use crate::statsd;

const NODE: Language = Language { name: "Node", error: "OutOfStock", imports: "aws.lambda.require" };

fn modules() -> PathBuf {
    let home = std::env::var_os("REAL_NODE").expect("REAL_NODE: cargo xtask test --only real");
    PathBuf::from(home).join("node_modules")
}

fn function(name: &str) -> FunctionConfig {
    let modules = modules();
    let handler = modules.join("datadog-lambda-js/dist/handler.handler");
    let (handler, client) = (handler.to_string_lossy(), modules.join("aws-lambda-ric/index.mjs"));
    let mut words = vec!["node".to_owned()];
    if !namespaces() {
        words.extend(["--require".to_owned(), "./by_settings.js".to_owned()]);
    }
    words.extend([client.to_string_lossy().into_owned(), handler.clone().into_owned()]);
    FunctionConfig::new(name, words)
        .runtime("nodejs20.x")
        .handler(handler)
        .working_dir(folder("node"))
        .env("NODE_PATH", modules.to_string_lossy())
        .env("DD_LAMBDA_HANDLER", "app.handler")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node with Datadog's library: cargo xtask test --only real"]
async fn node_functions_are_in_their_callers_traces() {
    check(&NODE, function).await;
}

#[tokio::test]
#[ignore = "needs Node with hot-shots: cargo xtask test --only real"]
async fn all_that_hot_shots_tells() {
    let variables = [("NODE_PATH", modules().to_string_lossy().into_owned())];
    statsd::check(&statsd::sent(&folder("node"), &["node", "statsd.js"], &variables).await);
}
