//! `AgentPayload`, the protobuf of the trace intake.
//! <https://github.com/DataDog/datadog-agent/tree/main/pkg/proto/datadog/trace>

use std::sync::Arc;
use std::time::Duration;

use model::{
    Attribute, SamplingPriority, SharedTags, Span, SpanEvent, SpanId, SpanLink, Tags, Text, TraceChunk,
    TraceId, TracerPayload, UnixNanos,
};
use protobuf::{Reader, Value, Writer};

use crate::DecodeError;

#[cfg(test)]
mod tests;

/// The priority that stands for "nobody decided".
const NO_PRIORITY: i64 = -128;
/// What the agent tells of its samplers. The extension has none; the intake expects the agent's defaults.
const TARGET_TPS: f64 = 60.0;
const ERROR_TPS: f64 = 60.0;

/// A span's tags.
const META: u32 = 10;

mod agent {
    pub(super) const TRACER_PAYLOADS: u32 = 5;
    pub(super) const TARGET_TPS: u32 = 8;
    pub(super) const ERROR_TPS: u32 = 9;
}

/// Writes the body of a `/api/v0.2/traces` request. Trace ids keep their low half; the high half is expected
/// in the tag `_dd.p.tid`.
pub fn encode(payloads: &[TracerPayload]) -> Vec<u8> {
    let mut w = Writer::with_capacity(payloads.iter().map(TracerPayload::weight).sum::<usize>() + 64);
    let mut common = Common::default();
    for payload in payloads {
        w.message(agent::TRACER_PAYLOADS, |w| tracer_payload(w, payload, &mut common));
    }
    w.double(agent::TARGET_TPS, TARGET_TPS);
    w.double(agent::ERROR_TPS, ERROR_TPS);
    w.into_bytes()
}

/// Reads the body of a `/api/v0.2/traces` request. Unknown fields are skipped.
pub fn decode(body: &[u8]) -> Result<Vec<TracerPayload>, DecodeError> {
    let (mut reader, mut payloads) = (Reader::new(body), Vec::new());
    while let Some((number, value)) = reader.field()? {
        if number == agent::TRACER_PAYLOADS {
            payloads.push(read_tracer_payload(value.message())?);
        }
    }
    Ok(payloads)
}

/// Tags that many spans share, as they were written last.
#[derive(Default)]
pub(crate) struct Common {
    tags: Option<Arc<SharedTags<Text>>>,
    written: Vec<u8>,
}

impl Common {
    fn write(&mut self, w: &mut Writer, tags: &Arc<SharedTags<Text>>) {
        if !self.tags.as_ref().is_some_and(|known| Arc::ptr_eq(known, tags)) {
            let mut w = Writer::with_capacity(1024);
            tags.iter().for_each(|(key, value)| w.entry(META, key, value.as_bytes()));
            (self.tags, self.written) = (Some(tags.clone()), w.into_bytes());
        }
        w.raw(&self.written);
    }
}

pub(crate) fn tracer_payload(w: &mut Writer, payload: &TracerPayload, common: &mut Common) {
    let TracerPayload { tracer, runtime_id, env, hostname, app_version, tags, chunks } = payload;
    w.text(1, &tracer.container_id);
    w.text(2, &tracer.language);
    w.text(3, &tracer.language_version);
    w.text(4, &tracer.tracer_version);
    w.text(5, runtime_id);
    for chunk in chunks {
        w.message(6, |w| trace_chunk(w, chunk, common));
    }
    text_tags(w, 7, tags);
    w.text(8, env);
    w.text(9, hostname);
    w.text(10, app_version);
}

pub(crate) fn trace_chunk(w: &mut Writer, chunk: &TraceChunk, common: &mut Common) {
    w.int(1, chunk.priority.map_or(NO_PRIORITY, |priority| priority.as_i8().into()));
    w.text(2, &chunk.origin);
    for span in &chunk.spans {
        w.message(3, |w| write_span(w, span, common));
    }
    text_tags(w, 4, &chunk.tags);
}

pub(crate) fn write_span(w: &mut Writer, span: &Span, common: &mut Common) {
    w.text(1, &span.service);
    w.text(2, &span.name);
    w.text(3, &span.resource);
    w.uint(4, span.trace_id.low());
    w.uint(5, span.span_id.get());
    w.uint(6, span.parent_id.map_or(0, SpanId::get));
    w.uint(7, span.start.as_nanos());
    w.uint(8, u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX));
    w.uint(9, span.error.into());
    for (key, value) in span.meta.own() {
        w.entry(META, key, value.as_bytes());
    }
    if let Some(shared) = span.meta.shared() {
        common.write(w, shared);
    }
    for (key, value) in span.metrics.iter() {
        w.double_entry(11, key, *value);
    }
    w.text(12, &span.kind);
    for (key, value) in span.meta_struct.iter() {
        w.entry(13, key, value);
    }
    for link in &span.links {
        w.message(14, |w| {
            w.uint(1, link.trace_id.map_or(0, TraceId::low));
            w.uint(2, link.trace_id.map_or(0, TraceId::high));
            w.uint(3, link.span_id.map_or(0, SpanId::get));
            text_tags(w, 4, &link.attributes);
            w.text(5, &link.tracestate);
            w.uint(6, link.flags.into());
        });
    }
    for event in &span.events {
        w.message(15, |w| write_event(w, event));
    }
}

fn write_event(w: &mut Writer, event: &SpanEvent) {
    w.fixed64(1, event.time.as_nanos());
    w.text(2, &event.name);
    for (key, value) in event.attributes.iter() {
        w.message(3, |w| {
            w.text(1, key);
            w.message(2, |w| write_attribute(w, value));
        });
    }
}

/// `AttributeAnyValue`, and `AttributeArrayValue`, which is the same without arrays.
fn write_attribute(w: &mut Writer, value: &Attribute) {
    match value {
        // Type 0, the default.
        Attribute::Text(text) => w.text(2, text),
        Attribute::Bool(yes) => {
            w.uint(1, 1);
            w.uint(3, (*yes).into());
        }
        Attribute::Int(n) => {
            w.uint(1, 2);
            w.int(4, *n);
        }
        Attribute::Double(n) => {
            w.uint(1, 3);
            w.double(5, *n);
        }
        Attribute::List(all) => {
            w.uint(1, 4);
            w.message(6, |w| {
                for one in all {
                    w.message(1, |w| write_attribute(w, one));
                }
            });
        }
    }
}

fn text_tags(w: &mut Writer, field: u32, tags: &Tags<Text>) {
    for (key, value) in tags.iter() {
        w.entry(field, key, value.as_bytes());
    }
}

fn read_tracer_payload(mut reader: Reader<'_>) -> Result<TracerPayload, DecodeError> {
    let mut payload = TracerPayload::default();
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => payload.tracer.container_id = value.text(),
            2 => payload.tracer.language = value.text(),
            3 => payload.tracer.language_version = value.text(),
            4 => payload.tracer.tracer_version = value.text(),
            5 => payload.runtime_id = value.text(),
            6 => payload.chunks.push(read_trace_chunk(value.message())?),
            7 => read_tag(&mut payload.tags, value)?,
            8 => payload.env = value.text(),
            9 => payload.hostname = value.text(),
            10 => payload.app_version = value.text(),
            _ => {}
        }
    }
    Ok(payload)
}

fn read_trace_chunk(mut reader: Reader<'_>) -> Result<TraceChunk, DecodeError> {
    let (mut chunk, mut priority) = (TraceChunk::default(), 0);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => priority = value.int(),
            2 => chunk.origin = value.text(),
            3 => chunk.spans.push(read_span(value.message())?),
            4 => read_tag(&mut chunk.tags, value)?,
            _ => {}
        }
    }
    chunk.priority = (priority != NO_PRIORITY).then(|| SamplingPriority::from_i64(priority));
    Ok(chunk)
}

fn read_span(mut reader: Reader<'_>) -> Result<Span, DecodeError> {
    // Stand-ins until the ids are read: fields come in any order.
    let (Some(trace_id), Some(span_id)) = (TraceId::new(0, 1), SpanId::new(1)) else {
        return Err(DecodeError::ZeroId);
    };
    let (mut span, mut ids) = (Span::new("", trace_id, span_id, None), (0, 0));
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => span.service = value.text(),
            2 => span.name = value.text(),
            3 => span.resource = value.text(),
            4 => ids.0 = value.uint(),
            5 => ids.1 = value.uint(),
            6 => span.parent_id = SpanId::new(value.uint()),
            7 => span.start = UnixNanos(value.uint()),
            8 => span.duration = Duration::from_nanos(value.uint()),
            9 => span.error = value.uint() != 0,
            META => read_tag(&mut span.meta, value)?,
            11 => {
                let (key, value) = value.entry()?;
                span.metrics.push(key, value.double());
            }
            12 => span.kind = value.text(),
            13 => {
                let (key, value) = value.entry()?;
                span.meta_struct.push(key, value.bytes().to_vec());
            }
            14 => span.links.push(read_link(value.message())?),
            15 => span.events.push(read_event(value.message())?),
            _ => {}
        }
    }
    span.trace_id = TraceId::new(0, ids.0).ok_or(DecodeError::ZeroId)?;
    span.span_id = SpanId::new(ids.1).ok_or(DecodeError::ZeroId)?;
    Ok(span)
}

fn read_link(mut reader: Reader<'_>) -> Result<SpanLink, DecodeError> {
    let (mut low, mut high) = (0, 0);
    let mut link = SpanLink {
        trace_id: None,
        span_id: None,
        attributes: Tags::new(),
        tracestate: Text::default(),
        flags: 0,
    };
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => low = value.uint(),
            2 => high = value.uint(),
            3 => link.span_id = SpanId::new(value.uint()),
            4 => read_tag(&mut link.attributes, value)?,
            5 => link.tracestate = value.text(),
            6 => link.flags = value.uint() as u32,
            _ => {}
        }
    }
    link.trace_id = TraceId::new(high, low);
    Ok(link)
}

fn read_event(mut reader: Reader<'_>) -> Result<SpanEvent, DecodeError> {
    let mut event = SpanEvent { time: UnixNanos::default(), name: Text::default(), attributes: Tags::new() };
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => event.time = UnixNanos(value.uint()),
            2 => event.name = value.text(),
            3 => {
                let (key, value) = value.entry()?;
                event.attributes.push(key, read_attribute(value.message())?);
            }
            _ => {}
        }
    }
    Ok(event)
}

/// `AttributeAnyValue`. A type that is not known reads as the empty text.
fn read_attribute(mut reader: Reader<'_>) -> Result<Attribute, DecodeError> {
    let (mut scalar, mut list) = (Scalar::default(), Vec::new());
    while let Some((number, value)) = reader.field()? {
        match number {
            6 => list = read_array(value.message())?,
            number => scalar.read(number, value),
        }
    }
    Ok(match scalar.kind {
        4 => Attribute::List(list),
        _ => scalar.into_attribute(),
    })
}

/// An array's elements are no arrays, so this does not recurse on; what says that it is one reads as nothing.
fn read_array(mut reader: Reader<'_>) -> Result<Vec<Attribute>, DecodeError> {
    let mut all = Vec::new();
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            let (mut element, mut scalar) = (value.message(), Scalar::default());
            while let Some((number, value)) = element.field()? {
                scalar.read(number, value);
            }
            all.push(scalar.into_attribute());
        }
    }
    Ok(all)
}

/// The fields that `AttributeAnyValue` and `AttributeArrayValue` share: the type says which of them counts.
#[derive(Default)]
struct Scalar {
    kind: u64,
    text: Text,
    boolean: bool,
    int: i64,
    double: f64,
}

impl Scalar {
    fn read(&mut self, number: u32, value: Value<'_>) {
        match number {
            1 => self.kind = value.uint(),
            2 => self.text = value.text(),
            3 => self.boolean = value.uint() != 0,
            4 => self.int = value.int(),
            5 => self.double = value.double(),
            _ => {}
        }
    }

    fn into_attribute(self) -> Attribute {
        match self.kind {
            0 => Attribute::Text(self.text),
            1 => Attribute::Bool(self.boolean),
            2 => Attribute::Int(self.int),
            3 => Attribute::Double(self.double),
            _ => Attribute::Text(Text::default()),
        }
    }
}

fn read_tag(tags: &mut Tags<Text>, value: Value<'_>) -> Result<(), DecodeError> {
    let (key, value) = value.entry()?;
    tags.push(key, value.text());
    Ok(())
}
