//! Around `lambda_runtime`'s own services: sees the raw event before the handler, and comes back once the
//! response is posted. What is sent then costs the caller no time, and the sandbox cannot freeze before it is
//! done, since the next event has not been asked for.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use lambda_runtime::{Error, LambdaInvocation, Service};
use opentelemetry::Context;
use tower::Layer;

use crate::agent::Until;
use crate::datadog::{Datadog, Flush, datadog};
use crate::invocation::Invocation;
use crate::{event, ids};

/// A layer for [`lambda_runtime::Runtime`], when [`crate::run`] leaves too little room:
///
/// ```no_run
/// use datadog_lambda_rs::{DatadogLayer, TracedHandler};
/// use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
/// use serde_json::{Value, json};
///
/// async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
///     Ok(json!({"statusCode": 200}))
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Error> {
///     datadog_lambda_rs::init();
///     let handler = TracedHandler::new(service_fn(handler));
///     Runtime::new(handler).layer(DatadogLayer::new()).run().await
/// }
/// ```
///
/// The layer makes the root span and sends it; the runtime does not tell layers how the handler ended, which
/// [`TracedHandler`](crate::TracedHandler) or [`wrap_handler`](crate::wrap_handler) around the handler does.
#[derive(Clone, Debug)]
pub struct DatadogLayer {
    datadog: Arc<Datadog>,
}

impl DatadogLayer {
    /// With the settings of the environment.
    pub fn new() -> Self {
        Self::with(datadog().clone())
    }

    pub(crate) fn with(datadog: Arc<Datadog>) -> Self {
        datadog.start.ready(ids::now());
        Self { datadog }
    }
}

impl Default for DatadogLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for DatadogLayer {
    type Service = DatadogService<S>;

    fn layer(&self, inner: S) -> DatadogService<S> {
        DatadogService { inner, datadog: self.datadog.clone() }
    }
}

/// Made by [`DatadogLayer`].
#[derive(Clone, Debug)]
pub struct DatadogService<S> {
    inner: S,
    datadog: Arc<Datadog>,
}

impl<S> Service<LambdaInvocation> for DatadogService<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    type Response = ();
    type Error = Error;
    type Future = InvocationFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: LambdaInvocation) -> Self::Future {
        let now = ids::now();
        // An event that is not JSON is the runtime's to refuse.
        let event = event::parse(&request.body);
        let invocation = Invocation::start(&self.datadog, &event, Some(&request.body), &request.context, now);
        drop(event);
        let context = invocation.otel_context();
        // The runtime deserialises the event and calls the handler in here.
        let future = {
            let _entered = context.clone().attach();
            self.inner.call(request)
        };
        InvocationFuture { invocation, context, inner: Some(Box::pin(future)), result: None, flush: None }
    }
}

/// One invocation, from its event until its telemetry is sent.
pub struct InvocationFuture<F> {
    invocation: Arc<Invocation>,
    context: Context,
    inner: Option<Pin<Box<F>>>,
    result: Option<Result<(), Error>>,
    flush: Option<Flush>,
}

/// Nothing in it is pinned in place: the inner future is boxed.
impl<F> Unpin for InvocationFuture<F> {}

impl<F: Future<Output = Result<(), Error>>> Future for InvocationFuture<F> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(inner) = &mut this.inner {
            let _entered = this.context.clone().attach();
            let result = ready!(inner.as_mut().poll(cx));
            this.inner = None;
            this.result = Some(result);
            this.flush = Some(Datadog::flushing(&this.invocation, Until::Answered));
        }
        if let Some(flush) = &mut this.flush {
            ready!(Pin::new(flush).poll(cx));
            this.flush = None;
        }
        this.result.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<F> Debug for InvocationFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvocationFuture").field("invocation", &self.invocation).finish_non_exhaustive()
    }
}
