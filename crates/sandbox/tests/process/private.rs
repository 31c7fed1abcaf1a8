//! Sandboxes with a network and files of their own. Where this machine allows no namespaces there is nothing to see,
//! and the test says so.

use std::path::Path;
use std::process::{Command, Stdio};

use sandbox::{FunctionConfig, What};
use serde_json::json;

use super::{PROBE, body, eventually, frozen, invoke, pids, said, start, state, story, until};

fn allowed() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--mount",
        "--net",
        "--",
        "mount",
        "-t",
        "tmpfs",
        "none",
        "/tmp",
    ]);
    let allowed = unshare.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !allowed {
        eprintln!("NOT TESTED: this machine allows no user, mount and network namespaces");
    }
    allowed
}

fn private(name: &str) -> FunctionConfig {
    // Everybody's port: in a network of its own it is free.
    FunctionConfig::new(name, [PROBE])
        .extension(PROBE)
        .env("PROBE", "subscribe")
        .env("DD_LAMBDA_TELEMETRY_PORT", "8999")
        .private([PROBE, "inside"])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sandbox_has_the_ports_and_places_that_everybody_knows() {
    if !allowed() {
        return;
    }
    let lambda = start(vec![private("f"), private("g")]).await;
    let vars = body(&invoke(&lambda, "f", json!({ "do": "env" })).await);
    for (name, value) in [("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"), ("LAMBDA_TASK_ROOT", "/var/task")] {
        assert_eq!(vars[name], value, "{vars}");
    }
    assert!(vars["DD_APM_RECEIVER_PORT"].is_null(), "{vars}");
    // Both listen on one port, and reach the Invoke API under the address that it has outside.
    let inner = json!({ "do": "invoke", "name": "g", "event": { "n": 1 } });
    let answer = body(&invoke(&lambda, "f", inner).await);
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("{\"n\":1}")), "{answer}");
    // Telemetry came in through the network that is theirs.
    let told = |what: &What| matches!(what, What::Delivered { .. });
    for _ in 0..1000 {
        if lambda.timeline().iter().filter(|event| told(&event.what)).count() > 1 {
            break;
        }
        invoke(&lambda, "f", json!({})).await;
    }
    assert!(said(&lambda).iter().any(|s| s == "telemetry /in platform.initStart"), "{:#?}", story(&lambda));

    let list = async |path: &str| body(&invoke(&lambda, "f", json!({ "do": "list", "path": path })).await);
    assert_eq!(list("/opt").await, json!(["extensions"]));
    assert_eq!(list("/opt/extensions").await, json!(["sandbox-probe"]));
    assert_eq!(list("/tmp").await, json!([]));
    let task = list("/var/task").await;
    assert!(task.as_array().unwrap().contains(&json!("sandbox-probe")), "{task}");
    let write = json!({ "do": "write", "path": "/tmp/private-test", "text": "x" });
    assert_eq!(body(&invoke(&lambda, "f", write).await), json!(true));
    assert_eq!(list("/tmp").await, json!(["private-test"]));
    assert!(!Path::new("/tmp/private-test").exists());
    until(&lambda, 1, frozen).await;
    let pids = pids(&lambda);
    lambda.shutdown().await;
    eventually("all are gone", || pids.iter().all(|pid| state(*pid).is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_sandbox_has_the_layers_in_opt() {
    if !allowed() {
        return;
    }
    let opt = std::env::temp_dir().join(format!("sandbox-layers-{}", std::process::id()));
    std::fs::create_dir_all(opt.join("extensions")).unwrap();
    std::fs::write(opt.join("data"), "x").unwrap();
    std::fs::copy(PROBE, opt.join("extensions/of-layer")).unwrap();
    let function = FunctionConfig::new("f", [PROBE]).opt(&opt).private([PROBE, "inside"]);
    let lambda = start(vec![function]).await;
    let list = body(&invoke(&lambda, "f", json!({ "do": "list", "path": "/opt" })).await);
    assert_eq!(list, json!(["data", "extensions"]), "{:#?}", story(&lambda));
    assert!(said(&lambda).iter().any(|s| s.starts_with("registered 200")), "{:#?}", story(&lambda));
    lambda.shutdown().await;
    std::fs::remove_dir_all(opt).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_private_is_said() {
    let function = FunctionConfig::new("f", [PROBE]).private(["/no/such/program"]);
    let lambda = start(vec![function]).await;
    let answer = body(&invoke(&lambda, "f", json!({})).await);
    assert_eq!(answer["errorType"], "Sandbox.Failure", "{answer}");
    assert!(answer["errorMessage"].as_str().unwrap().contains("another sandbox cannot be made"), "{answer}");
    lambda.shutdown().await;
}
