//! v1.0 bytes to spans.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::{Attribute, Span, SpanEvent, SpanId, SpanLink, Tags, Text, TraceId, UnixNanos, keys};
use serde_json::Value as Json;

use super::strings::Strings;
use super::{field, kind};
use crate::maps::{self, Follows, Payload, Said};
use crate::msgpack::{Reader, Value};
use crate::v04::{DecodeError, Fields};

/// Lists and maps in each other that an attribute is read to; what is deeper is left out.
const MAX_DEPTH: u32 = 8;
/// What a span's kind is called, by its number.
const KINDS: [&str; 6] = ["", "internal", "server", "client", "producer", "consumer"];

/// Reads the body of a `/v1.0/traces` request. Trailing bytes are ignored.
///
/// Fails only when the body as a whole is no map, or ends too early; everything else costs one field,
/// attribute or span.
pub fn decode(body: &[u8]) -> Result<Payload, DecodeError> {
    maps::decode(Read::default(), body)
}

#[derive(Debug, Default)]
pub(crate) struct Read {
    strings: Strings,
}

impl maps::Read for Read {
    fn payload_pair(&mut self, reader: &mut Reader<'_>, said: &mut Said) -> Result<Follows, DecodeError> {
        let mut read = Element { reader, strings: &mut self.strings };
        let Some(key) = read.key()? else { return Ok(Follows::Nothing) };
        let Said { tracer, shared, .. } = said;
        match key {
            field::payload::STRINGS => return read.reader.array().map(Follows::Texts),
            field::payload::CONTAINER_ID => tracer.container_id = read.text()?,
            field::payload::LANGUAGE => tracer.language = read.text()?,
            field::payload::LANGUAGE_VERSION => tracer.language_version = read.text()?,
            field::payload::TRACER_VERSION => tracer.tracer_version = read.text()?,
            field::payload::RUNTIME_ID => shared.set(keys::trace::RUNTIME_ID, read.text()?),
            field::payload::ENV => shared.set(keys::trace::ENV, read.text()?),
            field::payload::HOSTNAME => shared.set(keys::trace::HOSTNAME, read.text()?),
            field::payload::APP_VERSION => shared.set(keys::trace::VERSION, read.text()?),
            field::payload::ATTRIBUTES => shared.meta.extend(read.tags()?),
            field::payload::CHUNKS => return read.strings.array(read.reader).map(Follows::Chunks),
            _ => read.skip()?,
        }
        Ok(Follows::Nothing)
    }

    fn text(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.strings.read_ahead(reader)
    }

    fn chunk(&mut self, reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
        self.strings.map(reader)
    }

    fn chunk_said(&self) -> Said {
        Said { trace: Some(0), ..Said::default() }
    }

    fn chunk_pair(&mut self, reader: &mut Reader<'_>, said: &mut Said) -> Result<u32, DecodeError> {
        let mut read = Element { reader, strings: &mut self.strings };
        let Some(key) = read.key()? else { return Ok(0) };
        match key {
            field::chunk::PRIORITY => said.shared.priority = read.scalar()?.to_float(),
            field::chunk::ORIGIN => said.shared.origin = read.text()?,
            field::chunk::ATTRIBUTES => said.shared.meta.extend(read.tags()?),
            field::chunk::TRACE_ID => said.trace = Some(read.trace_id()?),
            field::chunk::SAMPLING_MECHANISM => {
                let mechanism = read.mechanism()?;
                said.shared.set(keys::trace::DECISION_MAKER, mechanism);
            }
            field::chunk::SPANS => return read.strings.array(read.reader),
            _ => read.skip()?,
        }
        Ok(0)
    }

    fn span(&mut self, reader: &mut Reader<'_>) -> Result<Option<Span>, DecodeError> {
        let fields = Element { reader, strings: &mut self.strings }.span()?;
        // The trace's id is the chunk's to say.
        Ok(fields.and_then(|fields| Fields { trace_id: 1, ..fields }.into_span()))
    }

    fn texts(&self) -> usize {
        self.strings.weight()
    }

    fn mark(&self) -> usize {
        self.strings.len()
    }

    fn reset(&mut self, mark: usize) {
        self.strings.truncate(mark);
    }

    fn allow(&mut self, bytes: usize) {
        self.strings.allow(bytes);
    }

    fn allowed(&self) -> usize {
        self.strings.allowed()
    }
}

/// An element that is being read.
struct Element<'r, 'a> {
    reader: &'r mut Reader<'a>,
    strings: &'r mut Strings,
}

/// The value of an attribute.
enum Found {
    Value(Attribute),
    Bytes(Vec<u8>),
}

impl<'a> Element<'_, 'a> {
    /// A map's key. `None` for a key that is no number: its value is stepped over too.
    fn key(&mut self) -> Result<Option<u64>, DecodeError> {
        match self.reader.value()? {
            key @ (Value::Uint(_) | Value::Int(_) | Value::Float(_)) => Ok(Some(key.to_count())),
            other => {
                self.strings.skip_rest(self.reader, &other)?;
                self.skip().map(|()| None)
            }
        }
    }

    fn text(&mut self) -> Result<Text, DecodeError> {
        self.strings.read(self.reader)
    }

    fn scalar(&mut self) -> Result<Value<'a>, DecodeError> {
        self.strings.scalar(self.reader)
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        self.strings.skip(self.reader)
    }

    /// 128 bits, the upper half first. Fewer bytes are the lower ones; a number is taken as the lower half.
    fn trace_id(&mut self) -> Result<u128, DecodeError> {
        Ok(match self.scalar()? {
            Value::Binary(bytes) => bytes.iter().fold(0, |id, byte| id << 8 | u128::from(*byte)),
            other => other.to_id().into(),
        })
    }

    /// How it was decided: tracers send the number, which the tag has with a dash before it. An index of a
    /// text that is the tag's value is taken for that text.
    fn mechanism(&mut self) -> Result<Text, DecodeError> {
        Ok(match self.scalar()? {
            Value::Text(text) => text.into_owned().into(),
            number @ (Value::Uint(_) | Value::Int(_) | Value::Float(_)) => {
                let named = self.strings.at(&number);
                match named.strip_prefix('-').is_some_and(|rest| rest.parse::<u8>().is_ok()) {
                    true => named.to_owned().into(),
                    false => format!("-{}", number.to_count()).into(),
                }
            }
            _ => Text::default(),
        })
    }

    /// `None` for what is no map, and when there is no room for more text.
    fn span(&mut self) -> Result<Option<Fields>, DecodeError> {
        let Some(pairs) = self.strings.map(self.reader)? else { return Ok(None) };
        let mut fields = Fields::default();
        let mut promoted: [(&str, Text); 4] =
            [keys::trace::ENV, keys::trace::VERSION, "component", keys::trace::SPAN_KIND]
                .map(|key| (key, Text::default()));
        let [env, version, component, span_kind] = &mut promoted;
        for _ in 0..pairs {
            let Some(key) = self.key()? else { continue };
            match key {
                field::span::SERVICE => fields.service = self.text()?,
                field::span::NAME => fields.name = self.text()?,
                field::span::RESOURCE => fields.resource = self.text()?,
                field::span::SPAN_ID => fields.span_id = self.scalar()?.to_id(),
                field::span::PARENT_ID => fields.parent_id = self.scalar()?.to_id(),
                field::span::START => fields.start = self.scalar()?.to_count(),
                field::span::DURATION => fields.duration = self.scalar()?.to_count(),
                field::span::ERROR => fields.error = self.scalar()?.to_float().is_some_and(|n| n != 0.0),
                field::span::ATTRIBUTES => self.span_attributes(&mut fields)?,
                field::span::TYPE => fields.kind = self.text()?,
                field::span::LINKS => fields.links = self.list(Self::link)?,
                field::span::EVENTS => fields.events = self.list(Self::event)?,
                field::span::ENV => env.1 = self.text()?,
                field::span::VERSION => version.1 = self.text()?,
                field::span::COMPONENT => component.1 = self.text()?,
                field::span::KIND => {
                    let number = usize::try_from(self.scalar()?.to_count()).unwrap_or(usize::MAX);
                    span_kind.1 = KINDS.get(number).copied().unwrap_or_default().into();
                }
                _ => self.skip()?,
            }
        }
        for (key, value) in promoted.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !fields.meta.contains(key) {
                fields.meta.push(key.to_owned().into(), value);
            }
        }
        Ok((!self.strings.take_shortage()).then_some(fields))
    }

    fn list<T>(
        &mut self,
        element: impl Fn(&mut Self, u32) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut all = Vec::new();
        for _ in 0..self.strings.array(self.reader)? {
            if let Some(pairs) = self.strings.map(self.reader)? {
                all.push(element(self, pairs)?);
            }
        }
        Ok(all)
    }

    fn link(&mut self, pairs: u32) -> Result<SpanLink, DecodeError> {
        let (mut trace, mut span_id) = (0, 0);
        let (mut attributes, mut tracestate, mut flags) = (Tags::new(), Text::default(), 0);
        for _ in 0..pairs {
            let Some(key) = self.key()? else { continue };
            match key {
                field::link::TRACE_ID => trace = self.trace_id()?,
                field::link::SPAN_ID => span_id = self.scalar()?.to_id(),
                field::link::ATTRIBUTES => attributes = self.tags()?,
                field::link::TRACESTATE => tracestate = self.text()?,
                field::link::FLAGS => flags = u32::try_from(self.scalar()?.to_count()).unwrap_or(0),
                _ => self.skip()?,
            }
        }
        let (trace_id, span_id) = (TraceId::new((trace >> 64) as u64, trace as u64), SpanId::new(span_id));
        Ok(SpanLink { trace_id, span_id, attributes, tracestate, flags })
    }

    fn event(&mut self, pairs: u32) -> Result<SpanEvent, DecodeError> {
        let mut event =
            SpanEvent { time: UnixNanos::default(), name: Text::default(), attributes: Tags::new() };
        for _ in 0..pairs {
            let Some(key) = self.key()? else { continue };
            match key {
                field::event::TIME => event.time = UnixNanos(self.scalar()?.to_count()),
                field::event::NAME => event.name = self.text()?,
                field::event::ATTRIBUTES => {
                    let attributes = &mut event.attributes;
                    self.attributes(|key, value| attributes.push(key, value.into_attribute()))?;
                }
                _ => self.skip()?,
            }
        }
        Ok(event)
    }

    fn span_attributes(&mut self, fields: &mut Fields) -> Result<(), DecodeError> {
        self.attributes(|key, value| match value {
            Found::Value(Attribute::Double(n)) => fields.metrics.push(key, n),
            Found::Value(Attribute::Int(n)) => fields.metrics.push(key, n as f64),
            Found::Value(Attribute::Text(text)) => fields.meta.push(key, text),
            Found::Value(other) => fields.meta.push(key, other.to_string().into()),
            Found::Bytes(bytes) => fields.meta_struct.push(key, bytes),
        })
    }

    fn tags(&mut self) -> Result<Tags<Text>, DecodeError> {
        let mut tags = Tags::new();
        self.attributes(|key, value| match value.into_attribute() {
            Attribute::Text(text) => tags.push(key, text),
            other => tags.push(key, other.to_string().into()),
        })?;
        Ok(tags)
    }

    /// An array of keys, types and values in turn.
    fn attributes(&mut self, mut each: impl FnMut(Text, Found)) -> Result<(), DecodeError> {
        let elements = self.strings.array(self.reader)?;
        for _ in 0..elements / 3 {
            let key = self.text()?;
            if let Some(value) = self.attribute()? {
                each(key, value);
            }
        }
        (0..elements % 3).try_for_each(|_| self.skip())
    }

    /// `None` for a type that is not known.
    fn attribute(&mut self) -> Result<Option<Found>, DecodeError> {
        let kind = self.scalar()?.to_count();
        Ok(Some(Found::Value(match kind {
            kind::TEXT => Attribute::Text(self.text()?),
            kind::BOOL => Attribute::Bool(self.scalar()?.to_float().is_some_and(|n| n != 0.0)),
            kind::DOUBLE => Attribute::Double(self.scalar()?.to_float().unwrap_or(0.0)),
            kind::INT => match self.scalar()? {
                Value::Int(n) => Attribute::Int(n),
                Value::Uint(n) => i64::try_from(n).map_or(Attribute::Double(n as f64), Attribute::Int),
                other => Attribute::Int(other.to_float().unwrap_or(0.0) as i64),
            },
            kind::BYTES => match self.reader.value()? {
                Value::Binary(bytes) => return Ok(Some(Found::Bytes(bytes.to_vec()))),
                other => return self.strings.skip_rest(self.reader, &other).map(|()| None),
            },
            kind::ARRAY | kind::MAP => whole(self.json(kind, 1)?),
            _ => return self.skip().map(|()| None),
        })))
    }

    /// The value of a list or a map, or in one.
    fn json(&mut self, kind: u64, depth: u32) -> Result<Json, DecodeError> {
        let per = match kind {
            kind::ARRAY => 2,
            kind::MAP => 3,
            _ => return self.json_scalar(kind),
        };
        if depth > MAX_DEPTH {
            return self.skip().map(|()| Json::Null);
        }
        let elements = self.strings.array(self.reader)?;
        let (mut list, mut map) = (Vec::new(), serde_json::Map::new());
        for _ in 0..elements / per {
            let key = if per == 3 { self.text()? } else { Text::default() };
            let kind = self.scalar()?.to_count();
            let value = self.json(kind, depth + 1)?;
            if per == 3 {
                map.insert(key.into_owned(), value);
            } else {
                list.push(value);
            }
        }
        (0..elements % per).try_for_each(|_| self.skip())?;
        Ok(if per == 3 { Json::Object(map) } else { Json::Array(list) })
    }

    fn json_scalar(&mut self, kind: u64) -> Result<Json, DecodeError> {
        if kind == kind::TEXT {
            return self.text().map(|text| Json::String(text.into_owned()));
        }
        if !matches!(kind, kind::BOOL | kind::DOUBLE | kind::INT | kind::BYTES) {
            return self.skip().map(|()| Json::Null);
        }
        Ok(match self.scalar()? {
            Value::Bool(yes) => yes.into(),
            Value::Uint(n) => n.into(),
            Value::Int(n) => n.into(),
            Value::Float(n) => n.into(),
            Value::Binary(bytes) => BASE64_STANDARD.encode(bytes).into(),
            _ => Json::Null,
        })
    }
}

impl Found {
    fn into_attribute(self) -> Attribute {
        match self {
            Self::Value(value) => value,
            Self::Bytes(bytes) => Attribute::Text(BASE64_STANDARD.encode(bytes).into()),
        }
    }
}

/// A list of scalars as such, anything deeper as JSON text.
fn whole(json: Json) -> Attribute {
    let scalar = |value: &Json| {
        Some(match value {
            Json::String(text) => Attribute::Text(text.clone().into()),
            Json::Bool(yes) => Attribute::Bool(*yes),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Attribute::Int(n),
                None => Attribute::Double(n.as_f64()?),
            },
            Json::Null | Json::Array(_) | Json::Object(_) => return None,
        })
    };
    let list = json.as_array().and_then(|all| all.iter().map(scalar).collect());
    list.map_or_else(|| Attribute::Text(json.to_string().into()), Attribute::List)
}
