//! Ids as people and logs write them, and as the JSON answers carry them.

use model::{SpanId, TraceId, UnixNanos};
use serde::Serializer;

/// Reads 32 hex digits; 16 hex digits with a letter among them; or decimal digits (the low half). The high half
/// is zero when it is not given.
pub fn parse_trace_id(text: &str) -> Option<TraceId> {
    if text.len() == 32 {
        return u128::from_str_radix(text, 16).ok().and_then(TraceId::from_u128);
    }
    TraceId::new(0, parse_u64(text)?)
}

/// Reads a span id in decimal, or in hex when it is 16 digits with a letter among them.
pub fn parse_span_id(text: &str) -> Option<SpanId> {
    SpanId::new(parse_u64(text)?)
}

fn parse_u64(text: &str) -> Option<u64> {
    if text.bytes().any(|b| !b.is_ascii_alphanumeric()) {
        return None;
    }
    let hex = || (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok())?;
    text.parse().ok().or_else(hex)
}

/// Whether `asked` means `id`: both halves, or the low half where only that is known.
pub(crate) fn same_trace(asked: TraceId, id: TraceId) -> bool {
    asked.low() == id.low() && (asked.high() == 0 || id.high() == 0 || asked.high() == id.high())
}

pub(crate) fn trace<S: Serializer>(id: &TraceId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

pub(crate) fn trace_option<S: Serializer>(id: &Option<TraceId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.collect_str(id),
        None => to.serialize_none(),
    }
}

/// Decimal text: JavaScript's numbers do not hold 64 bits.
pub(crate) fn span<S: Serializer>(id: &SpanId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&id.get())
}

pub(crate) fn span_option<S: Serializer>(id: &Option<SpanId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.collect_str(&id.get()),
        None => to.serialize_none(),
    }
}

pub(crate) fn time<S: Serializer>(time: &UnixNanos, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339_millis())
}

#[cfg(test)]
mod tests {
    use super::{parse_span_id, parse_trace_id};

    #[test]
    fn ids_in_every_form() {
        let check = |text: &str, want: Option<u128>| {
            assert_eq!(parse_trace_id(text).map(model::TraceId::to_u128), want, "{text}");
        };
        check("66a1b2c300000000112210f47de98115", Some(0x66a1_b2c3_0000_0000_1122_10f4_7de9_8115));
        check("112210f47de98115", Some(0x1122_10f4_7de9_8115));
        check("1234567890123456789", Some(1_234_567_890_123_456_789));
        check("1234567890123456", Some(1_234_567_890_123_456));
        for none in ["", "0", "+5", "-5", "xyz", "00000000000000000000000000000000", "99999999999999999999"] {
            check(none, None);
        }
        assert_eq!(parse_span_id("00000000000000ff").map(model::SpanId::get), Some(255));
    }
}
