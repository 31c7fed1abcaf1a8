//! Values for tests, and what holds for every signal.

use std::time::Duration;

use model::{
    Attribute, Batch, DurableExecution, Log, LogLevel, RequestId, SamplingPriority, Series, SeriesKind,
    Signal, Sketch, SketchSeries, Span, SpanEvent, SpanId, SpanLink, Tags, Text, TraceChunk, TraceId,
    TracerInfo, TracerPayload, UnixNanos,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use crate::{DecodeError, decode, encode, endpoint, signal_of};

pub(crate) fn text() -> impl Strategy<Value = Text> {
    prop_oneof!["[a-z._]{0,10}", any::<String>(), "[a-z]{100,300}"].prop_map(Text::Owned)
}

fn tags<V: std::fmt::Debug + Clone>(value: impl Strategy<Value = V>) -> impl Strategy<Value = Tags<V>> {
    let key = prop_oneof!["[a-z._]{1,10}", "\\PC{0,40}"];
    btree_map(key, value, 0..5).prop_map(|map| map.into_iter().collect())
}

fn trace_id() -> impl Strategy<Value = TraceId> {
    (1..=u64::MAX).prop_filter_map("zero", |low| TraceId::new(0, low))
}

fn span_id() -> impl Strategy<Value = SpanId> {
    (1..=u64::MAX).prop_filter_map("zero", SpanId::new)
}

fn link() -> impl Strategy<Value = SpanLink> {
    let ids = (option::of((any::<u64>(), trace_id())), option::of(span_id()));
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

pub(crate) fn span() -> impl Strategy<Value = Span> {
    let names = (text(), text(), text(), text());
    let ids = (trace_id(), span_id(), option::of(span_id()));
    let times = (any::<u64>(), any::<u64>(), any::<bool>());
    let number = proptest::num::f64::NORMAL | proptest::num::f64::ZERO;
    let maps = (tags(text()), tags(number), tags(vec(any::<u8>(), 0..40)));
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

fn chunk() -> impl Strategy<Value = TraceChunk> {
    let priority = option::of((-1i64..=2).prop_map(SamplingPriority::from_i64));
    (priority, text(), tags(text()), vec(span(), 0..3))
        .prop_map(|(priority, origin, tags, spans)| TraceChunk { priority, origin, tags, spans })
}

pub(crate) fn tracer_payload() -> impl Strategy<Value = TracerPayload> {
    let tracer = (text(), text(), text(), text());
    (tracer, (text(), text(), text(), text()), tags(text()), vec(chunk(), 0..3)).prop_map(
        |((language, language_version, tracer_version, container_id), names, tags, chunks)| TracerPayload {
            tracer: TracerInfo {
                language,
                language_version,
                tracer_version,
                container_id,
                // Not in the payload as such: they are acted on before.
                container_tags: "".into(),
                computed_top_level: false,
                computed_stats: false,
            },
            runtime_id: names.0,
            env: names.1,
            hostname: names.2,
            app_version: names.3,
            tags,
            chunks,
        },
    )
}

fn seconds() -> impl Strategy<Value = UnixNanos> {
    (0..1u64 << 33).prop_map(UnixNanos::from_secs)
}

fn sorted_tags() -> impl Strategy<Value = Vec<Text>> {
    btree_set(text(), 0..4).prop_map(|tags| tags.into_iter().collect())
}

/// Numbers that any JSON reader reads back exactly.
fn decimal() -> impl Strategy<Value = f64> {
    (-1i64 << 50..1 << 50).prop_map(|n| n as f64 / 1000.0)
}

fn series() -> impl Strategy<Value = Series> {
    let kind = prop_oneof![
        (1..3600u32).prop_map(|s| (SeriesKind::Count, Some(s))),
        proptest::prelude::Just((SeriesKind::Gauge, None)),
    ];
    (text(), kind, sorted_tags(), vec((seconds(), decimal()), 0..4)).prop_map(
        |(name, (kind, interval_secs), tags, points)| Series { name, kind, tags, points, interval_secs },
    )
}

pub(crate) fn sketch() -> impl Strategy<Value = Sketch> {
    vec((decimal(), 1..100_000u64), 0..30).prop_map(|values| {
        let mut sketch = Sketch::default();
        for (value, count) in values {
            sketch.insert(value, count);
        }
        sketch
    })
}

pub(crate) fn sketch_series() -> impl Strategy<Value = SketchSeries> {
    (text(), sorted_tags(), vec((seconds(), sketch()), 0..3)).prop_map(|(name, tags, points)| SketchSeries {
        name,
        tags,
        points,
    })
}

fn log() -> impl Strategy<Value = Log> {
    const LEVELS: [LogLevel; 6] = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
        LogLevel::Critical,
    ];
    let message = prop_oneof![any::<String>(), ".{0,200}", "\\{\"a\":\"[a-z]\"\\}"];
    let id = option::of("[0-9a-f-]{36}").prop_map(|id| id.and_then(|id| RequestId::new(&id)));
    let durable = (text(), text(), option::of(any::<bool>()), option::of(text())).prop_map(
        |(id, name, first_invocation, status)| {
            Box::new(DurableExecution { id, name, first_invocation, status })
        },
    );
    let texts = (text(), text(), text(), option::of(durable));
    (message, select(&LEVELS[..]), 0..1u64 << 43, id, texts).prop_map(
        |(message, level, ms, request_id, (arn, service, tags, durable))| Log {
            message,
            level,
            time: UnixNanos::from_millis(ms),
            request_id,
            arn,
            service,
            tags,
            durable,
        },
    )
}

pub(crate) fn batch() -> impl Strategy<Value = Batch> {
    prop_oneof![
        vec(tracer_payload(), 0..3).prop_map(Batch::Traces),
        vec(series(), 0..6).prop_map(Batch::Series),
        vec(sketch_series(), 0..4).prop_map(Batch::Sketches),
        vec(log(), 0..6).prop_map(Batch::Logs),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(batch in batch()) {
        prop_assert_eq!(decode(batch.signal(), &encode(&batch)), Ok(batch));
    }

    #[test]
    fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..300)) {
        for signal in Signal::ALL {
            let _ = decode(signal, &body);
        }
    }

    /// Bytes that are protobuf but for one.
    #[test]
    fn a_changed_byte_does_no_harm(batch in batch(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut body = encode(&batch);
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
            let _ = decode(batch.signal(), &body);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// JSON cut short is no JSON. Protobuf may end after any field of the outermost message, so what is left
    /// must be a beginning of what was sent.
    #[test]
    fn a_body_cut_short_is_noticed(batch in batch()) {
        let body = encode(&batch);
        for end in 0..body.len() {
            match (decode(batch.signal(), &body[..end]), &batch) {
                (Err(DecodeError::Malformed), Batch::Series(_) | Batch::Logs(_)) => {}
                (Err(DecodeError::Truncated), Batch::Traces(_) | Batch::Sketches(_)) => {}
                (Ok(Batch::Traces(part)), Batch::Traces(all)) => prop_assert!(all.starts_with(&part)),
                (Ok(Batch::Sketches(part)), Batch::Sketches(all)) => prop_assert!(all.starts_with(&part)),
                (other, _) => prop_assert!(false, "cut at {end} of {}: {other:?}", body.len()),
            }
        }
    }
}

#[test]
fn every_path_is_one_signals() {
    for signal in Signal::ALL {
        let endpoint = endpoint(signal);
        assert_eq!((endpoint.signal, signal_of(endpoint.path)), (signal, Some(signal)));
        assert!(endpoint.target_bytes <= endpoint.max_bytes && endpoint.max_items > 0);
        assert!(endpoint.headers.iter().all(|(name, _)| *name == name.to_lowercase()));
    }
    assert_eq!(signal_of("/api/v2/traces"), None);
}
