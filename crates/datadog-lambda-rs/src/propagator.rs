//! The trace context in and out of headers, for everything that uses OpenTelemetry's propagators: HTTP
//! clients and servers, and the AWS SDK interceptor.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use model::SamplingPriority;
use model::keys::headers;
use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use propagation::{Carrier, CarrierMut, Style, TraceContext};

use crate::datadog::datadog;
use crate::ids;
use crate::invocation::Current;

/// Datadog's headers and the W3C's, as `DD_TRACE_PROPAGATION_STYLE` and its variants say.
///
/// [`crate::init`] makes it the global one; alone:
/// ```
/// opentelemetry::global::set_text_map_propagator(datadog_lambda_rs::propagator());
/// ```
pub fn propagator() -> DatadogPropagator {
    let settings = &datadog().settings;
    let (extract, inject) = (settings.trigger.extract_styles.clone(), settings.inject_styles.clone());
    DatadogPropagator::new(extract, inject, settings.max_tags)
}

/// Made by [`propagator`].
#[derive(Clone, Debug)]
pub struct DatadogPropagator {
    extract: Vec<Style>,
    inject: Vec<Style>,
    max_tags: usize,
    fields: Vec<String>,
}

/// A context that came with headers: what OpenTelemetry's own span context has no room for.
#[derive(Clone, Debug)]
pub(crate) struct Remote(pub(crate) Arc<TraceContext>);

/// A context in which what is made continues another.
pub(crate) fn continuing(cx: &Context, context: TraceContext) -> Context {
    let Some(span_id) = context.span_id else { return cx.clone() };
    let kept = context.priority.is_none_or(SamplingPriority::is_keep);
    let state = context.tracestate.as_deref().and_then(|state| TraceState::from_str(state).ok());
    let span = SpanContext::new(
        ids::to_otel_trace(context.trace_id),
        ids::to_otel_span(span_id),
        TraceFlags::default().with_sampled(kept),
        true,
        state.unwrap_or_default(),
    );
    cx.with_remote_span_context(span).with_value(Remote(Arc::new(context)))
}

/// The trace context that is active here, as headers: to be put into whatever goes to another service, such as
/// a field of a message that is no HTTP request. Empty where no trace is.
///
/// ```
/// use serde_json::json;
///
/// let context = datadog_lambda_rs::current_trace_context();
/// let message = json!({"order": 17, "_datadog": context});
/// ```
///
/// A Lambda function that gets such a message under the key `_datadog`, and any Datadog tracer that is given
/// these headers, continues the trace.
pub fn current_trace_context() -> BTreeMap<String, String> {
    let mut headers: HashMap<String, String> = HashMap::new();
    inject(&Context::current(), &mut headers);
    headers.into_iter().collect()
}

/// Writes a context as the settings say, whatever the global propagator is.
pub(crate) fn inject(cx: &Context, injector: &mut dyn Injector) {
    if let Some(context) = trace_context(cx) {
        let settings = &datadog().settings;
        let mut carrier = Into { injector, max_tags: settings.max_tags };
        propagation::inject(&context, &settings.inject_styles, &mut carrier);
    }
}

impl DatadogPropagator {
    fn new(extract: Vec<Style>, inject: Vec<Style>, max_tags: usize) -> Self {
        let fields = [
            headers::TRACE_ID,
            headers::PARENT_ID,
            headers::SAMPLING_PRIORITY,
            headers::ORIGIN,
            headers::TAGS,
            headers::TRACEPARENT,
            headers::TRACESTATE,
            headers::BAGGAGE,
        ];
        Self { extract, inject, max_tags, fields: fields.map(str::to_owned).to_vec() }
    }
}

impl TextMapPropagator for DatadogPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        if let Some(context) = trace_context(cx) {
            let mut carrier = Into { injector, max_tags: self.max_tags };
            propagation::inject(&context, &self.inject, &mut carrier);
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let Some(context) = propagation::extract(&From(extractor), &self.extract) else { return cx.clone() };
        continuing(cx, context)
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

/// What to tell the next service: the trace's own facts with the active span as its parent.
fn trace_context(cx: &Context) -> Option<TraceContext> {
    let span = cx.span();
    let span = span.span_context();
    let trace_id = ids::from_otel_trace(span.trace_id())?;
    let span_id = ids::from_otel_span(span.span_id())?;
    let current = cx.get::<Current>().map(|current| &current.0.context);
    let remote = cx.get::<Remote>().map(|remote| &*remote.0);
    let known = [current, remote].into_iter().flatten().find(|context| context.trace_id == trace_id);
    let mut context = known.cloned().unwrap_or_else(|| TraceContext::new(trace_id, None));
    context.span_id = Some(span_id);
    if context.priority.is_none() {
        let sampled = span.is_sampled() || known.is_some();
        context.priority =
            Some(if sampled { SamplingPriority::AutoKeep } else { SamplingPriority::AutoReject });
    }
    Some(context)
}

struct Into<'a> {
    injector: &'a mut dyn Injector,
    max_tags: usize,
}

impl CarrierMut for Into<'_> {
    fn set(&mut self, name: &'static str, value: String) {
        if name != headers::TAGS || value.len() <= self.max_tags {
            self.injector.set(name, value);
        }
    }
}

struct From<'a>(&'a dyn Extractor);

impl Carrier for From<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> DatadogPropagator {
        within(512)
    }

    fn within(max_tags: usize) -> DatadogPropagator {
        let styles = propagation::DEFAULT_STYLES.to_vec();
        DatadogPropagator::new(styles.clone(), styles, max_tags)
    }

    #[test]
    fn what_comes_in_goes_on() {
        let headers: HashMap<String, String> = [
            ("x-datadog-trace-id", "1234567890123456789"),
            ("x-datadog-parent-id", "987654321"),
            ("x-datadog-sampling-priority", "2"),
            ("x-datadog-origin", "rum"),
            ("x-datadog-tags", "_dd.p.dm=-4,_dd.p.tid=66a1b2c300000000"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let cx = both().extract_with_context(&Context::new(), &headers);
        let span = cx.span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), "66a1b2c300000000112210f47de98115");
        assert!(span.is_remote() && span.is_sampled());
        let mut out: HashMap<String, String> = HashMap::new();
        both().inject_context(&cx, &mut out);
        for (key, value) in &headers {
            if key != "x-datadog-tags" {
                assert_eq!(out.get(key), Some(value), "{key}");
            }
        }
        assert!(out["x-datadog-tags"].contains("_dd.p.dm=-4"), "{out:?}");
        assert!(out["traceparent"].starts_with("00-66a1b2c300000000112210f47de98115-"), "{out:?}");
    }

    #[test]
    fn tags_have_a_bound() {
        let headers = [
            ("x-datadog-trace-id", "5"),
            ("x-datadog-parent-id", "6"),
            ("x-datadog-sampling-priority", "1"),
            ("x-datadog-tags", "_dd.p.dm=-4"),
        ];
        let headers: HashMap<String, String> = headers.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (max, expect) in [(11, true), (10, false), (0, false)] {
            let cx = within(max).extract_with_context(&Context::new(), &headers);
            let mut out: HashMap<String, String> = HashMap::new();
            within(max).inject_context(&cx, &mut out);
            assert_eq!(out.contains_key("x-datadog-tags"), expect, "{max}: {out:?}");
            assert_eq!(out["x-datadog-trace-id"], "5", "{max}");
        }
    }

    #[test]
    fn no_context_changes_nothing() {
        let none: HashMap<String, String> = HashMap::new();
        let cx = both().extract_with_context(&Context::new(), &none);
        assert!(!cx.has_active_span());
        let mut out: HashMap<String, String> = HashMap::new();
        both().inject_context(&cx, &mut out);
        assert!(out.is_empty(), "{out:?}");
    }
}
