//! The trace agent's endpoints, for tracers in the function.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use engine::{Dropped, Input};
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, Request, StatusCode};
use model::{Text, TracerInfo};
use wire::v04::{Cutter, DecodeError, Decoded};

use crate::config::Config;
use crate::inbox::{Arrival, Inbox, Protocol, Sent};
use crate::log::{self, Level};
use crate::sources::forward;
use crate::sources::http::{Answer, Body, BodyError, Source, json, not_found, read_body, read_held};
use crate::sources::stats::Defaults;

/// As in the agent.
const MAX_BODY: usize = 50 << 20;
/// Of the protocols whose bodies cannot be taken apart while they come, and of packed ones, unpacked.
const MAX_WHOLE: usize = 16 << 20;
/// From this size on a body is taken apart.
const LARGE: usize = 512 << 10;
/// Of statistics, and of what is passed on: the agent's bound for the latter.
const MAX_FORWARD: usize = 10 << 20;

/// What tracers ask before they choose how to send. `client_drop_p0s` is off, and with it the statistics that
/// they would compute themselves: the extension keeps all that it gets.
const INFO: &str = concat!(
    r#"{"version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","endpoints":["/v0.4/traces","/v0.5/traces","/v0.7/traces","/v1.0/traces","/v0.6/stats","/v0.1/pipeline_stats","/info","#,
    r#""/profiling/v1/input","/debugger/v1/input","/debugger/v1/diagnostics","/debugger/v2/input","#,
    r#""/telemetry/proxy/","/evp_proxy/v1/","/evp_proxy/v2/","/evp_proxy/v3/","/evp_proxy/v4/"],"#,
    r#""client_drop_p0s":false,"#,
    r#""span_meta_structs":true,"span_events":true,"long_running_spans":false,"feature_flags":[],"config":{}}"#
);

pub(crate) struct Traces {
    inbox: Rc<Inbox>,
    defaults: Defaults,
    /// Tells an intake whose a request is that was passed on.
    tags: String,
}

impl Traces {
    pub(crate) fn new(inbox: Rc<Inbox>, config: &Config, function: &str) -> Self {
        let tags = format!("_dd.origin:lambda;functionname:{function}");
        Self { inbox, defaults: Defaults::new(config), tags }
    }
}

impl Source for Traces {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match (request.uri().path(), request.method()) {
            ("/v0.4/traces", &Method::PUT | &Method::POST) => self.take(Protocol::V04, request).await,
            ("/v0.5/traces", &Method::PUT | &Method::POST) => self.take(Protocol::V05, request).await,
            ("/v0.7/traces", &Method::PUT | &Method::POST) => self.take(Protocol::V07, request).await,
            ("/v1.0/traces", &Method::PUT | &Method::POST) => self.take(Protocol::V1, request).await,
            ("/v0.6/stats", &Method::PUT | &Method::POST) => self.take_stats(request).await,
            ("/info", _) => json(StatusCode::OK, Bytes::from_static(INFO.as_bytes())),
            (_, &Method::POST | &Method::PUT) => self.pass_on(request).await,
            _ => not_found(),
        }
    }
}

impl Traces {
    /// Answers when the body is there; it is decoded later.
    async fn take(&self, protocol: Protocol, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let tracer = tracer(&head.headers);
        let encoding = header(&head.headers, "content-encoding").to_owned();
        let is_cut = protocol == Protocol::V04 && matches!(&*encoding, "" | "identity");
        let announced_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let is_chunked = body.size_hint().exact().is_none();
        let taken = if is_cut && (announced_bytes > LARGE || is_chunked) {
            self.take_apart(tracer, body).await
        } else {
            self.take_whole(Sent { protocol, tracer, encoding, body: Bytes::new() }, body).await
        };
        let refusal = match taken {
            Ok(()) => return json(StatusCode::OK, Bytes::from_static(br#"{"rate_by_service":{}}"#)),
            // The tracer sees it fail and may send it again.
            Err(Refusal::Body(BodyError::Broken)) => return BodyError::Broken.answer(),
            Err(Refusal::Body(error)) => error.answer(),
            Err(Refusal::Malformed(why)) => {
                let status = match why {
                    DecodeError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                json(status, serde_json::json!({ "error": why.to_string() }).to_string())
            }
        };
        self.inbox.count(Dropped::Spans, announced(&head.headers));
        refusal
    }

    async fn take_whole(&self, sent: Sent, body: Incoming) -> Result<(), Refusal> {
        let (body, _room) = read_held(body, MAX_WHOLE, &self.inbox).await?;
        match self.inbox.offer_patiently(Arrival::Traces(Sent { body, ..sent })).await {
            true => Ok(()),
            false => Err(BodyError::Busy.into()),
        }
    }

    /// A large body is never here as a whole. Should it break, what came before has been taken: the tracer
    /// sends all of it again, and spans that are known are left out.
    async fn take_apart(&self, tracer: TracerInfo, body: Incoming) -> Result<(), Refusal> {
        let (mut body, mut cutter, mut room) =
            (Body::new(body, MAX_BODY), Cutter::default(), self.inbox.room());
        while let Some(data) = body.next().await? {
            if !room.hold(cutter.held() + data.len()).await {
                return Err(body.refuse(BodyError::Busy).await.into());
            }
            cutter.push(&data);
            loop {
                match cutter.piece() {
                    Ok(None) => break,
                    Ok(Some(piece)) => {
                        if !self.take_piece(&tracer, piece).await {
                            return Err(body.refuse(BodyError::Busy).await.into());
                        }
                    }
                    Err(why) => {
                        body.refuse(BodyError::Broken).await;
                        return Err(Refusal::Malformed(why));
                    }
                }
            }
        }
        let Some(last) = cutter.finish().map_err(Refusal::Malformed)? else { return Ok(()) };
        if self.take_piece(&tracer, last).await { Ok(()) } else { Err(BodyError::Busy.into()) }
    }

    async fn take_piece(&self, tracer: &TracerInfo, piece: Vec<u8>) -> bool {
        let (tracer, body) = (tracer.clone(), Bytes::from(piece));
        let sent = Sent { protocol: Protocol::V04, tracer, encoding: String::new(), body };
        self.inbox.offer_patiently(Arrival::Traces(sent)).await
    }
}

/// Why a request with traces was not taken.
enum Refusal {
    Body(BodyError),
    Malformed(DecodeError),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl Traces {
    async fn take_stats(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let refusal = match read_body(body, MAX_FORWARD, &self.inbox).await {
            Ok(body) => match self.defaults.complete(&tracer(&head.headers), &body) {
                Ok(None) => return accepted(),
                Ok(Some(stats)) => {
                    if self.inbox.offer_data(Arrival::Stats(stats)) {
                        return accepted();
                    }
                    BodyError::Busy.answer()
                }
                Err(why) => json(StatusCode::BAD_REQUEST, serde_json::json!({ "error": why }).to_string()),
            },
            Err(BodyError::Broken) => return BodyError::Broken.answer(),
            Err(error) => error.answer(),
        };
        self.inbox.count(Dropped::Stats, 1);
        refusal
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Some(to) = forward::route(&head) else { return not_found() };
        let refusal = match read_body(body, MAX_FORWARD, &self.inbox).await {
            Ok(body) => {
                let forward = forward::forward(&head, to, &self.tags, body);
                if self.inbox.offer_data(Arrival::Forward(Box::new(forward))) {
                    return accepted();
                }
                BodyError::Busy
            }
            Err(BodyError::Broken) => return BodyError::Broken.answer(),
            Err(error) => error,
        };
        self.inbox.count(Dropped::Forwards, 1);
        refusal.answer()
    }
}

fn accepted() -> Answer {
    json(StatusCode::ACCEPTED, Bytes::from_static(b"{}"))
}

/// Traces that a tracer says are in its request; at least one.
fn announced(headers: &HeaderMap) -> u64 {
    header(headers, "x-datadog-trace-count").parse().unwrap_or(1).max(1)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn tracer(headers: &HeaderMap) -> TracerInfo {
    let text = |name| header(headers, name).to_owned().into();
    // As the agent reads them: whatever is not a way to say no is yes.
    let flag = |name| !["", "0", "f", "F", "false", "False", "FALSE"].contains(&header(headers, name));
    TracerInfo {
        language: text("datadog-meta-lang"),
        language_version: text("datadog-meta-lang-version"),
        tracer_version: text("datadog-meta-tracer-version"),
        container_id: text("datadog-container-id"),
        computed_top_level: flag("datadog-client-computed-top-level"),
        computed_stats: flag("datadog-client-computed-stats"),
    }
}

/// Reads a body; what cannot be read is counted.
pub(crate) fn decode(sent: Sent, inbox: &Inbox) -> Option<Input> {
    let Sent { protocol, tracer, encoding, body } = sent;
    match read(protocol, &encoding, &body) {
        Ok((said, decoded)) => {
            inbox.count(Dropped::Spans, decoded.dropped_spans);
            let tracer = merged(tracer, said);
            (!decoded.chunks.is_empty()).then_some(Input::Traces { tracer, chunks: decoded.chunks })
        }
        Err(why) => {
            inbox.count(Dropped::Spans, 1);
            let (bytes, language) = (body.len(), &tracer.language);
            log::seldom(
                Level::Warn,
                "traces",
                format_args!(
                    "a request with traces ({protocol:?}) could not be read: {why} ({bytes} bytes, {language})"
                ),
            );
            None
        }
    }
}

/// What headers say of a tracer, and where they say nothing, its body.
fn merged(headers: TracerInfo, body: TracerInfo) -> TracerInfo {
    let first = |header: Text, body: Text| if header.is_empty() { body } else { header };
    TracerInfo {
        language: first(headers.language, body.language),
        language_version: first(headers.language_version, body.language_version),
        tracer_version: first(headers.tracer_version, body.tracer_version),
        container_id: first(headers.container_id, body.container_id),
        ..headers
    }
}

/// Gives the spans, and what the body itself says of the tracer.
fn read(protocol: Protocol, encoding: &str, body: &[u8]) -> Result<(TracerInfo, Decoded), String> {
    let plain = match encoding {
        "" | "identity" => Cow::Borrowed(body),
        _ => Cow::Owned(payload::decompress(body, encoding, MAX_WHOLE).map_err(|error| error.to_string())?),
    };
    let plain_spans = |decoded| (TracerInfo::default(), decoded);
    match protocol {
        Protocol::V04 => wire::v04::decode(&plain).map(plain_spans),
        Protocol::V05 => wire::v05::decode(&plain).map(plain_spans),
        Protocol::V07 => wire::v07::decode(&plain).map(|payload| (payload.tracer, payload.decoded)),
        Protocol::V1 => wire::v1::decode(&plain).map(|payload| (payload.tracer, payload.decoded)),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_is_read_from_headers() {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &'static str| headers.insert(name, value.parse().unwrap());
        put("datadog-meta-lang", "rust");
        put("datadog-client-computed-top-level", "yes");
        put("datadog-client-computed-stats", "false");
        put("x-datadog-trace-count", "3");
        let info = tracer(&headers);
        assert_eq!((&*info.language, &*info.tracer_version), ("rust", ""));
        assert_eq!((info.computed_top_level, info.computed_stats), (true, false));
        assert_eq!(announced(&headers), 3);
        assert_eq!(announced(&HeaderMap::new()), 1);
    }

    #[test]
    fn info_is_json() {
        let info: serde_json::Value = serde_json::from_str(INFO).unwrap();
        let endpoints: Vec<_> =
            info["endpoints"].as_array().unwrap().iter().filter_map(|e| e.as_str()).collect();
        let traces = ["/v0.4/traces", "/v0.5/traces", "/v0.7/traces", "/v1.0/traces", "/v0.6/stats"];
        assert_eq!(endpoints.get(..traces.len()), Some(&traces[..]));
    }
}
