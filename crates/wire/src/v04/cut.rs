//! Cuts a large v0.4 body while it comes in. Looks only for where spans end; reading them is [`super::decode`]'s.

use model::{Span, keys};

use super::{Chunk, DecodeError, encode};
use crate::cut::{MAX_PIECE, MAX_SPAN, PIECE, write_length};
use crate::msgpack::{Reader, Value};

/// A body on its way in: see [`crate::cut::Cutter`].
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// What came and is not in a piece yet.
    held: Vec<u8>,
    /// Bytes of `held` that are in a piece.
    at: usize,
    /// How much of `held` there has to be before it is worth another look.
    wanted: usize,
    /// Traces that are still to come; `None` before the head of the body.
    traces: Option<u32>,
    /// Spans of the open trace that are still to come.
    spans: u32,
    /// What holds for the open trace, from its first span that was taken.
    marks: Marks,
    piece: Piece,
}

/// The piece that is being filled.
#[derive(Debug, Default)]
struct Piece {
    body: Vec<u8>,
    traces: u32,
    /// Where the head of the last trace is, and how many spans that has here.
    open: Option<(usize, u32)>,
}

/// What a trace says once, at its top.
#[derive(Debug, Default)]
struct Marks {
    seen: bool,
    tid: Option<model::Text>,
    priority: Option<f64>,
    /// The trace goes on in another piece: its next span has to say it again.
    again: bool,
}

impl Cutter {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.at > PIECE {
            self.held.drain(..self.at);
            self.wanted = self.wanted.saturating_sub(self.at);
            self.at = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that it has taken and not given.
    pub(crate) fn held(&self) -> usize {
        self.held.len() + self.piece.body.len()
    }

    /// The next piece; `None` when more has to come before there is one.
    ///
    /// # Errors
    /// What came is no v0.4 body, or has a span that is too large.
    pub(crate) fn piece(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        while self.held.len() >= self.wanted {
            let before = self.at;
            match self.step() {
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) if self.is_done() => return Ok(None),
                Ok(None) => {}
                Err(DecodeError::Truncated) => {
                    self.at = before;
                    let open = self.held.len() - before;
                    if open > MAX_SPAN {
                        return Err(DecodeError::TooLarge);
                    }
                    // Twice as much: a large span is not looked at for each part of it that comes.
                    self.wanted = self.held.len() + open.max(1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The last pieces, when all has come.
    ///
    /// # Errors
    /// The body is not whole. What was taken out before was.
    pub(crate) fn finish(mut self) -> Result<Vec<Vec<u8>>, DecodeError> {
        let mut last = Vec::new();
        while !self.is_done() {
            last.extend(self.step()?);
        }
        last.extend(self.piece.take());
        Ok(last)
    }

    fn is_done(&self) -> bool {
        self.traces == Some(0) && self.spans == 0
    }

    /// Takes the next head or span.
    fn step(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        let rest = self.held.get(self.at..).unwrap_or_default();
        let mut reader = Reader::new(rest);
        let Some(traces) = self.traces else {
            self.traces = Some(match reader.value()? {
                Value::Array(traces) => traces,
                Value::Nil => 0,
                _ => return Err(DecodeError::NotTraces),
            });
            self.at += rest.len() - reader.left();
            return Ok(None);
        };
        if self.spans == 0 {
            let Some(left) = traces.checked_sub(1) else { return Ok(None) };
            let spans = match reader.value()? {
                Value::Array(spans) => spans,
                other => {
                    // Whatever it is, it goes on as it is: the decoder counts it.
                    reader.skip_rest(&other)?;
                    let raw = rest.get(..rest.len() - reader.left()).unwrap_or_default();
                    self.piece.put_trace(raw);
                    0
                }
            };
            self.at += rest.len() - reader.left();
            (self.traces, self.spans, self.marks) = (Some(left), spans, Marks::default());
            if spans > 0 {
                self.piece.open_trace();
            }
            return Ok((spans == 0).then(|| self.piece.take_from(PIECE)).flatten());
        }
        reader.skip()?;
        let raw = rest.get(..rest.len() - reader.left()).unwrap_or_default();
        let length = raw.len();
        match self.marks.note(raw) {
            Some(marked) => self.piece.put_span(&marked),
            None => self.piece.put_span(raw),
        }
        self.at += length;
        self.spans -= 1;
        if self.spans == 0 {
            self.piece.open = None;
            return Ok(self.piece.take_from(PIECE));
        }
        let piece = self.piece.take_from(MAX_PIECE);
        if piece.is_some() {
            self.marks.again = true;
            self.piece.open_trace();
        }
        Ok(piece)
    }
}

impl Marks {
    /// Reads a trace's first span; gives the span anew when it has to say what that said.
    fn note(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if self.seen && !self.again {
            return None;
        }
        let mut span: Span = super::span(&mut Reader::new(raw)).ok().flatten()?;
        if !self.seen {
            self.seen = true;
            self.tid = span.meta.get(keys::trace::TID).cloned();
            self.priority = span.metrics.get(keys::trace::SAMPLING_PRIORITY).copied();
            return None;
        }
        self.again = false;
        if let Some(tid) = &self.tid {
            span.meta.insert(keys::trace::TID, tid.clone());
        }
        if let Some(priority) = self.priority {
            span.metrics.insert(keys::trace::SAMPLING_PRIORITY, priority);
        }
        // Without the heads of the body and of the trace, of a byte each.
        encode(&[Chunk { spans: vec![span] }]).get(2..).map(<[u8]>::to_vec)
    }
}

impl Piece {
    fn put_trace(&mut self, raw: &[u8]) {
        self.begin();
        self.open = None;
        self.traces += 1;
        self.body.extend_from_slice(raw);
    }

    fn open_trace(&mut self) {
        self.begin();
        self.traces += 1;
        self.open = Some((self.body.len(), 0));
        self.body.extend_from_slice(&[0xdd, 0, 0, 0, 0]);
    }

    fn put_span(&mut self, raw: &[u8]) {
        self.body.extend_from_slice(raw);
        if let Some((at, spans)) = &mut self.open {
            *spans += 1;
            write_length(&mut self.body, *at, *spans);
        }
    }

    fn begin(&mut self) {
        if self.body.is_empty() {
            self.body.extend_from_slice(&[0xdd, 0, 0, 0, 0]);
        }
    }

    /// Itself, if it has come to so many bytes.
    fn take_from(&mut self, bytes: usize) -> Option<Vec<u8>> {
        (self.body.len() >= bytes).then(|| self.take()).flatten()
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let Self { mut body, traces, .. } = std::mem::take(self);
        write_length(&mut body, 0, traces);
        (traces > 0).then_some(body)
    }
}

#[cfg(test)]
mod tests {
    use model::{SpanId, TraceId};
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::v04::{Decoded, decode};

    fn pieces(body: &[u8], part: usize) -> Result<Vec<Vec<u8>>, DecodeError> {
        let (mut cutter, mut all) = (Cutter::default(), Vec::new());
        for part in body.chunks(part.max(1)) {
            cutter.push(part);
            while let Some(piece) = cutter.piece()? {
                all.push(piece);
            }
        }
        all.extend(cutter.finish()?);
        Ok(all)
    }

    fn together(pieces: &[Vec<u8>]) -> Decoded {
        let mut all = Decoded::default();
        for piece in pieces {
            let one = decode(piece).unwrap();
            all.chunks.extend(one.chunks);
            all.dropped_spans += one.dropped_spans;
        }
        all
    }

    fn trace(id: u64, spans: u64, filler: usize) -> Chunk {
        let span = |n| {
            let (trace, own) = (TraceId::new(0, id).unwrap(), SpanId::new(id * 100_000 + n + 1).unwrap());
            let mut span = Span::new("work", trace, own, SpanId::new(id * 100_000 + 1).filter(|_| n > 0));
            span.meta.insert("filler", "x".repeat(filler));
            if n == 0 {
                span.meta.insert(keys::trace::TID, "66a1b2c300000000");
                span.metrics.insert(keys::trace::SAMPLING_PRIORITY, 2.0);
            }
            span
        };
        Chunk { spans: (0..spans).map(span).collect() }
    }

    #[test]
    fn a_large_body_comes_in_pieces_that_hold_the_same() {
        let chunks: Vec<Chunk> = (1..400).map(|id| trace(id, 1 + id % 7, 1000)).collect();
        let body = encode(&chunks);
        for part in [333, 70_000, body.len()] {
            let pieces = pieces(&body, part).unwrap();
            assert!(pieces.len() >= body.len() / PIECE, "{}", pieces.len());
            assert!(pieces.iter().all(|piece| piece.len() < 2 * PIECE));
            assert_eq!(together(&pieces).chunks, chunks);
        }
    }

    #[test]
    fn a_large_trace_is_cut_and_says_again_what_it_is() {
        let whole = trace(1, 12_000, 1000);
        let pieces = pieces(&encode(std::slice::from_ref(&whole)), 100_000).unwrap();
        let chunks = together(&pieces).chunks;
        assert_eq!((pieces.len(), chunks.len()), (4, 4));
        let ids = |spans: &[Span]| spans.iter().map(|span| span.span_id).collect::<Vec<_>>();
        let all: Vec<SpanId> = chunks.iter().flat_map(|chunk| ids(&chunk.spans)).collect();
        assert_eq!(all, ids(&whole.spans));
        for chunk in &chunks {
            assert_eq!(crate::v04::trace_id_high(chunk), Some(0x66a1_b2c3_0000_0000));
            assert_eq!(chunk.spans[0].metrics.get(keys::trace::SAMPLING_PRIORITY), Some(&2.0));
        }
    }

    #[test]
    fn what_is_no_body_is_told() {
        let check = |body: &[u8], want: Result<usize, DecodeError>| {
            assert_eq!(pieces(body, 1).map(|pieces| pieces.len()), want, "{body:?}");
        };
        check(b"\x90", Ok(0));
        check(b"\xc0", Ok(0));
        check(b"\x92\x90\x90", Ok(0));
        check(b"\x93\xc0\x05\x90", Ok(1));
        check(b"", Err(DecodeError::Truncated));
        check(b"\x91", Err(DecodeError::Truncated));
        check(b"\x91\x91\x81", Err(DecodeError::Truncated));
        check(b"garbage", Err(DecodeError::NotTraces));
        check(b"\x91\x91\xc1", Err(DecodeError::Reserved));
        let mut large = b"\x91\x91\x81\xa1k\xdb\xff\xff\xff\xff".to_vec();
        large.resize(MAX_SPAN * 2 + 100, b'x');
        let error = pieces(&large, 1 << 20).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge);
    }

    proptest! {
        #[test]
        fn pieces_hold_what_the_body_holds(sizes in vec((1..5u64, 0..3000usize), 0..40), part in 1..20_000usize, cut in any::<Option<proptest::sample::Index>>()) {
            let chunks: Vec<Chunk> = (1..).zip(&sizes).map(|(id, (spans, filler))| trace(id, *spans, *filler)).collect();
            let mut body = encode(&chunks);
            match cut {
                None => prop_assert_eq!(together(&pieces(&body, part).unwrap()).chunks, chunks),
                Some(at) => {
                    body.truncate(at.index(body.len()));
                    prop_assert_eq!(pieces(&body, part), Err(DecodeError::Truncated));
                }
            }
        }

        #[test]
        fn any_bytes_give_what_decoding_gives(body in vec(any::<u8>(), 0..200), part in 1..50usize) {
            let body = [b"\x92\x92", &body[..]].concat();
            match (pieces(&body, part), decode(&body)) {
                (Ok(pieces), Ok(whole)) => prop_assert_eq!(together(&pieces), whole),
                (got, want) => prop_assert!(got.is_err() && want.is_err(), "{:?} {:?}", got, want),
            }
        }
    }
}
