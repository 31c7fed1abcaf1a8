//! `MetricPayload`: series as the agent itself sends them to `/api/v2/series`, as protobuf. Our own extension sends
//! JSON.
//! <https://github.com/DataDog/agent-payload/blob/master/proto/metrics/agent_payload.proto>

use model::{Series, SeriesKind, Text, UnixNanos};
use protobuf::{Error, Reader};

pub(crate) fn decode(body: &[u8]) -> Result<Vec<Series>, Error> {
    let (mut reader, mut all) = (Reader::new(body), Vec::new());
    while let Some((number, value)) = reader.field()? {
        if number == 1 {
            all.push(series(value.message())?);
        }
    }
    Ok(all)
}

fn series(mut reader: Reader<'_>) -> Result<Series, Error> {
    let mut series = Series {
        name: Text::default(),
        kind: SeriesKind::Gauge,
        tags: Vec::new(),
        points: Vec::new(),
        interval_secs: None,
    };
    let (mut kind, mut interval) = (0, 0);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => series.tags.extend(resource(value.message())?),
            2 => series.name = value.text(),
            3 => series.tags.push(value.text()),
            4 => series.points.push(point(value.message())?),
            5 => kind = value.uint(),
            8 => interval = value.uint(),
            _ => {}
        }
    }
    match kind {
        1 => series.kind = SeriesKind::Count,
        0 | 2 | 3 => {}
        _ => return Err(Error::Malformed),
    }
    series.interval_secs = u32::try_from(interval).ok().filter(|seconds| *seconds > 0);
    Ok(series)
}

/// `host:web-1`.
fn resource(mut reader: Reader<'_>) -> Result<Option<Text>, Error> {
    let (mut kind, mut name) = (Text::default(), Text::default());
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => kind = value.text(),
            2 => name = value.text(),
            _ => {}
        }
    }
    Ok((!name.is_empty()).then(|| format!("{kind}:{name}").into()))
}

fn point(mut reader: Reader<'_>) -> Result<(UnixNanos, f64), Error> {
    let (mut time, mut value) = (0, 0.0);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => value = field.double(),
            2 => time = field.uint(),
            _ => {}
        }
    }
    Ok((UnixNanos::from_secs(time), value))
}

#[cfg(test)]
mod tests {
    use super::decode;
    use model::{SeriesKind, UnixNanos};
    use protobuf::Writer;

    #[test]
    fn what_the_agent_writes_is_read() {
        let mut w = Writer::with_capacity(64);
        w.message(1, |w| {
            w.message(1, |w| {
                w.text(1, "host");
                w.text(2, "web-1");
            });
            w.text(2, "orders");
            w.text(3, "a:b");
            w.message(4, |w| {
                w.double(1, 2.5);
                w.int(2, 1_700_000_000);
            });
            w.uint(5, 1);
            w.uint(8, 10);
        });
        let all = decode(&w.into_bytes()).unwrap();
        assert_eq!(
            (&*all[0].name, all[0].kind, all[0].interval_secs),
            ("orders", SeriesKind::Count, Some(10))
        );
        assert_eq!(all[0].tags, ["host:web-1", "a:b"]);
        assert_eq!(all[0].points, [(UnixNanos::from_secs(1_700_000_000), 2.5)]);
        assert!(decode(b"\x0a\x05\x28\x04").is_err());
        assert!(decode(b"\x0a\x02\x28\x04").is_err());
    }
}
