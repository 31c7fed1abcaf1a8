//! The JSON of the series intake: counts and gauges.
//! <https://docs.datadoghq.com/api/latest/metrics/#submit-metrics>
//!
//! Type numbers are the published ones: 0 unspecified, 1 count, 2 rate, 3 gauge. A count names the interval
//! it was summed over; without one the intake cannot show it as a rate.

use model::{Series, SeriesKind, Text, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::origin::origin;

const COUNT: u8 = 1;
const RATE: u8 = 2;
const GAUGE: u8 = 3;

/// What stands around the series of a body.
pub(crate) const FRAME: usize = r#"{"series":[]}"#.len();

#[derive(Serialize)]
struct Body<'a> {
    series: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    metric: &'a str,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<u32>,
    points: Vec<Point>,
    tags: &'a [Text],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

#[derive(Serialize)]
struct Metadata {
    origin: OriginNumbers,
}

#[derive(Serialize)]
struct OriginNumbers {
    origin_product: u32,
    origin_sub_product: u32,
    origin_product_detail: u32,
}

#[derive(Serialize, Deserialize)]
struct Point {
    timestamp: u64,
    value: f64,
}

#[derive(Deserialize)]
struct ReadBody {
    series: Vec<ReadEntry>,
}

#[derive(Deserialize)]
struct ReadEntry {
    metric: String,
    #[serde(default, rename = "type")]
    kind: u8,
    #[serde(default)]
    interval: Option<u32>,
    #[serde(default)]
    points: Vec<Point>,
    #[serde(default)]
    tags: Vec<String>,
}

/// Writes the body of a `/api/v2/series` request. Times are whole seconds there. Points that are not finite
/// have no JSON and are left out.
pub fn encode(series: &[Series]) -> Vec<u8> {
    json(&Body { series: series.iter().map(entry).collect() })
}

/// Writes one series as it stands in a body.
pub(crate) fn encode_one(series: &Series) -> Vec<u8> {
    json(&entry(series))
}

/// Reads the body of a `/api/v2/series` request. Rates, which we never send, are read as gauges; so is a
/// type that is not given.
pub fn decode(body: &[u8]) -> Result<Vec<Series>, DecodeError> {
    let body: ReadBody = serde_json::from_slice(body).map_err(|_| DecodeError::Malformed)?;
    body.series.into_iter().map(read).collect()
}

fn entry(series: &Series) -> Entry<'_> {
    let points = series.points.iter().filter(|(_, value)| value.is_finite());
    Entry {
        metric: &series.name,
        kind: match series.kind {
            SeriesKind::Count => COUNT,
            SeriesKind::Gauge => GAUGE,
        },
        interval: series.interval_secs,
        points: points.map(|(time, value)| Point { timestamp: time.as_secs(), value: *value }).collect(),
        tags: &series.tags,
        metadata: origin(&series.name).map(|origin| Metadata {
            origin: OriginNumbers {
                origin_product: origin.product,
                origin_sub_product: origin.category,
                origin_product_detail: origin.service,
            },
        }),
    }
}

fn read(entry: ReadEntry) -> Result<Series, DecodeError> {
    Ok(Series {
        name: entry.metric.into(),
        kind: match entry.kind {
            COUNT => SeriesKind::Count,
            0 | RATE | GAUGE => SeriesKind::Gauge,
            _ => return Err(DecodeError::Malformed),
        },
        tags: entry.tags.into_iter().map(Text::Owned).collect(),
        points: entry.points.into_iter().map(|p| (UnixNanos::from_secs(p.timestamp), p.value)).collect(),
        interval_secs: entry.interval,
    })
}

/// Maps with text keys and finite numbers always have a JSON.
fn json(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value);
    debug_assert!(json.is_ok());
    json.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn json_of_a_body() {
        let series = |name: &'static str, kind, interval_secs, points: &[(u64, f64)]| Series {
            name: name.into(),
            kind,
            tags: vec!["a:1".into(), "b".into()],
            points: points
                .iter()
                .map(|(s, value)| (UnixNanos::from_millis(s * 1000 + 999), *value))
                .collect(),
            interval_secs,
        };
        let all = [
            series(
                "orders.total",
                SeriesKind::Count,
                Some(10),
                &[(1_700_000_000, 3.0), (1_700_000_010, f64::NAN)],
            ),
            series("datadog.queue", SeriesKind::Gauge, None, &[(1_700_000_000, -0.5)]),
        ];
        let want = r#"{"series":[
            {"metric":"orders.total","type":1,"interval":10,"points":[{"timestamp":1700000000,"value":3.0}],"tags":["a:1","b"],
             "metadata":{"origin":{"origin_product":1,"origin_sub_product":38,"origin_product_detail":472}}},
            {"metric":"datadog.queue","type":3,"points":[{"timestamp":1700000000,"value":-0.5}],"tags":["a:1","b"]}]}"#;
        let want: Value = serde_json::from_str(want).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&encode(&all)).unwrap(), want);
        assert_eq!(encode(&[]), br#"{"series":[]}"#);
    }

    #[test]
    fn origins() {
        let check =
            |name, want| assert_eq!(origin(name).map(|o| (o.product, o.category, o.service)), want, "{name}");
        check("orders.total", Some((1, 38, 472)));
        check("aws.lambda.enhanced.errors", Some((1, 38, 473)));
        check("aws.lambdas", Some((1, 38, 472)));
        check("jvm.heap", Some((1, 38, 474)));
        check("runtime.go.gc", Some((1, 38, 474)));
        check("datadog.agent.up", None);
    }

    #[test]
    fn bodies_of_other_senders() {
        let body = br#"{"series":[{"metric":"m","type":0},{"metric":"r","type":2,"interval":10,"new":1,
            "points":[{"timestamp":5,"value":1}],"resources":[{"name":"h","type":"host"}],"unit":"s"}]}"#;
        let read = decode(body).unwrap();
        assert_eq!((read[0].kind, read[0].points.len(), read[0].tags.len()), (SeriesKind::Gauge, 0, 0));
        assert_eq!((read[1].kind, read[1].points[0]), (SeriesKind::Gauge, (UnixNanos::from_secs(5), 1.0)));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"series":[{}]}"#,
            r#"{"series":[{"metric":"m","type":4}]}"#,
            r#"{"series":[]"#,
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(DecodeError::Malformed), "{bad}");
        }
    }
}
