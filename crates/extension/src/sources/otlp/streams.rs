//! Points to metrics. What a stream said last is remembered, so that of a sum since its start only what is new
//! is passed on. Bounded: the stream that was silent for the longest is forgotten first.
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#resets-and-gaps>
//! <https://docs.datadoghq.com/metrics/open_telemetry/otlp_metric_types/>

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use model::{Metric, MetricKind, SketchSeries, Text, UnixNanos};
use wire::otlp::metrics::{Buckets, Data, Histogram, Point, Side, Temporality};

use super::sketch::sketch;

/// Bytes of what is remembered.
const MAX_BYTES: usize = 4 << 20;

/// How points become metrics. The default is the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    pub histograms: Histograms,
    /// Also `.count`, `.sum`, `.min` and `.max` of a histogram.
    pub histogram_aggregations: bool,
    /// Sums since the start of a stream stay so, as gauges.
    pub raw_sums: bool,
    pub initial: Initial,
    /// Quantiles of summaries.
    pub quantiles: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Histograms {
    Distributions,
    /// A count for each bucket.
    Counters,
    Nothing,
}

/// What the first value of a stream is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// What was counted since the start, when that is later than ours.
    Auto,
    Drop,
    Keep,
}

impl Default for Points {
    fn default() -> Self {
        Self {
            histograms: Histograms::Distributions,
            histogram_aggregations: false,
            raw_sums: false,
            initial: Initial::Auto,
            quantiles: true,
        }
    }
}

/// What comes of a point.
#[derive(Debug, PartialEq)]
pub(super) enum Made {
    Metric(Metric),
    Sketch(SketchSeries),
    /// A histogram that cannot be one.
    Dropped,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Text,
    tags: Vec<Text>,
}

/// What a stream said last.
#[derive(Debug)]
struct Last {
    turn: u64,
    start: UnixNanos,
    time: UnixNanos,
    value: Total,
}

#[derive(Clone, Debug)]
enum Total {
    Count(f64),
    Summary { count: u64, sum: f64 },
    Histogram(Histogram),
}

pub(super) struct Streams {
    how: Points,
    /// A stream that began later was seen from its start, unless it was forgotten.
    since: UnixNanos,
    last: HashMap<Rc<Key>, Last>,
    /// Streams by when they were heard.
    turns: BTreeMap<u64, Rc<Key>>,
    turn: u64,
    bytes: usize,
}

impl Streams {
    pub(super) fn new(how: Points, now: UnixNanos) -> Self {
        Self { how, since: now, last: HashMap::new(), turns: BTreeMap::new(), turn: 0, bytes: 0 }
    }

    pub(super) fn take(&mut self, point: Point) -> Vec<Made> {
        let Point { name, tags, start, time, data } = point;
        let key = Rc::new(Key { name, tags });
        let at = (time != UnixNanos::default()).then_some(time);
        match data {
            Data::Gauge(value) | Data::Total(value) => vec![metric(&key, "", MetricKind::Gauge, value, at)],
            Data::Count { value, temporality } => self.count(&key, value, temporality, start, time),
            Data::Histogram { histogram, temporality: Temporality::Delta } => {
                self.histogram(&key, histogram, at)
            }
            Data::Histogram { histogram, temporality: Temporality::Cumulative } => {
                let total = Total::Histogram(histogram.clone());
                let new = match self.exchange(&key, start, time, total) {
                    Told::Before(Total::Histogram(before)) => since(&histogram, &before),
                    Told::Before(_) => None,
                    Told::First => Some(histogram.clone()).filter(|_| self.knows_start(start, time)),
                    Told::Old => return Vec::new(),
                };
                // Fewer than before: the stream began again.
                let new = new.or_else(|| {
                    let restarted = self.knows_start(start, time);
                    restarted.then_some(histogram)
                });
                new.map_or_else(Vec::new, |new| self.histogram(&key, new, at))
            }
            Data::Summary { count, sum, quantiles } => {
                let mut made = self.summary(&key, (count, sum), start, time);
                for (quantile, value) in quantiles.into_iter().filter(|_| self.how.quantiles) {
                    let mut tags = key.tags.clone();
                    tags.push(format!("quantile:{quantile}").into());
                    let key = Key { name: key.name.clone(), tags };
                    made.push(metric(&key, ".quantile", MetricKind::Gauge, value, at));
                }
                made
            }
        }
    }

    fn count(
        &mut self,
        key: &Rc<Key>,
        value: f64,
        temporality: Temporality,
        start: UnixNanos,
        time: UnixNanos,
    ) -> Vec<Made> {
        let at = (time != UnixNanos::default()).then_some(time);
        if temporality == Temporality::Delta {
            return vec![metric(key, "", MetricKind::Count, value, at)];
        }
        if self.how.raw_sums {
            return vec![metric(key, "", MetricKind::Gauge, value, at)];
        }
        let new = match self.exchange(key, start, time, Total::Count(value)) {
            Told::Before(Total::Count(before)) if value >= before => Some(value - before),
            Told::Before(_) | Told::First => Some(value).filter(|_| self.knows_start(start, time)),
            Told::Old => None,
        };
        new.map(|new| metric(key, "", MetricKind::Count, new, at)).into_iter().collect()
    }

    fn summary(
        &mut self,
        key: &Rc<Key>,
        (count, sum): (u64, f64),
        start: UnixNanos,
        time: UnixNanos,
    ) -> Vec<Made> {
        let new = match self.exchange(key, start, time, Total::Summary { count, sum }) {
            Told::Before(Total::Summary { count: before, sum: sum_before }) if count >= before => {
                Some((count - before, sum - sum_before))
            }
            Told::Before(_) | Told::First => Some((count, sum)).filter(|_| self.knows_start(start, time)),
            Told::Old => None,
        };
        let at = (time != UnixNanos::default()).then_some(time);
        let both = |(count, sum): (u64, f64)| {
            [
                metric(key, ".count", MetricKind::Count, count as f64, at),
                metric(key, ".sum", MetricKind::Count, sum, at),
            ]
        };
        new.map(both).into_iter().flatten().collect()
    }

    /// A histogram of what is new.
    fn histogram(&self, key: &Key, histogram: Histogram, at: Option<UnixNanos>) -> Vec<Made> {
        let mut made = Vec::new();
        if histogram.count == 0 {
            return made;
        }
        if self.how.histogram_aggregations {
            made.push(metric(key, ".count", MetricKind::Count, histogram.count as f64, at));
            made.extend(histogram.sum.map(|sum| metric(key, ".sum", MetricKind::Count, sum, at)));
            made.extend(histogram.min.map(|min| metric(key, ".min", MetricKind::Gauge, min, at)));
            made.extend(histogram.max.map(|max| metric(key, ".max", MetricKind::Gauge, max, at)));
        }
        match (self.how.histograms, &histogram.buckets) {
            (Histograms::Nothing, _) => {}
            (Histograms::Counters, Buckets::Explicit { bounds, counts }) => {
                for (at_bucket, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
                    let bound = |at: Option<usize>| at.and_then(|at| bounds.get(at));
                    let low = bound(at_bucket.checked_sub(1)).map_or("-inf".to_owned(), f64::to_string);
                    let high = bound(Some(at_bucket)).map_or("inf".to_owned(), f64::to_string);
                    let mut tags = key.tags.clone();
                    tags.extend([format!("lower_bound:{low}").into(), format!("upper_bound:{high}").into()]);
                    let key = Key { name: key.name.clone(), tags };
                    made.push(metric(&key, ".bucket", MetricKind::Count, *n as f64, at));
                }
            }
            (Histograms::Distributions | Histograms::Counters, _) => made.push(match sketch(&histogram) {
                Some(sketch) => Made::Sketch(SketchSeries {
                    name: key.name.clone(),
                    tags: key.tags.clone(),
                    points: vec![(at.unwrap_or(self.since), sketch)],
                }),
                None => Made::Dropped,
            }),
        }
        made
    }

    /// Whether what a stream counts first is what was counted since `start`, and not before.
    fn knows_start(&self, start: UnixNanos, time: UnixNanos) -> bool {
        match self.how.initial {
            Initial::Keep => true,
            Initial::Drop => false,
            Initial::Auto => start > self.since && start != time,
        }
    }

    /// Remembers what a stream says, and gives what it said before.
    fn exchange(&mut self, key: &Rc<Key>, start: UnixNanos, time: UnixNanos, value: Total) -> Told {
        self.turn += 1;
        let turn = self.turn;
        let weight = weight(key, &value);
        let last = Last { turn, start, time, value };
        let (key, told) = match self.last.get_key_value(key) {
            // It came late, or twice: what was said last holds.
            Some((_, before)) if before.time >= time => return Told::Old,
            Some((known, before)) => {
                let goes_on = start == UnixNanos::default() || start == before.start && start != time;
                let told = if goes_on { Told::Before(before.value.clone()) } else { Told::First };
                self.turns.remove(&before.turn);
                self.bytes = self.bytes.saturating_sub(self::weight(known, &before.value));
                (known.clone(), told)
            }
            None => (key.clone(), Told::First),
        };
        self.bytes += weight;
        self.turns.insert(turn, key.clone());
        self.last.insert(key, last);
        while self.bytes > MAX_BYTES && self.last.len() > 1 {
            self.forget();
        }
        told
    }

    /// Forgets the stream that was silent for the longest. From here on the start of a stream is only known when
    /// it is later: what one that comes back counts was passed on already.
    fn forget(&mut self) {
        let Some((_, key)) = self.turns.pop_first() else { return };
        if let Some(last) = self.last.remove(&key) {
            self.bytes = self.bytes.saturating_sub(weight(&key, &last.value));
            self.since = self.since.max(last.time);
        }
    }
}

enum Told {
    First,
    Before(Total),
    /// A point that is not later than the last.
    Old,
}

fn metric(key: &Key, suffix: &str, kind: MetricKind, value: f64, time: Option<UnixNanos>) -> Made {
    let name = if suffix.is_empty() { key.name.clone() } else { format!("{}{suffix}", key.name).into() };
    Made::Metric(Metric { kind, tags: key.tags.clone(), time, ..Metric::distribution(name, value) })
}

fn weight(key: &Key, value: &Total) -> usize {
    let tags: usize = key.tags.iter().map(|tag| tag.len() + 32).sum();
    let buckets = match value {
        Total::Count(_) | Total::Summary { .. } => 0,
        Total::Histogram(histogram) => match &histogram.buckets {
            Buckets::Explicit { bounds, counts } => bounds.len() + counts.len(),
            Buckets::Exponential { positive, negative, .. } => positive.counts.len() + negative.counts.len(),
        },
    };
    300 + key.name.len() + tags + buckets * 8
}

/// What a histogram counted since it said `before`. `None` when it counted less: it began again.
fn since(now: &Histogram, before: &Histogram) -> Option<Histogram> {
    let buckets = match (&now.buckets, &before.buckets) {
        (Buckets::Explicit { bounds, counts }, Buckets::Explicit { bounds: same, counts: old })
            if bounds == same && counts.len() == old.len() =>
        {
            let counts: Option<Vec<u64>> =
                counts.iter().zip(old).map(|(n, old)| n.checked_sub(*old)).collect();
            Buckets::Explicit { bounds: bounds.clone(), counts: counts? }
        }
        (
            Buckets::Exponential { scale, zero, positive, negative },
            Buckets::Exponential {
                scale: old,
                zero: old_zero,
                positive: old_positive,
                negative: old_negative,
            },
        ) => {
            let coarser = u32::try_from(old.checked_sub(*scale)?).ok()?;
            Buckets::Exponential {
                scale: *scale,
                zero: zero.checked_sub(*old_zero)?,
                positive: side_since(positive, old_positive, coarser)?,
                negative: side_since(negative, old_negative, coarser)?,
            }
        }
        _ => return None,
    };
    // An extreme that is new was reached since.
    let min = now.min.filter(|min| before.min.is_some_and(|before| *min < before));
    let max = now.max.filter(|max| before.max.is_some_and(|before| *max > before));
    let sum = now.sum.zip(before.sum).map(|(now, before)| now - before);
    Some(Histogram { count: now.count.checked_sub(before.count)?, sum, min, max, buckets })
}

/// `coarser`: how often the width of a bucket was doubled in between.
fn side_since(now: &Side, before: &Side, coarser: u32) -> Option<Side> {
    let mut counts = now.counts.clone();
    for (at, n) in before.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let index = (i64::from(before.offset) + i64::try_from(at).ok()?) >> coarser.min(63);
        let place = usize::try_from(index - i64::from(now.offset)).ok()?;
        let count = counts.get_mut(place)?;
        *count = count.checked_sub(*n)?;
    }
    Some(Side { offset: now.offset, counts })
}

#[cfg(test)]
mod tests;
