//! Cutting batches into requests that the intake takes. Sizes are those of the encoded bytes, measured, not
//! guessed: tags that repeat or text that needs escaping would make a guess wrong.

use model::{Batch, ClientStats, Forward, Signal, Span, TraceChunk, TracerPayload};
use protobuf::Writer;

use crate::{Endpoint, encode, endpoint, logs, series, sketches, stats, traces};

/// The most that stands before a nested protobuf message: a one-byte tag and a five-byte length.
const HEAD: usize = 6;
/// What stands around the payloads of a trace request: the agent's sampler figures.
const TRACE_FRAME: usize = 18;
/// What stands around the sketches of a request: an empty message.
const SKETCH_FRAME: usize = 2;

/// A batch in pieces.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Split {
    /// None is empty, and none is more than the intake takes.
    pub batches: Vec<Batch>,
    /// Left out because one element alone is more than the intake takes: spans, points, values, log entries, as
    /// [`Batch::count`] has them.
    pub oversized: u64,
}

/// A batch in requests.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Packed {
    /// Each piece with its body before compression. The piece is what to try again should its request fail.
    pub requests: Vec<(Batch, Vec<u8>)>,
    /// As in [`Split`].
    pub oversized: u64,
}

/// Encodes a batch as one request or, when it is too large for one, as several. An empty batch gives none.
///
/// ```
/// use model::{Batch, Series, SeriesKind, UnixNanos};
/// let point = (UnixNanos::from_secs(1_700_000_000), 1.0);
/// let kind = SeriesKind::Gauge;
/// let one = Series { name: "queue".into(), kind, tags: vec![], points: vec![point], interval_secs: None };
/// let packed = payload::pack(Batch::Series(vec![one; 1001]));
/// assert_eq!((packed.requests.len(), packed.oversized), (2, 0));
/// ```
pub fn pack(batch: Batch) -> Packed {
    let endpoint = endpoint(batch.signal());
    let items = items(&batch);
    if items == 0 {
        return Packed::default();
    }
    if items <= endpoint.max_items && batch.weight() <= endpoint.target_bytes.saturating_mul(2) {
        let body = encode(&batch);
        if body.len() <= endpoint.target_bytes {
            return Packed { requests: vec![(batch, body)], oversized: 0 };
        }
    }
    let Split { batches, oversized } = split(batch);
    let encoded = |batch: Batch| {
        let body = encode(&batch);
        (batch, body)
    };
    Packed { requests: batches.into_iter().map(encoded).collect(), oversized }
}

/// Cuts a batch into pieces of at most [`Endpoint::target_bytes`] and [`Endpoint::max_items`]. An element above
/// the target goes alone; one above [`Endpoint::max_bytes`] is left out and counted. Chunks are kept whole
/// unless one alone is more than the intake takes: then its spans are spread over several chunks.
pub fn split(batch: Batch) -> Split {
    let endpoint = endpoint(batch.signal());
    match batch {
        Batch::Traces(all) => TraceCut::new(endpoint).cut(all),
        Batch::Series(all) => {
            let size = |series: &_| series::encode_one(series).len() + 1;
            cut(all, endpoint, series::FRAME, size, Batch::Series)
        }
        Batch::Sketches(all) => {
            let mut w = Writer::with_capacity(1024);
            let size = |series: &_| HEAD + measure(&mut w, |w| sketches::write(w, series));
            cut(all, endpoint, SKETCH_FRAME, size, Batch::Sketches)
        }
        Batch::Stats(all) => {
            let size = |one: &ClientStats| stats::encode_one(one).len();
            cut(all, endpoint, stats::FRAME, size, Batch::Stats)
        }
        Batch::Forwards(all) => cut(all, endpoint, 0, |one: &Forward| one.body.len(), Batch::Forwards),
        Batch::Logs(all) => {
            let mut body = Vec::new();
            let size = |log: &_| {
                body.clear();
                logs::write(&mut body, log);
                body.len() + 1
            };
            cut(all, endpoint, 2, size, Batch::Logs)
        }
    }
}

/// Puts `more` behind what is in `batch`: pieces whose requests failed, to be tried again as one. Gives
/// `more` back when it is of another signal.
pub fn append(batch: &mut Batch, more: Batch) -> Result<(), Batch> {
    match (batch, more) {
        (Batch::Traces(all), Batch::Traces(more)) => all.extend(more),
        (Batch::Series(all), Batch::Series(more)) => all.extend(more),
        (Batch::Sketches(all), Batch::Sketches(more)) => all.extend(more),
        (Batch::Logs(all), Batch::Logs(more)) => all.extend(more),
        (Batch::Stats(all), Batch::Stats(more)) => all.extend(more),
        (Batch::Forwards(all), Batch::Forwards(more)) => all.extend(more),
        (_, more) => return Err(more),
    }
    Ok(())
}

fn items(batch: &Batch) -> usize {
    match batch {
        Batch::Traces(all) => all.iter().map(|payload| payload.chunks.len()).sum(),
        Batch::Series(all) => all.len(),
        Batch::Sketches(all) => all.len(),
        Batch::Logs(all) => all.len(),
        Batch::Stats(all) => all.len(),
        Batch::Forwards(all) => all.len(),
    }
}

/// Cuts a flat list, in order.
fn cut<T>(
    all: Vec<T>,
    endpoint: &Endpoint,
    frame: usize,
    mut size: impl FnMut(&T) -> usize,
    batch: impl Fn(Vec<T>) -> Batch,
) -> Split {
    let (mut split, mut piece, mut bytes) = (Split::default(), Vec::new(), frame);
    for element in all {
        let size = size(&element);
        if frame + size > endpoint.max_bytes {
            split.oversized += batch(vec![element]).count();
            continue;
        }
        if !piece.is_empty() && (bytes + size > endpoint.target_bytes || piece.len() >= endpoint.max_items) {
            split.batches.push(batch(std::mem::take(&mut piece)));
            bytes = frame;
        }
        bytes += size;
        piece.push(element);
    }
    if !piece.is_empty() {
        split.batches.push(batch(piece));
    }
    split
}

/// Cuts payloads of chunks of spans: what stands above a chunk is repeated in each piece.
struct TraceCut {
    endpoint: &'static Endpoint,
    scratch: Writer,
    common: traces::Common,
    split: Split,
    piece: Vec<TracerPayload>,
    bytes: usize,
}

impl TraceCut {
    fn new(endpoint: &'static Endpoint) -> Self {
        debug_assert_eq!(endpoint.signal, Signal::Traces);
        let scratch = Writer::with_capacity(4096);
        let common = traces::Common::default();
        Self { endpoint, scratch, common, split: Split::default(), piece: Vec::new(), bytes: TRACE_FRAME }
    }

    fn cut(mut self, payloads: Vec<TracerPayload>) -> Split {
        for mut payload in payloads {
            let chunks = std::mem::take(&mut payload.chunks);
            let head =
                HEAD + measure(&mut self.scratch, |w| traces::tracer_payload(w, &payload, &mut self.common));
            // Whether the piece being filled ends with this payload, so that its head is there already.
            let mut open = false;
            for chunk in chunks {
                let size =
                    HEAD + measure(&mut self.scratch, |w| traces::trace_chunk(w, &chunk, &mut self.common));
                if TRACE_FRAME + head + size <= self.endpoint.max_bytes {
                    open = self.place(&payload, head, open, chunk, size);
                    continue;
                }
                for (part, size) in self.parts(chunk, head) {
                    open = self.place(&payload, head, open, part, size);
                }
            }
        }
        self.close();
        self.split
    }

    /// Adds a chunk to the piece being filled, or to a new one; always true.
    fn place(
        &mut self,
        payload: &TracerPayload,
        head: usize,
        open: bool,
        chunk: TraceChunk,
        size: usize,
    ) -> bool {
        let mut more = if open { size } else { head + size };
        let full = self.bytes + more > self.endpoint.target_bytes;
        if full && !self.piece.is_empty() {
            self.close();
            more = head + size;
        }
        match self.piece.last_mut().filter(|_| open) {
            Some(last) => last.chunks.push(chunk),
            None => self.piece.push(TracerPayload { chunks: vec![chunk], ..payload.clone() }),
        }
        self.bytes += more;
        true
    }

    fn close(&mut self) {
        if !self.piece.is_empty() {
            self.split.batches.push(Batch::Traces(std::mem::take(&mut self.piece)));
        }
        self.bytes = TRACE_FRAME;
    }

    /// Spreads the spans of a chunk over several, each with its size; counts the spans that fit in none.
    fn parts(&mut self, mut chunk: TraceChunk, head: usize) -> Vec<(TraceChunk, usize)> {
        let spans = std::mem::take(&mut chunk.spans);
        let own = HEAD + measure(&mut self.scratch, |w| traces::trace_chunk(w, &chunk, &mut self.common));
        let around = TRACE_FRAME + head + own;
        let (mut parts, mut part, mut bytes): (Vec<_>, Vec<Span>, _) = (Vec::new(), Vec::new(), own);
        for span in spans {
            let size = HEAD + measure(&mut self.scratch, |w| traces::write_span(w, &span, &mut self.common));
            if around + size > self.endpoint.max_bytes {
                self.split.oversized += 1;
                continue;
            }
            if !part.is_empty() && TRACE_FRAME + head + bytes + size > self.endpoint.target_bytes {
                let spans = std::mem::take(&mut part);
                parts.push((TraceChunk { spans, ..chunk.clone() }, bytes));
                bytes = own;
            }
            bytes += size;
            part.push(span);
        }
        if !part.is_empty() {
            parts.push((TraceChunk { spans: part, ..chunk }, bytes));
        }
        parts
    }
}

fn measure(scratch: &mut Writer, write: impl FnOnce(&mut Writer)) -> usize {
    scratch.clear();
    write(scratch);
    scratch.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{
        Log, LogLevel, Series, SeriesKind, Sketch, SketchSeries, SpanId, SpanStats, StatsBucket, StatsGroup,
        StatsKey, Tags, Text, TraceId, UnixNanos,
    };
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::tests;

    /// Small enough for a test to reach.
    const SMALL: Endpoint =
        Endpoint { target_bytes: 600, max_bytes: 1200, max_items: 4, ..*endpoint(Signal::Traces) };

    /// Each span with all that stands above it.
    fn spans(payloads: &[TracerPayload]) -> Vec<(TracerPayload, TraceChunk)> {
        let mut all = Vec::new();
        for payload in payloads {
            for chunk in &payload.chunks {
                let alone = |span: &Span| TraceChunk { spans: vec![span.clone()], ..chunk.clone() };
                let head = TracerPayload { chunks: vec![], ..payload.clone() };
                all.extend(chunk.spans.iter().map(|span| (head.clone(), alone(span))));
            }
        }
        all
    }

    fn traces(batch: &Batch) -> &[TracerPayload] {
        let Batch::Traces(all) = batch else { panic!("{batch:?}") };
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Every piece is within bounds, or holds a single chunk; spans keep their order and what stands
        /// above them; those left out would have been too large alone.
        #[test]
        fn traces_are_cut_within_bounds(payloads in vec(tests::tracer_payload(), 0..6)) {
            let split = TraceCut::new(&SMALL).cut(payloads.clone());
            let mut kept = Vec::new();
            for batch in &split.batches {
                let body = encode(batch);
                let chunks: usize = traces(batch).iter().map(|p| p.chunks.len()).sum();
                prop_assert!(body.len() <= SMALL.max_bytes);
                prop_assert!(body.len() <= SMALL.target_bytes || chunks == 1, "{} in {}", body.len(), chunks);
                prop_assert!(chunks > 0);
                kept.extend(spans(traces(batch)));
            }
            let all = spans(&payloads);
            prop_assert_eq!(kept.len() as u64 + split.oversized, all.len() as u64);
            let mut rest = all.iter();
            prop_assert!(kept.iter().all(|span| rest.any(|one| one == span)));
        }

        #[test]
        fn lists_are_cut_within_bounds(sizes in vec(0..1500usize, 0..30)) {
            let log = |size: &usize| Log { message: "x".repeat(*size), ..log() };
            let all: Vec<_> = sizes.iter().map(log).collect();
            let size = |log: &Log| logs::encode(std::slice::from_ref(log)).len() - 2 + 1;
            let split = cut(all.clone(), &SMALL, 2, size, Batch::Logs);
            let mut kept = Vec::new();
            for batch in &split.batches {
                let Batch::Logs(piece) = batch else { panic!() };
                let body = encode(batch);
                prop_assert!(body.len() <= SMALL.max_bytes && (body.len() <= SMALL.target_bytes || piece.len() == 1));
                prop_assert!((1..=SMALL.max_items).contains(&piece.len()));
                kept.extend(piece.clone());
            }
            let fits = all.into_iter().filter(|log| size(log) + 2 <= SMALL.max_bytes);
            prop_assert_eq!(&kept, &fits.collect::<Vec<_>>());
            prop_assert_eq!(split.oversized, (sizes.len() - kept.len()) as u64);
        }

        #[test]
        fn what_fits_is_one_request(batch in tests::batch()) {
            let packed = pack(batch.clone());
            prop_assert_eq!(packed.oversized, 0);
            match items(&batch) {
                0 => prop_assert!(packed.requests.is_empty()),
                _ => prop_assert_eq!(packed.requests, vec![(batch.clone(), encode(&batch))]),
            }
        }

        /// The sizes that cutting adds up are never below what encoding makes of them.
        #[test]
        fn sizes_are_not_underrated(series in vec(tests::sketch_series(), 1..4), payload in tests::tracer_payload().prop_filter("no chunk", |p| !p.chunks.is_empty()), flag in any::<bool>()) {
            let mut w = Writer::with_capacity(64);
            let sum: usize = series.iter().map(|one| HEAD + measure(&mut w, |w| sketches::write(w, one))).sum();
            prop_assert!(encode(&Batch::Sketches(series)).len() <= SKETCH_FRAME + sum);
            let mut cut = TraceCut::new(&SMALL);
            let (head, mut sum) = (HEAD + measure(&mut w, |w| traces::tracer_payload(w, &TracerPayload { chunks: vec![], ..payload.clone() }, &mut cut.common)), 0);
            for chunk in &payload.chunks {
                sum += HEAD + measure(&mut cut.scratch, |w| traces::trace_chunk(w, chunk, &mut cut.common));
            }
            let twice = if flag { vec![payload.clone(), payload.clone()] } else { vec![payload.clone()] };
            let times = twice.len();
            prop_assert!(encode(&Batch::Traces(twice)).len() <= TRACE_FRAME + times * (head + sum));
        }
    }

    fn log() -> Log {
        Log {
            message: String::new(),
            level: LogLevel::Info,
            time: UnixNanos::from_secs(1),
            request_id: None,
            arn: Text::default(),
            service: Text::default(),
            tags: Text::default(),
            durable: None,
        }
    }

    fn span(id: u64, bytes: usize) -> Span {
        let mut span = Span::new("n", TraceId::new(0, 7).unwrap(), SpanId::new(id).unwrap(), None);
        span.meta.insert("payload", "x".repeat(bytes));
        span
    }

    fn payload(chunks: Vec<Vec<Span>>) -> TracerPayload {
        let chunk = |spans| TraceChunk { spans, origin: "lambda".into(), tags: Tags::new(), priority: None };
        TracerPayload {
            env: "e".into(),
            chunks: chunks.into_iter().map(chunk).collect(),
            ..Default::default()
        }
    }

    /// The shape of each request: spans by chunk by payload.
    fn shape(packed: &Packed) -> String {
        let batch = |(batch, body): &(Batch, Vec<u8>)| {
            assert!(body.len() <= endpoint(batch.signal()).max_bytes);
            let ids = |c: &TraceChunk| {
                c.spans.iter().map(|s| s.span_id.get().to_string()).collect::<Vec<_>>().join(" ")
            };
            let payload = |p: &TracerPayload| p.chunks.iter().map(ids).collect::<Vec<_>>().join(" | ");
            traces(batch).iter().map(payload).collect::<Vec<_>>().join(" || ")
        };
        let requests: Vec<_> = packed.requests.iter().map(batch).collect();
        format!("{}; {} oversized", requests.join(", "), packed.oversized)
    }

    #[test]
    fn traces_of_megabytes() {
        const MB: usize = 1_000_000;
        let check = |payloads, want| assert_eq!(shape(&pack(Batch::Traces(payloads))), want);
        let one = |id, mb| vec![span(id, mb * MB)];
        check(vec![payload(vec![one(1, 1), one(2, 1)]), payload(vec![one(3, 1)])], "1 | 2 || 3; 0 oversized");
        check(vec![payload(vec![one(1, 1), one(2, 1), one(3, 1), one(4, 1)])], "1 | 2 | 3, 4; 0 oversized");
        // Above what we aim at, but the intake takes it: whole, and nobody waits behind it.
        check(vec![payload(vec![one(1, 1), one(2, 9), one(3, 1)])], "1, 2, 3; 0 oversized");
        // A chunk that the intake does not take is spread over several.
        let large = (1..=15).map(|id| span(id, MB)).collect();
        check(
            vec![payload(vec![large, one(16, 1)])],
            "1 2 3, 4 5 6, 7 8 9, 10 11 12, 13 14 15, 16; 0 oversized",
        );
        check(vec![payload(vec![vec![span(1, 10), span(2, 13 * MB), span(3, 10)]])], "1 3; 1 oversized");
        check(vec![payload(vec![one(1, 13)])], "; 1 oversized");
        check(vec![payload(vec![]), payload(vec![])], "; 0 oversized");
    }

    #[test]
    fn the_other_signals() {
        let check = |batch: Batch, sizes: &[usize], oversized| {
            let packed = pack(batch);
            assert_eq!(packed.requests.iter().map(|(batch, _)| items(batch)).collect::<Vec<_>>(), sizes);
            assert_eq!(packed.oversized, oversized);
            for (batch, body) in &packed.requests {
                assert!(body.len() <= endpoint(batch.signal()).max_bytes);
                assert_eq!(&encode(batch), body);
            }
        };
        check(Batch::Logs(vec![log(); 2500]), &[1000, 1000, 500], 0);
        let long = |bytes| Log { message: "x".repeat(bytes), ..log() };
        check(Batch::Logs(vec![long(2_000_000), long(2_000_000), long(2_000_000)]), &[2, 1], 0);
        check(Batch::Logs(vec![log(), long(6_000_000), log()]), &[2], 1);
        // Text that grows sixfold when escaped.
        check(Batch::Logs(vec![Log { message: "\u{1}".repeat(900_000), ..log() }]), &[], 1);
        check(Batch::Logs(vec![Log { message: "\u{1}".repeat(800_000), ..log() }; 2]), &[1, 1], 0);
        let series = |tag: usize| Series {
            name: "m".into(),
            kind: SeriesKind::Count,
            tags: vec!["t".repeat(tag).into()],
            points: vec![(UnixNanos::from_secs(1), 1.0)],
            interval_secs: Some(10),
        };
        check(Batch::Series(vec![series(1); 1001]), &[1000, 1], 0);
        check(Batch::Series(vec![series(200_000); 5]), &[2, 2, 1], 0);
        check(Batch::Series(vec![series(1_000_000), series(1), series(6_000_000)]), &[1, 1], 1);
        let mut sketch = Sketch::default();
        sketch.insert(1.0, 1);
        let sketches = |tag: usize| SketchSeries {
            name: "m".into(),
            tags: vec!["t".repeat(tag).into()],
            points: vec![(UnixNanos::from_secs(1), sketch.clone())],
        };
        check(Batch::Sketches(vec![sketches(1); 2001]), &[1000, 1000, 1], 0);
        check(Batch::Sketches(vec![sketches(1_000_000); 3]), &[2, 1], 0);
        check(Batch::Sketches(vec![sketches(5_000_000)]), &[], 1);
    }

    /// What counts is how long they are for the intake, not what they take in memory.
    #[test]
    fn statistics_are_cut_by_their_encoded_size() {
        let made = |resource: usize, groups: usize| {
            let key = StatsKey { resource: "x".repeat(resource).into(), ..StatsKey::default() };
            let groups = vec![(key, StatsGroup::default()); groups];
            let (start, duration) = (UnixNanos::from_secs(10), Duration::from_secs(10));
            let buckets = vec![StatsBucket { start, duration, groups }];
            ClientStats::Made(Box::new(SpanStats { buckets, ..SpanStats::default() }))
        };
        let check = |all: Vec<ClientStats>, want: &[usize]| {
            let packed = pack(Batch::Stats(all));
            assert_eq!(packed.requests.iter().map(|(batch, _)| items(batch)).collect::<Vec<_>>(), want);
            assert_eq!(packed.oversized, 0);
            for (batch, body) in &packed.requests {
                assert!(body.len() <= endpoint(Signal::Stats).target_bytes, "{}", body.len());
                assert_eq!(&encode(batch), body);
            }
        };
        check(vec![made(10, 10); 100], &[100]);
        check(vec![made(500, 1000); 5], &[3, 2]);
        check(vec![made(2_900_000, 1); 3], &[1, 1, 1]);
        let sent = ClientStats::Sent(
            b"\x81\xa5Stats\xc6\x00\x16\xe3\x60".iter().copied().chain(vec![0; 1_500_000]).collect(),
        );
        check(vec![sent; 3], &[1, 1, 1]);
    }

    #[test]
    fn pieces_are_put_together_again() {
        let all = Batch::Logs((0..2500).map(|n| Log { message: n.to_string(), ..log() }).collect());
        let mut pieces = split(all.clone()).batches.into_iter();
        let mut back = pieces.next().unwrap();
        pieces.for_each(|piece| append(&mut back, piece).unwrap());
        assert_eq!(back, all);
        assert_eq!(append(&mut back, Batch::Series(vec![])), Err(Batch::Series(vec![])));
    }
}
