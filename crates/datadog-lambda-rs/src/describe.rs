//! What the spans that the library makes itself say: the tags of `aws.lambda`, the spans of the start, the
//! errors that no handler returns. The names are those of Datadog's libraries for other languages.

use lambda_runtime::Context as LambdaContext;
use model::keys::{lambda, spans, trace};
use model::{Span, SpanId, UnixNanos};

use crate::cold_start::{Phase, Verdict};
use crate::datadog::Datadog;
use crate::failure::Failure;
use crate::ids;

/// The tracer's own version, beside that of the library for Lambda: here they are one.
const TRACER: &str = "dd_trace";

/// The tags of `aws.lambda`.
pub(crate) fn root(
    root: &mut Span,
    datadog: &Datadog,
    lambda: &LambdaContext,
    function: &trigger::Function,
    verdict: Verdict,
) {
    let arn = lambda.invoked_function_arn.as_str();
    let unqualified: Vec<_> = arn.split(':').take(7).collect();
    root.service = datadog.settings.service(&function.name).into();
    root.resource = function.name.clone().into();
    root.kind = spans::SERVERLESS.into();
    datadog.common.apply(root);
    let tags = [
        (trace::SPAN_KIND, "server".to_owned()),
        (trace::LANGUAGE, "rust".to_owned()),
        (trace::RUNTIME_ID, datadog.runtime_id()),
        (trace::OPERATION_NAME, spans::INVOCATION.to_owned()),
        (trace::RESOURCE_NAMES, function.name.clone()),
        (lambda::REQUEST_ID, lambda.request_id.clone()),
        (lambda::FUNCTION_ARN, unqualified.join(":").to_lowercase()),
        (lambda::FUNCTION_VERSION, arn.split(':').nth(7).unwrap_or("$LATEST").to_owned()),
        (lambda::FUNCTION_NAME, function.name.to_lowercase()),
        (lambda::COLD_START, verdict.cold.to_string()),
        (lambda::DATADOG_LAMBDA, env!("CARGO_PKG_VERSION").to_owned()),
        (TRACER, env!("CARGO_PKG_VERSION").to_owned()),
    ];
    for (key, value) in tags {
        root.meta.insert(key, value);
    }
    if verdict.proactive {
        root.meta.insert(lambda::PROACTIVE_INITIALIZATION, "true");
    }
}

/// What the extension answers with its span of the cold start, and the marked phases under it. Without an
/// extension that span too.
pub(crate) fn start(datadog: &Datadog, verdict: Verdict, root: &Span, parent: SpanId) -> Vec<Span> {
    let phases = datadog.start.take_phases();
    let Some((start, end)) = verdict.load else { return Vec::new() };
    let settings = &datadog.settings;
    // Of a sandbox started on demand only: else nobody waited for it, or it was restored from a snapshot.
    let on_demand = matches!(settings.initialization_type.as_str(), "" | "on-demand");
    if !settings.cold_start_tracing || !on_demand {
        return Vec::new();
    }
    let span = |name: &'static str, parent: SpanId, start: UnixNanos, end: UnixNanos| {
        let mut span = Span::new(name, root.trace_id, ids::span_id(), Some(parent));
        span.service = "aws.lambda".into();
        span.resource = root.resource.clone();
        span.kind = spans::SERVERLESS.into();
        span.start = start;
        span.duration = end.since(start);
        span.meta.insert(trace::OPERATION_NAME, name);
        span.meta.insert(trace::RESOURCE_NAMES, root.resource.clone());
        span.meta.insert(trace::ORIGIN, lambda::ORIGIN_LAMBDA);
        span
    };
    // Without an extension nobody answers: the span of the cold start is made here, of what is known here.
    let cold = (!datadog.has_agent()).then(|| span(spans::COLD_START, parent, start, end));
    let parent = cold.as_ref().map_or(parent, |cold| cold.span_id);
    let load = span(spans::LOAD, parent, start, end);
    let of_phase = |phase: Phase| {
        let (from, to) = (phase.start.clamp(start, end), phase.end.clamp(start, end));
        let is_long = to.since(from) >= settings.min_phase;
        is_long.then(|| {
            let mut span = span(spans::LOAD_PHASE, load.span_id, from, to);
            span.resource = phase.name.into();
            span
        })
    };
    let phases: Vec<_> = phases.into_iter().filter_map(of_phase).collect();
    cold.into_iter().chain([load]).chain(phases).collect()
}

/// The event did not become what the handler takes: the runtime has refused it.
pub(crate) fn unreadable() -> Failure {
    let message = "the event could not be deserialised into the type that the handler takes".to_owned();
    Failure { kind: "PayloadError".to_owned(), message, stack: String::new() }
}

/// Of a span that the deadline will cut off.
pub(crate) fn timed_out(span: &mut Span) {
    let (kind, message) = ("Impending Timeout", "Datadog detected an Impending Timeout");
    Failure { kind: kind.to_owned(), message: message.to_owned(), stack: String::new() }.apply(span);
}

/// The span of a start that failed: there was no invocation, and there will be none.
pub(crate) fn failed_start(datadog: &Datadog, failure: Failure, now: UnixNanos) -> Span {
    let settings = &datadog.settings;
    let mut span = Span::new(spans::INVOCATION, ids::trace_id(settings.long_ids), ids::span_id(), None);
    datadog.common.apply(&mut span);
    span.resource = settings.function_name.clone().into();
    span.kind = spans::SERVERLESS.into();
    span.start = datadog.start.began().unwrap_or(now).min(now);
    span.duration = now.since(span.start);
    let tags = [
        (trace::SPAN_KIND, "server"),
        (trace::LANGUAGE, "rust"),
        (trace::OPERATION_NAME, spans::INVOCATION),
        ("error.status", "500"),
        ("status", "error"),
        (lambda::DATADOG_LAMBDA, env!("CARGO_PKG_VERSION")),
    ];
    for (key, value) in tags {
        span.meta.insert(key, value);
    }
    span.meta.insert(lambda::FUNCTION_NAME, settings.function_name.to_lowercase());
    span.metrics.insert(trace::DD_TOP_LEVEL, 1.0);
    failure.apply(&mut span);
    span
}

/// What the extension would add to every span, where there is none.
pub(crate) fn function_tags(span: &mut Span, datadog: &Datadog) {
    for (key, value) in &datadog.settings.tags {
        if !span.meta.contains(key) {
            span.meta.insert(key.clone(), value.clone());
        }
    }
}
