//! The words that every other crate speaks: ids, time, spans, metrics, logs, tag keys, and what Lambda
//! reports about itself. Plain data with no dependency, no clock, no IO and no wire format: `wire` and
//! `payload` encode it, `propagation` and `trigger` derive it, `engine` and `platform` decide on it.

mod ids;
pub mod keys;
mod log;
mod metric;
mod outgoing;
mod pipeline;
mod record;
mod sketch;
mod span;
mod stats;
mod tags;
mod time;

pub use ids::{Arn, RequestId, SpanId, TraceId};
pub use log::{DurableExecution, Log, LogLevel};
pub use metric::{Event, Metric, MetricKind, ServiceCheck};
pub use outgoing::{
    Batch, ClientStats, Forward, Series, SeriesKind, Signal, SketchSeries, TraceChunk, TracerPayload,
};
pub use pipeline::{PipelineBucket, PipelinePoint, PipelineStats};
pub use record::{
    InitReport, InitStart, InitializationType, InvocationReport, LogLine, Phase, PlatformSpan, Record,
    RestoreStart, RuntimeDone, Start, Status, TelemetryRecord,
};
pub use sketch::Sketch;
pub use span::{Attribute, Chunk, SamplingPriority, Span, SpanEvent, SpanLink, TracerInfo};
pub use stats::{LatencySketch, SpanStats, StatsBucket, StatsGroup, StatsKey};
pub use tags::{SharedTags, Tags, Text};
pub use time::{Millis, UnixNanos};
