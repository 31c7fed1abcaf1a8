//! The bodies of requests, kept as they were sent within a bound, and shown as what is in them. What cannot be
//! read as its signal is shown as JSON or as text where it is that.

use std::collections::VecDeque;

use bytes::Bytes;
use model::{Batch, Log, Series, SeriesKind, Signal, SketchSeries, Span, Tags, TracerPayload};
use serde_json::{Value, json};

use crate::decode::MAX_PLAIN_BYTES;
use crate::metric_payload;

/// Bytes of packed bodies held; the oldest go first.
const MAX_HELD_BYTES: usize = 32 << 20;
/// Bytes of text that are shown of a body of which nothing else is known.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// One body as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) encoding: String,
    pub(crate) packed: Bytes,
}

impl Body {
    /// Unpacked, or why it cannot be.
    pub(crate) fn plain(&self) -> Result<Vec<u8>, String> {
        payload::decompress(&self.packed, &self.encoding, MAX_PLAIN_BYTES).map_err(|why| why.to_string())
    }

    /// What is in it: `decoded`, or `text` where there is no more to say, or `why` where it cannot be read.
    pub(crate) fn describe(&self, signal: Option<Signal>) -> Value {
        let plain = match self.plain() {
            Ok(plain) => plain,
            Err(why) => return json!({ "why": why }),
        };
        let (decoded, why) = match signal.map(|signal| payload::decode(signal, &plain)) {
            Some(Ok(batch)) => (describe(&batch), None),
            // The agent's own series are protobuf.
            Some(Err(why)) => match metric_payload::decode(&plain) {
                Ok(all) if signal == Some(Signal::Series) => (describe(&Batch::Series(all)), None),
                _ => (None, Some(why.to_string())),
            },
            None => (None, None),
        };
        let decoded = decoded.or_else(|| serde_json::from_slice(&plain).ok());
        let shown = plain.get(..MAX_TEXT_BYTES).unwrap_or(&plain);
        let text = match &decoded {
            Some(_) => None,
            None => std::str::from_utf8(shown).ok(),
        };
        json!({ "decoded": decoded, "text": text, "why": why })
    }
}

/// The newest bodies by the number of their request.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    held: VecDeque<(u64, Body)>,
    bytes: usize,
}

impl Bodies {
    pub(crate) fn add(&mut self, number: u64, body: Body) {
        self.bytes += body.packed.len();
        self.held.push_back((number, body));
        while self.bytes > MAX_HELD_BYTES {
            let Some((_, gone)) = self.held.pop_front() else { return };
            self.bytes -= gone.packed.len();
        }
    }

    pub(crate) fn find(&self, number: u64) -> Option<&Body> {
        let at = self.held.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.held.get(at).map(|(_, body)| body)
    }
}

fn describe(batch: &Batch) -> Option<Value> {
    Some(match batch {
        Batch::Traces(all) => all.iter().map(tracer).collect(),
        Batch::Series(all) => all.iter().map(series).collect(),
        Batch::Sketches(all) => all.iter().map(sketches).collect(),
        Batch::Logs(all) => all.iter().map(log).collect(),
        Batch::Stats(_) | Batch::Forwards(_) => return None,
    })
}

fn tracer(payload: &TracerPayload) -> Value {
    let chunks = payload.chunks.iter().map(|chunk| {
        json!({
            "priority": chunk.priority.map(model::SamplingPriority::as_i8),
            "origin": chunk.origin,
            "tags": texts(&chunk.tags),
            "spans": chunk.spans.iter().map(span).collect::<Value>(),
        })
    });
    json!({
        "runtime_id": payload.runtime_id,
        "env": payload.env,
        "hostname": payload.hostname,
        "app_version": payload.app_version,
        "tags": texts(&payload.tags),
        "chunks": chunks.collect::<Value>(),
    })
}

fn span(span: &Span) -> Value {
    json!({
        "service": span.service,
        "name": span.name,
        "resource": span.resource,
        "type": span.kind,
        "trace_id": span.trace_id.to_string(),
        "span_id": span.span_id.get().to_string(),
        "parent_id": span.parent_id.map(|id| id.get().to_string()),
        "start": span.start.to_rfc3339_millis(),
        "start_ns": span.start.as_nanos().to_string(),
        "duration_ns": u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX),
        "error": span.error,
        "meta": texts(&span.meta),
        "metrics": span.metrics.iter().map(|(key, value)| (key.to_string(), json!(value))).collect::<Value>(),
        "links": span.links.len(),
        "events": span.events.iter().map(|event| event.name.to_string()).collect::<Value>(),
    })
}

fn series(series: &Series) -> Value {
    let kind = match series.kind {
        SeriesKind::Count => "count",
        SeriesKind::Gauge => "gauge",
    };
    let point = |(time, value): &(model::UnixNanos, f64)| json!([time.to_rfc3339_millis(), value]);
    json!({
        "metric": series.name,
        "type": kind,
        "interval_secs": series.interval_secs,
        "tags": series.tags,
        "points": series.points.iter().map(point).collect::<Value>(),
    })
}

fn sketches(series: &SketchSeries) -> Value {
    let points = series.points.iter().map(|(time, sketch)| {
        json!({
            "time": time.to_rfc3339_millis(),
            "count": sketch.count(),
            "min": sketch.min(),
            "max": sketch.max(),
            "avg": sketch.avg(),
            "sum": sketch.sum(),
            "bins": sketch.wire_bins().count(),
        })
    });
    json!({ "metric": series.name, "tags": series.tags, "points": points.collect::<Value>() })
}

fn log(log: &Log) -> Value {
    let message = serde_json::from_str(&log.message).unwrap_or_else(|_| json!(log.message));
    json!({
        "time": log.time.to_rfc3339_millis(),
        "status": log.level.as_str(),
        "service": log.service,
        "arn": log.arn,
        "request_id": log.request_id.as_ref().map(model::RequestId::as_str),
        "tags": log.tags,
        "message": message,
    })
}

fn texts(tags: &Tags<model::Text>) -> Value {
    tags.iter().map(|(key, value)| (key.to_string(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Bodies, Body, MAX_HELD_BYTES};
    use bytes::Bytes;
    use model::Signal;

    fn body(packed: impl Into<Bytes>) -> Body {
        Body { encoding: String::new(), packed: packed.into() }
    }

    #[test]
    fn the_newest_are_held() {
        let mut bodies = Bodies::default();
        for number in [3, 5, 6] {
            bodies.add(number, body(vec![0; MAX_HELD_BYTES / 2]));
        }
        let held = [3, 4, 5, 6, 7].map(|number| bodies.find(number).is_some());
        assert_eq!(held, [false, false, true, true, false]);
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        let check = |signal, packed: &'static str, want: &str| {
            assert_eq!(body(packed).describe(signal).to_string(), want, "{packed}");
        };
        check(None, r#"{"a":[1]}"#, r#"{"decoded":{"a":[1]},"text":null,"why":null}"#);
        check(None, "a=<b>", r#"{"decoded":null,"text":"a=<b>","why":null}"#);
        check(Some(Signal::Series), "x", r#"{"decoded":null,"text":"x","why":"the body has another shape"}"#);
        let packed = Body { encoding: "gzip".to_owned(), ..body("not gzip") };
        assert!(packed.describe(None)["why"].is_string());
    }
}
