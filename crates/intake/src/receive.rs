//! The side that agents talk to: every path that the query API does not have.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::{Batch, Signal, UnixNanos};

use crate::body::Body;
use crate::decode::{self, Refused};
use crate::fault::{FaultKind, Faults};
use crate::other::Other;
use crate::rate::Rate;
use crate::request::RequestView;
use crate::serve::CloseConnection;
use crate::store::{Arrival, Store};
use crate::strict::{self, Kind, Sent};

/// Bytes of one request, packed. More than any Datadog intake takes.
const MAX_BODY_BYTES: usize = 32 << 20;
/// How long a request that is never answered is held at most.
const HANG_LIMIT: Duration = Duration::from_secs(900);
const API_KEY: &str = "dd-api-key";

#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) rate: Rate,
    /// Keys that are good; any, when there are none.
    pub(crate) keys: Arc<[String]>,
}

pub(crate) fn router(edge: Edge) -> Router {
    Router::new().fallback(receive).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(edge)
}

async fn receive(Shared(edge): Shared<Edge>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, now) = (parts.uri.path(), now());
    let body = match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        // Cut off by the sender, or beyond the limit.
        Err(why) => {
            let view = view(&parts.method, &parts.uri, &parts.headers, &[], now).answered(413);
            edge.store.record(Arrival::of(view.failed(format!("the body could not be read: {why}"))));
            return answer(StatusCode::PAYLOAD_TOO_LARGE, r#"{"errors":["Payload Too Large"]}"#);
        }
    };
    let kind = kind(&parts.method, path);
    let signal = match kind {
        Kind::Signal(signal) => Some(signal),
        Kind::Other(_) | Kind::Unknown => None,
    };
    let view = view(&parts.method, &parts.uri, &parts.headers, &body, now);
    let view = signal.into_iter().fold(view, RequestView::of);
    let fault = edge.faults.take(signal, path);
    match fault {
        Some(FaultKind::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(fault @ (FaultKind::Status(_) | FaultKind::Hang | FaultKind::Close)) => {
            return fail(fault, view, &edge.store).await;
        }
        Some(FaultKind::Cut | FaultKind::Refuse) | None => {}
    }
    let encoding = encoding(&parts.headers).to_owned();
    let plain = decode::unpack(&encoding, &body);
    let sent = Sent {
        kind,
        path,
        headers: &parts.headers,
        packed: body.len(),
        plain: plain.as_deref().map_err(|refused| refused.why.as_str()),
        now,
    };
    let violations = strict::check(&sent).of(path);
    let rate = edge.rate.take(path, now);
    let (mut response, view, batch) = if rate.is_some_and(|told| told.is_over) {
        let response = answer(StatusCode::TOO_MANY_REQUESTS, r#"{"errors":["Too many requests"]}"#);
        (response, view.answered(429).failed("more requests than the limit that was asked for"), None)
    } else {
        edge.take(&sent, view, &body, plain.as_deref().map_err(Refused::clone))
    };
    if let Some(told) = rate {
        told.write(response.headers_mut());
    }
    let body = Some(Body { encoding, packed: body });
    edge.store.record(Arrival { view, batch, body, violations });
    if fault == Some(FaultKind::Cut) { cut(response) } else { response }
}

/// What a request is for, by its method and path.
fn kind(method: &Method, path: &str) -> Kind {
    match (Other::find(method, path), decode::signal(path)) {
        (Some(other), _) => Kind::Other(other),
        (None, Some(signal)) if method == Method::POST => Kind::Signal(signal),
        _ => Kind::Unknown,
    }
}

type Taken = (Response, RequestView, Option<Batch>);

impl Edge {
    fn take(&self, sent: &Sent<'_>, view: RequestView, body: &[u8], plain: Result<&[u8], Refused>) -> Taken {
        if sent.kind == Kind::Unknown {
            return (answer(StatusCode::ACCEPTED, "{}"), view.answered(202).previewing(body), None);
        }
        if let Err((status, why)) = self.admit(sent) {
            let said = match (sent.kind, status) {
                (Kind::Signal(_), _) => r#"{"errors":["Forbidden: no DD-API-KEY"]}"#,
                _ => r#"{"errors":["Forbidden"]}"#,
            };
            return (answer(status, said), view.answered(status.as_u16()).failed(why), None);
        }
        let read = plain.and_then(|plain| Ok((read(sent, plain)?, plain.len())));
        match read {
            Ok((batch, size)) => {
                let (status, said) = taken(sent.kind);
                let view = RequestView { decoded_bytes: Some(size), ..view.answered(status.as_u16()) };
                let view = if batch.is_none() { view.previewing(body) } else { view };
                (answer(status, said), view, batch)
            }
            Err(Refused { status, why }) => {
                let view = RequestView { decoded_bytes: sent.plain.ok().map(<[u8]>::len), ..view };
                let view = view.previewing(sent.plain.unwrap_or(body));
                let said = serde_json::json!({ "errors": [why] }).to_string();
                (answer(status, said), view.answered(status.as_u16()).failed(why), None)
            }
        }
    }

    /// The key is there, and good.
    fn admit(&self, sent: &Sent<'_>) -> Result<(), (StatusCode, &'static str)> {
        let key = sent.headers.get(API_KEY).filter(|key| !key.is_empty());
        match (key, sent.kind) {
            (None, Kind::Other(other)) if other.has_key(sent.path) => Ok(()),
            (None, Kind::Signal(Signal::Logs)) => {
                Err((StatusCode::UNAUTHORIZED, "no API key: header DD-API-KEY"))
            }
            (None, _) => Err((StatusCode::FORBIDDEN, "no API key: header DD-API-KEY")),
            (Some(key), _) if !self.keys.is_empty() && !self.keys.iter().any(|good| key == good.as_str()) => {
                Err((StatusCode::FORBIDDEN, "an API key that is none of those that are good"))
            }
            _ => Ok(()),
        }
    }
}

/// What is in an unpacked body; nothing where it is kept as the request that it is.
fn read(sent: &Sent<'_>, plain: &[u8]) -> Result<Option<Batch>, Refused> {
    match sent.kind {
        Kind::Signal(signal) => decode::decode(signal, sent, plain).map(Some),
        Kind::Other(other) => {
            other.decode(plain).map_err(|why| Refused { status: StatusCode::BAD_REQUEST, why })
        }
        Kind::Unknown => Ok(None),
    }
}

/// Status and body of a request that was taken.
fn taken(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::Signal(Signal::Series | Signal::Sketches) => (StatusCode::ACCEPTED, r#"{"errors":[]}"#),
        Kind::Other(other) => other.taken(),
        Kind::Signal(_) | Kind::Unknown => (StatusCode::ACCEPTED, "{}"),
    }
}

/// Half of an answer: its length is told, and the connection ends before it.
fn cut(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("1000"));
    *response.body_mut() = axum::body::Body::new(Broken);
    response
}

/// A body that ends in the middle.
struct Broken;

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }
}

fn encoding(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"))
}

async fn fail(fault: FaultKind, view: RequestView, store: &Store) -> Response {
    match fault {
        FaultKind::Status(status) => {
            store.record(Arrival::of(view.answered(status).failed("a fault, as asked for: status")));
            answer(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "{}")
        }
        FaultKind::Close | FaultKind::Cut | FaultKind::Delay(_) | FaultKind::Refuse => {
            store.record(Arrival::of(view.failed("a fault, as asked for: connection closed")));
            close()
        }
        FaultKind::Hang => {
            store.record(Arrival::of(view.failed("a fault, as asked for: never answered")));
            tokio::time::sleep(HANG_LIMIT).await;
            close()
        }
    }
}

fn close() -> Response {
    let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
    response.extensions_mut().insert(CloseConnection);
    response
}

fn answer(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

fn now() -> UnixNanos {
    UnixNanos::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn view(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8], now: UnixNanos) -> RequestView {
    let view = RequestView::new(method.as_str(), uri.path(), headers, body, now);
    RequestView { query: uri.query().map(str::to_owned), ..view }
}
