//! Bytes of v0.4 as tracers send them, well and badly: tables, properties, and rmpv as oracle.

use std::time::Duration;

use model::{Attribute, Chunk, Span, SpanEvent, SpanId, SpanLink, Tags, Text, TraceId, UnixNanos};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use rmpv::Value;

use super::{DecodeError, Decoded, decode, encode, trace_id_high};

// --- values

fn text() -> impl Strategy<Value = Text> {
    prop_oneof!["[a-z._]{1,10}", any::<String>(), "[a-z]{30,300}"].prop_map(Text::Owned)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z._]{1,10}", "\\PC{1,40}"].prop_filter("read as span events", |key| key != "events")
}

fn tags<V: std::fmt::Debug + Clone>(value: impl Strategy<Value = V>) -> impl Strategy<Value = Tags<V>> {
    btree_map(key(), value, 0..5).prop_map(|map| map.into_iter().collect())
}

fn trace_id() -> impl Strategy<Value = TraceId> {
    (1..=u64::MAX).prop_filter_map("zero", |low| TraceId::new(0, low))
}

fn span_id() -> impl Strategy<Value = SpanId> {
    (1..=u64::MAX).prop_filter_map("zero", SpanId::new)
}

fn link() -> impl Strategy<Value = SpanLink> {
    let ids = (proptest::option::of((any::<u64>(), trace_id())), proptest::option::of(span_id()));
    (ids, tags(text()), text(), any::<u32>()).prop_map(|((trace, span_id), attributes, tracestate, flags)| {
        SpanLink {
            trace_id: trace.map(|(high, id)| id.with_high(high)),
            span_id,
            attributes,
            tracestate,
            flags,
        }
    })
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let number = proptest::num::f64::NORMAL | proptest::num::f64::ZERO;
    let scalar = prop_oneof![
        text().prop_map(Attribute::Text),
        any::<bool>().prop_map(Attribute::Bool),
        any::<i64>().prop_map(Attribute::Int),
        number.prop_map(Attribute::Double),
    ];
    prop_oneof![scalar.clone(), vec(scalar, 0..3).prop_map(Attribute::List)]
}

fn event() -> impl Strategy<Value = SpanEvent> {
    (any::<u64>(), text(), tags(attribute())).prop_map(|(time, name, attributes)| SpanEvent {
        time: UnixNanos(time),
        name,
        attributes,
    })
}

fn span() -> impl Strategy<Value = Span> {
    let names = (text(), text(), text(), text());
    let ids = (trace_id(), span_id(), proptest::option::of(span_id()));
    let times = (any::<u64>(), any::<u64>(), any::<bool>());
    let maps =
        (tags(text()), tags(any::<i32>().prop_map(|n| f64::from(n) / 8.0)), tags(vec(any::<u8>(), 0..40)));
    (names, ids, times, maps, vec(link(), 0..3), vec(event(), 0..3)).prop_map(
        |((service, name, resource, kind), (trace_id, span_id, parent_id), times, maps, links, events)| {
            Span {
                service,
                name,
                resource,
                kind,
                trace_id,
                span_id,
                parent_id,
                start: UnixNanos(times.0),
                duration: Duration::from_nanos(times.1),
                error: times.2,
                meta: maps.0,
                metrics: maps.1,
                meta_struct: maps.2,
                links,
                events,
            }
        },
    )
}

pub(crate) fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    vec(vec(span(), 1..4).prop_map(|spans| Chunk { spans }), 0..4)
}

/// Any msgpack value, three levels deep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        vec(any::<u8>(), 0..300).prop_map(Value::from),
        (any::<i8>(), vec(any::<u8>(), 0..20)).prop_map(|(kind, data)| Value::Ext(kind, data)),
    ];
    leaf.prop_recursive(3, 40, 20, |inner| {
        let key = prop_oneof![
            proptest::sample::select(&FIELDS[..]).prop_map(Value::from),
            "[a-z_]{0,6}".prop_map(Value::from),
            inner.clone(),
        ];
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::Array),
            vec((key, inner), 0..20).prop_map(Value::Map)
        ]
    })
}

const FIELDS: [&str; 15] = [
    "service",
    "name",
    "resource",
    "type",
    "trace_id",
    "span_id",
    "parent_id",
    "start",
    "duration",
    "error",
    "meta",
    "metrics",
    "meta_struct",
    "span_links",
    "span_events",
];

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).unwrap();
    out
}

pub(crate) fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(key, value)| (Value::from(*key), value.clone())).collect())
}

fn list(values: &[Value]) -> Value {
    Value::Array(values.to_vec())
}

/// The body of one span: ids 7 and 8, and these fields.
fn one(fields: &[(&str, Value)]) -> Vec<u8> {
    let ids = [("trace_id", Value::from(7)), ("span_id", Value::from(8))];
    bytes(&list(&[list(&[map(&[&ids, fields].concat())])]))
}

fn plain() -> Span {
    Span::new("", TraceId::new(0, 7).unwrap(), SpanId::new(8).unwrap(), None)
}

fn decoded(body: &[u8]) -> Span {
    let mut decoded = decode(body).unwrap();
    assert_eq!((decoded.chunks.len(), decoded.dropped_spans), (1, 0));
    decoded.chunks.remove(0).spans.remove(0)
}

// --- both ways

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(chunks in chunks()) {
        let back = decode(&encode(&chunks)).unwrap();
        // The high half of a trace id is not in a span.
        prop_assert_eq!(back, Decoded { chunks, dropped_spans: 0 });
    }

    #[test]
    fn another_reader_agrees(span in span()) {
        let body = encode(&[Chunk { spans: vec![span.clone()] }]);
        let mut rest = body.as_slice();
        let value = rmpv::decode::read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        let fields = &value[0][0];
        prop_assert_eq!(fields["name"].as_str(), Some(&*span.name));
        prop_assert_eq!(fields["trace_id"].as_u64(), Some(span.trace_id.low()));
        prop_assert_eq!(fields["parent_id"].as_u64(), Some(span.parent_id.map_or(0, SpanId::get)));
        prop_assert_eq!(fields["start"].as_u64(), Some(span.start.as_nanos()));
        prop_assert_eq!(fields["error"].as_u64(), Some(u64::from(span.error)));
        prop_assert_eq!(fields["meta"].as_map().unwrap().len(), span.meta.len());
        for (key, value) in span.metrics.iter() {
            prop_assert_eq!(fields["metrics"][&**key].as_f64(), Some(*value));
        }
    }

    #[test]
    fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..600)) {
        let _ = decode(&body);
    }

    /// Whatever is in an array of arrays costs spans, never the body.
    #[test]
    fn any_msgpack_in_an_array_is_taken(spans in vec(value(), 0..6), good in span()) {
        let mut body = bytes(&list(&[list(&spans)]));
        body[0] += 1; // one more chunk
        body.extend(&encode(&[Chunk { spans: vec![good.clone()] }])[1..]);
        let decoded = decode(&body).unwrap();
        let kept: usize = decoded.chunks.iter().map(|chunk| chunk.spans.len()).sum();
        prop_assert_eq!(kept as u64 + decoded.dropped_spans, spans.len() as u64 + 1);
        prop_assert_eq!(&decoded.chunks.last().unwrap().spans, &[good]);
    }

    #[test]
    fn any_value_in_any_field_costs_that_field(field in proptest::sample::select(&FIELDS[..]), odd in value()) {
        if field.ends_with("_id") {
            return Ok(());
        }
        let body = one(&[(field, odd), ("nothing we know", Value::Nil), ("parent_id", Value::from(9))]);
        prop_assert_eq!(decoded(&body).parent_id, SpanId::new(9));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_body_cut_short_is_an_error(span in span()) {
        let body = encode(&[Chunk { spans: vec![span] }]);
        for end in 0..body.len() {
            prop_assert_eq!(decode(&body[..end]), Err(DecodeError::Truncated), "cut at {}", end);
        }
    }
}

#[test]
fn bytes_of_a_span() {
    let mut span = plain();
    (span.name, span.parent_id) = ("n".into(), SpanId::new(200));
    span.meta.insert("k", "v");
    span.metrics.insert("m", 1.0);
    let want: [&[u8]; 14] = [
        b"\x91\x91\x8c",
        b"\xa7service\xa0",
        b"\xa4name\xa1n",
        b"\xa8resource\xa0",
        b"\xa4type\xa0",
        b"\xa8trace_id\x07",
        b"\xa7span_id\x08",
        b"\xa9parent_id\xcc\xc8",
        b"\xa5start\x00",
        b"\xa8duration\x00",
        b"\xa5error\x00",
        b"\xa4meta\x81\xa1k\xa1v",
        b"\xa7metrics\x81\xa1m\xcb\x3f\xf0\0\0\0\0\0\0",
        b"",
    ];
    assert_eq!(encode(&[Chunk { spans: vec![span] }]), want.concat());
    assert_eq!(encode(&[]), b"\x90");
}

// --- what tracers do

#[test]
fn numbers_of_any_kind() {
    let check = |field: &str, value: Value, want: &dyn Fn(&mut Span)| {
        let mut span = plain();
        want(&mut span);
        assert_eq!(decoded(&one(&[(field, value.clone())])), span, "{field} {value}");
    };
    check("trace_id", Value::from(u64::MAX), &|s| s.trace_id = TraceId::new(0, u64::MAX).unwrap());
    check("trace_id", Value::from(-1), &|s| s.trace_id = TraceId::new(0, u64::MAX).unwrap());
    check("trace_id", Value::from(1234.0), &|s| s.trace_id = TraceId::new(0, 1234).unwrap());
    check("parent_id", Value::from(0), &|_| {});
    check("parent_id", Value::Nil, &|_| {});
    check("parent_id", Value::from(i64::MIN), &|s| s.parent_id = SpanId::new(1 << 63));
    check("start", Value::from(1.5e18), &|s| s.start = UnixNanos(1_500_000_000_000_000_000));
    check("start", Value::from(-5), &|_| {});
    check("start", Value::from(f64::NAN), &|_| {});
    check("duration", Value::from(12.9f32), &|s| s.duration = Duration::from_nanos(12));
    check("duration", Value::from(-1), &|_| {});
    check("error", Value::from(true), &|s| s.error = true);
    check("error", Value::from(false), &|_| {});
    check("error", Value::from(1u64 << 40), &|s| s.error = true);
    check("error", Value::Nil, &|_| {});
    check("service", Value::Nil, &|_| {});
    check("service", Value::Binary(b"s".to_vec()), &|s| s.service = "s".into());
    check("service", Value::from(5), &|_| {});
    check("meta", Value::Nil, &|_| {});
    check("metrics", list(&[Value::from(1)]), &|_| {});
}

#[test]
fn elements_of_odd_types_cost_themselves() {
    let pairs = [
        ("text", Value::from("t")),
        ("nil", Value::Nil),
        ("number", Value::from(5)),
        ("half", Value::from(0.5)),
        ("yes", Value::from(true)),
        ("map", map(&[("deep", Value::from(1))])),
        ("last", Value::from("1.5")),
    ];
    let span = decoded(&one(&[("meta", map(&pairs)), ("metrics", map(&pairs))]));
    let meta: Vec<_> = span.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(meta, ["text=t", "number=5", "half=0.5", "yes=true", "last=1.5"]);
    let metrics: Vec<_> = span.metrics.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(metrics, ["number=5", "half=0.5", "yes=1", "last=1.5"]);
}

#[test]
fn text_that_is_no_utf8_is_kept_as_far_as_it_is() {
    let mut body = one(&[("name", Value::from("a?b"))]);
    let at = body.iter().position(|b| *b == b'?').unwrap();
    body[at] = 0xff;
    assert_eq!(decoded(&body).name, "a\u{fffd}b");
}

#[test]
fn spans_without_ids_are_dropped_and_counted() {
    let id = |n: u64| Value::from(n);
    let good = map(&[("span_id", id(8)), ("trace_id", id(7))]);
    let body = list(&[
        list(&[map(&[("trace_id", id(7))]), good.clone(), map(&[("span_id", id(8))])]),
        list(&[map(&[]), Value::Nil, Value::from("span"), list(std::slice::from_ref(&good))]),
        Value::Nil,
        list(&[]),
        good.clone(),
        Value::from(5),
        list(&[good]),
    ]);
    let decoded = decode(&bytes(&body)).unwrap();
    assert_eq!(decoded.chunks, vec![Chunk { spans: vec![plain()] }; 2]);
    assert_eq!(decoded.dropped_spans, 8);
}

#[test]
fn events_of_either_form() {
    let typed = |kind: u8, field: &str, value: Value| map(&[("type", Value::from(kind)), (field, value)]);
    let elements = [typed(0, "string_value", Value::from("a")), typed(2, "int_value", Value::from(-4))];
    let attributes = map(&[
        ("s", typed(0, "string_value", Value::from("text"))),
        ("b", typed(1, "bool_value", Value::from(true))),
        ("i", typed(2, "int_value", Value::from(-3))),
        ("d", typed(3, "double_value", Value::from(2.5))),
        ("a", typed(4, "array_value", map(&[("values", list(&elements))]))),
        ("w", typed(3, "double_value", Value::from(2))),
        ("t", typed(0, "string_value", Value::from(5))),
        ("empty", map(&[])),
        ("bare", Value::from("word")),
    ]);
    let native = list(&[map(&[
        ("time_unix_nano", Value::from(5)),
        ("name", Value::from("boom")),
        ("attributes", attributes),
        ("new", Value::from(1)),
    ])]);
    let json = r#"[{"name":"late","time_unix_nano":9,"attributes":{"k":"v","n":1.5,"t":true,"l":["a",2],"z":null}},
        {"name":"bare","time_unix_nano":10}]"#;
    let meta = map(&[("events", Value::from(json)), ("k", Value::from("v"))]);
    let span = decoded(&one(&[("span_events", native), ("meta", meta)]));
    let text = |event: &SpanEvent| {
        let attributes: Vec<_> = event.attributes.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        let attributes: Vec<_> = attributes.iter().map(|text| text.replace('"', "")).collect();
        format!("{} {} {}", event.time.as_nanos(), event.name, attributes.join(" "))
    };
    let events: Vec<_> = span.events.iter().map(text).collect();
    assert_eq!(
        events,
        [
            "5 boom s=Text(text) b=Bool(true) i=Int(-3) d=Double(2.5) a=List([Text(a), Int(-4)]) w=Double(2.0) \
             t=Text(5) bare=Text(word)",
            "9 late k=Text(v) l=List([Text(a), Int(2)]) n=Double(1.5) t=Bool(true)",
            "10 bare "
        ]
    );
    assert_eq!(span.meta.len(), 1);
}

#[test]
fn a_tag_that_is_called_events_stays() {
    for own in ["", "3", "[1]", "not json", r#"[{"name":"n"}]"#, r#"{"name":"n"}"#] {
        let span = decoded(&one(&[("meta", map(&[("events", Value::from(own))]))]));
        assert_eq!(span.meta.get("events").map(|text| &**text), Some(own));
        assert!(span.events.is_empty(), "{own}");
    }
}

#[test]
fn links_with_and_without_ids() {
    let links = list(&[
        map(&[
            ("trace_id", Value::from(1)),
            ("trace_id_high", Value::from(2)),
            ("span_id", Value::from(-1)),
            ("flags", Value::from(0x8000_0001u32)),
            ("tracestate", Value::from("dd=s:1")),
        ]),
        map(&[
            ("trace_id", Value::from(0)),
            ("attributes", map(&[("link.kind", Value::from("span-pointer"))])),
            ("span_id", Value::from(0)),
        ]),
        Value::Nil,
    ]);
    let links = decoded(&one(&[("span_links", links)])).links;
    assert_eq!(links.len(), 2);
    assert_eq!((links[0].trace_id, links[0].span_id), (TraceId::new(2, 1), SpanId::new(u64::MAX)));
    assert_eq!((links[0].flags, &*links[0].tracestate), (0x8000_0001, "dd=s:1"));
    assert_eq!((links[1].trace_id, links[1].span_id, links[1].attributes.len()), (None, None, 1));
}

#[test]
fn opaque_structures_are_carried() {
    let inner = bytes(&map(&[("k", Value::from(1))]));
    let structs = map(&[
        ("wrapped", Value::Binary(inner.clone())),
        ("bare", map(&[("k", Value::from(1))])),
        ("nil", Value::Nil),
    ]);
    let span = decoded(&one(&[("meta_struct", structs)]));
    assert_eq!(span.meta_struct, [("wrapped", inner.clone()), ("bare", inner)].into_iter().collect());
}

// --- hostile bodies

#[test]
fn claims_are_not_believed() {
    let check = |body: &[u8], want| assert_eq!(decode(body).map(|d| d.chunks.len()), Err(want), "{body:x?}");
    let huge = b"\xff\xff\xff\xff";
    check(&[b"\xdd".as_slice(), huge].concat(), DecodeError::Truncated);
    check(&[b"\x91\xdd".as_slice(), huge].concat(), DecodeError::Truncated);
    check(&[b"\x91\x91\xdf".as_slice(), huge].concat(), DecodeError::Truncated);
    for marker in [0xdb, 0xc6, 0xc9, 0xdd, 0xdf] {
        for field in FIELDS {
            let key = [&[0xa0 | field.len() as u8], field.as_bytes(), &[marker], huge].concat();
            check(&[b"\x91\x91\x81".as_slice(), &key].concat(), DecodeError::Truncated);
        }
    }
    check(b"", DecodeError::Truncated);
    check(b"\xc1", DecodeError::Reserved);
    check(b"\x91\xc1", DecodeError::Reserved);
    check(b"\x81\x01\x01", DecodeError::NotTraces);
    check(b"{}", DecodeError::NotTraces);
    check(b"\xa0", DecodeError::NotTraces);
}

/// A million levels deep, where each could cost a stack frame.
#[test]
fn depth_costs_nothing() {
    let deep = vec![0x91; 1_000_000];
    assert_eq!(decode(&deep), Err(DecodeError::Truncated));
    let body = [b"\x91\x91\x81\xa4meta\x81\xa1k".as_slice(), &deep, b"\x01"].concat();
    assert_eq!(decode(&body).unwrap().dropped_spans, 1);
}

#[test]
fn nothing_at_all() {
    for body in [b"\x90".as_slice(), b"\xc0", b"\x91\x90", b"\x91\xc0", b"\x90trailing"] {
        assert_eq!(decode(body), Ok(Decoded::default()));
    }
}

#[test]
fn the_high_half_is_strict() {
    let check = |tids: &[&str], want| {
        let spans = tids.iter().map(|tid| {
            let mut span = plain();
            span.meta.extend((!tid.is_empty()).then_some(("_dd.p.tid", tid.to_string())));
            span
        });
        assert_eq!(trace_id_high(&Chunk { spans: spans.collect() }), want, "{tids:?}");
    };
    check(&[], None);
    check(&[""], None);
    check(&["66a1b2c300000000"], Some(0x66a1_b2c3_0000_0000));
    check(&["", "66a1b2c300000000"], Some(0x66a1_b2c3_0000_0000));
    for bad in [
        "66a1b2c30000000",
        "66a1b2c3000000000",
        "66A1B2C300000000",
        "+6a1b2c300000000",
        "0000000000000000",
        "é1b2c300000000",
    ] {
        check(&[bad], None);
    }
}
