//! What goes wrong on purpose, and the limit of the memory.

use std::time::Duration;

use bytes::Bytes;
use model::Record;
use sandbox::{Batches, Faults, InvokeOptions, Kill, Process, What};
use serde_json::json;

use super::{PROBE, body, frozen, function, invoke, pids, said, start, story, until};

#[tokio::test]
async fn a_process_is_killed_in_the_invocation_that_was_named() {
    let kill = |process, invocation| Kill { process, invocation, after: Duration::ZERO };
    let kills = vec![kill(Process::Function, 2), kill(Process::Extension("sandbox-probe".to_owned()), 4)];
    let lambda =
        start(vec![function("f").extension(PROBE).faults(Faults { kills, ..Faults::default() })]).await;
    // Those that are to be killed do not end by themselves before.
    let event = |n: u64| if n.is_multiple_of(2) { json!({ "do": "sleep" }) } else { json!({ "n": n }) };
    let mut answers = Vec::new();
    for n in 1..=5 {
        let answer = invoke(&lambda, "f", event(n)).await;
        answers.push(body(&answer)["errorType"].as_str().unwrap_or("none").to_owned());
    }
    assert_eq!(
        answers,
        ["none", "Runtime.ExitError", "none", "Extension.Crash", "none"],
        "{:#?}",
        story(&lambda)
    );
    let killed =
        story(&lambda).iter().filter(|s| *s == "kill function" || *s == "kill sandbox-probe").count();
    assert!(killed >= 2, "{:#?}", story(&lambda));
    lambda.shutdown().await;
}

#[tokio::test]
async fn telemetry_is_doubled_or_lost_on_request() {
    for (faults, starts) in [
        (Faults { telemetry_duplicate: Batches::All, ..Faults::default() }, 2),
        (Faults { telemetry_drop: Batches::All, ..Faults::default() }, 0),
    ] {
        let probe = function("f").extension(PROBE).env("PROBE", "subscribe").faults(faults.clone());
        let lambda = start(vec![probe]).await;
        invoke(&lambda, "f", json!({})).await;
        until(&lambda, 1, frozen).await;
        // What the thaw brings has arrived, or is lost, when the next invocation is over.
        until_settled(&lambda).await;
        let told =
            said(&lambda).iter().filter(|line| line.as_str() == "telemetry /in platform.initStart").count();
        assert_eq!(told, starts, "{faults:?}: {:#?}", story(&lambda));
        if starts > 0 {
            lambda.shutdown().await;
        }
    }
}

/// Invokes until a batch was delivered, or lost, and told so.
async fn until_settled(lambda: &sandbox::Lambda) {
    for _ in 0..1000 {
        let settled = |what: &What| matches!(what, What::Delivered { .. } | What::DeliveryFailed { .. });
        if lambda.timeline().iter().any(|event| settled(&event.what)) {
            return;
        }
        invoke(lambda, "f", json!({})).await;
    }
    panic!("{:#?}", story(lambda));
}

#[tokio::test]
async fn what_is_larger_than_its_memory_is_killed_for_it() {
    let lambda = start(vec![function("f").extension(PROBE).memory_limit(64).timeout(super::PATIENCE)]).await;
    invoke(&lambda, "f", json!({})).await;
    let options = InvokeOptions { log_tail: true, ..InvokeOptions::default() };
    let event = Bytes::from(json!({ "do": "fill", "mb": 200 }).to_string());
    let big = lambda.invoke("f", event, options).await.unwrap();
    let expect = json!({
        "errorType": "Runtime.OutOfMemory",
        "errorMessage": format!("RequestId: {} Error: Runtime exited with error: signal: killed", big.request_id),
    });
    assert_eq!(body(&big), expect);
    let log = big.log_tail.unwrap();
    for part in
        ["Memory Size: 64 MB\tMax Memory Used: 64 MB", "Status: error\tError Type: Runtime.OutOfMemory"]
    {
        assert!(log.contains(part), "{log}");
    }
    let done = lambda.timeline().into_iter().find_map(|event| match event.what {
        What::Record(Record::RuntimeDone(done)) if done.error_type.is_some() => done.error_type,
        _ => None,
    });
    assert_eq!(done.as_deref(), Some("Runtime.OutOfMemory"));
    let next = invoke(&lambda, "f", json!({ "n": 1 })).await;
    assert_eq!(body(&next), json!({ "n": 1 }));
    lambda.shutdown().await;
}

/// Where the kernel has a limit for us. Looked at now and then, a burst may be missed.
#[tokio::test]
async fn no_burst_is_larger_than_a_limit_of_the_kernel() {
    let Ok(above) = sandbox::memory_limit() else { return };
    let lambda = start(vec![function("g").extension(PROBE).memory_limit(64).timeout(super::PATIENCE)]).await;
    let mut groups = Vec::new();
    for _ in 0..2 {
        let small = invoke(&lambda, "g", json!({ "do": "burst", "mb": 8 })).await;
        assert_eq!(body(&small), json!(1));
        let of = std::fs::read_to_string(format!("/proc/{}/cgroup", pids(&lambda).last().unwrap())).unwrap();
        groups.push(above.join(of.trim().rsplit('/').next().unwrap()));
        assert!(groups.last().unwrap().join("memory.max").exists(), "{groups:?}");
        let big = invoke(&lambda, "g", json!({ "do": "burst", "mb": 200 })).await;
        assert_eq!(body(&big)["errorType"], "Runtime.OutOfMemory");
    }
    lambda.shutdown().await;
    drop(lambda);
    assert!(groups.iter().all(|dir| !dir.exists()), "{groups:?}");
}

#[tokio::test]
async fn a_function_is_renewed_without_losing_an_invocation() {
    let lambda = start(vec![function("f").extension(PROBE)]).await;
    invoke(&lambda, "f", json!({})).await;
    assert!(lambda.renew("f").await && !lambda.renew("g").await);
    invoke(&lambda, "f", json!({})).await;
    let spawned = |lambda: &sandbox::Lambda| story(lambda).iter().filter(|s| *s == "spawn function").count();
    assert_eq!(spawned(&lambda), 2, "{:#?}", story(&lambda));
    until(&lambda, 1, |what| *what == What::Destroyed).await;
    assert!(said(&lambda).iter().any(|line| line.starts_with("SHUTDOWN spindown")));
    let recorded = lambda.recorded(0);
    assert_eq!(
        recorded.iter().map(|r| (r.number, &*r.payload)).collect::<Vec<_>>(),
        [(1, &b"{}"[..]), (2, b"{}")]
    );
    lambda.shutdown().await;
}
