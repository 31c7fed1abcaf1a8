//! A function whose spans go through Datadog's own crate for OpenTelemetry, which sends them to the extension
//! itself. The span of the invocation is still the library's.

use datadog_lambda_rs::{log_layer, run, set_tracer_provider, trace_layer};
use interop::handler;
use lambda_runtime::{Error, service_fn};
use opentelemetry::trace::TracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Makes itself the global provider, and its propagator the global one.
    let provider = datadog_opentelemetry::tracing().init();
    let tracer = provider.tracer("interop");
    set_tracer_provider(provider);
    tracing_subscriber::registry().with(log_layer()).with(trace_layer(tracer)).try_init()?;
    run(service_fn(handler)).await
}
