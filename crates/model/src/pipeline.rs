//! Statistics of pathways of messages, for Data Streams Monitoring: how many messages passed a point, and how long they
//! were on their way. `streams` makes them, `wire` encodes them.

use std::time::Duration;

use crate::{LatencySketch, Text, UnixNanos};

/// What one service has to say of its pathways.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PipelineStats {
    pub service: Text,
    /// `None` where none is set.
    pub env: Option<Text>,
    pub version: Option<Text>,
    /// Empty in a function, which has no host.
    pub hostname: Text,
    pub language: Text,
    pub tracer_version: Text,
    pub buckets: Vec<PipelineBucket>,
}

/// Messages that passed within one span of time.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PipelineBucket {
    pub start: UnixNanos,
    pub duration: Duration,
    pub points: Vec<PipelinePoint>,
}

/// Messages that passed one point of one pathway.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PipelinePoint {
    /// `direction:out`, `topic:orders`, `type:sqs`: sorted.
    pub edge_tags: Vec<String>,
    pub hash: u64,
    /// Of the point before. 0: the pathway begins here.
    pub parent_hash: u64,
    /// Since the pathway began.
    pub pathway_latency: LatencySketch,
    /// Since the point before.
    pub edge_latency: LatencySketch,
    /// Bytes of messages, a byte as a second.
    pub payload_size: LatencySketch,
}

impl PipelinePoint {
    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        let sketches = [&self.pathway_latency, &self.edge_latency, &self.payload_size];
        let bins: usize = sketches.iter().map(|sketch| sketch.contiguous().1.len()).sum();
        400 + self.edge_tags.iter().map(|tag| tag.len() + 5).sum::<usize>() + 8 * bins
    }
}
