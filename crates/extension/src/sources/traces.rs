//! The trace agent's endpoints, for tracers in the function.

use std::rc::Rc;

use bytes::Bytes;
use engine::{Dropped, Input};
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Method, Request, StatusCode};
use model::{Text, TracerInfo};
use payload::{DecompressError, Unpacker};
use tokio::task::yield_now;
use wire::cut::{Cutter, Version};
use wire::v04::DecodeError;

use crate::config::Config;
use crate::inbox::{Arrival, Inbox, Room, Sent};
use crate::log::{self, Level};
use crate::sources::forward;
use crate::sources::http::{Answer, Body, BodyError, Source, json, not_found, read_body, read_held};
use crate::sources::stats::Defaults;

/// As in the agent, packed and unpacked.
const MAX_BODY: usize = 50 << 20;
/// From this size on a body is taken apart.
const LARGE: usize = 512 << 10;
/// Bytes that are taken apart before others get a turn.
const AT_ONCE: usize = 64 << 10;
/// Of statistics, and of what is passed on: the agent's bound for the latter.
const MAX_FORWARD: usize = 10 << 20;
/// Of lines of DogStatsD: far more than a datagram, which is what tracers put into a request.
const MAX_METRICS: usize = 1 << 20;

/// What tracers ask before they choose how to send. `client_drop_p0s` is off, and with it the statistics that
/// they would compute themselves: the extension keeps all that it gets.
const INFO: &str = concat!(
    r#"{"version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","endpoints":["/v0.4/traces","/v0.5/traces","/v0.7/traces","/v1.0/traces","/v0.6/stats","/v0.1/pipeline_stats","/info","#,
    r#""/profiling/v1/input","/debugger/v1/input","/debugger/v1/diagnostics","/debugger/v2/input","/symdb/v1/input","#,
    r#""/telemetry/proxy/","/dogstatsd/v2/proxy","/evp_proxy/v1/","/evp_proxy/v2/","/evp_proxy/v3/","/evp_proxy/v4/"],"#,
    r#""client_drop_p0s":false,"#,
    r#""span_meta_structs":true,"span_events":true,"long_running_spans":false,"feature_flags":[],"config":{}"#
);

/// With what a tracer that computes statistics all the same has to count them by.
fn info() -> String {
    let list = |all: &[&str]| format!(r#"["{}"]"#, all.join(r#"",""#));
    let (tags, kinds) = (list(&engine::PEER_TAGS), list(&engine::COUNTED_KINDS));
    format!(r#"{INFO},"peer_tags":{tags},"span_kinds_stats_computed":{kinds}}}"#)
}

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
            ("/v0.4/traces", &Method::PUT | &Method::POST) => self.take(Version::V04, request).await,
            ("/v0.5/traces", &Method::PUT | &Method::POST) => self.take(Version::V05, request).await,
            ("/v0.7/traces", &Method::PUT | &Method::POST) => self.take(Version::V07, request).await,
            ("/v1.0/traces", &Method::PUT | &Method::POST) => self.take(Version::V1, request).await,
            ("/v0.6/stats", &Method::PUT | &Method::POST) => self.take_stats(request).await,
            ("/dogstatsd/v2/proxy", &Method::POST) => self.take_metrics(request).await,
            ("/info", _) => json(StatusCode::OK, info()),
            (_, &Method::POST | &Method::PUT) => self.pass_on(request).await,
            _ => not_found(),
        }
    }
}

impl Traces {
    /// Answers when the body is there; it is decoded later.
    async fn take(&self, version: Version, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let tracer = tracer(&head.headers);
        let encoding = header(&head.headers, "content-encoding");
        let announced_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let is_chunked = body.size_hint().exact().is_none();
        let is_packed = !matches!(encoding, "" | "identity");
        let taken = if is_packed || announced_bytes > LARGE || is_chunked {
            self.take_apart(version, tracer, encoding, body).await
        } else {
            self.take_whole(version, tracer, body).await
        };
        let refusal = match taken {
            Ok(()) => return json(StatusCode::OK, Bytes::from_static(br#"{"rate_by_service":{}}"#)),
            // The tracer sees it fail and may send it again.
            Err(Refusal::Body(BodyError::Broken)) => return BodyError::Broken.answer(),
            Err(refusal) => refusal.answer(),
        };
        self.inbox.count(Dropped::Spans, announced(&head.headers));
        refusal
    }

    async fn take_whole(&self, version: Version, tracer: TracerInfo, body: Incoming) -> Result<(), Refusal> {
        let (body, _room) = read_held(body, LARGE, &self.inbox).await?;
        match self.inbox.offer_patiently(Arrival::Traces(Sent { version, tracer, body })).await {
            true => Ok(()),
            false => Err(BodyError::Busy.into()),
        }
    }

    /// A large body is never here as a whole, nor what a packed one unpacks to. Should it break, what came before has
    /// been taken: the tracer sends all of it again, and spans that are known are left out.
    async fn take_apart(
        &self,
        version: Version,
        tracer: TracerInfo,
        encoding: &str,
        body: Incoming,
    ) -> Result<(), Refusal> {
        let mut body = Body::new(body, MAX_BODY);
        let mut unpacker = match encoding {
            "" | "identity" => None,
            packed => match Unpacker::new(packed, MAX_BODY) {
                Ok(unpacker) => Some(unpacker),
                Err(why) => return Err(body.refuse_as(why.into()).await),
            },
        };
        let mut cutting = Cutting::new(version, tracer, &self.inbox);
        while let Some(data) = body.next().await? {
            let taken = match &mut unpacker {
                None => cutting.push(&data).await,
                Some(unpacker) => cutting.push_packed(unpacker, &data).await,
            };
            if let Err(refusal) = taken {
                return Err(body.refuse_as(refusal).await);
            }
        }
        if unpacker.is_some_and(|unpacker| !unpacker.is_whole()) {
            return Err(DecompressError::Malformed.into());
        }
        cutting.finish().await
    }
}

/// A body that is taken apart while it comes.
struct Cutting<'a> {
    inbox: &'a Inbox,
    tracer: TracerInfo,
    cutter: Cutter,
    room: Room<'a>,
    texts: Room<'a>,
}

impl<'a> Cutting<'a> {
    fn new(version: Version, tracer: TracerInfo, inbox: &'a Inbox) -> Self {
        let cutter = Cutter::new(version, inbox.texts_limit());
        Self { inbox, tracer, cutter, room: inbox.room(), texts: inbox.room_for_texts() }
    }

    async fn push_packed(&mut self, unpacker: &mut Unpacker, mut packed: &[u8]) -> Result<(), Refusal> {
        loop {
            let before = packed.len();
            let part = unpacker.next(&mut packed)?;
            if part.is_empty() && (packed.is_empty() || packed.len() == before) {
                return Ok(());
            }
            self.push(part).await?;
        }
    }

    /// Takes what came, and gives others their turn in between.
    async fn push(&mut self, data: &[u8]) -> Result<(), Refusal> {
        for part in data.chunks(AT_ONCE) {
            if !self.room.hold(self.cutter.held() + part.len()).await {
                return Err(BodyError::Busy.into());
            }
            self.cutter.push(part);
            while let Some(piece) = self.cutter.piece()? {
                self.take(piece).await?;
            }
            self.inbox.count(Dropped::Spans, self.cutter.take_dropped());
            if !self.texts.hold(self.cutter.texts()).await {
                return Err(BodyError::Busy.into());
            }
            yield_now().await;
        }
        Ok(())
    }

    async fn take(&self, piece: Vec<u8>) -> Result<(), Refusal> {
        let tracer = merged(self.tracer.clone(), self.cutter.tracer());
        let sent = Sent { version: Version::V04, tracer, body: Bytes::from(piece) };
        let is_taken = self.inbox.offer_piece(Arrival::Traces(sent)).await;
        if is_taken { Ok(()) } else { Err(BodyError::Busy.into()) }
    }

    async fn finish(mut self) -> Result<(), Refusal> {
        for piece in self.cutter.finish()? {
            self.take(piece).await?;
        }
        self.inbox.count(Dropped::Spans, self.cutter.take_dropped());
        Ok(())
    }
}

/// Why a request with traces was not taken.
enum Refusal {
    Body(BodyError),
    Malformed(DecodeError),
    Packed(DecompressError),
}

impl Refusal {
    fn answer(&self) -> Answer {
        let (status, why) = match self {
            Self::Body(error) => return error.answer(),
            Self::Malformed(why) => match why {
                DecodeError::TooLarge | DecodeError::TooMuchText => {
                    (StatusCode::PAYLOAD_TOO_LARGE, why.to_string())
                }
                _ => (StatusCode::BAD_REQUEST, why.to_string()),
            },
            Self::Packed(why) => match why {
                DecompressError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, why.to_string()),
                DecompressError::UnknownEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_string()),
                DecompressError::Malformed => (StatusCode::BAD_REQUEST, why.to_string()),
            },
        };
        json(status, serde_json::json!({ "error": why }).to_string())
    }
}

impl Body {
    /// Reads on, so that the client comes to read why.
    async fn refuse_as(&mut self, refusal: Refusal) -> Refusal {
        self.refuse(BodyError::Broken).await;
        refusal
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl From<DecompressError> for Refusal {
    fn from(error: DecompressError) -> Self {
        Self::Packed(error)
    }
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

    /// DogStatsD for who cannot send datagrams, or is told of one address alone.
    async fn take_metrics(&self, request: Request<Incoming>) -> Answer {
        let refusal = match read_body(request.into_body(), MAX_METRICS, &self.inbox).await {
            Ok(lines) if lines.is_empty() => return json(StatusCode::OK, Bytes::new()),
            Ok(lines) => match self.inbox.offer_data(Arrival::Datagrams(lines.into())) {
                true => return json(StatusCode::OK, Bytes::new()),
                false => BodyError::Busy,
            },
            Err(BodyError::Broken) => return BodyError::Broken.answer(),
            Err(error) => error,
        };
        self.inbox.count(Dropped::Metrics, 1);
        refusal.answer()
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
        container_tags: Text::default(),
        computed_top_level: flag("datadog-client-computed-top-level"),
        computed_stats: flag("datadog-client-computed-stats"),
    }
}

/// Reads a body; what cannot be read is counted.
pub(crate) fn decode(sent: Sent, inbox: &Inbox) -> Option<Input> {
    let Sent { version, tracer, body } = sent;
    let plain = |decoded| (TracerInfo::default(), decoded);
    let read = match version {
        Version::V04 => wire::v04::decode(&body).map(plain),
        Version::V05 => wire::v05::decode(&body).map(plain),
        Version::V07 => wire::v07::decode(&body).map(|payload| (payload.tracer, payload.decoded)),
        Version::V1 => wire::v1::decode(&body).map(|payload| (payload.tracer, payload.decoded)),
    };
    match read {
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
                    "a request with traces ({version:?}) could not be read: {why} ({bytes} bytes, {language})"
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
        let info: serde_json::Value = serde_json::from_str(&info()).unwrap();
        let endpoints: Vec<_> =
            info["endpoints"].as_array().unwrap().iter().filter_map(|e| e.as_str()).collect();
        let traces = ["/v0.4/traces", "/v0.5/traces", "/v0.7/traces", "/v1.0/traces", "/v0.6/stats"];
        assert_eq!(endpoints.get(..traces.len()), Some(&traces[..]));
        assert_eq!(info["span_kinds_stats_computed"][0], "client");
        assert_eq!(info["peer_tags"].as_array().unwrap().len(), 43);
    }
}
