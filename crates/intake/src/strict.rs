//! Strict mode: everything about a request that Datadog would refuse, drop or change, or that is sent for nothing. Reads
//! the bytes as they came, by itself: what the decoders forgive is seen here, and a mistake that an encoder and its
//! decoder share is none here. Answers nothing and keeps nothing; called for every request that is taken or refused.

mod events;
mod json;
mod logs;
mod rules;
mod series;
mod sketches;
mod stats;
mod traces;

use std::fmt::{self, Display};

use axum::http::{HeaderMap, header};
use model::{Signal, UnixNanos};
use serde::Serialize;

use crate::other::Other;
use rules::Rule;

/// Characters kept of a value.
const MAX_VALUE: usize = 200;
/// Bytes from which a body that is not packed is a waste.
const WORTH_PACKING: usize = 64 << 10;

/// One way in which a request is not as Datadog wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The number of the request.
    pub request: u64,
    /// Its path.
    pub endpoint: String,
    /// The rule's name: `span-duration`.
    pub rule: &'static str,
    /// Where it is broken first, and what stands there.
    pub field: String,
    pub value: String,
    /// What should be there.
    pub wants: &'static str,
    /// What Datadog does with it.
    pub effect: &'static str,
    /// How often it is broken in this request.
    pub times: u64,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, endpoint, field, value, wants, effect, times, .. } = self;
        write!(f, "{endpoint} (request {request}): {field} is {value}, not {wants}: {effect}")?;
        if *times > 1 { write!(f, " ({times} times)") } else { Ok(()) }
    }
}

/// What was found in one request: each rule once.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, rule: &Rule, field: impl Display, value: impl Display) {
        if let Some(known) = self.0.iter_mut().find(|known| known.rule == rule.name) {
            known.times += 1;
            return;
        }
        let Rule { name, wants, effect } = *rule;
        let (field, value) = (field.to_string(), shorten(&value.to_string()));
        let (request, endpoint) = (0, String::new());
        self.0.push(Violation { request, endpoint, rule: name, field, value, wants, effect, times: 1 });
    }

    /// The same for a condition that has to hold.
    fn want(&mut self, holds: bool, rule: &Rule, field: impl Display, value: impl Display) {
        if !holds {
            self.add(rule, field, value);
        }
    }

    /// A count whose point came before, by another request.
    pub(crate) fn again(&mut self, metric: &str, time: UnixNanos) {
        self.add(&rules::METRIC_AGAIN, metric, format_args!("sent again for {}", time.to_rfc3339_millis()));
    }

    pub(crate) fn of(mut self, path: &str) -> Vec<Violation> {
        self.0.iter_mut().for_each(|one| path.clone_into(&mut one.endpoint));
        self.0
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None if text.is_empty() => "empty".to_owned(),
        None => text.to_owned(),
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Signal(Signal),
    Other(Other),
    /// Passed on, for a product of which nothing is known here.
    Unknown,
}

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) kind: Kind,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) packed: usize,
    /// Unpacked, or why it cannot be.
    pub(crate) plain: Result<&'a [u8], &'a str>,
    pub(crate) now: UnixNanos,
}

/// All that is wrong with it.
pub(crate) fn check(sent: &Sent<'_>) -> Found {
    let mut found = Found::default();
    if sent.kind == Kind::Unknown {
        return found;
    }
    key(sent, &mut found);
    if sent.kind == Kind::Other(Other::Validate) {
        return found;
    }
    media(sent, &mut found);
    let plain = match sent.plain {
        Ok(plain) => plain,
        Err(why) => {
            found.add(&rules::BODY, "body", why);
            return found;
        }
    };
    sizes(sent, plain.len(), &mut found);
    let read = match sent.kind {
        Kind::Signal(Signal::Traces) => traces::check(plain, sent.now, &mut found),
        Kind::Signal(Signal::Series) if is_protobuf(sent.headers) => {
            series::check_payload(plain, sent.now, &mut found)
        }
        Kind::Signal(Signal::Series) => series::check_v2(plain, sent.now, &mut found),
        Kind::Signal(Signal::Sketches) => sketches::check(plain, sent.now, &mut found),
        Kind::Signal(Signal::Logs) | Kind::Other(Other::Logs) => logs::check(plain, sent.now, &mut found),
        Kind::Signal(Signal::Stats) => stats::check(plain, &mut found),
        Kind::Other(Other::Series) => series::check_v1(plain, sent.now, &mut found),
        Kind::Other(Other::Distributions) => series::check_distributions(plain, sent.now, &mut found),
        Kind::Other(Other::Events) => events::check_event(plain, sent.now, &mut found),
        Kind::Other(Other::Checks) => events::check_runs(plain, &mut found),
        Kind::Signal(Signal::Forwards) | Kind::Other(Other::Validate) | Kind::Unknown => Ok(()),
    };
    if let Err(why) = read {
        found.add(&rules::BODY, "body", why);
    }
    found
}

pub(crate) fn is_protobuf(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/x-protobuf"
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Never the key itself.
fn key(sent: &Sent<'_>, found: &mut Found) {
    let field = "header DD-API-KEY";
    match sent.headers.get("dd-api-key").map(header::HeaderValue::as_bytes) {
        None if matches!(sent.kind, Kind::Other(other) if other.has_key(sent.path)) => {}
        None | Some(b"") => found.add(&rules::KEY, field, "missing"),
        Some(key) => {
            let fits = key.len() == 32 && key.iter().all(u8::is_ascii_hexdigit);
            found.want(fits, &rules::KEY_SHAPE, field, format_args!("of {} characters", key.len()));
        }
    }
    found.want(sent.headers.get_all("dd-api-key").iter().count() < 2, &rules::KEY_TWICE, field, "twice");
}

/// Content type and encoding.
fn media(sent: &Sent<'_>, found: &mut Found) {
    let media = media_type(sent.headers);
    let known: &[&str] = match sent.kind {
        Kind::Signal(Signal::Traces | Signal::Sketches) => &["application/x-protobuf"],
        Kind::Signal(Signal::Stats) => &["application/msgpack"],
        Kind::Signal(Signal::Series) => &["application/json", "application/x-protobuf"],
        Kind::Signal(Signal::Logs) | Kind::Other(Other::Logs) => {
            &["application/json", "text/plain", "application/logplex-1"]
        }
        _ => &["application/json"],
    };
    let rule = match known {
        ["application/x-protobuf"] => &rules::TYPE_PROTOBUF,
        ["application/msgpack"] => &rules::TYPE_MSGPACK,
        _ => &rules::TYPE_JSON,
    };
    found.want(known.contains(&media.as_str()), rule, "header Content-Type", &media);
    let encoding =
        sent.headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
    let known = ["", "identity", "gzip", "deflate", "zstd"];
    let is_known = known.contains(&encoding.trim().to_ascii_lowercase().as_str());
    found.want(is_known, &rules::ENCODING, "header Content-Encoding", encoding);
    let is_packed = !matches!(encoding.trim(), "" | "identity");
    found.want(is_packed || sent.packed < WORTH_PACKING, &rules::NOT_PACKED, "body", bytes(sent.packed));
}

fn sizes(sent: &Sent<'_>, plain: usize, found: &mut Found) {
    let (most, most_packed, rule) = match sent.kind {
        Kind::Signal(Signal::Traces) => (12_000_000, usize::MAX, &rules::SIZE_TRACES),
        Kind::Signal(Signal::Stats) => (12_000_000, usize::MAX, &rules::SIZE_TRACES),
        Kind::Signal(Signal::Series) => (5_242_880, 512_000, &rules::SIZE_SERIES),
        Kind::Other(Other::Series | Other::Distributions) => (62_914_560, 3_200_000, &rules::SIZE_V1),
        Kind::Signal(Signal::Sketches) => (4_194_304, 2_621_440, &rules::SIZE_SKETCHES),
        Kind::Signal(Signal::Logs) | Kind::Other(Other::Logs) => (5_000_000, usize::MAX, &rules::SIZE_LOGS),
        _ => return,
    };
    found.want(plain <= most, rule, "body unpacked", bytes(plain));
    found.want(sent.packed <= most_packed, rule, "body packed", bytes(sent.packed));
}

fn bytes(n: usize) -> String {
    format!("{n} bytes")
}

#[cfg(test)]
mod tests;
