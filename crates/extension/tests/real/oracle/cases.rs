//! What both are sent: payloads of `/v0.4/traces` as tracers send them, and as they should not.

use serde_json::{Map, Value, json};

/// One request: the traces in it, each a list of spans.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) traces: Vec<Value>,
}

/// A span of the trace that its case is, with what is said of it instead of what it would have; `null` leaves a field
/// out.
fn span(id: u64, parent: u64, more: Value) -> Value {
    let mut span = json!({
        "name": "web.request",
        "service": "shop",
        "resource": "GET /orders",
        "type": "web",
        "span_id": id,
        "parent_id": parent,
        "start": "now",
        "duration": 1_000_000,
        "error": 0,
        "meta": {},
        "metrics": {},
    });
    let fields: &mut Map<String, Value> = span.as_object_mut().unwrap();
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(fields.remove(key)),
            value => drop(fields.insert(key.clone(), value.clone())),
        }
    }
    span
}

/// Spans that differ in one field, the first above the others.
fn each(field: &str, values: &[Value]) -> Value {
    let spans = (1..).zip(values).map(|(id, value)| span(id, u64::from(id > 1), json!({ field: value })));
    spans.collect()
}

fn metas(kind: &str, all: &[Value]) -> Value {
    let spans = (1..).zip(all).map(|(id, meta)| {
        let mut meta = meta.clone();
        let resource = meta.as_object_mut().unwrap().remove("resource").unwrap();
        span(id, u64::from(id > 1), json!({ "type": kind, "meta": meta, "resource": resource }))
    });
    spans.collect()
}

fn long(what: &str, times: usize) -> Value {
    what.repeat(times).into()
}

pub(crate) fn cases() -> Vec<Case> {
    let all = [fields(), values(), shapes(), priorities(), obfuscated()];
    all.into_iter().flatten().collect()
}

/// A request of one trace.
fn case(name: &'static str, spans: Value) -> Case {
    Case { name, traces: vec![spans] }
}

fn fields() -> Vec<Case> {
    vec![
        case("a whole trace", whole()),
        case("names", names()),
        case("services", services()),
        case("resources", each("resource", &[json!("GET /"), json!(""), long("r", 6000)])),
        case("types", each("type", &[json!("web"), json!(""), long("t", 150)])),
        case(
            "durations",
            each("duration", &[json!(5), json!(-5), json!(0), json!(i64::MAX), json!(u64::MAX)]),
        ),
        case("durations as fractions", each("duration", &[json!(5.0), json!(12.7)])),
        case("other numbers as fractions", json!([span(1, 0, json!({ "parent_id": 0.0, "start": 1.8e18 }))])),
        case(
            "starts",
            each(
                "start",
                &[json!("now"), json!(0), json!(-1), json!(1_000_000), json!(946_684_800_000_000_000_u64)],
            ),
        ),
        case("errors", errors()),
        case("an error below zero", each("error", &[json!(-1)])),
        case("an error as a fraction", each("error", &[json!(1.0)])),
    ]
}

fn values() -> Vec<Case> {
    vec![
        case(
            "status codes",
            each("meta", &["200", "404", "abc", "700", ""].map(|code| json!({ "http.status_code": code }))),
        ),
        case("tags", tags()),
        case(
            "text that is not UTF-8",
            each("meta", &[json!({ "cut": { "$": "text", "of": [0x61, 0xff, 0x62] } })]),
        ),
        case(
            "names of the function's tags",
            each("meta", &[json!({ "region": "mars", "functionname": "own" })]),
        ),
        case(
            "numbers",
            each(
                "metrics",
                &[
                    json!({ "whole": 1, "negative": -2, "fraction": 1.5, "large": u64::MAX, "small": i64::MIN }),
                    json!({ "_dd.measured": 1, "_dd.agent_psr": 0.5, "_dd.rule_psr": 1 }),
                ],
            ),
        ),
        case(
            "nothing for a value",
            json!([
                span(
                    1,
                    0,
                    json!({ "service": { "$": "nil" }, "resource": { "$": "nil" }, "type": { "$": "nil" }, "meta": { "$": "nil" }, "metrics": { "$": "nil" } })
                ),
                span(
                    2,
                    1,
                    json!({ "service": null, "resource": null, "type": null, "meta": null, "metrics": null, "error": null })
                ),
                span(3, 1, json!({ "name": null })),
                span(4, 1, json!({ "meta": { "a": { "$": "nil" } }, "parent_id": { "$": "nil" } })),
            ]),
        ),
    ]
}

fn shapes() -> Vec<Case> {
    vec![
        case("links and events", links_and_events()),
        case(
            "structures",
            each(
                "meta_struct",
                &[
                    json!({ "appsec": { "$": "bin", "of": [0x81, 0xa1, 0x61, 0x01] }, "empty": { "$": "bin", "of": [] } }),
                ],
            ),
        ),
        case("unknown fields", each("later", &[json!({ "deep": [1, { "a": null }] })])),
        case(
            "parents",
            json!([
                span(1, 4242, json!({})),
                span(2, 1, json!({ "service": "database" })),
                span(3, 2, json!({ "service": "database" })),
                span(4, 3, json!({})),
                span(5, 5, json!({})),
            ]),
        ),
        case("a span twice", json!([span(1, 0, json!({})), span(2, 1, json!({})), span(2, 1, json!({}))])),
        case(
            "places of versions",
            each(
                "meta",
                &[
                    json!({ "env": "Staging Env!", "version": "1.2", "_dd.origin": "synthetics", "_dd.hostname": "h", "runtime-id": "r", "_dd.p.dm": "-4", "_dd.p.tid": "66a1b2c300000000" }),
                ],
            ),
        ),
    ]
}

fn whole() -> Value {
    json!([
        span(
            1,
            0,
            json!({
                "meta": { "span.kind": "server", "http.method": "GET", "http.status_code": "200", "http.url": "https://shop.example.com/orders", "language": "python", "env": "test", "version": "1", "runtime-id": "r", "_dd.p.dm": "-1", "_dd.p.tid": "66a1b2c300000000" },
                "metrics": { "_sampling_priority_v1": 1, "process_id": 17, "_dd.top_level": 1 },
            })
        ),
        span(
            2,
            1,
            json!({ "name": "postgres.query", "service": "orders-db", "resource": "SELECT id FROM orders", "type": "sql", "meta": { "span.kind": "client", "db.name": "orders" } })
        ),
        span(
            3,
            1,
            json!({ "name": "pack", "type": "", "resource": "pack", "meta": { "boxes": "3" }, "metrics": { "items": 3.5 } })
        ),
    ])
}

fn names() -> Value {
    let names = [
        "web.request",
        "",
        "GET /orders!! {x}",
        "9lives",
        "__a__b--c..d",
        "12345",
        "größe.übung",
        "UPPER.Case",
        " padded ",
    ];
    let mut values = names.map(Value::from).to_vec();
    values.push(long("n", 200));
    each("name", &values)
}

fn services() -> Value {
    let names = ["shop", "", "SHOP Orders!", "größe", "12shop", "!!!", "_a_", "a//b::c.d-e", "a__b"];
    let mut values = names.map(Value::from).to_vec();
    values.push(long("s", 150));
    each("service", &values)
}

fn errors() -> Value {
    let meta = json!({ "error.msg": "none left", "error.type": "OutOfStock", "error.stack": "at line 1" });
    json!([span(1, 0, json!({ "error": 1, "meta": meta })), span(2, 1, json!({ "error": 2 })),])
}

fn tags() -> Value {
    let mut long_key = Map::new();
    long_key.insert("k".repeat(300), "v".into());
    json!([
        span(1, 0, json!({ "meta": { "": "empty key", "empty value": "", "Upper Case!": "Value" } })),
        span(2, 1, json!({ "meta": { "long": long("v", 30_000) } })),
        span(3, 1, json!({ "meta": long_key })),
    ])
}

fn links_and_events() -> Value {
    json!([
        span(
            1,
            0,
            json!({ "span_links": [
            { "trace_id": 7, "trace_id_high": 9, "span_id": 8, "attributes": { "why": "retry" }, "tracestate": "dd=s:1", "flags": 2_147_483_649_u64 },
            { "trace_id": 7, "span_id": 8 },
        ] })
        ),
        span(
            2,
            1,
            json!({ "span_events": [
            { "time_unix_nano": 1_722_369_353_000_000_000_u64, "name": "packed", "attributes": {
                "text": { "type": 0, "string_value": "a" },
                "yes": { "type": 1, "bool_value": true },
                "whole": { "type": 2, "int_value": -3 },
                "fraction": { "type": 3, "double_value": 0.5 },
                "list": { "type": 4, "array_value": { "values": [{ "type": 0, "string_value": "b" }, { "type": 2, "int_value": 4 }] } },
            } },
        ] })
        ),
        span(
            3,
            1,
            json!({ "meta": { "events": "[{\"name\":\"packed\",\"time_unix_nano\":1722369353000000000}]", "_dd.span_links": "[]" } })
        ),
    ])
}

/// A request each: of the priority in it one decides for all that is in it.
fn priorities() -> Vec<Case> {
    let of = |name, priority: Value, meta: Value| {
        let metrics =
            if priority.is_null() { json!({}) } else { json!({ "_sampling_priority_v1": priority }) };
        Case {
            name,
            traces: vec![json!([
                span(1, 0, json!({ "metrics": metrics, "meta": meta })),
                span(2, 1, json!({}))
            ])],
        }
    };
    let below =
        json!([span(1, 0, json!({})), span(2, 1, json!({ "metrics": { "_sampling_priority_v1": 2 } }))]);
    vec![
        of("priority: the user drops", json!(-1), json!({})),
        of("priority: the sampler drops", json!(0), json!({})),
        of("priority: the sampler drops an error", json!(0), json!({ "error.msg": "x" })),
        of("priority: the user keeps", json!(2), json!({ "_dd.p.dm": "-4" })),
        of("priority: nobody decided", Value::Null, json!({})),
        Case { name: "priority: told by a child", traces: vec![below] },
    ]
}

fn obfuscated() -> Vec<Case> {
    let resource = |text: &str, meta: Value| {
        let mut meta = meta;
        meta["resource"] = text.into();
        meta
    };
    let sql = [
        resource(
            "SELECT name FROM users WHERE id = 42 AND mail = 'a@b.c' -- who",
            json!({ "sql.query": "SELECT name FROM users WHERE id = 42", "db.statement": "SELECT 1" }),
        ),
        resource("INSERT INTO orders (id, what) VALUES (1, 'a'), (2, 'b')", json!({})),
        resource("SELECT * FROM t WHERE id IN (1, 2, 3) LIMIT 10", json!({})),
        resource("SELECT 'unfinished", json!({})),
        resource("", json!({})),
    ];
    let redis = [
        resource("SET key secret\nGET other", json!({ "redis.raw_command": "SET key secret EX 10" })),
        resource("AUTH password", json!({ "redis.raw_command": "AUTH password" })),
    ];
    let stored = [
        resource(
            "find",
            json!({ "mongodb.query": "{\"find\":\"users\",\"filter\":{\"mail\":\"a@b.c\",\"age\":7}}" }),
        ),
        resource("find", json!({ "mongodb.query": "{\"find\":\"users\",\"filter" })),
    ];
    let searched = [resource(
        "search",
        json!({ "elasticsearch.body": "{\"query\":{\"match\":{\"title\":\"secret\"}}}", "opensearch.body": "{\"a\":1}" }),
    )];
    let cached = [resource("set", json!({ "memcached.command": "set key 0 0 5\r\nvalue" }))];
    let fetched = [
        resource(
            "GET",
            json!({ "http.url": "https://user:secret@shop.example.com/orders/17?token=abc#top" }),
        ),
        resource(
            "GET",
            json!({ "http.url": "/orders/17?a=b", "card": "4111 1111 1111 1111", "number": "4111111111111111", "_dd.card": "4111111111111111" }),
        ),
        resource("GET", json!({ "http.url": "http://[::1" })),
    ];
    vec![
        Case { name: "SQL", traces: vec![metas("sql", &sql)] },
        Case { name: "Redis", traces: vec![metas("redis", &redis)] },
        Case { name: "MongoDB", traces: vec![metas("mongodb", &stored)] },
        Case { name: "Elasticsearch", traces: vec![metas("elasticsearch", &searched)] },
        Case { name: "memcached", traces: vec![metas("memcached", &cached)] },
        Case { name: "HTTP", traces: vec![metas("http", &fetched)] },
    ]
}
