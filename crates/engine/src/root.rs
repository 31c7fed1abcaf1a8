//! The `aws.lambda` span of a function whose library tells the extension of its invocations, or that has none
//! and runs behind the Runtime API proxy, and the spans of the services that the event came through. For functions whose library sends its own, nothing is made
//! here.

use std::time::Duration;

use model::{Millis, SamplingPriority, Span, SpanId, Status, Text, UnixNanos, keys};

use crate::boot::{Context, Verdict};
use crate::ids::Ids;
use crate::invocation::Invocation;
use crate::io::InvocationError;
use crate::labels::Labels;
use crate::trace;

/// The spans of one invocation, outermost first, and where the invocation's span hangs.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) spans: Vec<Span>,
    pub(crate) context: Context,
}

/// Puts the spans together from the facts that are there. `now`: when the invocation ended at the latest.
pub(crate) fn assemble(
    invocation: &Invocation,
    verdict: Verdict,
    labels: &Labels,
    seed: u64,
    now: UnixNanos,
) -> Root {
    let reading = invocation.reading();
    let call = invocation.end_call.as_ref().map(|(_, call)| &**call);
    let parent = reading.and_then(|reading| reading.parent.as_ref());
    let told = call.and_then(|call| call.context.as_ref());
    let placeholder = invocation.placeholder.as_deref();
    let (start, duration) = times(invocation, now);

    // All are drawn, so that none depends on which were told.
    // Each attempt has its own.
    let mut ids = Ids::of(seed, &format!("{} {}", invocation.request_id, start.as_nanos()));
    let (drawn_trace, drawn_span) = (ids.trace(start), ids.span());
    let inferred = reading.map(|reading| reading.inferred.as_slice()).unwrap_or_default();
    let inferred_ids: Vec<SpanId> = inferred.iter().map(|_| ids.span()).collect();

    let trace_id = parent.or(told).map(|context| context.trace_id);
    let nest = invocation.nest.as_ref();
    let begun = || nest.and_then(|nest| nest.trace_id);
    let trace_id =
        trace_id.or_else(|| placeholder.map(|span| span.trace_id)).or_else(begun).unwrap_or(drawn_trace);
    let span_id = call.and_then(|call| call.span_id).or_else(|| placeholder.map(|span| span.span_id));
    let span_id = span_id.or(nest.map(|nest| nest.span_id)).unwrap_or(drawn_span);
    let caller = parent.or(told).and_then(|context| context.span_id).filter(|caller| *caller != span_id);
    let parent_id = inferred_ids.last().copied().or(caller);
    let priority = told.and_then(|told| told.priority).or_else(|| parent.and_then(|parent| parent.priority));
    // The tracer's own word is on its placeholder. Where nobody has decided it is for the extension to do, which keeps everything.
    let priority =
        priority.or_else(|| placeholder.and_then(trace::priority)).unwrap_or(SamplingPriority::AutoKeep);
    let status_code = invocation.http_status_code().map(|code| code.to_string());

    let mut spans = trigger::assemble(
        inferred,
        &inferred_ids,
        &trigger::Invocation {
            trace_id,
            parent_id: caller,
            request_id: invocation.request_id.as_str(),
            service: &labels.service,
            start,
            end: start + duration,
            error: invocation.is_error(),
            http_status_code: status_code.as_deref(),
        },
    );

    let mut span = Span::new(keys::spans::INVOCATION, trace_id, span_id, parent_id);
    span.start = start;
    span.duration = duration;
    describe(&mut span, invocation, verdict, labels);
    if let Some(code) = status_code {
        span.meta.insert(keys::trace::HTTP_STATUS_CODE, code);
    }
    if let Some(parent) = parent {
        span.links.extend(parent.links.iter().cloned());
    }
    spans.push(span);

    if let Some(first) = spans.first_mut() {
        for (key, value) in parent.or(told).iter().flat_map(|context| context.tags.iter()) {
            first.meta.insert(key.clone(), value.clone());
        }
        if trace_id.high() != 0 {
            first.meta.insert(keys::trace::TID, format!("{:016x}", trace_id.high()));
        }
    }
    for span in &mut spans {
        decide(span, priority);
    }
    Root { spans, context: Context { trace_id, parent_id, priority: Some(priority) } }
}

/// When the invocation began and how long it took.
fn times(invocation: &Invocation, now: UnixNanos) -> (UnixNanos, Duration) {
    let done = invocation.done.as_ref();
    let told = done.and_then(|done| done.duration);
    let over = done.map(|done| done.time).or_else(|| invocation.answered()).unwrap_or(now);
    let start = invocation.started.or(invocation.invoked).unwrap_or(over);
    (start, told.map_or_else(|| over.since(start), Millis::to_duration))
}

/// Names and tags.
fn describe(span: &mut Span, invocation: &Invocation, verdict: Verdict, labels: &Labels) {
    if let Some(placeholder) = invocation.placeholder.as_deref().cloned() {
        span.error = placeholder.error;
        span.meta = placeholder.meta;
        span.metrics = placeholder.metrics;
        span.meta_struct = placeholder.meta_struct;
        span.links = placeholder.links;
        span.events = placeholder.events;
    }
    span.service = labels.service.clone();
    span.resource = labels.function_name.clone();
    span.kind = keys::spans::SERVERLESS.into();
    span.meta.insert(keys::trace::SPAN_KIND, "server");
    span.meta.insert(keys::lambda::REQUEST_ID, invocation.request_id.to_string());
    for (key, value) in verdict.tags() {
        span.meta.insert(*key, *value);
    }
    if let Some(reading) = invocation.reading() {
        for (key, value) in reading.tags.iter() {
            span.meta.insert(key.clone(), value.clone());
        }
        span.links.extend(reading.links.iter().cloned());
    }
    if let Some(status) = invocation.execution_status() {
        span.meta.insert(keys::lambda::DURABLE_STATUS, status);
    }
    for (key, value) in invocation.ends().flat_map(|call| call.tags.iter()) {
        span.meta.insert(key.clone(), value.clone());
    }
    if invocation.is_error() {
        span.error = true;
        if let Some(error) = error_of(invocation) {
            tag_error(span, error);
        }
    }
}

/// What went wrong, in the words of the library, else in Lambda's.
fn error_of(invocation: &Invocation) -> Option<InvocationError> {
    if let Some(error) = invocation.ends().find_map(|call| call.error.clone()) {
        return Some(error);
    }
    let kind = invocation.done.as_ref().and_then(|done| done.error_type.clone());
    match invocation.status()? {
        Status::Timeout => Some(InvocationError {
            message: "Datadog detected a Timeout".into(),
            kind: "Timeout".into(),
            stack: Text::default(),
        }),
        Status::Error | Status::Failure => {
            Some(InvocationError { kind: kind?, ..InvocationError::default() })
        }
        Status::Success | Status::Other(_) => None,
    }
}

fn tag_error(span: &mut Span, error: InvocationError) {
    let tags = [
        (keys::trace::ERROR_MESSAGE, error.message.clone()),
        (keys::trace::ERROR_MSG, error.message),
        (keys::trace::ERROR_TYPE, error.kind),
        (keys::trace::ERROR_STACK, error.stack),
    ];
    for (key, value) in tags.into_iter().filter(|(_, value)| !value.is_empty()) {
        span.meta.insert(key, value);
    }
}

fn decide(span: &mut Span, priority: SamplingPriority) {
    span.metrics.insert(keys::trace::SAMPLING_PRIORITY, f64::from(priority.as_i8()));
}
