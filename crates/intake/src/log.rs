//! Log entries as they are shown, with the trace and span that their text names.

use model::{Log, SpanId, TraceId, UnixNanos};
use serde::Serialize;
use serde_json::Value;

use crate::id;

/// Attributes by which Datadog ties a log to a span.
/// <https://docs.datadoghq.com/tracing/other_telemetry/connect_logs_and_traces/>
const TRACE_ID: &str = "dd.trace_id";
const SPAN_ID: &str = "dd.span_id";

/// One log entry.
#[derive(Clone, Debug, Serialize)]
pub struct LogView {
    #[serde(serialize_with = "id::time")]
    pub time: UnixNanos,
    #[serde(rename = "time_ns", serialize_with = "nanos")]
    pub at: UnixNanos,
    pub status: &'static str,
    pub message: String,
    /// Named by the text of the line: `dd.trace_id` at the root of a JSON object, or in plain text.
    #[serde(serialize_with = "id::trace_option")]
    pub trace_id: Option<TraceId>,
    #[serde(serialize_with = "id::span_option")]
    pub span_id: Option<SpanId>,
    pub request_id: Option<String>,
    /// The function's name, from the ARN.
    pub function: String,
    pub arn: String,
    pub service: String,
    pub tags: Vec<String>,
    /// The number of the request that brought it; 0 when none did.
    pub request: u64,
}

/// What to look for; all that is given must match.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    pub trace_id: Option<TraceId>,
    pub request_id: Option<String>,
    pub function: Option<String>,
}

impl LogFilter {
    pub fn matches(&self, log: &LogView) -> bool {
        let trace = |asked| log.trace_id.is_some_and(|found| id::same_trace(asked, found));
        self.trace_id.is_none_or(trace)
            && self.request_id.as_ref().is_none_or(|asked| log.request_id.as_ref() == Some(asked))
            && self.function.as_ref().is_none_or(|asked| log.function.eq_ignore_ascii_case(asked))
    }
}

impl LogView {
    pub(crate) fn new(log: Log, request: u64) -> Self {
        let (trace_id, span_id) = correlation(&log.message);
        Self {
            time: log.time,
            at: log.time,
            status: log.level.as_str(),
            trace_id,
            span_id,
            request_id: log.request_id.map(|id| id.as_str().to_owned()),
            function: function_name(&log.arn).to_owned(),
            arn: log.arn.into_owned(),
            service: log.service.into_owned(),
            tags: log.tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            message: log.message,
            request,
        }
    }

    /// About the bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        256 + self.message.len() + self.arn.len() + self.tags.iter().map(|tag| tag.len() + 24).sum::<usize>()
    }
}

/// `orders` of `arn:aws:lambda:us-east-1:123456789012:function:orders:7`; empty for another text.
fn function_name(arn: &str) -> &str {
    arn.split(':').nth(6).unwrap_or_default()
}

fn correlation(message: &str) -> (Option<TraceId>, Option<SpanId>) {
    let trace_id = |text: &str| id::parse_trace_id(text);
    match serde_json::from_str(message) {
        Ok(Value::Object(line)) => {
            let text = |key: &str| match line.get(key)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            (
                text(TRACE_ID).as_deref().and_then(trace_id),
                text(SPAN_ID).as_deref().and_then(id::parse_span_id),
            )
        }
        _ => (
            behind(message, TRACE_ID).and_then(trace_id),
            behind(message, SPAN_ID).and_then(id::parse_span_id),
        ),
    }
}

/// The word behind `key=` in a line of plain text.
fn behind<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(key)?;
    let rest = rest.strip_prefix(['=', ':'])?;
    rest.split(|c: char| !c.is_ascii_alphanumeric()).next()
}

fn nanos<S: serde::Serializer>(time: &UnixNanos, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(time.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::{correlation, function_name};

    #[test]
    fn a_line_names_its_span() {
        let check = |line: &str, want: (Option<u128>, Option<u64>)| {
            let (trace, span) = correlation(line);
            let found = (trace.map(model::TraceId::to_u128), span.map(model::SpanId::get));
            assert_eq!(found, want, "{line}");
        };
        let both = (Some(0x1_0000_0000_0000_0005), Some(7));
        check(r#"{"dd.trace_id":"00000000000000010000000000000005","dd.span_id":"7"}"#, both);
        check("[dd.trace_id=00000000000000010000000000000005 dd.span_id=7] hello", both);
        check(r#"{"dd.trace_id":5,"dd.span_id":7}"#, (Some(5), Some(7)));
        check(r#"{"fields":{"dd.trace_id":"5"}}"#, (None, None));
        check(r#"["dd.trace_id"]"#, (None, None));
        check("dd.trace_id", (None, None));
        check("", (None, None));
    }

    #[test]
    fn a_function_is_named_by_its_arn() {
        assert_eq!(function_name("arn:aws:lambda:us-east-1:123456789012:function:orders:7"), "orders");
        assert_eq!(function_name("host"), "");
    }
}
