//! A log format of one's own, which the ids of the trace are added to, in a `tracing` subscriber of one's own.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"order": 17}' > event.json
//! cargo run --package cli -- dev --function own-logs=target/debug/own-logs --event event.json --exit
//! ```

use std::fmt::Debug;
use std::io::Write;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::trace::TracerProvider;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let tracer = datadog_lambda_rs::tracer_provider().tracer("shop");
    tracing_subscriber::registry().with(Lines).with(datadog_lambda_rs::trace_layer(tracer)).init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

#[tracing::instrument(skip_all)]
async fn handler(event: LambdaEvent<Value>) -> Result<(), Error> {
    tracing::info!(order = %event.payload, "order received");
    Ok(())
}

/// `{"severity":"INFO","order":…,"message":…,"dd.trace_id":…}`
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(Map::new());
        line.0.insert("severity".to_owned(), event.metadata().level().as_str().into());
        event.record(&mut line);
        for (key, value) in datadog_lambda_rs::log_fields() {
            line.0.insert(key.to_owned(), value.into());
        }
        let _ = writeln!(std::io::stdout(), "{}", Value::Object(line.0));
    }
}

struct Line(Map<String, Value>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
