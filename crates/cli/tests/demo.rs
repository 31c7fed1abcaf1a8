//! The whole chain with real processes, through the program that people run: `cargo demo -- --exit --json`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::{Map, Value};

fn dd_lambda(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dd-lambda")).args(args).env("NO_COLOR", "1").output().unwrap()
}

/// Standard output as JSON, the exit status, and what was said.
fn demo(args: &[&str]) -> (Value, Option<i32>, String) {
    let output = dd_lambda(&[&["demo", "--exit", "--json"], args].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("no JSON ({why}):\n{said}"));
    (document, output.status.code(), said)
}

/// One demo for all tests that only look.
fn whole() -> &'static (Value, Option<i32>, String) {
    static WHOLE: LazyLock<(Value, Option<i32>, String)> = LazyLock::new(|| demo(&[]));
    &WHOLE
}

/// The spans of one trace, to be walked from parent to child.
struct Trace<'a>(&'a [Value]);

impl<'a> Trace<'a> {
    fn child(&self, parent: &Value, name: &str) -> &'a Value {
        let all = self.0.iter().filter(|span| span["parent_id"] == parent["span_id"]);
        let found: Vec<_> = all.clone().filter(|span| span["name"] == name).collect();
        let names: Vec<_> = all.map(|span| span["name"].to_string()).collect();
        assert_eq!(found.len(), 1, "{name} below {} among {names:?}", parent["name"]);
        found[0]
    }
}

fn trace_with<'a>(document: &'a Value, service: &str) -> (&'a Value, Trace<'a>, &'a Value) {
    for trace in document["traces"].as_array().unwrap() {
        let spans = trace["spans"].as_array().unwrap();
        if spans[0]["service"] == service && spans[0]["depth"] == 0 {
            return (trace, Trace(spans), &spans[0]);
        }
    }
    panic!("no trace of {service}");
}

fn assert_within(child: &Value, parent: &Value) {
    let times = |span: &Value| (span["start_ns"].as_u64().unwrap(), span["duration_ns"].as_u64().unwrap());
    let ((start, length), (from, whole)) = (times(child), times(parent));
    // Times that Lambda and its events tell have milliseconds.
    let slack = 2_000_000;
    let inside = start + slack >= from && start + length <= from + whole + slack;
    assert!(inside && length > 0, "{} is not within {}", child["name"], parent["name"]);
}

/// Values of one metric of one function over all its tags.
fn values(document: &Value, name: &str, function: &str) -> u64 {
    let metrics = document["metrics"].as_array().unwrap().iter().filter(|metric| {
        let tags = metric["tags"].as_array().unwrap();
        metric["name"] == name && tags.contains(&Value::from(format!("functionname:{function}")))
    });
    metrics.map(|metric| metric["total"]["count"].as_u64().expect("a distribution")).sum()
}

#[test]
fn the_demo_shows_one_connected_trace_its_logs_and_its_metrics() {
    let (document, status, said) = whole();
    assert_eq!(document["missing"], Value::Array(Vec::new()), "{said}");
    assert_eq!((&document["complete"], *status), (&true.into(), Some(0)), "{said}");

    // Nothing that Datadog would refuse, drop or change.
    assert_eq!(document["violations"], Value::Array(Vec::new()));
    let (trace, spans, caller) = trace_with(document, "web-shop");
    let gateway = spans.child(caller, "aws.httpapi");
    let api = spans.child(gateway, "aws.lambda");
    let call = spans.child(api, "aws.request");
    let worker = spans.child(call, "aws.lambda");
    let fulfil = spans.child(worker, "fulfil");
    let chain = [caller, gateway, api, call, worker, fulfil, spans.child(fulfil, "pack_order")];
    chain.windows(2).for_each(|pair| assert_within(pair[1], pair[0]));
    for name in ["validate_order", "price_order"] {
        assert_within(spans.child(api, name), api);
    }
    assert_eq!((&api["resource"], &worker["resource"]), (&"orders-api".into(), &"orders-worker".into()));
    assert_eq!(trace["missing_parents"], Value::Array(Vec::new()));
    let copies: Vec<_> = spans.0.iter().map(|span| &span["copies"]).collect();
    assert!(copies.iter().all(|copies| **copies == 1), "{copies:?}");
    for function in ["orders-api", "orders-worker"] {
        let cold = |span: &&Value| span["name"] == "aws.lambda.cold_start" && span["resource"] == function;
        assert_eq!(spans.0.iter().filter(cold).count(), 1, "{function}");
    }

    for (function, span) in [("orders-api", api), ("orders-worker", worker)] {
        let lines = document["logs"].as_array().unwrap().iter().filter(|log| log["function"] == function);
        let log = lines.clone().find(|log| log["trace_id"] == trace["trace_id"]).expect(function);
        let line: Map<String, Value> = serde_json::from_str(log["message"].as_str().unwrap()).unwrap();
        assert_eq!(line["dd.trace_id"], trace["trace_id"]);
        assert!(spans.0.iter().any(|span| span["span_id"] == line["dd.span_id"]), "{line:?}");
        assert_eq!(log["arn"], format!("arn:aws:lambda:us-east-1:123456789012:function:{function}"));
        assert_eq!(log["request_id"], span["meta"]["request_id"]);
    }

    for (function, invocations, errors) in [("orders-api", 1, 0), ("orders-worker", 3, 1)] {
        let of = |name: &str| values(document, &format!("aws.lambda.enhanced.{name}"), function);
        for name in ["invocations", "duration", "billed_duration", "max_memory_used", "runtime_duration"] {
            assert_eq!(of(name), invocations, "{name} of {function}");
        }
        assert_eq!((of("init_duration"), of("errors")), (1, errors), "{function}");
    }
    assert_eq!(values(document, "orders.received", "orders-api"), 1);
}

#[test]
fn the_queue_messages_give_one_trace_and_a_link_to_the_other() {
    let (document, _, _) = whole();
    let (_, spans, producer) = trace_with(document, "checkout");
    let worker = spans.child(spans.child(producer, "aws.sqs"), "aws.lambda");
    let (other, _, second) = trace_with(document, "subscriptions");
    let links = worker["links"].as_array().unwrap();
    assert!(
        links.iter().any(|l| l["trace_id"] == other["trace_id"] && l["span_id"] == second["span_id"]),
        "{links:?}"
    );
}

#[test]
fn without_the_intake_the_demo_says_what_is_missing_and_the_functions_answer_the_same() {
    let (whole, _, _) = whole();
    let (cut, status, said) = demo(&["--kill-intake-after", "1"]);
    assert_eq!((&cut["complete"], status), (&false.into(), Some(1)), "{said}");
    let missing = cut["missing"].as_array().unwrap();
    assert!(!missing.is_empty());
    for sentence in missing {
        assert!(said.contains(sentence.as_str().unwrap()), "{sentence} is not said:\n{said}");
    }
    assert!(said.contains("the metric aws.lambda.enhanced.errors has 0 of 1 values"), "{said}");
    let answers = |document: &Value| -> Vec<Value> {
        let all = document["answers"].as_array().unwrap().iter();
        all.map(|a| serde_json::json!([a["function"], a["status"], a["function_error"], a["payload"]]))
            .collect()
    };
    assert_eq!(answers(&cut), answers(whole));
}

#[test]
fn dev_runs_a_function_and_prints_its_answer() {
    // Which also builds the function.
    let (document, _, said) = whole();
    assert_eq!(document["answers"].as_array().unwrap().len(), 3, "{said}");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_dd-lambda")).with_file_name("orders-worker");
    let function = format!("orders={}", program.display());
    let event = std::env::temp_dir().join(format!("dd-lambda-event-{}.json", std::process::id()));
    std::fs::write(&event, r#"{"id":7}"#).unwrap();
    let run = |event: &str| dd_lambda(&["dev", "--function", &function, "--event", event, "--exit"]);
    let output = run(event.to_str().unwrap());
    std::fs::remove_file(&event).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "{\"fulfilled\":1}\n", "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("aws.lambda") && said.contains("order fulfilled"), "{said}");

    let output = run("/nowhere.json");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("/nowhere.json"), "{said}");
}
