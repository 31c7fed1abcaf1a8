//! Spans of a function that has a tracer and no Lambda library, as a web server behind an adapter has: they hang
//! where the tracer saw them come from, beside the span that is made here of what the Runtime API proxy saw. Here
//! they are put below it. A caller's trace tells whose they are; without one, the invocation that runs.

use std::time::Duration;

use model::{Chunk, Span, SpanId, TraceId, UnixNanos, keys};

use crate::ids::Ids;
use crate::invocation::Invocation;
use crate::invocations::Invocations;

/// By how much a span may seem to begin before its event passed.
const SLACK: Duration = Duration::from_millis(50);

/// How spans that belong below an invocation's own are known.
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    /// The invocation's span, before it is made.
    pub(crate) span_id: SpanId,
    /// The trace, in its lower half, and span of the caller, which the tracer was told too.
    caller: Option<(u64, SpanId)>,
    /// When the event had passed.
    since: UnixNanos,
    /// The trace that the tracer began, where there is no caller.
    pub(crate) trace_id: Option<TraceId>,
}

impl Nest {
    pub(crate) fn new(invocation: &Invocation, ids: &mut Ids, since: UnixNanos) -> Self {
        let parent = invocation.event_seen.as_ref().and_then(|reading| reading.parent.as_ref());
        let caller = parent.and_then(|parent| Some((parent.trace_id.low(), parent.span_id?)));
        Self { span_id: ids.span(), caller, since, trace_id: None }
    }
}

impl Invocations {
    /// Puts spans that hang at a caller, or at nothing, below the invocation that they are of.
    pub(crate) fn adopt(&mut self, chunks: &mut [Chunk]) {
        // With a library the function's spans hang where they should.
        let has_library = self.all().any(|one| one.root_seen.is_some());
        if has_library
            || !self.all().any(may_adopt)
            || chunks.iter().flat_map(|chunk| &chunk.spans).any(is_of_library)
        {
            return;
        }
        for chunk in chunks {
            if !self.adopt_by_caller(chunk) {
                self.adopt_orphans(chunk);
            }
        }
    }

    fn adopt_by_caller(&self, chunk: &mut Chunk) -> bool {
        let mut found = false;
        for span in &mut chunk.spans {
            let Some(parent) = span.parent_id else { continue };
            let caller = Some((span.trace_id.low(), parent));
            let nests = self.all().rev().filter(|one| may_adopt(one)).filter_map(|one| one.nest.as_ref());
            if let Some(nest) =
                nests.into_iter().find(|nest| nest.caller == caller && span.span_id != nest.span_id)
            {
                span.parent_id = Some(nest.span_id);
                found = true;
            }
        }
        found
    }

    fn adopt_orphans(&mut self, chunk: &mut Chunk) {
        let Some(live) = self.live_mut().filter(|live| may_adopt(live) && !live.given.root) else { return };
        let has_parent = live.reading().is_some_and(|reading| reading.parent.is_some());
        let Some(nest) = live.nest.as_mut().filter(|_| !has_parent) else { return };
        for span in &mut chunk.spans {
            let is_top = span.parent_id.is_none() && span.start + SLACK >= nest.since;
            let trace_id = trace_of(span);
            if is_top && nest.trace_id.get_or_insert(trace_id).low() == trace_id.low() {
                span.parent_id = Some(nest.span_id);
            }
        }
    }
}

/// The proxy alone tells of it: the span is made here.
fn may_adopt(invocation: &Invocation) -> bool {
    invocation.nest.is_some()
        && invocation.start_call.is_none()
        && invocation.end_call.is_none()
        && invocation.placeholder.is_none()
}

fn is_of_library(span: &Span) -> bool {
    let name = span.name.as_ref();
    [keys::spans::INVOCATION, keys::spans::LOAD, keys::spans::COLD_START].contains(&name)
        || span.resource == keys::lambda::PLACEHOLDER_RESOURCE
        || span.meta.contains(keys::lambda::INFERRED_TAG_SOURCE)
}

/// With the upper half, which tracers tell apart.
fn trace_of(span: &Span) -> TraceId {
    let high = span.meta.get(keys::trace::TID).and_then(|tid| u64::from_str_radix(tid, 16).ok());
    high.and_then(|high| TraceId::new(high, span.trace_id.low())).unwrap_or(span.trace_id)
}
