//! Spans to v1.0 bytes, as a tracer would write them: for tests.

use std::collections::HashMap;

use model::{Attribute, Chunk, Span, TraceId, TracerInfo};
use rmp::encode;

use super::{field, kind};
use crate::v04::{Written, len};

/// Writes the body of a `/v1.0/traces` request. The spans of a chunk have its first span's trace id.
pub fn encode(tracer: &TracerInfo, chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Out { body: Vec::new(), written: HashMap::new() };
    let written = out.payload(tracer, chunks);
    debug_assert!(written.is_ok(), "a vector takes all");
    out.body
}

struct Out<'a> {
    body: Vec<u8>,
    written: HashMap<&'a str, u32>,
}

impl<'a> Out<'a> {
    fn key(&mut self, key: u64) -> Written {
        encode::write_uint(&mut self.body, key).map(drop)
    }

    fn uint(&mut self, key: u64, value: u64) -> Written {
        self.key(key)?;
        encode::write_uint(&mut self.body, value).map(drop)
    }

    /// Written out the first time, by its index from then on.
    fn text(&mut self, text: &'a str) -> Written {
        if text.is_empty() {
            return encode::write_uint(&mut self.body, 0).map(drop);
        }
        let next = len(self.written.len()) + 1;
        match self.written.get(text) {
            Some(index) => encode::write_uint(&mut self.body, (*index).into()).map(drop),
            None => {
                self.written.insert(text, next);
                encode::write_str(&mut self.body, text)
            }
        }
    }

    fn texts(&mut self, all: &[(u64, &'a str)]) -> Written {
        all.iter().try_for_each(|(key, text)| {
            self.key(*key)?;
            self.text(text)
        })
    }

    fn trace_id(&mut self, key: u64, id: Option<TraceId>) -> Written {
        self.key(key)?;
        encode::write_bin(&mut self.body, &id.map_or(0, TraceId::to_u128).to_be_bytes())
    }

    fn payload(&mut self, tracer: &'a TracerInfo, chunks: &'a [Chunk]) -> Written {
        encode::write_map_len(&mut self.body, 5)?;
        self.texts(&[
            (field::payload::CONTAINER_ID, &tracer.container_id),
            (field::payload::LANGUAGE, &tracer.language),
            (field::payload::LANGUAGE_VERSION, &tracer.language_version),
            (field::payload::TRACER_VERSION, &tracer.tracer_version),
        ])?;
        self.key(field::payload::CHUNKS)?;
        encode::write_array_len(&mut self.body, len(chunks.len()))?;
        for chunk in chunks {
            encode::write_map_len(&mut self.body, 2)?;
            self.key(field::chunk::SPANS)?;
            encode::write_array_len(&mut self.body, len(chunk.spans.len()))?;
            chunk.spans.iter().try_for_each(|span| self.span(span))?;
            self.trace_id(field::chunk::TRACE_ID, chunk.spans.first().map(|span| span.trace_id))?;
        }
        Ok(())
    }

    fn span(&mut self, span: &'a Span) -> Written {
        encode::write_map_len(&mut self.body, 12)?;
        self.texts(&[
            (field::span::SERVICE, &span.service),
            (field::span::NAME, &span.name),
            (field::span::RESOURCE, &span.resource),
            (field::span::TYPE, &span.kind),
        ])?;
        self.uint(field::span::SPAN_ID, span.span_id.get())?;
        self.uint(field::span::PARENT_ID, span.parent_id.map_or(0, model::SpanId::get))?;
        self.uint(field::span::START, span.start.as_nanos())?;
        self.uint(field::span::DURATION, u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX))?;
        self.key(field::span::ERROR)?;
        encode::write_bool(&mut self.body, span.error)
            .map_err(encode::ValueWriteError::InvalidMarkerWrite)?;
        self.key(field::span::ATTRIBUTES)?;
        let attributes = span.meta.len() + span.metrics.len() + span.meta_struct.len();
        encode::write_array_len(&mut self.body, len(attributes * 3))?;
        for (key, value) in span.meta.iter() {
            self.text(key)?;
            self.key(kind::TEXT)?;
            self.text(value)?;
        }
        for (key, value) in span.metrics.iter() {
            self.text(key)?;
            self.key(kind::DOUBLE)?;
            encode::write_f64(&mut self.body, *value)?;
        }
        for (key, value) in span.meta_struct.iter() {
            self.text(key)?;
            self.key(kind::BYTES)?;
            encode::write_bin(&mut self.body, value)?;
        }
        self.links(span)?;
        self.events(span)
    }

    fn links(&mut self, span: &'a Span) -> Written {
        self.key(field::span::LINKS)?;
        encode::write_array_len(&mut self.body, len(span.links.len()))?;
        for link in &span.links {
            encode::write_map_len(&mut self.body, 5)?;
            self.trace_id(field::link::TRACE_ID, link.trace_id)?;
            self.uint(field::link::SPAN_ID, link.span_id.map_or(0, model::SpanId::get))?;
            self.uint(field::link::FLAGS, link.flags.into())?;
            self.texts(&[(field::link::TRACESTATE, &link.tracestate)])?;
            self.key(field::link::ATTRIBUTES)?;
            encode::write_array_len(&mut self.body, len(link.attributes.len() * 3))?;
            for (key, value) in link.attributes.iter() {
                self.text(key)?;
                self.key(kind::TEXT)?;
                self.text(value)?;
            }
        }
        Ok(())
    }

    fn events(&mut self, span: &'a Span) -> Written {
        self.key(field::span::EVENTS)?;
        encode::write_array_len(&mut self.body, len(span.events.len()))?;
        for event in &span.events {
            encode::write_map_len(&mut self.body, 3)?;
            self.uint(field::event::TIME, event.time.as_nanos())?;
            self.texts(&[(field::event::NAME, &event.name)])?;
            self.key(field::event::ATTRIBUTES)?;
            encode::write_array_len(&mut self.body, len(event.attributes.len() * 3))?;
            for (key, value) in event.attributes.iter() {
                self.text(key)?;
                self.attribute(value)?;
            }
        }
        Ok(())
    }

    fn attribute(&mut self, value: &'a Attribute) -> Written {
        match value {
            Attribute::Text(text) => {
                self.key(kind::TEXT)?;
                self.text(text)
            }
            Attribute::Bool(yes) => {
                self.key(kind::BOOL)?;
                encode::write_bool(&mut self.body, *yes).map_err(encode::ValueWriteError::InvalidMarkerWrite)
            }
            Attribute::Int(n) => {
                self.key(kind::INT)?;
                encode::write_sint(&mut self.body, *n).map(drop)
            }
            Attribute::Double(n) => {
                self.key(kind::DOUBLE)?;
                encode::write_f64(&mut self.body, *n)
            }
            Attribute::List(all) => {
                self.key(kind::ARRAY)?;
                encode::write_array_len(&mut self.body, len(all.len() * 2))?;
                all.iter().try_for_each(|one| self.attribute(one))
            }
        }
    }
}
