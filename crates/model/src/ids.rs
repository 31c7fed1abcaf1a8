//! Ids. Each is valid by construction: absent is `Option`, never zero or "".

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

/// A 128-bit trace id whose low 64 bits are not zero.
///
/// Datadog keys traces by the low half (the id field of every span); the high half travels beside it as
/// the tag `_dd.p.tid`. A span decoded from such a format has a high half of zero until its chunk's tag
/// is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId {
    high: u64,
    low: NonZeroU64,
}

impl TraceId {
    /// `None` when the low half is zero.
    pub fn new(high: u64, low: u64) -> Option<Self> {
        NonZeroU64::new(low).map(|low| Self { high, low })
    }

    pub fn from_u128(id: u128) -> Option<Self> {
        Self::new((id >> 64) as u64, id as u64)
    }

    pub fn low(self) -> u64 {
        self.low.get()
    }

    pub fn high(self) -> u64 {
        self.high
    }

    pub fn to_u128(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low.get())
    }

    /// The same trace with another high half.
    pub fn with_high(self, high: u64) -> Self {
        Self { high, ..self }
    }
}

/// 32 lower-case hex digits, as in `traceparent` and in logs.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// A span id, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// 16 lower-case hex digits, as in `traceparent`. Datadog headers carry it in decimal: use [`SpanId::get`].
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// The id of one Lambda invocation, the same for every attempt of an asynchronous one. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// `None` for an empty string.
    pub fn new(id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self(id.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.0)
    }
}

/// An Amazon resource name, `arn:partition:service:region:account:resource`. Only the shape is known
/// here, not whether such a resource exists.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Arn(Arc<str>);

impl Arn {
    /// `None` unless it starts with `arn:` and has all six parts.
    pub fn new(arn: &str) -> Option<Self> {
        (arn.starts_with("arn:") && arn.splitn(6, ':').count() == 6).then(|| Self(arn.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn partition(&self) -> &str {
        self.part(1)
    }

    pub fn service(&self) -> &str {
        self.part(2)
    }

    pub fn region(&self) -> &str {
        self.part(3)
    }

    pub fn account(&self) -> &str {
        self.part(4)
    }

    /// All behind the account: `function:name:version`, a queue's name, `table/name/stream/…`.
    pub fn resource(&self) -> &str {
        self.part(5)
    }

    fn part(&self, n: usize) -> &str {
        self.0.splitn(6, ':').nth(n).unwrap_or_default()
    }

    /// The partition that a region belongs to: `aws`, `aws-cn` or `aws-us-gov`.
    pub fn partition_of(region: &str) -> &'static str {
        match region {
            r if r.starts_with("us-gov-") => "aws-us-gov",
            r if r.starts_with("cn-") => "aws-cn",
            _ => "aws",
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arn({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_needs_a_low_half() {
        assert_eq!(TraceId::new(1, 0), None);
        let id = TraceId::from_u128(0x66a1b2c300000000112210f47de98115).unwrap();
        assert_eq!(id.low(), 1_234_567_890_123_456_789);
        assert_eq!(id.to_string(), "66a1b2c300000000112210f47de98115");
        assert_eq!(TraceId::from_u128(id.to_u128()), Some(id));
    }

    #[test]
    fn an_arn_is_taken_apart() {
        let arn = Arn::new("arn:aws:lambda:eu-west-1:123456789012:function:orders:7").unwrap();
        assert_eq!((arn.partition(), arn.service(), arn.region()), ("aws", "lambda", "eu-west-1"));
        assert_eq!((arn.account(), arn.resource()), ("123456789012", "function:orders:7"));
        assert_eq!(Arn::new("arn:aws:lambda"), None);
        assert_eq!(Arn::new(""), None);
    }
}
