//! A function whose spans go to an OpenTelemetry collector: the provider is the user's own, with a batch processor
//! and an OTLP exporter, as OpenTelemetry's documentation has it.

use datadog_lambda_rs::{log_layer, run, set_tracer_provider, trace_layer};
use interop::handler;
use lambda_runtime::{Error, service_fn};
use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let tracer = provider.tracer("interop");
    set_tracer_provider(provider.clone());
    global::set_tracer_provider(provider);
    tracing_subscriber::registry().with(log_layer()).with(trace_layer(tracer)).try_init()?;
    run(service_fn(handler)).await
}
