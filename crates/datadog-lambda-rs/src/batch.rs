//! The records of a batch one by one: each was sent by somebody, and its span can continue that one's trace.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;

use opentelemetry::trace::{FutureExt, Link, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use serde::Serialize;

use crate::data_streams;
use crate::datadog::datadog;
use crate::invocation::Invocation;
use crate::propagator::continuing;
use crate::root::RootSpan;

/// The OpenTelemetry context for work on one record of a batch: what is made in it continues the trace that
/// the record carries, and is sent with this invocation. The current context for a record that carries none.
///
/// A record is an element of `Records` as it came in the event, of SQS, SNS, Kinesis or another source.
pub fn record_context(record: &impl Serialize) -> Context {
    let current = Context::current();
    let Ok(record) = serde_json::to_value(record) else { return current };
    let context = match trigger::record_context(&record, &datadog().settings.trigger) {
        Some(context) => continuing(&current, context),
        None => current,
    };
    data_streams::with_record(datadog(), context, &record)
}

/// Does the work on one record of a batch in a span of its own, in the trace that the record carries, with a
/// link to the invocation.
///
/// ```
/// use datadog_lambda_rs::trace_record;
/// use lambda_runtime::{Error, LambdaEvent};
/// use serde_json::{Value, json};
///
/// async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
///     let mut failures = Vec::new();
///     for record in event.payload["Records"].as_array().into_iter().flatten() {
///         if trace_record("fulfil_order", record, fulfil(record)).await.is_err() {
///             failures.push(json!({"itemIdentifier": record["messageId"]}));
///         }
///     }
///     Ok(json!({"batchItemFailures": failures}))
/// }
///
/// async fn fulfil(record: &Value) -> Result<(), Error> {
///     tracing::info!(body = %record["body"], "fulfilled");
///     Ok(())
/// }
/// ```
pub async fn trace_record<F, T, E>(
    name: impl Into<Cow<'static, str>>,
    record: &impl Serialize,
    work: F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    let parent = record_context(record);
    let tracer = global::tracer(env!("CARGO_CRATE_NAME"));
    let links = invocation_span().map(|span| Link::new(span, Vec::new(), 0));
    let builder =
        tracer.span_builder(name).with_kind(SpanKind::Consumer).with_links(links.into_iter().collect());
    let context = parent.with_span(tracer.build_with_context(builder, &parent));
    let result = work.with_context(context.clone()).await;
    if let Err(error) = &result {
        context.span().set_attribute(KeyValue::new("error.type", type_name::<E>()));
        context.span().set_status(Status::error(error.to_string()));
    }
    context.span().end();
    result
}

fn invocation_span() -> Option<SpanContext> {
    use opentelemetry::trace::Span;

    Some(RootSpan::new(Invocation::current()?).span_context().clone())
}
