//! The engine: joins facts, and decides when to send, when to ask for the next event and when to leave.
//! What is sent is `stages`' business.

use std::collections::VecDeque;

use model::{Chunk, Record, RequestId, Signal, Span, Status, TelemetryRecord, TracerInfo, UnixNanos, keys};

use crate::boot::Boot;
use crate::flush::{self, Flush, Telemetry};
use crate::invocation::Invocation;
use crate::invocations::Invocations;
use crate::io::{Effect, Input, Outcome, SendId, Settings, StartCall};
use crate::lifecycle::{Event, Lifecycle, Phase, Step};
use crate::mode::Mode;
use crate::stages::{More, Stages};

/// The whole state of the extension.
#[derive(Clone, Debug)]
pub struct Engine {
    now: UnixNanos,
    born: UnixNanos,
    lifecycle: Lifecycle,
    /// When the phase that is on began.
    begun: UnixNanos,
    boot: Boot,
    invocations: Invocations,
    stages: Stages,
    flush: Flush,
    telemetry: Telemetry,
    /// When the oldest data came that nobody is going to ask for.
    idle_since: Option<UnixNanos>,
    /// How SHUTDOWN says that the last invocation ended.
    cut_off: Option<Status>,
    /// Batches that fail at SHUTDOWN are tried once more.
    tried_again: bool,
    effects: VecDeque<Effect>,
    /// Something was told since the last time that there was nothing to do.
    is_stirred: bool,
}

impl Engine {
    /// A sandbox that is about to be ready: the first effect is the first `Next`.
    pub fn new(settings: Settings, now: UnixNanos) -> Self {
        let mode = Mode::default();
        Self {
            now,
            born: now,
            lifecycle: Lifecycle::new(),
            begun: now,
            boot: Boot::new(settings.seed),
            invocations: Invocations::new(mode),
            stages: Stages::new(&settings, mode),
            flush: Flush::new(settings.flush_timeout),
            telemetry: Telemetry::default(),
            idle_since: None,
            cut_off: None,
            tried_again: false,
            effects: VecDeque::from([Effect::Next]),
            is_stirred: false,
        }
    }

    /// Takes a fact. What follows from it is given by [`Engine::poll`]: hand over all facts that are there
    /// first, so that what came together leaves together.
    pub fn handle(&mut self, now: UnixNanos, input: Input) {
        self.tick(now);
        let now = self.now;
        match input {
            Input::Invoke { request_id, arn: _, deadline } => {
                self.close_forerunner();
                let evicted = self.invocations.announce(now, &request_id);
                self.close(evicted);
                self.enter(Event::Invoke { deadline: flush::invocation_deadline(now, deadline) });
            }
            Input::Shutdown { reason, deadline } => self.shut_down(&reason, deadline),
            Input::Telemetry(records) => {
                for record in records {
                    self.record(record);
                }
                self.stages.queue_logs();
            }
            Input::StartCall(call) => {
                let StartCall { request_id, reading } = *call;
                let waiting = self.lifecycle.is_waiting();
                let evicted = self.invocations.start_call(request_id, waiting, reading);
                self.close(evicted);
            }
            Input::EndCall(call) => {
                let evicted = self.invocations.end_call(now, *call);
                self.close(evicted);
            }
            Input::Traces { tracer, chunks } => self.traces(&tracer, chunks),
            Input::Stats(stats) => self.stages.batches.push_stats(stats, &mut self.stages.drops),
            Input::Forward(forward) => {
                self.stages.batches.push_forward(*forward, &mut self.stages.drops);
            }
            Input::Metrics(metrics) => {
                for metric in metrics {
                    if metric.name == keys::metrics::ERRORS && self.invocations.error_told() {
                        continue;
                    }
                    self.stages.metrics.accept(now, metric, &mut self.stages.drops);
                }
            }
            Input::Sent { id, outcome } => self.landed(id, outcome),
            Input::Dropped { what, count } => self.stages.drops.add_at_source(what, count),
        }
        if self.idle_since.is_none() && self.stages.has_data() {
            self.idle_since = Some(now);
        }
    }

    /// Tells the time. Time does not run backwards here, whatever the clock does.
    pub fn tick(&mut self, now: UnixNanos) {
        self.now = self.now.max(now);
        self.is_stirred = true;
    }

    /// The next thing to do. `None`: wait for a fact or for [`Engine::deadline`].
    pub fn poll(&mut self) -> Option<Effect> {
        if self.effects.is_empty() && std::mem::take(&mut self.is_stirred) {
            self.settle();
        }
        self.effects.pop_front()
    }

    /// When to [`Engine::tick`] at the latest, if no fact comes before. Valid after [`Engine::poll`] gave
    /// `None`. `None`: sleep until a fact comes.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let answers =
            |until: UnixNanos| self.stages.batches.last_deadline().map_or(until, |last| last.min(until));
        match self.lifecycle.phase() {
            Phase::Waiting => flush::idle_end(self.idle_since),
            Phase::Running { deadline } => Some(self.end_of_live(deadline)),
            Phase::Draining { until, .. } => Some(until),
            Phase::Flushing { until } | Phase::Leaving { until } => Some(answers(until)),
            Phase::Gone => None,
        }
    }

    /// Derives what the facts give, then moves on as far as they carry.
    fn settle(&mut self) {
        self.derive();
        // An event that moves nothing is not due again before something else happens.
        while let Some(event) = self.due()
            && self.enter(event)
        {}
        let idle_end = flush::idle_end(self.idle_since).filter(|_| self.lifecycle.is_waiting());
        if idle_end.is_some_and(|end| self.now >= end) {
            self.begin_flush(self.now + self.flush.timeout());
        }
        self.depart();
    }

    /// The event that the present facts and the time make due.
    fn due(&mut self) -> Option<Event> {
        let now = self.now;
        match self.lifecycle.phase() {
            Phase::Running { deadline } if now >= self.end_of_live(deadline) => {
                if self.telemetry == Telemetry::NothingYet {
                    self.telemetry = Telemetry::Silent;
                }
                Some(Event::Ended { until: (now + self.flush.timeout()).min(deadline - flush::MARGIN) })
            }
            Phase::Draining { .. }
                if self.invocations.all_reported() || self.telemetry != Telemetry::Heard =>
            {
                Some(Event::Reported)
            }
            Phase::Flushing { .. } | Phase::Leaving { .. } if self.stages.batches.is_quiet(now) => {
                Some(Event::Delivered)
            }
            Phase::Flushing { until } | Phase::Draining { until, .. } | Phase::Leaving { until }
                if now >= until =>
            {
                Some(Event::Tick)
            }
            _ => None,
        }
    }

    /// Takes an event; `true` when it moved something.
    fn enter(&mut self, event: Event) -> bool {
        // At the end there is no later flush: what failed gets its second chance now.
        let again = event == Event::Delivered && !self.tried_again && self.stages.batches.has_returned();
        if let (Phase::Leaving { until }, true) = (self.lifecycle.phase(), again) {
            self.tried_again = true;
            self.begin_flush(until);
            return true;
        }
        let before = self.lifecycle.phase();
        let step = self.lifecycle.on(self.now, event);
        if matches!(event, Event::Invoke { .. }) {
            self.begun = self.now;
        }
        match step {
            None => {}
            Some(Step::Next) => self.effects.push_back(Effect::Next),
            Some(Step::Exit) => self.effects.push_back(Effect::Exit),
            Some(Step::Flush { until }) => {
                if !self.lifecycle.is_shutting_down() {
                    self.close_strangers();
                    self.stages.derive_boot(self.now, &mut self.boot, true);
                }
                self.begin_flush(until);
            }
            Some(Step::FlushLast { until }) => {
                self.close_all();
                self.begin_flush(until);
            }
        }
        before != self.lifecycle.phase()
    }

    fn end_of_live(&self, deadline: UnixNanos) -> UnixNanos {
        flush::end_of(self.invocations.live(), self.telemetry, self.begun, deadline)
    }

    /// Lets all that is here go, as far as the breakers allow.
    fn begin_flush(&mut self, until: UnixNanos) {
        let now = self.now;
        self.idle_since = None;
        self.derive();
        self.stages.queue_logs();
        self.stages.queue_metrics(now);
        self.flush.begin();
        for signal in
            Signal::ALL.into_iter().filter(|signal| self.stages.batches.has(*signal)).collect::<Vec<_>>()
        {
            let allowance = if self.lifecycle.is_shutting_down() {
                Flush::allow_last(now, until)
            } else {
                self.flush.allow(signal, now, until)
            };
            if let Some(allowance) = allowance {
                self.stages.batches.begin(signal, allowance.batches, allowance.deadline);
            }
        }
    }

    fn depart(&mut self) {
        while let Some(departure) = self.stages.batches.depart(self.now) {
            let (id, batch, deadline) = (departure.id, departure.batch, departure.deadline);
            self.effects.push_back(Effect::Send { id, batch, deadline });
        }
    }

    fn landed(&mut self, id: SendId, outcome: Outcome) {
        let Some(landing) = self.stages.batches.land(id, outcome, &mut self.stages.drops) else { return };
        if self.flush.answered(landing.signal, self.now, landing.accepted) {
            self.stages.batches.widen(landing.signal);
        }
    }

    fn record(&mut self, TelemetryRecord { time, record }: TelemetryRecord) {
        self.telemetry = Telemetry::Heard;
        let now = self.now;
        let evicted = match record {
            Record::InitStart(init) => {
                self.boot.note_init_start(time, &init);
                self.stages.logs.init_start(time, &init);
                None
            }
            Record::InitReport(init) => {
                self.boot.note_init_report(time, &init);
                None
            }
            Record::Start(start) => {
                self.stages.logs.start(time, &start);
                self.invocations.start(time, &start.request_id)
            }
            Record::RuntimeDone(done) => {
                self.stages.logs.end(time, &done);
                let id = done.request_id.clone();
                self.note_record(time, &id, |one| one.note_done(now, time, done))
            }
            Record::Report(report) => {
                let id = report.request_id.clone();
                self.stages.logs.report(time, &report, self.invocations.runtime_duration(&id));
                self.boot.note_report(time, report.init_duration);
                self.note_record(time, &id, |one| one.note_report(time, report))
            }
            Record::FunctionLog(line) | Record::ExtensionLog(line) => {
                let fatal = self.stages.line(time, line);
                fatal.and_then(|id| {
                    self.invocations.record(&id, |one| {
                        one.out_of_memory.get_or_insert(time);
                    })
                })
            }
            Record::LogsDropped { records, .. } => {
                self.stages.drops.add("logs", crate::drops::Reason::Platform, records);
                None
            }
            Record::InitRuntimeDone { .. }
            | Record::RestoreStart
            | Record::RestoreRuntimeDone { .. }
            | Record::RestoreReport { .. }
            | Record::Extension { .. }
            | Record::TelemetrySubscription { .. }
            | Record::Unknown { .. } => None,
        };
        self.close(evicted);
    }

    /// Notes what Lambda says of the end of an invocation.
    fn note_record(
        &mut self,
        time: UnixNanos,
        id: &RequestId,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        if time < self.born {
            self.invocations.foreign_record(id, fact)
        } else {
            self.invocations.record(id, fact)
        }
    }

    fn traces(&mut self, tracer: &TracerInfo, chunks: Vec<Chunk>) {
        let now = self.now;
        for span in chunks.iter().flat_map(|chunk| &chunk.spans) {
            let is_root =
                span.name == keys::spans::INVOCATION && span.resource != keys::lambda::PLACEHOLDER_RESOURCE;
            if let Some(id) = request_id_of(span).filter(|_| is_root) {
                self.invocations.root_seen(now, &id);
            }
        }
        let (loads, placeholders) = self.stages.chunks(now, tracer, chunks);
        for load in loads {
            if let Some(load) = self.boot.take_load(tracer, load) {
                self.stages.send_chunks(now, tracer, vec![load]);
            }
        }
        for placeholder in placeholders {
            self.placeholder(placeholder);
        }
    }

    fn placeholder(&mut self, span: Span) {
        let Some(id) = request_id_of(&span).or_else(|| self.invocations.live_id().cloned()) else {
            return self.stages.drop_late_span();
        };
        let mut late = false;
        let evicted = self.invocations.placeholder(&id, |one| {
            late = one.given.root || one.placeholder.is_some();
            if !late {
                one.placeholder = Some(Box::new(span));
            }
        });
        if late {
            self.stages.drop_late_span();
        }
        self.close(evicted);
    }

    /// Derives what the facts give by now.
    fn derive(&mut self) {
        if let Some(started) = self.invocations.first_started() {
            self.boot.note_first_started(started);
        }
        let (now, mut context) = (self.now, None);
        let more = if self.telemetry == Telemetry::Silent { More::Calls } else { More::All };
        for one in self.invocations.changed() {
            let verdict = match (self.boot.verdict(one.is_first), more) {
                (Some(verdict), _) => verdict,
                (None, More::All) => continue,
                (None, More::Calls | More::Nothing) => self.boot.last_verdict(one.is_first),
            };
            let made = self.stages.derive(now, one, verdict, more);
            // A span that is not made yet may be due without another fact.
            one.changed = one.has_calls() && !one.given.root;
            context = context.or(made.filter(|_| one.is_first));
        }
        if let Some(context) = context {
            self.boot.note_context(context);
        }
        self.stages.derive_boot(now, &mut self.boot, false);
    }

    /// Derives what is left of an invocation that nothing more is to be known of.
    fn close(&mut self, one: Option<Invocation>) {
        let Some(mut one) = one else { return };
        let verdict = self.boot.last_verdict(one.is_first);
        let made = self.stages.derive(self.now, &mut one, verdict, More::Nothing);
        if let Some(context) = made.filter(|_| one.is_first) {
            self.boot.note_context(context);
        }
    }

    /// Where Lambda is silent, the next INVOKE is the last that is heard of an invocation.
    fn close_forerunner(&mut self) {
        if self.telemetry != Telemetry::Silent {
            return;
        }
        if let Some(one) = self.invocations.live_mut() {
            let verdict = self.boot.last_verdict(one.is_first);
            self.stages.derive(self.now, one, verdict, More::Nothing);
        }
    }

    /// At the end of an invocation the next one has not begun: what is known of any but those that were
    /// announced is about a sandbox before this one, and complete.
    fn close_strangers(&mut self) {
        for stranger in self.invocations.take_strangers() {
            self.close(Some(stranger));
        }
    }

    fn close_all(&mut self) {
        self.derive();
        let cut_off = self.cut_off.take();
        if let Some(live) = self.invocations.live_mut().filter(|live| live.done.is_none()) {
            live.cut_off = cut_off;
        }
        for one in self.invocations.take_all().collect::<Vec<_>>() {
            self.close(Some(one));
        }
        self.stages.logs.release_orphans();
        self.stages.derive_boot(self.now, &mut self.boot, true);
    }

    fn shut_down(&mut self, reason: &str, deadline: UnixNanos) {
        if self.lifecycle.is_shutting_down() {
            return;
        }
        let now = self.now;
        // Documented in lower case; emulators send words of their own.
        self.cut_off = match reason.to_ascii_lowercase().as_str() {
            "timeout" => Some(Status::Timeout),
            "failure" | "releasefail" => Some(Status::Failure),
            _ => None,
        };
        self.stages.shutdown_metrics(now, !self.invocations.announced_any());
        let end = flush::shutdown_end(now, deadline);
        self.enter(Event::Shutdown { drain: (now + flush::DRAIN).min(end), end });
    }
}

fn request_id_of(span: &Span) -> Option<RequestId> {
    span.meta.get(keys::lambda::REQUEST_ID).and_then(|id| RequestId::new(id))
}

#[cfg(test)]
impl Engine {
    pub(crate) fn phase(&self) -> Phase {
        self.lifecycle.phase()
    }

    /// All that can tell two engines apart, but for how often they sent. Queues are given apart: their
    /// order may differ.
    pub(crate) fn fingerprint(&self) -> (String, Vec<String>) {
        let (traces, metrics, logs) = (&self.stages.traces, &self.stages.metrics, &self.stages.logs);
        let state =
            (&self.lifecycle, &self.boot, &self.invocations, &self.flush, self.telemetry, &self.cut_off);
        (format!("{state:?}{traces:?}{metrics:?}{logs:?}"), self.stages.batches.held_items())
    }

    /// Spans, log entries or values of distributions that are held anywhere, or on their way.
    pub(crate) fn held(&mut self, signal: Signal) -> u64 {
        let elsewhere = match signal {
            Signal::Traces => self.boot.held(),
            Signal::Sketches => self.stages.metrics.held_values(),
            Signal::Logs => self.stages.logs.held(),
            Signal::Series | Signal::Stats | Signal::Forwards => 0,
        };
        elsewhere + self.stages.batches.held(signal)
    }

    /// How much was dropped of what is counted under this name.
    pub(crate) fn dropped(&self, signal: &str) -> u64 {
        self.stages.drops.total(signal)
    }

    /// Bytes of a signal that are held or on their way.
    pub(crate) fn weight(&mut self, signal: Signal) -> usize {
        self.stages.batches.weight(signal)
    }
}
