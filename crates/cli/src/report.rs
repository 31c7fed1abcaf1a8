//! What arrived, for the terminal: traces as trees, log lines, metrics.

use std::fmt::Write;

use intake::{LogView, MetricType, MetricValue, MetricView, Parent, Snapshot, SpanView, TraceView};
use serde_json::Value;

use crate::terminal::Paint;
use crate::units::{duration, fit, number};

const BAR: usize = 26;
/// Log lines and metrics shown; the page has all.
const MAX_LOGS: usize = 40;
const MAX_METRICS: usize = 60;
const MAX_VIOLATIONS: usize = 30;

/// Everything, as lines.
pub(crate) fn all(received: &Snapshot, paint: Paint, columns: usize) -> String {
    let mut out = String::new();
    let mut traces: Vec<_> = received.traces.iter().collect();
    traces.sort_by_key(|trace| trace.start);
    for trace in traces {
        tree(&mut out, trace, paint, columns);
    }
    logs(&mut out, &received.logs, paint, columns);
    metrics(&mut out, &received.metrics, paint);
    violations(&mut out, received, paint);
    out
}

/// What is not as Datadog wants it.
fn violations(out: &mut String, received: &Snapshot, paint: Paint) {
    if received.violations.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold("Not as Datadog wants it"));
    for violation in received.violations.iter().take(MAX_VIOLATIONS) {
        let _ = writeln!(out, "  {} {violation}", paint.red(violation.rule));
    }
    let more = received.counts.violations.saturating_sub(MAX_VIOLATIONS as u64);
    if more > 0 {
        let _ = writeln!(
            out,
            "  {}",
            paint.dim(&format!("… and {more} more: see the page, or /local/violations"))
        );
    }
}

/// One trace: a line for each span with its place in time.
fn tree(out: &mut String, trace: &TraceView, paint: Paint, columns: usize) {
    let errors = if trace.errors > 0 { format!(", {} with an error", trace.errors) } else { String::new() };
    let spans =
        if trace.spans.len() == 1 { "1 span".to_owned() } else { format!("{} spans", trace.spans.len()) };
    let title = format!("Trace {}", trace.trace_id);
    let _ = writeln!(out, "\n{}  {spans}{errors}, {}", paint.bold(&title), duration(trace.duration_ns));
    let prefixes = branches(trace);
    let names =
        trace.spans.iter().zip(&prefixes).map(|(span, (_, own))| width(own) + width(&label(span))).max();
    let names = names.unwrap_or_default().clamp(20, columns.saturating_sub(BAR + 34).max(20));
    let mut missing = None;
    for (span, (above, own)) in trace.spans.iter().zip(&prefixes) {
        if span.parent == Parent::Missing && span.parent_id != missing {
            missing = span.parent_id;
            let id = missing.map(|id| id.get().to_string()).unwrap_or_default();
            let _ = writeln!(out, "  {}", paint.dim(&format!("◌ a span that did not arrive: {id}")));
        }
        line(out, trace, span, (own, names), paint);
        if let Some(message) = span.tag("error.message").or(span.tag("error.msg")) {
            let text = fit(message, columns.saturating_sub(width(above) + 6)).trim_end().to_owned();
            let _ = writeln!(out, "  {}{}", paint.dim(above), paint.red(&format!("  {text}")));
        }
        for link in &span.links {
            let Some(id) = link.trace_id else { continue };
            let _ =
                writeln!(out, "  {}{}", paint.dim(above), paint.dim(&format!("  ↪ linked to trace {id}")));
        }
    }
}

fn line(out: &mut String, trace: &TraceView, span: &SpanView, (prefix, names): (&str, usize), paint: Paint) {
    let label = fit(&label(span), names.saturating_sub(width(prefix)));
    let (name, resource) = label.split_at_checked(span.name.len()).unwrap_or((&label, ""));
    let name = if span.error { paint.red(name) } else { paint.bold(name) };
    let mark = if span.error { paint.red("✗") } else { " ".to_owned() };
    let bar = bar(trace, span);
    let bar = if span.error { paint.red(&bar) } else { paint.cyan(&bar) };
    let _ = writeln!(
        out,
        "  {}{name}{} {mark} {} {bar} {:>9}",
        paint.dim(prefix),
        paint.dim(resource),
        fit(&span.service, 14),
        duration(span.duration_ns),
    );
}

fn label(span: &SpanView) -> String {
    if span.resource.is_empty() || span.resource == span.name {
        span.name.clone()
    } else {
        format!("{}  {}", span.name, span.resource)
    }
}

/// The branch characters of each span: above what hangs under it, and before its own name.
fn branches(trace: &TraceView) -> Vec<(String, String)> {
    let depths: Vec<usize> = trace.spans.iter().map(|span| span.depth.min(60) as usize).collect();
    let tops = tops(trace);
    let more = |at: usize, depth: usize| {
        let rest = depths.iter().zip(&tops).skip(at + 1);
        let mut below = rest.take_while(|(d, top)| **d >= depth && tops.get(at) == Some(*top));
        below.any(|(d, _)| *d == depth)
    };
    let prefix = |(at, depth): (usize, &usize)| {
        let rails: String = (1..*depth).map(|d| if more(at, d) { "│  " } else { "   " }).collect();
        if *depth == 0 {
            return (has_below(&depths, at), String::new());
        }
        let (own, rest) = if more(at, *depth) { ("├─ ", "│  ") } else { ("└─ ", "   ") };
        (format!("{rails}{rest}{}", has_below(&depths, at)), format!("{rails}{own}"))
    };
    depths.iter().enumerate().map(prefix).collect()
}

/// Under which top each span hangs, counted: a root, or a parent that did not arrive.
fn tops(trace: &TraceView) -> Vec<usize> {
    let mut tops = 0;
    let mut missing = None;
    let top = |span: &SpanView| {
        let is_new = match span.parent {
            Parent::Present => false,
            Parent::None | Parent::Loop => true,
            Parent::Missing => missing != span.parent_id,
        };
        if span.parent == Parent::Missing {
            missing = span.parent_id;
        }
        tops += usize::from(is_new);
        tops
    };
    trace.spans.iter().map(top).collect()
}

fn has_below(depths: &[usize], at: usize) -> String {
    let (own, next) = (depths.get(at), depths.get(at + 1));
    if next > own { "│".to_owned() } else { String::new() }
}

/// When a span ran within its trace, at least one character long.
fn bar(trace: &TraceView, span: &SpanView) -> String {
    let whole = trace.duration_ns.max(1) as f64;
    let cell = |ns: u64| (ns as f64 / whole * BAR as f64).round() as usize;
    let from = cell(span.offset_ns).min(BAR - 1);
    let to = cell(span.offset_ns.saturating_add(span.duration_ns)).clamp(from + 1, BAR);
    format!("{}{}{}", " ".repeat(from), "━".repeat(to - from), " ".repeat(BAR - to))
}

fn logs(out: &mut String, logs: &[LogView], paint: Paint, columns: usize) {
    let platform = |log: &&LogView| {
        ["INIT_START", "START ", "END ", "REPORT "].iter().any(|w| log.message.starts_with(w))
    };
    let lines: Vec<_> = logs.iter().filter(|log| !platform(log)).collect();
    let others = logs.len() - lines.len();
    let title = format!("Logs  {} lines of the functions, {others} of the platform", lines.len());
    let _ = writeln!(out, "\n{}", paint.bold(&title));
    for log in lines.iter().take(MAX_LOGS) {
        let time = log.time.to_rfc3339_millis();
        let time = time.get(11..23).unwrap_or_default();
        let status = fit(log.status, 8);
        let status = if ["error", "critical"].contains(&log.status) { paint.red(&status) } else { status };
        let trace =
            log.trace_id.map(|id| format!("trace …{:08x}", id.low() & 0xffff_ffff)).unwrap_or_default();
        let text = fit(&message(&log.message), columns.saturating_sub(58));
        let _ = writeln!(
            out,
            "  {} {status} {} {text} {}",
            paint.dim(time),
            fit(&log.function, 14),
            paint.dim(&trace)
        );
    }
    rest(out, lines.len(), MAX_LOGS);
}

/// The message in a JSON line, or the whole line.
fn message(line: &str) -> String {
    let parsed = serde_json::from_str(line).unwrap_or(Value::Null);
    let places = ["/message", "/msg", "/fields/message"];
    let found = places.iter().find_map(|place| parsed.pointer(place)?.as_str());
    found.unwrap_or(line).trim_end().replace('\n', " ⏎ ")
}

fn metrics(out: &mut String, metrics: &[MetricView], paint: Paint) {
    let head = format!(
        "{} {} {} {:>6} {:>10} {:>10} {:>10}",
        fit("Metrics", 42),
        fit("function", 14),
        fit("type", 12),
        "values",
        "min",
        "avg",
        "max"
    );
    let _ = writeln!(out, "\n{}", paint.bold(&head));
    let rows = together(metrics);
    for Row { name, function, kind, count, min, sum, max } in rows.iter().take(MAX_METRICS) {
        let figures =
            [*min, sum / (*count).max(1) as f64, *max].map(|value| format!("{:>10}", number(value)));
        let (name, function, kind) = (fit(name, 40), fit(function, 14), fit(kind, 12));
        let _ = writeln!(out, "  {name} {function} {kind} {count:>6} {}", figures.join(" "));
    }
    rest(out, rows.len(), MAX_METRICS);
}

struct Row<'a> {
    name: &'a str,
    function: &'a str,
    kind: &'static str,
    count: u64,
    min: f64,
    sum: f64,
    max: f64,
}

/// One row for each metric of each function, whatever its other tags.
fn together(metrics: &[MetricView]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for metric in metrics {
        let kind = match metric.kind {
            MetricType::Count => "count",
            MetricType::Gauge => "gauge",
            MetricType::Distribution => "distribution",
        };
        let function = metric.tag(model::keys::lambda::FUNCTION_NAME).unwrap_or_default();
        for point in &metric.points {
            let (count, min, sum, max) = match point.value {
                MetricValue::Number { value } => (1, value, value, value),
                MetricValue::Distribution { count, min, max, sum, .. } => (count, min, sum, max),
            };
            let same =
                |row: &&mut Row<'_>| row.name == metric.name && row.function == function && row.kind == kind;
            match rows.iter_mut().find(same) {
                Some(row) => {
                    row.count += count;
                    (row.min, row.sum, row.max) = (row.min.min(min), row.sum + sum, row.max.max(max));
                }
                None => rows.push(Row { name: &metric.name, function, kind, count, min, sum, max }),
            }
        }
    }
    rows.sort_by_key(|row| (row.name, row.function));
    rows
}

fn rest(out: &mut String, all: usize, shown: usize) {
    if all > shown {
        let _ = writeln!(out, "  … and {} more on the page", all - shown);
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use intake::{Limits, Store};
    use model::{Batch, Span, SpanId, TraceChunk, TraceId, TracerPayload, UnixNanos};

    use super::all;
    use crate::terminal::Paint;

    fn span(name: &'static str, id: u64, parent: u64, start: u64, length: u64) -> Span {
        let trace_id = TraceId::new(1, 2).unwrap();
        let mut span = Span::new(name, trace_id, SpanId::new(id).unwrap(), SpanId::new(parent));
        span.service = "orders".into();
        (span.start, span.duration) = (UnixNanos::from_millis(start), Duration::from_millis(length));
        span.meta.insert("_dd.p.tid", "0000000000000001");
        span
    }

    #[test]
    fn a_trace_is_a_tree_in_time() {
        let mut failed = span("fulfil", 4, 2, 60, 39);
        failed.error = true;
        failed.meta.insert("error.message", "no stock");
        let spans = vec![
            span("root", 1, 0, 0, 100),
            span("a", 2, 1, 50, 50),
            failed,
            span("b", 3, 1, 99, 1),
            span("lost", 9, 8, 1, 1),
        ];
        let chunks = vec![TraceChunk { spans, ..TraceChunk::default() }];
        let store = Store::new(Limits::default());
        store.add(Batch::Traces(vec![TracerPayload { chunks, ..TracerPayload::default() }]));
        let text = all(&store.snapshot(), Paint::fixed(false), 100);
        let tree: Vec<_> =
            text.lines().skip(1).take_while(|line| !line.is_empty()).map(str::trim_end).collect();
        let want = [
            "Trace 00000000000000010000000000000002  5 spans, 1 with an error, 100.0 ms",
            "  root                   orders         ━━━━━━━━━━━━━━━━━━━━━━━━━━  100.0 ms",
            "  ├─ a                   orders                      ━━━━━━━━━━━━━   50.0 ms",
            "  │  └─ fulfil         ✗ orders                         ━━━━━━━━━━   39.0 ms",
            "  │       no stock",
            "  └─ b                   orders                                  ━    1.0 ms",
            "  ◌ a span that did not arrive: 8",
            "  └─ lost                orders         ━                             1.0 ms",
        ];
        assert_eq!(tree, want, "{text}");
    }
}
