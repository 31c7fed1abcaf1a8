//! The tracers' protocol `/v0.7/traces`: one msgpack map of what holds for the whole tracer, and in it the
//! chunks, each a map with the spans of one trace. Spans are those of [`crate::v04`].
//! <https://github.com/DataDog/datadog-agent/blob/main/pkg/proto/datadog/trace/tracer_payload.proto>
//!
//! What a payload or a chunk says of all its spans is put on the first span of each chunk, where the other
//! protocols have it and where it is looked for; what a span says itself stays.

use model::{Chunk, Span, Tags, Text, TracerInfo, keys};
use rmp::encode;

pub use crate::maps::Payload;
use crate::maps::{self, Follows, Said};
use crate::msgpack::{Reader, Value};
use crate::v04::{self, DecodeError, Written};

/// Reads the body of a `/v0.7/traces` request. Trailing bytes are ignored.
///
/// Fails only when the body as a whole is no map, or ends too early.
pub fn decode(body: &[u8]) -> Result<Payload, DecodeError> {
    maps::decode(Read, body)
}

#[derive(Debug, Default)]
pub(crate) struct Read;

impl maps::Read for Read {
    fn payload_pair(&mut self, reader: &mut Reader<'_>, said: &mut Said) -> Result<Follows, DecodeError> {
        let Some(key) = reader.key()? else { return Ok(Follows::Nothing) };
        let Said { tracer, shared, .. } = said;
        match &*key {
            "container_id" => tracer.container_id = v04::text(reader)?,
            "language_name" => tracer.language = v04::text(reader)?,
            "language_version" => tracer.language_version = v04::text(reader)?,
            "tracer_version" => tracer.tracer_version = v04::text(reader)?,
            "runtime_id" => shared.set(keys::trace::RUNTIME_ID, v04::text(reader)?),
            "env" => shared.set(keys::trace::ENV, v04::text(reader)?),
            "hostname" => shared.set(keys::trace::HOSTNAME, v04::text(reader)?),
            "app_version" => shared.set(keys::trace::VERSION, v04::text(reader)?),
            "tags" => shared.meta.extend(v04::tags(reader)?),
            "chunks" => return reader.array().map(Follows::Chunks),
            _ => reader.skip()?,
        }
        Ok(Follows::Nothing)
    }

    fn text(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        reader.skip()
    }

    fn chunk(&mut self, reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
        Ok(match reader.value()? {
            Value::Map(pairs) => Some(pairs),
            Value::Nil => Some(0),
            other => {
                reader.skip_rest(&other)?;
                None
            }
        })
    }

    fn chunk_said(&self) -> Said {
        Said::default()
    }

    fn chunk_pair(&mut self, reader: &mut Reader<'_>, said: &mut Said) -> Result<u32, DecodeError> {
        let Some(key) = reader.key()? else { return Ok(0) };
        match &*key {
            "priority" => said.shared.priority = reader.scalar()?.to_float(),
            "origin" => said.shared.origin = v04::text(reader)?,
            "tags" => said.shared.meta.extend(v04::tags(reader)?),
            "spans" => return reader.array(),
            _ => reader.skip()?,
        }
        Ok(0)
    }

    fn span(&mut self, reader: &mut Reader<'_>) -> Result<Option<Span>, DecodeError> {
        v04::span(reader)
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
    use crate::v04::Decoded;
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
