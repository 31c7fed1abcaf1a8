//! The sandbox with real processes: the probe (`probe/main.rs`) is every function and every extension.

// The lints know test functions, not what they call.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod checklist;
mod events;
mod faults;
mod kernel;
mod modes;
mod page;
mod private;
mod scaling;
mod streaming;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{Record, Status, Text};
use sandbox::{
    FunctionConfig, InvocationType, InvokeError, InvokeOptions, InvokeResult, Lambda, LambdaConfig, Process,
    What,
};
use serde_json::{Value, json};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn function(name: &str) -> FunctionConfig {
    FunctionConfig::new(name, [PROBE])
}

async fn start(functions: Vec<FunctionConfig>) -> Lambda {
    Lambda::start(functions, LambdaConfig::default()).await.unwrap()
}

async fn invoke(lambda: &Lambda, name: &str, event: Value) -> InvokeResult {
    let event = Bytes::from(event.to_string());
    tokio::time::timeout(PATIENCE, lambda.invoke(name, event, InvokeOptions::default()))
        .await
        .unwrap()
        .unwrap()
}

fn body(result: &InvokeResult) -> Value {
    serde_json::from_slice(&result.payload).unwrap()
}

/// Waits until the timeline holds `count` things like this.
async fn until(lambda: &Lambda, count: usize, like: impl Fn(&What) -> bool) {
    let mut watch = lambda.watch();
    let found = async {
        while lambda.timeline().iter().filter(|e| like(&e.what)).count() < count {
            watch.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(PATIENCE, found).await.is_err() {
        panic!("not seen in {:#?}", story(lambda));
    }
}

fn frozen(what: &What) -> bool {
    *what == What::Frozen
}

/// Lines that extensions printed.
fn said(lambda: &Lambda) -> Vec<String> {
    let lines = lambda.timeline().into_iter().filter_map(|e| match e.what {
        What::Line { process: Process::Extension(_), text } => Some(text),
        _ => None,
    });
    lines.collect()
}

/// The timeline in short: what comes from the clock or the kernel is left out.
fn story(lambda: &Lambda) -> Vec<String> {
    let short = |what: What| match what {
        What::Spawned { process, .. } => format!("spawn {}", process.name()),
        What::LaunchFailed { process, reason } => format!("launch failed {}: {reason}", process.name()),
        What::Exited { process, status } => format!("exited {} {status}", process.name()),
        What::Terminated { process } => format!("terminate {}", process.name()),
        What::Killed { process } => format!("kill {}", process.name()),
        What::Record(record) => kind(&record),
        What::Line { process, text } => format!("{}: {text}", process.name()),
        What::Invoked { .. } => "invoked".to_owned(),
        What::Answered { function_error, .. } => format!("answered {}", function_error.unwrap_or_default()),
        What::Asked { process } => format!("asked {}", process.name()),
        What::Event { extension, event } => format!("{event} to {extension}"),
        What::Frozen => "frozen".to_owned(),
        What::Thawed => "thawed".to_owned(),
        What::Delivered { .. } => "delivered".to_owned(),
        What::DeliveryFailed { reason, .. } => format!("delivery failed: {reason}"),
        What::Destroyed => "destroyed".to_owned(),
    };
    let events = lambda.timeline().into_iter().filter(|e| !matches!(e.what, What::Asked { .. }));
    events.map(|e| short(e.what).trim_end().to_owned()).collect()
}

fn kind(record: &Record) -> String {
    let json: Value = serde_json::from_slice(&wire::telemetry::encode_record(&model::TelemetryRecord {
        time: model::UnixNanos::default(),
        record: record.clone(),
    }))
    .unwrap();
    let status = json["record"]["status"].as_str().unwrap_or_default();
    let error = json["record"]["errorType"].as_str().unwrap_or_default();
    format!("{} {status} {error}", json["type"].as_str().unwrap()).trim_end().to_owned()
}

/// Pids of all processes that were started.
fn pids(lambda: &Lambda) -> Vec<u32> {
    let pid = |what| match what {
        What::Spawned { pid, .. } => Some(pid),
        _ => None,
    };
    lambda.timeline().into_iter().filter_map(|e| pid(e.what)).collect()
}

/// `R`, `S`, `T`, …; `None` when there is no such process, or only its remains.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next().filter(|s| !matches!(s, 'Z' | 'X'))
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Lets others run until it is so.
fn eventually(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_cold_and_a_warm_invocation_then_spindown() {
    let lambda = start(vec![function("f").extension(PROBE).env("PROBE", "env")]).await;
    assert_eq!(story(&lambda), Vec::<String>::new());
    let first = invoke(&lambda, "f", json!({ "do": "print", "text": "hello" })).await;
    assert_eq!(
        (first.status, &*first.payload, first.function_error.clone()),
        (200, b"null".as_slice(), None)
    );
    until(&lambda, 1, frozen).await;
    let second = invoke(&lambda, "f", json!({ "n": 1 })).await;
    assert_eq!(body(&second), json!({ "n": 1 }));
    assert_ne!(first.request_id, second.request_id);
    until(&lambda, 2, frozen).await;
    let pids = pids(&lambda);
    let timeline = story(&lambda);
    let mut shown: Vec<&str> = timeline.iter().map(String::as_str).collect();
    shown.retain(|line| !line.starts_with("sandbox-probe: "));
    let expect = [
        "invoked",
        "platform.initStart",
        "spawn sandbox-probe",
        "spawn function",
        "platform.initRuntimeDone success",
        "platform.extension",
        "platform.initReport success",
        "platform.start",
        "INVOKE to sandbox-probe",
        "function: hello",
        "answered",
        "platform.runtimeDone success",
        "platform.report success",
        "frozen",
        "invoked",
        "thawed",
        "platform.start",
        "INVOKE to sandbox-probe",
        "answered",
        "platform.runtimeDone success",
        "platform.report success",
        "frozen",
    ];
    assert_eq!(shown, expect);
    let said = said(&lambda);
    let registered = r#"registered 200 {"functionName":"f","functionVersion":"$LATEST","handler":"bootstrap","accountId":"123456789012"}"#;
    assert_eq!(said[0], registered);
    assert!(!said[1].contains("_HANDLER") && said[1].contains("DD_LAMBDA_LIFECYCLE_PORT"), "{}", said[1]);
    assert!(said[2].starts_with(&format!("INVOKE {} ", first.request_id)), "{}", said[2]);
    lambda.shutdown().await;
    assert!(pids.iter().all(|pid| state(*pid).is_none()));
}

#[tokio::test]
async fn shutdown_tells_the_extension_and_kills_one_that_lingers() {
    for (probe, how) in [("", "exited sandbox-probe exit status 0"), ("linger", "kill sandbox-probe")] {
        let lambda = start(vec![function("f").extension(PROBE).env("PROBE", probe)]).await;
        invoke(&lambda, "f", json!({})).await;
        until(&lambda, 1, frozen).await;
        let began = Instant::now();
        lambda.shutdown().await;
        let took = began.elapsed();
        let events = lambda.timeline();
        let story: Vec<String> = events.iter().map(|e| format!("{:?}", e.what)).collect();
        let said = |text: &str| {
            events.iter().find_map(|e| match &e.what {
                What::Line { text: line, .. } if line.starts_with(text) => Some(line.clone()),
                _ => None,
            })
        };
        let told = said("SHUTDOWN spindown ").unwrap_or_else(|| panic!("{story:#?}"));
        let left: i64 = told.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((1..=2000).contains(&left), "{told}");
        let killed = story.iter().any(|s| s.starts_with("Killed { process: Extension"));
        assert_eq!(killed, probe == "linger", "{how}: {story:#?}");
        assert_eq!(took >= Duration::from_millis(1900), probe == "linger", "{took:?}");
        assert_eq!(events.last().unwrap().what, What::Destroyed);
    }
}

#[tokio::test]
async fn shutting_down_lets_an_invocation_come_to_its_end() {
    let lambda = start(vec![function("f").extension(PROBE).env("PROBE", "works")]).await;
    invoke(&lambda, "f", json!({})).await;
    lambda.shutdown().await;
    let story = story(&lambda);
    let at =
        |what: &str| story.iter().position(|s| s == what).unwrap_or_else(|| panic!("{what}: {story:#?}"));
    assert!(at("platform.report success") < at("SHUTDOWN to sandbox-probe"), "{story:#?}");
    assert!(!story.contains(&"frozen".to_owned()), "{story:#?}");

    let hangs = function("f").extension(PROBE).timeout(Duration::from_millis(300));
    let lambda = start(vec![hangs]).await;
    let event = Bytes::from_static(br#"{"do":"sleep"}"#);
    let invoked = lambda.invoke("f", event, InvokeOptions::default());
    let (answer, ()) = tokio::join!(invoked, async {
        until(&lambda, 1, |what| matches!(what, What::Event { event: "INVOKE", .. })).await;
        lambda.shutdown().await;
    });
    assert_eq!(body(&answer.unwrap())["errorType"], "Sandbox.Timedout");
    assert!(lambda.timeline().iter().any(|e| e.what == What::Destroyed));
}

#[tokio::test]
async fn frozen_means_that_nothing_runs() {
    let lambda = start(vec![function("f").extension(PROBE)]).await;
    invoke(&lambda, "f", json!({ "do": "spin" })).await;
    until(&lambda, 1, frozen).await;
    let pids = pids(&lambda);
    for pid in &pids {
        eventually("all processes are stopped", || state(*pid) == Some('T'));
    }
    let before: Vec<u64> = pids.iter().map(|pid| cpu_ticks(*pid)).collect();
    // Real time in which a running thread would have used some.
    let ours = Instant::now();
    eventually("50 ms pass", || ours.elapsed() > Duration::from_millis(50));
    assert_eq!(pids.iter().map(|pid| cpu_ticks(*pid)).collect::<Vec<_>>(), before);
    let turns = body(&invoke(&lambda, "f", json!({ "do": "turns" })).await).as_u64().unwrap();
    assert!(turns > 0);
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_timeout_resets_and_the_next_invocation_works() {
    let timeout = Duration::from_millis(400);
    let lambda = start(vec![function("f").extension(PROBE).timeout(timeout)]).await;
    let late = invoke(&lambda, "f", json!({ "do": "sleep" })).await;
    assert_eq!(late.function_error.as_deref(), Some("Unhandled"));
    let expect = json!({
        "errorType": "Sandbox.Timedout",
        "errorMessage": format!("RequestId: {} Error: Task timed out after 0.40 seconds", late.request_id),
    });
    assert_eq!(body(&late), expect);
    let good = invoke(&lambda, "f", json!({ "ok": true })).await;
    assert_eq!(body(&good), json!({ "ok": true }));
    until(&lambda, 1, frozen).await;
    let story = story(&lambda);
    let at =
        |what: &str| story.iter().position(|s| s == what).unwrap_or_else(|| panic!("{what}: {story:#?}"));
    assert!(at("platform.runtimeDone timeout") < at("terminate function"));
    assert!(at("terminate function") < at("SHUTDOWN to sandbox-probe"));
    assert!(at("SHUTDOWN to sandbox-probe") < at("platform.report timeout"));
    assert!(at("platform.report timeout") < at("destroyed"));
    let phases = lambda.timeline().into_iter().filter_map(|e| match e.what {
        What::Record(Record::InitStart(start)) => Some(start.phase.as_str().to_owned()),
        _ => None,
    });
    assert_eq!(phases.collect::<Vec<_>>(), ["init", "invoke"]);
    lambda.shutdown().await;
}

#[tokio::test]
async fn crashes_and_errors_are_told_as_lambda_tells_them() {
    let lambda = start(vec![
        function("f"),
        function("g").env("PROBE_INIT", "exit"),
        function("h").env("PROBE_INIT", "error"),
    ])
    .await;
    let crash = invoke(&lambda, "f", json!({ "do": "exit", "code": 3 })).await;
    let expect = |id: &model::RequestId, code: i32| {
        format!(
            r#"{{"errorType":"Runtime.ExitError","errorMessage":"RequestId: {id} Error: Runtime exited with error: exit status {code}"}}"#
        )
    };
    assert_eq!(crash.payload, expect(&crash.request_id, 3));
    // What X-Ray would be told is taken whatever it is.
    for cause in [r#"{"message":"m","exceptions":[]}"#, "{broken"] {
        let event = json!({ "do": "error", "type": "Function.Bad", "cause": cause });
        assert_eq!(body(&invoke(&lambda, "f", event).await)["errorType"], "Function.Bad");
    }
    let error = invoke(&lambda, "f", json!({ "do": "error", "type": "Function.Bad" })).await;
    assert_eq!(error.payload, r#"{"errorMessage":"asked for","errorType":"Function.Bad"}"#);
    assert_eq!(error.function_error.as_deref(), Some("Unhandled"));
    until(&lambda, 1, frozen).await;
    let done = |error: &str| {
        lambda.timeline().into_iter().any(|e| match e.what {
            What::Record(Record::RuntimeDone(r)) => {
                r.status == Status::Error && r.error_type.as_deref() == Some(error)
            }
            _ => false,
        })
    };
    assert!(done("Function.Bad") && done("Runtime.ExitError"));
    let lines = lambda
        .timeline()
        .into_iter()
        .any(|e| matches!(e.what, What::Line { text, .. } if text == "last words"));
    assert!(lines);

    let init = invoke(&lambda, "g", json!({})).await;
    assert_eq!(init.payload, expect(&init.request_id, 7));
    let init = invoke(&lambda, "h", json!({})).await;
    assert_eq!(init.payload, r#"{"errorType":"Runtime.BadConfig","errorMessage":"no"}"#);
    lambda.shutdown().await;
}

#[tokio::test]
async fn what_cannot_start_is_said() {
    let missing = FunctionConfig::new("f", ["/nonexistent/bootstrap"]);
    let lambda =
        start(vec![missing, function("g").extension(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))])
            .await;
    let f = invoke(&lambda, "f", json!({})).await;
    assert_eq!(body(&f)["errorType"], "Runtime.InvalidEntrypoint");
    let g = invoke(&lambda, "g", json!({})).await;
    assert_eq!(body(&g)["errorType"], "Extension.LaunchError");
    assert!(body(&g)["errorMessage"].as_str().unwrap().contains("denied"), "{:?}", g.payload);
    let told = lambda.timeline().into_iter().find_map(|event| match event.what {
        What::Record(Record::Extension { state, error_type, .. }) => Some((state, error_type)),
        _ => None,
    });
    assert_eq!(told, Some(("LaunchError".into(), Some("PermissionDenied".into()))));
    lambda.shutdown().await;
}

#[tokio::test]
async fn an_init_that_hangs_is_tried_once_more() {
    let limits = function("f").env("PROBE_INIT", "hang");
    let limits = limits.init_limit(Duration::from_millis(100)).timeout(Duration::from_millis(200));
    let lambda = start(vec![limits]).await;
    let f = invoke(&lambda, "f", json!({})).await;
    assert_eq!(body(&f)["errorType"], "Sandbox.Timedout");
    let story = story(&lambda);
    assert_eq!(story.iter().filter(|s| *s == "platform.initReport timeout").count(), 2, "{story:#?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn telemetry_is_replayed_and_what_comes_after_the_freeze_waits_for_the_thaw() {
    let lambda = start(vec![function("f").extension(PROBE).env("PROBE", "subscribe,late")]).await;
    invoke(&lambda, "f", json!({ "do": "print", "text": "one" })).await;
    until(&lambda, 1, frozen).await;
    let reported = |said: &[String]| said.iter().filter(|s| s.ends_with("platform.report")).count();
    assert_eq!(reported(&said(&lambda)), 0, "{:#?}", said(&lambda));
    invoke(&lambda, "f", json!({ "do": "print", "text": "two" })).await;
    until(&lambda, 2, frozen).await;
    lambda.shutdown().await;
    let said = said(&lambda);
    let mut telemetry: Vec<&str> = said.iter().filter_map(|s| s.strip_prefix("telemetry /in ")).collect();
    // The subscription races with the start of the runtime.
    let before = telemetry.len();
    telemetry.retain(|kind| *kind != "platform.telemetrySubscription");
    assert_eq!(telemetry.len(), before - 1);
    let expect = [
        "platform.initStart",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        "function one",
        "platform.runtimeDone",
        "platform.report",
        "platform.start",
        "function two",
        "platform.runtimeDone",
        "platform.report",
    ];
    assert_eq!(telemetry, expect, "{said:#?}");
    let check = |expect: &str| assert!(said.iter().any(|s| s.starts_with(expect)), "{expect}\n{said:#?}");
    check(
        r#"bad subscription: 400 {"errorMessage":"schema validation error: missing properties: 'types'","errorType":"ValidationError"}"#,
    );
    check(
        r#"unknown subscription: 403 {"errorMessage":"Unknown extension 00000000-0000-4000-8000-000000000000","errorType":"Extension.UnknownExtensionIdentifier"}"#,
    );
    check("subscription: 200 \"OK\"");
    check(
        r#"second subscription: 500 {"errorMessage":"Internal Server Error","errorType":"InternalServerError"}"#,
    );
    check(
        r#"late subscription: 403 {"errorMessage":"Telemetry API subscription is closed","errorType":"Telemetry.SubscriptionClosed"}"#,
    );
}

#[tokio::test]
async fn a_function_invokes_another_through_the_endpoint() {
    let lambda = start(vec![function("a").extension(PROBE), function("b").extension(PROBE)]).await;
    let event = json!({ "do": "invoke", "name": "b", "event": { "hello": "b" } });
    let result = body(&invoke(&lambda, "a", event).await);
    assert_eq!(result["status"], 200);
    assert_eq!(result["version"], "$LATEST");
    assert_eq!(result["body"], r#"{"hello":"b"}"#);
    let log = STANDARD.decode(result["log"].as_str().unwrap()).unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.starts_with("START RequestId: ") && log.contains("\nREPORT RequestId: "), "{log}");
    let event = json!({ "do": "invoke", "name": "b", "event": { "do": "headers" } });
    let result = body(&invoke(&lambda, "a", event).await);
    assert!(result["body"].as_str().unwrap().contains(r#""lambda-runtime-aws-tenant-id":"blue""#));
    let event = json!({ "do": "invoke", "name": "c", "event": {} });
    let result = body(&invoke(&lambda, "a", event).await);
    assert_eq!(result["status"], 404);
    let expect =
        r#"{"Message":"Function not found: arn:aws:lambda:us-east-1:123456789012:function:c","Type":"User"}"#;
    assert_eq!(result["body"], expect);
    lambda.shutdown().await;
}

#[tokio::test]
async fn what_callers_pass_reaches_the_function() {
    let lambda = start(vec![function("f")]).await;
    let identity = r#"{"cognitoIdentityId":"a","cognitoIdentityPoolId":"b"}"#;
    let options = |kind| InvokeOptions {
        client_context: Some("{\n \"custom\": {\"a\": \"1\"} }".to_owned()),
        trace_header: Some(
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1".to_owned(),
        ),
        invocation_type: kind,
        log_tail: false,
        cognito_identity: Some(identity.to_owned()),
        tenant_id: Some("blue".to_owned()),
    };
    let event = Bytes::from_static(br#"{"do":"headers"}"#);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST";
    let f = lambda.invoke(arn, event.clone(), options(InvocationType::RequestResponse)).await.unwrap();
    let headers = body(&f);
    assert_eq!(headers["lambda-runtime-client-context"], r#"{"custom":{"a":"1"}}"#);
    assert_eq!(headers["lambda-runtime-trace-id"], options(InvocationType::Event).trace_header.unwrap());
    assert_eq!(headers["lambda-runtime-invoked-function-arn"], arn);
    assert_eq!(headers["lambda-runtime-aws-request-id"], f.request_id.as_str());
    assert_eq!(headers["lambda-runtime-aws-tenant-id"], "blue");
    assert_eq!(headers["lambda-runtime-cognito-identity"], identity);
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["lambda-runtime-invocation-id"].is_string());
    assert!(headers["lambda-runtime-deadline-ms"].as_str().unwrap().parse::<u64>().is_ok());
    until(&lambda, 1, frozen).await;
    let tenants = lambda.timeline().into_iter().filter_map(|e| match e.what {
        What::Record(Record::Start(start)) => Some(("start", start.tenant_id, start.trace_header)),
        What::Record(Record::RuntimeDone(done)) => Some(("done", done.tenant_id, done.trace_header)),
        What::Record(Record::Report(report)) => Some(("report", report.tenant_id, report.trace_header)),
        _ => None,
    });
    let whose = |of| (of, Some("blue".into()), options(InvocationType::Event).trace_header.map(Text::from));
    assert_eq!(tenants.collect::<Vec<_>>(), ["start", "done", "report"].map(whose));
    let dry = lambda.invoke("f", event.clone(), options(InvocationType::DryRun)).await.unwrap();
    assert_eq!(dry.status, 204);
    let queued = lambda.invoke("f", event.clone(), options(InvocationType::Event)).await.unwrap();
    assert_eq!((queued.status, queued.payload.len()), (202, 0));
    let unknown = lambda.invoke("f:prod", event, InvokeOptions::default()).await.unwrap_err();
    assert_eq!(unknown.error_type(), "ResourceNotFoundException");
    let bad = lambda.invoke("f", Bytes::from_static(b"{"), InvokeOptions::default()).await.unwrap_err();
    assert!(matches!(bad, InvokeError::InvalidEvent(_)));
    until(&lambda, 2, |what| matches!(what, What::Answered { .. })).await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn events_have_their_limits() {
    let lambda = start(vec![function("f")]).await;
    for (kind, most) in
        [(InvocationType::RequestResponse, 6 * 1024 * 1024), (InvocationType::Event, 1024 * 1024)]
    {
        let event = |bytes: usize| Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2)));
        let options = || InvokeOptions { invocation_type: kind, ..InvokeOptions::default() };
        assert!(lambda.invoke("f", event(most), options()).await.is_ok(), "{kind:?}");
        let refused = lambda.invoke("f", event(most + 1), options()).await.unwrap_err();
        assert_eq!((refused.status(), refused.error_type()), (413, "RequestTooLargeException"), "{kind:?}");
        assert!(refused.to_string().contains(&most.to_string()), "{refused}");
    }
    lambda.shutdown().await;
}

#[tokio::test]
async fn dropping_kills() {
    let lambda = start(vec![function("f").extension(PROBE)]).await;
    invoke(&lambda, "f", json!({ "do": "spin" })).await;
    let pids = pids(&lambda);
    assert_eq!(pids.len(), 2);
    drop(lambda);
    for pid in pids {
        eventually("all processes are gone", || state(pid).is_none());
    }
}

#[tokio::test]
async fn memory_and_billing_are_reported() {
    let lambda = start(vec![function("f").memory_mb(256)]).await;
    invoke(&lambda, "f", json!({})).await;
    until(&lambda, 1, frozen).await;
    let report = lambda.timeline().into_iter().find_map(|e| match e.what {
        What::Record(Record::Report(report)) => Some(report),
        _ => None,
    });
    let report = report.unwrap();
    assert_eq!(report.memory_size_mb, Some(256));
    assert!(report.max_memory_used_mb.unwrap() > 0);
    let total = report.duration.get() + report.init_duration.unwrap().get();
    assert_eq!(report.billed_ms, Some(total.ceil() as u64));
    lambda.shutdown().await;
}

/// Extensions are found in a folder, by file name.
#[tokio::test]
async fn extensions_of_a_folder_start_in_name_order() {
    let dir = std::env::temp_dir().join(format!("sandbox-extensions-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("z-folder")).unwrap();
    for name in ["b-second", "a-first"] {
        let link: PathBuf = dir.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(PROBE, link).unwrap();
    }
    let lambda = start(vec![function("f").extension(&dir)]).await;
    invoke(&lambda, "f", json!({})).await;
    let story = story(&lambda);
    let spawned: Vec<&String> = story.iter().filter(|s| s.starts_with("spawn ")).collect();
    assert_eq!(spawned, ["spawn a-first", "spawn b-second", "spawn function"]);
    lambda.shutdown().await;
    std::fs::remove_dir_all(dir).unwrap();
}
