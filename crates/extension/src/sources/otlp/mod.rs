//! OpenTelemetry's exporters in the function: traces, metrics and logs by OTLP, over HTTP here and over gRPC in
//! `grpc`. Only there when a setting names an endpoint. Requests are answered when they are taken and decoded
//! later, as those of tracers are.
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

#[cfg(feature = "grpc")]
pub(crate) mod grpc;
mod sketch;
mod state;
mod streams;

use std::rc::Rc;

use bytes::Bytes;
use engine::Dropped;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use wire::otlp::Signal;

use crate::inbox::{Arrival, Inbox};
use crate::settings::Otlp as Settings;
use crate::sources::http::{Answer, BodyError, Source, not_found, read_body};

pub(crate) use state::State;
pub(crate) use streams::{Histograms, Initial, Points};

/// Of a request, as sent and unpacked.
const MAX_BODY: usize = 20 << 20;

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
        let encoding = header(&head.headers, "content-encoding").to_owned();
        let body = match read_body(body, MAX_BODY, &self.inbox).await {
            Ok(body) => body,
            Err(error) => {
                if error != BodyError::Broken {
                    self.inbox.count(lost(signal), 1);
                }
                let answer = error.answer();
                return said(is_json, answer.status(), "the body was not taken");
            }
        };
        if !looks_whole(is_json, &encoding, &body) {
            self.inbox.count(lost(signal), 1);
            return said(is_json, StatusCode::BAD_REQUEST, "the body is not whole, or no OTLP");
        }
        let computed_stats = computes_stats(&head.headers);
        let sent = Sent { signal, is_json, encoding, computed_stats, body };
        if self.inbox.offer_data(Arrival::Otlp(sent)) {
            return said(is_json, StatusCode::OK, "");
        }
        self.inbox.count(lost(signal), 1);
        said(is_json, StatusCode::TOO_MANY_REQUESTS, "too much at once")
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
fn looks_whole(is_json: bool, encoding: &str, body: &[u8]) -> bool {
    if !matches!(encoding, "" | "identity") {
        return !body.is_empty();
    }
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
