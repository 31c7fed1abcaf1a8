//! Spans to v0.4 bytes.

use model::{Attribute, Chunk, Span, SpanEvent, SpanLink, Tags, Text};
use rmp::encode::{self, ValueWriteError};

/// What writing into a vector can fail with: nothing, but `rmp` cannot know.
pub(crate) type Written = Result<(), ValueWriteError>;

/// Writes the body of a `/v0.4/traces` request. Trace ids keep their low half only: the high half travels as
/// the tag `_dd.p.tid`, which whoever makes the spans has to set.
pub fn encode(chunks: &[Chunk]) -> Vec<u8> {
    let mut body = Vec::with_capacity(chunks.iter().map(Chunk::weight).sum::<usize>() + 128);
    let written = write(&mut body, chunks);
    debug_assert!(written.is_ok(), "a vector takes all");
    body
}

fn write(body: &mut Vec<u8>, chunks: &[Chunk]) -> Written {
    encode::write_array_len(body, len(chunks.len()))?;
    for chunk in chunks {
        encode::write_array_len(body, len(chunk.spans.len()))?;
        for span in &chunk.spans {
            write_span(body, span)?;
        }
    }
    Ok(())
}

pub(crate) fn write_span(body: &mut Vec<u8>, span: &Span) -> Written {
    let optional = [!span.meta_struct.is_empty(), !span.links.is_empty(), !span.events.is_empty()];
    encode::write_map_len(body, 12 + optional.iter().map(|there| u32::from(*there)).sum::<u32>())?;
    for (key, text) in
        [("service", &span.service), ("name", &span.name), ("resource", &span.resource), ("type", &span.kind)]
    {
        encode::write_str(body, key)?;
        encode::write_str(body, text)?;
    }
    for (key, n) in [
        ("trace_id", span.trace_id.low()),
        ("span_id", span.span_id.get()),
        ("parent_id", span.parent_id.map_or(0, model::SpanId::get)),
        ("start", span.start.as_nanos()),
        ("duration", u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX)),
        ("error", u64::from(span.error)),
    ] {
        encode::write_str(body, key)?;
        encode::write_uint(body, n)?;
    }
    encode::write_str(body, "meta")?;
    write_tags(body, &span.meta)?;
    encode::write_str(body, "metrics")?;
    encode::write_map_len(body, len(span.metrics.len()))?;
    for (key, value) in span.metrics.iter() {
        encode::write_str(body, key)?;
        encode::write_f64(body, *value)?;
    }
    write_optional(body, span, optional)
}

fn write_optional(body: &mut Vec<u8>, span: &Span, [structs, links, events]: [bool; 3]) -> Written {
    if structs {
        encode::write_str(body, "meta_struct")?;
        encode::write_map_len(body, len(span.meta_struct.len()))?;
        for (key, value) in span.meta_struct.iter() {
            encode::write_str(body, key)?;
            encode::write_bin(body, value)?;
        }
    }
    if links {
        encode::write_str(body, "span_links")?;
        encode::write_array_len(body, len(span.links.len()))?;
        span.links.iter().try_for_each(|link| write_link(body, link))?;
    }
    if events {
        encode::write_str(body, "span_events")?;
        encode::write_array_len(body, len(span.events.len()))?;
        span.events.iter().try_for_each(|event| write_event(body, event))?;
    }
    Ok(())
}

fn write_link(body: &mut Vec<u8>, link: &SpanLink) -> Written {
    encode::write_map_len(body, 6)?;
    for (key, n) in [
        ("trace_id", link.trace_id.map_or(0, model::TraceId::low)),
        ("trace_id_high", link.trace_id.map_or(0, model::TraceId::high)),
        ("span_id", link.span_id.map_or(0, model::SpanId::get)),
        ("flags", link.flags.into()),
    ] {
        encode::write_str(body, key)?;
        encode::write_uint(body, n)?;
    }
    encode::write_str(body, "tracestate")?;
    encode::write_str(body, &link.tracestate)?;
    encode::write_str(body, "attributes")?;
    write_tags(body, &link.attributes)
}

fn write_event(body: &mut Vec<u8>, event: &SpanEvent) -> Written {
    encode::write_map_len(body, 3)?;
    encode::write_str(body, "time_unix_nano")?;
    encode::write_uint(body, event.time.as_nanos())?;
    encode::write_str(body, "name")?;
    encode::write_str(body, &event.name)?;
    encode::write_str(body, "attributes")?;
    encode::write_map_len(body, len(event.attributes.len()))?;
    for (key, value) in event.attributes.iter() {
        encode::write_str(body, key)?;
        write_attribute(body, value)?;
    }
    Ok(())
}

/// A map of the type's number and the field that the type has.
fn write_attribute(body: &mut Vec<u8>, value: &Attribute) -> Written {
    let (kind, field) = match value {
        Attribute::Text(_) => (0, "string_value"),
        Attribute::Bool(_) => (1, "bool_value"),
        Attribute::Int(_) => (2, "int_value"),
        Attribute::Double(_) => (3, "double_value"),
        Attribute::List(_) => (4, "array_value"),
    };
    encode::write_map_len(body, 2)?;
    encode::write_str(body, "type")?;
    encode::write_uint(body, kind)?;
    encode::write_str(body, field)?;
    match value {
        Attribute::Text(text) => encode::write_str(body, text)?,
        Attribute::Bool(yes) => encode::write_bool(body, *yes).map_err(ValueWriteError::InvalidDataWrite)?,
        Attribute::Int(n) => drop(encode::write_sint(body, *n)?),
        Attribute::Double(n) => encode::write_f64(body, *n)?,
        Attribute::List(all) => {
            encode::write_map_len(body, 1)?;
            encode::write_str(body, "values")?;
            encode::write_array_len(body, len(all.len()))?;
            all.iter().try_for_each(|one| write_attribute(body, one))?;
        }
    }
    Ok(())
}

pub(crate) fn write_tags(body: &mut Vec<u8>, tags: &Tags<Text>) -> Written {
    encode::write_map_len(body, len(tags.len()))?;
    tags.iter().try_for_each(|(key, value)| {
        encode::write_str(body, key)?;
        encode::write_str(body, value)
    })
}

/// More than four thousand million elements do not fit in memory.
pub(crate) fn len(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
