//! Where each signal goes: one row per intake endpoint, shared by those who send and the intake.

use model::Signal;

use crate::Encoding;

/// One endpoint of the intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub signal: Signal,
    pub path: &'static str,
    /// Empty: each request has its own.
    pub content_type: &'static str,
    /// How bodies are packed.
    pub encoding: Encoding,
    /// Headers that every request has, beside content type, content encoding and API key.
    pub headers: &'static [(&'static str, &'static str)],
    /// What our requests are cut to, in bytes before compression. An element that is larger alone goes
    /// alone.
    pub target_bytes: usize,
    /// What the intake takes, in bytes before compression: anything larger is refused with 413.
    pub max_bytes: usize,
    /// Elements in one request: chunks, series, sketches, log entries.
    pub max_items: usize,
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The trace intake takes about 15 MB; the agent sends 3.2 MB at most.
const TRACES: Endpoint = Endpoint {
    signal: Signal::Traces,
    path: "/api/v0.2/traces",
    content_type: PROTOBUF,
    encoding: Encoding::Zstd,
    headers: &[("datadog-send-real-http-status", "1")],
    target_bytes: 3_200_000,
    max_bytes: 12_000_000,
    max_items: usize::MAX,
};

/// 5 MiB unpacked and 512,000 bytes packed
/// (<https://docs.datadoghq.com/api/latest/metrics/#submit-metrics>): cut to what keeps both.
const SERIES: Endpoint = Endpoint {
    signal: Signal::Series,
    path: "/api/v2/series",
    content_type: JSON,
    encoding: Encoding::Zstd,
    headers: &[],
    target_bytes: 512_000,
    max_bytes: 5_242_880,
    max_items: 1000,
};

/// The agent's bounds for sketches, 2.5 MiB packed and 4 MiB unpacked: cut to what keeps both.
const SKETCHES: Endpoint = Endpoint {
    signal: Signal::Sketches,
    path: "/api/beta/sketches",
    content_type: PROTOBUF,
    encoding: Encoding::Zstd,
    headers: &[],
    target_bytes: 2_621_440,
    max_bytes: 4_194_304,
    max_items: 1000,
};

/// 5 MB and 1000 entries; an entry above 1 MB is taken and cut there
/// (<https://docs.datadoghq.com/api/latest/logs/#send-logs>).
const LOGS: Endpoint = Endpoint {
    signal: Signal::Logs,
    path: "/api/v2/logs",
    content_type: JSON,
    encoding: Encoding::Zstd,
    headers: &[("dd-protocol", "agent-json")],
    target_bytes: 5_000_000,
    max_bytes: 5_000_000,
    max_items: 1000,
};

/// Statistics that tracers computed themselves; the agent sends 3 MB at most.
const STATS: Endpoint = Endpoint {
    signal: Signal::Stats,
    path: "/api/v0.2/stats",
    content_type: "application/msgpack",
    encoding: Encoding::Gzip,
    headers: &[],
    target_bytes: 3_000_000,
    max_bytes: 12_000_000,
    max_items: 1000,
};

/// Requests of tracers that go on as they are, one by one; each names its intake and path.
const FORWARDS: Endpoint = Endpoint {
    signal: Signal::Forwards,
    path: "*",
    content_type: "",
    encoding: Encoding::Identity,
    headers: &[],
    target_bytes: 50_000_000,
    max_bytes: 50_000_000,
    max_items: 1,
};

/// The endpoint that takes a signal.
pub const fn endpoint(signal: Signal) -> &'static Endpoint {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Series => &SERIES,
        Signal::Sketches => &SKETCHES,
        Signal::Logs => &LOGS,
        Signal::Stats => &STATS,
        Signal::Forwards => &FORWARDS,
    }
}

/// The signal that a path takes; `None` for other paths.
pub fn signal_of(path: &str) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| endpoint(*signal).path == path)
}
