//! Other ways of running a function than on demand, and managed runtimes.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use model::Record;
use sandbox::{ClockJump, Faults, InvokeError, InvokeOptions, Lambda, Mode, Process, What};
use serde_json::{Value, json};

use super::{PATIENCE, PROBE, body, frozen, function, invoke, pids, said, start, state, story, until};

fn initialised(what: &What) -> bool {
    matches!(what, What::Record(Record::InitReport(_)))
}

fn reports(lambda: &Lambda) -> Vec<model::InvocationReport> {
    let report = |what| match what {
        What::Record(Record::Report(report)) => Some(report),
        _ => None,
    };
    lambda.timeline().into_iter().filter_map(|event| report(event.what)).collect()
}

/// The function that a record of managed instances names.
fn named(what: What) -> Option<Option<model::Text>> {
    match what {
        What::Record(Record::InitStart(start)) => Some(start.function_arn),
        What::Record(Record::Start(start)) => Some(start.function_arn),
        _ => None,
    }
}

#[tokio::test]
async fn provisioned_sandboxes_are_there_before_anybody_invokes() {
    let provisioned = function("f").mode(Mode::ProvisionedConcurrency).ahead(2).timeout(PATIENCE);
    let lambda = start(vec![provisioned.extension(PROBE).max_sandboxes(3)]).await;
    until(&lambda, 2, frozen).await;
    let kind = async || {
        let vars = body(&invoke(&lambda, "f", json!({ "do": "env" })).await);
        vars["AWS_LAMBDA_INITIALIZATION_TYPE"].as_str().unwrap().to_owned()
    };
    assert_eq!(kind().await, "provisioned-concurrency");
    until(&lambda, 3, frozen).await;
    assert!(reports(&lambda)[0].init_duration.is_some());
    // One within one within one: what is beyond the provisioned is on demand.
    let event = |inner: Value| json!({ "do": "invoke", "name": "f", "event": inner });
    let answer = body(&invoke(&lambda, "f", event(event(json!({ "do": "env" })))).await);
    assert!(answer.to_string().contains("on-demand"), "{answer}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_is_gone_on_from_with_the_first_invocation() {
    let snapshot = function("f").mode(Mode::SnapStart).env("PROBE_INIT", "restore").extension(PROBE);
    let lambda = start(vec![snapshot]).await;
    until(&lambda, 1, frozen).await;
    assert!(!story(&lambda).iter().any(|line| line.starts_with("function: restored")));
    let vars = body(&invoke(&lambda, "f", json!({ "do": "env" })).await);
    let url = vars["AWS_CONTAINER_CREDENTIALS_FULL_URI"].as_str().unwrap();
    let event =
        json!({ "do": "get", "url": url, "authorization": vars["AWS_CONTAINER_AUTHORIZATION_TOKEN"] });
    let credentials = body(&invoke(&lambda, "f", event).await);
    assert_eq!(credentials["status"], 200);
    assert!(credentials["body"].as_str().unwrap().contains("SecretAccessKey"), "{credentials}");
    let refused = body(&invoke(&lambda, "f", json!({ "do": "get", "url": url })).await);
    assert_eq!(refused["status"], 401);
    until(&lambda, 4, frozen).await;
    let mut lines = story(&lambda);
    lines.retain(|line| line.starts_with("platform.") || line == "thawed" || line.starts_with("function"));
    let expect = [
        "platform.initStart",
        "platform.initRuntimeDone success",
        "platform.extension",
        "platform.initReport success",
        "thawed",
        "platform.restoreStart",
        "function: restored 200 \"\"",
        "platform.restoreRuntimeDone success",
        "platform.restoreReport success",
        "platform.start",
    ];
    assert_eq!(lines[..expect.len()], expect, "{lines:#?}");
    let restored = lambda.timeline().into_iter().find_map(|event| match event.what {
        What::Record(Record::RestoreStart(start)) => Some((start, event.sandbox)),
        _ => None,
    });
    let (start, sandbox) = restored.unwrap();
    assert_eq!(start.function_name.as_deref(), Some("f"));
    assert_eq!(
        (start.function_version.as_deref(), start.instance_max_memory_mb),
        (Some("$LATEST"), Some(128))
    );
    assert!(start.instance_id.unwrap().ends_with(&format!("/[$LATEST]{sandbox}")));
    let first = &reports(&lambda)[0];
    assert!(first.restore_duration.is_some() && first.init_duration.is_none(), "{first:?}");
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_hook_that_fails_after_the_restore_fails_the_invocation() {
    let snapshot = function("f").mode(Mode::SnapStart).env("PROBE_INIT", "restore-error");
    let lambda = start(vec![snapshot]).await;
    let answer = invoke(&lambda, "f", json!({})).await;
    assert_eq!((&*answer.payload, answer.function_error.as_deref()), (&b"{}"[..], Some("Unhandled")));
    let lines = story(&lambda);
    assert!(
        lines.iter().any(|line| line == "platform.restoreRuntimeDone error Runtime.AfterRestoreError"),
        "{lines:#?}"
    );
    lambda.shutdown().await;
}

#[tokio::test]
async fn elsewhere_there_is_no_restore() {
    let lambda = start(vec![function("f")]).await;
    let api = body(&invoke(&lambda, "f", json!({ "do": "env" })).await)["AWS_LAMBDA_RUNTIME_API"].clone();
    for path in ["2018-06-01/runtime/restore/next", "2021-04-23/credentials", "2018-06-01/no/such/path"] {
        let url = format!("http://{}/{path}", api.as_str().unwrap());
        assert_eq!(
            body(&invoke(&lambda, "f", json!({ "do": "get", "url": url })).await)["status"],
            404,
            "{path}"
        );
    }
    lambda.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_instances_take_several_invocations_at_a_time() {
    let managed = function("f").mode(Mode::ManagedInstances { concurrency: 4 }).max_sandboxes(1);
    let managed = managed.extension(PROBE).env("PROBE", "subscribe,ids");
    let lambda = start(vec![managed.env("PROBE_REPORTS", "14").timeout(PATIENCE)]).await;
    until(&lambda, 1, initialised).await;
    // All four have to be there at a time for any to end.
    let event = |n: u64| json!({ "do": "meet", "count": 4, "n": n });
    let (a, b, c, d) = tokio::join!(
        invoke(&lambda, "f", event(1)),
        invoke(&lambda, "f", event(2)),
        invoke(&lambda, "f", event(3)),
        invoke(&lambda, "f", event(4)),
    );
    for (n, answer) in [(1, &a), (2, &b), (3, &c), (4, &d)] {
        assert_eq!(body(answer), event(n));
    }
    // None is lost where there are more than workers.
    for _ in 0..10 {
        invoke(&lambda, "f", event(0)).await;
    }
    lambda.shutdown().await;
    let lines = story(&lambda);
    for never in ["frozen", "platform.runtimeDone", "INVOKE to sandbox-probe", "terminate sandbox-probe"] {
        assert!(!lines.iter().any(|line| line.starts_with(never)), "{never}: {lines:#?}");
    }
    assert_eq!(lines.iter().filter(|line| *line == "spawn function").count(), 1);
    let arns: Vec<_> = lambda.timeline().into_iter().filter_map(|event| named(event.what)).collect();
    assert_eq!(arns, vec![Some("arn:aws:lambda:us-east-1:123456789012:function:f".into()); 15]);
    for report in reports(&lambda) {
        let names: Vec<&str> = report.spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["responseLatency", "responseDuration"]);
        assert_eq!((report.billed_ms, report.memory_size_mb, report.init_duration), (None, None, None));
    }
    let said = said(&lambda);
    let has = |start: &str| said.iter().any(|line| line.starts_with(start));
    assert!(has("old schema: 400 ") && has("logs: 404 ") && has("SHUTDOWN spindown"), "{said:#?}");
    let delivered = |kind: &str| said.iter().filter(|l| l.starts_with("of ") && l.contains(kind)).count();
    assert_eq!((delivered("platform.start"), delivered("platform.report")), (14, 14), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_wait_until_managed_instances_are_initialised() {
    let gate = std::env::temp_dir().join(format!("sandbox-unready-{}", std::process::id()));
    let _ = std::fs::remove_file(&gate);
    let managed = function("f").mode(Mode::ManagedInstances { concurrency: 3 }).max_sandboxes(1);
    let managed = managed.extension(PROBE).env("PROBE", "gated").env("PROBE_GATE", gate.to_str().unwrap());
    let lambda = start(vec![managed.timeout(PATIENCE)]).await;
    // All three have to be there at a time for any to end.
    let event = || json!({ "do": "meet", "count": 3 });
    let asked = |what: &What| matches!(what, What::Asked { process: Process::Function });
    let (a, b, c, ()) = tokio::join!(
        invoke(&lambda, "f", event()),
        invoke(&lambda, "f", event()),
        invoke(&lambda, "f", event()),
        async {
            until(&lambda, 3, asked).await;
            assert!(!lambda.timeline().iter().any(|event| initialised(&event.what)));
            std::fs::write(&gate, "").unwrap();
        }
    );
    assert_eq!([a, b, c].map(|answer| body(&answer)), [event(), event(), event()]);
    lambda.shutdown().await;
    std::fs::remove_file(gate).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_of_managed_instances_hurts_nobody_else() {
    let managed = function("f").mode(Mode::ManagedInstances { concurrency: 2 }).max_sandboxes(1);
    let lambda = start(vec![managed.timeout(Duration::from_secs(1))]).await;
    let gate = std::env::temp_dir().join(format!("sandbox-managed-{}", std::process::id()));
    let _ = std::fs::remove_file(&gate);
    let late = invoke(&lambda, "f", json!({ "do": "await", "path": gate.to_str().unwrap() })).await;
    let expect =
        json!({ "errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 1.00 seconds" });
    assert_eq!(body(&late), expect);
    assert_eq!(body(&invoke(&lambda, "f", json!({ "n": 1 })).await), json!({ "n": 1 }));
    std::fs::write(&gate, "").unwrap();
    let told = r#"response 410 {"errorMessage":"Invoke timeout","errorType":"InvokeTimeout"}"#;
    until(&lambda, 1, |what| matches!(what, What::Line { text, .. } if text == told)).await;
    // A process that ends is the end of the environment; the next invocation has another.
    let crash = invoke(&lambda, "f", json!({ "do": "exit", "code": 3 })).await;
    assert_eq!(body(&crash)["errorType"], "Runtime.ExitError");
    assert_eq!(body(&invoke(&lambda, "f", json!({ "n": 2 })).await), json!({ "n": 2 }));
    assert_eq!(story(&lambda).iter().filter(|line| *line == "spawn function").count(), 2);
    lambda.shutdown().await;
    std::fs::remove_file(gate).unwrap();
}

#[tokio::test]
async fn a_worker_of_managed_instances_that_hangs_is_not_waited_for() {
    let managed = function("f").mode(Mode::ManagedInstances { concurrency: 1 }).max_sandboxes(1);
    let lambda = start(vec![managed.timeout(Duration::from_millis(200))]).await;
    assert_eq!(body(&invoke(&lambda, "f", json!({ "do": "sleep" })).await)["errorType"], "Sandbox.Timedout");
    let next = lambda.invoke("f", "{}".into(), InvokeOptions::default());
    let refused = tokio::time::timeout(PATIENCE, next).await.unwrap();
    assert_eq!(refused, Err(InvokeError::Refused("Runtime.Unavailable")));
    lambda.shutdown().await;
}

#[tokio::test]
async fn managed_instances_that_cannot_be_initialised_answer_so() {
    let managed = function("f").mode(Mode::ManagedInstances { concurrency: 2 }).env("PROBE_INIT", "exit");
    let lambda = start(vec![managed]).await;
    let options = InvokeOptions::default();
    let answer = tokio::time::timeout(PATIENCE, lambda.invoke("f", "{}".into(), options)).await.unwrap();
    match answer {
        Ok(answer) => assert_eq!(body(&answer)["errorType"], "Sandbox.Failure"),
        Err(why) => assert!(matches!(why, InvokeError::Refused(_)), "{why}"),
    }
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_wrapper_starts_the_runtime_and_may_change_its_variables() {
    let opt = std::env::temp_dir().join(format!("sandbox-wrapper-{}", std::process::id()));
    std::fs::create_dir_all(&opt).unwrap();
    let wrapper = opt.join("wrap");
    std::fs::write(&wrapper, "#!/bin/sh\nexport WRAPPED=\"$#\"\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let wrapped = |name| function(name).opt(&opt).env("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap");
    let lambda = start(vec![wrapped("custom"), wrapped("managed").runtime("python3.13")]).await;
    let vars = body(&invoke(&lambda, "managed", json!({ "do": "env" })).await);
    assert_eq!(
        (&vars["WRAPPED"], &vars["AWS_EXECUTION_ENV"]),
        (&json!("1"), &json!("AWS_Lambda_python3.13"))
    );
    let vars = body(&invoke(&lambda, "custom", json!({ "do": "env" })).await);
    assert!(vars["WRAPPED"].is_null() && vars["AWS_EXECUTION_ENV"].is_null(), "{vars}");
    lambda.shutdown().await;
    std::fs::remove_dir_all(opt).unwrap();
}

#[tokio::test]
async fn a_file_in_opt_turns_the_extensions_api_off() {
    let opt = std::env::temp_dir().join(format!("sandbox-off-{}", std::process::id()));
    std::fs::create_dir_all(&opt).unwrap();
    std::fs::write(opt.join("disable-extensions-jwigqn8j"), "").unwrap();
    let lambda = start(vec![function("f").opt(&opt)]).await;
    let api = body(&invoke(&lambda, "f", json!({ "do": "env" })).await)["AWS_LAMBDA_RUNTIME_API"].clone();
    let url = format!("http://{}/2020-01-01/extension/event/next", api.as_str().unwrap());
    assert_eq!(body(&invoke(&lambda, "f", json!({ "do": "get", "url": url })).await)["status"], 404);
    lambda.shutdown().await;
    std::fs::remove_dir_all(opt).unwrap();
}

#[tokio::test]
async fn lines_below_the_level_reach_nobody() {
    let json = function("f").extension(PROBE).env("PROBE", "subscribe").env("AWS_LAMBDA_LOG_FORMAT", "JSON");
    let lambda = start(vec![json.env("AWS_LAMBDA_LOG_LEVEL", "WARN")]).await;
    for text in [r#"{"level":"info","message":"no"}"#, "plain text is INFO", r#"{"level":"error"}"#] {
        let options = InvokeOptions { log_tail: true, ..InvokeOptions::default() };
        let event = json!({ "do": "print", "text": text }).to_string();
        let answer = lambda.invoke("f", event.into(), options).await.unwrap();
        let log = answer.log_tail.unwrap();
        assert_eq!(log.contains(text), text.contains("error"), "{log}");
    }
    lambda.shutdown().await;
    let lines = said(&lambda).into_iter().filter(|line| line == "telemetry /in function");
    assert_eq!(lines.count(), 1);
}

#[tokio::test]
async fn clocks_jump_on_request() {
    let jump = |invocation, forward| ClockJump { invocation, by: Duration::from_secs(3600), forward };
    let faults = Faults { clock: vec![jump(2, false), jump(3, true)], ..Faults::default() };
    let lambda = start(vec![function("f").extension(PROBE).env("PROBE", "subscribe").faults(faults)]).await;
    for _ in 0..3 {
        invoke(&lambda, "f", json!({})).await;
    }
    lambda.shutdown().await;
    let said = said(&lambda);
    let left: Vec<i64> = said
        .iter()
        .filter_map(|line| line.strip_prefix("INVOKE ")?.split(' ').nth(1)?.parse().ok())
        .collect();
    // What is left of three seconds, and an hour more or less.
    let hour = 3_600_000;
    let near = |left: i64, by: i64| (left - by).abs() <= 60_000;
    assert!(near(left[0], 0) && near(left[1], hour) && near(left[2], -hour), "{left:?}");
}

#[tokio::test]
async fn processes_have_their_share_of_a_processor_on_request() {
    let faults = Faults { cpu: Some(0.1), ..Faults::default() };
    let lambda = start(vec![function("f").timeout(PATIENCE).faults(faults)]).await;
    invoke(&lambda, "f", json!({ "do": "spin" })).await;
    until(&lambda, 1, frozen).await;
    let pid = pids(&lambda)[0];
    let event = json!({ "do": "sleep" }).to_string();
    let runs = lambda.invoke("f", event.into(), InvokeOptions::default());
    let watch = async {
        until(&lambda, 2, |what| matches!(what, What::Record(Record::Start(_)))).await;
        let (mut ran, mut stood) = (false, false);
        while !(ran && stood) {
            match state(pid) {
                Some('T') => stood = true,
                Some(_) => ran = true,
                None => return false,
            }
            tokio::task::yield_now().await;
        }
        true
    };
    let seen = tokio::select! {
        answer = runs => panic!("it is to be stopped now and then: {answer:?}"),
        seen = watch => seen,
    };
    assert!(seen, "the process has ended");
}
