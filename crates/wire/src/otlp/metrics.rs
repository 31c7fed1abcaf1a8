//! OTLP metrics to points. A point of a cumulative stream says what was counted since the stream began:
//! making of it what was counted since the last one is the caller's, who remembers.
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/>

use model::{Text, UnixNanos};
use protobuf::{Reader, Value as Field, sint};

use super::value::{Attributes, Value};
use super::{DecodeError, Scope};

/// What tags points get beside their own attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// All attributes of the resource; else its service, version and environment.
    pub resource_attributes_as_tags: bool,
}

/// One point of one stream: a stream is a name with one set of tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub name: Text,
    /// `key:value`, sorted.
    pub tags: Vec<Text>,
    /// When the stream began; 0 when that is not known.
    pub start: UnixNanos,
    pub time: UnixNanos,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Gauge(f64),
    /// A sum that may go down, since its start.
    Total(f64),
    Count {
        value: f64,
        temporality: Temporality,
    },
    Histogram {
        histogram: Histogram,
        temporality: Temporality,
    },
    /// Quantiles that the sender computed; count and sum since the start.
    Summary {
        count: u64,
        sum: f64,
        quantiles: Vec<(f64, f64)>,
    },
}

/// What a point's counts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// Since the last point.
    Delta,
    /// Since the start of the stream.
    Cumulative,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Histogram {
    pub count: u64,
    /// Not given where values may be negative.
    pub sum: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub buckets: Buckets,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Buckets {
    /// One count more than bounds: up to and with each bound, and above the last. None at all when only count
    /// and sum are known.
    Explicit { bounds: Vec<f64>, counts: Vec<u64> },
    /// Bounds are powers of 2^(2^-scale).
    Exponential { scale: i32, zero: u64, positive: Side, negative: Side },
}

impl Default for Buckets {
    fn default() -> Self {
        Self::Explicit { bounds: Vec::new(), counts: Vec::new() }
    }
}

/// The buckets of one sign: the first is that above `base` to the power of `offset`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Side {
    pub offset: i32,
    pub counts: Vec<u64>,
}

/// What a request held.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Decoded {
    pub points: Vec<Point>,
    /// Points that could not be read.
    pub dropped: u64,
}

/// Reads an `ExportMetricsServiceRequest`.
///
/// # Errors
/// When the body is not whole; what is wrong within it costs a point, or the rest of a scope.
pub fn decode(body: &[u8], settings: Settings) -> Result<Decoded, DecodeError> {
    let (mut request, mut decoded) = (Reader::new(body), Decoded::default());
    while let Some((number, field)) = request.field()? {
        if number != 1 {
            continue;
        }
        let tags = resource_tags(&super::resource(field.message()), settings);
        let mut lost = 0;
        lost += super::for_each(field.message(), |_: &Scope, metric| {
            lost += read_metric(metric, &tags, &mut decoded.points).unwrap_or(1);
        });
        decoded.dropped += lost;
    }
    Ok(decoded)
}

/// The tags of what a resource says, as Datadog names them.
pub(super) fn resource_tags(resource: &Attributes, settings: Settings) -> Vec<Text> {
    const KNOWN: [(&str, &str); 4] = [
        ("service.name", "service"),
        ("service.version", "version"),
        ("deployment.environment", "env"),
        ("deployment.environment.name", "env"),
    ];
    let known = KNOWN.iter().filter_map(|(key, name)| Some(tag(name, resource.get(key)?)));
    let mut tags: Vec<Text> = known.collect();
    if settings.resource_attributes_as_tags {
        tags.extend(resource.iter().map(|(key, value)| tag(key, value)));
    }
    tags
}

fn tag(key: &str, value: &Value) -> Text {
    match value.to_text() {
        text if text.is_empty() => format!("{key}:n/a").into(),
        text => format!("{key}:{text}").into(),
    }
}

/// The fields of `Metric`: the name may stand behind the points. Gives how many points were lost.
fn read_metric(mut message: Reader<'_>, tags: &[Text], to: &mut Vec<Point>) -> Result<u64, DecodeError> {
    let (mut name, mut all, mut lost) = (Text::default(), Vec::new(), 0);
    while let Some((number, field)) = message.field()? {
        match number {
            1 => name = field.text(),
            5 | 7 | 9 | 10 | 11 => all.push((number, field.message())),
            _ => {}
        }
    }
    for (kind, mut data) in all {
        let (mut points, mut temporality, mut is_monotonic) = (Vec::new(), Temporality::Cumulative, false);
        while let Some((number, field)) = data.field()? {
            match number {
                1 => points.push(field.message()),
                2 if field.uint() == 1 => temporality = Temporality::Delta,
                3 => is_monotonic = field.uint() != 0,
                _ => {}
            }
        }
        for point in points {
            let read = match kind {
                5 => number_point(point, Data::Gauge),
                7 if is_monotonic || temporality == Temporality::Delta => {
                    number_point(point, |value| Data::Count { value, temporality })
                }
                7 => number_point(point, Data::Total),
                9 => histogram_point(point, temporality),
                10 => exponential_point(point, temporality),
                _ => summary_point(point),
            };
            match read {
                Ok(None) => {}
                Ok(Some((head, data))) if !name.is_empty() => to.push(head.into_point(&name, tags, data)),
                Ok(Some(_)) | Err(_) => lost += 1,
            }
        }
    }
    Ok(lost)
}

/// What every kind of point has.
#[derive(Default)]
struct Head {
    start: u64,
    time: u64,
    attributes: Attributes,
}

impl Head {
    fn into_point(self, name: &Text, more: &[Text], data: Data) -> Point {
        let mut tags: Vec<Text> = self.attributes.iter().map(|(key, value)| tag(key, value)).collect();
        tags.extend_from_slice(more);
        tags.sort_unstable();
        tags.dedup();
        Point { name: name.clone(), tags, start: UnixNanos(self.start), time: UnixNanos(self.time), data }
    }
}

/// Set when nothing was measured: the stream goes on later.
const NO_VALUE: u64 = 1;

type Read = Result<Option<(Head, Data)>, DecodeError>;

fn number_point(mut message: Reader<'_>, data: impl Fn(f64) -> Data) -> Read {
    let (mut head, mut value, mut flags) = (Head::default(), None, 0);
    while let Some((number, field)) = message.field()? {
        match number {
            2 => head.start = field.uint(),
            3 => head.time = field.uint(),
            4 => value = Some(field.double()),
            6 => value = Some(field.int() as f64),
            7 => head.attributes.read(field),
            8 => flags = field.uint(),
            _ => {}
        }
    }
    Ok(value.filter(|_| flags & NO_VALUE == 0).map(|value| (head, data(value))))
}

fn histogram_point(mut message: Reader<'_>, temporality: Temporality) -> Read {
    let (mut head, mut histogram, mut flags) = (Head::default(), Histogram::default(), 0);
    let (mut bounds, mut counts) = (Vec::new(), Vec::new());
    while let Some((number, field)) = message.field()? {
        match number {
            2 => head.start = field.uint(),
            3 => head.time = field.uint(),
            4 => histogram.count = field.uint(),
            5 => histogram.sum = Some(field.double()),
            6 => field.fixed64s(|n| counts.push(n))?,
            7 => field.fixed64s(|bits| bounds.push(f64::from_bits(bits)))?,
            9 => head.attributes.read(field),
            10 => flags = field.uint(),
            11 => histogram.min = Some(field.double()),
            12 => histogram.max = Some(field.double()),
            _ => {}
        }
    }
    // One count more than bounds, or none of both.
    let is_whole = counts.len() == bounds.len() + 1 || counts.is_empty() && bounds.is_empty();
    let is_ordered = bounds.windows(2).all(|two| matches!(two, [a, b] if a < b));
    if !is_whole || !is_ordered {
        return Err(DecodeError::Protobuf(protobuf::Error::Malformed));
    }
    histogram.buckets = Buckets::Explicit { bounds, counts };
    Ok((flags & NO_VALUE == 0).then_some((head, Data::Histogram { histogram, temporality })))
}

fn exponential_point(mut message: Reader<'_>, temporality: Temporality) -> Read {
    let (mut head, mut histogram, mut flags) = (Head::default(), Histogram::default(), 0);
    let (mut scale, mut zero, mut positive, mut negative) = (0, 0, Side::default(), Side::default());
    while let Some((number, field)) = message.field()? {
        match number {
            1 => head.attributes.read(field),
            2 => head.start = field.uint(),
            3 => head.time = field.uint(),
            4 => histogram.count = field.uint(),
            5 => histogram.sum = Some(field.double()),
            6 => scale = sint(field.uint()),
            7 => zero = field.uint(),
            8 => positive = side(field)?,
            9 => negative = side(field)?,
            10 => flags = field.uint(),
            12 => histogram.min = Some(field.double()),
            13 => histogram.max = Some(field.double()),
            _ => {}
        }
    }
    histogram.buckets = Buckets::Exponential { scale, zero, positive, negative };
    Ok((flags & NO_VALUE == 0).then_some((head, Data::Histogram { histogram, temporality })))
}

fn side(field: Field<'_>) -> Result<Side, DecodeError> {
    let (mut side, mut message) = (Side::default(), field.message());
    while let Some((number, field)) = message.field()? {
        match number {
            1 => side.offset = sint(field.uint()),
            2 => field.numbers(|n| side.counts.push(n))?,
            _ => {}
        }
    }
    Ok(side)
}

fn summary_point(mut message: Reader<'_>) -> Read {
    let (mut head, mut count, mut sum, mut flags) = (Head::default(), 0, 0.0, 0);
    let mut quantiles = Vec::new();
    while let Some((number, field)) = message.field()? {
        match number {
            2 => head.start = field.uint(),
            3 => head.time = field.uint(),
            4 => count = field.uint(),
            5 => sum = field.double(),
            6 => {
                let (mut pair, mut inner) = ((0.0, 0.0), field.message());
                while let Some((number, field)) = inner.field()? {
                    match number {
                        1 => pair.0 = field.double(),
                        2 => pair.1 = field.double(),
                        _ => {}
                    }
                }
                quantiles.push(pair);
            }
            7 => head.attributes.read(field),
            8 => flags = field.uint(),
            _ => {}
        }
    }
    Ok((flags & NO_VALUE == 0).then_some((head, Data::Summary { count, sum, quantiles })))
}
