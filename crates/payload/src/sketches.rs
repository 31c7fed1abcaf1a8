//! `SketchPayload`, the protobuf of the sketch intake: distributions.
//! <https://github.com/DataDog/agent-payload/blob/master/proto/metrics/agent_payload.proto>

use model::{Sketch, SketchSeries, Text, UnixNanos};
use protobuf::{Reader, Writer, sint};

use crate::DecodeError;
use crate::origin::origin;

/// Writes the body of a `/api/beta/sketches` request. Times are whole seconds there.
pub fn encode(series: &[SketchSeries]) -> Vec<u8> {
    let mut w = Writer::with_capacity(series.len() * 256);
    for series in series {
        w.message(1, |w| write(w, series));
    }
    // Metadata is a required message: present and empty.
    w.message(2, |_| {});
    w.into_bytes()
}

/// Reads the body of a `/api/beta/sketches` request. Unknown fields are skipped.
pub fn decode(body: &[u8]) -> Result<Vec<SketchSeries>, DecodeError> {
    let (mut reader, mut all) = (Reader::new(body), Vec::new());
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            all.push(read(value.message())?);
        }
    }
    Ok(all)
}

pub(crate) fn write(w: &mut Writer, series: &SketchSeries) {
    w.text(1, &series.name);
    for tag in &series.tags {
        w.repeated_bytes(4, tag.as_bytes());
    }
    for (time, sketch) in &series.points {
        w.message(7, |w| {
            w.uint(1, time.as_secs());
            w.uint(2, sketch.count());
            w.double(3, sketch.min());
            w.double(4, sketch.max());
            w.double(5, sketch.avg());
            w.double(6, sketch.sum());
            w.packed_sint(7, sketch.wire_bins().map(|(key, _)| key.into()));
            w.packed(8, sketch.wire_bins().map(|(_, n)| n.into()));
        });
    }
    if let Some(origin) = origin(&series.name) {
        w.message(8, |w| {
            w.message(1, |w| {
                w.uint(4, origin.product.into());
                w.uint(5, origin.category.into());
                w.uint(6, origin.service.into());
            });
        });
    }
}

fn read(mut reader: Reader<'_>) -> Result<SketchSeries, DecodeError> {
    let mut series = SketchSeries { name: Text::default(), tags: Vec::new(), points: Vec::new() };
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => series.name = value.text(),
            4 => series.tags.push(value.text()),
            7 => series.points.push(read_point(value.message())?),
            _ => {}
        }
    }
    Ok(series)
}

fn read_point(mut reader: Reader<'_>) -> Result<(UnixNanos, Sketch), DecodeError> {
    let (mut time, mut count, mut min, mut max, mut sum) = (0, 0, 0.0, 0.0, 0.0);
    let (mut keys, mut counts) = (Vec::new(), Vec::new());
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => time = value.uint(),
            2 => count = value.uint(),
            3 => min = value.double(),
            4 => max = value.double(),
            6 => sum = value.double(),
            7 => value.numbers(|n| keys.push(sint(n)))?,
            8 => value.numbers(|n| counts.push(n & u64::from(u32::MAX)))?,
            _ => {}
        }
    }
    if keys.len() != counts.len() {
        return Err(DecodeError::Malformed);
    }
    let keys = keys.into_iter().map(|key| i16::try_from(key).map_err(|_| DecodeError::Malformed));
    let bins = keys.zip(counts).map(|(key, n)| Ok((key?, n))).collect::<Result<Vec<_>, DecodeError>>()?;
    Ok((UnixNanos::from_secs(time), Sketch::from_wire(count, min, max, sum, bins)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert_eq, proptest};
    use prost::Message;

    use super::*;
    use crate::tests::sketch_series;

    // --- the intake's types, written down once more for another encoder

    #[derive(Clone, PartialEq, Message)]
    struct SketchPayload {
        #[prost(message, repeated, tag = "1")]
        sketches: Vec<PbSketch>,
        #[prost(message, optional, tag = "2")]
        metadata: Option<CommonMetadata>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct CommonMetadata {}

    #[derive(Clone, PartialEq, Message)]
    struct PbSketch {
        #[prost(string, tag = "1")]
        metric: String,
        #[prost(string, tag = "2")]
        host: String,
        #[prost(string, repeated, tag = "4")]
        tags: Vec<String>,
        #[prost(message, repeated, tag = "7")]
        dogsketches: Vec<Dogsketch>,
        #[prost(message, optional, tag = "8")]
        metadata: Option<Metadata>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Dogsketch {
        #[prost(int64, tag = "1")]
        ts: i64,
        #[prost(int64, tag = "2")]
        cnt: i64,
        #[prost(double, tag = "3")]
        min: f64,
        #[prost(double, tag = "4")]
        max: f64,
        #[prost(double, tag = "5")]
        avg: f64,
        #[prost(double, tag = "6")]
        sum: f64,
        #[prost(sint32, repeated, tag = "7")]
        k: Vec<i32>,
        #[prost(uint32, repeated, tag = "8")]
        n: Vec<u32>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Metadata {
        #[prost(message, optional, tag = "1")]
        origin: Option<PbOrigin>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PbOrigin {
        #[prost(uint32, tag = "4")]
        origin_product: u32,
        #[prost(uint32, tag = "5")]
        origin_category: u32,
        #[prost(uint32, tag = "6")]
        origin_service: u32,
    }

    fn pb_sketch(series: &SketchSeries) -> PbSketch {
        let point = |(time, sketch): &(UnixNanos, Sketch)| Dogsketch {
            ts: time.as_secs().cast_signed(),
            cnt: sketch.count().cast_signed(),
            min: sketch.min(),
            max: sketch.max(),
            avg: sketch.avg(),
            sum: sketch.sum(),
            k: sketch.wire_bins().map(|(k, _)| k.into()).collect(),
            n: sketch.wire_bins().map(|(_, n)| n.into()).collect(),
        };
        PbSketch {
            metric: series.name.to_string(),
            host: String::new(),
            tags: series.tags.iter().map(Text::to_string).collect(),
            dogsketches: series.points.iter().map(point).collect(),
            metadata: origin(&series.name).map(|origin| Metadata {
                origin: Some(PbOrigin {
                    origin_product: origin.product,
                    origin_category: origin.category,
                    origin_service: origin.service,
                }),
            }),
        }
    }

    fn pb_payload(series: &[SketchSeries]) -> SketchPayload {
        let sketches = series.iter().map(pb_sketch).collect();
        SketchPayload { sketches, metadata: Some(CommonMetadata {}) }
    }

    proptest! {
        #[test]
        fn another_reader_and_writer_agree(series in vec(sketch_series(), 0..4)) {
            let written = encode(&series);
            prop_assert_eq!(SketchPayload::decode(written.as_slice()).unwrap(), pb_payload(&series));
            prop_assert_eq!(decode(&pb_payload(&series).encode_to_vec()), Ok(series));
        }
    }

    fn one(values: &[(f64, u64)]) -> SketchSeries {
        let mut sketch = Sketch::default();
        for (value, count) in values {
            sketch.insert(*value, *count);
        }
        SketchSeries {
            name: "m".into(),
            tags: vec!["t".into()],
            points: vec![(UnixNanos::from_secs(300), sketch)],
        }
    }

    /// The agent's keys: 1 is at 1338, 0.5 at 1293, mirrored below zero; a bin holds 16 bits.
    #[test]
    fn bins_are_the_agents() {
        let body = encode(&[one(&[(1.0, 65_536), (0.5, 2), (-1.0, 1), (0.0, 3)])]);
        let read = SketchPayload::decode(body.as_slice()).unwrap();
        let sketch = &read.sketches[0].dogsketches[0];
        assert_eq!(sketch.k, [-1338, 0, 1293, 1338, 1338]);
        assert_eq!(sketch.n, [1, 3, 2, 65_535, 1]);
        assert_eq!((sketch.ts, sketch.cnt, sketch.min, sketch.max), (300, 65_542, -1.0, 1.0));
        assert_eq!((sketch.sum, sketch.avg), (65_536.0, 65_536.0 / 65_542.0));
    }

    #[test]
    fn bytes_of_a_payload() {
        let body = encode(&[one(&[(1.0, 1)])]);
        let one = b"\0\0\0\0\0\0\xf0\x3f".as_slice();
        let figures = [b"\x19".as_slice(), one, b"\x21", one, b"\x29", one, b"\x31", one].concat();
        // 1338 is 2676 in zigzag.
        let point = [b"\x08\xac\x02\x10\x01".as_slice(), &figures, b"\x3a\x02\xf4\x14\x42\x01\x01"].concat();
        let origin = b"\x42\x09\x0a\x07\x20\x01\x28\x26\x30\xd8\x03";
        let head = [b"\x0a\x01m\x22\x01t\x3a".as_slice(), &[point.len() as u8]].concat();
        let sketch = [&head, &point, origin.as_slice()].concat();
        assert_eq!(body, [b"\x0a".as_slice(), &[sketch.len() as u8], &sketch, b"\x12\0"].concat());
    }

    #[test]
    fn bins_that_do_not_pair_up() {
        let check = |k: Vec<i32>, n: Vec<u32>, want: Result<usize, DecodeError>| {
            let dogsketches = vec![Dogsketch { k, n, ..Default::default() }];
            let sketch = PbSketch { dogsketches, ..Default::default() };
            let payload = SketchPayload { sketches: vec![sketch], metadata: None };
            assert_eq!(decode(&payload.encode_to_vec()).map(|all| all.len()), want);
        };
        check(vec![1, 2], vec![1], Err(DecodeError::Malformed));
        check(vec![], vec![1], Err(DecodeError::Malformed));
        check(vec![40_000], vec![1], Err(DecodeError::Malformed));
        check(vec![2, 1, 2], vec![1, 0, 70_000], Ok(1));
    }

    #[test]
    fn bins_that_are_not_packed() {
        let point = b"\x38\xf4\x14\x40\x05\x38\x00\x40\x01";
        let mut w = Writer::with_capacity(64);
        w.message(1, |w| w.message(7, |w| w.raw(point)));
        let read = decode(&w.into_bytes()).unwrap();
        assert_eq!(read[0].points[0].1.wire_bins().collect::<Vec<_>>(), [(0, 1), (1338, 5)]);
    }
}
