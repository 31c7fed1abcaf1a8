//! The tracers' protocol `/v0.4/traces`: a msgpack array of chunks, each an array of spans, each a map.
//!
//! [`decode`] serves the extension and takes what tracers of any language send (numbers of any width or as
//! floats, nulls, unknown fields); [`encode`] serves the library. Which spans are wanted is not decided
//! here, but a span without a trace id or span id cannot exist in `model`: it is dropped and counted.

mod cut;
mod decode;
mod encode;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use model::{Chunk, keys};

pub(crate) use cut::Cutter;
pub use decode::decode;
pub(crate) use decode::{Fields, span, tags, text, trusted};
pub use encode::encode;
pub(crate) use encode::{Written, len, write_span, write_tags};

/// What a request body held.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Decoded {
    /// In the order sent; chunks that kept no span are left out.
    pub chunks: Vec<Chunk>,
    /// Spans that had no trace id or no span id, or were no maps; chunks that were no arrays count once.
    pub dropped_spans: u64,
}

/// Why a whole body could not be read. The sender is answered 400; sending it again is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before what it announces.
    Truncated,
    /// It holds the one byte that msgpack never uses.
    Reserved,
    /// It is something else than an array.
    NotTraces,
    /// It has a span that is larger than is taken, or a trace where that cannot be cut.
    TooLarge,
    /// It has more texts than are kept, which its spans name by number.
    TooMuchText,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the body ends too early",
            Self::Reserved => "the body is not msgpack",
            Self::NotTraces => "the body is not an array of traces",
            Self::TooLarge => "a span is larger than is taken",
            Self::TooMuchText => "the body has more texts than are kept",
        })
    }
}

impl std::error::Error for DecodeError {}

/// The high half of a chunk's 128-bit trace id: the tag `_dd.p.tid` of the first span that has one, which
/// must be exactly 16 lower-case hex digits. Span ids in v0.4 carry the low half only.
///
/// ```
/// use model::{Chunk, Span, SpanId, TraceId};
/// let (trace, span) = (TraceId::new(0, 7).unwrap(), SpanId::new(8).unwrap());
/// let mut root = Span::new("aws.lambda", trace, span, None);
/// root.meta.insert("_dd.p.tid", "66a1b2c300000000");
/// assert_eq!(wire::v04::trace_id_high(&Chunk { spans: vec![root] }), Some(0x66a1b2c300000000));
/// ```
pub fn trace_id_high(chunk: &Chunk) -> Option<u64> {
    let tid = chunk.spans.iter().find_map(|span| span.meta.get(keys::trace::TID))?;
    let strict = tid.len() == 16 && tid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(tid, 16).ok().filter(|high| strict && *high != 0)
}
