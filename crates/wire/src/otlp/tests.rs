//! Requests as exporters send them, written as JSON, and what becomes of them.

use model::{LogLine, Span};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};
use serde_json::{Value as Json, json};

use super::metrics::{Data, Settings as MetricSettings};
use super::traces::{Decoded, Settings};
use super::{DecodeError, Signal, is_whole, logs, metrics, status, to_protobuf, traces};

const TRACE: &str = "66a1b2c300000000000000000000002a";

fn body(signal: Signal, json: &Json) -> Vec<u8> {
    to_protobuf(signal, json.to_string().as_bytes()).unwrap()
}

fn attributes(pairs: &Json) -> Json {
    let value = |value: &Json| match value {
        Json::String(text) => json!({ "stringValue": text }),
        Json::Bool(yes) => json!({ "boolValue": yes }),
        Json::Number(n) if n.is_f64() => json!({ "doubleValue": n }),
        Json::Number(n) => json!({ "intValue": n.to_string() }),
        other => other.clone(),
    };
    pairs.as_object().unwrap().iter().map(|(key, v)| json!({ "key": key, "value": value(v) })).collect()
}

fn request(resource: &Json, scope: &str, mut span: Json) -> Json {
    let own = [("traceId", TRACE.into()), ("spanId", "0000000000000007".into())];
    for (key, value) in own {
        span.as_object_mut().unwrap().entry(key).or_insert(value);
    }
    if let Some(pairs) = span.get("attributes").cloned() {
        span["attributes"] = attributes(&pairs);
    }
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(resource) },
        "scopeSpans": [{ "scope": { "name": scope, "version": "1" }, "spans": [span] }],
    }] })
}

fn decoded(json: &Json, settings: &Settings) -> Decoded {
    traces::decode(&body(Signal::Traces, json), settings).unwrap()
}

fn one(resource: &Json, scope: &str, span: Json, settings: &Settings) -> Span {
    let mut decoded = decoded(&request(resource, scope, span), settings);
    assert_eq!(decoded.dropped_spans, 0);
    decoded.resources.remove(0).1.remove(0).spans.remove(0)
}

#[test]
fn containers_have_tags() {
    let check = |resource: Json, want: &str| {
        let request = request(&resource, "lib", json!({ "name": "x" }));
        let (tracer, _) = &decoded(&request, &Settings::default()).resources[0];
        assert_eq!(tracer.container_tags, want, "{resource}");
    };
    check(json!({ "container.id": "c1", "container.name": "app" }), "container_id:c1,container_name:app");
    check(
        json!({ "k8s.pod.name": "p", "cloud.region": "eu-west-1", "datadog.container.tag.team": "shop" }),
        "pod_name:p,region:eu-west-1,team:shop",
    );
    // What is known by another name is said once.
    check(
        json!({ "container.name": "ok", "datadog.container.tag.container_name": "no" }),
        "container_name:ok",
    );
    check(
        json!({ "datadog.container.tag.a": "", "container.name": "", "container.runtime": "cri" }),
        "runtime:cri",
    );
    check(json!({ "datadog.container.tag.a": 5 }), "a:5");
    // As every function says of itself.
    check(json!({ "cloud.provider": "aws", "cloud.region": "eu-west-1", "faas.name": "f" }), "");
    check(json!({}), "");
}

/// Operation, resource and type.
#[test]
fn names() {
    let check = |kind: u8, pairs: Json, want: &str| {
        let span = json!({ "name": "own name", "kind": kind, "attributes": pairs });
        let span = one(&json!({}), "lib", span, &Settings::default());
        assert_eq!(format!("{} | {} | {}", span.name, span.resource, span.kind), want);
    };
    check(
        2,
        json!({ "http.request.method": "GET", "http.route": "/a/{b}" }),
        "http.server.request | GET /a/{b} | web",
    );
    check(3, json!({ "http.method": "GET", "http.route": "/a" }), "http.client.request | GET | http");
    check(2, json!({ "http.request.method": "_OTHER" }), "http.server.request | HTTP | web");
    check(
        3,
        json!({ "db.system": "PostgreSQL", "db.statement": "SELECT 1" }),
        "postgresql.query | SELECT 1 | sql",
    );
    check(3, json!({ "db.system": "redis" }), "redis.query | own name | redis");
    check(3, json!({ "db.system.name": "mongodb", "db.query.text": "{}" }), "mongodb.query | {} | mongodb");
    check(3, json!({ "db.system": "dynamodb" }), "dynamodb.query | own name | db");
    check(
        5,
        json!({ "messaging.system": "kafka", "messaging.operation": "receive", "messaging.destination.name": "q" }),
        "kafka.receive | receive q | custom",
    );
    check(
        3,
        json!({ "rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": "GetObject" }),
        "aws.s3.request | GetObject S3 | http",
    );
    check(3, json!({ "rpc.system": "grpc", "rpc.method": "Do" }), "grpc.client.request | Do | http");
    check(2, json!({ "rpc.system": "grpc" }), "grpc.server.request | own name | web");
    check(
        3,
        json!({ "faas.invoked_provider": "aws", "faas.invoked_name": "f" }),
        "aws.f.invoke | own name | http",
    );
    check(2, json!({ "faas.trigger": "datasource" }), "datasource.invoke | own name | web");
    check(
        1,
        json!({ "graphql.operation.type": "query", "graphql.operation.name": "n" }),
        "graphql.server.request | query n | custom",
    );
    check(2, json!({ "network.protocol.name": "amqp" }), "amqp.server.request | own name | web");
    check(3, json!({}), "client.request | own name | http");
    check(1, json!({}), "Internal | own name | custom");
    check(0, json!({}), "Internal | own name | custom");
    check(4, json!({}), "Producer | own name | custom");
    check(
        2,
        json!({ "operation.name": "o", "resource.name": "r", "span.type": "t", "http.method": "GET" }),
        "o | r | t",
    );
    // Datadog's own attributes hold over all.
    check(
        2,
        json!({ "datadog.name": "o", "datadog.resource": "r", "datadog.type": "t", "operation.name": "x" }),
        "o | r | t",
    );
}

#[test]
fn older_names() {
    let check = |settings: &Settings, scope: &str, pairs: Json, want: &str| {
        let span = json!({ "name": "own", "kind": 2, "attributes": pairs });
        let span = one(&json!({}), scope, span, settings);
        assert_eq!(format!("{} | {}", span.name, span.resource), want);
    };
    let first = Settings { first_rules: true, ..Settings::default() };
    check(&first, "lib", json!({}), "lib.server | own");
    check(&first, "", json!({ "http.method": "GET", "http.route": "/a" }), "opentelemetry.server | GET /a");
    let named = Settings { span_name_as_resource_name: true, ..Settings::default() };
    check(&named, "lib", json!({}), "own | own");
    let remapped =
        Settings { span_name_remappings: vec![("lib.server".into(), "mine".into())], ..Settings::default() };
    check(&remapped, "lib", json!({}), "mine | own");
}

#[test]
fn the_handlers_span_is_the_invocation() {
    let pairs = json!({ "faas.invocation_id": "r-1", "faas.trigger": "http" });
    let span = json!({ "name": "handler", "kind": 2, "attributes": pairs });
    let span = one(&json!({}), "opentelemetry.instrumentation.aws_lambda", span, &Settings::default());
    assert_eq!((&*span.name, &*span.kind), ("aws.lambda", "serverless"));
    assert_eq!(span.meta.get("request_id").map(|id| &**id), Some("r-1"));
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn tags_of_a_span() {
    let resource = json!({
        "service.name": "shop",
        "service.version": "v1",
        "deployment.environment": "prod",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "1.45",
        "both": "resource",
    });
    let pairs = json!({
        "both": "span",
        "http.response.status_code": 200,
        "url.full": "http://x/",
        "http.request.header.accept": { "arrayValue": { "values": [{ "stringValue": "a" }, { "intValue": 1 }] } },
        "ratio": 0.5,
        "yes": true,
        "map": { "kvlistValue": { "values": [{ "key": "k", "value": { "stringValue": "v" } }] } },
        "bytes": { "bytesValue": "AQI=" },
        "nothing": {},
    });
    let span = json!({
        "parentSpanId": "0000000000000009",
        "traceState": "dd=s:1",
        "name": "n",
        "kind": "SPAN_KIND_CLIENT",
        "startTimeUnixNano": "1722369353000000000",
        "endTimeUnixNano": 1_722_369_353_000_000_005u64,
        "attributes": pairs,
        "flags": 1,
        "nothing we know": [1],
    });
    let request = request(&resource, "lib", span);
    let decoded = decoded(&request, &Settings::default());
    let (tracer, chunks) = &decoded.resources[0];
    assert_eq!((&*tracer.language, &*tracer.tracer_version), ("python", "otlp-1.45"));
    let span = &chunks[0].spans[0];
    assert_eq!(
        (span.trace_id.low(), span.span_id.get(), span.parent_id.map(model::SpanId::get)),
        (42, 7, Some(9))
    );
    assert_eq!((span.start.as_nanos(), span.duration.as_nanos()), (1_722_369_353_000_000_000, 5));
    assert_eq!((&*span.service, span.error), ("shop", false));
    assert_eq!(
        sorted(span.meta.iter().map(|(k, v)| format!("{k}={v}"))),
        [
            "_dd.p.dm=-9",
            "_dd.p.tid=66a1b2c300000000",
            "both=span",
            "bytes=AQI=",
            "deployment.environment=prod",
            "env=prod",
            "http.request.headers.accept=[\"a\",1]",
            "http.url=http://x/",
            "map={\"k\":\"v\"}",
            "otel.library.name=lib",
            "otel.library.version=1",
            "otel.scope.name=lib",
            "otel.scope.version=1",
            "otel.status_code=Unset",
            "otel.trace_id=66a1b2c300000000000000000000002a",
            "service.version=v1",
            "span.kind=client",
            "telemetry.sdk.language=python",
            "telemetry.sdk.version=1.45",
            "version=v1",
            "w3c.tracestate=dd=s:1",
            "yes=true",
        ]
    );
    let metrics = sorted(span.metrics.iter().map(|(k, v)| format!("{k}={v}")));
    assert_eq!(metrics, ["_dd.otlp_sr=1", "_sampling_priority_v1=1", "http.status_code=200", "ratio=0.5"]);
}

/// Attributes by the names that conventions gave them, earlier and now.
#[test]
fn conventions_old_and_new() {
    let check = |pairs: Json, want: &[&str]| {
        let span = one(&json!({}), "", json!({ "kind": 3, "attributes": pairs }), &Settings::default());
        let own = ["_", "otel.", "span.kind"];
        let meta = span.meta.iter().map(|(k, v)| format!("{k}={v}"));
        let all = meta.chain(span.metrics.iter().map(|(k, v)| format!("{k}#{v}")));
        assert_eq!(sorted(all.filter(|tag| !own.iter().any(|own| tag.starts_with(own)))), want);
    };
    check(json!({ "http.method": "GET" }), &["http.method=GET"]);
    check(json!({ "http.request.method": "GET" }), &["http.method=GET"]);
    check(json!({ "http.status_code": 404 }), &["http.status_code#404"]);
    check(json!({ "http.response.status_code": 404 }), &["http.status_code#404"]);
    check(json!({ "http.url": "http://x" }), &["http.url=http://x"]);
    check(json!({ "url.full": "http://x" }), &["http.url=http://x"]);
    check(json!({ "http.user_agent": "a" }), &["http.user_agent=a"]);
    check(json!({ "user_agent.original": "a" }), &["http.useragent=a"]);
    check(json!({ "client.address": "1.2.3.4" }), &["http.client_ip=1.2.3.4"]);
    check(json!({ "network.protocol.version": "2" }), &["http.version=2"]);
    check(json!({ "server.address": "h" }), &["http.server_name=h"]);
    check(json!({ "http.request.body.size": 3 }), &["http.request.content_length#3"]);
    check(json!({ "http.response.body.size": 3 }), &["http.response.content_length#3"]);
    check(json!({ "http.request.header.x-a": "b" }), &["http.request.headers.x-a=b"]);
    check(json!({ "db.namespace": "n" }), &["db.name=n", "db.namespace=n"]);
    check(json!({ "db.namespace": "n", "db.name": "o" }), &["db.name=o", "db.namespace=n"]);
    check(json!({ "peer.service": "p" }), &["peer.service=p"]);
    // Both names are one tag, of which the first one that is sent holds.
    check(json!({ "http.request.method": "GET", "http.method": "POST" }), &["http.method=POST"]);
}

#[test]
fn environments_and_versions() {
    let check = |resource: Json, own: Json, want: (&str, &str, &str)| {
        let span = one(&resource, "", json!({ "attributes": own }), &Settings::default());
        let tag = |key: &str| span.meta.get(key).map_or("", |value| &**value);
        assert_eq!((tag("env"), tag("version"), &*span.service), want);
    };
    check(json!({}), json!({}), ("", "", ""));
    check(json!({ "deployment.environment": "a" }), json!({}), ("a", "", ""));
    check(json!({ "deployment.environment.name": "a" }), json!({}), ("a", "", ""));
    check(
        json!({ "deployment.environment.name": "new", "deployment.environment": "old" }),
        json!({}),
        ("new", "", ""),
    );
    check(json!({ "service.version": "v", "service.name": "s" }), json!({}), ("", "v", "s"));
    check(json!({ "service.name": "s" }), json!({ "service.name": "own" }), ("", "", "own"));
    check(json!({ "deployment.environment": "a" }), json!({ "datadog.env": "b" }), ("b", "", ""));
}

#[test]
fn what_failed() {
    let check = |span: Json, want: &str| {
        let span = one(&json!({}), "lib", span, &Settings::default());
        let tag = |key: &str| span.meta.get(key).map_or("-", |v| &**v);
        let told = [tag("error.msg"), tag("error.type"), tag("error.stack")].join(" ");
        assert_eq!(format!("{} {} {told}", span.error, tag("otel.status_code")), want);
    };
    let exception = json!({ "name": "exception", "timeUnixNano": 5, "attributes": attributes(&json!({
        "exception.message": "no", "exception.type": "E", "exception.stacktrace": "at a",
    })) });
    check(json!({ "status": { "code": 2 }, "events": [exception] }), "true Error no E at a");
    check(json!({ "status": { "code": 1 }, "events": [exception] }), "false Ok - - -");
    check(json!({ "status": { "code": "STATUS_CODE_ERROR", "message": "m" } }), "true Error m - -");
    check(
        json!({ "status": { "code": 2 }, "attributes": { "http.status_code": 502 } }),
        "true Error 502 Bad Gateway - -",
    );
    check(json!({ "status": { "code": 2 } }), "true Error - - -");
    check(
        json!({ "attributes": { "datadog.error": 1, "datadog.error.msg": "d", "datadog.error.type": "t" } }),
        "true Unset d t -",
    );
    check(json!({ "status": { "code": 2 }, "attributes": { "datadog.error": 0 } }), "false Error - - -");
}

#[test]
fn an_exception_is_told_whatever_is_set() {
    for ignore_missing_datadog_fields in [false, true] {
        let settings = Settings { ignore_missing_datadog_fields, ..Settings::default() };
        let exception = json!({ "name": "exception", "attributes": attributes(&json!({
            "exception.message": "no", "exception.type": "E", "exception.stacktrace": "at a",
        })) });
        let failed = json!({ "status": { "code": 2 }, "events": [exception] });
        let span = one(&json!({}), "lib", failed, &settings);
        let tag = |key: &str| span.meta.get(key).map(ToString::to_string);
        let told = ["error.msg", "error.type", "error.stack"].map(|key| tag(key).unwrap_or_default());
        assert_eq!((span.error, told.join(" ")), (true, "no E at a".to_owned()));
    }
}

#[test]
fn events_and_links() {
    let span = json!({
        "events": [
            { "name": "exception", "timeUnixNano": "5", "attributes": attributes(&json!({ "a": "b", "n": 3 })) },
            { "name": "e" },
        ],
        "links": [
            {
                "traceId": "0000000000000001000000000000000F",
                "spanId": "000000000000000a",
                "traceState": "s",
                "attributes": attributes(&json!({ "k": 1 })),
                "flags": 257,
            },
        ],
    });
    let span = one(&json!({}), "lib", span, &Settings::default());
    let event = |e: &model::SpanEvent| format!("{} {} {:?}", e.time.as_nanos(), e.name, e.attributes);
    let events: Vec<_> = span.events.iter().map(event).collect();
    assert_eq!(events.join("; "), r#"5 exception Tags([("a", Text("b")), ("n", Int(3))]); 0 e Tags([])"#);
    assert_eq!(span.meta.get("_dd.span_events.has_exception").map(|v| &**v), Some("true"));
    let link = &span.links[0];
    let ids = (link.trace_id.map(model::TraceId::to_u128), link.span_id.map(model::SpanId::get));
    assert_eq!(ids, (Some((1 << 64) + 15), Some(10)));
    assert_eq!((&*link.tracestate, link.flags, link.attributes.len()), ("s", 0x8000_0001, 1));
}

#[test]
fn a_trace_is_a_chunk_and_spans_without_ids_are_counted() {
    let span = |trace: &str, id: &str| json!({ "traceId": trace, "spanId": id, "name": "n" });
    let request = json!({ "resourceSpans": [
        { "scopeSpans": [
            { "spans": [span(TRACE, "01"), span("0b", "02"), span(TRACE, "03"), span("", "04"), span("0c", "")] },
            { "spans": [span("0b", "05"), span("zz", "06"), span("66a1b2c3000000000000000000000000", "07")] },
        ] },
        { "resource": {}, "scopeSpans": [{ "scope": {}, "spans": [span(TRACE, "08")] }] },
        {},
    ] });
    let decoded = decoded(&request, &Settings { default_service: "f".into(), ..Settings::default() });
    assert_eq!(decoded.dropped_spans, 4);
    let told: Vec<_> = decoded
        .resources
        .iter()
        .map(|(_, chunks)| {
            let ids = |chunk: &model::Chunk| chunk.spans.iter().map(|s| s.span_id.get()).collect::<Vec<_>>();
            chunks.iter().map(ids).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(told, [vec![vec![1, 3], vec![2, 5]], vec![vec![8]]]);
    assert!(decoded.resources.iter().flat_map(|(_, c)| c).flat_map(|c| &c.spans).all(|s| s.service == "f"));
}

#[test]
fn missing_fields_stay_empty_when_that_is_set() {
    let settings = Settings { ignore_missing_datadog_fields: true, ..Settings::default() };
    let span =
        json!({ "name": "n", "kind": 2, "attributes": { "datadog.service": "s", "datadog.env": "e" } });
    let span = one(&json!({ "service.name": "x", "service.version": "v" }), "lib", span, &settings);
    let tag = |key: &str| span.meta.get(key).map(ToString::to_string);
    assert_eq!([&*span.service, &*span.name, &*span.resource, &*span.kind], ["s", "", "", ""]);
    assert_eq!((tag("env"), tag("version"), tag("span.kind")), (Some("e".into()), None, None));
}

#[test]
fn some_traces_are_kept() {
    let kept = |percentage: f64, own: Option<u8>| {
        let settings = Settings { sampling_percentage: percentage, ..Settings::default() };
        let is_kept = |n: &u64| {
            let mut span = json!({ "traceId": format!("{:032x}", n * 7919), "name": "n" });
            if let Some(own) = own {
                span["attributes"] = json!({ "sampling.priority": own });
            }
            !decoded(&request(&json!({}), "lib", span), &settings).resources.is_empty()
        };
        (1..=400).filter(is_kept).count()
    };
    assert_eq!(kept(100.0, None), 400);
    let some = kept(25.0, None);
    assert!((50..150).contains(&some), "{some}");
    assert_eq!(kept(1.0, Some(2)), 400);
}

#[test]
fn spans_are_marked_by_kind_when_that_is_set() {
    let settings = Settings { top_level_by_kind: true, ..Settings::default() };
    let check = |kind: u8, parent: &str, want: (bool, bool)| {
        let span = one(&json!({}), "lib", json!({ "kind": kind, "parentSpanId": parent }), &settings);
        assert_eq!((span.metrics.contains("_dd.top_level"), span.metrics.contains("_dd.measured")), want);
    };
    check(2, "09", (true, false));
    check(3, "09", (false, true));
    check(1, "09", (false, false));
    check(1, "", (true, false));
}

fn metric(metric: &Json) -> Vec<String> {
    let resource = attributes(&json!({ "service.name": "shop", "host.name": "h" }));
    let request = json!({ "resourceMetrics": [{
        "resource": { "attributes": resource },
        "scopeMetrics": [{ "scope": {}, "metrics": [metric] }],
    }] });
    let decoded = metrics::decode(&body(Signal::Metrics, &request), MetricSettings::default()).unwrap();
    let mut told: Vec<_> = decoded
        .points
        .iter()
        .map(|p| {
            let data = match &p.data {
                Data::Histogram { histogram, temporality } => format!("{temporality:?} {histogram:?}"),
                other => format!("{other:?}"),
            };
            format!("{} {} {} {} {data}", p.name, p.tags.join(","), p.start.as_nanos(), p.time.as_nanos())
        })
        .collect();
    told.extend((decoded.dropped > 0).then(|| format!("{} dropped", decoded.dropped)));
    told
}

#[test]
fn points() {
    let check = |json: Json, want: &[&str]| assert_eq!(metric(&json), want);
    let point = |more: Json| {
        let mut point = json!({ "startTimeUnixNano": "1", "timeUnixNano": "2", "attributes": attributes(&json!({ "a": "b" })) });
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        point
    };
    let head = "m a:b,service:shop 1 2";
    check(
        json!({ "name": "m", "gauge": { "dataPoints": [point(json!({ "asDouble": 1.5 })), point(json!({})), point(json!({ "asInt": 1, "flags": 1 }))] } }),
        &[&format!("{head} Gauge(1.5)")],
    );
    let sum = |temporality: Json, monotonic: bool| {
        json!({ "name": "m", "sum": {
            "dataPoints": [point(json!({ "asInt": "-3" }))],
            "aggregationTemporality": temporality,
            "isMonotonic": monotonic,
        } })
    };
    check(sum(json!(2), true), &[&format!("{head} Count {{ value: -3.0, temporality: Cumulative }}")]);
    check(
        sum(json!("AGGREGATION_TEMPORALITY_DELTA"), false),
        &[&format!("{head} Count {{ value: -3.0, temporality: Delta }}")],
    );
    check(sum(json!(2), false), &[&format!("{head} Total(-3.0)")]);
    let histogram = |counts: Json| {
        json!({ "name": "m", "histogram": { "aggregationTemporality": 1, "dataPoints": [
            point(json!({ "count": 3, "sum": 4.5, "min": 1, "bucketCounts": counts, "explicitBounds": [1.0, 2.0] })),
        ] } })
    };
    check(
        histogram(json!(["1", 2, 0])),
        &[&format!(
            "{head} Delta Histogram {{ count: 3, sum: Some(4.5), min: Some(1.0), max: None, buckets: Explicit {{ bounds: [1.0, 2.0], counts: [1, 2, 0] }} }}"
        )],
    );
    check(histogram(json!([1, 2])), &["1 dropped"]);
    check(
        json!({ "name": "m", "exponentialHistogram": { "aggregationTemporality": 2, "dataPoints": [point(json!({
            "count": 3, "scale": -1, "zeroCount": 1, "positive": { "offset": -2, "bucketCounts": ["1", 1] },
        }))] } }),
        &[&format!(
            "{head} Cumulative Histogram {{ count: 3, sum: None, min: None, max: None, buckets: Exponential {{ scale: -1, zero: 1, positive: Side {{ offset: -2, counts: [1, 1] }}, negative: Side {{ offset: 0, counts: [] }} }} }}"
        )],
    );
    check(
        json!({ "name": "m", "summary": { "dataPoints": [point(json!({
            "count": 3, "sum": 4.0, "quantileValues": [{ "quantile": 0.5, "value": 2 }],
        }))] } }),
        &[&format!("{head} Summary {{ count: 3, sum: 4.0, quantiles: [(0.5, 2.0)] }}")],
    );
    check(json!({ "gauge": { "dataPoints": [point(json!({ "asInt": 1 }))] } }), &["1 dropped"]);
    check(json!({ "name": "m" }), &[]);
}

#[test]
fn records() {
    let check = |record: Json, want: Json| {
        let resource = attributes(&json!({ "service.name": "shop", "service.version": "v1" }));
        let request = json!({ "resourceLogs": [{
            "resource": { "attributes": resource },
            "scopeLogs": [{ "scope": { "name": "lib" }, "logRecords": [record] }],
        }] });
        let decoded = logs::decode(&body(Signal::Logs, &request)).unwrap();
        let [(time, LogLine::Json(line))] = &decoded.lines[..] else { panic!("{decoded:?}") };
        let mut line: Json = serde_json::from_str(line).unwrap();
        line["time"] = time.map(model::UnixNanos::as_nanos).into();
        let mut all = json!({
            "service.name": "shop", "service.version": "v1", "ddtags": "service:shop,version:v1",
            "otel.scope.name": "lib",
        });
        all.as_object_mut().unwrap().extend(want.as_object().unwrap().clone());
        assert_eq!(line, all);
    };
    check(
        json!({
            "timeUnixNano": "5", "observedTimeUnixNano": "6", "severityNumber": 17, "severityText": "ERROR",
            "body": { "stringValue": "it failed" }, "traceId": TRACE, "spanId": "000000000000000a",
            "attributes": attributes(&json!({ "order": 7, "ddtags": "team:a", "faas.invocation_id": "r-1" })),
        }),
        json!({
            "time": 5, "message": "it failed", "status": "error", "otel.severity_number": 17,
            "otel.severity_text": "ERROR", "dd.trace_id": "42", "dd.span_id": "10",
            "otel.trace_id": TRACE, "otel.span_id": "000000000000000a", "order": 7,
            "ddtags": "service:shop,version:v1,team:a", "faas.invocation_id": "r-1", "requestId": "r-1",
        }),
    );
    check(
        json!({ "observedTimeUnixNano": "6", "severityNumber": 13 }),
        json!({ "time": 6, "status": "warn", "otel.severity_number": 13 }),
    );
    let words = ["trace", "debug", "info", "warn", "error", "critical"];
    for number in 1..=24 {
        let status = words[(number - 1) / 4];
        check(
            json!({ "timeUnixNano": "5", "severityNumber": number }),
            json!({ "time": 5, "status": status, "otel.severity_number": number }),
        );
    }
    let parts =
        json!({ "kvlistValue": { "values": attributes(&json!({ "message": "m", "status": "x", "n": 1 })) } });
    check(json!({ "body": parts }), json!({ "time": null, "message": "m", "status": "info", "n": 1 }));
    check(json!({ "body": { "intValue": 5 } }), json!({ "time": null, "message": "5", "status": "info" }));
}

#[test]
fn bodies_that_are_none() {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        for bad in ["", "[]", "5", "{", "null"] {
            assert_eq!(to_protobuf(signal, bad.as_bytes()), Err(DecodeError::Json), "{bad}");
        }
        assert_eq!(to_protobuf(signal, b"{}"), Ok(Vec::new()));
    }
    let cut = |body: &[u8]| traces::decode(body, &Settings::default()).is_err();
    assert!(cut(b"\x0a\x05\x0a") && cut(b"garbage") && !cut(b""));
    assert!(is_whole(b"") && is_whole(b"\x0a\x01\xff") && !is_whole(b"\x0a\x02a") && !is_whole(b"garbage"));
    assert_eq!(status("no"), b"\x12\x02no");
    assert_eq!(status(""), b"");
    // What is broken in one place costs that place.
    let broken = b"\x0a\x06\x12\x04\x12\x02\x0a\x05\x0a\x00";
    let decoded = traces::decode(broken, &Settings::default()).unwrap();
    assert_eq!((decoded.dropped_spans, decoded.resources.len()), (1, 0));
}

#[test]
fn depth_costs_nothing() {
    let within = |tag: u8, inner: &[u8]| {
        let (mut outer, mut n) = (vec![tag], inner.len());
        while n >= 128 {
            outer.push(n as u8 | 128);
            n >>= 7;
        }
        outer.push(n as u8);
        [outer, inner.to_vec()].concat()
    };
    // A list in a list in a list …, as the value of an attribute of a resource.
    let mut value = b"\x0a\x01x".to_vec();
    for _ in 0..2000 {
        value = within(0x2a, &within(0x0a, &value));
    }
    let pair = [b"\x0a\x01k".as_slice(), &within(0x12, &value)].concat();
    let body = within(0x0a, &within(0x0a, &within(0x0a, &pair)));
    assert!(traces::decode(&body, &Settings::default()).is_ok() && logs::decode(&body).is_ok());
    let read = super::resource(protobuf::Reader::new(&within(0x0a, &within(0x0a, &pair))));
    assert!(read.text(&["k"]).is_some_and(|text| text.starts_with("[[[") && text.len() < 100));
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(noise in vec(any::<u8>(), 0..300), cut in 0..200usize) {
        let span = json!({ "name": "n", "attributes": { "a": "b" }, "events": [{ "name": "e" }] });
        let whole = body(Signal::Traces, &request(&json!({ "service.name": "s" }), "lib", span));
        for bytes in [&noise[..], &[&whole[..cut.min(whole.len())], &noise].concat()] {
            let _ = traces::decode(bytes, &Settings::default());
            let _ = metrics::decode(bytes, MetricSettings { resource_attributes_as_tags: true });
            let _ = logs::decode(bytes);
            let _ = is_whole(bytes);
            for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
                let _ = to_protobuf(signal, bytes);
            }
        }
    }

    /// What JSON says is what protobuf says.
    #[test]
    fn numbers_of_json_are_kept(n in any::<i64>(), eighths in any::<i32>(), start in any::<u64>(), text in "\\PC{0,20}") {
        let d = f64::from(eighths) / 8.0;
        let pairs = json!({ "i": n, "d": { "doubleValue": d }, "t": text });
        let span = json!({ "name": "n", "startTimeUnixNano": start.to_string(), "attributes": pairs });
        let span = one(&json!({}), "lib", span, &Settings::default());
        prop_assert_eq!(span.metrics.get("i").copied(), Some(n as f64));
        prop_assert_eq!(span.metrics.get("d").copied(), Some(d));
        prop_assert_eq!(span.start.as_nanos(), start);
        prop_assert_eq!(span.meta.get("t").map(ToString::to_string), Some(text));
    }
}
