//! Statistics of traces: how many spans of a kind there were, how many failed, how long they took. `engine` makes
//! them, `payload` encodes them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Text, UnixNanos};

/// Statistics that were made here, as they go to the intake.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SpanStats {
    pub env: Text,
    pub version: Text,
    pub service: Text,
    pub language: Text,
    pub tracer_version: Text,
    pub runtime_id: Text,
    pub container_id: Text,
    /// By when spans ended.
    pub buckets: Vec<StatsBucket>,
}

/// Spans that ended within one span of time.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StatsBucket {
    pub start: UnixNanos,
    pub duration: Duration,
    pub groups: Vec<(StatsKey, StatsGroup)>,
}

/// What spans have in common that are counted together. What is not there is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StatsKey {
    pub service: Text,
    pub name: Text,
    pub resource: Text,
    pub kind: Text,
    pub span_kind: Text,
    /// 0: none.
    pub http_status: u16,
    pub http_method: Text,
    pub http_endpoint: Text,
    pub grpc_status: Text,
    /// Who named the service.
    pub service_source: Text,
    /// The trace began in a synthetic test.
    pub synthetics: bool,
    pub is_trace_root: bool,
    /// `key:value` of what is called.
    pub peer_tags: Vec<Text>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct StatsGroup {
    pub hits: u64,
    pub errors: u64,
    pub top_level_hits: u64,
    /// Of all together, in nanoseconds.
    pub duration: u64,
    pub ok: LatencySketch,
    pub error: LatencySketch,
}

impl SpanStats {
    /// Spans that are counted in it.
    pub fn hits(&self) -> u64 {
        self.buckets.iter().flat_map(|bucket| &bucket.groups).map(|(_, group)| group.hits).sum()
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        HEAD + self.buckets.iter().flat_map(|bucket| &bucket.groups).map(weight).sum::<usize>()
    }

    /// The same in parts of at most `max` bytes each, groups that are larger alone.
    pub fn parts(mut self, max: usize) -> Vec<Self> {
        let buckets = std::mem::take(&mut self.buckets);
        let (mut parts, mut bytes): (Vec<Self>, usize) = (Vec::new(), max);
        for StatsBucket { start, duration, groups } in buckets {
            for group in groups {
                let more = weight(&group);
                if bytes + more > max {
                    parts.push(self.clone());
                    bytes = HEAD;
                }
                bytes += more;
                let Some(part) = parts.last_mut() else { continue };
                match part.buckets.last_mut().filter(|last| last.start == start) {
                    Some(last) => last.groups.push(group),
                    None => part.buckets.push(StatsBucket { start, duration, groups: vec![group] }),
                }
            }
        }
        parts
    }
}

/// About how many bytes stand around the groups.
const HEAD: usize = 256;

/// About how many bytes a group takes.
fn weight((key, group): &(StatsKey, StatsGroup)) -> usize {
    let texts = [&key.service, &key.name, &key.resource, &key.kind, &key.span_kind];
    let more = [&key.http_method, &key.http_endpoint, &key.grpc_status, &key.service_source];
    let texts = texts.iter().chain(&more).map(|text| text.len()).sum::<usize>()
        + key.peer_tags.iter().map(|tag| tag.len() + 3).sum::<usize>();
    400 + texts + 8 * (group.ok.contiguous().1.len() + group.error.contiguous().1.len())
}

/// Durations in logarithmic bins, each of them within 0.8 % of what it was; the bins are those of Datadog's
/// backend, so that it can add them up.
/// <https://github.com/DataDog/sketches-go>
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LatencySketch {
    bins: BTreeMap<i32, u64>,
    zero: u64,
}

impl LatencySketch {
    /// How much wider each bin is than the one before.
    pub const GAMMA: f64 = 1.015_625;
    /// The bin of 1.
    pub const OFFSET: f64 = 1.876_128_191_286_170_5;
    /// What is further below the longest goes to the lowest bin.
    const MAX_BINS: usize = 2048;

    pub fn insert(&mut self, duration: Duration) {
        let nanos = duration.as_nanos() as f64;
        if nanos < 1.0 {
            self.zero += 1;
            return;
        }
        let bin = (nanos.ln() / Self::GAMMA.ln() + Self::OFFSET).floor() as i32;
        *self.bins.entry(bin).or_default() += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.bins.is_empty() && self.zero == 0
    }

    /// Durations of nothing.
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// The first bin, and how many durations are in each from there on.
    pub fn contiguous(&self) -> (i32, Vec<u64>) {
        let (Some((first, _)), Some((last, _))) = (self.bins.first_key_value(), self.bins.last_key_value())
        else {
            return (0, Vec::new());
        };
        let low = *first.max(&(last - (Self::MAX_BINS as i32 - 1)));
        let mut counts = vec![0; usize::try_from(last - low + 1).unwrap_or_default()];
        for (bin, count) in &self.bins {
            let at = usize::try_from(bin - low).unwrap_or(0);
            if let Some(sum) = counts.get_mut(at) {
                *sum += count;
            }
        }
        (low, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_found_again() {
        let mut sketch = LatencySketch::default();
        assert!(sketch.is_empty());
        let nanos = [1u64, 2, 1000, 1_234_567, 1_234_600, 60_000_000_000];
        nanos.iter().for_each(|n| sketch.insert(Duration::from_nanos(*n)));
        sketch.insert(Duration::ZERO);
        let (first, counts) = sketch.contiguous();
        assert_eq!((sketch.zero(), counts.iter().sum::<u64>()), (1, 6));
        let filled: Vec<f64> = (first..)
            .zip(&counts)
            .filter(|(_, count)| **count > 0)
            .map(|(bin, _)| LatencySketch::GAMMA.powf(f64::from(bin) + 0.5 - LatencySketch::OFFSET))
            .collect();
        for (at, n) in [(0, 1.0), (2, 1000.0), (3, 1_234_567.0), (4, 6e10)] {
            assert!((filled[at] / n - 1.0).abs() < 0.0079, "{} {n}", filled[at]);
        }
        assert_eq!(filled.len(), 5);
    }

    #[test]
    fn parts_hold_all_and_are_within_a_bound() {
        let bucket = |n: u64| {
            let group = |k: usize| {
                let resource = format!("GET /{n}/{}", "x".repeat(k * 10));
                (
                    StatsKey { resource: resource.into(), ..StatsKey::default() },
                    StatsGroup { hits: 1, ..StatsGroup::default() },
                )
            };
            let (start, duration) = (UnixNanos::from_secs(n * 10), Duration::from_secs(10));
            StatsBucket { start, duration, groups: (0..50).map(group).collect() }
        };
        let all =
            SpanStats { env: "prod".into(), buckets: (1..4).map(bucket).collect(), ..SpanStats::default() };
        let groups = |of: &[SpanStats]| -> Vec<_> {
            let buckets = of.iter().flat_map(|part| &part.buckets);
            buckets.flat_map(|b| b.groups.iter().map(|(key, _)| (b.start, key.resource.clone()))).collect()
        };
        for max in [0, 1000, 5000, 1 << 20] {
            let parts = all.clone().parts(max);
            assert_eq!(groups(&parts), groups(std::slice::from_ref(&all)), "{max}");
            assert!(parts.iter().all(|part| part.env == "prod"));
            let is_bounded = |part: &SpanStats| part.weight() <= max || part.hits() == 1;
            assert!(parts.iter().all(is_bounded), "{max}");
        }
        assert_eq!(all.clone().parts(1 << 20), [all]);
        assert_eq!(SpanStats::default().parts(10), []);
    }

    #[test]
    fn bins_are_bounded() {
        let mut sketch = LatencySketch::default();
        [1, u64::MAX].iter().for_each(|n| sketch.insert(Duration::from_nanos(*n)));
        let (_, counts) = sketch.contiguous();
        assert_eq!((counts.len(), counts[0], counts[2047]), (2048, 1, 1));
    }
}
