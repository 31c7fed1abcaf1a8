//! Metric points by name, kind and tags.

use std::collections::{BTreeMap, VecDeque};

use model::{Series, SeriesKind, Sketch, SketchSeries, Text, UnixNanos};
use serde::Serialize;

use crate::id;
use crate::strict::Found;

/// Points of a metric that are looked at for one of the same time.
const LOOKED_AT: usize = 64;

/// How a metric arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    Count,
    Gauge,
    Distribution,
}

/// One metric with one set of tags.
#[derive(Clone, Debug, Serialize)]
pub struct MetricView {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: MetricType,
    pub tags: Vec<String>,
    /// All points together: the sum of counts, the last gauge, the merged distribution.
    pub total: Value,
    pub points: Vec<Point>,
}

/// What was measured at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    #[serde(serialize_with = "id::time")]
    pub time: UnixNanos,
    #[serde(flatten)]
    pub value: Value,
    /// The number of the request that brought it; 0 when none did.
    pub request: u64,
}

/// A number, or the figures of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Number { value: f64 },
    Distribution { count: u64, min: f64, max: f64, avg: f64, sum: f64, p50: f64, p95: f64 },
}

impl MetricView {
    /// The value of the tag `key`, if it is there as `key:value`.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(key)?.strip_prefix(':'))
    }
}

impl Value {
    /// The number, or the average.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Number { value } => value,
            Self::Distribution { avg, .. } => avg,
        }
    }

    /// How many values are in it; 1 for a number.
    pub fn count(self) -> u64 {
        match self {
            Self::Number { .. } => 1,
            Self::Distribution { count, .. } => count,
        }
    }

    fn of(sketch: &Sketch) -> Self {
        let quantile = |q| sketch.quantile(q).unwrap_or_default();
        Self::Distribution {
            count: sketch.count(),
            min: sketch.min(),
            max: sketch.max(),
            avg: sketch.avg(),
            sum: sketch.sum(),
            p50: quantile(0.5),
            p95: quantile(0.95),
        }
    }
}

#[derive(Clone, Debug)]
enum Measured {
    Number(f64),
    Sketch(Sketch),
}

type Key = (Text, MetricType, Vec<Text>);

/// All points, oldest dropped first.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    points: BTreeMap<Key, VecDeque<(UnixNanos, Measured, u64)>>,
    /// The key of every point in order of arrival.
    order: VecDeque<Key>,
    /// Counts that a later request has overwritten.
    again: Found,
}

impl Metrics {
    pub(crate) fn add_series(&mut self, series: Series, request: u64) -> usize {
        let kind = match series.kind {
            SeriesKind::Count => MetricType::Count,
            SeriesKind::Gauge => MetricType::Gauge,
        };
        let points = series.points.into_iter().map(|(time, value)| (time, Measured::Number(value)));
        self.add((series.name, kind, series.tags), points, request)
    }

    pub(crate) fn add_sketches(&mut self, series: SketchSeries, request: u64) -> usize {
        let points = series.points.into_iter().map(|(time, sketch)| (time, Measured::Sketch(sketch)));
        self.add((series.name, MetricType::Distribution, series.tags), points, request)
    }

    fn add(&mut self, key: Key, points: impl Iterator<Item = (UnixNanos, Measured)>, request: u64) -> usize {
        let before = self.order.len();
        for (time, measured) in points {
            let held = self.points.entry(key.clone()).or_default();
            let mut last = held.iter().rev().take(LOOKED_AT);
            if key.1 == MetricType::Count && last.any(|(at, _, by)| *at == time && *by != request) {
                self.again.again(&key.0, time);
            }
            held.push_back((time, measured, request));
            self.order.push_back(key.clone());
        }
        self.order.len() - before
    }

    /// Counts that were overwritten since this was asked last.
    pub(crate) fn again(&mut self) -> Found {
        std::mem::take(&mut self.again)
    }

    /// Drops the oldest points until `limit` are left; how many went.
    pub(crate) fn shrink(&mut self, limit: usize) -> usize {
        let excess = self.order.len().saturating_sub(limit);
        for key in self.order.drain(..excess) {
            let Some(points) = self.points.get_mut(&key) else { continue };
            points.pop_front();
            if points.is_empty() {
                self.points.remove(&key);
            }
        }
        excess
    }

    /// All metrics whose name begins with `prefix`, by name.
    pub(crate) fn views(&self, prefix: &str) -> Vec<MetricView> {
        let found = self.points.iter().filter(|((name, ..), _)| name.starts_with(prefix));
        found.map(|(key, points)| view(key, points)).collect()
    }
}

fn view((name, kind, tags): &Key, points: &VecDeque<(UnixNanos, Measured, u64)>) -> MetricView {
    let value = |measured: &Measured| match measured {
        Measured::Number(value) => Value::Number { value: *value },
        Measured::Sketch(sketch) => Value::of(sketch),
    };
    let mut merged = Sketch::default();
    let mut number = 0.0;
    for (_, measured, _) in points {
        match (kind, measured) {
            (_, Measured::Sketch(sketch)) => merged.merge(sketch),
            (MetricType::Gauge, Measured::Number(value)) => number = *value,
            (_, Measured::Number(value)) => number += value,
        }
    }
    let total = match kind {
        MetricType::Distribution => Value::of(&merged),
        MetricType::Count | MetricType::Gauge => Value::Number { value: number },
    };
    let points =
        points.iter().map(|(time, m, request)| Point { time: *time, value: value(m), request: *request });
    MetricView {
        name: name.to_string(),
        kind: *kind,
        tags: tags.iter().map(ToString::to_string).collect(),
        total,
        points: points.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Value};
    use model::{Series, SeriesKind, Sketch, SketchSeries, UnixNanos};

    fn series(kind: SeriesKind, points: &[f64]) -> Series {
        let points = points.iter().map(|value| (UnixNanos(1), *value)).collect();
        Series { name: "orders".into(), kind, tags: vec!["a:b".into()], points, interval_secs: None }
    }

    #[test]
    fn points_add_up_by_kind() {
        let mut metrics = Metrics::default();
        metrics.add_series(series(SeriesKind::Count, &[1.0, 2.0]), 1);
        metrics.add_series(series(SeriesKind::Gauge, &[1.0, 2.0]), 1);
        for value in [1.0, 3.0] {
            let mut sketch = Sketch::default();
            sketch.insert(value, 1);
            let points = vec![(UnixNanos(1), sketch)];
            metrics.add_sketches(SketchSeries { name: "orders".into(), tags: vec!["a:b".into()], points }, 2);
        }
        let views = metrics.views("ord");
        let totals: Vec<_> = views.iter().map(|view| (view.total.as_f64(), view.points.len())).collect();
        assert_eq!(totals, [(3.0, 2), (2.0, 2), (2.0, 2)]);
        assert!(matches!(views[2].total, Value::Distribution { count: 2, .. }));
        assert_eq!(views[0].tag("a"), Some("b"));
        assert_eq!(metrics.views("x").len(), 0);
    }

    #[test]
    fn the_oldest_points_go_first() {
        let mut metrics = Metrics::default();
        metrics.add_series(series(SeriesKind::Gauge, &[9.0]), 1);
        metrics.add_series(series(SeriesKind::Count, &[1.0, 2.0, 4.0]), 1);
        assert_eq!(metrics.shrink(2), 2);
        let views = metrics.views("");
        assert_eq!((views.len(), views[0].total.as_f64()), (1, 6.0));
    }
}
