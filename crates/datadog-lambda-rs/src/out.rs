//! Lines on stdout: logs, and without an extension traces and metrics in the form that the Datadog Forwarder
//! reads from CloudWatch. <https://docs.datadoghq.com/logs/guide/forwarder/>

use std::io::Write;

use model::keys::trace;
use model::{Chunk, Metric, Span, SpanId, Tags, Text, UnixNanos};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// CloudWatch splits longer events, and half an event is no JSON.
const MAX_LINE: usize = 200 * 1024;

/// What is around the spans of a line.
const BEGIN: &str = "{\"traces\":[[";
const END: &str = "]]}";

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Out {
    Stdout,
    #[cfg(test)]
    Memory(std::sync::Mutex<Vec<String>>),
}

impl Out {
    /// Writes one line at once, so that lines of concurrent invocations do not mix.
    pub(crate) fn line(&self, line: &str) {
        match self {
            Self::Stdout => {
                let mut bytes = Vec::with_capacity(line.len() + 1);
                bytes.extend_from_slice(line.as_bytes());
                bytes.push(b'\n');
                // A closed stdout is no reason to fail, and there is nowhere to say it.
                let _ = std::io::stdout().lock().write_all(&bytes);
            }
            #[cfg(test)]
            Self::Memory(lines) => crate::agent::lock(lines).push(line.to_owned()),
        }
    }
}

/// A chunk as one or more lines, each with the tags of the whole trace on its first span. A line is no longer than
/// it may be, unless one span alone is.
pub(crate) fn trace_lines(chunk: &Chunk) -> Vec<String> {
    let Some(first) = chunk.spans.first() else { return Vec::new() };
    let mut lines = Vec::new();
    let mut line = String::new();
    for span in &chunk.spans {
        let mut text = json(span);
        if !line.is_empty() && BEGIN.len() + line.len() + 1 + text.len() + END.len() > MAX_LINE {
            lines.push(format!("{BEGIN}{line}{END}"));
            line.clear();
            let mut span = span.clone();
            inherit(&mut span, first);
            text = json(&span);
        } else if !line.is_empty() {
            line.push(',');
        }
        line.push_str(&text);
    }
    lines.push(format!("{BEGIN}{line}{END}"));
    lines
}

/// Nothing in a span can fail to be written.
fn json(span: &Span) -> String {
    serde_json::to_string(&LoggedSpan::from(span)).unwrap_or_default()
}

fn inherit(span: &mut Span, first: &Span) {
    for key in [trace::TID, trace::DECISION_MAKER] {
        if let Some(value) = first.meta.get(key) {
            span.meta.insert(key, value.clone());
        }
    }
    if let Some(priority) = first.metrics.get(trace::SAMPLING_PRIORITY) {
        span.metrics.insert(trace::SAMPLING_PRIORITY, *priority);
    }
}

/// A span as the forwarder takes it: ids in hex, links as a tag.
#[derive(serde::Serialize)]
struct LoggedSpan<'a> {
    trace_id: String,
    span_id: String,
    parent_id: String,
    service: &'a str,
    name: &'a str,
    resource: &'a str,
    r#type: &'a str,
    error: u8,
    start: u64,
    duration: u64,
    meta: Entries<'a, Text>,
    metrics: Entries<'a, f64>,
}

impl<'a> From<&'a Span> for LoggedSpan<'a> {
    fn from(span: &'a Span) -> Self {
        Self {
            trace_id: format!("{:016x}", span.trace_id.low()),
            span_id: span.span_id.to_string(),
            parent_id: format!("{:016x}", span.parent_id.map_or(0, SpanId::get)),
            service: &span.service,
            name: &span.name,
            resource: &span.resource,
            r#type: &span.kind,
            error: u8::from(span.error),
            start: span.start.as_nanos(),
            duration: u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX),
            meta: Entries { tags: &span.meta, extra: links(span) },
            metrics: Entries { tags: &span.metrics, extra: None },
        }
    }
}

struct Entries<'a, V> {
    tags: &'a Tags<V>,
    extra: Option<(&'static str, V)>,
}

impl<V: Serialize> Serialize for Entries<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.tags.iter() {
            map.serialize_entry(key, value)?;
        }
        if let Some((key, value)) = &self.extra {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

fn links(span: &Span) -> Option<(&'static str, Text)> {
    if span.links.is_empty() {
        return None;
    }
    let links: Vec<_> = span
        .links
        .iter()
        .map(|link| {
            let attributes: serde_json::Map<_, _> =
                link.attributes.iter().map(|(k, v)| (k.to_string(), v.as_ref().into())).collect();
            serde_json::json!({
                "trace_id": link.trace_id.map_or_else(|| "0".repeat(32), |id| id.to_string()),
                "span_id": link.span_id.map_or_else(|| "0".repeat(16), |id| id.to_string()),
                "attributes": attributes,
            })
        })
        .collect();
    Some((trace::SPAN_LINKS, serde_json::to_string(&links).ok()?.into()))
}

/// One line per value.
pub(crate) fn metric_lines(metric: &Metric, now: UnixNanos) -> Vec<String> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        m: &'a str,
        v: f64,
        e: u64,
        t: &'a [Text],
    }
    let e = metric.time.unwrap_or(now).as_secs();
    let line = |v: &f64| serde_json::to_string(&Line { m: &metric.name, v: *v, e, t: &metric.tags }).ok();
    metric.values.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use model::{SpanLink, TraceId};
    use serde_json::{Value, json};

    use super::*;

    fn span(id: u64, note: String) -> Span {
        let mut span =
            Span::new("aws.lambda", TraceId::new(0xab, 0xcd).unwrap(), SpanId::new(id).unwrap(), None);
        span.meta.insert("note", note);
        span
    }

    #[test]
    fn a_trace_is_one_line() {
        let mut root = span(2, "n".into());
        root.error = true;
        root.start = UnixNanos(5);
        root.meta.insert(trace::TID, "00000000000000ab");
        root.metrics.insert(trace::SAMPLING_PRIORITY, 1.0);
        root.links.push(SpanLink {
            trace_id: TraceId::new(1, 2),
            span_id: SpanId::new(3),
            attributes: Tags::new(),
            tracestate: "".into(),
            flags: 0,
        });
        let lines = trace_lines(&Chunk { spans: vec![root] });
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        let expect = json!({"traces": [[{
            "trace_id": "00000000000000cd", "span_id": "0000000000000002", "parent_id": "0000000000000000",
            "service": "", "name": "aws.lambda", "resource": "", "type": "", "error": 1, "start": 5, "duration": 0,
            "meta": {"note": "n", "_dd.p.tid": "00000000000000ab", "_dd.span_links":
                r#"[{"attributes":{},"span_id":"0000000000000003","trace_id":"00000000000000010000000000000002"}]"#},
            "metrics": {"_sampling_priority_v1": 1.0},
        }]]});
        assert_eq!((lines.len(), line), (1, expect));
        assert_eq!(trace_lines(&Chunk::default()), [""; 0]);
    }

    #[test]
    fn a_long_trace_is_split_and_each_line_tells_the_trace() {
        let mut spans: Vec<_> = (1..=20).map(|id| span(id, "x".repeat(30_000))).collect();
        spans[0].meta.insert(trace::TID, "00000000000000ab");
        let lines = trace_lines(&Chunk { spans });
        assert_eq!(lines.len(), 4);
        let mut ids = Vec::new();
        for line in lines {
            assert!(line.len() <= MAX_LINE);
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["traces"][0][0]["meta"]["_dd.p.tid"], "00000000000000ab");
            ids.extend(
                line["traces"][0]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|s| s["span_id"].as_str().unwrap().to_owned()),
            );
        }
        assert_eq!(ids.len(), 20);
        assert!(ids.is_sorted());
    }

    /// As JSON some characters take six times what they are.
    #[test]
    fn a_line_is_as_long_as_its_json() {
        let spans: Vec<_> = (1..=20).map(|id| span(id, "\u{1}".repeat(10_000))).collect();
        let lines = trace_lines(&Chunk { spans });
        assert_eq!(lines.len(), 7);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
        let spans = vec![span(1, "x".repeat(MAX_LINE)), span(2, "y".to_owned())];
        assert_eq!(trace_lines(&Chunk { spans }).len(), 2);
    }

    #[test]
    fn metrics() {
        let mut metric = Metric::distribution("orders", 2.5);
        metric.tags.push("a:b".into());
        let lines = metric_lines(&metric, UnixNanos::from_secs(7));
        assert_eq!(lines, [r#"{"m":"orders","v":2.5,"e":7,"t":["a:b"]}"#]);
    }
}
