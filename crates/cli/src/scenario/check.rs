//! Holds what came against what was expected. Pure: a snapshot in, sentences out. Each sentence says what was looked
//! for, what was found, and what comes closest to it.

use std::collections::BTreeSet;
use std::fmt;

use intake::{LogView, MetricValue, MetricView, Parent, Snapshot, SpanView, TraceView};
use model::{Record, Status};
use sandbox::{TimelineEvent, What};
use serde::Serialize;
use serde_json::Value;

use super::expect::{
    AnswerExpectation, Count, ErrorExpectation, Expect, LogExpectation, MetricExpectation, Pattern,
    SpanExpectation,
};
use crate::run::Answer;

/// One expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// What was expected.
    pub(super) expected: String,
    /// What is there instead.
    pub(super) found: String,
    /// What comes closest, and how it differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) closest: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.expected, self.found)
    }
}

/// All that does not hold of what the intake and the local Lambda saw.
pub(super) fn received(expect: &Expect, received: &Snapshot, timeline: &[TimelineEvent]) -> Vec<Failure> {
    let mut failures = Vec::new();
    failures.extend(expect.spans.iter().filter_map(|wanted| spans(wanted, received)));
    failures.extend(expect.logs.iter().filter_map(|wanted| logs(wanted, received)));
    failures.extend(expect.metrics.iter().flat_map(|wanted| metrics(wanted, received)));
    failures.extend(counts(expect, received, timeline));
    failures
}

const NAME: &str = "its name";

/// How many of `all` have no difference; with the differences of the closest when that is not the number.
fn select<'a, T: 'a>(
    all: impl Iterator<Item = &'a T>,
    count: Count,
    expected: String,
    differences: impl Fn(&T) -> Vec<String>,
    label: impl Fn(&T) -> String,
) -> Option<Failure> {
    let (mut found, mut total) = (0, 0_u64);
    let mut closest: Option<((bool, usize), &T, Vec<String>)> = None;
    for one in all {
        total += 1;
        let differences = differences(one);
        if differences.is_empty() {
            found += 1;
            continue;
        }
        // One of another name is further away than one in another place.
        let distance = (differences.iter().any(|one| one.starts_with(NAME)), differences.len());
        if closest.as_ref().is_none_or(|(least, ..)| distance < *least) {
            closest = Some((distance, one, differences));
        }
    }
    if count.holds(found) {
        return None;
    }
    let closest = closest.filter(|_| !count.has_too_many(found));
    let closest = closest.map(|(_, one, differences)| (label(one), differences));
    let closest =
        closest.into_iter().flat_map(|(label, differences)| std::iter::once(label).chain(differences));
    Some(Failure {
        expected: format!("{expected}, {count}"),
        found: format!("found {found} of {total}"),
        closest: closest.collect(),
    })
}

fn differs(out: &mut Vec<String>, what: &str, wanted: Option<&Pattern>, found: &str) {
    if let Some(wanted) = wanted.filter(|wanted| !wanted.matches(found)) {
        out.push(format!("{what} is {found:?}, not {:?}", wanted.to_string()));
    }
}

fn spans(wanted: &SpanExpectation, received: &Snapshot) -> Option<Failure> {
    let all: Vec<(&TraceView, &SpanView)> =
        received.traces.iter().flat_map(|trace| trace.spans.iter().map(move |span| (trace, span))).collect();
    let differences = |(trace, span): &(&TraceView, &SpanView)| {
        let mut out = Vec::new();
        differs(&mut out, NAME, wanted.name.as_ref(), &span.name);
        let above = above(trace, span);
        if let Some(path) = &wanted.path {
            let steps: Vec<Pattern> = path.split('>').map(|step| step.trim().into()).collect();
            let names: Vec<&str> = std::iter::once(span.name.as_str()).chain(above.iter().copied()).collect();
            let fits = names.len() >= steps.len()
                && steps.iter().rev().zip(&names).all(|(step, name)| step.matches(name));
            if !fits {
                let names: Vec<_> = names.into_iter().rev().collect();
                out.push(format!("its path is {:?}, not {path:?}", names.join(" > ")));
                differs(&mut out, NAME, steps.last(), &span.name);
            }
        }
        let parent = match span.parent {
            Parent::Missing => "(a span that did not arrive)",
            _ => above.first().copied().unwrap_or_default(),
        };
        differs(&mut out, "its parent", wanted.parent.as_ref(), parent);
        differs(&mut out, "its service", wanted.service.as_ref(), &span.service);
        differs(&mut out, "its resource", wanted.resource.as_ref(), &span.resource);
        differs(&mut out, "its type", wanted.kind.as_ref(), &span.kind);
        if wanted.error.is_some_and(|error| error != span.error) {
            out.push(if span.error { "it has an error" } else { "it has no error" }.to_owned());
        }
        for (name, value) in &wanted.tags {
            let number = || span.metrics.get(name).map(ToString::to_string);
            match span.tag(name).map(ToOwned::to_owned).or_else(number) {
                Some(found) => differs(&mut out, name, Some(value), &found),
                None => out.push(format!("it has no {name}, which should be {:?}", value.to_string())),
            }
        }
        for name in
            wanted.without.iter().filter(|name| span.tag(name).is_some() || span.metrics.get(name).is_some())
        {
            out.push(format!("it has {name}"));
        }
        out
    };
    let label = |(trace, span): &(&TraceView, &SpanView)| {
        format!("span {} {:?} of trace {}", span.name, span.resource, trace.trace_id)
    };
    select(all.iter(), wanted.count, wanted.to_string(), differences, label)
}

/// Names of the spans above this one, the nearest first.
fn above<'a>(trace: &'a TraceView, span: &SpanView) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut next = span.parent_id;
    while let Some(parent) = next.and_then(|id| trace.span(id)) {
        names.push(parent.name.as_str());
        // Broken ids may lead in a circle.
        if names.len() > trace.spans.len() {
            break;
        }
        next = parent.parent_id;
    }
    names
}

impl fmt::Display for SpanExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.name) {
            (Some(path), _) => write!(f, "span {path}")?,
            (None, Some(name)) => write!(f, "span {name}")?,
            (None, None) => f.write_str("span")?,
        }
        match &self.parent {
            Some(parent) if parent.to_string().is_empty() => f.write_str(" without a parent")?,
            Some(parent) => write!(f, " under {parent}")?,
            None => {}
        }
        for (what, wanted) in [("service", &self.service), ("resource", &self.resource), ("type", &self.kind)]
        {
            if let Some(wanted) = wanted {
                write!(f, " {what}={wanted}")?;
            }
        }
        if let Some(error) = self.error {
            f.write_str(if error { " with an error" } else { " without an error" })?;
        }
        for (name, value) in &self.tags {
            write!(f, " {name}={value}")?;
        }
        self.without.iter().try_for_each(|name| write!(f, " without {name}"))
    }
}

fn logs(wanted: &LogExpectation, received: &Snapshot) -> Option<Failure> {
    let differences = |log: &LogView| {
        let mut out = Vec::new();
        if !wanted.message.matches(log.message.trim_end()) {
            out.push(format!("its message is not {:?}", wanted.message.to_string()));
        }
        differs(&mut out, "its function", wanted.function.as_ref(), &log.function);
        differs(&mut out, "its status", wanted.status.as_ref(), log.status);
        differs(&mut out, "its service", wanted.service.as_ref(), &log.service);
        for tag in wanted.tags.iter().filter(|tag| !log.tags.iter().any(|t| tag.matches(t))) {
            out.push(format!("it has no tag {tag}"));
        }
        if let Some(wanted) = wanted.in_trace {
            let trace = received.traces.iter().find(|trace| Some(trace.trace_id) == log.trace_id);
            let span = log.span_id.and_then(|id| trace?.span(id));
            if span.is_some() != wanted {
                out.push(
                    if wanted { "no span that arrived is named in it" } else { "it names a span" }.to_owned(),
                );
            }
        }
        out
    };
    let label = |log: &LogView| format!("log {:?}", log.message.chars().take(200).collect::<String>());
    let mut expected = format!("log {:?}", wanted.message.to_string());
    if let Some(function) = &wanted.function {
        expected = format!("{expected} of {function}");
    }
    select(received.logs.iter(), wanted.count, expected, differences, label)
}

fn metrics(wanted: &MetricExpectation, received: &Snapshot) -> Vec<Failure> {
    let of_tags =
        |metric: &&MetricView| wanted.tags.iter().all(|tag| metric.tags.iter().any(|t| tag.matches(t)));
    let named: Vec<_> = received.metrics.iter().filter(|metric| wanted.name.matches(&metric.name)).collect();
    let points = named.iter().copied().filter(of_tags).flat_map(|metric| &metric.points);
    let (mut count, mut sum, mut least, mut most) = (0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for point in points {
        let (n, low, total, high) = match point.value {
            MetricValue::Number { value } => (1, value, value, value),
            MetricValue::Distribution { count, min, sum, max, .. } => (count, min, sum, max),
        };
        (count, sum, least, most) = (count + n, sum + total, least.min(low), most.max(high));
    }
    let tags: Vec<_> = wanted.tags.iter().map(ToString::to_string).collect();
    let name = format!("metric {} {}", wanted.name, tags.join(" "));
    let name = name.trim_end();
    let mut failures = Vec::new();
    let mut fail = |expected: String, found: String| {
        let closest =
            named.iter().take(5).map(|metric| format!("{} with {}", metric.name, metric.tags.join(" ")));
        let closest = if count == 0 { closest.collect() } else { Vec::new() };
        failures.push(Failure { expected: format!("{name}, {expected}"), found, closest });
    };
    if !wanted.count.holds(count) {
        fail(format!("{} values", wanted.count), format!("found {count}"));
        return failures;
    }
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    for (what, wanted, found) in
        [("sum", wanted.sum, sum), ("min", wanted.min, least), ("max", wanted.max, most)]
    {
        let Some(wanted) = wanted else { continue };
        let holds = match what {
            "min" => found >= wanted || close(found, wanted),
            "max" => found <= wanted || close(found, wanted),
            _ => close(found, wanted),
        };
        if !holds {
            fail(format!("{what} {wanted}"), format!("it is {found}"));
        }
    }
    failures
}

fn counts(expect: &Expect, received: &Snapshot, timeline: &[TimelineEvent]) -> Vec<Failure> {
    let spans = || received.traces.iter().flat_map(|trace| &trace.spans);
    let of = |like: fn(&What) -> bool| timeline.iter().filter(|event| like(&event.what)).count() as u64;
    let sandboxes: BTreeSet<_> = timeline.iter().map(|event| &event.sandbox).collect();
    let counts = &expect.counts;
    let all = [
        ("traces", counts.traces, received.traces.len() as u64),
        ("spans", counts.spans, spans().count() as u64),
        ("logs", counts.logs, received.counts.logs),
        ("metric points", counts.points, received.counts.points),
        ("requests", counts.requests, received.counts.requests),
        ("failed requests", counts.failed_requests, received.counts.failed_requests),
        ("violations", counts.violations, received.counts.violations),
        ("orphans", counts.orphans, spans().filter(|span| span.parent == Parent::Missing).count() as u64),
        ("duplicates", counts.duplicates, spans().filter(|span| span.copies > 1).count() as u64),
        ("sandboxes", counts.sandboxes, sandboxes.len() as u64),
        ("cold starts", counts.cold_starts, of(|what| matches!(what, What::Record(Record::InitStart(_))))),
        ("timeouts", counts.timeouts, of(timed_out)),
        ("undelivered", counts.undelivered, of(|what| matches!(what, What::DeliveryFailed { .. }))),
    ];
    let failures = all.into_iter().filter_map(|(name, wanted, found)| {
        let wanted = wanted.filter(|wanted| !wanted.holds(found))?;
        Some(Failure {
            expected: format!("{name}, {wanted}"),
            found: format!("found {found}"),
            closest: match name {
                "violations" => received.violations.iter().take(5).map(ToString::to_string).collect(),
                _ => Vec::new(),
            },
        })
    });
    failures.collect()
}

fn timed_out(what: &What) -> bool {
    matches!(what, What::Record(Record::RuntimeDone(done)) if done.status == Status::Timeout)
}

/// What does not hold of one answer.
pub(super) fn answer(wanted: &AnswerExpectation, answer: &Answer) -> Vec<Failure> {
    let mut failures = Vec::new();
    let place = format!("answer to {}", answer.call);
    let mut fail = |expected: String, found: String| {
        failures.push(Failure { expected: format!("{place}, {expected}"), found, closest: Vec::new() });
    };
    let text = |key: &str| answer.payload.get(key).and_then(Value::as_str).unwrap_or_default();
    let error = answer.function_error.as_ref().map(|error| match text("errorType") {
        "" => error.as_str(),
        kind => kind,
    });
    let told = || match error {
        Some(error) => format!("{} {error}: {}", answer.status, answer.payload),
        None => format!("{} {}", answer.status, answer.payload),
    };
    if wanted.status.is_some_and(|status| status != answer.status) {
        fail(format!("status {}", wanted.status.unwrap_or_default()), told());
    }
    match &wanted.error {
        Some(ErrorExpectation::Any(any)) if *any != error.is_some() => {
            fail(if *any { "an error" } else { "no error" }.to_owned(), told());
        }
        Some(ErrorExpectation::Type(kind)) if !error.is_some_and(|error| kind.matches(error)) => {
            fail(format!("error {kind}"), told());
        }
        _ => {}
    }
    if let Some(message) = wanted.message.as_ref().filter(|message| !message.matches(text("errorMessage"))) {
        fail(format!("message {:?}", message.to_string()), told());
    }
    if let Some(part) = wanted.answer.as_ref().filter(|part| !contains(&answer.payload, part)) {
        fail(part.to_string(), told());
    }
    failures
}

/// Objects may have more fields than are asked for; all else is equal.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

#[cfg(test)]
mod tests;
