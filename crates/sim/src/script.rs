//! What a made-up function does in an invocation, step by step.

use std::time::Duration;

use engine::{EndCall, Input, StartCall};
use model::{
    Chunk, LogLine, Metric, Record, RequestId, Span, SpanId, TelemetryRecord, Text, TraceId, TracerInfo,
    UnixNanos,
};
use propagation::TraceContext;
use trigger::Reading;

use crate::dice::Dice;
use crate::plan::{Library, Plan};

/// A step, and how long after the one before, in microseconds.
pub(crate) type Script = std::vec::IntoIter<(u64, Step)>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Something for the extension.
    Tell(Box<Input>),
    /// A line on standard output.
    Print(String),
    Respond,
    Crash,
    Hang,
    Next,
}

/// The number of a request: its trace has the same.
pub(crate) fn number(id: &RequestId) -> u64 {
    id.as_str().trim_start_matches('r').parse().unwrap_or(0)
}

pub(crate) fn trace_id(number: u64) -> Option<TraceId> {
    TraceId::new(0, 1_000_000 + number)
}

pub(crate) const VALUES: &str = "sim.value";

/// Numbers that are given once.
#[derive(Debug, Default)]
pub(crate) struct Serial(u64);

impl Serial {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

pub(crate) fn write(
    plan: &Plan,
    dice: &mut Dice,
    serial: &mut Serial,
    now: UnixNanos,
    id: &RequestId,
) -> Script {
    let mut steps = Vec::new();
    let root = SpanId::new(serial.next());
    if plan.library == Library::Extension {
        steps.push((dice.between(50, 3000), Step::Tell(Box::new(start_call(id)))));
    }
    for _ in 0..dice.between(0, 6) {
        let pause = dice.between(10, 60_000);
        let step = match dice.between(0, 2) {
            0 => Step::Print(format!("{} prints {}", id.as_str(), serial.next())),
            1 => {
                Step::Tell(Box::new(Input::Metrics(vec![Metric::distribution(VALUES, serial.next() as f64)])))
            }
            _ => spans(id, root, dice, serial, now),
        };
        steps.push((pause, step));
    }
    if dice.percent(plan.hangs) {
        steps.push((1000, Step::Hang));
    }
    if dice.percent(plan.crashes) {
        steps.push((1000, Step::Crash));
    }
    if plan.library == Library::Extension {
        steps.push((dice.between(50, 3000), Step::Tell(Box::new(end_call(id, root)))));
    }
    steps.push((dice.between(2000, 30_000), Step::Respond));
    if plan.library == Library::Own {
        steps.push((dice.between(20, 5000), own_root(id, root, now)));
    }
    if dice.percent(20) {
        steps.push((dice.between(20, 5000), spans(id, root, dice, serial, now)));
    }
    steps.push((dice.between(2000, 4000), Step::Next));
    steps.into_iter()
}

fn start_call(id: &RequestId) -> Input {
    let parent = trace_id(number(id)).map(|trace_id| TraceContext {
        trace_id,
        span_id: SpanId::new(7),
        priority: None,
        origin: None,
        tags: model::Tags::new(),
        tracestate: None,
        baggage: model::Tags::new(),
        links: Vec::new(),
    });
    let reading = Reading { parent, ..Reading::default() };
    Input::StartCall(Box::new(StartCall { request_id: Some(id.clone()), reading }))
}

fn end_call(id: &RequestId, root: Option<SpanId>) -> Input {
    Input::EndCall(Box::new(EndCall { request_id: Some(id.clone()), span_id: root, ..EndCall::default() }))
}

fn spans(
    id: &RequestId,
    parent: Option<SpanId>,
    dice: &mut Dice,
    serial: &mut Serial,
    now: UnixNanos,
) -> Step {
    let spans = (0..dice.between(1, 4)).filter_map(|_| span("work", id, serial.next(), parent, now));
    tell(spans.collect())
}

fn own_root(id: &RequestId, root: Option<SpanId>, now: UnixNanos) -> Step {
    let root = root.and_then(|root| span("aws.lambda", id, root.get(), SpanId::new(7), now));
    tell(root.into_iter().collect())
}

fn tell(spans: Vec<Span>) -> Step {
    Step::Tell(Box::new(Input::Traces { tracer: TracerInfo::default(), chunks: vec![Chunk { spans }] }))
}

fn span(
    name: &'static str,
    id: &RequestId,
    span: u64,
    parent: Option<SpanId>,
    now: UnixNanos,
) -> Option<Span> {
    let mut span = Span::new(name, trace_id(number(id))?, SpanId::new(span)?, parent);
    (span.service, span.resource) = ("orders".into(), "orders".into());
    (span.start, span.duration) = (now, Duration::from_millis(1));
    span.meta.insert("request_id", Text::from(id.as_str().to_owned()));
    Some(span)
}

pub(crate) fn line(time: UnixNanos, text: String) -> TelemetryRecord {
    TelemetryRecord { time, record: Record::FunctionLog(LogLine::Text(text)) }
}
