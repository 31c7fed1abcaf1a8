//! Several sandboxes of one function.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;
use std::time::Duration;

use model::Record;
use sandbox::{Lambda, Process, What};
use serde_json::json;

use super::{PATIENCE, PROBE, body, frozen, function, invoke, said, start, story, until};

/// What a sandbox was given.
#[derive(Debug, Default)]
struct Share {
    /// By its records.
    started: Vec<String>,
    /// By the events of its extension.
    told: Vec<String>,
    /// By the telemetry that its extension got: of each kind of record, in order.
    delivered: BTreeMap<String, Vec<String>>,
}

fn shares(lambda: &Lambda) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for event in lambda.timeline() {
        let share = shares.entry(event.sandbox.to_string()).or_default();
        match event.what {
            What::Record(Record::Start(start)) => share.started.push(start.request_id.to_string()),
            What::Line { process: Process::Extension(_), text } => {
                let mut words = text.split(' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("INVOKE"), Some(id), _) => share.told.push(id.to_owned()),
                    (Some("of"), Some(id), Some(kind)) => {
                        share.delivered.entry(kind.to_owned()).or_default().push(id.to_owned());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn many_invocations_at_a_time_over_many_sandboxes() {
    let subscribed = function("f").extension(PROBE).env("PROBE", "subscribe,ids");
    let lambda = start(vec![subscribed.timeout(PATIENCE).max_sandboxes(20)]).await;
    let invocations = (0..200).map(|n| {
        let lambda = &lambda;
        async move { (n, invoke(lambda, "f", json!({ "n": n })).await) }
    });
    let mut ids = BTreeSet::new();
    for (n, result) in futures(invocations).await {
        assert_eq!((body(&result), result.function_error), (json!({ "n": n }), None));
        ids.insert(result.request_id.to_string());
    }
    lambda.shutdown().await;
    assert_eq!(ids.len(), 200);
    let shares = shares(&lambda);
    assert_eq!(shares.len(), 20, "{shares:#?}");
    let mut all = Vec::new();
    for (sandbox, Share { started, told, delivered }) in shares {
        assert_eq!(started, told, "{sandbox}");
        for kind in ["platform.start", "platform.runtimeDone", "platform.report"] {
            assert_eq!(delivered.get(kind), Some(&started), "{kind} of {sandbox}");
        }
        all.extend(started);
    }
    all.sort();
    assert_eq!(all, ids.into_iter().collect::<Vec<_>>());
    let reports = story(&lambda).iter().filter(|s| *s == "platform.report success").count();
    assert_eq!(reports, 200);
}

#[tokio::test]
async fn a_function_invokes_itself_in_another_sandbox() {
    let lambda = start(vec![function("f").timeout(PATIENCE)]).await;
    let inner = json!({ "do": "invoke", "name": "f", "event": { "deep": true } });
    let event = json!({ "do": "invoke", "name": "f", "event": inner });
    let result = body(&invoke(&lambda, "f", event.clone()).await);
    assert!(result["body"].as_str().unwrap().contains(r#"{\"deep\":true}"#), "{result}");
    assert_eq!(shares(&lambda).len(), 3);
    until(&lambda, 3, frozen).await;
    invoke(&lambda, "f", event).await;
    assert_eq!(shares(&lambda).len(), 3, "those that are there are used again");
    lambda.shutdown().await;
    let destroyed = story(&lambda).iter().filter(|s| *s == "destroyed").count();
    assert_eq!(destroyed, 3);
}

#[tokio::test]
async fn what_is_idle_for_long_is_spun_down() {
    let lambda = start(vec![function("f").extension(PROBE).idle_limit(Duration::from_millis(50))]).await;
    invoke(&lambda, "f", json!({})).await;
    until(&lambda, 1, |what| *what == What::Destroyed).await;
    assert!(said(&lambda).iter().any(|s| s.starts_with("SHUTDOWN spindown")));
    invoke(&lambda, "f", json!({})).await;
    assert_eq!(shares(&lambda).len(), 2);
    lambda.shutdown().await;
}

/// Waits for all of them, at the same time.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut open: Vec<_> = all.map(|one| Some(Box::pin(one))).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        for slot in &mut open {
            if let Some(Poll::Ready(value)) = slot.as_mut().map(|one| one.as_mut().poll(cx)) {
                *slot = None;
                done.push(value);
            }
        }
        if open.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}
