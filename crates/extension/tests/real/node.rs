//! A function in Node: AWS's runtime client, Datadog's library and tracer, as their layers put them together.

use std::path::PathBuf;

use sandbox::FunctionConfig;

use crate::functions::{Language, check, folder, namespaces};
use crate::{no_library, statsd};

const NODE: Language = Language { name: "Node", error: "OutOfStock", imports: "aws.lambda.require" };

/// Without a library.
const HANDLER: &str = r#"
class OutOfStock extends Error {}
OutOfStock.prototype.name = "OutOfStock";

exports.handler = async (event) => {
  if (event.rawPath === "/fail") throw new OutOfStock("none left");
  return { statusCode: 503, body: process.env.AWS_LAMBDA_RUNTIME_API };
};
"#;

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
#[ignore = "needs Node with AWS's runtime client: cargo xtask test --only real"]
async fn a_node_function_without_any_library_is_in_its_callers_trace() {
    let client = modules().join("aws-lambda-ric/index.mjs").to_string_lossy().into_owned();
    let function = no_library::Function {
        command: ["node", &client, "app.handler"].map(str::to_owned).to_vec(),
        file: ("app.js", HANDLER),
        thrown: "app.js:6",
        variables: Vec::new(),
    };
    no_library::check(&function).await;
}

#[tokio::test]
#[ignore = "needs Node with hot-shots: cargo xtask test --only real"]
async fn all_that_hot_shots_tells() {
    let variables = [("NODE_PATH", modules().to_string_lossy().into_owned())];
    statsd::check(&statsd::sent(&folder("node"), &["node", "statsd.js"], &variables).await);
}
