//! Cut or whole, a body holds the same.

use model::{SpanId, Tags, TraceId};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use rmpv::Value as Any;

use super::*;
use crate::v04::Decoded;
use crate::v04::tests::{bytes, chunks, map, value};

const VERSIONS: [Version; 4] = [Version::V04, Version::V05, Version::V07, Version::V1];

/// What a body of some version holds.
fn whole(version: Version, body: &[u8]) -> Result<(TracerInfo, Decoded), DecodeError> {
    let plain = |decoded| (TracerInfo::default(), decoded);
    match version {
        Version::V04 => v04::decode(body).map(plain),
        Version::V05 => v05::decode(body).map(plain),
        Version::V07 => v07::decode(body).map(|payload| (payload.tracer, payload.decoded)),
        Version::V1 => v1::decode(body).map(|payload| (payload.tracer, payload.decoded)),
    }
}

/// What its pieces hold, and how many there are.
fn cut(version: Version, body: &[u8], part: usize) -> Result<(TracerInfo, Decoded, usize), DecodeError> {
    let (mut cutter, mut pieces) = (Cutter::new(version, 8 << 20), Vec::new());
    for part in body.chunks(part.max(1)) {
        cutter.push(part);
        while let Some(piece) = cutter.piece()? {
            assert!(piece.len() <= 3 * MAX_PIECE, "{}", piece.len());
            pieces.push(piece);
        }
    }
    pieces.extend(cutter.finish()?);
    let mut all = Decoded { dropped_spans: cutter.take_dropped(), ..Decoded::default() };
    for piece in &pieces {
        let one = v04::decode(piece).unwrap();
        all.chunks.extend(one.chunks);
        all.dropped_spans += one.dropped_spans;
    }
    Ok((cutter.tracer(), all, pieces.len()))
}

/// A body of some version; of what v0.5 has no field for, nothing.
fn encode(version: Version, chunks: &mut [Chunk]) -> Vec<u8> {
    let tracer = TracerInfo { language: "go".into(), ..TracerInfo::default() };
    match version {
        Version::V04 => v04::encode(chunks),
        Version::V05 => encode_v05(chunks),
        Version::V07 => v07::encode(&tracer, &Tags::new(), chunks),
        Version::V1 => v1::encode(&tracer, chunks),
    }
}

fn encode_v05(chunks: &mut [Chunk]) -> Vec<u8> {
    let mut texts: Vec<String> = vec![String::new()];
    let mut known = std::collections::HashMap::from([(String::new(), 0)]);
    let mut index = |text: &str| {
        let at = *known.entry(text.to_owned()).or_insert_with(|| {
            texts.push(text.to_owned());
            texts.len() - 1
        });
        Any::from(at as u64)
    };
    let mut one = |span: &mut Span| {
        span.meta_struct = Tags::new();
        (span.links, span.events) = (Vec::new(), Vec::new());
        let meta = span.meta.iter().map(|(key, value)| (index(key), index(value))).collect();
        let metrics = span.metrics.iter().map(|(key, value)| (index(key), Any::F64(*value))).collect();
        Any::Array(vec![
            index(&span.service),
            index(&span.name),
            index(&span.resource),
            span.trace_id.low().into(),
            span.span_id.get().into(),
            span.parent_id.map_or(0, SpanId::get).into(),
            span.start.as_nanos().into(),
            u64::try_from(span.duration.as_nanos()).unwrap().into(),
            u64::from(span.error).into(),
            Any::Map(meta),
            Any::Map(metrics),
            index(&span.kind),
        ])
    };
    let traces = chunks.iter_mut().map(|chunk| Any::Array(chunk.spans.iter_mut().map(&mut one).collect()));
    let traces = Any::Array(traces.collect());
    let texts = Any::Array(texts.into_iter().map(Any::from).collect());
    bytes(&Any::Array(vec![texts, traces]))
}

fn trace(id: u64, spans: u64, filler: usize) -> Chunk {
    let span = |n| {
        let (trace, own) = (TraceId::new(0, id).unwrap(), SpanId::new(id * 100_000 + n + 1).unwrap());
        let mut span = Span::new("work", trace, own, SpanId::new(id * 100_000 + 1).filter(|_| n > 0));
        span.meta.insert("filler", format!("{}", (id + n) % 50).repeat(filler));
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
    for version in VERSIONS {
        let mut chunks: Vec<Chunk> = (1..400).map(|id| trace(id, 1 + id % 7, 500)).collect();
        let body = encode(version, &mut chunks);
        let (tracer, decoded) = whole(version, &body).unwrap();
        assert_eq!(decoded.chunks, chunks, "{version:?}");
        for part in [333, 70_000, body.len()] {
            let (cut_tracer, cut, pieces) = cut(version, &body, part).unwrap();
            assert!(pieces >= 3, "{version:?}: {pieces}");
            assert_eq!((&cut, &cut_tracer), (&decoded, &tracer), "{version:?}");
        }
    }
}

/// Wherever the last part begins: what is looked at only when all has come makes pieces too.
#[test]
fn nothing_of_the_last_part_is_left_out() {
    for version in VERSIONS {
        let mut chunks = vec![trace(1, 40, 4000), trace(2, 40, 4000)];
        let body = encode(version, &mut chunks);
        let (_, decoded) = whole(version, &body).unwrap();
        for last in [1, 10, 3000, 100_000] {
            let mut cutter = Cutter::new(version, 8 << 20);
            let (first, last) = body.split_at(body.len() - last);
            let mut pieces = Vec::new();
            for part in [first, last] {
                cutter.push(part);
                while let Some(piece) = cutter.piece().unwrap() {
                    pieces.push(piece);
                }
            }
            pieces.extend(cutter.finish().unwrap());
            let chunks: Vec<Chunk> =
                pieces.iter().flat_map(|piece| v04::decode(piece).unwrap().chunks).collect();
            assert_eq!(chunks, decoded.chunks, "{version:?}");
        }
    }
}

#[test]
fn a_large_trace_is_cut_and_says_again_what_it_is() {
    for version in [Version::V05, Version::V07] {
        let mut whole = vec![trace(1, 12_000, 500)];
        let body = encode(version, &mut whole);
        let (_, cut, _) = cut(version, &body, 100_000).unwrap();
        assert!(cut.chunks.len() > 1, "{version:?}: {}", cut.chunks.len());
        let ids = |chunks: &[Chunk]| -> Vec<SpanId> {
            chunks.iter().flat_map(|chunk| &chunk.spans).map(|span| span.span_id).collect()
        };
        assert_eq!(ids(&cut.chunks), ids(&whole));
        for chunk in &cut.chunks {
            assert_eq!(v04::trace_id_high(chunk), Some(0x66a1_b2c3_0000_0000));
            assert_eq!(chunk.spans[0].metrics.get(keys::trace::SAMPLING_PRIORITY), Some(&2.0));
        }
    }
    // Its id stands behind its spans: it cannot be cut.
    let body = encode(Version::V1, &mut [trace(1, 12_000, 500)]);
    assert_eq!(cut(Version::V1, &body, 100_000).unwrap_err(), DecodeError::TooLarge);
}

/// v0.7, with what holds for all spans behind them, as most writers have it.
fn said_behind(chunks: u64, filler: usize) -> Vec<u8> {
    let span = |id: u64| {
        map(&[("trace_id", id.into()), ("span_id", id.into()), ("name", "x".repeat(filler).into())])
    };
    let chunk =
        |id| map(&[("spans", Any::Array(vec![span(id)])), ("tags", map(&[("_dd.p.dm", "-4".into())]))]);
    bytes(&map(&[
        ("language_name", "go".into()),
        ("chunks", Any::Array((1..=chunks).map(chunk).collect())),
        ("env", "prod".into()),
    ]))
}

#[test]
fn what_is_said_behind_the_spans_holds_for_as_many_as_can_wait() {
    let envs = |body: &[u8]| -> Vec<bool> {
        let (_, cut, _) = cut(Version::V07, body, 50_000).unwrap();
        let spans = cut.chunks.iter().flat_map(|chunk| &chunk.spans);
        spans.map(|span| (span.meta.get("_dd.p.dm").unwrap() == "-4") && span.meta.contains("env")).collect()
    };
    assert_eq!(envs(&said_behind(100, 15_000)), [true; 100]);
    let of_many = envs(&said_behind(300, 15_000));
    assert_eq!((of_many.len(), of_many[0], of_many[299]), (300, false, true));
}

#[test]
fn texts_have_a_bound_of_their_own() {
    let body = encode(Version::V05, &mut [trace(1, 40, 200_000)]);
    assert_eq!(cut(Version::V05, &body, 70_000).unwrap_err(), DecodeError::TooMuchText);
    let mut apart: Vec<Chunk> = (0..50).map(|id| trace(id + 1, 1, 200_000)).collect();
    let body = encode(Version::V1, &mut apart);
    assert_eq!(cut(Version::V1, &body, 70_000).unwrap_err(), DecodeError::TooMuchText);
}

/// One long text that many spans name: what comes out is as bounded as what comes in.
#[test]
fn a_small_body_does_not_become_a_large_one() {
    let long = "x".repeat(1 << 20);
    let fields = |name: u64| [0, name, 0, 7, 8, 0, 0, 0, 0].map(Any::from).to_vec();
    let meta = Any::Map((0..20).map(|n: u64| (Any::from(n), Any::from(0))).collect());
    let huge = || Any::Array([fields(0), vec![meta.clone()]].concat());
    let spans = (0..300)
        .map(|_| Any::Array(fields(1)))
        .chain([huge()])
        .chain((0..400).map(|_| Any::Array(fields(0))));
    let table = vec![long.clone().into(), "short".into()];
    let body = bytes(&Any::Array(vec![Any::Array(table), Any::Array(vec![Any::Array(spans.collect())])]));
    let (_, cut, _) = cut(Version::V05, &body, 10_000).unwrap();
    let kept: usize = cut.chunks.iter().map(|chunk| chunk.spans.len()).sum();
    // Two long texts a span.
    assert_eq!(kept as u64 + cut.dropped_spans, 701);
    assert_eq!(kept, 15);
}

#[test]
fn what_is_no_body_is_told() {
    let check = |version, body: &[u8], want: Result<u64, DecodeError>| {
        assert_eq!(cut(version, body, 1).map(|(_, cut, _)| cut.dropped_spans), want, "{version:?} {body:?}");
    };
    for version in VERSIONS {
        check(version, b"\xc0", Ok(0));
        check(version, b"", Err(DecodeError::Truncated));
        check(version, b"garbage", Err(DecodeError::NotTraces));
        check(version, b"\xc1", Err(DecodeError::Reserved));
    }
    check(Version::V05, b"\x90", Ok(0));
    check(Version::V05, b"\x92\x90\x90", Ok(0));
    check(Version::V05, b"\x92\x90\x93\x05\x91\x90\x90", Ok(2));
    check(Version::V05, b"\x92\x90", Err(DecodeError::Truncated));
    check(Version::V05, b"\x92\x80\x90", Err(DecodeError::NotTraces));
    check(Version::V07, b"\x80", Ok(0));
    check(Version::V07, b"\x81\xa6chunks\x93\x05\xc0\x81\xa5spans\x91\x05", Ok(2));
    check(Version::V07, b"\x81\xa6chunks\x91", Err(DecodeError::Truncated));
    check(Version::V1, b"\x81\x0b\x93\x05\x80\x81\x04\x91\x05", Ok(2));
    check(Version::V1, b"\x81\x0b\x91", Err(DecodeError::Truncated));
    let endless = [b"\x91\x91\x81\xa1k\xdb\xff\xff\xff\xff", &vec![b'x'; 3 * MAX_SPAN][..]].concat();
    assert_eq!(cut(Version::V04, &endless, 1 << 20).unwrap_err(), DecodeError::TooLarge);
    for (version, head) in [
        (Version::V05, &b"\x92\x91\xdb\xff\xff\xff\xff"[..]),
        (Version::V07, b"\x81\xa6chunks\x91\x81\xa5spans\x91\x81\xa1k\xdb\xff\xff\xff\xff"),
        (Version::V1, b"\x81\x02\xdb\xff\xff\xff\xff"),
    ] {
        let endless = [head, &vec![b'x'; 3 * MAX_SPAN][..]].concat();
        assert_eq!(cut(version, &endless, 1 << 20).unwrap_err(), DecodeError::TooLarge, "{version:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_hold_what_the_body_holds(chunks in chunks(), part in 1..3000usize, end in any::<Option<proptest::sample::Index>>()) {
        for version in VERSIONS {
            let mut chunks = chunks.clone();
            let mut body = encode(version, &mut chunks);
            let end = end.map(|end| end.index(body.len()));
            body.truncate(end.unwrap_or(body.len()));
            match (cut(version, &body, part), whole(version, &body)) {
                (Ok((tracer, cut, _)), Ok(whole)) => prop_assert_eq!((tracer, cut), whole),
                (cut, whole) => prop_assert_eq!(cut.unwrap_err(), whole.unwrap_err()),
            }
        }
    }

    /// Whatever stands among what is known.
    #[test]
    fn any_msgpack_gives_what_decoding_gives(odd in value(), noise in vec(any::<u8>(), 0..100), part in 1..50usize) {
        let odd = bytes(&odd);
        for (version, head) in [
            (Version::V04, &b"\x92\x92"[..]),
            (Version::V05, b"\x92\x92\xa1a\xa1b\x92\x92"),
            (Version::V07, b"\x82\xa6chunks\x92\x82\xa5spans\x92"),
            (Version::V1, b"\x82\x0b\x92\x82\x04\x92"),
        ] {
            let body = [head, &odd, &odd, &odd, &noise].concat();
            match (cut(version, &body, part), whole(version, &body)) {
                (Ok((tracer, cut, _)), Ok(whole)) => prop_assert_eq!((tracer, cut), whole),
                (cut, whole) => prop_assert!(cut.is_err() && whole.is_err(), "{cut:?} {whole:?}"),
            }
        }
    }
}
