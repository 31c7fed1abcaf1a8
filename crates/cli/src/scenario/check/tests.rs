//! Expectations against a made-up store: what holds, what fails, and which one is told as the closest.

use std::time::Duration;

use intake::{Limits, Store};
use model::{Batch, Series, SeriesKind, Span, SpanId, TraceChunk, TraceId, TracerPayload, UnixNanos};
use serde_json::json;

use super::{Failure, answer, contains, received};
use crate::run::Answer;
use crate::scenario::expect::{AnswerExpectation, Expect};

fn span(name: &'static str, id: u64, parent: u64) -> Span {
    let trace_id = TraceId::new(0, 9).unwrap();
    let mut span = Span::new(name, trace_id, SpanId::new(id).unwrap(), SpanId::new(parent));
    span.service = "shop".into();
    span.resource = name.into();
    (span.start, span.duration) = (UnixNanos::from_millis(id), Duration::from_millis(1));
    span.meta.insert("colour", "red");
    span.metrics.insert("size", 3.0);
    span
}

/// `a > b > c` and an orphan `d`.
fn store() -> Store {
    let spans = vec![span("a", 1, 0), span("b", 2, 1), span("c", 3, 2), span("d", 4, 99)];
    let chunks = vec![TraceChunk { spans, ..TraceChunk::default() }];
    let store = Store::new(Limits::default());
    store.add(Batch::Traces(vec![TracerPayload { chunks, ..TracerPayload::default() }]));
    let points = vec![(UnixNanos(1), 2.0), (UnixNanos(2), 3.0)];
    let series = Series {
        name: "orders".into(),
        kind: SeriesKind::Count,
        tags: vec!["kind:test".into()],
        points,
        interval_secs: None,
    };
    store.add(Batch::Series(vec![series]));
    store
}

fn failures(expect: &str) -> Vec<Failure> {
    let expect: Expect = toml::from_str(expect).unwrap();
    expect.check().unwrap();
    received(&expect, &store().snapshot(), &[])
}

fn holds(expect: &str) {
    assert_eq!(failures(expect), [], "{expect}");
}

fn fails(expect: &str, says: &str, closest: &[&str]) {
    let failures = failures(expect);
    assert_eq!(failures.len(), 1, "{expect}: {failures:?}");
    assert_eq!(failures[0].to_string(), says, "{expect}");
    assert_eq!(failures[0].closest, closest, "{expect}");
}

#[test]
fn spans_are_found_by_what_is_said_of_them() {
    holds("[[spans]]\nname = 'a'\nparent = ''");
    holds("[[spans]]\nname = 'b'\nparent = 'a'\ncount = 1\nservice = 'sh*'\nerror = false");
    holds("[[spans]]\npath = 'a > b > c'\ntags = { colour = 'r*', size = 3 }\nwithout = ['shape']");
    holds("[[spans]]\npath = 'b > c'");
    holds("[[spans]]\nname = 'z'\ncount = 0");
    holds("[[spans]]\nname = '*'\ncount = { min = 2, max = 4 }");
    fails(
        "[[spans]]\nname = 'c'\nparent = 'a'",
        "span c under a, at least 1: found 0 of 4",
        &["span c \"c\" of trace 00000000000000000000000000000009", "its parent is \"b\", not \"a\""],
    );
    fails(
        "[[spans]]\npath = 'a > c'",
        "span a > c, at least 1: found 0 of 4",
        &[
            "span c \"c\" of trace 00000000000000000000000000000009",
            "its path is \"a > b > c\", not \"a > c\"",
        ],
    );
    fails(
        "[[spans]]\nname = 'd'\ntags = { shape = 'round' }\nparent = ''",
        "span d without a parent shape=round, at least 1: found 0 of 4",
        &[
            "span d \"d\" of trace 00000000000000000000000000000009",
            "its parent is \"(a span that did not arrive)\", not \"\"",
            "it has no shape, which should be \"round\"",
        ],
    );
    fails("[[spans]]\nname = '*'\ncount = 2", "span *, 2: found 4 of 4", &[]);
    fails(
        "[[spans]]\nname = 'a'\nwithout = ['colour']\nerror = true",
        "span a with an error without colour, at least 1: found 0 of 4",
        &["span a \"a\" of trace 00000000000000000000000000000009", "it has no error", "it has colour"],
    );
}

#[test]
fn metrics_and_counts() {
    holds("[[metrics]]\nname = 'orders'\ntags = ['kind:*']\ncount = 2\nsum = 5\nmin = 2\nmax = 3");
    holds("[counts]\ntraces = 1\nspans = 4\norphans = 1\nduplicates = 0\nlogs = 0\nrequests = { max = 0 }");
    fails("[[metrics]]\nname = 'orders'\nsum = 6", "metric orders, sum 6: it is 5", &[]);
    fails("[[metrics]]\nname = 'orders'\nmin = 2.5", "metric orders, min 2.5: it is 2", &[]);
    fails(
        "[[metrics]]\nname = 'orders'\ntags = ['kind:real']",
        "metric orders kind:real, at least 1 values: found 0",
        &["orders with kind:test"],
    );
    fails("[counts]\norphans = 0", "orphans, 0: found 1", &[]);
    fails("[[logs]]\nmessage = '*'", "log \"*\", at least 1: found 0 of 0", &[]);
}

#[test]
fn answers() {
    let came = |status, error: Option<&str>, payload| Answer {
        call: "x".to_owned(),
        function: "f".to_owned(),
        request_id: None,
        status,
        function_error: error.map(ToOwned::to_owned),
        payload,
        took_ns: 1,
        log_tail: None,
    };
    let check = |expect: &str, came: &Answer, says: &[&str]| {
        let expect: AnswerExpectation = toml::from_str(expect).unwrap();
        let failures: Vec<_> = answer(&expect, came).iter().map(ToString::to_string).collect();
        assert_eq!(failures, says);
    };
    let good = came(200, None, json!({ "n": 1, "list": [1, { "a": 2, "b": 3 }] }));
    check("status = 200\nerror = false\nanswer = { list = [1, { a = 2 }] }", &good, &[]);
    check("answer = { n = 2 }", &good, &[r#"answer to x, {"n":2}: 200 {"list":[1,{"a":2,"b":3}],"n":1}"#]);
    check("error = true", &good, &[r#"answer to x, an error: 200 {"list":[1,{"a":2,"b":3}],"n":1}"#]);
    let bad =
        came(200, Some("Unhandled"), json!({ "errorType": "Runtime.ExitError", "errorMessage": "it ended" }));
    check("error = 'Runtime.*'\nmessage = '*ended'", &bad, &[]);
    check(
        "error = 'Sandbox.Timedout'",
        &bad,
        &[
            r#"answer to x, error Sandbox.Timedout: 200 Runtime.ExitError: {"errorMessage":"it ended","errorType":"Runtime.ExitError"}"#,
        ],
    );
    assert!(contains(&json!(1.0), &json!(1)) && !contains(&json!([1, 2]), &json!([1])));
}
