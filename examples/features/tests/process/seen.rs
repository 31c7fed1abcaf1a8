//! What arrived at Datadog, or was printed for its forwarder, in one form.

use std::collections::BTreeMap;

use intake::{LogFilter, MetricValue, Parent, SpanView, State};
use serde_json::Value;

/// Spans of the start are looked at where the start is.
const START: [&str; 3] = ["aws.lambda.cold_start", "aws.lambda.load", "aws.lambda.load.phase"];

#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) spans: Vec<Span>,
    pub(crate) metrics: Vec<Metric>,
    /// Log lines of the function that are JSON, and neither traces nor metrics.
    pub(crate) logs: Vec<Value>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    /// 32 hex digits.
    pub(crate) trace: String,
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) resource: String,
    pub(crate) error: bool,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) priority: Option<i64>,
    pub(crate) links: Vec<(String, u64)>,
    meta: BTreeMap<String, String>,
    numbers: BTreeMap<String, f64>,
}

/// All values of one metric with the same tags.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// Seconds, of the last value.
    pub(crate) time: u64,
}

impl Seen {
    pub(crate) fn of_intake(state: &State) -> Self {
        let traces = state.traces();
        let spans = traces.iter().flat_map(|trace| trace.spans.iter().map(move |s| (trace, s)));
        let logs = state.logs(&LogFilter::default());
        let metrics = state.metrics("").into_iter().map(|metric| {
            let (count, sum) = match metric.total {
                MetricValue::Number { value } => (1, value),
                MetricValue::Distribution { count, sum, .. } => (count, sum),
            };
            let time = metric.points.last().map_or(0, |point| point.time.as_secs());
            Metric { name: metric.name, tags: metric.tags, count, sum, time }
        });
        Self {
            spans: spans.map(|(trace, span)| Span::of_view(trace.trace_id.to_string(), span)).collect(),
            metrics: metrics.collect(),
            logs: logs.iter().filter_map(|log| serde_json::from_str(&log.message).ok()).collect(),
        }
    }

    pub(crate) fn of_lines(lines: &[String]) -> Self {
        let mut seen = Self::default();
        for line in lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let Some(spans) = line.pointer("/traces/0").and_then(Value::as_array) {
                let high = spans[0]["meta"]["_dd.p.tid"].as_str().unwrap_or("0000000000000000");
                let priority = spans[0]["metrics"]["_sampling_priority_v1"].as_f64().map(|p| p as i64);
                seen.spans.extend(spans.iter().map(|span| Span::of_line(high, priority, span)));
            } else if let Some(name) = line["m"].as_str() {
                seen.add_value(name, &line);
            } else if line.is_object() {
                seen.logs.push(line);
            }
        }
        seen
    }

    fn add_value(&mut self, name: &str, line: &Value) {
        let tags: Vec<String> = serde_json::from_value(line["t"].clone()).unwrap();
        let (value, time) = (line["v"].as_f64().unwrap(), line["e"].as_u64().unwrap());
        match self.metrics.iter_mut().find(|m| m.name == name && m.tags == tags) {
            Some(metric) => {
                (metric.count, metric.sum, metric.time) = (metric.count + 1, metric.sum + value, time);
            }
            None => self.metrics.push(Metric { name: name.to_owned(), tags, count: 1, sum: value, time }),
        }
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// The only span of that name.
    pub(crate) fn one(&self, name: &str) -> &Span {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {self:#?}");
        all[0]
    }

    /// The span `aws.lambda` of an invocation.
    pub(crate) fn root(&self, request_id: &str) -> &Span {
        let of_it = |span: &&Span| span.name == "aws.lambda" && span.tag("request_id") == request_id;
        self.spans.iter().find(of_it).unwrap_or_else(|| panic!("{request_id} in {self:#?}"))
    }

    /// How many spans of that name there are.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.all(name).len()
    }

    /// A span and all below it but those of the start, children in order of start, with what there is to say of
    /// each.
    pub(crate) fn tree(&self, root: &Span, note: impl Fn(&Span) -> String) -> String {
        fn add(seen: &Seen, out: &mut String, of: &Span, depth: usize, note: &dyn Fn(&Span) -> String) {
            let line = format!("{}{} {}", "  ".repeat(depth), of.name, note(of));
            out.push_str(line.trim_end());
            out.push('\n');
            let is_child = |span: &&Span| span.trace == of.trace && span.parent == Some(of.id);
            let mut children: Vec<_> = seen.spans.iter().filter(is_child).collect();
            children.retain(|span| !START.contains(&span.name.as_str()));
            children.sort_by_key(|span| (span.start, span.name.clone()));
            children.iter().for_each(|child| add(seen, out, child, depth + 1, note));
        }
        let mut out = String::new();
        add(self, &mut out, root, 0, &note);
        out
    }

    /// The number of values of a metric, and their sum, over all its tags.
    pub(crate) fn total(&self, name: &str) -> (u64, f64) {
        let of_it = self.metrics.iter().filter(|metric| metric.name == name);
        of_it.fold((0, 0.0), |(count, sum), metric| (count + metric.count, sum + metric.sum))
    }

    /// The log line with this under `message`.
    pub(crate) fn log(&self, message: &str) -> Option<&Value> {
        self.logs.iter().find(|line| line["message"] == message)
    }
}

impl Span {
    fn of_view(trace: String, span: &SpanView) -> Self {
        assert_eq!(span.copies, 1, "{span:?}");
        assert!(span.parent != Parent::Loop, "{span:?}");
        // A link to an object names no span.
        let link = |link: &intake::LinkView| {
            let trace = link.trace_id.map_or_else(|| "0".repeat(32), |id| id.to_string());
            (trace, link.span_id.map_or(0, model::SpanId::get))
        };
        Self {
            trace,
            id: span.span_id.get(),
            parent: span.parent_id.map(model::SpanId::get),
            name: span.name.clone(),
            service: span.service.clone(),
            resource: span.resource.clone(),
            error: span.error,
            start: span.start_ns,
            duration: span.duration_ns,
            priority: span.priority.map(i64::from),
            links: span.links.iter().map(link).collect(),
            meta: span.meta.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            numbers: span.metrics.iter().map(|(k, v)| (k.to_string(), *v)).collect(),
        }
    }

    /// As tracers send it, with what its chunk says of the trace.
    pub(crate) fn of_chunk(high: u64, span: &model::Span) -> Self {
        Self {
            trace: format!("{high:016x}{:016x}", span.trace_id.low()),
            id: span.span_id.get(),
            parent: span.parent_id.map(model::SpanId::get),
            name: span.name.to_string(),
            service: span.service.to_string(),
            resource: span.resource.to_string(),
            error: span.error,
            start: span.start.as_nanos(),
            duration: u64::try_from(span.duration.as_nanos()).unwrap(),
            meta: span.meta.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            numbers: span.metrics.iter().map(|(k, v)| (k.to_string(), *v)).collect(),
            ..Self::default()
        }
    }

    /// The forwarder's form.
    fn of_line(high: &str, priority: Option<i64>, span: &Value) -> Self {
        let hex = |value: &Value| u64::from_str_radix(value.as_str().unwrap(), 16).unwrap();
        let text = |key: &str| span[key].as_str().unwrap().to_owned();
        let meta: BTreeMap<String, String> = serde_json::from_value(span["meta"].clone()).unwrap();
        let links: Vec<Value> =
            meta.get("_dd.span_links").map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default();
        let link = |link: &Value| (link["trace_id"].as_str().unwrap().to_owned(), hex(&link["span_id"]));
        Self {
            trace: format!("{high}{}", text("trace_id")),
            id: hex(&span["span_id"]),
            parent: Some(hex(&span["parent_id"])).filter(|id| *id != 0),
            name: text("name"),
            service: text("service"),
            resource: text("resource"),
            error: span["error"] == 1,
            start: span["start"].as_u64().unwrap(),
            duration: span["duration"].as_u64().unwrap(),
            priority,
            links: links.iter().map(link).collect(),
            meta,
            numbers: serde_json::from_value(span["metrics"].clone()).unwrap(),
        }
    }

    /// Empty when it is not there.
    pub(crate) fn tag(&self, key: &str) -> &str {
        self.meta.get(key).map_or("", String::as_str)
    }

    /// A field of a span of `tracing`, as text: some kinds of numbers become tags, others metrics.
    pub(crate) fn field(&self, key: &str) -> String {
        self.number(key).map_or_else(|| self.tag(key).to_owned(), |number| number.to_string())
    }

    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.numbers.get(key).copied()
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.duration
    }

    /// `error.type: error.message`, empty without an error.
    pub(crate) fn failure(&self) -> String {
        match self.error {
            true => format!("{}: {}", self.tag("error.type"), self.tag("error.message")),
            false => String::new(),
        }
    }
}
