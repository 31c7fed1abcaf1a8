//! What has to have arrived when the demo is over, and in clear words what has not. Knows the two example
//! functions; called by the demo.

use std::fmt;

use intake::{LogView, MetricType, MetricView, Snapshot, SpanView, TraceView};
use model::keys::{lambda, metrics, spans, trace};
use serde::Serialize;

use crate::callers::Caller;

pub(crate) const API: &str = "orders-api";
pub(crate) const WORKER: &str = "orders-worker";
/// The metric that orders-api sends itself.
const CUSTOM_METRIC: &str = "orders.received";
/// Spans that the functions make: by whom, and how.
const WORK: [(&str, &str, &str); 4] = [
    (API, "validate_order", "tracing"),
    (API, "price_order", "OpenTelemetry"),
    (WORKER, "fulfil", "tracing"),
    (WORKER, "pack_order", "OpenTelemetry"),
];
/// Span of the AWS SDK's call.
const SDK_CALL: &str = "aws.request";
/// How far a child may reach out of its parent: Lambda's own times have milliseconds.
const SLACK_NS: u64 = 2_000_000;

/// Something that did not arrive, or not as it should: one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Missing {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// What the demo sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Who called orders-api over HTTP.
    pub(crate) shop: Caller,
    /// Who sent the messages, in their order.
    pub(crate) producers: [Caller; 2],
    /// Of the three invocations; `None` for one that Lambda refused.
    pub(crate) request_ids: [Option<String>; 3],
}

/// All that is missing of what was sent; empty when the demo is complete.
pub(crate) fn expected(received: &Snapshot, sent: &Sent) -> Vec<Missing> {
    let mut check = Check { received, missing: Vec::new() };
    check.http_trace(sent);
    check.message_trace(sent);
    check.failed_invocation(sent);
    check.cold_starts();
    check.metrics();
    check.requests();
    check.missing
}

struct Check<'a> {
    received: &'a Snapshot,
    missing: Vec<Missing>,
}

impl<'a> Check<'a> {
    fn miss(&mut self, sentence: impl Into<String>) {
        self.missing.push(Missing(sentence.into()));
    }

    fn trace(&self, caller: &Caller) -> Option<&'a TraceView> {
        self.received.traces.iter().find(|trace| trace.trace_id == caller.trace_id)
    }

    /// web-shop → aws.httpapi → orders-api → its work and the SDK's call → orders-worker → its work.
    fn http_trace(&mut self, sent: &Sent) {
        let what = format!("trace {} of the HTTP request", sent.shop.trace_id);
        let Some(trace) = self.trace(&sent.shop) else {
            return self.miss(format!("{what}: no span of it arrived"));
        };
        let gateway = trace.children(sent.shop.span_id).find(|span| span.name == "aws.httpapi");
        if gateway.is_none() {
            self.miss(format!(
                "{what}: no span aws.httpapi below the caller's span {}",
                sent.shop.span_id.get()
            ));
        }
        let api = invocation(trace, API);
        let worker = invocation(trace, WORKER);
        self.below(&what, gateway, api, &format!("aws.lambda of {API}"));
        let call = worker.and_then(|span| trace.span(span.parent_id?)).filter(|span| span.name == SDK_CALL);
        if call.is_none() {
            self.miss(format!("{what}: no span {SDK_CALL} of the AWS SDK above aws.lambda of {WORKER}"));
        }
        if worker.is_none() {
            self.miss(format!("{what}: no span aws.lambda of {WORKER}"));
        }
        if let (Some(api), Some(call)) = (api, call)
            && !is_below(trace, call, api)
        {
            self.miss(format!("{what}: the span {SDK_CALL} is not below aws.lambda of {API}"));
        }
        for (function, name, made_by) in WORK {
            let top = if function == API { api } else { worker };
            let found = trace.spans.iter().any(|span| {
                (span.name == name || span.resource == name)
                    && top.is_some_and(|top| is_below(trace, span, top))
            });
            if !found {
                self.miss(format!(
                    "{what}: no span {name} (made with {made_by}) below aws.lambda of {function}"
                ));
            }
        }
        self.nesting(&what, trace);
        let request_id = sent.request_ids.first().and_then(Option::as_deref);
        self.logs(&what, trace, API, request_id.or_else(|| api?.tag(lambda::REQUEST_ID)));
        self.logs(&what, trace, WORKER, worker.and_then(|span| span.tag(lambda::REQUEST_ID)));
    }

    fn below(&mut self, what: &str, parent: Option<&SpanView>, child: Option<&SpanView>, name: &str) {
        match (parent, child) {
            (_, None) => self.miss(format!("{what}: no span {name}")),
            (Some(parent), Some(child)) if child.parent_id != Some(parent.span_id) => {
                self.miss(format!("{what}: the span {name} is not directly below {}", parent.name));
            }
            _ => {}
        }
    }

    /// Every span lies within its parent, but for what happened before the invocation.
    fn nesting(&mut self, what: &str, trace: &TraceView) {
        for span in &trace.spans {
            let before = [spans::COLD_START, spans::LOAD].contains(&span.name.as_str());
            let Some(parent) = span.parent_id.and_then(|id| trace.span(id)).filter(|_| !before) else {
                continue;
            };
            let early = span.start_ns.saturating_add(SLACK_NS) < parent.start_ns;
            let late = span.end_ns() > parent.end_ns().saturating_add(SLACK_NS);
            if early || late {
                let way = if early { "begins before" } else { "ends after" };
                self.miss(format!("{what}: the span {} {way} its parent {}", span.name, parent.name));
            }
        }
        for parent in &trace.missing_parents {
            self.miss(format!(
                "{what}: the span {parent}, which others name as their parent, did not arrive"
            ));
        }
    }

    /// A line of this function that names a span of this trace, with the function's ARN and the request id.
    fn logs(&mut self, what: &str, trace: &TraceView, function: &str, request_id: Option<&str>) {
        let names_trace = |log: &&LogView| {
            log.function == function && is_object(&log.message) && log.trace_id == Some(trace.trace_id)
        };
        let Some(log) = self.received.logs.iter().find(names_trace) else {
            return self
                .miss(format!("{what}: no log line of {function} with its dd.trace_id at the JSON root"));
        };
        if log.span_id.is_none_or(|id| trace.span(id).is_none()) {
            self.miss(format!("{what}: the log line of {function} has no dd.span_id of a span that arrived"));
        }
        if !log.arn.starts_with("arn:aws:lambda:") || !log.arn.ends_with(&format!(":function:{function}")) {
            self.miss(format!("{what}: the log line of {function} has no ARN of it, but {:?}", log.arn));
        }
        if log.request_id.is_none() || log.request_id.as_deref() != request_id {
            self.miss(format!("{what}: the log line of {function} has not the request id of its invocation"));
        }
    }

    /// The first producer's trace goes on in orders-worker; the second's is linked.
    fn message_trace(&mut self, sent: &Sent) {
        let [first, second] = &sent.producers;
        let what = format!("trace {} of the queue messages", first.trace_id);
        let Some(trace) = self.trace(first) else {
            return self.miss(format!("{what}: no span of it arrived"));
        };
        let queue = trace.children(first.span_id).find(|span| span.name == "aws.sqs");
        if queue.is_none() {
            self.miss(format!(
                "{what}: no span aws.sqs below the first producer's span {}",
                first.span_id.get()
            ));
        }
        let worker = invocation(trace, WORKER);
        self.below(&what, queue, worker, &format!("aws.lambda of {WORKER}"));
        let mut links = trace.spans.iter().flat_map(|span| &span.links);
        if !links.any(|link| link.trace_id == Some(second.trace_id) && link.span_id == Some(second.span_id)) {
            self.miss(format!("{what}: no span link to the second producer's trace {}", second.trace_id));
        }
    }

    fn failed_invocation(&mut self, sent: &Sent) {
        let [_, _, Some(request_id)] = &sent.request_ids else {
            return self.miss("the invocation that fails: Lambda refused it");
        };
        let mut all = self.received.traces.iter().flat_map(|trace| &trace.spans);
        let of_request = |span: &&SpanView| {
            span.name == spans::INVOCATION && span.tag(lambda::REQUEST_ID) == Some(request_id)
        };
        let what = format!("the invocation {request_id}, which fails");
        let Some(span) = all.find(of_request) else {
            return self.miss(format!("{what}: no span aws.lambda with its request id"));
        };
        if !span.error {
            self.miss(format!("{what}: its span aws.lambda is not marked as an error"));
        }
        if span.tag(trace::ERROR_MESSAGE).or(span.tag(trace::ERROR_MSG)).is_none() {
            self.miss(format!("{what}: its span aws.lambda has no tag {}", trace::ERROR_MESSAGE));
        }
    }

    fn cold_starts(&mut self) {
        for function in [API, WORKER] {
            let mut all = self.received.traces.iter().flat_map(|trace| &trace.spans);
            if !all.any(|span| span.name == spans::COLD_START && is_of(span, function)) {
                self.miss(format!("{function}: no span {}", spans::COLD_START));
            }
        }
    }

    fn metrics(&mut self) {
        for (function, invocations, errors) in [(API, 1, 0), (WORKER, 3, 1)] {
            self.counted(function, metrics::INVOCATIONS, invocations);
            self.counted(function, metrics::ERRORS, errors);
            let per_invocation = [
                metrics::DURATION,
                metrics::BILLED_DURATION,
                metrics::MAX_MEMORY_USED,
                metrics::RUNTIME_DURATION,
            ];
            for name in per_invocation {
                self.counted(function, name, invocations);
            }
            self.counted(function, metrics::INIT_DURATION, 1);
        }
        let custom = self.received.metrics.iter().filter(|m| m.name == CUSTOM_METRIC);
        if !custom.into_iter().any(|metric| metric.kind == MetricType::Distribution) {
            self.miss(format!("{API}: the metric {CUSTOM_METRIC} did not arrive as a distribution"));
        }
    }

    /// The extension sends nothing that Datadog would refuse, drop or change.
    fn requests(&mut self) {
        for violation in &self.received.violations {
            self.miss(violation.to_string());
        }
    }

    fn counted(&mut self, function: &str, name: &str, want: u64) {
        let of_function = |m: &&MetricView| m.name == name && m.tag(lambda::FUNCTION_NAME) == Some(function);
        let found: u64 = self.received.metrics.iter().filter(of_function).map(values).sum();
        if found != want {
            self.miss(format!("{function}: the metric {name} has {found} of {want} values"));
        }
    }
}

/// How many values were measured: a count's sum, a distribution's count.
fn values(metric: &MetricView) -> u64 {
    match metric.kind {
        MetricType::Count => metric.total.as_f64() as u64,
        MetricType::Gauge => metric.points.len() as u64,
        MetricType::Distribution => metric.total.count(),
    }
}

fn invocation<'a>(trace: &'a TraceView, function: &str) -> Option<&'a SpanView> {
    trace.spans.iter().find(|span| span.name == spans::INVOCATION && is_of(span, function))
}

fn is_of(span: &SpanView, function: &str) -> bool {
    span.resource == function || span.tag(lambda::FUNCTION_NAME) == Some(function)
}

fn is_below(trace: &TraceView, span: &SpanView, top: &SpanView) -> bool {
    // As many steps as there are spans: parents may run in a circle.
    let above = std::iter::successors(Some(span), |span| trace.span(span.parent_id?));
    above.take(trace.spans.len() + 1).skip(1).any(|span| span.span_id == top.span_id)
}

fn is_object(line: &str) -> bool {
    line.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests;
