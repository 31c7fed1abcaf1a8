//! A probe extension that does everything wrong: each call is answered in Lambda's words.

use std::time::Duration;

use model::Record;
use sandbox::{Lambda, What};
use serde_json::json;

use super::{PROBE, body, function, invoke, said, start, story, until};

/// The one line that the probe printed of this call.
fn answer(lambda: &Lambda, call: &str) -> String {
    let said = said(lambda);
    let prefix = format!("{call}: ");
    let found: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
    assert_eq!(found.len(), 1, "{call} in {said:#?}");
    found[0].to_owned()
}

fn refusal(status: u16, kind: &str, message: &str) -> String {
    format!(r#"{status} {{"errorMessage":"{message}","errorType":"{kind}"}}"#)
}

fn transition(from: &str, to: &str, who: &str) -> String {
    let why = format!(
        "State transition from {from} to {to} failed for extension {who}. Error: State transition is not allowed"
    );
    refusal(403, "Extension.InvalidExtensionState", &why)
}

#[tokio::test]
async fn calls_in_the_wrong_state_get_lambdas_words() {
    let gate = std::env::temp_dir().join(format!("sandbox-gate-{}", std::process::id()));
    let _ = std::fs::remove_file(&gate);
    let path = gate.to_str().unwrap();
    let lambda = start(vec![
        function("f")
            .extension(PROBE)
            .env("PROBE", "wrongs")
            .env("PROBE_GATE", path)
            .timeout(super::PATIENCE),
    ])
    .await;
    invoke(&lambda, "f", json!({ "do": "await", "path": path })).await;
    until(&lambda, 1, |what| *what == What::Frozen).await;
    let said = said(&lambda);
    let id = said.iter().find_map(|line| line.strip_prefix("id ")).unwrap();
    let check = |call: &str, expect: String| assert_eq!(answer(&lambda, call), expect, "{call}");
    // Nobody gets the account who did not ask for it.
    let plain = r#"{"functionName":"f","functionVersion":"$LATEST","handler":"bootstrap"}"#;
    check("inside, at first", format!("200 {plain}"));
    check("registered again", transition("Registered", "Registered", "sandbox-probe"));
    check(
        "inside",
        refusal(403, "Extension.InvalidExtensionState", "Extension with this name already registered"),
    );
    check("exit error without a type", {
        refusal(403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
    });
    check("error of nobody", {
        refusal(403, "Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")
    });
    check("registered while running", transition("Running", "Registered", "sandbox-probe"));
    check("late", refusal(403, "Extension.RegistrationClosed", "Extension registration closed already"));
    check("init error while running", transition("Running", "InitError", id));
    check("second next", transition("Ready", "Ready", id));
    check(
        "late subscription",
        refusal(403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed"),
    );
    lambda.shutdown().await;
    std::fs::remove_file(gate).unwrap();
}

#[tokio::test]
async fn no_call_succeeds_after_an_exit_error_but_another() {
    let lambda = start(vec![
        function("f").extension(PROBE).env("PROBE", "exit-error").timeout(Duration::from_secs(5)),
    ])
    .await;
    let failed = invoke(&lambda, "f", json!({})).await;
    assert_eq!(body(&failed)["errorType"], "Extension.ExitError");
    let said = said(&lambda);
    let id = said.iter().find_map(|line| line.strip_prefix("id ")).unwrap();
    let count = |line: String| said.iter().filter(|l| **l == line).count();
    // In the initialisation, and in the one inside the invocation.
    assert_eq!(count("exit/error: 202 {\"status\":\"OK\"}".to_owned()), 4, "{said:#?}");
    assert_eq!(count(format!("next after it: {}", transition("ExitError", "Ready", id))), 1, "{said:#?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn every_invalid_subscription_is_refused_and_leaves_the_way_open() {
    let lambda = start(vec![function("f").extension(PROBE).env("PROBE", "subscriptions")]).await;
    invoke(&lambda, "f", json!({})).await;
    let said = said(&lambda);
    let answers: Vec<&String> = said.iter().filter(|line| line.starts_with("subscription ")).collect();
    assert!(answers.len() >= 20, "{said:#?}");
    for line in answers {
        let refused = line.contains(": 400 {\"errorMessage\":\"")
            && line.ends_with("\"errorType\":\"ValidationError\"}");
        assert!(refused, "{line}");
    }
    assert_eq!(answer(&lambda, "valid"), "200 \"OK\"");
    let subscribed = story(&lambda).iter().filter(|s| *s == "platform.telemetrySubscription").count();
    assert_eq!(subscribed, 1);
    lambda.shutdown().await;
}

#[tokio::test]
async fn wrong_calls_get_lambdas_words() {
    let lambda = start(vec![function("f").extension(PROBE).env("PROBE", "registrations")]).await;
    invoke(&lambda, "f", json!({})).await;
    let said = said(&lambda);
    let check = |what: &str, status: u16, kind: &str, message: &str| {
        let expect = format!(r#"{what}: {status} {{"errorMessage":"{message}","errorType":"{kind}"}}"#);
        assert!(said.contains(&expect), "{expect}\n{said:#?}");
    };
    check("no name", 403, "Extension.InvalidExtensionName", "Empty extension name");
    check("bogus", 403, "Extension.InvalidEventType", "BOGUS: ErrorInvalidEventType");
    let inside = "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension";
    check("inside", 403, "Extension.InvalidEventType", inside);
    let keys = "configurationKeys are deprecated; use environment variables instead";
    check("keys", 403, "InvalidRequestFormat", keys);
    assert!(said.iter().any(|s| s.starts_with("not JSON: 403") && s.contains("InvalidRequestFormat")));
    check("no id", 403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header");
    check("no uuid", 403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier");
    let unknown = "Unknown extension 00000000-0000-4000-8000-000000000000";
    check("unknown", 403, "Extension.UnknownExtensionIdentifier", unknown);
    check("no type", 403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found");
    assert!(said.contains(&"ping: 200 pong".to_owned()));
    lambda.shutdown().await;
}

#[tokio::test]
async fn an_extension_that_fails_fails_the_init() {
    let lambda = start(vec![
        function("f").extension(PROBE).env("PROBE", "errors"),
        function("g").extension(PROBE).env("PROBE", "crash"),
    ])
    .await;
    let f = invoke(&lambda, "f", json!({})).await;
    assert_eq!(body(&f)["errorType"], "Extension.InitError");
    let g = invoke(&lambda, "g", json!({})).await;
    assert_eq!(body(&g)["errorType"], "Extension.Crash");
    let said = said(&lambda);
    assert!(said.contains(&"init/error 202 {\"status\":\"OK\"}".to_owned()));
    let id = said.iter().find_map(|line| line.strip_prefix("id ")).unwrap();
    let next = format!("next after it: {}", transition("InitError", "Ready", id));
    assert!(said.contains(&next), "{said:#?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn without_an_extension_that_was_started_there_is_no_runtime() {
    let hangs = function("f").extension(PROBE).env("PROBE", "mute");
    let limits = hangs.init_limit(Duration::from_millis(100)).timeout(Duration::from_millis(200));
    let lambda = start(vec![limits]).await;
    assert_eq!(body(&invoke(&lambda, "f", json!({})).await)["errorType"], "Sandbox.Timedout");
    until(&lambda, 2, |what| *what == What::Destroyed).await;
    let story = story(&lambda);
    let count = |line: &str| story.iter().filter(|l| *l == line).count();
    assert_eq!((count("spawn sandbox-probe"), count("spawn function")), (2, 0), "{story:#?}");
    // It asked for nothing, so it is told nothing.
    assert_eq!((count("SHUTDOWN to sandbox-probe"), count("kill sandbox-probe")), (0, 2), "{story:#?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn an_extension_that_ends_after_the_answer_fails_the_invocation() {
    let gate = std::env::temp_dir().join(format!("sandbox-leaves-{}", std::process::id()));
    let _ = std::fs::remove_file(&gate);
    let leaves = function("f").extension(PROBE).env("PROBE", "leaves");
    let lambda = start(vec![leaves.env("PROBE_GATE", gate.to_str().unwrap()).timeout(super::PATIENCE)]).await;
    let answer = invoke(&lambda, "f", json!({ "n": 1 })).await;
    assert_eq!((body(&answer), answer.function_error), (json!({ "n": 1 }), None));
    let done = |what: &What| matches!(what, What::Record(Record::RuntimeDone(_)));
    until(&lambda, 1, done).await;
    std::fs::write(&gate, "").unwrap();
    until(&lambda, 1, |what| *what == What::Destroyed).await;
    let mut lines = story(&lambda);
    lines.retain(|line| line.starts_with("platform.r") || line.starts_with("exited sandbox-probe"));
    let expect = [
        "platform.runtimeDone success",
        "exited sandbox-probe exit status 0",
        "platform.report error Extension.Crash",
    ];
    assert_eq!(lines, expect);
    lambda.shutdown().await;
    std::fs::remove_file(gate).unwrap();
}
