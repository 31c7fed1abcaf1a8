//! The span `aws.lambda` as OpenTelemetry sees it: the active span of the handler's context, which user code
//! can tag, and the parent of all that is made under it.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{Event, Link, Span, SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{Context, KeyValue};
use serde::Serialize;
use serde_json::Value;

use crate::agent::Until;
use crate::datadog::{Datadog, datadog};
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::{convert, ids, status};

/// A handle: the span itself lives in its invocation and ends with it.
#[derive(Debug)]
pub(crate) struct RootSpan {
    invocation: Arc<Invocation>,
    context: SpanContext,
}

impl RootSpan {
    pub(crate) fn new(invocation: Arc<Invocation>) -> Self {
        let parent = &invocation.context;
        let kept = parent.priority.is_none_or(model::SamplingPriority::is_keep);
        let state = parent.tracestate.as_deref().and_then(|state| TraceState::from_str(state).ok());
        let context = SpanContext::new(
            ids::to_otel_trace(parent.trace_id),
            ids::to_otel_span(invocation.span_id),
            TraceFlags::default().with_sampled(kept),
            false,
            state.unwrap_or_default(),
        );
        Self { invocation, context }
    }
}

impl Span for RootSpan {
    fn add_event_with_timestamp<T>(&mut self, name: T, timestamp: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        let event = Event::new(name, timestamp, attributes, 0);
        self.invocation.with_root(|span| convert::add_event(span, event));
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        true
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.invocation.with_root(|span| convert::set_attribute(span, attribute));
    }

    fn set_status(&mut self, status: Status) {
        self.invocation.with_root(|span| convert::set_status(span, status));
    }

    /// The backend knows invocations by the name `aws.lambda`: another name becomes the resource.
    fn update_name<T>(&mut self, new_name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        let resource = convert::cut(new_name.into());
        self.invocation.with_root(|span| span.resource = resource);
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        let link = convert::link(Link::new(span_context, attributes, 0));
        self.invocation.with_root(|span| span.links.push(link));
    }

    fn end_with_timestamp(&mut self, _: SystemTime) {}
}

/// An invocation's root span made by hand, where neither [`crate::run`] nor [`crate::wrap_handler`] fits.
///
/// ```
/// use datadog_lambda_rs::{create_root_span, end_root_span};
/// use lambda_runtime::{Error, LambdaEvent};
/// use opentelemetry::trace::FutureExt;
/// use serde_json::{Value, json};
///
/// async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
///     let root = create_root_span(&event.payload, &event.context);
///     let result = work(event.payload).with_context(root.context()).await;
///     end_root_span(root, &result).await;
///     result
/// }
///
/// async fn work(order: Value) -> Result<Value, Error> {
///     Ok(json!({"statusCode": 200}))
/// }
/// ```
///
/// `event` is the event as it came: its trace context and the service that sent it are read from it.
pub fn create_root_span(event: &impl Serialize, context: &lambda_runtime::Context) -> Root {
    Root::start(datadog(), event, context)
}

/// Ends a root span with the result of the handler, and sends it with all spans made under it. Takes at most
/// a tenth of a second, also when nothing can be sent.
pub async fn end_root_span<R, E>(root: Root, result: &Result<R, E>)
where
    R: Serialize,
    E: Display + Debug + 'static,
{
    let Root { invocation } = root;
    match result {
        Ok(response) => {
            invocation.keep_response(|| serde_json::to_vec(response).ok());
            invocation.answered(invocation.wants_facts().then(|| status::of(response)));
            invocation.capture_response(|| serde_json::to_value(response).ok());
            invocation.finished(ids::now());
        }
        Err(error) => invocation.failed(ids::now(), Failure::of_error(error)),
    }
    Datadog::flushing(&invocation, Until::Written).await;
}

/// Made by [`create_root_span`], taken by [`end_root_span`].
#[derive(Clone, Debug)]
#[must_use = "it is sent by end_root_span"]
pub struct Root {
    pub(crate) invocation: Arc<Invocation>,
}

impl Root {
    pub(crate) fn start(
        datadog: &Arc<Datadog>,
        event: &impl Serialize,
        context: &lambda_runtime::Context,
    ) -> Self {
        let event = serde_json::to_value(event).unwrap_or(Value::Null);
        let invocation = Invocation::start(datadog, &event, None, context, ids::now());
        invocation.handler_called();
        Self { invocation }
    }

    /// The context in which the handler has to run, such as by
    /// [`with_context`](opentelemetry::trace::FutureExt::with_context).
    pub fn context(&self) -> Context {
        self.invocation.otel_context()
    }
}
