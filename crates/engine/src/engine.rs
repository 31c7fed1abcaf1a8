//! The engine: joins facts, and decides when to send, when to ask for the next event and when to leave.
//! What is sent is `stages`' business.

mod books;
mod closing;
mod facts;
mod sending;

use std::collections::VecDeque;
use std::time::Duration;

use model::{Status, UnixNanos, keys};

use crate::boot::Boot;
use crate::flush::{self, Ends, Flush, Telemetry};
use crate::invocations::Invocations;
use crate::io::{Effect, Input, Settings, StartCall};
use crate::lifecycle::{Event, Lifecycle, Phase, Step};
use crate::mode::Mode;
use crate::pace::{Hold, Pace};
use crate::stages::{More, Stages};

/// Bytes that are worth a request of their own while an invocation runs.
const MUCH: usize = 512 << 10;
/// How long after an answer a connection is taken to be there still.
const WARM: Duration = Duration::from_secs(30);
/// Invocations without a word of telemetry, after which there is none.
const MAX_UNHEARD: u32 = 2;
/// How often SHUTDOWN lets go what came meanwhile. What is refused becomes a metric of its loss, which is news.
const MAX_LATE_ROUNDS: u8 = 3;

/// The whole state of the extension.
#[derive(Clone, Debug)]
pub struct Engine {
    now: UnixNanos,
    born: UnixNanos,
    lifecycle: Lifecycle,
    /// When the phase that is on began.
    begun: UnixNanos,
    mode: Mode,
    boot: Boot,
    invocations: Invocations,
    stages: Stages,
    flush: Flush,
    pace: Pace,
    /// What the end of the live invocation waits for.
    hold: Hold,
    /// When Lambda ends the live invocation, if its end does not wait for us.
    free_until: Option<UnixNanos>,
    telemetry: Telemetry,
    ends: Ends,
    /// Invocations without a word of telemetry.
    unheard: u32,
    /// When the oldest data came that was not let go.
    idle_since: Option<UnixNanos>,
    /// When what the last flush had to leave here may go.
    left_until: Option<UnixNanos>,
    /// When the end of an invocation began to wait for its data.
    waits_since: Option<UnixNanos>,
    /// When an intake took something last.
    accepted_at: Option<UnixNanos>,
    /// How SHUTDOWN says that the last invocation ended.
    cut_off: Option<Status>,
    /// Batches that fail at SHUTDOWN are tried once more.
    tried_again: bool,
    /// How often it let go what came meanwhile.
    late_rounds: u8,
    effects: VecDeque<Effect>,
    /// Something was told since the last time that there was nothing to do.
    is_stirred: bool,
}

impl Engine {
    /// A sandbox that is about to be ready: the first effect is the first `Next`.
    pub fn new(settings: Settings, now: UnixNanos) -> Self {
        let mode = Mode::new(settings.managed_instances);
        Self {
            now,
            // Lambda tells its times in milliseconds.
            born: UnixNanos::from_millis(now.as_millis()),
            lifecycle: Lifecycle::new(),
            begun: now,
            mode,
            boot: Boot::new(settings.seed, mode),
            invocations: Invocations::new(mode),
            stages: Stages::new(&settings, mode),
            flush: Flush::new(settings.flush_timeout, settings.seed),
            pace: Pace::new(settings.flush_strategy, now),
            hold: Hold::Full,
            free_until: None,
            telemetry: Telemetry::default(),
            ends: Ends::default(),
            unheard: 0,
            idle_since: None,
            left_until: None,
            waits_since: None,
            accepted_at: None,
            cut_off: None,
            tried_again: false,
            late_rounds: 0,
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
                if !self.invocations.announced_any() {
                    self.flush.reseed(request_id.as_str());
                }
                let evicted = self.invocations.announce(now, &request_id);
                self.close(evicted);
                self.begin_invocation(flush::invocation_deadline(now, deadline));
            }
            Input::Shutdown { reason, deadline } => self.shut_down(&reason, deadline),
            Input::Telemetry(records) => {
                for record in records {
                    self.ends.note(&record.record);
                    self.record(record);
                }
                self.stages.queue_logs();
            }
            Input::StartCall(call) => {
                let StartCall { request_id, reading } = *call;
                if let Some(id) = &request_id {
                    self.stages.logs.note_span(id, &reading.tags);
                }
                let for_next = self.lifecycle.is_waiting() && !self.awaits_start_call();
                let evicted = self.invocations.start_call(request_id, for_next, reading);
                self.stages.drop_strays(self.invocations.take_strays());
                self.close(evicted);
            }
            Input::EndCall(call) => {
                let evicted = self.invocations.end_call(now, *call);
                self.stages.drop_strays(self.invocations.take_strays());
                self.close(evicted);
            }
            Input::EventSeen(call) => {
                let evicted = self.invocations.event_seen(now, self.stages.seed(), *call);
                self.close(evicted);
            }
            Input::AnswerSeen(call) => {
                let evicted = self.invocations.answer_seen(now, *call);
                self.close(evicted);
            }
            Input::Usage { request_id: Some(id), figures } => self.invocations.usage(&id, figures),
            Input::Usage { request_id: None, figures } => self.stages.sandbox_metrics(now, figures),
            Input::Traces { tracer, chunks } => self.traces(&tracer, chunks),
            Input::Stats(stats) => self.stages.take_stats(stats),
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
            Input::Sketches(all) => self.stages.take_sketches(all),
            Input::Lines(lines) => self.stages.take_lines(now, lines),
            Input::Flush => self.flush_now(),
            Input::Sent { id, outcome } => self.landed(id, outcome),
            Input::Late { id } => self.late(id),
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
        match self.lifecycle.phase() {
            Phase::Waiting => self.background(),
            Phase::Running { deadline } => {
                let end = self.end_of_live(deadline);
                Some(self.background().map_or(end, |at| at.min(end)))
            }
            Phase::Flushing { until } => {
                Some(self.stages.batches.last_deadline().map_or(until, |last| last.min(until)))
            }
            Phase::Draining { until, .. } | Phase::Leaving { until } => Some(until),
            Phase::Gone => None,
        }
    }

    /// When data goes that the end of no invocation waits for.
    fn background(&self) -> Option<UnixNanos> {
        let fresh = self.idle_since.and_then(|since| self.fresh_end(since));
        // Nothing else may ever happen that would take it along.
        let left = self.left_until.filter(|_| self.lifecycle.is_waiting());
        [fresh, left].into_iter().flatten().min()
    }

    /// When data goes that has waited since then.
    fn fresh_end(&self, since: UnixNanos) -> Option<UnixNanos> {
        match self.lifecycle.phase() {
            Phase::Waiting => {
                let company = self.pace.company(false);
                let running = self.free_until.filter(|_| self.runs_freely());
                Some(match (self.mode.company(company), running.zip(company)) {
                    (Some(company), _) => since + company,
                    (None, Some((deadline, company))) => (since + company).min(flush::lead(deadline)),
                    (None, None) => flush::idle_end(since),
                })
            }
            Phase::Running { .. } => Some(since + self.pace.company(true)?),
            Phase::Flushing { .. } | Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Gone => None,
        }
    }

    /// An invocation runs whose end does not wait for us.
    fn runs_freely(&self) -> bool {
        self.free_until.is_some() && self.invocations.live().is_some_and(|live| !live.is_over())
    }

    /// The same, and no library has told of its start.
    fn awaits_start_call(&self) -> bool {
        self.runs_freely() && self.invocations.live().is_some_and(|live| live.start_call.is_none())
    }

    fn begin_invocation(&mut self, deadline: UnixNanos) {
        self.ends.go_on();
        if self.telemetry == Telemetry::NothingYet {
            self.unheard += 1;
            if self.unheard > MAX_UNHEARD {
                self.telemetry = Telemetry::Silent;
            }
        }
        self.hold = self.pace.arrived(self.now);
        let holds = self.hold != Hold::None;
        self.free_until = (!holds).then_some(deadline);
        self.enter(Event::Invoke { deadline, holds });
    }

    /// Derives what the facts give, then moves on as far as they carry.
    fn settle(&mut self) {
        let had_data = self.stages.has_data();
        self.derive();
        // What a record alone gives is data too, and may be the last for long.
        if !had_data && self.idle_since.is_none() && self.stages.has_data() {
            self.idle_since = Some(self.now);
        }
        // An event that moves nothing is not due again before something else happens.
        while let Some(event) = self.due()
            && self.enter(event)
        {}
        if self.background().is_some_and(|at| self.now >= at) || self.has_much() {
            self.flush_aside();
        }
        self.depart();
    }

    /// So much waits, and the way is so free, that there is no need to wait for the end of the invocation.
    fn has_much(&self) -> bool {
        let batches = &self.stages.batches;
        matches!(self.lifecycle.phase(), Phase::Waiting | Phase::Running { .. })
            && batches.waiting_weight() >= MUCH
            && batches.has_landed()
            && self.flush.is_well()
            && (batches.is_filling() || self.accepted_at.is_some_and(|at| self.now.since(at) < WARM))
    }

    /// Lets all that is here go, and waits for nothing.
    fn flush_aside(&mut self) {
        let is_done = self.invocations.live().is_some_and(|live| live.done.is_some());
        if self.free_until.is_some() && (is_done || self.telemetry == Telemetry::Silent) {
            for foreign in self.invocations.take_foreign() {
                self.close(Some(foreign));
            }
            self.stages.derive_boot(self.now, &mut self.boot, true);
        }
        if self.free_until.is_some_and(|deadline| self.now >= flush::lead(deadline)) {
            self.free_until = None;
        }
        self.begin_flush(self.now + self.flush.timeout());
    }

    /// A library wants what is there to leave.
    fn flush_now(&mut self) {
        if matches!(self.lifecycle.phase(), Phase::Waiting | Phase::Running { .. }) {
            self.flush_aside();
        }
    }

    /// The event that the present facts and the time make due.
    fn due(&mut self) -> Option<Event> {
        let now = self.now;
        match self.lifecycle.phase() {
            Phase::Running { deadline } if now >= self.end_of_live(deadline) => {
                if self.telemetry == Telemetry::NothingYet {
                    self.telemetry = Telemetry::Silent;
                } else if self.invocations.live().is_some_and(|live| !live.is_over()) {
                    self.ends.miss();
                }
                Some(Event::Ended { until: (now + self.flush.timeout()).min(deadline - flush::MARGIN) })
            }
            Phase::Draining { .. }
                if self.invocations.all_reported() || self.telemetry == Telemetry::Silent =>
            {
                Some(Event::Reported)
            }
            Phase::Flushing { .. } if self.stages.batches.is_quiet(now, false) => Some(Event::Delivered),
            Phase::Leaving { .. } if self.stages.batches.is_quiet(now, true) => Some(Event::Delivered),
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
        let before = self.lifecycle.phase();
        if let (Phase::Leaving { until }, Event::Delivered) = (before, event)
            && self.goes_again()
        {
            self.begin_flush(until);
            return true;
        }
        let step = self.lifecycle.on(self.now, event);
        if matches!(event, Event::Invoke { .. }) {
            self.begun = self.now;
        }
        match step {
            None => {}
            Some(Step::Next) => {
                self.measure();
                self.effects.push_back(Effect::Next);
            }
            Some(Step::Exit) => self.effects.push_back(Effect::Exit),
            Some(Step::Flush { until }) => {
                if !self.lifecycle.is_shutting_down() {
                    self.waits_since = Some(self.now);
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

    /// At the end there is no later flush: what failed gets its second chance now, and what came while the
    /// last one was on its way goes too.
    fn goes_again(&mut self) -> bool {
        self.close_all();
        if !self.tried_again && self.stages.batches.has_returned() {
            self.tried_again = true;
            return true;
        }
        self.late_rounds += 1;
        self.late_rounds <= MAX_LATE_ROUNDS && self.stages.has_news()
    }

    /// The end of an invocation waited for its data.
    fn measure(&mut self) {
        let Some(since) = self.waits_since.take() else { return };
        let took = self.now.since(since);
        if !took.is_zero() {
            self.pace.measured(took);
        }
        self.stages.overhead.waited(took);
    }

    fn end_of_live(&self, deadline: UnixNanos) -> UnixNanos {
        let telemetry = self.ends.judge(self.telemetry);
        flush::end_of(self.invocations.live(), telemetry, self.hold, self.begun, deadline)
    }

    /// Derives what the facts give by now.
    fn derive(&mut self) {
        self.invocations.give_init_error();
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
