//! The `x-datadog-*` headers. Ids are decimal and 64 bits; the high half of the trace id is the tag
//! `_dd.p.tid` in `x-datadog-tags`.

use std::fmt::Write;

use model::keys::{headers, trace};
use model::{SamplingPriority, SpanId, Tags, Text, TraceId};

use crate::text::{cleaned, hex, printable};
use crate::{Carrier, CarrierMut, TraceContext};

/// The longest `x-datadog-tags` that is read or written, in bytes: the limit of Datadog's tracers.
const MAX_TAGS: usize = 512;
/// Origins are words: `rum`, `synthetics-browser`. What is longer than this is not one.
const MAX_ORIGIN: usize = 256;

pub(crate) fn read<C: Carrier + ?Sized>(carrier: &C) -> Option<TraceContext> {
    let low = carrier.get(headers::TRACE_ID)?.trim().parse().ok()?;
    let trace_id = TraceId::new(0, low)?;
    let span_id = carrier.get(headers::PARENT_ID).and_then(|id| SpanId::new(id.trim().parse().ok()?));
    let mut context = TraceContext::new(trace_id, span_id);
    context.priority = carrier.get(headers::SAMPLING_PRIORITY).and_then(|p| priority(&p));
    let origin = carrier.get(headers::ORIGIN).filter(|o| (1..=MAX_ORIGIN).contains(&o.len()));
    context.origin = origin.map(|o| Text::Owned(o.into_owned()));
    match carrier.get(headers::TAGS) {
        Some(tags) if tags.len() > MAX_TAGS => {
            context.tags.insert(trace::PROPAGATION_ERROR, "extract_max_size");
        }
        Some(tags) => read_tags(&tags, &mut context),
        None => {}
    }
    Some(context)
}

pub(crate) fn write<C: CarrierMut + ?Sized>(context: &TraceContext, carrier: &mut C) {
    carrier.set(headers::TRACE_ID, context.trace_id.low().to_string());
    if let Some(id) = context.span_id {
        carrier.set(headers::PARENT_ID, id.get().to_string());
    }
    if let Some(priority) = context.priority {
        carrier.set(headers::SAMPLING_PRIORITY, priority.as_i8().to_string());
    }
    if let Some(origin) = &context.origin {
        carrier.set(headers::ORIGIN, cleaned(origin, printable).into_owned());
    }
    let tags = write_tags(context);
    if !tags.is_empty() && tags.len() <= MAX_TAGS {
        carrier.set(headers::TAGS, tags);
    }
}

/// Some producers write it as `1.0`.
fn priority(text: &str) -> Option<SamplingPriority> {
    let text = text.trim();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok().map(SamplingPriority::from_i64)
}

fn read_tags(text: &str, context: &mut TraceContext) {
    for pair in text.split(',') {
        let Some((key, value)) = pair.trim().split_once('=') else { continue };
        if key == trace::TID {
            // A malformed one is discarded, and the low half kept, as the tracers do.
            if let Some(high) = hex(value, 16) {
                context.trace_id = context.trace_id.with_high(high);
            }
        } else if is_travelling(key, value) {
            context.tags.insert(key.to_owned(), value.to_owned());
        }
    }
}

fn write_tags(context: &TraceContext) -> String {
    let mut out = String::new();
    for (key, value) in travelling(&context.tags) {
        let _ = write!(out, ",{key}={value}");
    }
    if context.trace_id.high() != 0 {
        let _ = write!(out, ",{}={:016x}", trace::TID, context.trace_id.high());
    }
    out.strip_prefix(',').unwrap_or_default().to_owned()
}

/// The tags that go to the next service and that a header can hold.
pub(crate) fn travelling(tags: &Tags<Text>) -> impl Iterator<Item = (&Text, &Text)> {
    tags.iter().filter(|(k, v)| *k != trace::TID && is_travelling(k, v))
}

pub(crate) fn is_travelling(key: &str, value: &str) -> bool {
    let key_char = |c| matches!(c, '!'..='~') && c != ',' && c != '=';
    let decision =
        |v: &str| v.strip_prefix('-').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    key.strip_prefix(trace::PROPAGATED_PREFIX).is_some_and(|k| !k.is_empty() && k.chars().all(key_char))
        && !value.is_empty()
        && value.chars().all(|c| printable(c) && c != ',')
        && (key != trace::DECISION_MAKER || decision(value))
}
