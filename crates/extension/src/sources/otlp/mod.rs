//! OpenTelemetry's exporters in the function: traces, metrics and logs by OTLP, over HTTP here and over gRPC in
//! `grpc`. Only there when a setting names an endpoint. Requests are answered when they are taken and decoded
//! later, as those of tracers are.
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

#[cfg(feature = "grpc")]
pub(crate) mod frame;
#[cfg(feature = "grpc")]
pub(crate) mod grpc;
mod sketch;
mod state;
mod streams;

use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use engine::Dropped;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use payload::{DecompressError, Unpacker};
use tokio::task::yield_now;
use wire::otlp::{Cutter, DecodeError, Signal};

use crate::inbox::{Arrival, Inbox};
use crate::settings::Otlp as Settings;
use crate::sources::http::{Answer, Body, BodyError, Source, not_found, read_body};

pub(crate) use state::State;
pub(crate) use streams::{Histograms, Initial, Points};

/// Of a request, as sent and unpacked.
const MAX_BODY: usize = 20 << 20;
/// The same of one in JSON, which is read as a whole and is several times as large when it is read.
const MAX_JSON: usize = 4 << 20;
/// From this size on a request is taken apart.
const LARGE: u64 = 512 << 10;
/// Bytes that are taken apart before others get a turn.
const AT_ONCE: usize = 64 << 10;

/// What an exporter sent, as it came.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) signal: Signal,
    pub(crate) is_json: bool,
    /// Its `content-encoding`, empty for none.
    pub(crate) encoding: String,
    /// The sender computes statistics of its traces itself.
    pub(crate) computed_stats: bool,
    pub(crate) body: Bytes,
}

/// The source over HTTP.
pub(crate) struct Http {
    inbox: Rc<Inbox>,
    settings: Settings,
}

impl Http {
    pub(crate) fn new(inbox: Rc<Inbox>, settings: Settings) -> Self {
        Self { inbox, settings }
    }

    fn signal(&self, path: &str) -> Option<Signal> {
        let signal = match path {
            "/v1/traces" => Signal::Traces,
            "/v1/metrics" => Signal::Metrics,
            "/v1/logs" => Signal::Logs,
            _ => return None,
        };
        self.settings.takes(signal).then_some(signal)
    }
}

impl Source for Http {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let signal = self.signal(request.uri().path()).filter(|_| request.method() == Method::POST);
        let Some(signal) = signal else { return not_found() };
        let (head, body) = request.into_parts();
        let is_json = header(&head.headers, "content-type").starts_with("application/json");
        match self.take(signal, is_json, &head.headers, body).await {
            Ok(()) => said(is_json, StatusCode::OK, ""),
            Err(Refusal { status, why, is_broken }) => {
                // Who breaks off sends again.
                self.inbox.count(lost(signal), u64::from(!is_broken));
                said(is_json, status, &why)
            }
        }
    }
}

impl Http {
    async fn take(
        &self,
        signal: Signal,
        is_json: bool,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(), Refusal> {
        let encoding = header(headers, "content-encoding");
        let is_packed = !matches!(encoding, "" | "identity");
        let is_small = body.size_hint().exact().is_some_and(|bytes| bytes <= LARGE);
        let computed_stats = computes_stats(headers);
        let sent =
            |body| Arrival::Otlp(Sent { signal, is_json, encoding: String::new(), computed_stats, body });
        if !is_json && (is_packed || !is_small) {
            return self.take_apart(Plain::new(encoding, body, MAX_BODY)?, sent).await;
        }
        let body = match is_packed {
            true => self.unpacked(Plain::new(encoding, body, MAX_JSON)?).await?,
            false => read_body(body, MAX_JSON, &self.inbox).await?,
        };
        if !looks_whole(is_json, &body) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "the body is not whole, or no OTLP"));
        }
        match self.inbox.offer_data(sent(body)) {
            true => Ok(()),
            false => Err(BodyError::Busy.into()),
        }
    }

    async fn unpacked(&self, mut plain: Plain) -> Result<Bytes, Refusal> {
        let (mut room, mut whole) = (self.inbox.room(), BytesMut::new());
        while let Some(part) = plain.next().await? {
            if !room.hold(whole.len() + part.len()).await {
                return Err(plain.refuse(BodyError::Busy).await);
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// A large request is never here as a whole, nor what a packed one unpacks to. Should it break, what came before
    /// has been taken.
    async fn take_apart(&self, mut plain: Plain, sent: impl Fn(Bytes) -> Arrival) -> Result<(), Refusal> {
        let (mut cutter, mut room) = (Cutter::default(), self.inbox.room());
        while let Some(part) = plain.next().await? {
            for part in part.chunks(AT_ONCE) {
                if !room.hold(cutter.held() + part.len()).await {
                    return Err(plain.refuse(BodyError::Busy).await);
                }
                if let Err(why) = cutter.push(part) {
                    return Err(plain.refuse(why).await);
                }
                while let Some(piece) = cutter.piece() {
                    if !self.inbox.offer_piece(sent(piece.into())).await {
                        return Err(plain.refuse(BodyError::Busy).await);
                    }
                }
                // Others get their turn.
                yield_now().await;
            }
        }
        let Some(last) = cutter.finish()? else { return Ok(()) };
        match self.inbox.offer_piece(sent(last.into())).await {
            true => Ok(()),
            false => Err(BodyError::Busy.into()),
        }
    }
}

/// A request's body as it was before it was packed, part by part.
struct Plain {
    body: Body,
    unpacker: Option<Unpacker>,
    /// What came and is not unpacked.
    packed: Bytes,
}

impl Plain {
    fn new(encoding: &str, body: Incoming, max: usize) -> Result<Self, Refusal> {
        let unpacker = match encoding {
            "" | "identity" => None,
            packed => Some(Unpacker::new(packed, max)?),
        };
        Ok(Self { body: Body::new(body, max), unpacker, packed: Bytes::new() })
    }

    /// The next part; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(unpacker) = &mut self.unpacker else { return Ok(self.body.next().await?) };
        loop {
            let mut rest = &*self.packed;
            let made = unpacker.next(&mut rest).map(Bytes::copy_from_slice);
            let used = self.packed.len().saturating_sub(rest.len());
            self.packed.advance(used);
            match made {
                Ok(made) if !made.is_empty() => return Ok(Some(made)),
                // A packed part may have an end and a beginning in it.
                Ok(_) if used > 0 && !self.packed.is_empty() => continue,
                Ok(_) => {}
                Err(why) => return Err(self.refuse(why).await),
            }
            match self.body.next().await? {
                Some(data) => self.packed = data,
                None if unpacker.is_whole() => return Ok(None),
                None => return Err(DecompressError::Malformed.into()),
            }
        }
    }

    /// Reads on, so that the client comes to read why.
    async fn refuse(&mut self, why: impl Into<Refusal>) -> Refusal {
        self.body.refuse(BodyError::Broken).await;
        why.into()
    }
}

/// Why a request was not taken.
struct Refusal {
    status: StatusCode,
    why: String,
    /// It broke off.
    is_broken: bool,
}

impl Refusal {
    fn new(status: StatusCode, why: impl ToString) -> Self {
        Self { status, why: why.to_string(), is_broken: false }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let why = match error {
            BodyError::TooLarge => "the body is larger than is taken",
            BodyError::Busy => "too much at once",
            BodyError::Broken => "the body is incomplete",
        };
        let is_broken = error == BodyError::Broken;
        Self { status: error.answer().status(), why: why.to_owned(), is_broken }
    }
}

impl From<DecompressError> for Refusal {
    fn from(error: DecompressError) -> Self {
        let status = match error {
            DecompressError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            DecompressError::UnknownEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            DecompressError::Malformed => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let status = match error {
            DecodeError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            DecodeError::Protobuf(_) | DecodeError::Json => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error)
    }
}

/// Counted as, when it is not taken.
fn lost(signal: Signal) -> Dropped {
    match signal {
        Signal::Traces => Dropped::Spans,
        Signal::Metrics => Dropped::Metrics,
        Signal::Logs => Dropped::Logs,
    }
}

/// What can be seen without decoding.
fn looks_whole(is_json: bool, body: &[u8]) -> bool {
    if is_json {
        return body.trim_ascii().first() == Some(&b'{') && body.trim_ascii().last() == Some(&b'}');
    }
    wire::otlp::is_whole(body)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn computes_stats(headers: &HeaderMap) -> bool {
    !["", "0", "f", "F", "false", "False", "FALSE"]
        .contains(&header(headers, "datadog-client-computed-stats"))
}

/// An answer in the encoding of the request; without words it is a success.
fn said(is_json: bool, status: StatusCode, words: &str) -> Answer {
    let (kind, body) = match (is_json, words) {
        (true, "") => ("application/json", b"{}".to_vec()),
        (true, words) => {
            ("application/json", serde_json::json!({ "message": words }).to_string().into_bytes())
        }
        (false, words) => ("application/x-protobuf", wire::otlp::status(words)),
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
