//! The interceptor: where a call's span begins and ends, and when its request is changed.
//!
//! The span is made late, in most calls at their end, for presigning runs the same hooks and sends nothing. For a call
//! that was given up, that end is when the SDK drops what it kept of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use model::keys::trace::PATHWAY_HASH;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::call::{Call, add_pointer, base, region};
use crate::carrier::Carrier;
use crate::data_streams::{Flow, Passed, Source};
use crate::inject::{Injection, Told};
use crate::outcome::{Failure, response_tags};
use crate::pointers::Writes;
use crate::pointers::dynamodb::TableKeys;
use crate::settings::Settings;
use crate::{data_streams, receive, resource};

/// Traces the calls of an SDK client. See the [crate] for how to install it.
#[derive(Clone, Debug)]
pub struct DatadogInterceptor {
    tables: TableKeys,
}

impl Default for DatadogInterceptor {
    fn default() -> Self {
        Self::new()
    }
}

impl DatadogInterceptor {
    /// With the settings of the environment.
    pub fn new() -> Self {
        Self { tables: TableKeys::new(Settings::of_process().table_keys.clone()) }
    }

    /// Names the key attributes of a DynamoDB table, partition key and sort key, so that the first item put into it
    /// is linked to already. Else they are learnt from calls that name a key or describe the table, and by
    /// [`Self::learn_table_keys`].
    #[must_use]
    pub fn table_keys<T: Into<String>>(
        mut self,
        table: impl Into<String>,
        keys: impl IntoIterator<Item = T>,
    ) -> Self {
        self.tables.set(table.into(), keys.into_iter().map(Into::into).collect());
        self
    }

    /// Lets the key attributes of a table be asked for when an item is put into one that is not known: once per table, in
    /// the background, so that the items that come later are linked to. No call waits for it, and a table that is not
    /// described, for want of a permission for one, is not asked for again.
    ///
    /// It goes to whoever may make the call, and gives the names, partition key first. [`describe_with!`](crate::describe_with) makes it
    /// of a client:
    ///
    /// ```
    /// use datadog_aws_sdk::DatadogInterceptor;
    ///
    /// let interceptor = DatadogInterceptor::new().learn_table_keys(|table: String| async move {
    ///     (table == "orders").then(|| vec!["customer".to_owned(), "number".to_owned()])
    /// });
    /// ```
    #[must_use]
    pub fn learn_table_keys<F>(mut self, describe: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Vec<String>>> + Send + 'static,
    {
        if Settings::of_process().describe_tables {
            self.tables.describe(Arc::new(move |table| Box::pin(describe(table))));
        }
        self
    }

    fn succeeded(&self, call: &mut Call, context: &Context, response: &HttpResponse) {
        if let Some(passed) = call.passed.take() {
            passed.count();
        }
        if let Some(source) = call.source.take()
            && let Some(body) = response.body().bytes().and_then(|body| std::str::from_utf8(body).ok())
        {
            source.received(body);
        }
        if call.service == "SQS" && call.operation == "ReceiveMessage" {
            let body = response.body().bytes().and_then(|body| std::str::from_utf8(body).ok());
            for of_message in body.map(receive::contexts).unwrap_or_default() {
                context.span().add_link(of_message, Vec::new());
            }
        }
        if let Some(writes) = call.writes.take() {
            for pointer in writes.links(call.bucket.as_deref(), response, &self.tables) {
                add_pointer(context, pointer);
            }
        }
    }
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
            // A client that has the interceptor twice is traced once, and what sends telemetry not at all.
            if cfg.load::<Call>().is_some() || Context::map_current(Context::is_telemetry_suppressed) {
                return;
            }
            let Some(metadata) = cfg.load::<Metadata>() else { return };
            if Settings::of_process().traces(metadata.service()) {
                let call = Call::new(metadata.service(), metadata.name(), current());
                cfg.interceptor_state().store_put(call);
            }
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
            // The other one, of a client that has the interceptor twice.
            if !call.path.is_empty() {
                return;
            }
            let request = context.request_mut();
            let settings = Settings::of_process();
            call.path = crate::pointers::s3::path(request.uri()).to_owned();
            let about = resource::of_request(&call.service, &call.operation, request, region.as_deref());
            call.tag(about);
            call.region = region;
            call.source = Source::of(&call.service, &call.operation, request, &call.parent);
            if settings.span_pointers {
                call.writes = Writes::of(&call.service, &call.operation, request, &self.tables);
            }
            if let Some(injection) = Injection::of(&call.service, &call.operation).filter(|_| settings.inject)
            {
                inject(injection, call, request, settings);
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
            let base = base(cfg);
            let Some(call) = cfg.get_mut_from_interceptor_state::<Call>().filter(|_| !retried) else {
                return;
            };
            let tags = call.sending(context.request(), base.as_deref());
            call.tag(tags);
            call.ready();
        })
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        quietly(|| {
            let attempts = cfg.load::<RequestAttempts>().map(RequestAttempts::attempts);
            let Some(call) = cfg.get_mut_from_interceptor_state::<Call>() else { return };
            let error = context.output_or_error().and_then(Result::err);
            // Nothing came back and nothing failed: a request that was only signed.
            if context.response().is_none() && error.is_none() {
                return call.forget();
            }
            let span_context = call.begin().clone();
            let span = span_context.span();
            span.set_attributes(context.response().map(response_tags).unwrap_or_default());
            if let Some(attempts) = attempts {
                let retries = i64::from(attempts.saturating_sub(1));
                span.set_attribute(KeyValue::new("aws.retry_count", retries));
                span.set_attribute(KeyValue::new("retry_attempts", retries));
            }
            match (error, context.response()) {
                (Some(error), response) => {
                    let Failure { kind, message } = Failure::of(error, response);
                    span.set_attribute(KeyValue::new("error.type", kind));
                    span.set_status(Status::error(message));
                }
                (None, Some(response)) => self.succeeded(call, &span_context, response),
                (None, None) => {}
            }
            call.end();
        })
    }
}

/// Tells whoever gets what a call sends of its trace, and of its pathway.
fn inject(injection: &Injection, call: &mut Call, request: &mut HttpRequest, settings: &Settings) {
    let streams = injection.is_stream().then(|| data_streams::scope(&call.parent)).flatten();
    let carrier = Carrier::of(call.begin(), &settings.inject_styles);
    if carrier.is_none() && streams.is_none() {
        return;
    }
    let now = call.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let told = Told::new(carrier.unwrap_or_default(), now.as_millis()).along(streams.map(Flow::new));
    injection.apply(request, &told);
    call.passed = told.passed();
    if let Some(hash) = call.passed.as_ref().and_then(Passed::hash) {
        call.tag(vec![KeyValue::new(PATHWAY_HASH, hash)]);
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
