//! Random ids and the clock. Ids come from the operating system each time, not from a generator kept in
//! memory: sandboxes restored from one snapshot must not make the same ids.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use model::{SpanId, TraceId, UnixNanos};
use opentelemetry::trace as otel;
use opentelemetry_sdk::trace::IdGenerator;

pub(crate) fn now() -> UnixNanos {
    nanos(SystemTime::now())
}

/// A time before 1970 is 1970.
pub(crate) fn nanos(time: SystemTime) -> UnixNanos {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Never zero.
fn random() -> u64 {
    // Without a source of randomness: std's hash keys and the time.
    let n = getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(SystemTime::now()));
    n.max(1)
}

pub(crate) fn span_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(random()) {
            return id;
        }
    }
}

/// The high half of a long one begins with the time in seconds, as in Datadog's tracers; a short one has none.
pub(crate) fn trace_id(long: bool) -> TraceId {
    let high = if long { now().as_secs() << 32 } else { 0 };
    loop {
        if let Some(id) = TraceId::new(high, random()) {
            return id;
        }
    }
}

/// A process's `runtime-id`: a random UUID.
pub(crate) fn uuid() -> String {
    let (a, b) = (random(), random());
    let (a, b) = ((a & !0xf000) | 0x4000, (b & !(3 << 62)) | (1 << 63));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

/// Ids for the OpenTelemetry SDK.
#[derive(Debug)]
pub(crate) struct SystemIds {
    /// Trace ids have 128 bits.
    pub(crate) long: bool,
}

impl IdGenerator for SystemIds {
    fn new_trace_id(&self) -> otel::TraceId {
        to_otel_trace(trace_id(self.long))
    }

    fn new_span_id(&self) -> otel::SpanId {
        to_otel_span(span_id())
    }
}

pub(crate) fn to_otel_trace(id: TraceId) -> otel::TraceId {
    otel::TraceId::from(id.to_u128())
}

pub(crate) fn to_otel_span(id: SpanId) -> otel::SpanId {
    otel::SpanId::from(id.get())
}

pub(crate) fn from_otel_trace(id: otel::TraceId) -> Option<TraceId> {
    TraceId::from_u128(u128::from_be_bytes(id.to_bytes()))
}

pub(crate) fn from_otel_span(id: otel::SpanId) -> Option<SpanId> {
    SpanId::new(u64::from_be_bytes(id.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_way_to_opentelemetry_and_back() {
        let (trace, span) = (trace_id(true), span_id());
        assert_eq!(from_otel_trace(to_otel_trace(trace)), Some(trace));
        assert_eq!(from_otel_span(to_otel_span(span)), Some(span));
        assert_eq!(to_otel_trace(trace).to_string(), trace.to_string());
        assert_eq!(to_otel_span(span).to_string(), span.to_string());
        assert_ne!(span_id(), span);
        assert_ne!(trace.high(), 0);
        assert_eq!(trace_id(false).high(), 0);
    }

    #[test]
    fn a_uuid_has_version_and_variant() {
        let id = uuid();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
    }
}
