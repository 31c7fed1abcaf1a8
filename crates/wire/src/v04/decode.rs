//! v0.4 bytes to spans.

use std::borrow::Cow;
use std::time::Duration;

use model::{Attribute, Chunk, Span, SpanEvent, SpanId, SpanLink, Tags, Text, TraceId, UnixNanos};
use serde_json::Value as Json;

use super::{DecodeError, Decoded};
use crate::msgpack::{Reader, Value};

/// The tag under which tracers put span events as JSON when they do not know whether the agent takes the
/// field `span_events`.
const META_EVENTS: &str = "events";
/// Space set aside for a container before its elements are seen: what a header claims is not believed.
const TRUSTED_CAPACITY: u32 = 32;

/// Reads the body of a `/v0.4/traces` request. Trailing bytes are ignored.
///
/// Fails only when the body as a whole is no msgpack array, or ends too early; everything else costs one
/// field, tag or span.
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(body);
    let chunks = match reader.value()? {
        Value::Array(n) => n,
        Value::Nil => 0,
        _ => return Err(DecodeError::NotTraces),
    };
    let mut decoded = Decoded { chunks: Vec::with_capacity(trusted(chunks)), dropped_spans: 0 };
    for _ in 0..chunks {
        let spans = match reader.value()? {
            Value::Array(n) => n,
            Value::Nil => 0,
            other => {
                reader.skip_rest(&other)?;
                decoded.dropped_spans += 1;
                0
            }
        };
        let mut chunk = Chunk { spans: Vec::with_capacity(trusted(spans)) };
        for _ in 0..spans {
            match span(&mut reader)? {
                Some(span) => chunk.spans.push(span),
                None => decoded.dropped_spans += 1,
            }
        }
        if !chunk.spans.is_empty() {
            decoded.chunks.push(chunk);
        }
    }
    Ok(decoded)
}

/// A span's fields before its ids are known to be there.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) service: Text,
    pub(crate) name: Text,
    pub(crate) resource: Text,
    pub(crate) kind: Text,
    pub(crate) trace_id: u64,
    pub(crate) span_id: u64,
    pub(crate) parent_id: u64,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) error: bool,
    pub(crate) meta: Tags<Text>,
    pub(crate) metrics: Tags<f64>,
    pub(crate) meta_struct: Tags<Vec<u8>>,
    pub(crate) links: Vec<SpanLink>,
    pub(crate) events: Vec<SpanEvent>,
}

pub(crate) fn span(reader: &mut Reader<'_>) -> Result<Option<Span>, DecodeError> {
    let mut fields = Fields::default();
    for _ in 0..reader.map()? {
        let Some(key) = reader.key()? else { continue };
        fields.read(&key, reader)?;
    }
    Ok(fields.into_span())
}

impl Fields {
    fn read(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match key {
            "service" => self.service = text(reader)?,
            "name" => self.name = text(reader)?,
            "resource" => self.resource = text(reader)?,
            "type" => self.kind = text(reader)?,
            "trace_id" => self.trace_id = reader.scalar()?.to_id(),
            "span_id" => self.span_id = reader.scalar()?.to_id(),
            "parent_id" => self.parent_id = reader.scalar()?.to_id(),
            "start" => self.start = reader.scalar()?.to_count(),
            "duration" => self.duration = reader.scalar()?.to_count(),
            "error" => self.error = reader.scalar()?.to_float().is_some_and(|n| n != 0.0),
            "meta" => self.meta = tags(reader)?,
            "metrics" => self.metrics = metrics(reader)?,
            "meta_struct" => self.meta_struct = structs(reader)?,
            "span_links" => self.links = list(reader, link)?,
            "span_events" => self.events = list(reader, event)?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    pub(crate) fn into_span(mut self) -> Option<Span> {
        let (trace_id, span_id) = (TraceId::new(0, self.trace_id)?, SpanId::new(self.span_id)?);
        if let Some(events) = self.meta.get(META_EVENTS).and_then(|json| json_events(json)) {
            self.meta.remove(META_EVENTS);
            self.events.extend(events);
        }
        Some(Span {
            service: self.service,
            name: self.name,
            resource: self.resource,
            kind: self.kind,
            trace_id,
            span_id,
            parent_id: SpanId::new(self.parent_id),
            start: UnixNanos(self.start),
            duration: Duration::from_nanos(self.duration),
            error: self.error,
            meta: self.meta,
            metrics: self.metrics,
            meta_struct: self.meta_struct,
            links: self.links,
            events: self.events,
        })
    }
}

pub(crate) fn tags(reader: &mut Reader<'_>) -> Result<Tags<Text>, DecodeError> {
    let pairs = reader.map()?;
    let mut tags = Tags::with_capacity(trusted(pairs));
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        if let Some(value) = reader.scalar()?.into_scalar_text() {
            tags.push(owned(key), owned(value));
        }
    }
    Ok(tags)
}

fn metrics(reader: &mut Reader<'_>) -> Result<Tags<f64>, DecodeError> {
    let pairs = reader.map()?;
    let mut tags = Tags::with_capacity(trusted(pairs));
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        if let Some(value) = reader.scalar()?.to_float() {
            tags.push(owned(key), value);
        }
    }
    Ok(tags)
}

/// Values are msgpack inside binary; a value that was not wrapped is taken as the msgpack that it is.
fn structs(reader: &mut Reader<'_>) -> Result<Tags<Vec<u8>>, DecodeError> {
    let mut tags = Tags::new();
    for _ in 0..reader.map()? {
        let Some(key) = reader.key()? else { continue };
        let raw = reader.raw()?;
        let value = match Reader::new(raw).value()? {
            Value::Nil => continue,
            Value::Binary(bytes) => bytes,
            _ => raw,
        };
        tags.push(owned(key), value.to_vec());
    }
    Ok(tags)
}

fn list<T>(
    reader: &mut Reader<'_>,
    element: impl Fn(&mut Reader<'_>, u32) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut all = Vec::new();
    for _ in 0..reader.array()? {
        match reader.value()? {
            Value::Map(pairs) => all.push(element(reader, pairs)?),
            other => reader.skip_rest(&other)?,
        }
    }
    Ok(all)
}

fn link(reader: &mut Reader<'_>, pairs: u32) -> Result<SpanLink, DecodeError> {
    let (mut low, mut high, mut span_id) = (0, 0, 0);
    let mut link = SpanLink {
        trace_id: None,
        span_id: None,
        attributes: Tags::new(),
        tracestate: Text::default(),
        flags: 0,
    };
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        match &*key {
            "trace_id" => low = reader.scalar()?.to_id(),
            "trace_id_high" => high = reader.scalar()?.to_id(),
            "span_id" => span_id = reader.scalar()?.to_id(),
            "attributes" => link.attributes = tags(reader)?,
            "tracestate" => link.tracestate = text(reader)?,
            "flags" => link.flags = u32::try_from(reader.scalar()?.to_count()).unwrap_or(0),
            _ => reader.skip()?,
        }
    }
    (link.trace_id, link.span_id) = (TraceId::new(high, low), SpanId::new(span_id));
    Ok(link)
}

fn event(reader: &mut Reader<'_>, pairs: u32) -> Result<SpanEvent, DecodeError> {
    let mut event = SpanEvent { time: UnixNanos::default(), name: Text::default(), attributes: Tags::new() };
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        match &*key {
            "time_unix_nano" => event.time = UnixNanos(reader.scalar()?.to_count()),
            "name" => event.name = text(reader)?,
            "attributes" => event.attributes = attributes(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok(event)
}

fn attributes(reader: &mut Reader<'_>) -> Result<Tags<Attribute>, DecodeError> {
    let mut tags = Tags::new();
    for _ in 0..reader.map()? {
        let Some(key) = reader.key()? else { continue };
        if let Some(value) = attribute(reader)? {
            tags.push(owned(key), value);
        }
    }
    Ok(tags)
}

/// A typed attribute: a map with `type` and one `…_value` field. Read by the field rather than by the type;
/// a bare scalar counts as itself. `None` when there is no value in it.
fn attribute(reader: &mut Reader<'_>) -> Result<Option<Attribute>, DecodeError> {
    let pairs = match reader.value()? {
        Value::Map(pairs) => pairs,
        Value::Array(n) => return array(reader, n).map(Some),
        value => return Ok(scalar(value)),
    };
    let mut found = None;
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        match &*key {
            "array_value" => found = array_value(reader)?.or(found),
            field => found = typed(field, reader)?.or(found),
        }
    }
    Ok(found)
}

/// The value of a `…_value` field, of the type that the field has: msgpack writers send a whole number as an
/// integer also where a double is meant.
fn typed(field: &str, reader: &mut Reader<'_>) -> Result<Option<Attribute>, DecodeError> {
    let known = ["string_value", "bool_value", "int_value", "double_value"];
    if !known.contains(&field) {
        return reader.skip().map(|()| None);
    }
    let value = scalar(reader.scalar()?);
    Ok(match (field, value) {
        ("double_value", Some(Attribute::Int(n))) => Some(Attribute::Double(n as f64)),
        ("string_value", Some(value)) => Some(Attribute::Text(value.to_string().into())),
        (_, value) => value,
    })
}

fn array_value(reader: &mut Reader<'_>) -> Result<Option<Attribute>, DecodeError> {
    let mut found = None;
    for _ in 0..reader.map()? {
        let Some(key) = reader.key()? else { continue };
        match &*key {
            "values" => {
                let elements = reader.array()?;
                found = Some(array(reader, elements)?);
            }
            _ => reader.skip()?,
        }
    }
    Ok(found)
}

/// The scalars of an array.
fn array(reader: &mut Reader<'_>, elements: u32) -> Result<Attribute, DecodeError> {
    let mut all = Vec::with_capacity(trusted(elements));
    for _ in 0..elements {
        let value = match reader.value()? {
            Value::Map(pairs) => typed_scalar(reader, pairs)?,
            other => {
                reader.skip_rest(&other)?;
                scalar(other)
            }
        };
        all.extend(value);
    }
    Ok(Attribute::List(all))
}

fn typed_scalar(reader: &mut Reader<'_>, pairs: u32) -> Result<Option<Attribute>, DecodeError> {
    let mut found = None;
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        found = typed(&key, reader)?.or(found);
    }
    Ok(found)
}

fn scalar(value: Value<'_>) -> Option<Attribute> {
    Some(match value {
        Value::Bool(yes) => Attribute::Bool(yes),
        Value::Int(n) => Attribute::Int(n),
        Value::Uint(n) => {
            i64::try_from(n).map_or_else(|_| Attribute::Text(n.to_string().into()), Attribute::Int)
        }
        Value::Float(n) => Attribute::Double(n),
        other => Attribute::Text(owned(other.into_scalar_text()?)),
    })
}

/// The events in a `events` tag. `None` unless it is a JSON list of named events, so that a tag of the
/// customer's own by that name stays.
fn json_events(json: &str) -> Option<Vec<SpanEvent>> {
    let all: Vec<Json> = serde_json::from_str(json).ok()?;
    all.into_iter()
        .map(|event| {
            let name = event.get("name")?.as_str()?.to_owned().into();
            let time = UnixNanos(event.get("time_unix_nano")?.as_u64()?);
            let attributes = event.get("attributes").and_then(Json::as_object);
            let attributes = attributes.into_iter().flatten();
            let attributes =
                attributes.filter_map(|(key, value)| Some((key.clone(), json_attribute(value)?))).collect();
            Some(SpanEvent { time, name, attributes })
        })
        .collect()
}

/// `None` for what an attribute cannot be. A list in a list, or an object, stays JSON text.
fn json_attribute(value: &Json) -> Option<Attribute> {
    Some(match value {
        Json::Null => return None,
        Json::Array(all) => Attribute::List(all.iter().filter_map(json_scalar).collect()),
        value => json_scalar(value)?,
    })
}

fn json_scalar(value: &Json) -> Option<Attribute> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(yes) => Attribute::Bool(*yes),
        Json::String(text) => Attribute::Text(text.clone().into()),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Attribute::Int(n),
            (None, Some(x)) if n.is_f64() => Attribute::Double(x),
            (None, _) => Attribute::Text(n.to_string().into()),
        },
        other => Attribute::Text(other.to_string().into()),
    })
}

pub(crate) fn text(reader: &mut Reader<'_>) -> Result<Text, DecodeError> {
    Ok(reader.maybe_text()?.map(owned).unwrap_or_default())
}

fn owned(text: Cow<'_, str>) -> Text {
    Text::Owned(text.into_owned())
}

pub(crate) fn trusted(claimed: u32) -> usize {
    claimed.min(TRUSTED_CAPACITY) as usize
}
