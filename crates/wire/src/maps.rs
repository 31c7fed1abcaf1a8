//! What v0.7 and v1.0 have in common: a map of what holds for the whole tracer, in it the traces, each a map with its
//! spans. How a field is named and written is the protocol's own ([`Read`]); here are the two ways to go through them, as
//! a whole and cut while they come.

use model::{Chunk, Span, Tags, Text, TraceId, TracerInfo, keys};

use crate::cut::{MAX_PIECE, Marks, Out, PIECE, Steps};
use crate::msgpack::{Reader, Value};
use crate::v04::{DecodeError, Decoded};

/// Bytes of spans that wait for what is said behind them of all: many writers put the environment last. Of a body that
/// has more, the first spans go without it.
const MAX_WAITING: usize = 2 << 20;
/// Bytes of a trace whose id comes behind its spans.
const MAX_TRACE: usize = 8 << 20;

/// What a request held: spans, and what its sender says of itself.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Payload {
    /// Only what the body says: empty where it says nothing.
    pub tracer: TracerInfo,
    pub decoded: Decoded,
}

/// What holds for all spans of a payload, or of a chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) meta: Tags<Text>,
    pub(crate) origin: Text,
    pub(crate) priority: Option<f64>,
}

/// A map as far as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) tracer: TracerInfo,
    pub(crate) shared: Shared,
    /// Of a chunk whose spans do not say it themselves; zero as long as it is not known.
    pub(crate) trace: Option<u128>,
}

/// What stands behind a key that was read.
pub(crate) enum Follows {
    Nothing,
    Chunks(u32),
    /// Texts that spans name by number, sent ahead.
    Texts(u32),
}

/// One of the two protocols.
pub(crate) trait Read {
    /// Reads a pair of the outer map.
    fn payload_pair(&mut self, reader: &mut Reader<'_>, said: &mut Said) -> Result<Follows, DecodeError>;
    fn text(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError>;
    /// How many pairs a chunk has; `None` for what is no chunk, which is stepped over.
    fn chunk(&mut self, reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError>;
    /// What is known of a chunk before it is read.
    fn chunk_said(&self) -> Said;
    /// Reads a pair of a chunk; how many spans follow.
    fn chunk_pair(&mut self, reader: &mut Reader<'_>, said: &mut Said) -> Result<u32, DecodeError>;
    /// `None` for what is no span. Where the chunk has the trace's id, that of the span is any.
    fn span(&mut self, reader: &mut Reader<'_>) -> Result<Option<Span>, DecodeError>;

    /// Bytes that texts take.
    fn texts(&self) -> usize {
        0
    }
    /// How many texts there are.
    fn mark(&self) -> usize {
        0
    }
    /// Forgets texts that came after that.
    fn reset(&mut self, _mark: usize) {}
    /// Bytes of text that may be named from now on.
    fn allow(&mut self, _bytes: usize) {}
    /// How many of them are left.
    fn allowed(&self) -> usize {
        usize::MAX
    }
}

impl Shared {
    pub(crate) fn set(&mut self, key: &'static str, value: Text) {
        if !value.is_empty() {
            self.meta.insert(key, value);
        }
    }

    /// Says it in the spans. Nothing that a span says itself is changed.
    pub(crate) fn apply(self, chunk: &mut Chunk) {
        // What every tracer that has it puts on each span.
        for span in chunk.spans.iter_mut().filter(|_| !self.origin.is_empty()) {
            if !span.meta.contains(keys::trace::ORIGIN) {
                span.meta.insert(keys::trace::ORIGIN, self.origin.clone());
            }
        }
        let decided = chunk.spans.iter().any(|span| span.metrics.contains(keys::trace::SAMPLING_PRIORITY));
        let Some(first) = chunk.spans.first_mut() else { return };
        // -128 is how "nobody decided" is written.
        if let Some(priority) = self.priority.filter(|priority| !decided && *priority > -128.0) {
            first.metrics.insert(keys::trace::SAMPLING_PRIORITY, priority);
        }
        for (key, value) in self.meta {
            if !first.meta.contains(&key) {
                first.meta.insert(key, value);
            }
        }
    }
}

/// Reads a whole body. Trailing bytes are ignored.
pub(crate) fn decode(mut read: impl Read, body: &[u8]) -> Result<Payload, DecodeError> {
    let mut reader = Reader::new(body);
    let (mut said, mut decoded) = (Said::default(), Decoded::default());
    for _ in 0..head(&mut reader)? {
        match read.payload_pair(&mut reader, &mut said)? {
            Follows::Nothing => {}
            Follows::Texts(texts) => (0..texts).try_for_each(|_| read.text(&mut reader))?,
            Follows::Chunks(chunks) => {
                for _ in 0..chunks {
                    chunk(&mut read, &mut reader, &mut decoded)?;
                }
            }
        }
    }
    for chunk in &mut decoded.chunks {
        said.shared.clone().apply(chunk);
    }
    Ok(Payload { tracer: said.tracer, decoded })
}

/// How many pairs a body has.
fn head(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match reader.value()? {
        Value::Map(pairs) => Ok(pairs),
        Value::Nil => Ok(0),
        _ => Err(DecodeError::NotTraces),
    }
}

fn chunk(read: &mut impl Read, reader: &mut Reader<'_>, decoded: &mut Decoded) -> Result<(), DecodeError> {
    let Some(pairs) = read.chunk(reader)? else {
        decoded.dropped_spans += 1;
        return Ok(());
    };
    let mut open = Open::new(read.chunk_said());
    for _ in 0..pairs {
        for _ in 0..read.chunk_pair(reader, &mut open.said)? {
            match read.span(reader)? {
                Some(span) => open.put(span),
                None => decoded.dropped_spans += 1,
            }
        }
    }
    let (chunk, dropped) = open.take();
    decoded.dropped_spans += dropped;
    decoded.chunks.extend(Some(chunk).filter(|chunk| !chunk.spans.is_empty()));
    Ok(())
}

/// A chunk that is being read.
#[derive(Debug)]
struct Open {
    said: Said,
    spans: Vec<Span>,
    weight: usize,
    marks: Marks,
}

impl Open {
    fn new(said: Said) -> Self {
        Self { said, spans: Vec::new(), weight: 0, marks: Marks::default() }
    }

    fn put(&mut self, span: Span) {
        self.weight += span.weight();
        self.spans.push(span);
    }

    /// Its spans, with what is said of them; and how many have no trace.
    fn take(&mut self) -> (Chunk, u64) {
        self.weight = 0;
        let mut chunk = Chunk { spans: std::mem::take(&mut self.spans) };
        let mut shared = self.said.shared.clone();
        if let Some(id) = self.said.trace {
            // Spans have the lower half, as in the other protocols.
            let Some(trace_id) = TraceId::new(0, id as u64) else {
                return (Chunk::default(), chunk.spans.len() as u64);
            };
            chunk.spans.iter_mut().for_each(|span| span.trace_id = trace_id);
            let high = (id >> 64) as u64;
            if high != 0 && !chunk.spans.iter().any(|span| span.meta.contains(keys::trace::TID)) {
                shared.set(keys::trace::TID, format!("{high:016x}").into());
            }
        }
        shared.apply(&mut chunk);
        (chunk, 0)
    }
}

/// A body that is cut while it comes.
#[derive(Debug, Default)]
pub(crate) struct Cut<R> {
    read: R,
    said: Said,
    /// Pairs of the outer map that are still to come; `None` before its head.
    pairs: Option<u32>,
    texts: u32,
    chunks: u32,
    /// The chunk that is being read, and its pairs that are still to come.
    open: Option<(u32, Open)>,
    spans: u32,
    waiting: Vec<Chunk>,
    weight: usize,
    /// Nothing waits any more.
    is_large: bool,
}

impl<R: Read> Cut<R> {
    pub(crate) fn tracer(&self) -> &TracerInfo {
        &self.said.tracer
    }

    /// Bytes of spans that wait.
    pub(crate) fn open(&self) -> usize {
        self.weight + self.open.as_ref().map_or(0, |(_, open)| open.weight)
    }

    fn read_span(&mut self, reader: &mut Reader<'_>, out: &mut Out) -> Result<(), DecodeError> {
        let allowed = out.may_name();
        self.read.allow(allowed);
        let span = self.read.span(reader)?;
        out.has_named(allowed.saturating_sub(self.read.allowed()));
        self.spans -= 1;
        let Some((_, open)) = &mut self.open else { return Ok(()) };
        match span {
            Some(span) => open.put(span),
            None => out.dropped += 1,
        }
        if open.weight > MAX_PIECE {
            match open.said.trace {
                Some(0) if open.weight > MAX_TRACE => return Err(DecodeError::TooLarge),
                Some(0) => {}
                _ => self.close_part(out),
            }
        }
        Ok(())
    }

    /// Lets the spans go that were read of the open chunk.
    fn close_part(&mut self, out: &mut Out) {
        let Some((_, open)) = &mut self.open else { return };
        let (mut chunk, dropped) = open.take();
        open.marks.note(&mut chunk.spans);
        out.dropped += dropped;
        self.weight += chunk.weight();
        self.waiting.push(chunk);
        self.is_large |= self.weight > MAX_WAITING;
        if self.is_large && self.weight > PIECE {
            self.release(out);
        }
    }

    fn release(&mut self, out: &mut Out) {
        for mut chunk in self.waiting.drain(..) {
            self.said.shared.clone().apply(&mut chunk);
            out.put(&chunk);
        }
        self.weight = 0;
    }

    fn read_next(&mut self, reader: &mut Reader<'_>, out: &mut Out) -> Result<(), DecodeError> {
        if self.spans > 0 {
            return self.read_span(reader, out);
        }
        if let Some((pairs, open)) = &mut self.open {
            match pairs.checked_sub(1) {
                Some(left) => (self.spans, *pairs) = (self.read.chunk_pair(reader, &mut open.said)?, left),
                None => {
                    self.close_part(out);
                    self.open = None;
                }
            }
            return Ok(());
        }
        if self.texts > 0 {
            self.read.text(reader)?;
            self.texts -= 1;
            return Ok(());
        }
        if self.chunks > 0 {
            match self.read.chunk(reader)? {
                Some(pairs) => self.open = Some((pairs, Open::new(self.read.chunk_said()))),
                None => out.dropped += 1,
            }
            self.chunks -= 1;
            return Ok(());
        }
        match self.pairs {
            None => self.pairs = Some(head(reader)?),
            Some(pairs) => {
                match self.read.payload_pair(reader, &mut self.said)? {
                    Follows::Nothing => {}
                    Follows::Chunks(chunks) => self.chunks = chunks,
                    Follows::Texts(texts) => self.texts = texts,
                }
                self.pairs = pairs.checked_sub(1);
            }
        }
        Ok(())
    }
}

impl<R: Read> Steps for Cut<R> {
    fn step(&mut self, reader: &mut Reader<'_>, out: &mut Out) -> Result<(), DecodeError> {
        let mark = self.read.mark();
        let read = self.read_next(reader, out);
        if read.is_err() {
            self.read.reset(mark);
        }
        read
    }

    fn is_done(&self) -> bool {
        (self.pairs, self.texts, self.chunks) == (Some(0), 0, 0) && self.open.is_none()
    }

    fn texts(&self) -> usize {
        self.read.texts()
    }

    fn end(&mut self, out: &mut Out) {
        self.release(out);
    }
}
