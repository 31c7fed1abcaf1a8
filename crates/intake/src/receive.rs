//! The side that agents talk to: every path that the query API does not have.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::{Batch, Signal, UnixNanos};

use crate::body::Body;
use crate::decode;
use crate::fault::{FaultKind, Faults};
use crate::other::Other;
use crate::request::RequestView;
use crate::serve::CloseConnection;
use crate::store::Store;

/// Bytes of one request, packed. More than any Datadog intake takes.
const MAX_BODY_BYTES: usize = 32 << 20;
/// How long a request that is never answered is held at most.
const HANG_LIMIT: Duration = Duration::from_secs(900);
const API_KEY: &str = "dd-api-key";

#[derive(Clone, Debug)]
struct Intake {
    store: Store,
    faults: Faults,
}

pub(crate) fn router(store: Store, faults: Faults) -> Router {
    Router::new()
        .fallback(receive)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Intake { store, faults })
}

async fn receive(Shared(context): Shared<Intake>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        // Cut off by the sender, or beyond the limit.
        Err(why) => {
            let view = view(&parts.method, &parts.uri, &parts.headers, &[]).answered(413);
            context.store.record(view.failed(format!("the body could not be read: {why}")), None, None);
            return answer(StatusCode::PAYLOAD_TOO_LARGE, r#"{"errors":["Payload Too Large"]}"#);
        }
    };
    let signal = (parts.method == Method::POST).then(|| decode::signal(parts.uri.path())).flatten();
    let view = view(&parts.method, &parts.uri, &parts.headers, &body);
    let view = match signal {
        Some(signal) => view.of(signal),
        None => view,
    };
    let fault = context.faults.take(signal, parts.uri.path());
    match fault {
        Some(FaultKind::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(fault @ (FaultKind::Status(_) | FaultKind::Hang | FaultKind::Close)) => {
            return fail(fault, view, &context.store).await;
        }
        Some(FaultKind::Cut) | None => {}
    }
    let (response, view, batch) = match Other::find(&parts.method, parts.uri.path()) {
        Some(other) => take_other(other, view, &parts.headers, &body),
        None => take(signal, view, &parts.headers, &body),
    };
    let encoding = encoding(&parts.headers).to_owned();
    context.store.record(view, batch, Some(Body { encoding, packed: body }));
    if fault == Some(FaultKind::Cut) { cut(response) } else { response }
}

fn take_other(other: Other, view: RequestView, headers: &HeaderMap, body: &Bytes) -> Taken {
    let no_key = headers.get(API_KEY).is_none_or(header::HeaderValue::is_empty);
    if no_key && !other.has_key(&view.path) {
        let view = view.answered(403).failed("no API key: header DD-API-KEY");
        return (answer(StatusCode::FORBIDDEN, r#"{"errors":["Forbidden"]}"#), view, None);
    }
    let plain = decode::unpack(encoding(headers), body);
    let read = plain.map_err(|refused| (refused.status, refused.why)).and_then(|plain| {
        let batch = other.decode(&plain).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        Ok((batch, plain.len()))
    });
    match read {
        Ok((batch, size)) => {
            let (status, said) = other.taken();
            let view = RequestView { decoded_bytes: Some(size), ..view.answered(status) };
            let view = if batch.is_none() { view.previewing(body) } else { view };
            (answer(StatusCode::from_u16(status).unwrap_or(StatusCode::ACCEPTED), said), view, batch)
        }
        Err((status, why)) => {
            let said = serde_json::json!({ "errors": [why] }).to_string();
            (answer(status, said), view.previewing(body).answered(status.as_u16()).failed(why), None)
        }
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

type Taken = (Response, RequestView, Option<Batch>);

fn take(signal: Option<Signal>, view: RequestView, headers: &HeaderMap, body: &Bytes) -> Taken {
    let Some(signal) = signal else {
        let response = answer(StatusCode::ACCEPTED, "{}");
        return (response, view.answered(202).previewing(body), None);
    };
    if headers.get(API_KEY).is_none_or(header::HeaderValue::is_empty) {
        let status = match signal {
            Signal::Logs => StatusCode::UNAUTHORIZED,
            _ => StatusCode::FORBIDDEN,
        };
        let response = answer(status, r#"{"errors":["Forbidden: no DD-API-KEY"]}"#);
        return (response, view.answered(status.as_u16()).failed("no API key: header DD-API-KEY"), None);
    }
    match decode::decode(signal, encoding(headers), body) {
        Ok((batch, size)) => {
            let view = RequestView { decoded_bytes: Some(size), ..view.answered(202) };
            let said = match signal {
                Signal::Series | Signal::Sketches => r#"{"errors":[]}"#,
                _ => "{}",
            };
            (answer(StatusCode::ACCEPTED, said), view, Some(batch))
        }
        Err(decode::Refused { status, why, plain }) => {
            let view = RequestView { decoded_bytes: plain.as_ref().map(Vec::len), ..view };
            let view = view.previewing(plain.as_deref().unwrap_or(body));
            let body = serde_json::json!({ "errors": [why] }).to_string();
            (answer(status, body), view.answered(status.as_u16()).failed(why), None)
        }
    }
}

fn encoding(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"))
}

async fn fail(fault: FaultKind, view: RequestView, store: &Store) -> Response {
    match fault {
        FaultKind::Status(status) => {
            store.record(view.answered(status).failed("a fault, as asked for: status"), None, None);
            answer(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "{}")
        }
        FaultKind::Close | FaultKind::Cut | FaultKind::Delay(_) => {
            store.record(view.failed("a fault, as asked for: connection closed"), None, None);
            close()
        }
        FaultKind::Hang => {
            store.record(view.failed("a fault, as asked for: never answered"), None, None);
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

fn view(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> RequestView {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let view = RequestView::new(method.as_str(), uri.path(), headers, body, UnixNanos::default() + since);
    RequestView { query: uri.query().map(str::to_owned), ..view }
}
