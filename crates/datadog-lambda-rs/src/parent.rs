//! Which trace an invocation continues: by the user's own extractor, by what the event or the client context
//! carries, by X-Ray's header; and, for one that begins here, whether it is kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lambda_runtime::Context as LambdaContext;
use model::{Span, UnixNanos};
use propagation::{TraceContext, XRay};
use serde_json::{Value, json};
use trigger::Reading;
use wire::lifecycle::StartAnswer;

use crate::agent::Until;
use crate::datadog::{Datadog, budget};
use crate::sampling::Decision;
use crate::xray;

/// A user's own way to find the caller's context: headers, of any of the styles that are read.
#[derive(Clone)]
pub(crate) struct Extractor(pub(crate) Arc<Extract>);

type Extract = dyn Fn(&Value, &LambdaContext) -> Option<HashMap<String, String>> + Send + Sync;

impl fmt::Debug for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extractor")
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) context: Option<TraceContext>,
    /// Its span is one of X-Ray's.
    pub(crate) is_xray: bool,
}

/// Reads the event, and finds the context to continue. What panics on the way is left out.
pub(crate) fn find(
    datadog: &Datadog,
    event: &Value,
    lambda: &LambdaContext,
    function: &trigger::Function,
    now: UnixNanos,
) -> (Reading, Found) {
    let settings = &datadog.settings.trigger;
    let read = || trigger::read(event, function, settings);
    let mut reading = catch_unwind(AssertUnwindSafe(read)).unwrap_or_default();
    if let Some(context) = extracted(datadog, event, lambda) {
        reading.parent = None;
        reading.adopt(Some(context), settings);
    }
    reading.adopt(client_context(datadog, lambda), settings);
    let header = lambda.xray_trace_id.as_deref();
    // A Datadog tracer upstream wrote its own ids there.
    let of_datadog = header.and_then(XRay::parse).filter(XRay::is_datadog);
    reading.adopt(of_datadog.and_then(|xray| xray.context()), settings);
    let mut found = Found { context: reading.parent.take(), is_xray: false };
    if datadog.settings.merge_xray
        && let Some(xray) = header.and_then(xray::recorded)
    {
        merge(datadog, &xray, &reading, &mut found, now);
    }
    if let Some(context) = &mut found.context
        && context.baggage.iter().next().is_none()
    {
        // What came without a trace travels on all the same.
        context.baggage = std::mem::take(&mut reading.baggage);
    }
    (reading, found)
}

/// Has the extension tell the trace, and make the spans that the event is about, where the user wants it so: whether
/// it does. While it does not answer, all is as without.
pub(crate) fn ask(
    datadog: &Datadog,
    event: &Value,
    raw: Option<&[u8]>,
    lambda: &LambdaContext,
    reading: &mut Reading,
    found: &mut Found,
    now: UnixNanos,
) -> bool {
    let Some(lifecycle) = &datadog.lifecycle else { return false };
    let budget = budget(&datadog.settings, UnixNanos::from_millis(lambda.deadline), now, Until::Written);
    let written = || serde_json::to_vec(event).unwrap_or_default();
    let body = raw.map_or_else(|| Cow::Owned(written()), Cow::Borrowed);
    let Some(answer) = lifecycle.start(&lambda.request_id, &body, budget) else { return false };
    reading.inferred.clear();
    reading.links.clear();
    let Some(StartAnswer { trace_id, priority }) = answer else { return true };
    // What was read here of the same trace says more: its baggage, who decided.
    let known = found.context.take().filter(|known| known.trace_id.low() == trace_id.low());
    let mut context = known.unwrap_or_else(|| TraceContext::new(trace_id, None));
    if trace_id.high() != 0 {
        context.trace_id = trace_id;
    }
    context.priority = priority.or(context.priority);
    context.links.clear();
    found.context = Some(context);
    true
}

/// The parent is X-Ray's; the trace is its own only where the event brought none.
fn merge(datadog: &Datadog, xray: &XRay, reading: &Reading, found: &mut Found, now: UnixNanos) {
    match &mut found.context {
        Some(context) => {
            if let Some(daemon) = datadog.settings.xray_daemon {
                xray::send(daemon, xray, "trace", &xray::trace(context), now);
                let tags: serde_json::Map<_, _> =
                    reading.tags.iter().map(|(k, v)| (k.to_string(), v.as_ref().into())).collect();
                if !tags.is_empty() {
                    xray::send(daemon, xray, "lambda_function_tags", &Value::Object(tags), now);
                }
            }
            context.span_id = xray.parent.or(context.span_id);
        }
        None => found.context = xray.context(),
    }
    found.is_xray = found.context.is_some();
}

fn extracted(datadog: &Datadog, event: &Value, lambda: &LambdaContext) -> Option<TraceContext> {
    let Extractor(extract) = datadog.extractor.as_ref()?;
    let headers = catch_unwind(AssertUnwindSafe(|| extract(event, lambda))).ok().flatten()?;
    propagation::extract(&headers, &datadog.settings.trigger.extract_styles)
}

fn client_context(datadog: &Datadog, lambda: &LambdaContext) -> Option<TraceContext> {
    let custom = &lambda.client_context.as_ref()?.custom;
    let custom = custom.iter().map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect();
    trigger::client_context_found(&Value::Object(custom), &datadog.settings.trigger)
}

/// Decides whether a trace is kept that nobody has decided about. Rules may mean the function, or the service
/// that the event came through.
pub(crate) fn decide(
    datadog: &Datadog,
    context: &mut TraceContext,
    reading: &Reading,
    root: &Span,
) -> Decision {
    let outermost = reading.inferred.first().map(|inferred| {
        let mut span = Span::new(inferred.name.clone(), root.trace_id, root.span_id, None);
        span.service = inferred.service.clone();
        span.resource = inferred.resource.clone();
        span.meta = inferred.tags.clone();
        span
    });
    let spans: Vec<&Span> = outermost.iter().chain([root]).collect();
    datadog.sampler.decide(context, &spans)
}

/// What an authorizer's answer has to say of the request.
pub(crate) fn request_of(event: &Value) -> Value {
    let id = event.pointer("/requestContext/requestId").cloned();
    json!({"requestContext": {"requestId": id}})
}
