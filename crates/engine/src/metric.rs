//! The metric stage: puts values together per name, tags and 10 seconds, until a flush takes them.
//!
//! Counts add up, of gauges the last one stays, members of sets are counted, all else becomes a sketch. Called by the engine for the
//! function's metrics and for its own.

use std::collections::{BTreeMap, BTreeSet};

use model::{Metric, MetricKind, Series, SeriesKind, Sketch, SketchSeries, Text, UnixNanos, keys};

use crate::drops::{Drops, Reason};
use crate::labels::Labels;

/// Seconds that values are put together for.
const BUCKET_SECS: u32 = 10;
/// Names that Datadog's own libraries give, which dashboards know: they get no namespace, and all tags.
const NAMED_BY_DATADOG: [&str; 4] = [keys::metrics::ENHANCED_PREFIX, "datadog.", "runtime.", "jvm."];
/// Members of one set in 10 seconds.
const MAX_MEMBERS: usize = 10_000;
/// Names and tag sets held at once.
const MAX_CONTEXTS: usize = 10_240;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Context {
    name: Text,
    /// Sorted, each once.
    tags: Vec<Text>,
    bucket: u64,
}

impl Context {
    fn weight(&self) -> usize {
        64 + self.name.len() + self.tags.iter().map(|t| t.len() + 24).sum::<usize>()
    }
}

#[derive(Clone, Debug)]
enum Value {
    Count(f64),
    Gauge(f64),
    /// What stands for the members.
    Set(BTreeSet<u64>),
    Sketch(Sketch),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Count,
    Gauge,
    Set,
    Sketch,
}

#[derive(Clone, Debug)]
pub(crate) struct MetricStage {
    values: BTreeMap<(Class, Context), Value>,
    /// Bytes of the contexts held.
    weight: usize,
    max_weight: usize,
    /// Stands before the names of the function's own metrics.
    namespace: Text,
}

impl MetricStage {
    pub(crate) fn new(max_weight: usize, namespace: Text) -> Self {
        Self { values: BTreeMap::new(), weight: 0, max_weight, namespace }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Takes a metric of the function.
    pub(crate) fn accept(&mut self, now: UnixNanos, mut metric: Metric, drops: &mut Drops) {
        // Sent by libraries that do not know whether an extension is there: counted here from INVOKE.
        if metric.name.starts_with(keys::metrics::INVOCATIONS) {
            return;
        }
        let is_known = NAMED_BY_DATADOG.iter().any(|prefix| metric.name.starts_with(prefix));
        if !self.namespace.is_empty() && !is_known {
            metric.name = format!("{}{}", self.namespace, metric.name).into();
        }
        let is_full = self.values.len() >= MAX_CONTEXTS || self.weight >= self.max_weight;
        self.add(now, metric, is_full, drops);
    }

    /// Takes a metric made here: never too many, hence never refused for want of room.
    pub(crate) fn accept_own(&mut self, now: UnixNanos, metric: Metric, drops: &mut Drops) {
        self.add(now, metric, false, drops);
    }

    fn add(&mut self, now: UnixNanos, metric: Metric, is_full: bool, drops: &mut Drops) {
        let rate = metric.sample_rate;
        let rate = if rate > 0.0 && rate <= 1.0 { rate } else { 1.0 };
        let class = match metric.kind {
            MetricKind::Count => Class::Count,
            MetricKind::Gauge => Class::Gauge,
            MetricKind::Set => Class::Set,
            MetricKind::Distribution | MetricKind::Histogram | MetricKind::Timing => Class::Sketch,
        };
        let total = metric.values.len();
        let values: Vec<f64> = metric.values.into_iter().filter(|v| v.is_finite()).collect();
        drops.add("metrics", Reason::Malformed, (total - values.len()) as u64);
        if values.is_empty() {
            return;
        }
        let key = (class, context(metric.name, metric.tags, metric.time.unwrap_or(now).min(now)));
        if !self.values.contains_key(&key) {
            if is_full {
                drops.add("metrics", Reason::Contexts, values.len() as u64);
                return;
            }
            self.weight += key.1.weight();
        }
        let held = self.values.entry(key).or_insert_with(|| match class {
            Class::Count => Value::Count(0.0),
            Class::Gauge => Value::Gauge(0.0),
            Class::Set => Value::Set(BTreeSet::new()),
            Class::Sketch => Value::Sketch(Sketch::default()),
        });
        match held {
            Value::Count(sum) => *sum += values.iter().sum::<f64>() / rate,
            Value::Gauge(last) => *last = values.last().copied().unwrap_or(*last),
            Value::Set(members) => {
                let room = MAX_MEMBERS.saturating_sub(members.len());
                let new = values.iter().map(|value| *value as u64).filter(|value| !members.contains(value));
                let new: BTreeSet<u64> = new.collect();
                drops.add("metrics", Reason::Contexts, new.len().saturating_sub(room) as u64);
                members.extend(new.into_iter().take(room));
            }
            Value::Sketch(sketch) => {
                let times = (1.0 / rate).round() as u64;
                for value in values {
                    sketch.insert(value, times);
                }
            }
        }
    }

    /// Gives what is held for series and for sketches, with the function's tags on it: also of the 10 seconds that
    /// go on, as the next flush may be hours away.
    pub(crate) fn take(
        &mut self,
        labels: &Labels,
        of_series: bool,
        of_sketches: bool,
    ) -> (Vec<Series>, Vec<SketchSeries>) {
        let (mut series, mut sketches): (Vec<Series>, Vec<SketchSeries>) = (Vec::new(), Vec::new());
        let is_wanted = |class: Class| if class == Class::Sketch { of_sketches } else { of_series };
        let (taken, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.values).into_iter().partition(|((class, _), _)| is_wanted(*class));
        self.weight = kept.keys().map(|(_, context)| context.weight()).sum();
        self.values = kept;
        let mut last: Option<(Class, Text, Vec<Text>)> = None;
        for ((class, context), value) in taken {
            let at = UnixNanos::from_secs(context.bucket);
            let same =
                last.as_ref().is_some_and(|(c, n, t)| (*c, n, t) == (class, &context.name, &context.tags));
            if !same {
                last = Some((class, context.name.clone(), context.tags.clone()));
                let tags = with_labels(&context.name, context.tags, labels);
                let name = context.name;
                match class {
                    Class::Sketch => sketches.push(SketchSeries { name, tags, points: Vec::new() }),
                    Class::Count => series.push(empty_series(name, tags, SeriesKind::Count)),
                    Class::Gauge | Class::Set => series.push(empty_series(name, tags, SeriesKind::Gauge)),
                }
            }
            match value {
                Value::Set(members) => series.last_mut().map(|s| s.points.push((at, members.len() as f64))),
                Value::Sketch(sketch) => sketches.last_mut().map(|s| s.points.push((at, sketch))),
                Value::Count(v) | Value::Gauge(v) => series.last_mut().map(|s| s.points.push((at, v))),
            };
        }
        (series, sketches)
    }

    /// Values of distributions that are held.
    pub(crate) fn held_values(&self) -> u64 {
        let count = |value: &Value| if let Value::Sketch(sketch) = value { sketch.count() } else { 0 };
        self.values.values().map(count).sum()
    }
}

fn context(name: Text, mut tags: Vec<Text>, time: UnixNanos) -> Context {
    tags.sort_unstable();
    tags.dedup();
    let width = u64::from(BUCKET_SECS);
    Context { name, tags, bucket: time.as_secs() / width * width }
}

fn with_labels(name: &str, mut tags: Vec<Text>, labels: &Labels) -> Vec<Text> {
    let is_known = NAMED_BY_DATADOG.iter().any(|prefix| name.starts_with(prefix));
    tags.extend(if is_known { &labels.metric } else { &labels.own_metric }.iter().cloned());
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn empty_series(name: Text, tags: Vec<Text>, kind: SeriesKind) -> Series {
    let interval_secs = (kind == SeriesKind::Count).then_some(BUCKET_SECS);
    Series { name, kind, tags, points: Vec::new(), interval_secs }
}
