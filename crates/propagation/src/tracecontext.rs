//! W3C Trace Context: `traceparent` and `tracestate`. <https://www.w3.org/TR/trace-context/>

use model::keys::headers;
use model::{SamplingPriority, SpanId, TraceId};

use crate::text::hex;
use crate::{Carrier, CarrierMut, TraceContext, tracestate};

pub(crate) fn read<C: Carrier + ?Sized>(carrier: &C) -> Option<TraceContext> {
    let (trace_id, span_id, sampled) = traceparent(carrier.get(headers::TRACEPARENT)?.trim())?;
    let mut context = TraceContext::new(trace_id, Some(span_id));
    let flag = if sampled { SamplingPriority::AutoKeep } else { SamplingPriority::AutoReject };
    context.priority = Some(flag);
    if let Some(state) = carrier.get(headers::TRACESTATE) {
        tracestate::read(&state, &mut context);
    }
    Some(context)
}

pub(crate) fn write<C: CarrierMut + ?Sized>(context: &TraceContext, carrier: &mut C) {
    let Some(span_id) = context.span_id else { return };
    // Undecided counts as kept, as for the headers of Datadog's tracers.
    let sampled = context.priority.is_none_or(SamplingPriority::is_keep);
    carrier.set(headers::TRACEPARENT, format!("00-{}-{span_id}-{:02x}", context.trace_id, u8::from(sampled)));
    if let Some(state) = tracestate::write(context) {
        carrier.set(headers::TRACESTATE, state);
    }
}

/// Trace id, parent id, sampled. Later versions may add fields behind the flags; `ff` is not a version.
fn traceparent(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let mut parts = text.splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let (high, low) = parts.next()?.split_at_checked(16)?;
    let trace_id = TraceId::new(hex(high, 16)?, hex(low, 16)?)?;
    let span_id = SpanId::new(hex(parts.next()?, 16)?)?;
    let flags = hex(parts.next()?, 2)?;
    let tail = parts.next().is_some();
    (version != 0xff && !(version == 0 && tail)).then_some((trace_id, span_id, flags & 1 == 1))
}
