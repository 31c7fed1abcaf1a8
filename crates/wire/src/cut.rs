//! Cuts a large body of traces into small ones while it comes in, so that it is never held as a whole, neither as bytes
//! nor as spans. Every piece is a v0.4 body of its own, whatever the protocol of the whole.
//!
//! What cannot be let go of are the texts that later spans name by number (v0.5, v1.0); they have a bound of their own.

use std::collections::VecDeque;

use model::{Chunk, Span, TracerInfo, keys};
use rmp::encode;

use crate::maps::Cut as Maps;
use crate::msgpack::Reader;
use crate::v04::{self, DecodeError};
use crate::{v1, v05, v07};

/// Bytes of a piece, from which on it ends with the next trace.
pub(crate) const PIECE: usize = 256 << 10;
/// Bytes of a piece, from which on it ends within a trace.
pub(crate) const MAX_PIECE: usize = 4 << 20;
/// Bytes of one span, also once the texts that it names are written out.
pub(crate) const MAX_SPAN: usize = 8 << 20;
/// Bytes of text that all spans of a body may name: one long text that many spans name makes a small body large.
const MAX_NAMED: usize = if cfg!(test) { 32 << 20 } else { 512 << 20 };
/// The head of an array of any length.
pub(crate) const HEAD: usize = 5;

/// How traces are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V04,
    V05,
    V07,
    V1,
}

/// A body on its way in. Give it what comes with [`Cutter::push`], then take the pieces that are ready.
///
/// ```
/// use wire::cut::{Cutter, Version};
///
/// let mut cutter = Cutter::new(Version::V04, 1 << 20);
/// cutter.push(b"\x91\x91\x80");
/// let pieces = cutter.finish().unwrap();
/// assert_eq!(wire::v04::decode(&pieces[0]).unwrap().dropped_spans, 1);
/// ```
#[derive(Debug)]
pub struct Cutter {
    kind: Kind,
    held: Held,
    out: Out,
    max_texts: usize,
}

#[derive(Debug)]
enum Kind {
    /// Cut without being read.
    V04(v04::Cutter),
    V05(v05::Cut),
    V07(Box<Maps<v07::Read>>),
    V1(Box<Maps<v1::Read>>),
}

/// A protocol, element by element.
pub(crate) trait Steps {
    /// Reads the next element. When that is not whole yet, nothing has changed.
    fn step(&mut self, reader: &mut Reader<'_>, out: &mut Out) -> Result<(), DecodeError>;
    fn is_done(&self) -> bool;
    /// Bytes of texts that are kept.
    fn texts(&self) -> usize;
    /// All has come: puts out what was held back.
    fn end(&mut self, out: &mut Out);
}

impl Cutter {
    /// `max_texts`: bytes that the texts may take which are named by number.
    pub fn new(version: Version, max_texts: usize) -> Self {
        let kind = match version {
            Version::V04 => Kind::V04(v04::Cutter::default()),
            Version::V05 => Kind::V05(v05::Cut::default()),
            Version::V07 => Kind::V07(Box::default()),
            Version::V1 => Kind::V1(Box::default()),
        };
        Self { kind, held: Held::default(), out: Out::default(), max_texts }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::V04(cutter) => cutter.push(bytes),
            Kind::V05(_) | Kind::V07(_) | Kind::V1(_) => self.held.push(bytes),
        }
    }

    /// Bytes that it has taken and not given, texts aside.
    pub fn held(&self) -> usize {
        match &self.kind {
            Kind::V04(cutter) => cutter.held(),
            Kind::V05(cut) => cut.open(),
            Kind::V07(cut) => cut.open(),
            Kind::V1(cut) => cut.open(),
        }
        .saturating_add(self.held.bytes.len() + self.out.weight())
    }

    /// Bytes that the texts take which spans name by number.
    pub fn texts(&self) -> usize {
        match &self.kind {
            Kind::V04(_) => 0,
            Kind::V05(cut) => cut.texts(),
            Kind::V07(cut) => cut.texts(),
            Kind::V1(cut) => cut.texts(),
        }
    }

    /// What the body itself says of the tracer, as far as it has come.
    pub fn tracer(&self) -> TracerInfo {
        match &self.kind {
            Kind::V04(_) | Kind::V05(_) => TracerInfo::default(),
            Kind::V07(cut) => cut.tracer().clone(),
            Kind::V1(cut) => cut.tracer().clone(),
        }
    }

    /// Spans that could not be read and are in no piece, since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.out.dropped)
    }

    /// The next piece; `None` when more has to come before there is one.
    ///
    /// # Errors
    /// What came is no such body, or has a span, a trace or texts that are too large.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        let Self { kind, held, out, max_texts } = self;
        match kind {
            Kind::V04(cutter) => cutter.piece(),
            Kind::V05(cut) => out.next(cut, held, *max_texts),
            Kind::V07(cut) => out.next(&mut **cut, held, *max_texts),
            Kind::V1(cut) => out.next(&mut **cut, held, *max_texts),
        }
    }

    /// The last pieces, when all has come.
    ///
    /// # Errors
    /// The body is not whole. What was taken out before was.
    pub fn finish(&mut self) -> Result<Vec<Vec<u8>>, DecodeError> {
        let Self { kind, held, out, max_texts } = self;
        match kind {
            Kind::V04(cutter) => std::mem::take(cutter).finish(),
            Kind::V05(cut) => out.rest(cut, held, *max_texts),
            Kind::V07(cut) => out.rest(&mut **cut, held, *max_texts),
            Kind::V1(cut) => out.rest(&mut **cut, held, *max_texts),
        }
    }
}

/// What came of a body and is not read yet.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Bytes that are read.
    at: usize,
    /// How much there has to be before it is worth another look.
    wanted: usize,
}

impl Held {
    fn push(&mut self, bytes: &[u8]) {
        if self.at > PIECE {
            self.bytes.drain(..self.at);
            self.wanted = self.wanted.saturating_sub(self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Reads the next element; `false`: more of it has to come.
    fn advance(
        &mut self,
        step: impl FnOnce(&mut Reader<'_>) -> Result<(), DecodeError>,
    ) -> Result<bool, DecodeError> {
        if self.bytes.len() < self.wanted {
            return Ok(false);
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut reader = Reader::new(rest);
        match step(&mut reader) {
            Ok(()) => {
                self.at += rest.len() - reader.left();
                Ok(true)
            }
            Err(DecodeError::Truncated) if rest.len() > MAX_SPAN => Err(DecodeError::TooLarge),
            Err(DecodeError::Truncated) => {
                // Twice as much: a large element is not looked at for each part of it that comes.
                self.wanted = self.bytes.len() + rest.len().max(1);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Where spans go: bodies of v0.4.
#[derive(Debug, Default)]
pub(crate) struct Out {
    ready: VecDeque<Vec<u8>>,
    /// The piece that is being filled, and how many traces are in it.
    body: Vec<u8>,
    traces: u32,
    pub(crate) dropped: u64,
    /// Bytes of text that spans have named.
    named: usize,
}

impl Out {
    fn next(
        &mut self,
        steps: &mut impl Steps,
        held: &mut Held,
        max_texts: usize,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        loop {
            let piece = self.ready.pop_front();
            if piece.is_some() || steps.is_done() || !held.advance(|reader| steps.step(reader, self))? {
                return Ok(piece);
            }
            if steps.texts() > max_texts {
                return Err(DecodeError::TooMuchText);
            }
        }
    }

    fn rest(
        &mut self,
        steps: &mut impl Steps,
        held: &mut Held,
        max_texts: usize,
    ) -> Result<Vec<Vec<u8>>, DecodeError> {
        held.wanted = 0;
        let mut all = Vec::new();
        while let Some(piece) = self.next(steps, held, max_texts)? {
            all.push(piece);
        }
        if !steps.is_done() {
            return Err(DecodeError::Truncated);
        }
        steps.end(self);
        all.extend(self.ready.drain(..));
        all.extend(self.close());
        Ok(all)
    }

    /// Puts a trace, or a part of one, into the piece that is being filled.
    pub(crate) fn put(&mut self, chunk: &Chunk) {
        if chunk.spans.is_empty() {
            return;
        }
        if self.body.is_empty() {
            self.body.extend_from_slice(&[0xdd, 0, 0, 0, 0]);
        }
        let mut written = encode::write_array_len(&mut self.body, v04::len(chunk.spans.len())).map(drop);
        for span in &chunk.spans {
            written = written.and_then(|()| v04::write_span(&mut self.body, span));
        }
        debug_assert!(written.is_ok(), "a vector takes all");
        self.traces += 1;
        if self.body.len() >= PIECE {
            let piece = self.close();
            self.ready.extend(piece);
        }
    }

    fn close(&mut self) -> Option<Vec<u8>> {
        let (mut body, traces) = (std::mem::take(&mut self.body), std::mem::take(&mut self.traces));
        write_length(&mut body, 0, traces);
        (traces > 0).then_some(body)
    }

    fn weight(&self) -> usize {
        self.body.len() + self.ready.iter().map(Vec::len).sum::<usize>()
    }

    /// Bytes of text that the next span may name.
    pub(crate) fn may_name(&self) -> usize {
        MAX_NAMED.saturating_sub(self.named).min(MAX_SPAN)
    }

    pub(crate) fn has_named(&mut self, bytes: usize) {
        self.named += bytes;
    }
}

/// What a trace says once, at its top: said again in each part of a trace that is cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    tid: Option<model::Text>,
    priority: Option<f64>,
    is_known: bool,
}

impl Marks {
    /// Says in a part's first span what that of the first part said.
    pub(crate) fn note(&mut self, spans: &mut [Span]) {
        let Some(first) = spans.first_mut() else { return };
        if !self.is_known {
            self.is_known = true;
            self.tid = first.meta.get(keys::trace::TID).cloned();
            self.priority = first.metrics.get(keys::trace::SAMPLING_PRIORITY).copied();
            return;
        }
        if let Some(tid) = &self.tid {
            first.meta.insert(keys::trace::TID, tid.clone());
        }
        if let Some(priority) = self.priority {
            first.metrics.insert(keys::trace::SAMPLING_PRIORITY, priority);
        }
    }
}

/// Says in the head that is at a place how many elements follow.
pub(crate) fn write_length(body: &mut [u8], at: usize, length: u32) {
    if let Some(head) = body.get_mut(at + 1..at + HEAD) {
        head.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
