//! A request as it came in, without its key and (if it could be read) without its body.

use axum::http::HeaderMap;
use model::{Signal, UnixNanos};
use serde::Serialize;

use crate::id;

/// Headers kept of one request, and bytes of each.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 512;
/// Bytes kept of a body that could not be read or that nothing is known of.
const MAX_PREVIEW_BYTES: usize = 2048;
const MAX_PATH_BYTES: usize = 1024;

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct RequestView {
    /// Counted from 1; spans and log entries name the request that brought them.
    pub number: u64,
    #[serde(serialize_with = "id::time")]
    pub time: UnixNanos,
    pub method: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `traces`, `series`, `sketches`, `logs`; `None` for a path of which nothing is known.
    pub signal: Option<&'static str>,
    pub headers: Vec<(String, String)>,
    /// Bytes as sent, and unpacked.
    pub encoded_bytes: usize,
    pub decoded_bytes: Option<usize>,
    /// Spans, log entries or points in it.
    pub items: usize,
    /// The rules that it breaks: see [`crate::Violation`].
    pub violations: Vec<&'static str>,
    /// What it was answered with; `None` when it was not (a fault).
    pub status: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
    /// The beginning of a body that was not understood.
    pub preview: Option<String>,
}

impl RequestView {
    pub(crate) fn new(method: &str, path: &str, headers: &HeaderMap, body: &[u8], time: UnixNanos) -> Self {
        Self {
            number: 0,
            time,
            method: method.to_owned(),
            path: shorten(path.as_bytes(), MAX_PATH_BYTES),
            query: None,
            signal: None,
            headers: public_headers(headers),
            encoded_bytes: body.len(),
            decoded_bytes: None,
            items: 0,
            violations: Vec::new(),
            status: None,
            error: None,
            preview: None,
        }
    }

    pub(crate) fn of(mut self, signal: Signal) -> Self {
        self.signal = Some(signal.as_str());
        self
    }

    pub(crate) fn answered(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    pub(crate) fn failed(mut self, why: impl Into<String>) -> Self {
        self.error = Some(why.into());
        self
    }

    pub(crate) fn previewing(mut self, body: &[u8]) -> Self {
        self.preview = (!body.is_empty()).then(|| shorten(body, MAX_PREVIEW_BYTES));
        self
    }
}

fn public_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let public = headers.iter().filter(|(name, _)| !is_secret(name.as_str()));
    public.take(MAX_HEADERS).map(|(k, v)| (k.to_string(), shorten(v.as_bytes(), MAX_HEADER_BYTES))).collect()
}

fn is_secret(name: &str) -> bool {
    ["dd-api-key", "dd-application-key", "authorization", "cookie"].contains(&name)
}

fn shorten(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes.get(..limit).unwrap_or(bytes)).into_owned();
    if bytes.len() > limit { format!("{text}…") } else { text }
}
