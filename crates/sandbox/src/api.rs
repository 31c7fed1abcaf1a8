//! The API of a sandbox's own processes: Runtime, Extensions and Telemetry API on one port. Reads requests into
//! facts and writes replies; decides nothing.

mod extension;
mod pace;
mod runtime;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post, put};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, StatusCode};
use platform::{CallId, Input, Mode, Refusal, Reply};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::driver::Message;
use crate::environment::CREDENTIALS;
use crate::telemetry::Subscription;
use pace::Pace;
pub use pace::StreamLimit;

/// What every handler needs.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    inbox: mpsc::Sender<Message>,
    calls: Arc<AtomicU64>,
    about: Arc<About>,
    clock: Clock,
}

/// What the API tells about the function.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) mode: Mode,
    /// The Extensions API does not answer.
    pub(crate) extensions_off: bool,
    pub(crate) function_name: String,
    pub(crate) function_version: String,
    pub(crate) handler: String,
    pub(crate) account: String,
    pub(crate) stream_limit: Option<StreamLimit>,
}

impl Api {
    pub(crate) fn new(inbox: mpsc::Sender<Message>, about: About, clock: Clock) -> Self {
        Self { inbox, calls: Arc::default(), about: Arc::new(about), clock }
    }

    pub(crate) fn router(self) -> Router {
        let extensions = match self.about.extensions_off {
            true => Router::new(),
            false => Router::new()
                .route("/2020-01-01/extension/register", post(extension::register))
                .route("/2020-01-01/extension/event/next", get(extension::next))
                .route("/2020-01-01/extension/init/error", post(extension::init_error))
                .route("/2020-01-01/extension/exit/error", post(extension::exit_error)),
        };
        Router::new()
            .merge(extensions)
            .route("/2018-06-01/ping", get(|| async { "pong" }))
            .route("/2018-06-01/runtime/invocation/next", get(runtime::next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(runtime::response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(runtime::error))
            .route("/2018-06-01/runtime/init/error", post(runtime::init_error))
            .route("/2018-06-01/runtime/restore/next", get(runtime::restore_next))
            .route("/2018-06-01/runtime/restore/error", post(runtime::restore_error))
            .route(CREDENTIALS, get(runtime::credentials))
            .route("/2022-07-01/telemetry", put(extension::subscribe))
            .route("/2020-08-15/logs", put(extension::logs))
            .with_state(self)
    }

    /// Tells the driver and waits for its reply, which may be long in coming: next calls have no limit.
    async fn call(&self, input: impl FnOnce(CallId) -> Input) -> Reply {
        self.call_with(None, input).await
    }

    async fn call_with(
        &self,
        subscription: Option<Subscription>,
        input: impl FnOnce(CallId) -> Input,
    ) -> Reply {
        let call = CallId(self.calls.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let message = Message::Call { call, input: input(call), subscription, reply };
        let gone = Reply::Refused(Refusal::internal());
        if self.inbox.send(message).await.is_err() {
            return gone;
        }
        answer.await.unwrap_or(gone)
    }

    /// Where a streamed response goes part by part; `None` when the caller wants it whole.
    async fn stream(&self, request_id: &str) -> Option<mpsc::Sender<Bytes>> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Stream { request_id: request_id.to_owned(), reply };
        self.inbox.send(message).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// A request body.
pub(crate) enum Read {
    Whole(Bytes, Option<HeaderMap>),
    /// How long it was.
    TooLarge(u64),
    Truncated,
}

/// Reads a body up to a limit; what is over it is counted, not held.
pub(crate) async fn read(body: Body, limit: usize) -> Read {
    let mut target = Target::Buffer(BytesMut::new());
    match pass(body, limit, &mut target).await {
        Passed::Whole(_, trailers) => Read::Whole(target.into_bytes(), trailers),
        Passed::TooLarge(length) => Read::TooLarge(length),
        Passed::Truncated => Read::Truncated,
    }
}

/// Where a body goes.
pub(crate) enum Target {
    Buffer(BytesMut),
    Caller(mpsc::Sender<Bytes>, Option<Pace>),
}

impl Target {
    async fn take(&mut self, part: Bytes) {
        match self {
            Self::Buffer(held) => held.extend_from_slice(&part),
            Self::Caller(sink, pace) => {
                let arrival = pace.as_mut().and_then(|pace| pace.arrival(Instant::now(), part.len()));
                if let Some(arrival) = arrival {
                    sleep_until(arrival).await;
                }
                // A caller that went away does not stop the function.
                drop(sink.send(part).await);
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Buffer(held) => held.freeze(),
            Self::Caller(..) => Bytes::new(),
        }
    }
}

/// What became of a body that was passed on.
pub(crate) enum Passed {
    Whole(u64, Option<HeaderMap>),
    TooLarge(u64),
    Truncated,
}

/// Passes a body on as it comes, up to a limit; what is over it is counted only.
pub(crate) async fn pass(mut body: Body, limit: usize, target: &mut Target) -> Passed {
    let (mut length, mut trailers) = (0_u64, None);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Passed::Truncated };
        match frame.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                if length <= limit as u64 {
                    target.take(data).await;
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if length > limit as u64 { Passed::TooLarge(length) } else { Passed::Whole(length, trailers) }
}

pub(crate) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, "content-type", "application/json");
    response
}

/// Sets a header, unless the value cannot be one.
pub(crate) fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

fn accepted() -> Response {
    json(StatusCode::ACCEPTED, "{\"status\":\"OK\"}\n")
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body =
        wire::extensions::ErrorBody { message: refusal.message.clone(), kind: refusal.error_type.into() };
    json(status, body.encode())
}

/// What a call gets if the reply is none of those that its handler knows.
fn other(reply: &Reply) -> Response {
    match reply {
        Reply::Accepted => accepted(),
        Reply::Refused(refusal) => refused(refusal),
        _ => refused(&Refusal::internal()),
    }
}
