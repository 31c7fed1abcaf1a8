//! An OpenTelemetry provider of one's own: its spans go where they always went, and to Datadog with the
//! invocation; it is flushed at the end of each. The handler is wrapped, and run by `lambda_runtime` as before.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{}' > event.json
//! cargo run --package cli -- dev --function own-provider=target/debug/own-provider --event event.json --exit
//! ```

use std::io::Write;

use datadog_lambda_rs::{set_tracer_provider, span_processor, wrap_handler};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::trace::Tracer;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Elsewhere)
        .with_span_processor(span_processor())
        .build();
    global::set_tracer_provider(provider.clone());
    global::set_text_map_propagator(datadog_lambda_rs::propagator());
    set_tracer_provider(provider);
    lambda_runtime::run(service_fn(wrap_handler(handler))).await
}

/// Takes the event as its text, and gives it back so.
async fn handler(event: LambdaEvent<Box<RawValue>>) -> Result<Box<RawValue>, Error> {
    let tracer = global::tracer("shop");
    let span = tracer.span_builder("checkout").with_attributes([KeyValue::new("items", 3)]);
    tracer.build(span);
    Ok(event.payload)
}

/// In place of any exporter, such as that of `opentelemetry-otlp`.
#[derive(Debug)]
struct Elsewhere;

impl SpanExporter for Elsewhere {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            let _ = writeln!(std::io::stdout(), "exported {} {}", span.name, span.span_context.span_id());
        }
        Ok(())
    }
}
