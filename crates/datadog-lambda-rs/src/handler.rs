//! Around the user's handler: where it begins, its result, its panic.
//!
//! Two forms of one thing. [`TracedHandler`] wraps a tower service and leaves the event and the sending to
//! [`DatadogLayer`](crate::DatadogLayer). [`wrap_handler`] wraps a function; without the layer it reads the
//! event itself, and sends before the response is returned.

use std::any::Any;
use std::fmt::{self, Debug};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, ready};

use lambda_runtime::{
    Diagnostic, FunctionResponse, IntoFunctionResponse, LambdaEvent, Service, StreamResponse,
};
use opentelemetry::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::Until;
use crate::datadog::{Datadog, Flush, datadog};
use crate::failure::{Failure, causes};
use crate::invocation::Invocation;
use crate::response::{ResponseBody, ResponseStream};
use crate::status::{self, Facts};
use crate::{event, ids};

/// Wraps a handler function, for [`lambda_runtime::run`]:
///
/// ```no_run
/// use datadog_lambda_rs::wrap_handler;
/// use lambda_runtime::{Error, LambdaEvent, service_fn};
/// use serde_json::{Value, json};
///
/// async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
///     Ok(json!({"statusCode": 200, "body": "hello"}))
/// }
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Error> {
///     datadog_lambda_rs::init();
///     lambda_runtime::run(service_fn(wrap_handler(handler))).await
/// }
/// ```
///
/// The event, the response and the error reach the handler and the runtime as they would without it. What was
/// recorded is written to the extension before the response is returned, on a local connection that is kept,
/// and within a tenth of a second whatever becomes of it. [`crate::run`] does it after the response instead.
pub fn wrap_handler<H, T, F, R, E, B, S>(
    mut handler: H,
) -> impl FnMut(LambdaEvent<Box<RawValue>>) -> HandlerFuture<F, B, S>
where
    H: FnMut(LambdaEvent<T>) -> F,
    T: DeserializeOwned,
    F: Future<Output = Result<R, E>>,
    E: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
{
    let datadog = datadog().clone();
    datadog.handler_in_place();
    move |event| wrapped(&datadog, &mut handler, event)
}

pub(crate) fn wrapped<H, T, F, R, E, B, S>(
    datadog: &Arc<Datadog>,
    handler: &mut H,
    event: LambdaEvent<Box<RawValue>>,
) -> HandlerFuture<F, B, S>
where
    H: FnMut(LambdaEvent<T>) -> F,
    T: DeserializeOwned,
    F: Future<Output = Result<R, E>>,
    E: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
{
    let LambdaEvent { payload, context } = event;
    let raw = payload.get().as_bytes();
    let run = Run::find_or_start(datadog, &context, Some(raw), || event::parse(raw));
    match deserialize(&payload) {
        Ok(payload) => HandlerFuture::call(run, || handler(LambdaEvent::new(payload, context))),
        Err(diagnostic) => HandlerFuture::unreadable(run, diagnostic),
    }
}

/// A tower service around the handler that tells [`DatadogLayer`](crate::DatadogLayer) how it ends. See there.
#[derive(Debug)]
pub struct TracedHandler<H, B = (), S = ()> {
    inner: H,
    datadog: Arc<Datadog>,
    response: PhantomData<fn() -> (B, S)>,
}

impl<H, B, S> TracedHandler<H, B, S> {
    /// Wraps a service, such as one made by [`lambda_runtime::service_fn`].
    pub fn new(handler: H) -> Self {
        Self::with(datadog().clone(), handler)
    }

    pub(crate) fn with(datadog: Arc<Datadog>, inner: H) -> Self {
        datadog.handler_in_place();
        Self { inner, datadog, response: PhantomData }
    }
}

impl<H: Clone, B, S> Clone for TracedHandler<H, B, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), datadog: self.datadog.clone(), response: PhantomData }
    }
}

impl<H, T, R, B, S> Service<LambdaEvent<T>> for TracedHandler<H, B, S>
where
    H: Service<LambdaEvent<T>, Response = R>,
    H::Error: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
{
    type Response = FunctionResponse<ResponseBody<B>, ResponseStream<S>>;
    type Error = HandlerError;
    type Future = HandlerFuture<H::Future, B, S>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), HandlerError>> {
        self.inner.poll_ready(cx).map_err(HandlerError::of)
    }

    fn call(&mut self, event: LambdaEvent<T>) -> Self::Future {
        let run = Run::find_or_start(&self.datadog, &event.context, None, || Value::Null);
        HandlerFuture::call(run, || self.inner.call(event))
    }
}

impl Datadog {
    fn handler_in_place(&self) {
        self.start.ready(ids::now());
        self.wraps_handler.store(true, Ordering::Relaxed);
    }
}

/// The invocation that a handler runs in.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) invocation: Arc<Invocation>,
    /// There is no layer: entering the context and sending is up to the wrapper.
    pub(crate) alone: Option<Context>,
}

impl Run {
    fn find_or_start(
        datadog: &Arc<Datadog>,
        lambda: &lambda_runtime::Context,
        raw: Option<&[u8]>,
        event: impl FnOnce() -> Value,
    ) -> Self {
        let found = Invocation::current().filter(|found| found.request_id == lambda.request_id);
        let alone = found.is_none();
        let start = || Invocation::start(datadog, &event(), raw, lambda, ids::now());
        let invocation = found.unwrap_or_else(start);
        invocation.handler_called();
        let alone = alone.then(|| invocation.otel_context());
        Self { invocation, alone }
    }

    /// Does a part of the handler's work in its context.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> std::thread::Result<T> {
        let _entered = self.alone.clone().map(Context::attach);
        catch_unwind(AssertUnwindSafe(work))
    }
}

/// The handler's own future, watched.
pub struct HandlerFuture<F, B, S> {
    run: Run,
    /// Dropped when it is done, so that the spans that it holds end with it.
    handler: Option<Pin<Box<F>>>,
    outcome: Option<Outcome<B, S>>,
    flush: Option<Flush>,
}

enum Outcome<B, S> {
    Returned(Result<FunctionResponse<ResponseBody<B>, ResponseStream<S>>, HandlerError>),
    Panicked(Box<dyn Any + Send>),
}

impl<F, B, S> HandlerFuture<F, B, S> {
    fn call(run: Run, handler: impl FnOnce() -> F) -> Self {
        match run.within(handler) {
            Ok(future) => Self { run, handler: Some(Box::pin(future)), outcome: None, flush: None },
            Err(panic) => Self::ended(run, Outcome::Panicked(panic)),
        }
    }

    fn unreadable(run: Run, diagnostic: Diagnostic) -> Self {
        let kind = "PayloadError".to_owned();
        let message = diagnostic.error_message.trim_end().to_owned();
        run.invocation.failed(ids::now(), Failure { kind, message, stack: String::new() });
        let debug = format!("{diagnostic:?}");
        Self::ended(run, Outcome::Returned(Err(HandlerError { debug, diagnostic })))
    }

    fn ended(run: Run, outcome: Outcome<B, S>) -> Self {
        let mut future = Self { run, handler: None, outcome: None, flush: None };
        future.end(outcome);
        future
    }

    fn end(&mut self, outcome: Outcome<B, S>) {
        if let Outcome::Panicked(panic) = &outcome {
            self.run.invocation.failed(ids::now(), Failure::of_panic(&**panic));
        }
        // A stream has its own end.
        let goes_on = matches!(&outcome, Outcome::Returned(Ok(FunctionResponse::StreamingResponse(_))));
        self.outcome = Some(outcome);
        if self.run.alone.is_some() && !goes_on {
            self.flush = Some(Datadog::flushing(&self.run.invocation, Until::Written));
        }
    }
}

/// Nothing in it is pinned in place: the handler's future is boxed.
impl<F, B, S> Unpin for HandlerFuture<F, B, S> {}

impl<F, R, E, B, S> Future for HandlerFuture<F, B, S>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
{
    type Output = Result<FunctionResponse<ResponseBody<B>, ResponseStream<S>>, HandlerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(handler) = &mut this.handler {
            let polled = this.run.within(|| handler.as_mut().poll(cx));
            let outcome = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(result)) => {
                    // Its own panic, if dropping it panics, as without us.
                    let dropped = this.run.within(|| this.handler = None);
                    match dropped {
                        Ok(()) => Outcome::Returned(settle(&this.run, result)),
                        Err(panic) => Outcome::Panicked(panic),
                    }
                }
                Err(panic) => {
                    // The first panic is the one to tell.
                    let _ = this.run.within(|| this.handler = None);
                    Outcome::Panicked(panic)
                }
            };
            this.end(outcome);
        }
        if let Some(flush) = &mut this.flush {
            ready!(Pin::new(flush).poll(cx));
            this.flush = None;
        }
        match this.outcome.take() {
            Some(Outcome::Returned(result)) => Poll::Ready(result),
            Some(Outcome::Panicked(panic)) => resume_unwind(panic),
            // Polled after it was ready.
            None => Poll::Pending,
        }
    }
}

impl<F, B, S> Debug for HandlerFuture<F, B, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerFuture").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Notes how the handler ended, and passes it on.
fn settle<R, E, B, S>(
    run: &Run,
    result: Result<R, E>,
) -> Result<FunctionResponse<ResponseBody<B>, ResponseStream<S>>, HandlerError>
where
    E: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<B, S>,
    B: Serialize,
{
    let invocation = &run.invocation;
    let now = ids::now();
    match result {
        Ok(response) => Ok(match response.into_response() {
            FunctionResponse::BufferedResponse(body) => {
                let facts = invocation.wants_facts().then(|| status::of(&body));
                let body = ResponseBody::of(body, invocation, now);
                invocation.keep_response(|| body.to_json());
                invocation.answered(facts);
                invocation.capture_response(|| body.to_value());
                invocation.finished(now);
                FunctionResponse::BufferedResponse(body)
            }
            FunctionResponse::StreamingResponse(response) => {
                let StreamResponse { metadata_prelude, stream } = response;
                let status = metadata_prelude.status_code.as_u16().to_string();
                invocation.answered(Some(Facts { status, failed_items: None, execution: None }));
                let stream = ResponseStream::new(stream, run.clone());
                FunctionResponse::StreamingResponse(StreamResponse { metadata_prelude, stream })
            }
        }),
        Err(error) => {
            let causes = causes(&error);
            let error = HandlerError::of(error);
            invocation.failed(now, Failure::of_handler(&error.debug, &error.diagnostic, &causes));
            Err(error)
        }
    }
}

/// The handler's own error on its way to the runtime: the same `Debug` text, the same [`Diagnostic`].
pub struct HandlerError {
    debug: String,
    diagnostic: Diagnostic,
}

impl HandlerError {
    fn of<E: Into<Diagnostic> + Debug>(error: E) -> Self {
        Self { debug: format!("{error:?}"), diagnostic: error.into() }
    }
}

impl Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.debug)
    }
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        error.diagnostic
    }
}

/// Reads the event as `lambda_runtime` does, with the same words when it cannot.
fn deserialize<T: DeserializeOwned>(payload: &RawValue) -> Result<T, Diagnostic> {
    let json = &mut serde_json::Deserializer::from_str(payload.get());
    serde_path_to_error::deserialize(json).map_err(|error| {
        let what = "failed to deserialize the incoming data into the function's payload type";
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!("[{path}] ") };
        Diagnostic {
            error_type: "&lambda_runtime::deserializer::DeserializeError".to_owned(),
            error_message: format!("{what}: {place}{error}\n"),
        }
    })
}
