//! AWS's own runtime clients in the sandbox: that for Python here, that for Node beside. `REAL_PYTHON` is a Python that
//! has it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod node;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use sandbox::{FunctionConfig, InvokeOptions, InvokeResult, Lambda, LambdaConfig, Mode, What};
use serde_json::{Value, json};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const APP: &str = r#"
import json, os, threading, time

arrived = threading.Semaphore(0)

def handler(event, context):
    print("got", event.get("n"))
    if event.get("fail"):
        raise ValueError("asked for")
    return {
        "n": event.get("n"),
        "id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "left": context.get_remaining_time_in_millis() > 0,
        "custom": context.client_context.custom if context.client_context else None,
        "pid": os.getpid(),
        "runtime": os.environ.get("AWS_EXECUTION_ENV"),
        "wrapped": os.environ.get("WRAPPED"),
    }

def meet(event, context):
    # Ends when the other one is here, too.
    place = event["place"]
    open(os.path.join(place, str(event["n"])), "w").close()
    while len(os.listdir(place)) < 2:
        time.sleep(0.001)
    return event["n"]
"#;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sandbox-real-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("place")).unwrap();
        std::fs::write(path.join("app.py"), APP).unwrap();
        Self(path)
    }

    fn function(&self, handler: &str) -> FunctionConfig {
        let python = std::env::var("REAL_PYTHON").expect("REAL_PYTHON: cargo xtask test --only real");
        FunctionConfig::new("f", [&python, "-m", "awslambdaric", handler])
            .runtime("python3.13")
            .handler(handler)
            .working_dir(&self.0)
            .timeout(PATIENCE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn invoke(lambda: &Lambda, event: Value) -> InvokeResult {
    let options = InvokeOptions {
        client_context: Some(r#"{"custom":{"a":"1"}}"#.to_owned()),
        ..InvokeOptions::default()
    };
    let invoked = lambda.invoke("f", Bytes::from(event.to_string()), options);
    tokio::time::timeout(2 * PATIENCE, invoked).await.unwrap().unwrap()
}

fn body(result: &InvokeResult) -> Value {
    serde_json::from_slice(&result.payload).unwrap()
}

#[tokio::test]
#[ignore = "needs awslambdaric: cargo xtask test --only real"]
async fn awslambdaric_runs_python_handlers() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("on-demand");
    let wrapper = folder.0.join("wrap");
    std::fs::write(&wrapper, "#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let function = folder.function("app.handler").env("AWS_LAMBDA_EXEC_WRAPPER", wrapper.to_str().unwrap());
    let lambda = Lambda::start(vec![function], LambdaConfig::default()).await.unwrap();
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
            "runtime": "AWS_Lambda_python3.13",
            "wrapped": "yes",
        });
        assert_eq!(answer, expect);
    }
    assert_eq!(pids[0], pids[1], "the second is warm");
    let failed = invoke(&lambda, json!({ "fail": true })).await;
    assert_eq!(failed.function_error.as_deref(), Some("Unhandled"));
    assert_eq!(
        (&body(&failed)["errorType"], &body(&failed)["errorMessage"]),
        (&json!("ValueError"), &json!("asked for"))
    );
    let printed = lambda
        .timeline()
        .into_iter()
        .filter(|event| matches!(&event.what, What::Line { text, .. } if text == "got 2"));
    assert_eq!(printed.count(), 1);
    lambda.shutdown().await;
}

#[tokio::test]
#[ignore = "needs awslambdaric: cargo xtask test --only real"]
async fn awslambdaric_runs_several_at_a_time() {
    let folder = Folder::new("managed");
    let function =
        folder.function("app.meet").mode(Mode::ManagedInstances { concurrency: 2 }).max_sandboxes(1);
    let lambda = Lambda::start(vec![function], LambdaConfig::default()).await.unwrap();
    let event = |n: u64| json!({ "n": n, "place": folder.0.join("place") });
    let (a, b) = tokio::join!(invoke(&lambda, event(1)), invoke(&lambda, event(2)));
    assert_eq!((body(&a), body(&b)), (json!(1), json!(2)));
    lambda.shutdown().await;
}
