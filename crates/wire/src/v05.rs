//! The tracers' protocol `/v0.5/traces`: a msgpack pair of a table of texts and the traces, whose spans are
//! arrays of twelve fields and name their texts by index. What Python sends unless told otherwise.
//!
//! Only read: nothing of ours writes it. A span gives the same as in [`crate::v04`]; an index beyond the
//! table is an empty text, fields beyond the twelfth are left out.

use model::{Chunk, Span, Tags, Text};

use crate::cut::{MAX_PIECE, Marks, Out, Steps};
use crate::msgpack::{Reader, Value};
use crate::texts::Texts;
use crate::v04::{DecodeError, Decoded, Fields, trusted};

/// Bytes of text that all spans of a body may name which is read as a whole: one long text that many spans name would
/// make a small body large.
const MAX_TEXT: usize = 16 << 20;

/// Reads the body of a `/v0.5/traces` request. Trailing bytes are ignored.
///
/// Fails only when the body as a whole is no such pair, or ends too early.
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(body);
    if !pair(&mut reader)? {
        return Ok(Decoded::default());
    }
    let mut table = Table { left: MAX_TEXT, ..Table::default() };
    for _ in 0..texts(&mut reader)? {
        table.read(&mut reader)?;
    }
    let mut decoded = Decoded::default();
    for _ in 0..reader.array()? {
        let Some(spans) = trace(&mut reader)? else {
            decoded.dropped_spans += 1;
            continue;
        };
        let mut chunk = Chunk { spans: Vec::with_capacity(trusted(spans)) };
        for _ in 0..spans {
            match table.span(&mut reader)? {
                Some(span) => chunk.spans.push(span),
                None => decoded.dropped_spans += 1,
            }
        }
        if !chunk.spans.is_empty() {
            decoded.chunks.push(chunk);
        }
    }
    Ok(decoded)
}

/// Whether there is anything.
fn pair(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.value()? {
        Value::Array(2..) => Ok(true),
        Value::Nil | Value::Array(0) => Ok(false),
        _ => Err(DecodeError::NotTraces),
    }
}

/// How many texts there are.
fn texts(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match reader.value()? {
        Value::Array(texts) => Ok(texts),
        _ => Err(DecodeError::NotTraces),
    }
}

/// How many spans a trace has; `None` for what is no trace.
fn trace(reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
    Ok(match reader.value()? {
        Value::Array(spans) => Some(spans),
        Value::Nil => Some(0),
        other => {
            reader.skip_rest(&other)?;
            None
        }
    })
}

#[derive(Debug, Default)]
struct Table {
    texts: Texts,
    /// Bytes that may still be given out.
    left: usize,
}

impl Table {
    /// Reads the next text of the table.
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let text = reader.maybe_text()?.unwrap_or_default();
        self.texts.push(&text);
        Ok(())
    }

    /// `None` for what is no array or has no ids, and when there is no room for more text.
    fn span(&mut self, reader: &mut Reader<'_>) -> Result<Option<Span>, DecodeError> {
        let mut fields = Fields::default();
        let mut complete = true;
        let n = reader.array()?;
        for at in 0..n {
            match at {
                0 => fields.service = self.text(reader, &mut complete)?,
                1 => fields.name = self.text(reader, &mut complete)?,
                2 => fields.resource = self.text(reader, &mut complete)?,
                3 => fields.trace_id = reader.scalar()?.to_id(),
                4 => fields.span_id = reader.scalar()?.to_id(),
                5 => fields.parent_id = reader.scalar()?.to_id(),
                6 => fields.start = reader.scalar()?.to_count(),
                7 => fields.duration = reader.scalar()?.to_count(),
                8 => fields.error = reader.scalar()?.to_float().is_some_and(|n| n != 0.0),
                9 => fields.meta = self.meta(reader, &mut complete)?,
                10 => fields.metrics = self.metrics(reader, &mut complete)?,
                11 => fields.kind = self.text(reader, &mut complete)?,
                _ => reader.skip()?,
            }
        }
        Ok(if complete && n > 0 { fields.into_span() } else { None })
    }

    fn meta(&mut self, reader: &mut Reader<'_>, complete: &mut bool) -> Result<Tags<Text>, DecodeError> {
        let pairs = reader.map()?;
        let mut tags = Tags::with_capacity(trusted(pairs));
        for _ in 0..pairs {
            let (key, value) = (self.text(reader, complete)?, self.text(reader, complete)?);
            tags.push(key, value);
        }
        Ok(tags)
    }

    fn metrics(&mut self, reader: &mut Reader<'_>, complete: &mut bool) -> Result<Tags<f64>, DecodeError> {
        let pairs = reader.map()?;
        let mut tags = Tags::with_capacity(trusted(pairs));
        for _ in 0..pairs {
            let key = self.text(reader, complete)?;
            if let Some(value) = reader.scalar()?.to_float() {
                tags.push(key, value);
            }
        }
        Ok(tags)
    }

    /// The text that the next value names. A text that stands there itself is taken too.
    fn text(&mut self, reader: &mut Reader<'_>, complete: &mut bool) -> Result<Text, DecodeError> {
        let index = reader.scalar()?;
        let text = match &index {
            Value::Text(text) => text,
            Value::Uint(_) | Value::Int(_) | Value::Float(_) => {
                let at = usize::try_from(index.to_count()).unwrap_or(usize::MAX);
                self.texts.get(at).unwrap_or_default()
            }
            _ => "",
        };
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                Ok(text.to_owned().into())
            }
            None => {
                *complete = false;
                Ok(Text::default())
            }
        }
    }
}

/// A body that is cut while it comes.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    table: Table,
    stage: Stage,
    /// What is read of the open trace.
    open: Chunk,
    weight: usize,
    marks: Marks,
}

/// What comes next, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Head,
    TableHead,
    Table(u32),
    TracesHead,
    Traces(u32),
    /// Spans of the open trace, and traces behind it.
    Spans(u32, u32),
}

impl Cut {
    /// Bytes of spans that wait.
    pub(crate) fn open(&self) -> usize {
        self.weight
    }

    fn read_span(&mut self, reader: &mut Reader<'_>, out: &mut Out) -> Result<(), DecodeError> {
        let allowed = out.may_name();
        self.table.left = allowed;
        let span = self.table.span(reader)?;
        out.has_named(allowed - self.table.left);
        match span {
            Some(span) => {
                self.weight += span.weight();
                self.open.spans.push(span);
            }
            None => out.dropped += 1,
        }
        if self.weight > MAX_PIECE {
            self.close(out);
        }
        Ok(())
    }

    fn close(&mut self, out: &mut Out) {
        self.marks.note(&mut self.open.spans);
        out.put(&self.open);
        self.open.spans.clear();
        self.weight = 0;
    }
}

impl Steps for Cut {
    fn step(&mut self, reader: &mut Reader<'_>, out: &mut Out) -> Result<(), DecodeError> {
        self.stage = match self.stage {
            Stage::Head => match pair(reader)? {
                true => Stage::TableHead,
                false => Stage::Traces(0),
            },
            Stage::TableHead => Stage::Table(texts(reader)?),
            Stage::Table(0) => Stage::TracesHead,
            Stage::Table(left) => {
                self.table.read(reader)?;
                Stage::Table(left - 1)
            }
            Stage::TracesHead => Stage::Traces(reader.array()?),
            Stage::Traces(0) => Stage::Traces(0),
            Stage::Traces(left) => match trace(reader)? {
                Some(spans) => Stage::Spans(spans, left - 1),
                None => {
                    out.dropped += 1;
                    Stage::Traces(left - 1)
                }
            },
            Stage::Spans(0, left) => {
                self.close(out);
                self.marks = Marks::default();
                Stage::Traces(left)
            }
            Stage::Spans(spans, left) => {
                self.read_span(reader, out)?;
                Stage::Spans(spans - 1, left)
            }
        };
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Traces(0)
    }

    fn texts(&self) -> usize {
        self.table.texts.weight()
    }

    fn end(&mut self, _: &mut Out) {}
}

#[cfg(test)]
mod tests {
    use model::{Span, SpanId, TraceId, UnixNanos};
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, proptest};
    use rmpv::Value as Any;

    use super::*;

    fn bytes(value: &Any) -> Vec<u8> {
        let mut body = Vec::new();
        rmpv::encode::write_value(&mut body, value).unwrap();
        body
    }

    fn array<const N: usize>(all: [Any; N]) -> Any {
        Any::Array(all.to_vec())
    }

    fn ints<const N: usize>(all: [i64; N]) -> Vec<Any> {
        all.map(Any::from).to_vec()
    }

    const TEXTS: [&str; 8] = ["", "shop", "http", "GET /", "k", "v", "n", "web"];

    fn body(spans: Vec<Any>) -> Vec<u8> {
        let texts = Any::Array(TEXTS.map(Any::from).to_vec());
        bytes(&array([texts, array([Any::Array(spans)])]))
    }

    fn fields() -> Vec<Any> {
        let mut all = ints([1, 2, 3, 7, 8, 9, 1000, 50, 1]);
        all.push(Any::Map(vec![(4.into(), 5.into())]));
        all.push(Any::Map(vec![(6.into(), Any::F64(1.5)), (4.into(), 2.into())]));
        all.push(7.into());
        all
    }

    fn span() -> Span {
        let (trace, id) = (TraceId::new(0, 7).unwrap(), SpanId::new(8).unwrap());
        let mut span = Span::new("http", trace, id, SpanId::new(9));
        (span.service, span.resource, span.kind) = ("shop".into(), "GET /".into(), "web".into());
        (span.start, span.duration, span.error) =
            (UnixNanos(1000), std::time::Duration::from_nanos(50), true);
        span.meta.insert("k", "v");
        span.metrics.insert("n", 1.5);
        span.metrics.insert("k", 2.0);
        span
    }

    #[test]
    fn spans() {
        let check = |change: fn(&mut Vec<Any>), want: Option<fn(&mut Span)>| {
            let (mut given, mut expected) = (fields(), span());
            change(&mut given);
            let decoded = decode(&body(vec![Any::Array(given)])).unwrap();
            let want = want.map(|change| {
                change(&mut expected);
                expected
            });
            assert_eq!(decoded.dropped_spans, u64::from(want.is_none()));
            assert_eq!(decoded.chunks.into_iter().flat_map(|c| c.spans).next(), want);
        };
        check(|_| (), Some(|_| ()));
        check(|f| f.push("more".into()), Some(|_| ()));
        // Floats where integers are expected, nulls, ids above 2^63, an index that is nowhere.
        check(|f| f[6] = Any::F64(2000.0), Some(|s| s.start = UnixNanos(2000)));
        check(|f| f[8] = Any::Nil, Some(|s| s.error = false));
        check(|f| f[4] = Any::from(-1), Some(|s| s.span_id = SpanId::new(u64::MAX).unwrap()));
        check(|f| f[0] = 99.into(), Some(|s| s.service = "".into()));
        check(|f| f[0] = Any::F64(1.0), Some(|_| ()));
        check(|f| f[0] = "itself".into(), Some(|s| s.service = "itself".into()));
        check(|f| f[5] = 0.into(), Some(|s| s.parent_id = None));
        check(
            |f| f.truncate(5),
            Some(|s| {
                *s = {
                    let mut short = Span::new("http", s.trace_id, s.span_id, None);
                    (short.service, short.resource) = ("shop".into(), "GET /".into());
                    short
                }
            }),
        );
        check(|f| f[3] = 0.into(), None);
        check(|f| f[4] = Any::Nil, None);
        check(Vec::clear, None);
    }

    #[test]
    fn bodies() {
        let check =
            |body: &[u8], want| assert_eq!(decode(body).map(|d| (d.chunks.len(), d.dropped_spans)), want);
        let texts = array(["".into()]);
        check(&bytes(&array([texts.clone(), array([])])), Ok((0, 0)));
        check(&bytes(&array([texts.clone(), Any::Nil])), Ok((0, 0)));
        check(&bytes(&array([texts.clone(), array([Any::Nil, "no".into()])])), Ok((0, 1)));
        check(&bytes(&array([])), Ok((0, 0)));
        check(&bytes(&array([texts])), Err(DecodeError::NotTraces));
        check(&bytes(&Any::Map(vec![])), Err(DecodeError::NotTraces));
        check(&body(vec!["no".into()]), Ok((0, 1)));
        check(b"", Err(DecodeError::Truncated));
        check(b"\x92\xdd\xff\xff\xff\xff", Err(DecodeError::Truncated));
    }

    #[test]
    fn a_small_body_does_not_become_a_large_one() {
        let long = "x".repeat(1 << 20);
        let one = || Any::Array(ints([0, 0, 0, 7, 8, 0, 0, 0, 0]));
        let spans: Vec<_> = (0..1000).map(|_| one()).collect();
        let body = bytes(&array([array([long.into()]), array([Any::Array(spans)])]));
        let decoded = decode(&body).unwrap();
        let kept: usize = decoded.chunks.iter().map(|chunk| chunk.spans.len()).sum();
        assert_eq!((kept, decoded.dropped_spans), (5, 995));
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(noise in vec(any::<u8>(), 0..200), cut in 0..90usize) {
            let _ = decode(&noise);
            let whole = body(vec![Any::Array(fields())]);
            let _ = decode(&[&whole[..cut.min(whole.len())], &noise].concat());
            prop_assert!(decode(&[whole, noise].concat()).is_ok());
        }
    }
}
