//! What is known of this sandbox's initialisation, what follows from it for its first invocation, and the
//! span of the cold start.

use std::time::Duration;

use model::{
    Chunk, InitReport, InitStart, InitializationType, InvocationReport, Metric, Millis, SamplingPriority,
    Span, SpanId, TraceId, TracerInfo, UnixNanos, keys,
};

use crate::ids::Ids;
use crate::labels::Labels;
use crate::mode::Mode;
use crate::trace::priority;

/// An initialisation this long before the first invocation was not made for it.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib>
const PROACTIVE_GAP: Duration = Duration::from_secs(10);

/// What an invocation met: facts about the sandbox, not about time or what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first, and the sandbox was made for it.
    Cold,
    /// The first, in a sandbox that was made ahead.
    Proactive,
    Warm,
    /// Sandboxes are made ahead for many at once: the word has no meaning.
    Managed,
}

impl Verdict {
    pub(crate) fn tags(self) -> &'static [(&'static str, &'static str)] {
        use keys::lambda::{COLD_START, PROACTIVE_INITIALIZATION};
        match self {
            Self::Cold => &[(COLD_START, "true")],
            Self::Proactive => &[(COLD_START, "false"), (PROACTIVE_INITIALIZATION, "true")],
            Self::Warm => &[(COLD_START, "false")],
            Self::Managed => &[],
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Boot {
    mode: Mode,
    init_start: Option<(UnixNanos, InitializationType)>,
    init_duration: Option<InitDuration>,
    first_started: Option<UnixNanos>,
    cold_span_id: SpanId,
    /// The trace that the cold start span goes to.
    context: Option<Context>,
    /// The chunk of a library's load span, until it is known whether it gets a cold start span.
    load: Option<(TracerInfo, Chunk)>,
    gave_init_duration: bool,
    /// SnapStart: how this sandbox was made of the snapshot.
    restore: Option<Restore>,
    gave_restore_duration: bool,
    seed: u64,
    /// Settled, with a span or without.
    cold_span_settled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Restore {
    start: UnixNanos,
    /// When its end was told, and how long it took.
    report: Option<(UnixNanos, Millis)>,
}

#[derive(Clone, Debug)]
struct InitDuration {
    /// The record's own time.
    time: UnixNanos,
    kind: InitializationType,
    duration: Millis,
}

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Context {
    pub(crate) trace_id: TraceId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) priority: Option<SamplingPriority>,
}

impl Boot {
    pub(crate) fn new(seed: u64, mode: Mode) -> Self {
        Self {
            mode,
            init_start: None,
            init_duration: None,
            first_started: None,
            cold_span_id: Ids::of(seed, "cold start").span(),
            context: None,
            load: None,
            gave_init_duration: false,
            restore: None,
            gave_restore_duration: false,
            seed,
            cold_span_settled: false,
        }
    }

    pub(crate) fn note_init_start(&mut self, time: UnixNanos, init: &InitStart) {
        self.init_start.get_or_insert_with(|| (time, init.initialization_type.clone()));
    }

    pub(crate) fn note_init_report(&mut self, time: UnixNanos, init: &InitReport) {
        let kind = init.initialization_type.clone();
        self.init_duration.get_or_insert(InitDuration { time, kind, duration: init.duration });
    }

    /// SnapStart: the snapshot is being restored. What came before was the life of another sandbox.
    pub(crate) fn note_restore_start(&mut self, time: UnixNanos) {
        self.restore.get_or_insert(Restore { start: time, report: None });
    }

    /// Without metrics in it, the time since the start says as much.
    pub(crate) fn note_restore_report(&mut self, time: UnixNanos, duration: Option<Millis>) {
        let restore = self.restore.get_or_insert(Restore {
            start: duration.map_or(time, |duration| time - duration.to_duration()),
            report: None,
        });
        let start = restore.start;
        let since = || Millis::new(time.since(start).as_secs_f64() * 1000.0);
        if let Some(duration) = duration.or_else(since) {
            restore.report.get_or_insert((time, duration));
        }
    }

    /// An invocation's report tells both durations too, in case their own records are missing.
    pub(crate) fn note_report(&mut self, time: UnixNanos, report: &InvocationReport) {
        if let (Some(duration), Some(restore)) = (report.restore_duration, &mut self.restore) {
            restore.report.get_or_insert((time, duration));
        }
        let Some(duration) = report.init_duration else { return };
        let kind = self.init_start.as_ref().map_or(InitializationType::OnDemand, |(_, kind)| kind.clone());
        self.init_duration.get_or_insert(InitDuration { time, kind, duration });
    }

    pub(crate) fn note_first_started(&mut self, time: UnixNanos) {
        self.first_started.get_or_insert(time);
    }

    /// `None` while facts are missing for the first invocation.
    pub(crate) fn verdict(&self, is_first: bool) -> Option<Verdict> {
        match (self.mode.has_cold_starts(), is_first) {
            (false, _) => Some(Verdict::Managed),
            (true, true) => self.first_verdict(),
            (true, false) => Some(Verdict::Warm),
        }
    }

    /// What is most likely when no more facts will come.
    pub(crate) fn last_verdict(&self, is_first: bool) -> Verdict {
        self.verdict(is_first).unwrap_or(Verdict::Cold)
    }

    fn first_verdict(&self) -> Option<Verdict> {
        if !self.mode.has_cold_starts() {
            return Some(Verdict::Managed);
        }
        let started = self.first_started?;
        let ended = self.init_start.as_ref().zip(self.init_duration.as_ref());
        let ended = ended.map(|((start, _), init)| *start + init.duration.to_duration());
        Some(match self.init_start {
            Some((_, InitializationType::ProvisionedConcurrency)) => Verdict::Proactive,
            // Initialised when the version was published; most are restored for this invocation.
            Some((_, InitializationType::SnapStart)) => {
                let restored = self.restore.and_then(|restore| restore.report);
                match restored.is_some_and(|(at, _)| started.since(at) > PROACTIVE_GAP) {
                    true => Verdict::Proactive,
                    false => Verdict::Cold,
                }
            }
            _ if ended.is_some_and(|ended| started.since(ended) > PROACTIVE_GAP) => Verdict::Proactive,
            _ => Verdict::Cold,
        })
    }

    /// The initialisation's duration, once it is known whom it was for, or when nothing more will come.
    pub(crate) fn take_init_duration(&mut self, closing: bool) -> Option<Metric> {
        let verdict = self.first_verdict().or(closing.then_some(Verdict::Cold))?;
        let init = self.init_duration.as_ref().filter(|_| !self.gave_init_duration)?;
        self.gave_init_duration = true;
        let mut tags: Vec<_> = verdict.tags().iter().map(|(k, v)| format!("{k}:{v}").into()).collect();
        tags.push(format!("{}:{}", keys::lambda::INIT_TYPE, init.kind.as_str()).into());
        let seconds = Metric::distribution(keys::metrics::INIT_DURATION, init.duration.as_secs());
        // A snapshot may be weeks old: no intake takes a value of then.
        let time = self.restore.map_or(init.time, |restore| restore.start);
        Some(Metric { tags, time: Some(time), ..seconds })
    }

    /// SnapStart: the restore's duration, under the same conditions.
    pub(crate) fn take_restore_duration(&mut self, closing: bool) -> Option<Metric> {
        let verdict = self.first_verdict().or(closing.then_some(Verdict::Cold))?;
        let (time, duration) = self.restore?.report.filter(|_| !self.gave_restore_duration)?;
        self.gave_restore_duration = true;
        let tags = verdict.tags().iter().map(|(k, v)| format!("{k}:{v}").into()).collect();
        let seconds = Metric::distribution(keys::metrics::RESTORE_DURATION, duration.as_secs());
        Some(Metric { tags, time: Some(time), ..seconds })
    }

    /// Takes a chunk that holds a library's load span. Gives it back when the cold start span is settled.
    pub(crate) fn take_load(&mut self, tracer: &TracerInfo, chunk: Chunk) -> Option<Chunk> {
        if self.cold_span_settled || self.load.is_some() {
            return Some(chunk);
        }
        self.load = Some((tracer.clone(), chunk));
        None
    }

    /// The trace of the first invocation's span, when that is made here.
    pub(crate) fn note_context(&mut self, context: Context) {
        self.context.get_or_insert(context);
    }

    /// Gives the chunk with the cold start span, once there is all for it; the held chunk as it came when
    /// there will be none. `closing`: nothing more will come that it could wait for.
    pub(crate) fn take_cold_start(&mut self, labels: &Labels, closing: bool) -> Option<(TracerInfo, Chunk)> {
        if self.cold_span_settled {
            return None;
        }
        let restored = matches!(self.init_start, Some((_, InitializationType::SnapStart)));
        let start = self.init_start.as_ref().map(|(start, _)| *start);
        let times = start.zip(self.init_duration.as_ref().map(|init| init.duration));
        match (self.first_verdict(), times) {
            // The initialisation may be days ago: what this invocation waited for was the restore.
            (Some(Verdict::Cold), _) if restored => self.restore_span(labels, closing),
            (Some(Verdict::Cold), Some((start, duration))) => self.cold_start(labels, start, duration),
            (Some(Verdict::Proactive | Verdict::Warm | Verdict::Managed), _) => {
                self.cold_span_settled = true;
                self.load.take()
            }
            (Some(Verdict::Cold) | None, _) if closing && self.load.is_some() => {
                self.cold_span_settled = true;
                self.load.take()
            }
            (Some(Verdict::Cold) | None, _) => None,
        }
    }

    /// Gives the chunk with the span of the restore. The load span is of the snapshot's time and stays as it is.
    fn restore_span(&mut self, labels: &Labels, closing: bool) -> Option<(TracerInfo, Chunk)> {
        let load = self.load.as_ref().and_then(|(_, chunk)| {
            let load = chunk.spans.iter().find(|span| span.name == keys::spans::LOAD)?;
            let priority = chunk.spans.iter().find_map(priority);
            Some(Context { trace_id: load.trace_id, parent_id: load.parent_id, priority })
        });
        let known = self.restore.and_then(|restore| Some((restore.start, restore.report?.1)));
        let (Some((start, duration)), Some(context)) = (known, load.or(self.context)) else {
            self.cold_span_settled = closing && self.load.is_some();
            return self.load.take_if(|_| closing);
        };
        let (tracer, mut chunk) = self.load.take().unwrap_or_default();
        self.cold_span_settled = true;
        // All sandboxes that are made of one snapshot have one seed.
        let subject = format!("restore {:032x} {}", context.trace_id.to_u128(), start.as_nanos());
        let id = Ids::of(self.seed, &subject).span();
        let span = start_span(keys::spans::SNAPSTART_RESTORE, id, context, labels, (start, duration));
        push_start(&mut chunk, span, context);
        Some((tracer, chunk))
    }

    fn cold_start(
        &mut self,
        labels: &Labels,
        start: UnixNanos,
        duration: Millis,
    ) -> Option<(TracerInfo, Chunk)> {
        let (tracer, mut chunk) = self.load.take().unwrap_or_default();
        let decided = chunk.spans.iter().find_map(priority);
        let load = chunk.spans.iter_mut().find(|span| span.name == keys::spans::LOAD);
        let context = match load {
            Some(load) => {
                let parent_id = load.parent_id.replace(self.cold_span_id);
                keep_within(load, start, start + duration.to_duration());
                let (from, until) = (load.start, load.end());
                let context = Context { trace_id: load.trace_id, parent_id, priority: decided };
                let is_phase = |span: &&mut Span| span.name == keys::spans::LOAD_PHASE;
                for phase in chunk.spans.iter_mut().filter(is_phase) {
                    keep_within(phase, from, until);
                }
                context
            }
            None => self.context?,
        };
        self.cold_span_settled = true;
        let id = self.cold_span_id;
        let span = start_span(keys::spans::COLD_START, id, context, labels, (start, duration));
        push_start(&mut chunk, span, context);
        Some((tracer, chunk))
    }

    /// Spans that are held.
    pub(crate) fn held(&self) -> u64 {
        self.load.as_ref().map_or(0, |(_, chunk)| chunk.spans.len() as u64)
    }
}

/// A span of how this sandbox began.
fn start_span(
    name: &'static str,
    id: SpanId,
    context: Context,
    labels: &Labels,
    (start, duration): (UnixNanos, Millis),
) -> Span {
    let mut span = Span::new(name, context.trace_id, id, context.parent_id);
    span.service = labels.service.clone();
    span.resource = labels.function_name.clone();
    span.kind = keys::spans::SERVERLESS.into();
    (span.start, span.duration) = (start, duration.to_duration());
    span
}

/// Puts it into its chunk; what a chunk has to say of its trace, it says if it is alone there.
fn push_start(chunk: &mut Chunk, mut span: Span, context: Context) {
    if chunk.spans.is_empty() {
        if context.trace_id.high() != 0 {
            span.meta.insert(keys::trace::TID, format!("{:016x}", context.trace_id.high()));
        }
        if let Some(priority) = context.priority {
            span.metrics.insert(keys::trace::SAMPLING_PRIORITY, f64::from(priority.as_i8()));
        }
    }
    chunk.spans.push(span);
}

/// Cuts a span to a time that it lies in in truth: its clock and Lambda's differ by some milliseconds. One
/// that lies elsewhere is left as it is.
fn keep_within(span: &mut Span, from: UnixNanos, until: UnixNanos) {
    if span.start < until && from < span.end() {
        let end = span.end().min(until);
        span.start = span.start.max(from);
        span.duration = end.since(span.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load span longer than the cold start that it is part of is what users saw elsewhere.
    #[test]
    fn a_load_span_is_kept_within_its_cold_start() {
        let check = |(start, length): (u64, u64), want: (u64, u64)| {
            let ids = (TraceId::new(0, 1), SpanId::new(1));
            let mut span = Span::new(keys::spans::LOAD, ids.0.unwrap(), ids.1.unwrap(), None);
            (span.start, span.duration) = (UnixNanos(start), Duration::from_nanos(length));
            keep_within(&mut span, UnixNanos(100), UnixNanos(200));
            assert_eq!((span.start.as_nanos(), span.duration.as_nanos()), (want.0, u128::from(want.1)));
        };
        check((120, 50), (120, 50));
        check((90, 50), (100, 40));
        check((150, 70), (150, 50));
        check((90, 200), (100, 100));
        check((300, 10), (300, 10));
    }
}
