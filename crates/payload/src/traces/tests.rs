//! Spans to bytes and back: round trips, and the generated protobuf types as oracle.

use std::collections::HashMap;

use libdd_trace_protobuf::pb;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};
use prost::Message;

use super::*;
use crate::tests::tracer_payload;

// --- the agent's own types, made from ours

fn map<A, B>(tags: &Tags<A>, value: impl Fn(&A) -> B) -> HashMap<String, B> {
    tags.iter().map(|(k, v)| (k.to_string(), value(v))).collect()
}

fn text(tags: &Tags<Text>) -> HashMap<String, String> {
    map(tags, Text::to_string)
}

fn attribute(value: &Attribute) -> pb::AttributeAnyValue {
    use pb::AttributeAnyValue as Value;
    match value {
        Attribute::Text(text) => Value { string_value: text.to_string(), ..Default::default() },
        Attribute::Bool(yes) => Value { r#type: 1, bool_value: *yes, ..Default::default() },
        Attribute::Int(n) => Value { r#type: 2, int_value: *n, ..Default::default() },
        Attribute::Double(n) => Value { r#type: 3, double_value: *n, ..Default::default() },
        Attribute::List(all) => {
            let values = all.iter().map(attribute).map(element).collect();
            Value { r#type: 4, array_value: Some(pb::AttributeArray { values }), ..Default::default() }
        }
    }
}

fn element(value: pb::AttributeAnyValue) -> pb::AttributeArrayValue {
    let pb::AttributeAnyValue { r#type, string_value, bool_value, int_value, double_value, .. } = value;
    pb::AttributeArrayValue { r#type, string_value, bool_value, int_value, double_value }
}

fn pb_span(span: &Span) -> pb::Span {
    let link = |link: &SpanLink| pb::SpanLink {
        trace_id: link.trace_id.map_or(0, TraceId::low),
        trace_id_high: link.trace_id.map_or(0, TraceId::high),
        span_id: link.span_id.map_or(0, SpanId::get),
        attributes: text(&link.attributes),
        tracestate: link.tracestate.to_string(),
        flags: link.flags,
    };
    let event = |event: &SpanEvent| pb::SpanEvent {
        time_unix_nano: event.time.as_nanos(),
        name: event.name.to_string(),
        attributes: map(&event.attributes, attribute),
    };
    pb::Span {
        service: span.service.to_string(),
        name: span.name.to_string(),
        resource: span.resource.to_string(),
        trace_id: span.trace_id.low(),
        span_id: span.span_id.get(),
        parent_id: span.parent_id.map_or(0, SpanId::get),
        start: span.start.as_nanos().cast_signed(),
        duration: (span.duration.as_nanos() as u64).cast_signed(),
        error: span.error.into(),
        meta: text(&span.meta),
        metrics: map(&span.metrics, |n| *n),
        r#type: span.kind.to_string(),
        meta_struct: map(&span.meta_struct, Clone::clone),
        span_links: span.links.iter().map(link).collect(),
        span_events: span.events.iter().map(event).collect(),
    }
}

fn pb_payload(payload: &TracerPayload) -> pb::TracerPayload {
    let chunk = |chunk: &TraceChunk| pb::TraceChunk {
        priority: chunk.priority.map_or(-128, |p| p.as_i8().into()),
        origin: chunk.origin.to_string(),
        spans: chunk.spans.iter().map(pb_span).collect(),
        tags: text(&chunk.tags),
        dropped_trace: false,
    };
    pb::TracerPayload {
        container_id: payload.tracer.container_id.to_string(),
        language_name: payload.tracer.language.to_string(),
        language_version: payload.tracer.language_version.to_string(),
        tracer_version: payload.tracer.tracer_version.to_string(),
        runtime_id: payload.runtime_id.to_string(),
        chunks: payload.chunks.iter().map(chunk).collect(),
        tags: text(&payload.tags),
        env: payload.env.to_string(),
        hostname: payload.hostname.to_string(),
        app_version: payload.app_version.to_string(),
        ..Default::default()
    }
}

fn pb_agent(payloads: &[TracerPayload]) -> pb::AgentPayload {
    pb::AgentPayload {
        tracer_payloads: payloads.iter().map(pb_payload).collect(),
        target_tps: 60.0,
        error_tps: 60.0,
        ..Default::default()
    }
}

/// Maps have no order in the agent's types.
fn sorted(mut payloads: Vec<TracerPayload>) -> Vec<TracerPayload> {
    fn sort<V: Clone>(tags: &mut Tags<V>) {
        let mut all: Vec<_> = std::mem::take(tags).into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        *tags = all.into_iter().collect();
    }
    for payload in &mut payloads {
        sort(&mut payload.tags);
        for chunk in &mut payload.chunks {
            sort(&mut chunk.tags);
            for span in &mut chunk.spans {
                sort(&mut span.meta);
                sort(&mut span.metrics);
                sort(&mut span.meta_struct);
                span.links.iter_mut().for_each(|link| sort(&mut link.attributes));
                span.events.iter_mut().for_each(|event| sort(&mut event.attributes));
            }
        }
    }
    payloads
}

proptest! {
    #[test]
    fn the_agents_types_read_what_we_write(payloads in vec(tracer_payload(), 0..3)) {
        let read = pb::AgentPayload::decode(encode(&payloads).as_slice()).unwrap();
        prop_assert_eq!(read, pb_agent(&payloads));
    }

    #[test]
    fn we_read_what_the_agents_types_write(payloads in vec(tracer_payload(), 0..3)) {
        let written = pb_agent(&payloads).encode_to_vec();
        prop_assert_eq!(sorted(decode(&written).unwrap()), sorted(payloads));
    }

    /// What the agent's types take, we take; but for span ids of zero, and for text that is no UTF-8, which
    /// they refuse.
    #[test]
    fn we_take_what_the_agents_types_take(body in vec(any::<u8>(), 0..40), payload in tracer_payload(), at in any::<proptest::sample::Index>()) {
        let mut bytes = encode(&[payload]);
        let at = at.index(bytes.len());
        bytes.splice(at..at, body);
        if pb::AgentPayload::decode(bytes.as_slice()).is_ok() {
            let read = decode(&bytes);
            assert!(read.is_ok() || matches!(read, Err(DecodeError::ZeroId | DecodeError::Malformed)), "{read:?}");
        }
    }
}

#[test]
fn bytes_of_a_payload() {
    let mut span = Span::new("n", TraceId::new(5, 7).unwrap(), SpanId::new(8).unwrap(), None);
    (span.start, span.duration, span.error) = (UnixNanos(300), Duration::from_nanos(1), true);
    span.meta.insert("k", "v");
    span.metrics.insert("m", 0.0);
    let chunk = TraceChunk { spans: vec![span], ..Default::default() };
    let payload = TracerPayload { env: "e".into(), chunks: vec![chunk], ..Default::default() };
    let span = b"\x12\x01n\x20\x07\x28\x08\x38\xac\x02\x40\x01\x48\x01\x52\x06\x0a\x01k\x12\x01v\x5a\x0c\x0a\x01m\x11\0\0\0\0\0\0\0\0";
    let chunk =
        [b"\x08\x80\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a", [span.len() as u8].as_slice(), span].concat();
    let payload_bytes = [b"\x32", [chunk.len() as u8].as_slice(), &chunk, b"\x42\x01e"].concat();
    let tps = b"\x41\0\0\0\0\0\0\x4e\x40\x49\0\0\0\0\0\0\x4e\x40";
    let want = [b"\x2a", [payload_bytes.len() as u8].as_slice(), &payload_bytes, tps].concat();
    assert_eq!(encode(&[payload]), want);
}

#[test]
fn a_priority_that_is_not_written_is_zero() {
    let chunk = |priority| pb::TraceChunk { priority, ..Default::default() };
    let chunks = [0, -128, 1, 2, -1, 7, -3].map(chunk).to_vec();
    let payload = pb::TracerPayload { chunks, ..Default::default() };
    let agent = pb::AgentPayload { tracer_payloads: vec![payload], ..Default::default() };
    let read = decode(&agent.encode_to_vec()).unwrap();
    let read: Vec<_> =
        read[0].chunks.iter().map(|chunk| chunk.priority.map(SamplingPriority::as_i8)).collect();
    assert_eq!(read, [Some(0), None, Some(1), Some(2), Some(-1), Some(2), Some(-1)]);
}

#[test]
fn attributes_of_any_type_are_read() {
    use pb::AttributeAnyValue as Value;
    let element = |kind, int_value| pb::AttributeArrayValue { r#type: kind, int_value, ..Default::default() };
    let array =
        pb::AttributeArray { values: vec![element(2, -1), element(2, 0), element(0, 0), element(1, 0)] };
    let attributes = [
        ("a", Value { r#type: 4, array_value: Some(array), ..Default::default() }, "[-1,0,,false]"),
        ("b", Value { r#type: 1, bool_value: true, ..Default::default() }, "true"),
        ("c", Value { r#type: 1, ..Default::default() }, "false"),
        ("d", Value { r#type: 3, double_value: 2.5, ..Default::default() }, "2.5"),
        ("i", Value { r#type: 2, int_value: -3, ..Default::default() }, "-3"),
        ("o", Value { r#type: 2, ..Default::default() }, "0"),
        ("s", Value { string_value: "t".into(), ..Default::default() }, "t"),
        ("z", Value { r#type: 9, string_value: "t".into(), ..Default::default() }, ""),
    ];
    for (key, value, want) in attributes {
        let event =
            pb::SpanEvent { attributes: HashMap::from([(key.to_owned(), value)]), ..Default::default() };
        let span = pb::Span { trace_id: 1, span_id: 1, span_events: vec![event], ..Default::default() };
        let chunk = pb::TraceChunk { spans: vec![span], ..Default::default() };
        let payload = pb::TracerPayload { chunks: vec![chunk], ..Default::default() };
        let agent = pb::AgentPayload { tracer_payloads: vec![payload], ..Default::default() };
        let read = decode(&agent.encode_to_vec()).unwrap();
        let read = read[0].chunks[0].spans[0].events[0].attributes.get(key).unwrap();
        assert_eq!(read.to_string(), want, "{key}");
    }
}

#[test]
fn what_cannot_be_a_payload() {
    let span = |fields: &[u8]| {
        let mut w = Writer::with_capacity(64);
        w.message(5, |w| w.message(6, |w| w.message(3, |w| w.raw(fields))));
        decode(&w.into_bytes()).map(|all| all.len())
    };
    assert_eq!(span(b"\x20\x07\x28\x08"), Ok(1));
    assert_eq!(span(b"\x28\x08"), Err(DecodeError::ZeroId));
    assert_eq!(span(b"\x20\x07"), Err(DecodeError::ZeroId));
    assert_eq!(
        span(b"\x20\x07\x28\x08\xa2\x06\x01x\xa8\x06\x05\xad\x06\0\0\0\0\xa9\x06\0\0\0\0\0\0\0\0"),
        Ok(1)
    );
    assert_eq!(span(b"\x20\x07\x28\x08\x0a\x05ab"), Err(DecodeError::Truncated));
    assert_eq!(span(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Err(DecodeError::Malformed));
    assert_eq!(span(b"\x03"), Err(DecodeError::Malformed)); // field 0
    assert_eq!(span(b"\x0b\x0c"), Err(DecodeError::Malformed)); // a group
    assert_eq!(span(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), Err(DecodeError::Truncated));
}
