//! What both are sent: spans of all kinds to count, and statistics that a tracer made.

use rmpv::Value as Any;
use serde_json::{Map, Value, json};

/// One trace, in a request of its own. Spans of one name are counted together, if nothing else parts them.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) spans: Value,
}

/// What is sent last.
pub(super) const LAST: &str = "the last";

fn case(name: &'static str, spans: Value) -> Case {
    Case { name, headers: &[], spans }
}

/// A span with what is said of it instead of what it would have. Its name is the number by which it is known.
fn span(id: u64, parent: u64, more: Value) -> Value {
    let mut span = json!({
        "name": id,
        "service": "shop",
        "resource": "GET /orders",
        "type": "web",
        "span_id": id,
        "parent_id": parent,
        "start": null,
        "duration": 1_000_000,
        "error": 0,
        "meta": {},
        "metrics": {},
    });
    let fields: &mut Map<String, Value> = span.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    span
}

/// A root and spans below it that are counted for what they are: measured ones.
fn below(all: Value) -> Value {
    let mut spans = vec![span(1, 0, json!({}))];
    for (id, more) in (2..).zip(all.as_array().unwrap()) {
        let mut span = span(id, 1, more.clone());
        span["metrics"]["_dd.measured"] = 1.into();
        spans.push(span);
    }
    spans.into()
}

fn metas(all: &[Value]) -> Value {
    below(all.iter().map(|meta| json!({ "meta": meta })).collect())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("which spans", which()),
        case("errors", errors()),
        case("latencies", latencies()),
        case("HTTP", http()),
        case("HTTP status as a number", http_numbers()),
        case("gRPC", grpc()),
        case(
            "gRPC status as a number",
            below(json!([{ "metrics": { "grpc.status.code": 5 } }, { "metrics": { "grpc.code": 4.0 } }])),
        ),
        case("peer tags by kind", peers_by_kind()),
        case("peer tags with addresses", peers_with_addresses()),
        case("a synthetic test", origin("synthetics-browser")),
        case("another origin", origin("rum")),
        case("a parent elsewhere", json!([span(1, 4242, json!({}))])),
        case("a sampled trace", json!([span(1, 0, json!({ "metrics": { "_sample_rate": 0.25 } }))])),
        case(
            "dropped by the sampler",
            json!([span(1, 0, json!({ "metrics": { "_sampling_priority_v1": 0 } }))]),
        ),
        case(
            "dropped by the user",
            json!([span(1, 0, json!({ "metrics": { "_sampling_priority_v1": -1 } }))]),
        ),
        case(
            "a span twice",
            json!([
                span(1, 0, json!({})),
                span(2, 1, json!({ "service": "db" })),
                span(2, 1, json!({ "service": "db" }))
            ]),
        ),
        case(
            "names that are made fit",
            below(
                json!([{ "service": "SHOP Orders!", "resource": "" }, { "service": "", "type": "t".repeat(150) }]),
            ),
        ),
        case(
            "who named the service",
            metas(&[json!({ "_dd.svc_src": "opt.mysql" }), json!({ "_dd.svc_src": "" })]),
        ),
        case("statements", statements()),
        case("an end long ago", json!([span(1, 0, json!({ "start": 1_000_000_000_000_000_000_u64 }))])),
        case(
            "another environment",
            json!([span(1, 0, json!({ "meta": { "env": "staging", "version": "9", "runtime-id": "r" } }))]),
        ),
        Case {
            name: "a tracer with statistics of its own",
            headers: &[("datadog-client-computed-stats", "yes")],
            spans: json!([span(1, 0, json!({}))]),
        },
        Case {
            name: "a tracer that knows the top",
            headers: &[("datadog-client-computed-top-level", "yes")],
            spans: json!([
                span(1, 0, json!({ "metrics": { "_dd.top_level": 1 } })),
                span(2, 1, json!({ "service": "db" })),
                span(3, 1, json!({ "metrics": { "_dd.top_level": 1 } })),
            ]),
        },
        case(LAST, json!([span(1, 0, json!({}))])),
    ]
}

fn which() -> Value {
    let kind = |kind: &str| json!({ "meta": { "span.kind": kind } });
    let measured = |value: Value| json!({ "metrics": { "_dd.measured": value } });
    let all = [
        json!({}),
        json!({ "service": "db" }),
        measured(json!(1)),
        measured(json!(0)),
        measured(json!(2)),
        kind("client"),
        kind("server"),
        kind("producer"),
        kind("consumer"),
        kind("internal"),
        kind("Client"),
        kind("other"),
        json!({ "metrics": { "_dd.measured": 1, "_dd.partial_version": 1 } }),
        json!({ "service": "db", "metrics": { "_dd.partial_version": 0 } }),
    ];
    let root = span(1, 0, json!({}));
    std::iter::once(root).chain((2..).zip(all).map(|(id, more)| span(id, 1, more))).collect()
}

fn errors() -> Value {
    let one = |id: u64, more: Value| {
        let mut span = span(id, if id == 1 { 0 } else { 4242 }, more);
        span["name"] = 1.into();
        span
    };
    json!([
        one(1, json!({ "error": 1, "duration": 3_000_000 })),
        one(2, json!({ "parent_id": 0 })),
        one(3, json!({ "parent_id": 0, "error": 2 })),
        one(4, json!({ "parent_id": 0, "duration": 7 })),
    ])
}

/// From nothing to minutes.
pub(super) fn durations() -> Vec<u64> {
    let mut all: Vec<u64> = (0..60).map(|n| (1.5_f64).powi(n) as u64 + n as u64).collect();
    all.push(0);
    all
}

fn latencies() -> Value {
    let one = |(id, duration): (u64, u64)| {
        let mut span = span(id, 0, json!({ "duration": duration }));
        span["name"] = 1.into();
        span
    };
    (1..).zip(durations()).map(one).collect()
}

fn http() -> Value {
    metas(&[
        json!({ "http.status_code": "200", "http.method": "GET", "http.route": "/orders/{id}" }),
        json!({ "http.status_code": "abc" }),
        json!({ "http.status_code": "700" }),
        json!({ "http.route": "/a", "http.endpoint": "/b" }),
        json!({ "http.route": "/a", "http.endpoint": "" }),
        json!({ "http.response.status_code": "404", "http.request.method": "PUT" }),
        json!({ "http.status_code": "200", "http.response.status_code": "404", "http.method": "", "http.request.method": "PUT" }),
    ])
}

fn http_numbers() -> Value {
    below(json!([
        { "metrics": { "http.status_code": 503 } },
        { "metrics": { "http.status_code": 503 }, "meta": { "http.status_code": "200" } },
        { "metrics": { "http.response.status_code": 404 } },
    ]))
}

fn grpc() -> Value {
    let keys = ["rpc.grpc.status_code", "grpc.code", "rpc.grpc.status.code", "grpc.status.code"];
    let mut all: Vec<Value> = keys.iter().map(|key| json!({ *key: "14" })).collect();
    let values = [
        "OK",
        "Canceled",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "DeadlineExceeded",
        "StatusCode.UNAVAILABLE",
        "not_found",
        "nonsense",
        "",
    ];
    all.extend(values.iter().map(|value| json!({ "grpc.code": value })));
    all.push(json!({ "grpc.code": "nonsense", "grpc.status.code": "3" }));
    metas(&all)
}

fn peers_by_kind() -> Value {
    let of = |kind: &str| json!({ "span.kind": kind, "_dd.base_service": "base", "peer.service": "db", "db.name": "orders", "out.host": "db.internal", "topicname": "", "other": "x" });
    metas(&["client", "producer", "consumer", "server", "internal", "", "Client", "other"].map(of))
}

fn peers_with_addresses() -> Value {
    let of = |value: &str| json!({ "span.kind": "client", "out.host": value });
    metas(
        &[
            "10.1.2.3",
            "10.1.2.3:5432",
            "ip-10-1-2-3.eu-west-1.compute.internal",
            "dnspoll:///10.1.2.3:6400",
            "2001:db8::1",
            "[2001:db8::1]:6379",
            "fe80::1%eth0",
            "10.0.0.1:9092,10.0.0.2:9092,db.internal",
            "a,b,a",
            "169.254.169.254",
            "127.0.0.1:80",
            "010.1.2.3",
            "v1.2.3.4",
        ]
        .map(of),
    )
}

fn origin(origin: &str) -> Value {
    json!([span(1, 0, json!({ "meta": { "_dd.origin": origin } })), span(2, 1, json!({ "service": "db" }))])
}

fn statements() -> Value {
    below(json!([
        { "type": "sql", "resource": "SELECT a FROM t WHERE b = 'secret'" },
        { "type": "redis", "resource": "SET key secret" },
    ]))
}

/// Statistics that a tracer sends.
pub(super) struct Sent {
    pub(super) name: &'static str,
    pub(super) body: Vec<u8>,
}

fn map(pairs: &[(&str, Any)]) -> Any {
    Any::Map(pairs.iter().map(|(key, value)| (Any::from(*key), value.clone())).collect())
}

fn group(more: &[(&str, Any)]) -> Any {
    let texts =
        ["Service", "Name", "Resource", "Type", "SpanKind"].map(|key| (key, Any::from(key.to_lowercase())));
    let numbers = [
        ("HTTPStatusCode", 200),
        ("Hits", 3),
        ("Errors", 1),
        ("Duration", 5000),
        ("TopLevelHits", 2),
        ("IsTraceRoot", 1),
    ];
    let summaries = ["OkSummary", "ErrorSummary"].map(|key| (key, Any::Binary(vec![10, 0, 255])));
    let numbers = numbers.map(|(key, n)| (key, Any::from(n)));
    let pairs = [&texts[..], &numbers, &summaries, &[("Synthetics", true.into())], more].concat();
    map(&pairs)
}

fn bucket(start: u64, groups: Vec<Any>) -> Any {
    map(&[("Start", start.into()), ("Duration", 10_000_000_000_u64.into()), ("Stats", Any::Array(groups))])
}

fn list(all: &[&str]) -> Any {
    Any::Array(all.iter().map(|text| Any::from(*text)).collect())
}

fn stats(name: &'static str, fields: &[(&str, Any)]) -> Sent {
    let named = [("RuntimeID", Any::from(name))];
    let mut body = Vec::new();
    rmpv::encode::write_value(&mut body, &map(&[&named[..], fields].concat())).unwrap();
    Sent { name, body }
}

pub(super) fn sent(now: u64) -> Vec<Sent> {
    let long_ago = 1_500_000_000_000_000_000;
    let one = |more: &[(&str, Any)]| ("Stats", Any::Array(vec![bucket(now, vec![group(more)])]));
    let texts = [
        "Env",
        "Version",
        "Service",
        "Lang",
        "TracerVersion",
        "ContainerID",
        "Hostname",
        "AgentAggregation",
        "GitCommitSha",
        "ImageTag",
        "ProcessTags",
    ];
    let mut all: Vec<(&str, Any)> = texts.iter().map(|key| (*key, Any::from(format!("a {key}")))).collect();
    all.extend([("Sequence", 7.into()), ("Tags", list(&["a:b", "c:d"])), ("ProcessTagsHash", 12_345.into())]);
    let later = [
        ("PeerTags", list(&["peer.service:db", "db.name:orders"])),
        ("GRPCStatusCode", "14".into()),
        ("HTTPMethod", "GET".into()),
        ("HTTPEndpoint", "/orders/{id}".into()),
        ("srv_src", "opt.mysql".into()),
        ("DBType", "mysql".into()),
        ("SpanDerivedPrimaryTags", list(&["x:y"])),
        ("AdditionalMetricTags", list(&["z:1"])),
    ];
    all.push((
        "Stats",
        Any::Array(vec![bucket(now, vec![group(&later), group(&[])]), bucket(now, vec![group(&[])])]),
    ));
    vec![
        stats("all there is", &all),
        stats("the least", &[one(&[])]),
        stats("empty texts", &[("Env", "".into()), ("Service", "".into()), ("Lang", "".into()), one(&[])]),
        stats("spans of long ago", &[("Stats", Any::Array(vec![bucket(long_ago, vec![group(&[])])]))]),
        stats("a field of later", &[("Later", 1.into()), one(&[("Later", "x".into())])]),
        stats("no statistics", &[("Stats", Any::Array(Vec::new()))]),
        Sent { name: "no map", body: b"\x93\x01\x02\x03".to_vec() },
        Sent { name: "cut off", body: b"\x82\xa5Stats\x91".to_vec() },
        stats(LAST, &[one(&[])]),
    ]
}
