//! The parts put together: what most functions want, in one call each.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, Runtime, Service};
use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::datadog::{Datadog, datadog};
use crate::handler::TracedHandler;
use crate::ids::SystemIds;
use crate::layer::DatadogLayer;
use crate::log;
use crate::log_records::Records;
use crate::propagator::propagator;
use crate::spans::span_processor;
use crate::start::snapstart_resource;

/// Installs everything: JSON log lines with trace ids for `tracing` and the `log` crate, spans of `tracing` and of
/// the OpenTelemetry API, trace context in and out of headers. To be called once, first thing in `main`; see the [crate](crate) for the
/// whole.
///
/// Does no IO. What is there already stays: with a `tracing` subscriber of your own, add
/// [`log_layer`](crate::log_layer) and [`trace_layer`] to it.
///
/// [`builder`](crate::builder) is the same with settings in code.
pub fn init() {
    install(datadog());
}

pub(crate) fn install(datadog: &Arc<Datadog>) {
    let levels = datadog.settings.log_levels.as_deref().and_then(|levels| levels.parse::<Targets>().ok());
    let levels = levels.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    Records::install(datadog, levels.clone());
    let logs = log::log_layer().with_filter(levels);
    let traces = datadog.settings.tracing.then(|| {
        let provider = tracer_provider();
        let layer = trace_layer(provider.tracer(env!("CARGO_CRATE_NAME")));
        global::set_tracer_provider(provider);
        global::set_text_map_propagator(propagator());
        layer
    });
    // It fails only where a subscriber is installed already, and then that one is wanted.
    let _ = tracing_subscriber::registry().with(logs).with(traces).try_init();
}

/// Runs a handler as [`lambda_runtime::run`] does, with every invocation traced and its telemetry sent once
/// the response is on its way.
///
/// ```no_run
/// use lambda_runtime::{Error, LambdaEvent, service_fn};
/// use serde_json::{Value, json};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Error> {
///     datadog_lambda_rs::init();
///     datadog_lambda_rs::run(service_fn(handler)).await
/// }
///
/// #[tracing::instrument(skip_all)]
/// async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
///     tracing::info!("hello");
///     Ok(json!({"statusCode": 200}))
/// }
/// ```
///
/// # Errors
/// Those of [`lambda_runtime::run`]: the Runtime API cannot be reached. A handler's error is none.
///
/// # Panics
/// As [`lambda_runtime::run`], outside of Lambda: when the variables that Lambda sets are missing.
pub async fn run<T, H, R, B, S, D, E>(handler: H) -> Result<(), Error>
where
    H: Service<LambdaEvent<T>, Response = R>,
    H::Future: Future<Output = Result<R, H::Error>>,
    H::Error: Into<Diagnostic> + Debug + 'static,
    T: for<'de> Deserialize<'de>,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
    S: futures_core::Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<bytes::Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    let handler = TracedHandler::<H, B, S>::new(handler);
    let runtime = Runtime::new(handler).register_snapstart_resource(snapstart_resource());
    runtime.layer(TracingLayer::new()).layer(DatadogLayer::new()).run().await
}

/// [`run`] for managed instances, where several events are handled at once: as many as Lambda says, or one.
/// With the feature `concurrency`.
///
/// # Errors
/// Those of [`Runtime::run_concurrent`](lambda_runtime::Runtime).
///
/// # Panics
/// Outside of Lambda and outside of a tokio runtime.
#[cfg(any(feature = "concurrency", test))]
pub async fn run_concurrent<T, H, R, B, S, D, E>(handler: H) -> Result<(), Error>
where
    H: Service<LambdaEvent<T>, Response = R> + Clone + Send + 'static,
    H::Future: Future<Output = Result<R, H::Error>> + Send + 'static,
    H::Error: Into<Diagnostic> + Debug + Send + 'static,
    T: for<'de> Deserialize<'de> + Send + 'static,
    R: IntoFunctionResponse<B, S> + Send + 'static,
    B: Serialize + Send + 'static,
    S: futures_core::Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<bytes::Bytes> + Send + 'static,
    E: Into<Error> + Send + Debug + 'static,
{
    let handler = TracedHandler::<H, B, S>::new(handler);
    let runtime = Runtime::new(handler).register_snapstart_resource(snapstart_resource());
    runtime.layer(TracingLayer::new()).layer(DatadogLayer::new()).run_concurrent().await
}

/// The provider that [`init`] installs: every span is recorded, ids are fit for restored snapshots, spans go
/// to Datadog with their invocation.
pub fn tracer_provider() -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(SystemIds { long: datadog().settings.long_ids })
        .with_resource(Resource::builder_empty().build())
        .with_span_processor(span_processor())
        .build()
}

/// Has a provider of your own flushed at the end of each invocation. The flush runs on a thread of its own
/// and is waited for as long as the invocation's other telemetry, not longer.
///
/// ```
/// use datadog_lambda_rs::{set_tracer_provider, span_processor};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// let provider = SdkTracerProvider::builder().with_span_processor(span_processor()).build();
/// set_tracer_provider(provider.clone());
/// opentelemetry::global::set_tracer_provider(provider);
/// ```
pub fn set_tracer_provider(provider: SdkTracerProvider) {
    datadog().set_provider(provider);
}

/// Spans of `tracing` for OpenTelemetry: from level INFO up, without those of the runtime itself.
pub fn trace_layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = OpenTelemetryLayer::new(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_level(false);
    layer.with_filter(FilterFn::new(is_traced).with_max_level_hint(LevelFilter::INFO))
}

/// Events reach the span when they are errors; as log lines they have their own way.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let least = if metadata.is_span() { Level::INFO } else { Level::ERROR };
    *metadata.level() <= least && !metadata.target().starts_with("lambda_runtime")
}
