//! Payloads of v1.0 by hand, and what is read of them.

use model::{Chunk, TracerInfo, keys};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use rmpv::Value as Any;

use super::{decode, encode};
use crate::v04::tests::{bytes, chunks, value};
use crate::v04::{DecodeError, Decoded};
use crate::v07::Payload;

fn tracer() -> TracerInfo {
    TracerInfo { language: "go".into(), tracer_version: "2.1".into(), ..TracerInfo::default() }
}

fn map(pairs: Vec<(u64, Any)>) -> Any {
    Any::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn list(all: Vec<Any>) -> Any {
    Any::Array(all)
}

/// A payload with one chunk with one span.
fn one(span: Vec<(u64, Any)>) -> Any {
    let id = Any::Binary((0x66a1_b2c3_0000_0000_0000_0000_0000_0007u128).to_be_bytes().to_vec());
    let ids = vec![(4, 8.into())];
    map(vec![(11, list(vec![map(vec![(4, list(vec![map([ids, span].concat())])), (6, id)])]))])
}

fn told(payload: &Payload) -> Vec<String> {
    let spans = payload.decoded.chunks.iter().flat_map(|chunk| &chunk.spans);
    let text = |span: &model::Span| {
        let mut all: Vec<_> = span.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
        all.extend(span.metrics.iter().map(|(k, v)| format!("{k}#{v}")));
        all.extend(span.meta_struct.iter().map(|(k, v)| format!("{k}:{v:?}")));
        format!("{} {} {} {}", span.span_id.get(), span.service, span.name, all.join(" "))
    };
    spans.map(text).collect()
}

#[test]
fn texts_are_written_once() {
    let span = |id: i64, service: Any, name: Any| map(vec![(4, id.into()), (1, service), (2, name)]);
    let body = map(vec![
        (3, "go".into()),
        (6, "r-1".into()),
        (7, "prod".into()),
        // A field of another version, with a text of its own.
        (99, list(vec!["more".into(), Any::Nil])),
        (10, list(vec!["team".into(), 1.into(), "a".into()])),
        (
            11,
            list(vec![
                map(vec![
                    (1, Any::F64(1.0)),
                    (2, "lambda".into()),
                    (6, Any::Binary(vec![9])),
                    (7, 4.into()),
                    (
                        4,
                        list(vec![
                            span(1, "shop".into(), "web".into()),
                            "no span".into(),
                            span(2, 8.into(), 9.into()),
                            span(3, 99.into(), Any::F64(9.0)),
                            span(0, "".into(), 3.into()),
                        ]),
                    ),
                ]),
                "no chunk".into(),
            ]),
        ),
    ]);
    let payload = decode(&bytes(&body)).unwrap();
    assert_eq!((&*payload.tracer.language, payload.decoded.dropped_spans), ("go", 3));
    assert_eq!(
        told(&payload),
        [
            "1 shop web _dd.origin=lambda _dd.p.dm=-4 runtime-id=r-1 env=prod team=a _sampling_priority_v1#1",
            "2 shop web _dd.origin=lambda",
            "3  web _dd.origin=lambda",
        ]
    );
}

#[test]
fn attributes_by_their_types() {
    let pair = |key: &str, kind: i64, value: Any| vec![key.into(), kind.into(), value];
    let attributes = [
        pair("text", 1, "t".into()),
        pair("yes", 2, true.into()),
        pair("double", 3, 7.into()),
        pair("int", 4, Any::F64(-3.0)),
        pair("bytes", 5, Any::Binary(vec![1, 2])),
        pair("list", 6, list(vec![1.into(), "a".into(), 4.into(), 2.into()])),
        pair("deep", 7, list(vec!["k".into(), 6.into(), list(vec![2.into(), true.into()])])),
        pair("strange", 9, list(vec!["inside".into()])),
        pair("again", 1, 1.into()),
        vec!["left over".into()],
    ];
    let body = one(vec![
        (9, list(attributes.concat())),
        (13, "prod".into()),
        (15, "net/http".into()),
        (16, 2.into()),
    ]);
    let payload = decode(&bytes(&body)).unwrap();
    assert_eq!(
        told(&payload),
        [concat!(
            "8   text=t yes=true list=[a,2] deep={\"k\":[true]} again=text env=prod component=net/http ",
            "span.kind=server _dd.p.tid=66a1b2c300000000 double#7 int#-3 bytes:[1, 2]"
        )]
    );
    let span = &payload.decoded.chunks[0].spans[0];
    assert_eq!(span.trace_id.low(), 7);
    assert_eq!(span.meta.get(keys::trace::TID).map(|tid| &**tid), Some("66a1b2c300000000"));
}

#[test]
fn how_it_was_decided() {
    let check = |mechanism: Any, want: Option<&str>| {
        let spans = list(vec![map(vec![(4, 1.into()), (1, "-3".into()), (2, "x".into())])]);
        let chunk = map(vec![(4, spans), (6, Any::Binary(vec![1])), (7, mechanism)]);
        let payload = decode(&bytes(&map(vec![(11, list(vec![chunk]))]))).unwrap();
        let span = &payload.decoded.chunks[0].spans[0];
        assert_eq!(span.meta.get(keys::trace::DECISION_MAKER).map(|m| &**m), want);
    };
    check(4.into(), Some("-4"));
    check(1.into(), Some("-3"));
    check(2.into(), Some("-2"));
    check("-5".into(), Some("-5"));
    check(Any::Nil, None);
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
    for huge in [b"\xdd", b"\xdf", b"\xdb", b"\xc6"] {
        for key in 1..=11 {
            check(&[&[0x81, key], &huge[..], b"\xff\xff\xff\xff"].concat(), Err(DecodeError::Truncated));
        }
    }
    // Depth costs nothing.
    let deep =
        [b"\x81\x0b\x91\x82\x04\x91\x82\x04\x01\x09\x93\x01".as_slice(), &[0x06, 0x92].repeat(100_000)]
            .concat();
    check(&deep, Err(DecodeError::Truncated));
}

#[test]
fn a_small_body_does_not_become_a_large_one() {
    let spans = (1..=1000).map(|id| map(vec![(4, id.into()), (1, 1.into()), (2, 1.into())])).collect();
    let chunk = map(vec![(6, Any::Binary(vec![7])), (4, list(spans))]);
    let body = map(vec![(1, list(vec!["x".repeat(1 << 20).into()])), (11, list(vec![chunk]))]);
    let decoded = decode(&bytes(&body)).unwrap().decoded;
    let kept: usize = decoded.chunks.iter().map(|chunk| chunk.spans.len()).sum();
    assert_eq!((kept, decoded.dropped_spans), (8, 992));
}

/// One trace id a chunk, as the protocol has it.
fn unified(mut chunks: Vec<Chunk>) -> Vec<Chunk> {
    for chunk in &mut chunks {
        let id = chunk.spans.first().map(|span| span.trace_id);
        for span in &mut chunk.spans {
            span.trace_id = id.unwrap_or(span.trace_id);
        }
    }
    chunks
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(chunks in chunks()) {
        let chunks = unified(chunks);
        let payload = decode(&encode(&tracer(), &chunks)).unwrap();
        prop_assert_eq!(payload, Payload { tracer: tracer(), decoded: Decoded { chunks, dropped_spans: 0 } });
    }

    /// Whatever stands in an unknown field, among the chunks and among the spans costs no sibling.
    #[test]
    fn any_msgpack_among_them_is_taken(odd in value(), kind in 0..9u64, id in 1..1000u64) {
        let span = |id: u64, more: Vec<(u64, Any)>| map([vec![(4, id.into())], more].concat());
        let attributes = list(vec![0.into(), kind.into(), odd.clone()]);
        let spans = vec![span(id, vec![(50, odd.clone()), (9, attributes)]), odd.clone(), span(id + 1, vec![])];
        let chunk = map(vec![(9, odd.clone()), (4, list(spans)), (6, Any::Binary(vec![1]))]);
        let body = bytes(&map(vec![(77, odd.clone()), (11, list(vec![odd, chunk]))]));
        let decoded = decode(&body).unwrap().decoded;
        let ids: Vec<_> = decoded.chunks.iter().flat_map(|c| &c.spans).map(|s| s.span_id.get()).collect();
        prop_assert!(ids.contains(&id) && ids.contains(&(id + 1)), "{:?}", ids);
    }

    #[test]
    fn any_bytes_do_no_harm(noise in vec(any::<u8>(), 0..300), chunks in chunks(), cut in 0..2000usize) {
        let _ = decode(&noise);
        let whole = encode(&tracer(), &chunks);
        let _ = decode(&[&whole[..cut.min(whole.len())], &noise].concat());
        prop_assert!(decode(&[whole, noise].concat()).is_ok());
    }
}
