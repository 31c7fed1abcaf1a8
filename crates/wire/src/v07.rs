//! The tracers' protocol `/v0.7/traces`: one msgpack map of what holds for the whole tracer, and in it the
//! chunks, each a map with the spans of one trace. Spans are those of [`crate::v04`].
//! <https://github.com/DataDog/datadog-agent/blob/main/pkg/proto/datadog/trace/tracer_payload.proto>
//!
//! What a payload or a chunk says of all its spans is put on the first span of each chunk, where the other
//! protocols have it and where it is looked for; what a span says itself stays.

use model::{Chunk, Tags, Text, TracerInfo, keys};
use rmp::encode;

use crate::msgpack::{Reader, Value};
use crate::v04::{self, DecodeError, Decoded, Written, trusted};

/// What a request held: spans, and what its sender says of itself.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Payload {
    /// Only what the body says: empty where it says nothing.
    pub tracer: TracerInfo,
    pub decoded: Decoded,
}

/// What holds for all spans of a payload, or of a chunk.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) meta: Tags<Text>,
    pub(crate) origin: Text,
    pub(crate) priority: Option<f64>,
}

/// Reads the body of a `/v0.7/traces` request. Trailing bytes are ignored.
///
/// Fails only when the body as a whole is no map, or ends too early.
pub fn decode(body: &[u8]) -> Result<Payload, DecodeError> {
    let mut reader = Reader::new(body);
    let pairs = match reader.value()? {
        Value::Map(pairs) => pairs,
        Value::Nil => 0,
        _ => return Err(DecodeError::NotTraces),
    };
    let (mut payload, mut shared) = (Payload::default(), Shared::default());
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        let tracer = &mut payload.tracer;
        match &*key {
            "container_id" => tracer.container_id = v04::text(&mut reader)?,
            "language_name" => tracer.language = v04::text(&mut reader)?,
            "language_version" => tracer.language_version = v04::text(&mut reader)?,
            "tracer_version" => tracer.tracer_version = v04::text(&mut reader)?,
            "runtime_id" => shared.set(keys::trace::RUNTIME_ID, v04::text(&mut reader)?),
            "env" => shared.set(keys::trace::ENV, v04::text(&mut reader)?),
            "hostname" => shared.set(keys::trace::HOSTNAME, v04::text(&mut reader)?),
            "app_version" => shared.set(keys::trace::VERSION, v04::text(&mut reader)?),
            "tags" => shared.meta.extend(v04::tags(&mut reader)?),
            "chunks" => {
                for _ in 0..reader.array()? {
                    chunk(&mut reader, &mut payload.decoded)?;
                }
            }
            _ => reader.skip()?,
        }
    }
    for chunk in &mut payload.decoded.chunks {
        shared.clone().apply(chunk);
    }
    Ok(payload)
}

fn chunk(reader: &mut Reader<'_>, decoded: &mut Decoded) -> Result<(), DecodeError> {
    let pairs = match reader.value()? {
        Value::Map(pairs) => pairs,
        Value::Nil => 0,
        other => {
            reader.skip_rest(&other)?;
            decoded.dropped_spans += 1;
            0
        }
    };
    let (mut chunk, mut shared) = (Chunk::default(), Shared::default());
    for _ in 0..pairs {
        let Some(key) = reader.key()? else { continue };
        match &*key {
            "priority" => shared.priority = reader.scalar()?.to_float(),
            "origin" => shared.origin = v04::text(reader)?,
            "tags" => shared.meta.extend(v04::tags(reader)?),
            "spans" => {
                let spans = reader.array()?;
                chunk.spans.reserve(trusted(spans));
                for _ in 0..spans {
                    match v04::span(reader)? {
                        Some(span) => chunk.spans.push(span),
                        None => decoded.dropped_spans += 1,
                    }
                }
            }
            _ => reader.skip()?,
        }
    }
    shared.apply(&mut chunk);
    if !chunk.spans.is_empty() {
        decoded.chunks.push(chunk);
    }
    Ok(())
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

/// Writes the body of a `/v0.7/traces` request, as a tracer would: for tests. `tags` hold for the payload.
pub fn encode(tracer: &TracerInfo, tags: &Tags<Text>, chunks: &[Chunk]) -> Vec<u8> {
    let mut body = Vec::new();
    let written = write(&mut body, tracer, tags, chunks);
    debug_assert!(written.is_ok(), "a vector takes all");
    body
}

fn write(body: &mut Vec<u8>, tracer: &TracerInfo, tags: &Tags<Text>, chunks: &[Chunk]) -> Written {
    encode::write_map_len(body, 6)?;
    for (key, text) in [
        ("container_id", &tracer.container_id),
        ("language_name", &tracer.language),
        ("language_version", &tracer.language_version),
        ("tracer_version", &tracer.tracer_version),
    ] {
        encode::write_str(body, key)?;
        encode::write_str(body, text)?;
    }
    encode::write_str(body, "tags")?;
    v04::write_tags(body, tags)?;
    encode::write_str(body, "chunks")?;
    encode::write_array_len(body, v04::len(chunks.len()))?;
    for chunk in chunks {
        encode::write_map_len(body, 2)?;
        encode::write_str(body, "priority")?;
        encode::write_sint(body, -128)?;
        encode::write_str(body, "spans")?;
        encode::write_array_len(body, v04::len(chunk.spans.len()))?;
        chunk.spans.iter().try_for_each(|span| v04::write_span(body, span))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rmpv::Value as Any;

    use super::*;
    use crate::v04::tests::{bytes, chunks, map, value};

    fn tracer() -> TracerInfo {
        TracerInfo {
            language: "python".into(),
            language_version: "3.13".into(),
            tracer_version: "4.0".into(),
            container_id: "c".into(),
            ..TracerInfo::default()
        }
    }

    #[test]
    fn what_holds_for_all_is_said_in_the_first_span() {
        let span = |id: i64, more: &[(&str, Any)]| {
            let ids = [("trace_id", Any::F64(7.0)), ("span_id", Any::from(id)), ("start", Any::F64(5e9))];
            map(&[&ids[..], more].concat())
        };
        let own = map(&[("_dd.origin", "own".into()), ("env", "own".into())]);
        let body = map(&[
            ("runtime_id", "r".into()),
            ("env", "prod".into()),
            ("hostname", "".into()),
            ("app_version", "v2".into()),
            ("tags", map(&[("team", "a".into()), ("k", "payload".into())])),
            ("nothing we know", map(&[("a", Any::Nil)])),
            (
                "chunks",
                Any::Array(vec![
                    map(&[
                        ("priority", Any::F64(2.0)),
                        ("origin", "lambda".into()),
                        ("dropped_trace", false.into()),
                        ("tags", map(&[("_dd.p.dm", "-4".into()), ("k", "chunk".into())])),
                        (
                            "spans",
                            Any::Array(vec![span(1, &[]), "no span".into(), span(2, &[("meta", own)])]),
                        ),
                    ]),
                    Any::from("no chunk"),
                    map(&[("priority", Any::from(-128)), ("spans", Any::Array(vec![span(3, &[])]))]),
                    map(&[]),
                ]),
            ),
        ]);
        let payload = decode(&bytes(&body)).unwrap();
        assert_eq!((payload.decoded.chunks.len(), payload.decoded.dropped_spans), (2, 2));
        let told = payload.decoded.chunks.iter().flat_map(|chunk| &chunk.spans).map(|span| {
            let meta: Vec<_> = span.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let priority = span.metrics.get(keys::trace::SAMPLING_PRIORITY);
            format!("{} {} {priority:?}", span.span_id.get(), meta.join(" "))
        });
        let told: Vec<_> = told.collect();
        assert_eq!(
            told,
            [
                "1 _dd.origin=lambda _dd.p.dm=-4 k=chunk runtime-id=r env=prod version=v2 team=a Some(2.0)",
                "2 _dd.origin=own env=own None",
                "3 runtime-id=r env=prod version=v2 team=a k=payload None",
            ]
        );
    }

    #[test]
    fn bodies() {
        let check = |body: &[u8], want| {
            assert_eq!(
                decode(body).map(|p| (p.decoded.chunks.len(), p.decoded.dropped_spans)),
                want,
                "{body:x?}"
            );
        };
        check(b"\x80", Ok((0, 0)));
        check(b"\xc0", Ok((0, 0)));
        check(b"\x90", Err(DecodeError::NotTraces));
        check(b"", Err(DecodeError::Truncated));
        check(b"\xdf\xff\xff\xff\xff", Err(DecodeError::Truncated));
        check(b"\x81\xa6chunks\xdd\xff\xff\xff\xff", Err(DecodeError::Truncated));
        check(b"\x81\xa6chunks\x91\x81\xa5spans\xdd\xff\xff\xff\xff", Err(DecodeError::Truncated));
        check(b"\x81\xa6chunks\xc0", Ok((0, 0)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(chunks in chunks()) {
            let payload = decode(&encode(&tracer(), &Tags::new(), &chunks)).unwrap();
            prop_assert_eq!(payload, Payload { tracer: tracer(), decoded: Decoded { chunks, dropped_spans: 0 } });
        }

        /// Whatever stands among the chunks and the spans costs no sibling.
        #[test]
        fn any_msgpack_among_them_is_taken(odd in value(), good in chunks()) {
            let spans = good.iter().flat_map(|chunk| &chunk.spans).count();
            let whole = encode(&tracer(), &Tags::new(), &good);
            // The chunks are last: one more is put before them.
            let at = whole.windows(7).position(|w| w == b"\xa6chunks").unwrap() + 7;
            let mut body = whole[..at].to_vec();
            body.push(0x90 + u8::try_from(good.len()).unwrap() + 1);
            body.extend(bytes(&odd));
            body.extend(&whole[at + 1..]);
            let decoded = decode(&body).unwrap().decoded;
            let kept = decoded.chunks.iter().map(|chunk| chunk.spans.len()).sum::<usize>();
            prop_assert!(kept >= spans, "{} of {}", kept, spans);
        }

        #[test]
        fn any_bytes_do_no_harm(noise in vec(any::<u8>(), 0..300), chunks in chunks(), cut in 0..2000usize) {
            let _ = decode(&noise);
            let whole = encode(&tracer(), &Tags::new(), &chunks);
            let _ = decode(&[&whole[..cut.min(whole.len())], &noise].concat());
            prop_assert!(decode(&[whole, noise].concat()).is_ok());
        }
    }
}
