//! The function's start, as its author marks it: phases worth a span, and a start that fails.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use lambda_runtime::{BoxFuture, Error, SnapStartResource};
use model::{Chunk, SamplingPriority, UnixNanos};
use propagation::TraceContext;

use crate::cold_start::Phase;
use crate::datadog::{BEFORE_RESPONSE, Datadog, datadog, made, mark_first};
use crate::failure::Failure;
use crate::{describe, ids};

/// Marks a part of the function's start, until what is returned is dropped: it becomes a span under
/// `aws.lambda.load` in the trace of the first invocation.
///
/// ```
/// # async fn load_config() {}
/// # async fn start() {
/// let phase = datadog_lambda_rs::init_phase("load config");
/// load_config().await;
/// drop(phase);
/// # }
/// ```
///
/// To be used after [`init`](crate::init); after the first invocation it does nothing.
pub fn init_phase(name: impl Into<String>) -> InitPhase {
    InitPhase { name: name.into(), start: ids::now() }
}

/// Made by [`init_phase`].
#[derive(Debug)]
#[must_use = "the phase ends when this is dropped"]
pub struct InitPhase {
    name: String,
    start: UnixNanos,
}

impl Drop for InitPhase {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        datadog().start.add_phase(Phase { name, start: self.start, end: ids::now() });
    }
}

/// Tells Datadog that the function's start has failed, before the process ends by it.
///
/// ```no_run
/// # async fn connect() -> Result<(), std::io::Error> { Ok(()) }
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), lambda_runtime::Error> {
///     datadog_lambda_rs::init();
///     let database = connect().await.inspect_err(datadog_lambda_rs::init_failed)?;
/// #   let _ = database;
///     Ok(())
/// }
/// ```
///
/// Takes at most a tenth of a second. A panic in `main` before the first invocation is told by itself.
pub fn init_failed<E: Display + Debug + 'static>(error: &E) {
    tell(datadog(), Failure::of_error(error));
}

/// A panic of the main thread: the start has failed, unless it is over.
pub(crate) fn panicked(failure: impl FnOnce() -> Failure) {
    // What panics while it is made is not told: making it again would wait for itself.
    if let Some(datadog) = made()
        && !datadog.start.is_over()
    {
        tell(datadog, failure());
    }
}

pub(crate) fn tell(datadog: &Datadog, failure: Failure) {
    if !datadog.settings.tracing {
        return;
    }
    let span = describe::failed_start(datadog, failure, ids::now());
    let mut context = TraceContext::new(span.trace_id, None);
    context.priority = Some(SamplingPriority::AutoKeep);
    let mut spans = vec![span];
    mark_first(&mut spans, &context);
    let mut chunks = datadog.spans.take_loose();
    chunks.push(Chunk { spans });
    datadog.send_now(&chunks, BEFORE_RESPONSE);
}

/// For SnapStart, in a [`Runtime`](lambda_runtime::Runtime) of your own: tells the library that its sandbox was made
/// of a snapshot, so that what differs between sandboxes does. [`run`](crate::run) has it in place.
///
/// ```no_run
/// # async fn start() -> Result<(), lambda_runtime::Error> {
/// use datadog_lambda_rs::{DatadogLayer, TracedHandler, snapstart_resource};
/// use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
/// use serde_json::Value;
///
/// let handler = service_fn(|event: LambdaEvent<Value>| async { Ok::<_, Error>(event.payload) });
/// let runtime = Runtime::new(TracedHandler::new(handler)).register_snapstart_resource(snapstart_resource());
/// runtime.layer(DatadogLayer::new()).run().await
/// # }
/// ```
pub fn snapstart_resource() -> Arc<dyn SnapStartResource> {
    Arc::new(Restore(datadog().clone()))
}

/// Tells of a restore: after it the sandbox is another one.
#[derive(Debug)]
pub(crate) struct Restore(pub(crate) Arc<Datadog>);

impl SnapStartResource for Restore {
    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.0.restored(ids::now());
            Ok(())
        })
    }
}
