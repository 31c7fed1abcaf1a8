//! What is in a handler, and how it ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Record;
use sandbox::{FunctionConfig, What};
use serde_json::{Value, json};

use crate::seen::{Seen, Span};
use crate::world::{SERVICE, World, json as body};

fn failures(span: &Span) -> String {
    span.failure()
}

#[tokio::test]
async fn spans_errors_and_panics() {
    for world in
        World::both(env!("CARGO_BIN_EXE_spans"), &[("RUST_BACKTRACE", "1"), ("DD_ENV", "test")]).await
    {
        let good = world.invoke(r#"{"id": 17, "stock": "3"}"#).await;
        let failed = world.invoke(r#"{"id": 18, "stock": "none"}"#).await;
        let panicked = world.invoke(r#"{"id": 19, "stock": ""}"#).await;
        assert_eq!((body(&good), good.function_error), (json!({"order": 17, "left": 2}), None));
        assert_eq!(body(&failed)["errorMessage"], "out of stock");
        assert_eq!(failed.function_error.as_deref(), Some("Unhandled"));
        assert!(body(&panicked)["errorMessage"].as_str().unwrap().contains("the warehouse is closed"));

        let enough = |name: &str| format!("aws.lambda.enhanced.{name}");
        let seen =
            world.end(|seen| seen.count("aws.lambda") == 3 && seen.total(&enough("errors")).0 >= 2).await;
        // No matter who counts them, each is counted once.
        assert_eq!(seen.total(&enough("invocations")), (3, 3.0));
        assert_eq!(seen.total(&enough("errors")), (2, 2.0));

        let root = seen.root(good.request_id.as_str());
        let expect = "aws.lambda\n  reserve\n    ask_warehouse\n  price_order\n";
        assert_eq!(seen.tree(root, failures), expect);
        assert_eq!((root.service.as_str(), root.resource.as_str()), (SERVICE, "shop"));
        assert_eq!((root.tag("cold_start"), root.number("order.id")), ("true", Some(17.0)));
        assert_eq!(root.tag("env"), "test");
        assert_eq!(seen.all("ask_warehouse")[0].tag("shelf"), "A7");
        assert_eq!(seen.one("price_order").number("left"), Some(2.0));
        for span in seen.spans.iter().filter(|span| span.trace == root.trace && span.name == "reserve") {
            assert!(root.start <= span.start && span.end() <= root.end(), "{span:?} in {root:?}");
        }

        let root = seen.root(failed.request_id.as_str());
        assert_eq!(root.failure(), "OutOfStock: out of stock: invalid digit found in string");
        assert_eq!(root.tag("cold_start"), "false");
        for part in ["cause: ParseIntError", "because", "spans.rs"] {
            assert!(root.tag("error.stack").contains(part), "{part} in {}", root.tag("error.stack"));
        }
        let tree = seen.tree(root, |span| span.error.to_string());
        assert_eq!(tree, "aws.lambda true\n  reserve true\n    ask_warehouse false\n");

        let root = seen.root(panicked.request_id.as_str());
        assert_eq!(root.failure(), "panic: the warehouse is closed");
        let stack = root.tag("error.stack");
        let (place, frames) = stack.split_once('\n').unwrap();
        assert!(place.starts_with("panicked at ") && place.contains("spans.rs:"), "{place}");
        assert!(frames.contains("spans::reserve"), "{frames}");

        // All three traces are traces of their own.
        let mut traces: Vec<_> = seen.all("aws.lambda").iter().map(|span| &span.trace).collect();
        traces.sort();
        traces.dedup();
        assert_eq!(traces.len(), 3);
    }
}

#[tokio::test]
async fn settings_in_code_an_extractor_and_sampling_rules() {
    for world in World::both(env!("CARGO_BIN_EXE_in-code"), &[]).await {
        let own = json!({"meta": {"trace": {"x-datadog-trace-id": "5", "x-datadog-parent-id": "6"}}});
        let brokered = world.invoke(own.to_string()).await;
        let plain = world.invoke("{}").await;
        let mut health: Value = serde_json::from_str(testkit::event("http-api")).unwrap();
        health["headers"] = json!({});
        health["rawPath"] = "/health".into();
        health["routeKey"] = "GET /health".into();
        health["requestContext"]["routeKey"] = "GET /health".into();
        health["requestContext"]["http"]["path"] = "/health".into();
        let health = world.invoke(health.to_string()).await;
        let called = world.invoke(testkit::event("http-api")).await;
        let told: Vec<_> = [&brokered, &plain, &health, &called].map(|a| body(a)["priority"].clone()).into();
        // By the rule for all, as nobody has decided; by that for health checks; the caller has decided.
        assert_eq!(told, ["2", "2", "-1", "1"]);

        // What is not to be kept arrives nevertheless: Datadog's figures are made of it.
        let seen = world.end(|seen| seen.count("aws.lambda") == 4).await;
        let root = seen.root(brokered.request_id.as_str());
        assert_eq!((root.trace.as_str(), root.parent), ("00000000000000000000000000000005", Some(6)));
        assert_eq!((root.service.as_str(), root.tag("env"), root.tag("version")), ("shop", "staging", "7.1"));
        assert_eq!(seen.tree(root, failures), "aws.lambda\n  work\n");
        assert_eq!(seen.root(plain.request_id.as_str()).parent, None);
        let called = seen.root(called.request_id.as_str());
        assert_eq!(called.trace, "66a1b2c300000000112210f47de98115");
        let priority = |id: &str| seen.root(id).priority;
        assert_eq!(priority(plain.request_id.as_str()), Some(2));
        assert_eq!(priority(health.request_id.as_str()), Some(-1));
        assert_eq!(called.priority, Some(1));
        let health = seen.root(health.request_id.as_str());
        let gateway = seen.spans.iter().find(|span| Some(span.id) == health.parent).unwrap();
        assert_eq!((gateway.name.as_str(), gateway.resource.as_str()), ("aws.httpapi", "GET /health"));
        assert_eq!(gateway.number("_dd.rule_psr"), Some(0.0));
        assert_eq!(seen.root(plain.request_id.as_str()).tag("_dd.p.dm"), "-3");
    }
}

#[tokio::test]
async fn a_provider_of_ones_own_is_flushed_with_each_invocation() {
    for world in World::both(env!("CARGO_BIN_EXE_own-provider"), &[]).await {
        for event in ["[1.10, 1e3]", r#"{"b": 1, "a": 2, "b": 3}"#] {
            let answer = world.invoke(event).await;
            assert_eq!(&answer.payload[..], event.as_bytes());
        }
        let seen = world.end(|seen| seen.count("checkout") == 2).await;
        for root in seen.all("aws.lambda") {
            assert_eq!(seen.tree(root, failures), "aws.lambda\n  checkout\n");
        }
        // Its own exporter has the same spans, and had them before the next event: it would send every five
        // seconds by itself.
        let (exported, done) = world.places("exported checkout");
        assert_eq!((exported.len(), done.len()), (2, 2), "{}", world.story());
        assert!(exported.iter().zip(&done).all(|(exported, done)| exported < done), "{}", world.story());
        for span in seen.all("checkout") {
            let line = format!("exported checkout {:016x}", span.id);
            assert!(world.lines().contains(&line), "{line} in {:?}", world.lines());
            assert_eq!(span.number("items"), Some(3.0));
        }
    }
}

#[tokio::test]
async fn a_root_span_made_by_hand() {
    for world in World::both(env!("CARGO_BIN_EXE_root-span"), &[]).await {
        let good = world.invoke(testkit::event("sqs")).await;
        let bad = world.invoke(r#"{"fail": true}"#).await;
        assert_eq!(body(&good), json!({"done": true}));
        assert_eq!(body(&bad)["errorMessage"], "told to fail");
        let seen = world.end(|seen| seen.count("aws.lambda") == 2).await;
        let root = seen.root(good.request_id.as_str());
        assert_eq!(root.trace, "66a1b2c300000000112210f47de98115");
        let queue = seen.one("aws.sqs");
        assert_eq!((root.parent, queue.parent), (Some(queue.id), Some(987_654_321)));
        assert_eq!(seen.tree(queue, failures), "aws.sqs\n  aws.lambda\n    work\n");
        let root = seen.root(bad.request_id.as_str());
        assert_eq!(seen.tree(root, failures), "aws.lambda Error: told to fail\n  work\n");
    }
}

#[tokio::test]
async fn spans_that_outlive_their_invocation() {
    for world in World::both(env!("CARGO_BIN_EXE_background"), &[]).await {
        let (first, second) = (world.invoke(r#"{"order":17}"#).await, world.invoke(r#"{"order":18}"#).await);
        // A last one, with which all is sent that the others left.
        world.invoke(r#"{"order":19}"#).await;
        let there = |seen: &Seen| seen.count("store") >= 2 && seen.logs.len() >= 2;
        let seen = world.end(there).await;
        let (first, second) = (seen.root(first.request_id.as_str()), seen.root(second.request_id.as_str()));
        for root in [first, second] {
            assert_eq!(seen.tree(root, failures), "aws.lambda\n  store\n");
        }
        let store = seen.all("store").into_iter().find(|span| span.trace == first.trace).unwrap();
        assert!(store.end() > second.start && second.start >= first.end(), "{store:?} {second:?}");
        // And what was logged in it names it.
        let line = seen.logs.iter().find(|line| line["fields"]["order"] == r#"{"order":17}"#).unwrap();
        assert_eq!(
            (&line["dd.trace_id"], &line["dd.span_id"]),
            (&json!(store.trace), &json!(store.id.to_string()))
        );
    }
}

#[tokio::test]
async fn what_runs_out_of_time_is_told() {
    let change = |config: FunctionConfig| {
        config.timeout(LIMIT).env("DD_APM_FLUSH_DEADLINE_MILLISECONDS", AHEAD.as_millis().to_string())
    };
    let program = env!("CARGO_BIN_EXE_timeout");
    let (beside, alone) = (World::beside(program, change).await, World::alone(program, change).await);
    tokio::join!(times_out(&beside), times_out(&alone));
}

const LIMIT: Duration = Duration::from_millis(1800);
/// Plenty, so that a machine that is busy with other things has it told in time as well.
const AHEAD: Duration = Duration::from_millis(1000);

async fn times_out(world: &World) {
    // Waiting, and keeping the thread: the runtime's own timers do not run then.
    let mut ids = Vec::new();
    for event in [r#"{"spin": false}"#, r#"{"spin": true}"#] {
        let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let answer = world.invoke(event).await;
        assert_eq!(answer.function_error.as_deref(), Some("Unhandled"), "{}", world.story());
        assert!(String::from_utf8_lossy(&answer.payload).contains("timed out"), "{answer:?}");
        ids.push((answer.request_id, begin));
    }
    let seen = world.end(|seen| seen.count("aws.lambda") == 2).await;
    let late = "Impending Timeout: Datadog detected an Impending Timeout";
    let timeline = world.lambda.timeline();
    for (id, begin) in &ids {
        let root = seen.root(id.as_str());
        let expect = format!("aws.lambda {late}\n  quick\n  slow {late}\n");
        assert_eq!(seen.tree(root, failures), expect);
        // Told as long before the end as was asked for, and not longer.
        let started = timeline.iter().find_map(|event| match &event.what {
            What::Record(Record::Start(start)) if start.request_id == *id => Some(event.at.as_nanos()),
            _ => None,
        });
        let end = started.unwrap() + u64::try_from(LIMIT.as_nanos()).unwrap();
        assert!(root.end() <= end, "it was told in time");
        // What was invoked then cannot have an earlier deadline.
        let earliest = *begin + LIMIT - AHEAD;
        let told = Duration::from_nanos(root.end());
        assert!(told >= earliest, "told {:?} too early", earliest - told);
    }
    // The extension's own, beside Lambda's word for it.
    let metric = seen.total("aws.lambda.enhanced.timeouts");
    assert_eq!(metric.0, if world.has_extension() { 2 } else { 0 });
    assert_eq!(seen.total("aws.lambda.enhanced.errors"), (2, 2.0));
}
