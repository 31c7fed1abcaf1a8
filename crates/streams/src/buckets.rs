//! What passed, counted by ten seconds and by point until it is sent.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{PipelineBucket, PipelinePoint, PipelineStats, UnixNanos};

use crate::{Checkpoint, Node};

const BUCKET: Duration = Duration::from_secs(10);
/// Points between two sends. A topic that has an id in its name would make one for each message.
const MAX_POINTS: usize = 1000;
/// About how many bytes one request may have: an agent takes twice that.
const MAX_WEIGHT: usize = 1024 * 1024;
/// Requests that wait for an agent that does not answer, at most.
const MAX_WAITING: usize = 6;

/// Whether any was made in this process: others need not be looked for.
static ANY: AtomicBool = AtomicBool::new(false);

/// The pathways that pass a service.
#[derive(Debug)]
pub struct Streams {
    node: Node,
    /// Without buckets.
    about: PipelineStats,
    points: Mutex<BTreeMap<Key, PipelinePoint>>,
    /// Bodies that could not be sent.
    waiting: Mutex<VecDeque<Vec<u8>>>,
    dropped: AtomicU64,
}

/// Start of the bucket, hash, parent's hash.
type Key = (UnixNanos, u64, u64);

impl Streams {
    /// Of the service that `about` tells.
    pub fn new(about: PipelineStats) -> Self {
        ANY.store(true, Ordering::Relaxed);
        let node = Node::new(&about.service, about.env.as_deref());
        let about = PipelineStats { buckets: Vec::new(), ..about };
        Self { node, about, points: Mutex::default(), waiting: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// Whether there is one in this process.
    pub fn any() -> bool {
        ANY.load(Ordering::Relaxed)
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Counts what passed.
    pub fn count(&self, checkpoint: &Checkpoint) {
        let start = UnixNanos(checkpoint.at.0 - checkpoint.at.0 % (BUCKET.as_nanos() as u64));
        let key = (start, checkpoint.hash, checkpoint.parent_hash);
        let mut points = lock(&self.points);
        if points.len() >= MAX_POINTS && !points.contains_key(&key) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let point = points.entry(key).or_insert_with(|| PipelinePoint {
            edge_tags: checkpoint.edge.tags().to_vec(),
            hash: checkpoint.hash,
            parent_hash: checkpoint.parent_hash,
            ..PipelinePoint::default()
        });
        point.pathway_latency.insert(checkpoint.pathway_latency);
        point.edge_latency.insert(checkpoint.edge_latency);
        point.payload_size.insert(Duration::from_secs(checkpoint.size as u64));
    }

    /// Takes all that was counted in buckets that began before `before`, as much as fits into a request each.
    pub fn take(&self, before: UnixNanos) -> Vec<PipelineStats> {
        let mut points = lock(&self.points);
        let later = points.split_off(&(before, 0, 0));
        let taken = std::mem::replace(&mut *points, later);
        drop(points);
        let mut all: Vec<PipelineStats> = Vec::new();
        let mut weight = MAX_WEIGHT;
        for ((start, ..), point) in taken {
            let more = point.weight();
            if weight + more > MAX_WEIGHT {
                all.push(self.about.clone());
                weight = 0;
            }
            weight += more;
            let Some(last) = all.last_mut() else { continue };
            match last.buckets.last_mut().filter(|bucket| bucket.start == start) {
                Some(bucket) => bucket.points.push(point),
                None => last.buckets.push(PipelineBucket { start, duration: BUCKET, points: vec![point] }),
            }
        }
        all
    }

    /// Keeps the body of a request that could not be sent, for the next time; of too many the oldest goes.
    pub fn keep(&self, body: Vec<u8>) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        waiting.push_back(body);
    }

    /// The bodies that were kept, oldest first.
    pub fn take_kept(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *lock(&self.waiting)).into()
    }

    /// How many checkpoints found no room, and requests no agent, since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edge, Pathway};

    fn streams() -> Streams {
        Streams::new(PipelineStats { service: "shop".into(), ..PipelineStats::default() })
    }

    fn pass(streams: &Streams, topic: &str, second: u64) {
        let at = UnixNanos::from_secs(1000 + second);
        let mut pathway = Pathway::new(at);
        streams.count(&pathway.pass(streams.node(), Edge::produce("sqs", topic), 100, at));
    }

    const EVER: UnixNanos = UnixNanos(u64::MAX);

    #[test]
    fn what_passes_one_point_is_counted_together() {
        let streams = streams();
        for (topic, second) in [("a", 0), ("a", 9), ("b", 3), ("a", 10)] {
            pass(&streams, topic, second);
        }
        let got = streams.take(UnixNanos::from_secs(1010));
        let [PipelineStats { service, buckets, .. }] = &got[..] else { panic!("{got:?}") };
        let [bucket] = &buckets[..] else { panic!("{buckets:?}") };
        assert_eq!((&**service, bucket.start, bucket.duration), ("shop", UnixNanos::from_secs(1000), BUCKET));
        let mut counts: Vec<_> = bucket
            .points
            .iter()
            .map(|point| {
                (point.edge_tags[1].as_str(), point.edge_latency.zero(), point.payload_size.contiguous().1)
            })
            .collect();
        counts.sort();
        assert_eq!(counts, [("topic:a", 2, vec![2]), ("topic:b", 1, vec![1])]);
        let later = streams.take(EVER);
        assert_eq!(later[0].buckets[0].start, UnixNanos::from_secs(1010));
        assert_eq!(streams.take(EVER), []);
    }

    #[test]
    fn points_and_requests_are_bounded() {
        let streams = streams();
        for n in 0..MAX_POINTS + 7 {
            pass(&streams, &format!("{n}{}", "x".repeat(3000)), 0);
        }
        pass(&streams, &format!("0{}", "x".repeat(3000)), 0);
        assert_eq!((streams.take_dropped(), streams.take_dropped()), (7, 0));
        let all = streams.take(EVER);
        let points =
            |stats: &PipelineStats| stats.buckets.iter().map(|bucket| bucket.points.len()).sum::<usize>();
        assert_eq!(all.iter().map(points).sum::<usize>(), MAX_POINTS);
        assert!(all.len() > 3 && all.iter().all(|stats| points(stats) * 3000 < MAX_WEIGHT), "{}", all.len());
        for n in 0..MAX_WAITING + 2 {
            streams.keep(vec![n as u8]);
        }
        assert_eq!(streams.take_dropped(), 2);
        assert_eq!(streams.take_kept().concat(), [2, 3, 4, 5, 6, 7]);
        assert_eq!(streams.take_kept(), [[0; 0]; 0]);
    }
}
