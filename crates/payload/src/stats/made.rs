//! Statistics that were made here, as the map that a tracer would send.
//! <https://github.com/DataDog/datadog-agent/blob/main/pkg/proto/datadog/trace/stats.proto>

use model::{LatencySketch, SpanStats, StatsBucket, StatsGroup, StatsKey, Text};
use protobuf::Writer;

use super::text;

pub(super) fn encode(stats: &SpanStats) -> Vec<u8> {
    let SpanStats { env, version, service, language, tracer_version, runtime_id, container_id, buckets } =
        stats;
    let mut body = Vec::with_capacity(stats.weight());
    let texts: [(&str, &Text); 7] = [
        ("Env", env),
        ("Version", version),
        ("Service", service),
        ("Lang", language),
        ("TracerVersion", tracer_version),
        ("RuntimeID", runtime_id),
        ("ContainerID", container_id),
    ];
    map(&mut body, texts.len() + 2);
    // A function has no host.
    text(&mut body, "Hostname");
    text(&mut body, "");
    for (key, value) in texts {
        text(&mut body, key);
        text(&mut body, value);
    }
    text(&mut body, "Stats");
    array(&mut body, buckets.len());
    buckets.iter().for_each(|one| bucket(&mut body, one));
    body
}

fn bucket(body: &mut Vec<u8>, StatsBucket { start, duration, groups }: &StatsBucket) {
    map(body, 3);
    number(body, "Start", start.as_nanos());
    number(body, "Duration", duration.as_nanos() as u64);
    text(body, "Stats");
    array(body, groups.len());
    groups.iter().for_each(|(key, counted)| group(body, key, counted));
}

fn group(body: &mut Vec<u8>, key: &StatsKey, counted: &StatsGroup) {
    let texts: [(&str, &Text); 9] = [
        ("Service", &key.service),
        ("Name", &key.name),
        ("Resource", &key.resource),
        ("Type", &key.kind),
        ("SpanKind", &key.span_kind),
        ("HTTPMethod", &key.http_method),
        ("HTTPEndpoint", &key.http_endpoint),
        ("GRPCStatusCode", &key.grpc_status),
        ("srv_src", &key.service_source),
    ];
    let numbers = [
        ("HTTPStatusCode", u64::from(key.http_status)),
        ("Hits", counted.hits),
        ("Errors", counted.errors),
        ("Duration", counted.duration),
        ("TopLevelHits", counted.top_level_hits),
        // Not known, yes, no.
        ("IsTraceRoot", if key.is_trace_root { 1 } else { 2 }),
    ];
    map(body, texts.len() + numbers.len() + 4);
    for (key, value) in texts {
        text(body, key);
        text(body, value);
    }
    for (key, value) in numbers {
        number(body, key, value);
    }
    text(body, "Synthetics");
    body.push(if key.synthetics { 0xc3 } else { 0xc2 });
    for (key, sketch) in [("OkSummary", &counted.ok), ("ErrorSummary", &counted.error)] {
        text(body, key);
        binary(body, &summary(sketch));
    }
    text(body, "PeerTags");
    array(body, key.peer_tags.len());
    key.peer_tags.iter().for_each(|tag| text(body, tag));
}

/// A `DDSketch`.
/// <https://github.com/DataDog/sketches-go/blob/master/ddsketch/pb/sketchpb/ddsketch.proto>
fn summary(sketch: &LatencySketch) -> Vec<u8> {
    let (first, counts) = sketch.contiguous();
    let mut w = Writer::with_capacity(64 + 8 * counts.len());
    w.message(1, |w| {
        w.double(1, LatencySketch::GAMMA);
        w.double(2, LatencySketch::OFFSET);
    });
    w.message(2, |w| {
        w.packed_fixed64(2, counts.iter().map(|count| (*count as f64).to_bits()));
        let first = i64::from(first);
        w.uint(3, ((first << 1) ^ (first >> 63)).cast_unsigned());
    });
    w.message(3, |_| ());
    w.double(4, sketch.zero() as f64);
    w.into_bytes()
}

fn map(body: &mut Vec<u8>, pairs: usize) {
    head(body, 0xdf, pairs);
}

fn array(body: &mut Vec<u8>, elements: usize) {
    head(body, 0xdd, elements);
}

fn binary(body: &mut Vec<u8>, bytes: &[u8]) {
    head(body, 0xc6, bytes.len());
    body.extend_from_slice(bytes);
}

fn head(body: &mut Vec<u8>, marker: u8, length: usize) {
    body.push(marker);
    body.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn number(body: &mut Vec<u8>, key: &str, value: u64) {
    text(body, key);
    body.push(0xcf);
    body.extend(value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{ClientStats, UnixNanos};

    use crate::stats;

    use super::*;

    #[test]
    fn what_is_made_reads_as_what_a_tracer_sends() {
        let mut counted = StatsGroup { hits: 2, top_level_hits: 1, duration: 3000, ..StatsGroup::default() };
        [1000, 2000].iter().for_each(|nanos| counted.ok.insert(Duration::from_nanos(*nanos)));
        let key = StatsKey {
            service: "shop".into(),
            resource: "x".repeat(70_000).into(),
            is_trace_root: true,
            peer_tags: vec!["db.name:a".into()],
            ..StatsKey::default()
        };
        let bucket = StatsBucket {
            start: UnixNanos::from_secs(10),
            duration: Duration::from_secs(10),
            groups: vec![(key, counted)],
        };
        let made = SpanStats { env: "prod".into(), buckets: vec![bucket], ..SpanStats::default() };
        assert_eq!(made.hits(), 2);
        let weight = made.weight();
        let body = stats::encode(&[ClientStats::Made(Box::new(made))]);
        assert!(body.len() < weight + stats::FRAME, "{} {weight}", body.len());
        let read = stats::decode(&body).unwrap();
        let [ClientStats::Sent(one)] = &read[..] else { panic!("{read:?}") };
        assert!(one.windows(9).any(|w| w == b"db.name:a") && one.windows(8).any(|w| w == b"\xa4shop\xa4Na"));
        assert_eq!(stats::encode(&read), body);
    }

    /// The bytes that the backend's own reader has been seen to take.
    #[test]
    fn summaries() {
        let mut sketch = LatencySketch::default();
        sketch.insert(Duration::from_nanos(1));
        sketch.insert(Duration::ZERO);
        let bytes = summary(&sketch);
        let mut want = vec![0x0a, 18, 0x09];
        want.extend(1.015_625f64.to_le_bytes());
        want.push(0x11);
        want.extend(1.876_128_191_286_170_5_f64.to_le_bytes());
        // One bin, of one, at 1.
        want.extend([0x12, 12, 0x12, 8]);
        want.extend(1f64.to_le_bytes());
        want.extend([0x18, 2, 0x1a, 0, 0x21]);
        want.extend(1f64.to_le_bytes());
        assert_eq!(bytes, want);
    }
}
