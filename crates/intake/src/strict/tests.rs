//! A request in, the rules that it breaks out. Each kind of request has one that breaks none.

use axum::http::{HeaderMap, HeaderValue, header};
use model::{Signal, Sketch, SketchSeries, UnixNanos};
use protobuf::Writer;
use serde_json::{Value, json};

use super::{Found, Kind, Sent, check, rules};
use crate::other::Other;

const NOW: UnixNanos = UnixNanos::from_secs(1_790_000_000);
const NOW_NS: u64 = 1_790_000_000_000_000_000;
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let value = |value: &str| HeaderValue::from_str(value).unwrap();
    let mut headers = HeaderMap::new();
    pairs.iter().for_each(|(name, text)| {
        headers.append(*name, value(text));
    });
    headers
}

fn told(found: Found) -> Vec<String> {
    found.of("/x").iter().map(|one| format!("{} {} {}", one.rule, one.field, one.value)).collect()
}

fn of(kind: Kind, media: &str, plain: &[u8]) -> Vec<String> {
    let headers = headers(&[("dd-api-key", KEY), ("content-type", media)]);
    let sent = Sent { kind, path: "/x", headers: &headers, packed: plain.len(), plain: Ok(plain), now: NOW };
    told(check(&sent))
}

fn of_json(kind: Kind, body: &Value) -> Vec<String> {
    of(kind, "application/json", body.to_string().as_bytes())
}

/// The value at a pointer is set to another; `Null` takes it out.
fn with(body: &Value, at: &str, to: Value) -> Value {
    let mut body = body.clone();
    let (parent, key) = at.rsplit_once('/').unwrap();
    match (body.pointer_mut(parent).unwrap(), to) {
        (Value::Object(object), Value::Null) => drop(object.remove(key)),
        (Value::Object(object), to) => drop(object.insert(key.to_owned(), to)),
        (other, to) => other[key.parse::<usize>().unwrap()] = to,
    }
    body
}

/// What becomes of a body without fault when one value of it is another.
fn each(kind: Kind, good: &Value, table: &[(&str, Value, &str)]) {
    assert_eq!(of_json(kind, good), [""; 0]);
    for (at, to, want) in table {
        let body = with(good, at, to.clone());
        let want: Vec<&str> = want.split("; ").filter(|one| !one.is_empty()).collect();
        assert_eq!(of_json(kind, &body), want, "{at} is {to}");
    }
}

#[test]
fn rules_have_names_and_sentences() {
    for rule in rules::ALL {
        assert!(rule.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{rule:?}");
        assert!(rule.wants.len() > 3 && rule.effect.len() > 3 && !rule.effect.ends_with('.'), "{rule:?}");
    }
}

#[test]
fn keys_and_headers() {
    let series = br#"{"series":[]}"#;
    let check = |kind, pairs: &[(&'static str, &str)], packed, want: &[&str]| {
        let headers = headers(pairs);
        let sent =
            Sent { kind, path: "/v1/input/key", headers: &headers, packed, plain: Ok(series), now: NOW };
        let found: Vec<_> = told(check(&sent)).into_iter().filter(|one| !one.starts_with("empty")).collect();
        assert_eq!(found, want, "{pairs:?}");
    };
    let kind = Kind::Signal(Signal::Series);
    let (key, media) = (("dd-api-key", KEY), ("content-type", "application/json; charset=utf-8"));
    check(kind, &[key, media], 10, &[]);
    check(kind, &[media], 10, &["key header DD-API-KEY missing"]);
    check(kind, &[media, ("dd-api-key", "hush")], 10, &["key-shape header DD-API-KEY of 4 characters"]);
    check(kind, &[media, key, key], 10, &["key-twice header DD-API-KEY twice"]);
    check(kind, &[key], 10, &["content-type header Content-Type empty"]);
    check(kind, &[key, ("content-type", "text/html")], 10, &["content-type header Content-Type text/html"]);
    check(
        kind,
        &[key, media, ("content-encoding", "br")],
        10,
        &["content-encoding header Content-Encoding br"],
    );
    check(kind, &[key, media], 100_000, &["not-packed body 100000 bytes"]);
    check(kind, &[key, media, ("content-encoding", "ZSTD")], 100_000, &[]);
    check(
        kind,
        &[key, media, ("content-encoding", "zstd")],
        600_000,
        &["body-size body packed 600000 bytes"],
    );
    // What is passed on is not looked into; the older log intake may have its key in the path.
    check(Kind::Unknown, &[], 10, &[]);
    check(Kind::Other(Other::Validate), &[key], 0, &[]);
    let found = ["log-message entry.message missing", "log-source entry.ddsource missing"];
    let found = [found[0], found[1], "log-service entry.service missing"];
    check(Kind::Other(Other::Logs), &[media], 10, &found);
}

#[test]
fn bodies_that_are_too_large_or_something_else() {
    let large = vec![b' '; 5_000_001];
    let breaks = |kind, plain: Result<&[u8], &str>, want: &str| {
        let headers = headers(&[("dd-api-key", KEY), ("content-encoding", "zstd")]);
        let sent = Sent { kind, path: "/x", headers: &headers, packed: 9, plain, now: NOW };
        let found = told(check(&sent));
        assert!(found.iter().any(|one| one.starts_with(want)), "{want}: {found:?}");
    };
    let signal = Kind::Signal;
    breaks(signal(Signal::Logs), Ok(&large), "body-size body unpacked 5000001 bytes");
    breaks(signal(Signal::Sketches), Ok(&large), "body-size body unpacked");
    breaks(signal(Signal::Series), Err("no zstd"), "body body no zstd");
    for kind in [Signal::Traces, Signal::Series, Signal::Sketches, Signal::Logs, Signal::Stats] {
        breaks(signal(kind), Ok(b"\xff{"), "body body ");
    }
    for kind in [Other::Series, Other::Distributions, Other::Events, Other::Checks] {
        breaks(Kind::Other(kind), Ok(b"{,"), "body body ");
    }
}

#[test]
fn series_of_both_versions() {
    let good = json!({ "series": [{ "metric": "orders.made", "type": 1, "interval": 10, "tags": ["env:prod", "a"],
        "points": [{ "timestamp": 1_790_000_000, "value": 3 }] }] });
    let long = "a".repeat(201);
    each(
        Kind::Signal(Signal::Series),
        &good,
        &[
            ("/series", json!([]), "empty series empty"),
            ("/series/0/metric", json!("1st"), "metric-name series[0].metric 1st"),
            ("/series/0/metric", json!("Ünits"), "metric-name series[0].metric Ünits"),
            ("/series/0/metric", json!(""), "metric-name series[0].metric empty"),
            ("/series/0/type", json!(4), "metric-type series[0].type 4"),
            ("/series/0/type", json!("count"), "metric-type series[0].type \"count\""),
            ("/series/0/type", json!(3), ""),
            ("/series/0/interval", json!(0), "metric-interval series[0].interval 0"),
            ("/series/0/interval", Value::Null, "metric-interval series[0].interval missing"),
            ("/series/0/points", json!([]), "metric-points series[0].points []"),
            ("/series/0/points/0/value", Value::Null, "metric-value series[0].points[0].value missing"),
            ("/series/0/points/0/timestamp", json!(1_789_996_400), ""),
            (
                "/series/0/points/0/timestamp",
                json!(1_789_996_399),
                "metric-time series[0].points[0].timestamp 1789996399",
            ),
            (
                "/series/0/points/0/timestamp",
                json!(1_790_000_601),
                "metric-time series[0].points[0].timestamp 1790000601",
            ),
            (
                "/series/0/points/0/timestamp",
                json!(1_790_000_000_000_u64),
                "metric-time series[0].points[0].timestamp 1790000000000",
            ),
            ("/series/0/tags", json!(["env:a b"]), "metric-tag series[0].tags[0] env:a b"),
            ("/series/0/tags", json!(["x", "env:"]), "metric-tag series[0].tags[1] env:"),
            ("/series/0/tags", json!(["env", "env"]), "metric-tag-twice series[0].tags[1] env"),
        ],
    );
    let found = of_json(Kind::Signal(Signal::Series), &with(&good, "/series/0/metric", json!(long)));
    assert!(found[0].starts_with("metric-name") && found[0].ends_with('…'), "{found:?}");
    let points =
        json!([{ "timestamp": 1_790_000_000, "value": 3 }, { "timestamp": 1_790_000_000, "value": 4 }]);
    let twice = with(&good, "/series/0/points", points);
    let found = of_json(Kind::Signal(Signal::Series), &twice);
    assert_eq!(found, ["metric-twice series[0].points another at 1790000000"]);

    let good = json!({ "series": [{ "metric": "m", "type": "rate", "interval": 10, "points": [[1_790_000_000.5, "2.5"]] }] });
    each(
        Kind::Other(Other::Series),
        &good,
        &[
            ("/series/0/type", json!("sum"), "metric-type series[0].type sum"),
            ("/series/0/interval", Value::Null, "metric-interval series[0].interval missing"),
            ("/series/0/points/0", json!([5, 1]), "metric-time series[0].points[0][0] 5"),
            ("/series/0/points/0", json!([1_790_000_000, "x"]), "metric-value series[0].points[0][1] \"x\""),
        ],
    );
    let good = json!({ "series": [{ "metric": "m", "points": [[1_790_000_000, [1, 2.5]]] }] });
    each(
        Kind::Other(Other::Distributions),
        &good,
        &[
            ("/series/0/points/0", json!([1_790_000_000, []]), "metric-value series[0].points[0][1] []"),
            (
                "/series/0/points/0",
                json!([1_790_000_000, [null]]),
                "metric-value series[0].points[0][1] [null]",
            ),
        ],
    );
}

#[test]
fn series_of_the_agent() {
    let check = |metric: &str, kind: u64, interval: i64, times: &[u64], want: &[&str]| {
        let mut w = Writer::with_capacity(64);
        w.message(1, |w| {
            w.text(2, metric);
            w.text(3, "env:prod");
            for time in times {
                w.message(4, |w| {
                    w.double(1, 2.5);
                    w.uint(2, *time);
                });
            }
            w.uint(5, kind);
            w.int(8, interval);
        });
        let found = of(Kind::Signal(Signal::Series), "application/x-protobuf", &w.into_bytes());
        assert_eq!(found, want, "{metric} {kind} {interval} {times:?}");
    };
    let now = NOW.as_secs();
    check("orders.made", 1, 10, &[now, now - 10], &[]);
    check("orders.open", 3, 0, &[now], &[]);
    check("orders.made", 1, 0, &[now], &["metric-interval series[0].interval 0"]);
    check(
        "orders made",
        4,
        0,
        &[],
        &[
            "metric-name series[0].metric orders made",
            "metric-points series[0].points empty",
            "metric-type series[0].type 4",
        ],
    );
    check("m", 3, 0, &[5], &["metric-time series[0].points[0].timestamp 5"]);
    check("m", 3, 0, &[now, now], &["metric-twice series[0].points[1] another at 1790000000"]);
    let empty = of(Kind::Signal(Signal::Series), "application/x-protobuf", b"");
    assert_eq!(empty, ["empty series empty"]);
}

#[test]
fn logs() {
    let good = json!([{ "message": { "message": "hi", "timestamp": 1_790_000_000_123_u64, "status": "info" },
        "ddsource": "lambda", "service": "orders", "ddtags": "env:prod,a:b", "hostname": "arn" }]);
    let tags = vec!["a"; 101].join(",");
    each(
        Kind::Signal(Signal::Logs),
        &good,
        &[
            (
                "/0/message/message",
                json!(""),
                r#"log-message [0].message {"message":"","status":"info","timestamp":1790000000123}"#,
            ),
            ("/0/message", Value::Null, "log-message [0].message missing"),
            ("/0/ddsource", Value::Null, "log-source [0].ddsource missing"),
            ("/0/service", json!(""), "log-service [0].service \"\""),
            ("/0/message/timestamp", json!(1_789_935_200_000_u64), ""),
            ("/0/message/timestamp", json!(1_789_935_199_999_u64), "log-time [0].timestamp 1789935199999"),
            ("/0/message/timestamp", json!(1_790_007_200_001_u64), "log-time [0].timestamp 1790007200001"),
            ("/0/message/timestamp", json!(5), "log-time [0].timestamp 5"),
            ("/0/message/timestamp", json!("2026-09-21T00:00:00Z"), ""),
            ("/0/ddtags", json!(["a"]), "log-tags [0].ddtags empty"),
            ("/0", json!("text"), "log-shape [0] \"text\""),
        ],
    );
    let found = of_json(Kind::Signal(Signal::Logs), &with(&good, "/0/ddtags", json!(tags)));
    assert!(found[0].starts_with("log-tags [0].ddtags a,a,"), "{found:?}");
    let found = of_json(Kind::Signal(Signal::Logs), &with(&good, "/0/message", json!("x".repeat(1_000_000))));
    assert!(found.iter().any(|one| one.starts_with("log-size [0] 1000")), "{found:?}");
    let many = Value::Array(vec![good[0].clone(); 1001]);
    let found = of_json(Kind::Signal(Signal::Logs), &many);
    assert_eq!(found, ["not-packed body 151152 bytes", "log-entries body 1001 entries"]);
    assert_eq!(of_json(Kind::Signal(Signal::Logs), &json!([])), ["empty body empty"]);
    assert_eq!(of_json(Kind::Other(Other::Logs), &good[0]), [""; 0]);
}

#[test]
fn events_and_service_checks() {
    let good = json!({ "title": "t", "text": "x", "date_happened": 1_790_000_000, "alert_type": "error", "priority": "low" });
    each(
        Kind::Other(Other::Events),
        &good,
        &[
            ("/title", json!(""), "event-title title \"\""),
            ("/text", Value::Null, "event-text text missing"),
            ("/date_happened", json!(5), "event-time date_happened 5"),
            ("/alert_type", json!("bad"), "event-word alert_type \"bad\""),
            ("/priority", json!("high"), "event-word priority \"high\""),
        ],
    );
    let good = json!([{ "check": "db", "status": 2 }]);
    each(
        Kind::Other(Other::Checks),
        &good,
        &[
            ("/0/check", json!(""), "check-name [0].check \"\""),
            ("/0/status", json!(4), "check-status [0].status 4"),
        ],
    );
}

/// One sketch, made of the fields of its point.
fn sketches(name: &str, point: impl FnOnce(&mut Writer)) -> Vec<String> {
    let mut w = Writer::with_capacity(64);
    w.message(1, |w| {
        w.text(1, name);
        w.message(7, point);
    });
    of(Kind::Signal(Signal::Sketches), "application/x-protobuf", &w.into_bytes())
}

#[test]
fn sketches_add_up() {
    let mut sketch = Sketch::default();
    for value in [0.0, -3.5, 1.0, 1e9, 2.0] {
        sketch.insert(value, 100_000);
    }
    let series = SketchSeries { name: "m".into(), tags: vec!["a:b".into()], points: vec![(NOW, sketch)] };
    let good = payload::sketches::encode(&[series]);
    assert_eq!(of(Kind::Signal(Signal::Sketches), "application/x-protobuf", &good), [""; 0]);
    assert_eq!(of(Kind::Signal(Signal::Sketches), "application/x-protobuf", b""), ["empty sketches empty"]);

    let check = |count: i64, figures: [f64; 4], keys: &[i32], counts: &[u64], want: &[&str]| {
        let found = sketches("m", |w| {
            w.uint(1, NOW.as_secs());
            w.int(2, count);
            (3..).zip(figures).for_each(|(field, value)| w.double(field, value));
            w.packed_sint(7, keys.iter().copied());
            w.packed(8, counts.iter().copied());
        });
        let found: Vec<_> = found.iter().map(|one| one.split(' ').next().unwrap()).collect();
        assert_eq!(found, want, "{count} {figures:?} {keys:?} {counts:?}");
    };
    let figures = [1.0, 3.0, 2.0, 4.0];
    check(2, figures, &[1338, 1408], &[1, 1], &[]);
    check(3, [1.0, 3.0, 2.0, 6.0], &[1338, 1408], &[1, 1], &["sketch-count"]);
    check(0, [0.0; 4], &[], &[], &["sketch-count"]);
    check(-2, figures, &[1338, 1408], &[1, 1], &["sketch-count"]);
    check(2, figures, &[1408, 1338], &[1, 1], &["sketch-bins"]);
    check(2, figures, &[1338], &[1, 1], &["sketch-bins"]);
    check(2, figures, &[1338, 1339, 1408], &[1, 0, 1], &["sketch-bins"]);
    check(2, figures, &[1338, 40_000], &[1, 1], &["sketch-bins"]);
    check(2, [3.0, 1.0, 2.0, 4.0], &[1338, 1408], &[1, 1], &["sketch-figures"]);
    check(2, [1.0, 3.0, 2.0, 5.0], &[1338, 1408], &[1, 1], &["sketch-figures"]);
    check(2, [1.0, f64::INFINITY, 2.0, 4.0], &[1338, 1408], &[1, 1], &["sketch-figures"]);
    let found = sketches("", |w| w.uint(1, 5));
    assert_eq!(found[0], "metric-time sketches[0].dogsketches[0].ts 5");
    assert!(found.contains(&"metric-name sketches[0].metric empty".to_owned()), "{found:?}");
}

/// What a span is made of; what is not said is without fault.
struct Pb {
    texts: [&'static str; 4],
    trace: u64,
    id: u64,
    parent: u64,
    start: u64,
    duration: i64,
    meta: &'static [(&'static str, &'static str)],
    top: f64,
    link: Option<(u64, u64)>,
}

const SPAN: Pb = Pb {
    texts: ["orders", "aws.lambda", "GET /", "web"],
    trace: 9,
    id: 1,
    parent: 0,
    start: NOW_NS - 1000,
    duration: 1000,
    meta: &[("http.status_code", "200"), ("_dd.p.tid", "00000000000000ab")],
    top: 1.0,
    link: Some((5, 6)),
};

fn chunk(priority: i64, spans: &[Pb]) -> Vec<String> {
    let mut w = Writer::with_capacity(64);
    w.message(5, |w| {
        w.message(6, |w| {
            w.int(1, priority);
            for span in spans {
                w.message(3, |w| write(w, span));
            }
        });
    });
    let found = of(Kind::Signal(Signal::Traces), "application/x-protobuf", &w.into_bytes());
    found.iter().map(|one| one.replace("tracerPayloads[0].chunks[0].", "")).collect()
}

fn write(w: &mut Writer, span: &Pb) {
    for (field, text) in [1, 2, 3, 12].into_iter().zip(span.texts) {
        w.text(field, text);
    }
    for (field, number) in (4..).zip([span.trace, span.id, span.parent, span.start]) {
        w.uint(field, number);
    }
    w.int(8, span.duration);
    span.meta.iter().for_each(|(key, value)| w.entry(10, key, value.as_bytes()));
    w.double_entry(11, "_top_level", span.top);
    if let Some((trace, id)) = span.link {
        w.message(14, |w| {
            w.uint(1, trace);
            w.uint(3, id);
        });
    }
}

#[test]
fn spans() {
    let check = |span: Pb, want: &[&str]| assert_eq!(chunk(1, &[span]), want);
    check(SPAN, &[]);
    check(Pb { trace: 0, ..SPAN }, &["trace-id spans[0].traceID 0"]);
    check(Pb { id: 0, parent: 5, ..SPAN }, &["span-id spans[0].spanID 0"]);
    check(Pb { parent: 1, top: 0.0, ..SPAN }, &["span-parent spans[0].parentID itself"]);
    check(Pb { duration: -5, ..SPAN }, &["span-duration spans[0].duration -5"]);
    check(Pb { start: 5, ..SPAN }, &["span-start spans[0].start 5"]);
    let ahead = NOW_NS + 601_000_000_000;
    check(Pb { start: ahead, ..SPAN }, &["span-future spans[0].start 1790000601000000000"]);
    check(
        Pb { texts: ["", "", "", ""], ..SPAN },
        &[
            "span-service spans[0].service empty",
            "span-name spans[0].name empty",
            "span-resource spans[0].resource empty",
        ],
    );
    check(
        Pb { texts: ["Orders", "a-b", "x", ""], ..SPAN },
        &["span-service spans[0].service Orders", "span-name spans[0].name a-b"],
    );
    let [text, long]: [&'static str; 2] = [101, 5001].map(|n| &*"a".repeat(n).leak());
    let found: Vec<_> = chunk(1, &[Pb { texts: [text, text, long, text], ..SPAN }]);
    let found: Vec<_> = found.iter().map(|one| one.split(' ').next().unwrap()).collect();
    assert_eq!(found, ["span-service", "span-name", "span-resource", "span-type"]);
    check(
        Pb { top: f64::NAN, ..SPAN },
        &["span-number spans[0].metrics._top_level NaN", "span-top-level spans[0] of orders, not marked"],
    );
    check(Pb { top: 0.0, ..SPAN }, &["span-top-level spans[0] of orders, not marked"]);
    check(Pb { link: Some((0, 6)), ..SPAN }, &["span-link spans[0].spanLinks 0:6"]);
    check(
        Pb { meta: &[("http.status_code", "ok"), ("_dd.p.tid", "7"), ("", "x")], ..SPAN },
        &[
            "span-status-code spans[0].meta.http.status_code ok",
            "trace-id-high spans[0].tags._dd.p.tid 7",
            "span-tag-key spans[0].meta empty",
        ],
    );
}

#[test]
fn chunks() {
    assert_eq!(chunk(-128, &[SPAN]), ["chunk-priority priority -128"]);
    assert_eq!(chunk(3, &[SPAN]), ["chunk-priority priority 3"]);
    assert_eq!(chunk(-1, &[SPAN, Pb { id: 2, parent: 1, top: 0.0, ..SPAN }]), [""; 0]);
    assert_eq!(chunk(1, &[]), ["chunk-empty spans empty"]);
    assert_eq!(chunk(1, &[SPAN, SPAN]), ["span-twice spans[1].spanID 1 again"]);
    assert_eq!(chunk(1, &[SPAN, Pb { trace: 10, ..SPAN }]), ["chunk-traces spans of traces 9 and 10"]);
    assert_eq!(
        of(Kind::Signal(Signal::Traces), "application/x-protobuf", b""),
        ["empty tracerPayloads empty"]
    );
}

#[test]
fn statistics() {
    let good = json!({ "AgentEnv": "", "Stats": [{ "Service": "orders", "Stats": [{ "Start": NOW_NS, "Duration": 10_000_000_000_u64,
        "Stats": [{ "Service": "orders", "Name": "aws.lambda", "Resource": "orders", "Hits": 3, "Errors": 1, "TopLevelHits": 3 }] }] }] });
    let check = |at: &str, to: Value, want: &str| {
        let body = if at.is_empty() { good.clone() } else { with(&good, at, to) };
        let mut plain = Vec::new();
        rmpv::encode::write_value(&mut plain, &packed(&body)).unwrap();
        let found = of(Kind::Signal(Signal::Stats), "application/msgpack", &plain);
        assert_eq!(found, want.split("; ").filter(|one| !one.is_empty()).collect::<Vec<_>>(), "{at}");
    };
    let group = "/Stats/0/Stats/0/Stats/0";
    check("", Value::Null, "");
    check("/Stats", json!([]), "empty Stats empty");
    check("/Stats/0/Stats", json!([]), "stats-empty Stats[0].Stats empty");
    check("/Stats/0/Stats/0/Stats", json!([]), "stats-empty Stats[0].Stats[0].Stats empty");
    check("/Stats/0/Stats/0/Start", json!(5), "stats-bucket Stats[0].Stats[0] from 5, 10000000000 ns long");
    let place = "Stats[0].Stats[0].Stats[0]";
    check(&format!("{group}/Name"), json!(""), &format!("stats-group {place} orders, , orders"));
    check(
        &format!("{group}/Errors"),
        json!(4),
        &format!("stats-counts {place} 3 hits, 4 errors, 3 top level hits"),
    );
}

fn packed(value: &Value) -> rmpv::Value {
    match value {
        Value::Number(n) => n.as_u64().unwrap().into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(all) => all.iter().map(packed).collect(),
        Value::Object(all) => {
            rmpv::Value::Map(all.iter().map(|(k, v)| (k.as_str().into(), packed(v))).collect())
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_rule_is_told_once_with_how_often_it_is_broken() {
    let mut found = Found::default();
    for n in 0..3 {
        found.add(&rules::SPAN_NAME, format_args!("spans[{n}].name"), n);
    }
    let all = found.of("/api/v0.2/traces");
    assert_eq!(all.len(), 1);
    let sentence = all[0].to_string();
    assert!(
        sentence.starts_with("/api/v0.2/traces (request 0): spans[0].name is 0, not up to 100"),
        "{sentence}"
    );
    assert!(sentence.ends_with(" (3 times)"), "{sentence}");
    assert_eq!(headers(&[]).get(header::HOST), None);
}
