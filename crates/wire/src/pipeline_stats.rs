//! The tracers' protocol `/v0.1/pipeline_stats`: statistics of pathways of messages, one msgpack map in gzip. Written by
//! the libraries; the extension passes it on as it is.
//! <https://docs.datadoghq.com/data_streams/>

use model::{LatencySketch, PipelineBucket, PipelinePoint, PipelineStats};
use protobuf::Writer;

/// Where it is posted.
pub const PATH: &str = "/v0.1/pipeline_stats";

/// The body of a request, as gzip.
///
/// ```
/// let body = wire::pipeline_stats::encode(&model::PipelineStats::default());
/// assert!(body.starts_with(&[0x1f, 0x8b]));
/// ```
pub fn encode(stats: &PipelineStats) -> Vec<u8> {
    gzip(&msgpack(stats))
}

fn msgpack(stats: &PipelineStats) -> Vec<u8> {
    let PipelineStats { service, env, version, hostname, language, tracer_version, buckets } = stats;
    let mut to = Msgpack(Vec::with_capacity(1024));
    let named = [("Env", env), ("Version", version)].into_iter().filter_map(|(k, v)| Some((k, v.as_ref()?)));
    let named: Vec<_> = named.collect();
    to.map(named.len() + 5);
    let always =
        [("Service", service), ("Hostname", hostname), ("Lang", language), ("TracerVersion", tracer_version)];
    for (key, value) in named.into_iter().chain(always) {
        to.text(key);
        to.text(value);
    }
    to.text("Stats");
    to.array(buckets.len());
    buckets.iter().for_each(|one| bucket(&mut to, one));
    to.0
}

fn bucket(to: &mut Msgpack, PipelineBucket { start, duration, points }: &PipelineBucket) {
    to.map(4);
    to.number("Start", start.as_nanos());
    to.number("Duration", u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    to.text("Stats");
    to.array(points.len());
    points.iter().for_each(|one| point(to, one));
    to.text("Backlogs");
    to.array(0);
}

fn point(to: &mut Msgpack, point: &PipelinePoint) {
    to.map(7);
    to.text("EdgeTags");
    to.array(point.edge_tags.len());
    point.edge_tags.iter().for_each(|tag| to.text(tag));
    to.number("Hash", point.hash);
    to.number("ParentHash", point.parent_hash);
    let sketches = [
        ("PathwayLatency", &point.pathway_latency),
        ("EdgeLatency", &point.edge_latency),
        ("PayloadSize", &point.payload_size),
    ];
    for (key, of) in sketches {
        to.text(key);
        to.binary(&sketch(of));
    }
    to.text("TimestampType");
    to.text("current");
}

/// A `DDSketch` of seconds, or of bytes.
/// <https://github.com/DataDog/sketches-go/blob/master/ddsketch/pb/sketchpb/ddsketch.proto>
pub fn sketch(sketch: &LatencySketch) -> Vec<u8> {
    /// The bin of a second: a thousand million times that of a nanosecond.
    const OFFSET: f64 = 1338.5;

    let (first, counts) = sketch.contiguous();
    let mut to = Writer::with_capacity(64 + 8 * counts.len());
    to.message(1, |to| {
        to.double(1, LatencySketch::GAMMA);
        to.double(2, OFFSET);
    });
    to.message(2, |to| {
        to.packed_fixed64(2, counts.iter().map(|count| (*count as f64).to_bits()));
        let first = i64::from(first);
        to.uint(3, ((first << 1) ^ (first >> 63)).cast_unsigned());
    });
    to.message(3, |_| ());
    to.double(4, sketch.zero() as f64);
    to.into_bytes()
}

struct Msgpack(Vec<u8>);

/// Writing to memory does not fail.
impl Msgpack {
    fn map(&mut self, pairs: usize) {
        let _ = rmp::encode::write_map_len(&mut self.0, length(pairs));
    }

    fn array(&mut self, elements: usize) {
        let _ = rmp::encode::write_array_len(&mut self.0, length(elements));
    }

    fn text(&mut self, text: &str) {
        let _ = rmp::encode::write_str(&mut self.0, text);
    }

    fn number(&mut self, key: &str, value: u64) {
        self.text(key);
        let _ = rmp::encode::write_uint(&mut self.0, value);
    }

    fn binary(&mut self, bytes: &[u8]) {
        let _ = rmp::encode::write_bin(&mut self.0, bytes);
    }
}

fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Gzip whose data is stored and not compressed: a few hundred bytes on loopback are not worth a compressor in every
/// function. RFC 1952, RFC 1951.
fn gzip(body: &[u8]) -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    const BLOCK: usize = u16::MAX as usize;

    let mut out = Vec::with_capacity(body.len() + body.len() / BLOCK * 5 + 32);
    out.extend(HEADER);
    let last = body.len().saturating_sub(1) / BLOCK;
    for (n, block) in body.chunks(BLOCK).enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(n == last));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend(checksum(body).to_le_bytes());
    // The length modulo 2^32, as the format has it.
    out.extend((body.len() as u32).to_le_bytes());
    out
}

/// CRC-32, half a byte at a time.
fn checksum(body: &[u8]) -> u32 {
    const TABLE: [u32; 16] = table();

    let step = |crc: u32, half: u32| {
        let at = ((crc ^ half) & 15) as usize;
        crc >> 4 ^ TABLE.get(at).copied().unwrap_or_default()
    };
    !body.iter().fold(!0, |crc, byte| step(step(crc, u32::from(*byte)), u32::from(byte >> 4)))
}

const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "at compile time")]
        {
            table[n] = crc;
        }
        n += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::UnixNanos;

    use super::*;

    fn plain(packed: &[u8]) -> Vec<u8> {
        let mut rest = &packed[10..packed.len() - 8];
        let mut out = Vec::new();
        loop {
            let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
            assert_eq!([rest[3], rest[4]], (!(length as u16)).to_le_bytes());
            out.extend_from_slice(&rest[5..5 + length]);
            let is_last = rest[0] == 1;
            rest = &rest[5 + length..];
            if is_last {
                assert!(rest.is_empty());
                return out;
            }
        }
    }

    #[test]
    fn stored_gzip() {
        // The check value of CRC-32.
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        for length in [1, 65_535, 65_536, 200_000] {
            let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let packed = gzip(&body);
            assert!(plain(&packed) == body, "{length}");
            assert_eq!(packed[packed.len() - 8..packed.len() - 4], checksum(&body).to_le_bytes());
        }
    }

    #[test]
    fn what_is_told() {
        let mut point = PipelinePoint {
            edge_tags: vec!["direction:out".to_owned(), "topic:orders".to_owned(), "type:sqs".to_owned()],
            hash: u64::MAX,
            parent_hash: 7,
            ..PipelinePoint::default()
        };
        point.edge_latency.insert(Duration::ZERO);
        let bucket = PipelineBucket {
            start: UnixNanos::from_secs(10),
            duration: Duration::from_secs(10),
            points: vec![point],
        };
        let stats = PipelineStats {
            service: "shop".into(),
            env: Some("prod".into()),
            language: "rust".into(),
            buckets: vec![bucket],
            ..PipelineStats::default()
        };
        let got = rmpv::decode::read_value(&mut &plain(&encode(&stats))[..]).unwrap();
        let of = |value: &rmpv::Value, key: &str| {
            let pairs = value.as_map().unwrap().iter();
            pairs.clone().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v.clone())
        };
        let text = |key| of(&got, key).map(|value| value.as_str().unwrap().to_owned());
        let texts = ["Service", "Env", "Version", "Hostname", "Lang", "TracerVersion"].map(text);
        let expect = [Some("shop"), Some("prod"), None, Some(""), Some("rust"), Some("")];
        assert_eq!(texts, expect.map(|text| text.map(str::to_owned)));
        let bucket = of(&got, "Stats").unwrap()[0].clone();
        assert_eq!(of(&bucket, "Start").unwrap().as_u64(), Some(10_000_000_000));
        assert_eq!(of(&bucket, "Duration").unwrap().as_u64(), Some(10_000_000_000));
        let point = of(&bucket, "Stats").unwrap()[0].clone();
        assert_eq!(of(&point, "Hash").unwrap().as_u64(), Some(u64::MAX));
        assert_eq!(of(&point, "ParentHash").unwrap().as_u64(), Some(7));
        assert_eq!(of(&point, "EdgeTags").unwrap()[1].as_str(), Some("topic:orders"));
        assert_eq!(of(&point, "TimestampType").unwrap().as_str(), Some("current"));
        assert!(of(&point, "PathwayLatency").unwrap().as_slice().unwrap().ends_with(&[0x12, 0, 0x1a, 0]));
        assert!(of(&point, "EdgeLatency").unwrap().as_slice().unwrap().ends_with(&1f64.to_le_bytes()));
    }

    /// The bytes that Datadog's tracer for Python makes of the same.
    #[test]
    fn sketches_are_those_of_other_tracers() {
        let check = |value: Duration, expect: &str| {
            let mut of = LatencySketch::default();
            of.insert(value);
            let hex: String = sketch(&of).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expect, "{value:?}");
        };
        let mapping = "0a1209000000000040f03f110000000000ea9440";
        check(Duration::from_secs(3600), &format!("{mapping}120d1208000000000000f03f18941d1a00"));
        check(Duration::from_nanos(1), &format!("{mapping}120c1208000000000000f03f18021a00"));
        check(Duration::ZERO, &format!("{mapping}12001a0021000000000000f03f"));
    }
}
