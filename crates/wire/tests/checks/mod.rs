//! What holds whatever a request's body says. Called by the fuzz targets, and by the test that replays their
//! corpus.

mod local;

use model::{Chunk, TracerInfo};
use wire::cut::{Cutter, Version};
use wire::otlp::{Signal, is_whole, logs, metrics, to_protobuf, traces};
use wire::v04::{DecodeError, Decoded};

pub(crate) use local::{dogstatsd, extensions, lifecycle, runtime_api, telemetry};

pub(crate) fn v04(body: &[u8]) {
    cut(Version::V04, body, wire::v04::decode(body));
    let Ok(decoded) = wire::v04::decode(body) else { return };
    sound(&decoded, body);
    let again = wire::v04::decode(&wire::v04::encode(&decoded.chunks)).unwrap();
    same(&decoded.chunks, &again);
}

pub(crate) fn v05(body: &[u8]) {
    let decoded = wire::v05::decode(body);
    cut(Version::V05, body, decoded.clone());
    if let Ok(decoded) = decoded {
        sound(&decoded, body);
    }
}

pub(crate) fn v07(body: &[u8]) {
    let payload = wire::v07::decode(body);
    cut(Version::V07, body, payload.clone().map(|payload| payload.decoded));
    let Ok(payload) = payload else { return };
    sound(&payload.decoded, body);
    let written = wire::v07::encode(&payload.tracer, &model::Tags::new(), &payload.decoded.chunks);
    same(&payload.decoded.chunks, &wire::v07::decode(&written).unwrap().decoded);
}

pub(crate) fn v1(body: &[u8]) {
    let payload = wire::v1::decode(body);
    cut(Version::V1, body, payload.clone().map(|payload| payload.decoded));
    let Ok(payload) = payload else { return };
    sound(&payload.decoded, body);
    let written = wire::v1::encode(&TracerInfo::default(), &payload.decoded.chunks);
    same(&payload.decoded.chunks, &wire::v1::decode(&written).unwrap().decoded);
}

/// Taken apart while it comes, a body holds what it holds as a whole.
fn cut(version: Version, body: &[u8], whole: Result<Decoded, DecodeError>) {
    let (mut cutter, mut pieces) = (Cutter::new(version, 64 << 20), Vec::new());
    let taken = body.chunks(7).try_for_each(|part| {
        cutter.push(part);
        while let Some(piece) = cutter.piece()? {
            pieces.push(piece);
        }
        Ok(())
    });
    let Ok(last) = taken.and_then(|()| cutter.finish()) else { return assert!(whole.is_err()) };
    let whole = whole.unwrap();
    pieces.extend(last);
    let parts: Vec<Decoded> = pieces.iter().map(|piece| wire::v04::decode(piece).unwrap()).collect();
    let dropped = cutter.take_dropped() + parts.iter().map(|part| part.dropped_spans).sum::<u64>();
    assert_eq!(dropped, whole.dropped_spans);
    let chunks: Vec<Chunk> = parts.into_iter().flat_map(|part| part.chunks).collect();
    // What is no number equals nothing, itself included.
    let whole = if version == Version::V04 { whole } else { written(&whole) };
    assert_eq!(format!("{chunks:?}"), format!("{:?}", whole.chunks));
}

/// As it is once it was written in v0.4, where some attributes have other types.
fn written(decoded: &Decoded) -> Decoded {
    wire::v04::decode(&wire::v04::encode(&decoded.chunks)).unwrap()
}

pub(crate) fn stats(body: &[u8]) {
    let known = wire::stats::Known { env: "prod", service: "shop", ..Default::default() };
    let Ok(Some(whole)) = wire::stats::complete(body, known) else { return };
    assert!(matches!(wire::stats::complete(&whole, known), Ok(Some(_)) | Err(DecodeError::Truncated)));
}

pub(crate) fn otlp_traces(body: &[u8]) {
    let settings = [
        traces::Settings::default(),
        traces::Settings { first_rules: true, top_level_by_kind: true, ..traces::Settings::default() },
    ];
    for settings in settings {
        each(Signal::Traces, body, |body| {
            let Ok(decoded) = traces::decode(body, &settings) else { return };
            assert!(is_whole(body));
            for chunk in decoded.resources.iter().flat_map(|(_, chunks)| chunks) {
                let ids: Vec<_> = chunk.spans.iter().map(|span| span.trace_id).collect();
                assert!(ids.windows(2).all(|two| two[0] == two[1]) && !ids.is_empty());
            }
        });
    }
}

pub(crate) fn otlp_metrics(body: &[u8]) {
    let settings = metrics::Settings { resource_attributes_as_tags: true };
    each(Signal::Metrics, body, |body| {
        let Ok(decoded) = metrics::decode(body, settings) else { return };
        assert!(decoded.points.iter().all(|point| !point.name.is_empty() && point.tags.is_sorted()));
    });
}

pub(crate) fn otlp_logs(body: &[u8]) {
    each(Signal::Logs, body, |body| {
        let Ok(decoded) = logs::decode(body) else { return };
        for (_, line) in decoded.lines {
            assert!(serde_json::from_str::<serde_json::Value>(line.as_str()).is_ok());
        }
    });
}

/// As protobuf, and as JSON when it is that.
fn each(signal: Signal, body: &[u8], check: impl Fn(&[u8])) {
    check(body);
    if let Ok(protobuf) = to_protobuf(signal, body) {
        check(&protobuf);
    }
}

/// A body gives no more spans than it has bytes for.
fn sound(decoded: &Decoded, body: &[u8]) {
    let spans: usize = decoded.chunks.iter().map(|chunk| chunk.spans.len()).sum();
    assert!(spans <= body.len());
    assert!(decoded.chunks.iter().all(|chunk| !chunk.spans.is_empty()));
}

fn same(chunks: &[Chunk], again: &Decoded) {
    let ids = |chunks: &[Chunk]| -> Vec<u64> {
        chunks.iter().flat_map(|chunk| &chunk.spans).map(|span| span.span_id.get()).collect()
    };
    assert_eq!((ids(chunks), 0), (ids(&again.chunks), again.dropped_spans));
}
