//! The interceptor: where a call's span begins and ends, and when its request is changed.
//!
//! The span begins late, when there is something to send: presigning runs the same hooks and sends nothing.
//! It ends when the SDK says so or, for a call that was given up, when the SDK drops what it kept of it.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, Metadata};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_types::region::{Region, SigningRegion};
use model::{Arn, SamplingPriority, SpanId, TraceId};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use propagation::TraceContext;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::client_context;
use crate::outcome::{Failure, response_tags};

/// Traces the calls of an SDK client. See the [crate] for how to install it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DatadogInterceptor;

impl DatadogInterceptor {
    pub fn new() -> Self {
        Self
    }
}

/// One call, kept in the SDK's own bag: dropped with it, whatever becomes of the call.
#[derive(Debug)]
struct Call {
    service: String,
    operation: String,
    started: SystemTime,
    parent: Context,
    /// With the call's span, once that has begun.
    context: Option<Context>,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for DatadogInterceptor {
    fn name(&self) -> &'static str {
        "DatadogInterceptor"
    }

    /// The first hook that knows the operation.
    fn modify_before_serialization(
        &self,
        _: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        quietly(|| {
            // A client that has the interceptor twice is traced once.
            if cfg.load::<Call>().is_some() {
                return;
            }
            let Some(metadata) = cfg.load::<Metadata>() else { return };
            let call = Call {
                service: metadata.service().to_owned(),
                operation: metadata.name().to_owned(),
                started: SystemTime::now(),
                parent: current(),
                context: None,
            };
            cfg.interceptor_state().store_put(call);
        })
    }

    /// Once per call, before it is signed: retries send the same.
    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        quietly(|| {
            let region = region(cfg);
            let Some(call) = cfg.get_mut_from_interceptor_state::<Call>() else { return };
            if call.service == "Lambda"
                && matches!(call.operation.as_str(), "Invoke" | "InvokeWithResponseStream")
            {
                let headers = carrier(call.begin(region));
                let request = context.request_mut();
                let existing = request.headers().get(client_context::HEADER);
                let value = client_context::with_context(existing, &headers);
                // Where there is no room for all of it, such as much baggage, the ids alone connect the trace.
                let value = value.or_else(|| client_context::with_context(existing, &ids_of(headers)));
                if let Some(value) = value {
                    // Base64 is always a header value.
                    let _ = request.headers_mut().try_insert(client_context::HEADER, value);
                }
            }
        })
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        quietly(|| {
            let retried = cfg.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1);
            let region = region(cfg);
            let Some(call) = cfg.get_mut_from_interceptor_state::<Call>().filter(|_| !retried) else {
                return;
            };
            let tags = request_tags(call, context.request());
            call.begin(region).span().set_attributes(tags);
        })
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        quietly(|| {
            let (region, attempts) =
                (region(cfg), cfg.load::<RequestAttempts>().map(RequestAttempts::attempts));
            let Some(call) = cfg.get_mut_from_interceptor_state::<Call>() else { return };
            let error = context.output_or_error().and_then(Result::err);
            // Nothing was sent and nothing failed: a request that was only signed.
            if call.context.is_none() && error.is_none() {
                return;
            }
            let span = call.begin(region).span();
            span.set_attributes(context.response().map(response_tags).unwrap_or_default());
            if let Some(retries) = attempts.map(|attempts| attempts.saturating_sub(1)) {
                span.set_attribute(KeyValue::new("aws.retry_count", i64::from(retries)));
            }
            if let Some(error) = error {
                let Failure { kind, message } = Failure::of(error, context.response());
                span.set_attribute(KeyValue::new("error.type", kind));
                span.set_status(Status::error(message));
            }
            span.end();
        })
    }
}

impl Call {
    /// The context with the call's span, which begins when it is first asked for and has begun when the call
    /// did.
    fn begin(&mut self, region: Option<String>) -> &Context {
        let Self { service, operation, started, parent, context } = self;
        context.get_or_insert_with(|| {
            let mut tags = vec![
                KeyValue::new("operation.name", "aws.request"),
                KeyValue::new("service.name", format!("aws.{service}")),
                KeyValue::new("resource.name", format!("{service}.{operation}")),
                KeyValue::new("span.type", "http"),
                KeyValue::new("component", "aws-sdk-rust"),
                KeyValue::new("aws.service", service.clone()),
                KeyValue::new("aws_service", service.clone()),
                KeyValue::new("aws.operation", operation.clone()),
            ];
            if let Some(region) = region {
                tags.push(KeyValue::new("aws.partition", Arn::partition_of(&region)));
                tags.push(KeyValue::new("region", region.clone()));
                tags.push(KeyValue::new("aws.region", region));
            }
            let tracer = global::tracer(env!("CARGO_CRATE_NAME"));
            let builder = tracer.span_builder(format!("{service}.{operation}"));
            let builder = builder.with_kind(SpanKind::Client).with_start_time(*started).with_attributes(tags);
            parent.with_span(tracer.build_with_context(builder, parent))
        })
    }
}

/// Runs a hook's work: nothing that happens in it is the call's concern.
fn quietly(work: impl FnOnce()) -> Result<(), BoxError> {
    let _ = catch_unwind(AssertUnwindSafe(work));
    Ok(())
}

/// What is active where the call is awaited. `tracing` spans are active OpenTelemetry spans as well, unless
/// their layer is told not to activate them: then they are asked.
fn current() -> Context {
    let context = Context::current();
    if context.has_active_span() {
        return context;
    }
    let of_tracing = tracing::Span::current().context();
    if of_tracing.has_active_span() { of_tracing } else { context }
}

fn region(cfg: &ConfigBag) -> Option<String> {
    let signing = cfg.load::<SigningRegion>().map(|region| region.as_ref().to_owned());
    signing.or_else(|| cfg.load::<Region>().map(|region| region.as_ref().to_owned()))
}

/// The headers that tell of a context: as the global propagator writes them, and Datadog's where that does
/// not write those.
fn carrier(context: &Context) -> BTreeMap<String, String> {
    let mut headers = HashMap::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(context, &mut headers));
    if !headers.contains_key(model::keys::headers::TRACE_ID)
        && let Some(context) = trace_context(context)
    {
        propagation::inject(&context, propagation::DEFAULT_STYLES, &mut headers);
    }
    headers.into_iter().collect()
}

/// The headers without which there is no trace.
fn ids_of(mut headers: BTreeMap<String, String>) -> BTreeMap<String, String> {
    use model::keys::headers::{PARENT_ID, SAMPLING_PRIORITY, TAGS, TRACE_ID};

    headers.retain(|name, _| [TRACE_ID, PARENT_ID, SAMPLING_PRIORITY, TAGS].contains(&name.as_str()));
    headers
}

fn trace_context(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let span = span.span_context();
    let trace_id = TraceId::from_u128(u128::from_be_bytes(span.trace_id().to_bytes()))?;
    let span_id = SpanId::new(u64::from_be_bytes(span.span_id().to_bytes()))?;
    let mut context = TraceContext::new(trace_id, Some(span_id));
    let sampled = span.is_sampled();
    context.priority = Some(if sampled { SamplingPriority::AutoKeep } else { SamplingPriority::AutoReject });
    Some(context)
}

/// The query may hold secrets, and is left out.
fn request_tags(call: &Call, request: &HttpRequest) -> Vec<KeyValue> {
    let url = request.uri().split('?').next().unwrap_or_default().to_owned();
    let mut tags = vec![KeyValue::new("http.method", request.method().to_owned())];
    if call.service == "Lambda"
        && let Some(name) = function_name(&url)
    {
        tags.push(KeyValue::new("functionname", name));
    }
    tags.push(KeyValue::new("http.url", url));
    tags
}

/// Of `…/functions/{name, or name:alias, or ARN}/…`.
fn function_name(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("/functions/")?;
    let given = rest.split('/').next()?.replace("%3A", ":").replace("%3a", ":");
    let mut parts = given.split(':').skip_while(|part| *part != "function").skip(1);
    let name = parts.next().or_else(|| given.split(':').next())?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_in_many_ways() {
        let check =
            |url: &str, expect: Option<&str>| assert_eq!(function_name(url).as_deref(), expect, "{url}");
        check("https://x/2015-03-31/functions/orders/invocations", Some("orders"));
        check("https://x/2015-03-31/functions/orders%3Alive/invocations", Some("orders"));
        check(
            "https://x/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu%3A1%3Afunction%3Aorders%3A7/code",
            Some("orders"),
        );
        check("https://x/2015-03-31/functions/1%3Afunction%3Aorders/invocations", Some("orders"));
        check("https://x/2015-03-31/functions/", None);
        check("https://x/2015-03-31/layers", None);
    }
}
