//! Spans and what they come in.

use std::fmt;
use std::time::Duration;

use crate::{SpanId, Tags, Text, TraceId, UnixNanos};

/// One unit of work, as Datadog's tracers send it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub service: Text,
    /// The operation: `aws.lambda`, `aws.httpapi`.
    pub name: Text,
    /// What it was done to: a function's name, `GET /orders/{id}`.
    pub resource: Text,
    /// `serverless`, `web`, `http`, `sql`, …; empty when not given.
    pub kind: Text,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_id: Option<SpanId>,
    pub start: UnixNanos,
    pub duration: Duration,
    pub error: bool,
    pub meta: Tags<Text>,
    pub metrics: Tags<f64>,
    /// Opaque msgpack values by key (security and model observability products); carried, not read.
    pub meta_struct: Tags<Vec<u8>>,
    pub links: Vec<SpanLink>,
    pub events: Vec<SpanEvent>,
}

impl Span {
    /// A span with its ids, and everything else empty.
    pub fn new(name: impl Into<Text>, trace_id: TraceId, span_id: SpanId, parent_id: Option<SpanId>) -> Self {
        Self {
            service: Text::default(),
            name: name.into(),
            resource: Text::default(),
            kind: Text::default(),
            trace_id,
            span_id,
            parent_id,
            start: UnixNanos::default(),
            duration: Duration::ZERO,
            error: false,
            meta: Tags::new(),
            metrics: Tags::new(),
            meta_struct: Tags::new(),
            links: Vec::new(),
            events: Vec::new(),
        }
    }

    pub fn end(&self) -> UnixNanos {
        self.start + self.duration
    }

    /// About how many bytes this span takes once encoded: for bounds, not for content lengths.
    pub fn weight(&self) -> usize {
        let metrics: usize = self.metrics.iter().map(|(k, _)| k.len() + 13).sum();
        let structs: usize = self.meta_struct.iter().map(|(k, v)| k.len() + v.len() + 8).sum();
        let links: usize = self.links.iter().map(SpanLink::weight).sum();
        let events: usize = self.events.iter().map(SpanEvent::weight).sum();
        let names = self.service.len() + self.name.len() + self.resource.len() + self.kind.len();
        64 + names + self.meta.weight() + metrics + structs + links + events
    }
}

/// A pointer to another span, in this trace or another. A span pointer (to an S3 object, a DynamoDB item)
/// is a link without ids.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanLink {
    /// `None` only in span pointers.
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub attributes: Tags<Text>,
    pub tracestate: Text,
    /// W3C trace flags; bit 31 says that they are set.
    pub flags: u32,
}

impl SpanLink {
    fn weight(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(k, v)| k.len() + v.len() + 6).sum();
        48 + attributes + self.tracestate.len()
    }
}

/// Something that happened at one moment within a span, such as an exception.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanEvent {
    pub time: UnixNanos,
    pub name: Text,
    pub attributes: Tags<Attribute>,
}

impl SpanEvent {
    fn weight(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(k, v)| k.len() + v.weight() + 6).sum();
        24 + attributes + self.name.len()
    }
}

/// The value of an event's attribute. Printed as the text that the value is taken for where there are no
/// types: a list as `[a,b]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Text(Text),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Of values that are no lists: no protocol has lists of lists, and no decoder makes them.
    List(Vec<Attribute>),
}

impl Attribute {
    fn weight(&self) -> usize {
        match self {
            Self::Text(text) => 4 + text.len(),
            Self::Bool(_) => 4,
            Self::Int(_) | Self::Double(_) => 12,
            Self::List(all) => 6 + all.iter().map(|one| 4 + one.weight()).sum::<usize>(),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bool(yes) => yes.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Double(n) => n.fmt(f),
            Self::List(all) => {
                f.write_str("[")?;
                for (n, one) in all.iter().enumerate() {
                    if n > 0 {
                        f.write_str(",")?;
                    }
                    one.fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

impl From<Text> for Attribute {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

/// Spans of one trace that were sent together, in the order they were sent.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Chunk {
    pub spans: Vec<Span>,
}

impl Chunk {
    pub fn weight(&self) -> usize {
        self.spans.iter().map(Span::weight).sum()
    }
}

/// What a tracer says of itself in the headers of what it sends. Empty fields were not given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TracerInfo {
    pub language: Text,
    pub language_version: Text,
    pub tracer_version: Text,
    pub container_id: Text,
    /// Of the container that it runs in, `key:value` with commas between.
    pub container_tags: Text,
    /// The tracer marked the top-level spans itself.
    pub computed_top_level: bool,
    /// The tracer computed trace statistics itself: the backend must not.
    pub computed_stats: bool,
}

/// Whether a trace is kept, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum SamplingPriority {
    UserReject = -1,
    AutoReject = 0,
    AutoKeep = 1,
    UserKeep = 2,
}

impl SamplingPriority {
    /// Values beyond the known ones keep their meaning: negative rejects, above two keeps.
    pub fn from_i64(value: i64) -> Self {
        match value {
            ..=-1 => Self::UserReject,
            0 => Self::AutoReject,
            1 => Self::AutoKeep,
            2.. => Self::UserKeep,
        }
    }

    pub fn as_i8(self) -> i8 {
        self as i8
    }

    pub fn is_keep(self) -> bool {
        self >= Self::AutoKeep
    }
}
