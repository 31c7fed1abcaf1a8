//! What leaves for Datadog, by signal, after all decisions and before any encoding. `engine` makes it,
//! `payload` encodes and decodes it.

use crate::{Log, SamplingPriority, Sketch, Span, SpanStats, Tags, Text, TracerInfo, UnixNanos};

/// Spans from one tracer, as they go to the trace intake.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TracerPayload {
    pub tracer: TracerInfo,
    pub runtime_id: Text,
    pub env: Text,
    pub hostname: Text,
    pub app_version: Text,
    pub tags: Tags<Text>,
    pub chunks: Vec<TraceChunk>,
}

/// Spans of one trace with what holds for all of them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TraceChunk {
    /// `None` when nobody decided; written as -128.
    pub priority: Option<SamplingPriority>,
    pub origin: Text,
    pub tags: Tags<Text>,
    pub spans: Vec<Span>,
}

impl TracerPayload {
    pub fn weight(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(k, v)| k.len() + v.len() + 6).sum();
        128 + tags + self.chunks.iter().map(TraceChunk::weight).sum::<usize>()
    }
}

impl TraceChunk {
    pub fn weight(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(k, v)| k.len() + v.len() + 6).sum();
        32 + self.origin.len() + tags + self.spans.iter().map(Span::weight).sum::<usize>()
    }
}

/// Points of one count or gauge with one set of tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: Text,
    pub kind: SeriesKind,
    /// Sorted, each once.
    pub tags: Vec<Text>,
    pub points: Vec<(UnixNanos, f64)>,
    /// Seconds that a count was summed over; `None` for gauges.
    pub interval_secs: Option<u32>,
}

/// The metric types of the series intake that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SeriesKind {
    Count,
    Gauge,
}

/// Points of one distribution with one set of tags.
#[derive(Clone, Debug, PartialEq)]
pub struct SketchSeries {
    pub name: Text,
    /// Sorted, each once.
    pub tags: Vec<Text>,
    pub points: Vec<(UnixNanos, Sketch)>,
}

/// Statistics of traces.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientStats {
    /// A tracer's of its own traces: a msgpack map as the intake takes it.
    Sent(Vec<u8>),
    /// Made here.
    Made(Box<SpanStats>),
}

impl ClientStats {
    pub fn weight(&self) -> usize {
        match self {
            Self::Sent(body) => 32 + body.len(),
            Self::Made(stats) => stats.weight(),
        }
    }
}

/// A request of a tracer that goes on to Datadog as it came: a profile, a debugger's snapshot, telemetry.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Forward {
    /// What stands before the site in the name of the intake, such as `intake.profile`.
    pub subdomain: Text,
    /// Path and query at the intake.
    pub path: Text,
    /// Without those of the connection and without a key.
    pub headers: Vec<(Text, Text)>,
    pub body: Vec<u8>,
}

impl Forward {
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len() + 48).sum();
        128 + self.subdomain.len() + self.path.len() + headers + self.body.len()
    }
}

/// One request's worth of one signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Batch {
    Traces(Vec<TracerPayload>),
    Series(Vec<Series>),
    Sketches(Vec<SketchSeries>),
    Logs(Vec<Log>),
    Stats(Vec<ClientStats>),
    Forwards(Vec<Forward>),
}

impl Batch {
    pub fn signal(&self) -> Signal {
        match self {
            Self::Traces(_) => Signal::Traces,
            Self::Series(_) => Signal::Series,
            Self::Sketches(_) => Signal::Sketches,
            Self::Logs(_) => Signal::Logs,
            Self::Stats(_) => Signal::Stats,
            Self::Forwards(_) => Signal::Forwards,
        }
    }

    /// How many spans, points, values, log entries or requests it holds.
    pub fn count(&self) -> u64 {
        let sum = |all: &mut dyn Iterator<Item = usize>| all.sum::<usize>() as u64;
        match self {
            Self::Traces(all) => {
                sum(&mut all.iter().flat_map(|payload| &payload.chunks).map(|chunk| chunk.spans.len()))
            }
            Self::Series(all) => sum(&mut all.iter().map(|series| series.points.len())),
            Self::Sketches(all) => {
                all.iter().flat_map(|series| &series.points).map(|(_, sketch)| sketch.count()).sum()
            }
            Self::Logs(all) => all.len() as u64,
            Self::Stats(all) => all.len() as u64,
            Self::Forwards(all) => all.len() as u64,
        }
    }

    /// About how many bytes it takes before compression.
    pub fn weight(&self) -> usize {
        let tags = |tags: &[Text]| tags.iter().map(|t| t.len() + 3).sum::<usize>();
        match self {
            Self::Traces(all) => all.iter().map(TracerPayload::weight).sum(),
            Self::Series(all) => {
                all.iter().map(|s| 64 + s.name.len() + tags(&s.tags) + s.points.len() * 32).sum()
            }
            Self::Sketches(all) => all
                .iter()
                .map(|s| {
                    s.name.len() + tags(&s.tags) + s.points.iter().map(|(_, p)| p.weight()).sum::<usize>()
                })
                .sum(),
            Self::Logs(all) => all.iter().map(Log::weight).sum(),
            Self::Stats(all) => all.iter().map(ClientStats::weight).sum(),
            Self::Forwards(all) => all.iter().map(Forward::weight).sum(),
        }
    }
}

/// A kind of telemetry with an intake endpoint of its own; forwards say theirs themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    Traces,
    Series,
    Sketches,
    Logs,
    Stats,
    Forwards,
}

impl Signal {
    /// The most important first.
    pub const ALL: [Self; 6] =
        [Self::Traces, Self::Series, Self::Sketches, Self::Logs, Self::Stats, Self::Forwards];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Series => "series",
            Self::Sketches => "sketches",
            Self::Logs => "logs",
            Self::Stats => "stats",
            Self::Forwards => "forwards",
        }
    }
}
