//! Telemetry records as Lambda writes them, and what tracers send.

use std::time::Duration;

use model::{Chunk, Span, SpanId, TraceId, UnixNanos};

use crate::fake_lambda::millis;

pub(crate) const TRACE: u64 = 1_234_567_890_123_456_789;

fn now() -> String {
    UnixNanos::from_millis(u64::try_from(millis()).unwrap()).to_rfc3339_millis()
}

pub(crate) fn record(kind: &str, record: &str) -> String {
    format!(r#"{{"time":"{}","type":"{kind}","record":{record}}}"#, now())
}

pub(crate) fn start(id: &str) -> String {
    record("platform.start", &format!(r#"{{"requestId":"{id}","version":"$LATEST"}}"#))
}

pub(crate) fn log(line: &str) -> String {
    record("function", &serde_json::Value::from(line).to_string())
}

pub(crate) fn runtime_done(id: &str) -> String {
    let metrics = r#"{"durationMs":12.5,"producedBytes":42}"#;
    record(
        "platform.runtimeDone",
        &format!(r#"{{"requestId":"{id}","status":"success","metrics":{metrics}}}"#),
    )
}

pub(crate) fn report(id: &str) -> String {
    let metrics = r#"{"durationMs":13.5,"billedDurationMs":14,"memorySizeMB":256,"maxMemoryUsedMB":64,"initDurationMs":80.0}"#;
    record("platform.report", &format!(r#"{{"requestId":"{id}","status":"success","metrics":{metrics}}}"#))
}

/// The one record of an invocation's end on managed instances.
pub(crate) fn managed_report(id: &str) -> String {
    record(
        "platform.report",
        &format!(r#"{{"requestId":"{id}","status":"success","metrics":{{"durationMs":13.5}}}}"#),
    )
}

pub(crate) fn delivery(records: &[String]) -> String {
    format!("[{}]", records.join(","))
}

/// The body of a request with one span, by its id.
pub(crate) fn traces(span_id: u64) -> Vec<u8> {
    wire::v04::encode(&[chunk(span_id)])
}

/// A chunk of one span, by its id.
pub(crate) fn chunk(span_id: u64) -> Chunk {
    let mut span =
        Span::new("work", TraceId::new(0, TRACE).unwrap(), SpanId::new(span_id).unwrap(), SpanId::new(77));
    span.service = "shop".into();
    span.start = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
    span.duration = Duration::from_millis(3);
    span.metrics.insert("_sampling_priority_v1", 1.0);
    Chunk { spans: vec![span] }
}
