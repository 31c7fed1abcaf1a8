//! Zipkin's B3 headers, in one (`b3`) and in several (`x-b3-*`).
//! <https://github.com/openzipkin/b3-propagation>

use std::borrow::Cow;

use model::{SamplingPriority, SpanId, TraceId};

use crate::text::hex;
use crate::{Carrier, CarrierMut, TraceContext};

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

/// `trace-span`, `trace-span-sampled` or `trace-span-sampled-parent`. A decision alone names no trace.
pub(crate) fn read<C: Carrier + ?Sized>(carrier: &C) -> Option<TraceContext> {
    let header = carrier.get(SINGLE)?;
    let mut parts = header.trim().split('-');
    let trace_id = trace_id(parts.next()?)?;
    let mut context = TraceContext::new(trace_id, Some(span_id(parts.next()?)?));
    context.priority = parts.next().and_then(priority);
    Some(context)
}

pub(crate) fn write<C: CarrierMut + ?Sized>(context: &TraceContext, carrier: &mut C) {
    let Some(span_id) = context.span_id else { return };
    let sampled = context.priority.map(|p| match p {
        SamplingPriority::UserKeep => "-d",
        p if p.is_keep() => "-1",
        _ => "-0",
    });
    carrier.set(SINGLE, format!("{}-{span_id}{}", context.trace_id, sampled.unwrap_or_default()));
}

pub(crate) fn read_multi<C: Carrier + ?Sized>(carrier: &C) -> Option<TraceContext> {
    let text = |name| carrier.get(name);
    let trace_id = trace_id(text(TRACE_ID)?.trim())?;
    let mut context = TraceContext::new(trace_id, text(SPAN_ID).and_then(|id| span_id(id.trim())));
    let debug = text(FLAGS).is_some_and(|flags| flags.trim() == "1");
    let sampled = text(SAMPLED).unwrap_or(Cow::Borrowed(""));
    context.priority = if debug { Some(SamplingPriority::UserKeep) } else { priority(sampled.trim()) };
    Some(context)
}

pub(crate) fn write_multi<C: CarrierMut + ?Sized>(context: &TraceContext, carrier: &mut C) {
    let Some(span_id) = context.span_id else { return };
    carrier.set(TRACE_ID, context.trace_id.to_string());
    carrier.set(SPAN_ID, span_id.to_string());
    match context.priority {
        Some(SamplingPriority::UserKeep) => carrier.set(FLAGS, "1".to_owned()),
        Some(priority) => carrier.set(SAMPLED, u8::from(priority.is_keep()).to_string()),
        None => {}
    }
}

/// 16 or 32 hex digits; Datadog's tracers, and Zipkin's of old, write upper case too.
fn trace_id(text: &str) -> Option<TraceId> {
    let text = text.to_ascii_lowercase();
    match text.split_at_checked(16)? {
        (low, "") => TraceId::new(0, hex(low, 16)?),
        (high, low) => TraceId::new(hex(high, 16)?, hex(low, 16)?),
    }
}

fn span_id(text: &str) -> Option<SpanId> {
    SpanId::new(hex(&text.to_ascii_lowercase(), 16)?)
}

fn priority(sampled: &str) -> Option<SamplingPriority> {
    match sampled {
        "1" | "true" => Some(SamplingPriority::AutoKeep),
        "0" | "false" => Some(SamplingPriority::AutoReject),
        "d" => Some(SamplingPriority::UserKeep),
        _ => None,
    }
}
