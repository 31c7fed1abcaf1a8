//! Metrics that wait to be sent to the API, bounded, and the body that they become.
//! <https://docs.datadoghq.com/api/latest/metrics/#submit-distribution-points>

use std::collections::{BTreeMap, VecDeque};

use model::{Metric, Text, UnixNanos};
use serde::Serialize;

/// Bytes that may wait; beyond, the oldest are dropped.
const MAX_WAITING: usize = 2 << 20;
/// Bytes of one request, by the same measure: far below what the intake takes.
const MAX_REQUEST: usize = 512 << 10;
/// About what a metric takes beside its texts.
const OVERHEAD: usize = 128;

/// Metrics in the order in which they came, each with its time.
#[derive(Debug, Default)]
pub(super) struct Points {
    waiting: VecDeque<Metric>,
    weight: usize,
}

impl Points {
    /// Takes a metric; how many values had to be dropped for it.
    pub(super) fn push(&mut self, mut metric: Metric, now: UnixNanos) -> u64 {
        metric.time = metric.time.or(Some(now));
        self.weight += weight(&metric);
        self.waiting.push_back(metric);
        self.shrink()
    }

    /// Takes back what could not be sent: it is older than all that waits. How many values had to be dropped.
    pub(super) fn give_back(&mut self, metrics: Vec<Metric>) -> u64 {
        for metric in metrics.into_iter().rev() {
            self.weight += weight(&metric);
            self.waiting.push_front(metric);
        }
        self.shrink()
    }

    /// The oldest, as many as one request carries.
    pub(super) fn take(&mut self) -> Vec<Metric> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front().map(weight)
            && (taken.is_empty() || size + next <= MAX_REQUEST)
        {
            size += next;
            taken.extend(self.waiting.pop_front());
        }
        self.weight = self.weight.saturating_sub(size);
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn shrink(&mut self) -> u64 {
        let mut dropped = 0;
        while self.weight > MAX_WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.weight = self.weight.saturating_sub(weight(&oldest));
            dropped += oldest.values.len() as u64;
        }
        dropped
    }
}

fn weight(metric: &Metric) -> usize {
    let tags: usize = metric.tags.iter().map(|tag| tag.len() + 24).sum();
    OVERHEAD + metric.name.len() + tags + metric.values.len() * 8
}

/// Values by the second.
type Values = BTreeMap<u64, Vec<f64>>;

/// The request's body: one series per name and tags, one point per second.
pub(super) fn body(metrics: &[Metric], common: &[Text]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        series: Vec<Series<'a>>,
    }
    #[derive(Serialize)]
    struct Series<'a> {
        metric: &'a str,
        points: Vec<(u64, Vec<f64>)>,
        tags: Vec<&'a str>,
        r#type: &'static str,
    }
    let mut series: BTreeMap<(&str, &[Text]), Values> = BTreeMap::new();
    for metric in metrics {
        let points = series.entry((&metric.name, &metric.tags)).or_default();
        let second = metric.time.unwrap_or_default().as_secs();
        points.entry(second).or_default().extend(metric.values.iter().copied());
    }
    let series = series.into_iter().map(|((metric, tags), points)| Series {
        metric,
        points: points.into_iter().collect(),
        tags: tags.iter().chain(common).map(|tag| &**tag).collect(),
        r#type: "distribution",
    });
    serde_json::to_vec(&Body { series: series.collect() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metric(name: &'static str, value: f64, tags: &[&'static str], secs: u64) -> Metric {
        let mut metric = Metric::distribution(name, value);
        metric.tags = tags.iter().map(|tag| Text::Borrowed(tag)).collect();
        metric.time = Some(UnixNanos::from_secs(secs));
        metric
    }

    #[test]
    fn values_of_one_name_and_tags_and_second_are_one_point() {
        let metrics = [
            metric("orders", 1.0, &["a:b"], 7),
            metric("orders", 2.5, &["a:b"], 7),
            metric("orders", 3.0, &["a:b"], 8),
            metric("orders", 4.0, &[], 7),
            metric("items", 5.0, &["a:b"], 7),
        ];
        let body: Value = serde_json::from_slice(&body(&metrics, &["env:dev".into()])).unwrap();
        let series = |metric: &str, points: Value, tags: Value| json!({"metric": metric, "points": points, "tags": tags, "type": "distribution"});
        assert_eq!(
            body,
            json!({"series": [
                series("items", json!([[7, [5.0]]]), json!(["a:b", "env:dev"])),
                series("orders", json!([[7, [4.0]]]), json!(["env:dev"])),
                series("orders", json!([[7, [1.0, 2.5]], [8, [3.0]]]), json!(["a:b", "env:dev"])),
            ]})
        );
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let mut points = Points::default();
        let mut dropped = 0;
        for n in 0..40_000_u32 {
            dropped += points.push(metric("orders", f64::from(n), &["a:b"], 7), UnixNanos(0));
        }
        let mut left = Vec::new();
        while !points.is_empty() {
            let taken = points.take();
            assert!(taken.iter().map(weight).sum::<usize>() <= MAX_REQUEST);
            left.extend(taken.iter().map(|metric| metric.values[0]));
        }
        assert!(dropped > 0 && points.weight == 0);
        assert_eq!(left.len() as u64 + dropped, 40_000);
        assert_eq!(left.first().copied(), Some(dropped as f64));
        assert!(left.is_sorted());
    }

    #[test]
    fn what_comes_back_goes_first() {
        let mut points = Points::default();
        points.push(metric("a", 1.0, &[], 7), UnixNanos(0));
        points.push(metric("b", 2.0, &[], 7), UnixNanos(0));
        let taken = points.take();
        points.push(metric("c", 3.0, &[], 7), UnixNanos(0));
        assert_eq!(points.give_back(taken), 0);
        let names: Vec<_> = points.take().into_iter().map(|metric| metric.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
