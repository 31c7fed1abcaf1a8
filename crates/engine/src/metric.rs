//! The metric stage: puts values together per name, tags and 10 seconds, until a flush takes them.
//!
//! Counts add up, of gauges the last one stays, members of sets are counted, all else becomes a sketch. Called by the engine for the
//! function's metrics and for its own.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

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
/// How far ahead the time of a count may be, and at the end, when nothing can be told later. Datadog takes ten minutes.
const MAX_AHEAD_SECS: [u64; 2] = [60, 540];

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

/// What a flush takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) now: UnixNanos,
    pub(crate) series: bool,
    pub(crate) sketches: bool,
    /// There is no later flush.
    pub(crate) is_end: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct MetricStage {
    values: BTreeMap<(Class, Context), Value>,
    /// Bytes of the contexts held.
    weight: usize,
    max_weight: usize,
    /// Stands before the names of the function's own metrics.
    namespace: Text,
    /// The times that counts were told with lately, in seconds, by what stands for their name and tags.
    told: BTreeMap<u64, u64>,
}

impl MetricStage {
    pub(crate) fn new(max_weight: usize, namespace: Text) -> Self {
        Self { values: BTreeMap::new(), weight: 0, max_weight, namespace, told: BTreeMap::new() }
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
    pub(crate) fn take(&mut self, labels: &Labels, wanted: &Wanted) -> (Vec<Series>, Vec<SketchSeries>) {
        let (mut series, mut sketches): (Vec<Series>, Vec<SketchSeries>) = (Vec::new(), Vec::new());
        let now = wanted.now.as_secs();
        // What could not go for a while has the time that it came at.
        let counts = self.values.keys().filter(|(class, _)| *class == Class::Count);
        let oldest = counts.map(|(_, context)| context.bucket).min().map_or(now, |oldest| oldest.min(now));
        self.told.retain(|_, last| *last + u64::from(BUCKET_SECS) >= oldest);
        let (mut taken, mut kept) = (BTreeMap::new(), BTreeMap::new());
        for ((class, mut context), value) in std::mem::take(&mut self.values) {
            let goes = match class {
                Class::Sketch => wanted.sketches,
                Class::Gauge | Class::Set => wanted.series,
                Class::Count => wanted.series && self.stamp(&mut context, wanted),
            };
            if goes { &mut taken } else { &mut kept }.insert((class, context), value);
        }
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

    /// Gives a count the time that it is told with. Of two with the same time Datadog shows the last alone, so the second of
    /// the same ten seconds has the next second. `false`: there is no time for it yet.
    fn stamp(&mut self, context: &mut Context, wanted: &Wanted) -> bool {
        let mut hasher = DefaultHasher::new();
        (&context.name, &context.tags).hash(&mut hasher);
        let (id, now) = (hasher.finish(), wanted.now.as_secs());
        let at = self.told.get(&id).map_or(context.bucket, |last| context.bucket.max(last + 1));
        let [usual, end] = MAX_AHEAD_SECS;
        if at > now.max(context.bucket) + if wanted.is_end { end } else { usual } {
            return false;
        }
        if self.told.len() < MAX_CONTEXTS || self.told.contains_key(&id) {
            self.told.insert(id, at);
        }
        context.bucket = at;
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a count that one is added to, by flushes at these seconds.
    fn told(flushes: &[u64], is_end: bool) -> Vec<(u64, f64)> {
        let (mut stage, mut drops) = (MetricStage::new(1 << 20, Text::default()), Drops::default());
        let labels = Labels::new(&crate::Settings::default());
        let mut told = Vec::new();
        for at in flushes {
            let now = UnixNanos::from_secs(*at);
            let metric = Metric { kind: MetricKind::Count, ..Metric::distribution("orders", 1.0) };
            stage.accept(now, metric, &mut drops);
            let (series, _) = stage.take(&labels, &Wanted { now, series: true, sketches: true, is_end });
            told.extend(series.iter().flat_map(|s| &s.points).map(|(at, value)| (at.as_secs(), *value)));
        }
        told
    }

    /// Of two counts with the same time Datadog shows the last alone.
    #[test]
    fn no_two_counts_have_the_same_time() {
        assert_eq!(
            told(&[1_000, 1_001, 1_001, 1_009], false),
            [(1_000, 1.0), (1_001, 1.0), (1_002, 1.0), (1_003, 1.0)]
        );
        assert_eq!(told(&[1_009, 1_010, 1_030], false), [(1_000, 1.0), (1_010, 1.0), (1_030, 1.0)]);
    }

    /// Nor has one that could not go while the time of the first was known.
    #[test]
    fn a_count_that_waited_has_a_time_of_its_own() {
        let (mut stage, mut drops) = (MetricStage::new(1 << 20, Text::default()), Drops::default());
        let labels = Labels::new(&crate::Settings::default());
        let mut told = Vec::new();
        for (at, series) in [(1_001, true), (1_005, false), (1_025, true), (1_040, true)] {
            let now = UnixNanos::from_secs(at);
            let metric = Metric { kind: MetricKind::Count, ..Metric::distribution("orders", 1.0) };
            stage.accept(now, metric, &mut drops);
            let (all, _) = stage.take(&labels, &Wanted { now, series, sketches: true, is_end: false });
            told.extend(all.iter().flat_map(|s| &s.points).map(|(at, value)| (at.as_secs(), *value)));
        }
        assert_eq!(told, [(1_000, 1.0), (1_001, 1.0), (1_020, 1.0), (1_040, 1.0)]);
    }

    #[test]
    fn what_would_have_a_time_too_far_ahead_waits_for_the_next_flush() {
        let flushes: Vec<u64> = std::iter::repeat_n(1_000, 70).chain([1_030]).collect();
        let all = told(&flushes, false);
        let times: BTreeSet<u64> = all.iter().map(|(at, _)| *at).collect();
        assert_eq!((all.len(), times.len(), times.last()), (63, 63, Some(&1_062)));
        assert_eq!(all.iter().map(|(_, value)| value).sum::<f64>(), 71.0);
        assert_eq!(told(&flushes, true).len(), 71);
    }
}
