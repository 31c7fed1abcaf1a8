//! The other side: messages that a service receives on its own, without Lambda. What a message says of its trace is
//! read as from the event that Lambda would make of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::keys::headers::CARRIER;
use opentelemetry::trace::{
    FutureExt, Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer,
};
use opentelemetry::{Context, KeyValue, global};
use propagation::TraceContext;
use serde_json::{Value, json};

use crate::data_streams::with_received;
use crate::json_text::Object;
use crate::settings::Settings;

/// A message as it was received, with what may tell of its trace. Of SQS's it is made by [`received!`](crate::received).
///
/// ```
/// use datadog_aws_sdk::Received;
///
/// let of_queue = Received::message(r#"{"order":17}"#).attribute_text(r#"{"x-datadog-trace-id":"1","x-datadog-parent-id":"2"}"#);
/// let of_stream = Received::data(br#"{"order":17,"_datadog":{"x-datadog-trace-id":"1","x-datadog-parent-id":"2"}}"#);
/// ```
#[derive(Clone, Debug)]
pub struct Received<'a> {
    text: Option<&'a str>,
    bytes: Option<&'a [u8]>,
    trace_header: Option<&'a str>,
    payload: Payload<'a>,
}

#[derive(Clone, Debug)]
enum Payload<'a> {
    Body(&'a str),
    Data(&'a [u8]),
}

impl<'a> Received<'a> {
    /// A message of SQS by its body, which SNS, EventBridge or S3 may have written.
    pub fn message(body: &'a str) -> Self {
        Self { text: None, bytes: None, trace_header: None, payload: Payload::Body(body) }
    }

    /// A record of Kinesis by its data.
    pub fn data(data: &'a [u8]) -> Self {
        Self { text: None, bytes: None, trace_header: None, payload: Payload::Data(data) }
    }

    /// The string value of the message's attribute `_datadog`.
    #[must_use]
    pub fn attribute_text(mut self, value: &'a str) -> Self {
        self.text = Some(value);
        self
    }

    /// The binary value of the message's attribute `_datadog`, as SNS with raw delivery passes it on.
    #[must_use]
    pub fn attribute_bytes(mut self, value: &'a [u8]) -> Self {
        self.bytes = Some(value);
        self
    }

    /// The message's system attribute `AWSTraceHeader`, where Datadog's Java tracer writes.
    #[must_use]
    pub fn trace_header(mut self, value: &'a str) -> Self {
        self.trace_header = Some(value);
        self
    }

    /// The context in which work on the message is done: what is made in it continues the trace that the message
    /// carries. The current context for a message that carries none.
    pub fn context(&self) -> Context {
        let current = Context::current();
        let context = match self.trace_context() {
            Some(context) => continuing(&current, &context),
            None => current,
        };
        with_received(context, self)
    }

    fn trace_context(&self) -> Option<TraceContext> {
        trigger::record_context(&self.record(), &Settings::of_process().extract)
    }

    pub(crate) fn record(&self) -> Value {
        match self.payload {
            Payload::Data(data) => {
                json!({"eventSource": "aws:kinesis", "kinesis": {"data": BASE64_STANDARD.encode(data)}})
            }
            Payload::Body(body) => {
                let attribute = match (self.text, self.bytes) {
                    (Some(text), _) => json!({"dataType": "String", "stringValue": text}),
                    (None, Some(bytes)) => {
                        json!({"dataType": "Binary", "binaryValue": BASE64_STANDARD.encode(bytes)})
                    }
                    (None, None) => Value::Null,
                };
                json!({
                    "eventSource": "aws:sqs",
                    "body": body,
                    "messageAttributes": {CARRIER: attribute},
                    "attributes": {"AWSTraceHeader": self.trace_header},
                })
            }
        }
    }
}

/// A [`Received`] of a message of `aws-sdk-sqs`: whatever has its methods `body`, `message_attributes` and `attributes`.
///
/// The attribute is there because the interceptor asks for it with each `ReceiveMessage`.
#[macro_export]
macro_rules! received {
    ($message:expr) => {{
        let message = &$message;
        let mut received = $crate::Received::message(message.body().unwrap_or_default());
        let attribute = message.message_attributes().and_then(|all| all.get("_datadog"));
        if let Some(text) = attribute.and_then(|attribute| attribute.string_value()) {
            received = received.attribute_text(text);
        }
        if let Some(bytes) = attribute.and_then(|attribute| attribute.binary_value()) {
            received = received.attribute_bytes(bytes.as_ref());
        }
        let mut system = message.attributes().into_iter().flatten();
        if let Some((_, header)) = system.find(|(name, _)| name.as_str() == "AWSTraceHeader") {
            received = received.trace_header(header);
        }
        received
    }};
}

/// Does the work on one message in a span of its own, in the trace that the message carries, with a link to what is
/// active here.
///
/// ```no_run
/// # async fn poll(sqs: aws_sdk_sqs::Client) -> Result<(), aws_sdk_sqs::Error> {
/// use datadog_aws_sdk::{received, trace_message};
///
/// let batch = sqs.receive_message().queue_url("https://…/orders").send().await?;
/// for message in batch.messages() {
///     trace_message("fulfil_order", &received!(message), fulfil(message.body())).await.ok();
/// }
/// # Ok(())
/// # }
/// # async fn fulfil(_: Option<&str>) -> Result<(), std::fmt::Error> { Ok(()) }
/// ```
pub async fn trace_message<F, T, E>(
    name: impl Into<Cow<'static, str>>,
    message: &Received<'_>,
    work: F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    let here = Context::current().span().span_context().clone();
    let parent = message.context();
    // Without a context of its own the message continues what is active: no link to itself.
    let links = (here.is_valid() && here != *parent.span().span_context()).then_some(here);
    trace(name.into(), parent, links.into_iter().collect(), work).await
}

/// Does the work on several messages at once in one span. The first context that a message carries is its parent,
/// the others and what is active here are links.
pub async fn trace_messages<'a, F, T, E>(
    name: impl Into<Cow<'static, str>>,
    messages: impl IntoIterator<Item = &'a Received<'a>>,
    work: F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    /// As many as OpenTelemetry keeps of one span.
    const MAX_LINKS: usize = 100;

    let current = Context::current();
    let here = current.span().span_context().clone();
    let mut messages = messages.into_iter().peekable();
    let earliest = messages.peek().copied();
    let mut contexts = messages.filter_map(Received::trace_context);
    let first = contexts.next();
    let parent = first.as_ref().map_or_else(|| current.clone(), |first| continuing(&current, first));
    let parent = earliest.map_or_else(|| parent.clone(), |message| with_received(parent.clone(), message));
    let here = Some(here).filter(|here| first.is_some() && here.is_valid());
    let others = contexts.filter_map(|context| remote(&context));
    let links = here.into_iter().chain(others).take(MAX_LINKS).collect();
    trace(name.into(), parent, links, work).await
}

async fn trace<F, T, E>(
    name: Cow<'static, str>,
    parent: Context,
    links: Vec<SpanContext>,
    work: F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    let tracer = global::tracer(env!("CARGO_CRATE_NAME"));
    let links = links.into_iter().map(|to| Link::new(to, Vec::new(), 0)).collect();
    let builder = tracer.span_builder(name).with_kind(SpanKind::Consumer).with_links(links);
    let context = parent.with_span(tracer.build_with_context(builder, &parent));
    let result = work.with_context(context.clone()).await;
    if let Err(error) = &result {
        context.span().set_attribute(KeyValue::new("error.type", std::any::type_name::<E>()));
        context.span().set_status(Status::error(error.to_string()));
    }
    context.span().end();
    result
}

/// The contexts of the messages in a response of SQS, which its span links to.
pub(crate) fn contexts(response: &str) -> Vec<SpanContext> {
    let messages = Object::parse(response).and_then(|response| response.list("Messages")).unwrap_or_default();
    messages.into_iter().filter_map(context_of).collect()
}

fn context_of(message: &str) -> Option<SpanContext> {
    let record = sqs_record(&serde_json::from_str(message).ok()?);
    remote(&trigger::record_context(&record, &Settings::of_process().extract)?)
}

/// A message as SQS answers it, as the record that Lambda would make of it.
pub(crate) fn sqs_record(message: &Value) -> Value {
    let attribute = message.get("MessageAttributes").and_then(|all| all.get(CARRIER));
    let of_attribute = |name: &str| attribute.and_then(|attribute| attribute.get(name));
    json!({
        "eventSource": "aws:sqs",
        "body": message.get("Body"),
        "messageAttributes": {CARRIER: {
            "dataType": of_attribute("DataType"),
            "stringValue": of_attribute("StringValue"),
            "binaryValue": of_attribute("BinaryValue"),
        }},
        "attributes": message.get("Attributes"),
    })
}

/// A context in which what is made continues another. The global propagator may know to keep more of it than
/// OpenTelemetry's own span context has room for.
fn continuing(current: &Context, context: &TraceContext) -> Context {
    let Some(remote) = remote(context) else { return current.clone() };
    let mut headers: HashMap<String, String> = HashMap::new();
    propagation::inject(context, propagation::DEFAULT_STYLES, &mut headers);
    let kept =
        global::get_text_map_propagator(|propagator| propagator.extract_with_context(current, &headers));
    let is_it = kept.span().span_context().span_id() == remote.span_id();
    if is_it { kept } else { current.with_remote_span_context(remote) }
}

fn remote(context: &TraceContext) -> Option<SpanContext> {
    let state = context.tracestate.as_deref().and_then(|state| state.parse::<TraceState>().ok());
    let kept = context.priority.is_none_or(model::SamplingPriority::is_keep);
    Some(SpanContext::new(
        TraceId::from_bytes(context.trace_id.to_u128().to_be_bytes()),
        SpanId::from_bytes(context.span_id?.get().to_be_bytes()),
        TraceFlags::default().with_sampled(kept),
        true,
        state.unwrap_or_default(),
    ))
}
