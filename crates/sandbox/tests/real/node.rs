//! AWS's own runtime client for Node in the sandbox. `REAL_NODE` is a folder with the package.

use std::path::PathBuf;

use sandbox::{FunctionConfig, Lambda, LambdaConfig, Mode};
use serde_json::json;

use crate::{Folder, PATIENCE, body, invoke};

const APP: &str = r#"
const { readdirSync, writeFileSync } = require("fs");
const { join } = require("path");

class OutOfStock extends Error {}
OutOfStock.prototype.name = "OutOfStock";

exports.handler = async (event, context) => {
  console.log("got", event.n);
  if (event.fail) throw new OutOfStock("asked for");
  return {
    n: event.n,
    id: context.awsRequestId,
    arn: context.invokedFunctionArn,
    left: context.getRemainingTimeInMillis() > 0,
    custom: context.clientContext?.custom ?? context.clientContext?.Custom,
    pid: process.pid,
    runtime: process.env.AWS_EXECUTION_ENV,
  };
};

exports.parts = awslambda.streamifyResponse(async (event, stream) => {
  for (const part of event.parts) stream.write(part);
  stream.end();
});

// Ends when the other one is here, too.
exports.meet = async (event) => {
  writeFileSync(join(event.place, String(event.n)), "");
  while (readdirSync(event.place).length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  return event.n;
};
"#;

fn function(folder: &Folder, handler: &str) -> FunctionConfig {
    let home = PathBuf::from(std::env::var_os("REAL_NODE").expect("REAL_NODE: cargo xtask test --only real"));
    let client = home.join("node_modules/aws-lambda-ric/index.mjs");
    std::fs::write(folder.0.join("app.js"), APP).unwrap();
    FunctionConfig::new("f", ["node", &client.to_string_lossy(), handler])
        .runtime("nodejs20.x")
        .handler(handler)
        .working_dir(&folder.0)
        .timeout(PATIENCE)
}

async fn start(function: FunctionConfig) -> Lambda {
    Lambda::start(vec![function.max_sandboxes(1)], LambdaConfig::default()).await.unwrap()
}

#[tokio::test]
#[ignore = "needs aws-lambda-ric: cargo xtask test --only real"]
async fn aws_lambda_ric_runs_node_handlers() {
    let folder = Folder::new("node");
    let lambda = start(function(&folder, "app.handler")).await;
    let mut pids = Vec::new();
    for n in [1, 2] {
        let result = invoke(&lambda, json!({ "n": n })).await;
        let mut answer = body(&result);
        pids.push(answer["pid"].take());
        let expect = json!({
            "n": n,
            "id": result.request_id.as_str(),
            "arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
            "left": true,
            "custom": { "a": "1" },
            "pid": null,
            "runtime": "AWS_Lambda_nodejs20.x",
        });
        assert_eq!(answer, expect);
    }
    assert_eq!(pids[0], pids[1], "the second is warm");
    let failed = invoke(&lambda, json!({ "fail": true })).await;
    let told = body(&failed);
    assert_eq!(failed.function_error.as_deref(), Some("Unhandled"));
    assert_eq!((&told["errorType"], &told["errorMessage"]), (&json!("OutOfStock"), &json!("asked for")));
    lambda.shutdown().await;
}

#[tokio::test]
#[ignore = "needs aws-lambda-ric: cargo xtask test --only real"]
async fn aws_lambda_ric_streams_a_response() {
    let folder = Folder::new("node-stream");
    let lambda = start(function(&folder, "app.parts")).await;
    let result = invoke(&lambda, json!({ "parts": ["one ", "two ", "three"] })).await;
    assert_eq!((&result.payload[..], &result.function_error), (&b"one two three"[..], &None));
    lambda.shutdown().await;
}

#[tokio::test]
#[ignore = "needs aws-lambda-ric: cargo xtask test --only real"]
async fn aws_lambda_ric_runs_several_at_a_time() {
    let folder = Folder::new("node-managed");
    let function = function(&folder, "app.meet").mode(Mode::ManagedInstances { concurrency: 2 });
    let lambda = start(function.env("AWS_LAMBDA_NODEJS_WORKER_COUNT", "2")).await;
    let event = |n: u64| json!({ "n": n, "place": folder.0.join("place") });
    let (a, b) = tokio::join!(invoke(&lambda, event(1)), invoke(&lambda, event(2)));
    assert_eq!((body(&a), body(&b)), (json!(1), json!(2)));
    lambda.shutdown().await;
}
