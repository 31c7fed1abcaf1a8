//! Traces in one line each: what a list of them shows, without their spans.

use std::collections::BTreeSet;

use model::{Span, SpanLink, TraceId, UnixNanos, keys};
use serde::Serialize;

use crate::id;

/// One trace.
#[derive(Clone, Debug, Serialize)]
pub struct TraceSummary {
    #[serde(serialize_with = "id::trace")]
    pub trace_id: TraceId,
    /// Grows with every span that arrives.
    pub arrived: usize,
    pub start_ns: u64,
    pub duration_ns: u64,
    pub spans: usize,
    pub errors: usize,
    pub services: BTreeSet<String>,
    /// Of the first root; of the first span when no root has arrived.
    pub name: String,
    pub resource: String,
    pub service: String,
    pub invocations: Vec<Invoked>,
    pub pointers: Vec<Pointer>,
}

/// A span of the trace that points to something outside: an object, an item. Whoever points to the same has the
/// same hash.
#[derive(Clone, Debug, Serialize)]
pub struct Pointer {
    pub span_id: String,
    pub kind: String,
    pub hash: String,
}

/// An invocation whose root span is in the trace.
#[derive(Clone, Debug, Serialize)]
pub struct Invoked {
    pub request_id: String,
    pub span_id: String,
    pub function: String,
}

impl TraceSummary {
    /// Of these spans, each once, of which so many arrived with copies counted.
    pub(crate) fn new(trace_id: TraceId, arrived: usize, spans: &[&Span]) -> Self {
        let start = spans.iter().map(|span| span.start).min().unwrap_or_default();
        let end = spans.iter().map(|span| span.end()).max().unwrap_or_default();
        let first = spans.iter().min_by_key(|span| (span.parent_id.is_some(), span.start, span.span_id));
        let text = |of: fn(&Span) -> &str| first.map(|span| of(span).to_owned()).unwrap_or_default();
        let mut invocations: Vec<(UnixNanos, Invoked)> =
            spans.iter().filter_map(|span| Some((span.start, invoked(span)?))).collect();
        invocations.sort_by_key(|(start, _)| *start);
        Self {
            trace_id,
            arrived,
            start_ns: start.as_nanos(),
            duration_ns: end.as_nanos().saturating_sub(start.as_nanos()),
            spans: spans.len(),
            errors: spans.iter().filter(|span| span.error).count(),
            services: spans.iter().map(|span| span.service.to_string()).collect(),
            name: text(|span| &span.name),
            resource: text(|span| &span.resource),
            service: text(|span| &span.service),
            invocations: invocations.into_iter().map(|(_, invoked)| invoked).collect(),
            pointers: spans.iter().flat_map(|span| pointers(span)).collect(),
        }
    }
}

fn invoked(span: &Span) -> Option<Invoked> {
    if span.name != keys::spans::INVOCATION {
        return None;
    }
    let request_id = span.meta.get(keys::lambda::REQUEST_ID)?.to_string();
    let function = span.resource.to_string();
    Some(Invoked { request_id, span_id: span.span_id.get().to_string(), function })
}

fn pointers(span: &Span) -> impl Iterator<Item = Pointer> {
    let text = |link: &SpanLink, key| link.attributes.get(key).map(ToString::to_string);
    span.links.iter().filter_map(move |link| {
        let (hash, kind) = (text(link, "ptr.hash")?, text(link, "ptr.kind").unwrap_or_default());
        Some(Pointer { span_id: span.span_id.get().to_string(), kind, hash })
    })
}
