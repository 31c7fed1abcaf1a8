//! All execution environments of one function: how many there are, and which takes which invocation. Knows nothing of
//! what goes on inside one; that is [`crate::Platform`].
//!
//! ```text
//!                    answered             ready             idle for long
//! (opened) ► Busy ─────────────► Finishing ───────► Idle ────────────────► Closing ► (ended)
//!              ▲──────────────────────┴───────────────┘
//!                            assign
//! ```
//! An environment takes one invocation at a time. One that is idle is used again, the most recent first, so that the
//! others can go; only when none is, another is opened, up to a limit; then invocations wait.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>
//!
//! Environments may be made ahead of any invocation. Those of managed instances take several invocations at a time: each
//! time that one is ready, there is room for one more.
//!
//! One thing is not as in Lambda: an environment whose invocation is answered, but whose extensions are still at work,
//! is waited for. Lambda would open another; but its callers are a network away, and a local one that invokes twice in
//! a row means to see a cold and a warm invocation.

use std::collections::VecDeque;
use std::time::Duration;

use model::{RequestId, UnixNanos};

use crate::io::{Answer, Invocation, Rejection};
use crate::machine::MAX_QUEUED;

/// One environment, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvironmentId(pub u64);

/// A fact about the environments of a function.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetInput {
    /// A caller wants the function to run. Is assigned, or answered.
    Invoke(Invocation),
    /// The caller of an environment's invocation has its answer.
    Answered(EnvironmentId),
    /// The environment can take another invocation; of managed instances, one more.
    Ready(EnvironmentId),
    /// The environment is gone.
    Ended(EnvironmentId),
    /// It could not be opened: gives back what was meant for it.
    OpenFailed { environment: EnvironmentId, invocation: Option<Invocation>, reason: String },
    /// The function is another from now on: no environment that there is takes another invocation.
    Renew,
    /// The function is not needed any more.
    Shutdown,
}

/// Something to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetEffect {
    /// Make an environment, and have it initialise itself.
    Prepare(EnvironmentId),
    /// Make an environment, with its first invocation.
    Open {
        environment: EnvironmentId,
        invocation: Invocation,
    },
    Assign {
        environment: EnvironmentId,
        invocation: Invocation,
    },
    /// End an environment; tell when it is gone.
    Close(EnvironmentId),
    /// Answer a caller whose invocation will not run.
    Answer {
        request_id: RequestId,
        answer: Answer,
    },
}

/// How far a function scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// Environments at a time, at least one.
    pub limit: usize,
    /// Environments that are made before any invocation, and not closed for being idle.
    pub ahead: usize,
    /// Invocations at a time in one environment, where that is not one: see [`crate::Mode::concurrency`].
    pub concurrency: Option<u16>,
    /// An environment that had nothing to do for this long is closed.
    pub idle_limit: Duration,
    /// Of managed instances: longer than any invocation takes. Who has waited so long while nothing came to an end waits
    /// for workers that hang.
    pub patience: Duration,
}

#[derive(Debug)]
pub struct Fleet {
    scaling: Scaling,
    environments: Vec<Environment>,
    waiting: VecDeque<Invocation>,
    closing: bool,
    /// When something last changed for those that wait.
    moved: UnixNanos,
    effects: VecDeque<FleetEffect>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Environment {
    id: EnvironmentId,
    state: State,
    /// Made of what the function was before.
    stale: bool,
    /// Made before any invocation.
    ahead: bool,
    /// Of managed instances: invocations that run, and workers that wait.
    running: usize,
    idle: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preparing,
    Busy,
    Finishing,
    Idle { since: UnixNanos },
    Closing,
}

impl Fleet {
    pub fn new(scaling: Scaling) -> Self {
        let mut fleet = Self {
            scaling,
            environments: Vec::new(),
            waiting: VecDeque::new(),
            closing: false,
            moved: UnixNanos::default(),
            effects: VecDeque::new(),
            next: 1,
        };
        fleet.prepare();
        fleet
    }

    /// Takes a fact. Poll the effects afterwards.
    pub fn handle(&mut self, now: UnixNanos, input: FleetInput) {
        if self.waiting.is_empty() || !matches!(input, FleetInput::Invoke(_)) {
            self.moved = now;
        }
        match input {
            FleetInput::Invoke(invocation) => self.accept(invocation),
            FleetInput::Answered(id) if self.scaling.concurrency.is_some() => {
                self.step_shared(now, id, |environment| {
                    environment.running = environment.running.saturating_sub(1);
                });
            }
            FleetInput::Answered(id) => self.step(id, &[State::Busy], State::Finishing),
            FleetInput::Ready(id) if self.scaling.concurrency.is_some() => {
                self.step_shared(now, id, |environment| environment.idle += 1);
            }
            FleetInput::Ready(id) => {
                let from = [State::Preparing, State::Busy, State::Finishing];
                self.step(id, &from, State::Idle { since: now });
                self.close_stale();
            }
            FleetInput::Ended(id) => {
                let unready = |e: &Environment| e.id == id && e.state == State::Preparing;
                let failed = self.environments.iter().any(unready);
                self.environments.retain(|e| e.id != id);
                if failed {
                    self.prepare_failed("the environment could not be initialised");
                }
            }
            FleetInput::OpenFailed { environment, invocation, reason } => {
                self.environments.retain(|e| e.id != environment);
                match invocation {
                    Some(invocation) => self.open_failed(invocation, &reason),
                    None => self.prepare_failed(&reason),
                }
            }
            FleetInput::Renew => {
                self.environments.iter_mut().for_each(|environment| environment.stale = true);
                self.close_stale();
                if !self.closing {
                    self.prepare();
                }
            }
            FleetInput::Shutdown => self.shut_down(),
        }
        self.assign();
    }

    /// Closes what was idle for too long; waits no longer for what hangs.
    pub fn tick(&mut self, now: UnixNanos) {
        if self.stuck().is_some_and(|due| due <= now) {
            if self.environments.len() < self.scaling.limit.max(1) {
                let id = self.add(State::Preparing, false);
                self.effects.push_back(FleetEffect::Prepare(id));
            } else {
                for invocation in std::mem::take(&mut self.waiting) {
                    self.reject(invocation, Rejection::Unavailable);
                }
            }
        }
        let limit = self.scaling.idle_limit;
        for environment in self.environments.iter_mut().filter(|environment| !environment.ahead) {
            if let State::Idle { since } = environment.state
                && since + limit <= now
            {
                environment.state = State::Closing;
                self.effects.push_back(FleetEffect::Close(environment.id));
            }
        }
    }

    /// When [`Fleet::tick`] has something to do.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let since = self.environments.iter().filter(|e| !e.ahead).filter_map(|e| match e.state {
            State::Idle { since } => Some(since + self.scaling.idle_limit),
            State::Preparing | State::Busy | State::Finishing | State::Closing => None,
        });
        since.chain(self.stuck()).min()
    }

    /// When those that wait will have waited for workers that do not come back.
    fn stuck(&self) -> Option<UnixNanos> {
        let comes = self.environments.iter().any(|e| e.state == State::Preparing);
        let waits = self.scaling.concurrency.is_some() && !self.waiting.is_empty() && !comes;
        waits.then(|| self.moved + self.scaling.patience)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<FleetEffect> {
        self.effects.pop_front()
    }

    /// It was shut down, and no environment is left.
    pub fn is_gone(&self) -> bool {
        self.closing && self.environments.is_empty()
    }

    fn accept(&mut self, invocation: Invocation) {
        if self.closing {
            self.reject(invocation, Rejection::ShuttingDown);
        } else if self.waiting.len() >= MAX_QUEUED {
            self.reject(invocation, Rejection::Throttled);
        } else {
            self.waiting.push_back(invocation);
        }
    }

    fn reject(&mut self, invocation: Invocation, why: Rejection) {
        let answer = Answer::Rejected(why);
        self.effects.push_back(FleetEffect::Answer { request_id: invocation.request_id, answer });
    }

    fn step(&mut self, id: EnvironmentId, from: &[State], to: State) {
        let found = self.environments.iter_mut().find(|e| e.id == id && from.contains(&e.state));
        if let Some(environment) = found {
            environment.state = to;
        }
    }

    /// Makes as many environments ahead as there have to be.
    fn prepare(&mut self) {
        let ahead = self.environments.iter().filter(|e| e.ahead && !e.stale).count();
        for _ in ahead..self.scaling.ahead.min(self.scaling.limit.max(1)) {
            let id = self.add(State::Preparing, true);
            self.effects.push_back(FleetEffect::Prepare(id));
        }
    }

    fn add(&mut self, state: State, ahead: bool) -> EnvironmentId {
        let id = EnvironmentId(self.next);
        self.next += 1;
        self.environments.push(Environment { id, state, stale: false, ahead, running: 0, idle: 0 });
        id
    }

    /// What changed about an environment that takes several invocations at a time.
    fn step_shared(&mut self, now: UnixNanos, id: EnvironmentId, change: impl FnOnce(&mut Environment)) {
        let found = self.environments.iter_mut().find(|e| e.id == id && e.state != State::Closing);
        let Some(environment) = found else { return };
        change(environment);
        environment.state = if environment.running == 0 { State::Idle { since: now } } else { State::Busy };
        self.close_stale();
    }

    /// A worker for the next invocation: of the environment that has the least to do.
    fn choose_shared(&mut self, concurrency: usize) -> Option<EnvironmentId> {
        let open = |e: &&mut Environment| !e.stale && e.state != State::Closing;
        let free = self.environments.iter_mut().filter(open).filter(|e| e.idle > 0);
        if let Some(environment) = free.min_by_key(|e| e.running) {
            environment.idle -= 1;
            environment.running += 1;
            environment.state = State::Busy;
            return Some(environment.id);
        }
        // Workers that are not there yet, or come back soon, are waited for.
        let room = self.environments.iter().filter(|e| !e.stale && e.state != State::Closing);
        let room: usize = room.map(|e| concurrency.saturating_sub(e.running)).sum();
        if self.waiting.len() > room && self.environments.len() < self.scaling.limit.max(1) {
            let id = self.add(State::Preparing, false);
            self.effects.push_back(FleetEffect::Prepare(id));
        }
        None
    }

    /// Gives what waits to whoever can take it.
    fn assign(&mut self) {
        while let (Some(concurrency), false) = (self.scaling.concurrency, self.waiting.is_empty()) {
            let Some(id) = self.choose_shared(usize::from(concurrency)) else { return };
            let Some(invocation) = self.waiting.pop_front() else { return };
            self.effects.push_back(FleetEffect::Assign { environment: id, invocation });
        }
        while !self.waiting.is_empty() {
            let Some((id, opened)) = self.choose() else { return };
            let Some(invocation) = self.waiting.pop_front() else { return };
            self.effects.push_back(if opened {
                FleetEffect::Open { environment: id, invocation }
            } else {
                FleetEffect::Assign { environment: id, invocation }
            });
        }
    }

    /// An environment for the next invocation, and whether it has to be opened.
    fn choose(&mut self) -> Option<(EnvironmentId, bool)> {
        let idle = self.environments.iter_mut().filter_map(|e| match e.state {
            State::Idle { since } if !e.stale => Some((since, e)),
            State::Preparing | State::Idle { .. } | State::Busy | State::Finishing | State::Closing => None,
        });
        if let Some((_, environment)) = idle.max_by_key(|(since, _)| *since) {
            environment.state = State::Busy;
            return Some((environment.id, false));
        }
        let soon = |e: &&Environment| matches!(e.state, State::Preparing | State::Finishing) && !e.stale;
        let finishing = self.environments.iter().filter(soon).count();
        // Those that close hold their processes still.
        if self.waiting.len() <= finishing || self.environments.len() >= self.scaling.limit.max(1) {
            return None;
        }
        Some((self.add(State::Busy, false), true))
    }

    /// What has nothing to do and is of the past ends.
    fn close_stale(&mut self) {
        for environment in self.environments.iter_mut().filter(|environment| environment.stale) {
            if matches!(environment.state, State::Idle { .. }) {
                environment.state = State::Closing;
                self.effects.push_back(FleetEffect::Close(environment.id));
            }
        }
    }

    /// Others may take it; with no other, it fails.
    fn open_failed(&mut self, invocation: Invocation, reason: &str) {
        let others = self.environments.iter().filter(|e| e.state != State::Closing).count();
        if others > 0 && !self.closing {
            // There is room for no more than there are.
            self.scaling.limit = others;
            self.waiting.push_front(invocation);
            return;
        }
        self.fail(invocation, reason);
    }

    /// None can be made: those that wait for one wait for others, or fail.
    fn prepare_failed(&mut self, reason: &str) {
        if self.environments.iter().any(|e| e.state != State::Closing) {
            return;
        }
        for invocation in std::mem::take(&mut self.waiting) {
            self.fail(invocation, reason);
        }
    }

    fn fail(&mut self, invocation: Invocation, reason: &str) {
        let message = format!("RequestId: {} Error: {reason}", invocation.request_id);
        let answer = Answer::Failure { error_type: "Sandbox.Failure".into(), message };
        self.effects.push_back(FleetEffect::Answer { request_id: invocation.request_id, answer });
    }

    fn shut_down(&mut self) {
        self.closing = true;
        for invocation in std::mem::take(&mut self.waiting) {
            self.reject(invocation, Rejection::ShuttingDown);
        }
        for environment in &mut self.environments {
            if environment.state != State::Closing {
                environment.state = State::Closing;
                self.effects.push_back(FleetEffect::Close(environment.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::time::Duration;

    use model::{RequestId, UnixNanos};
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::{EnvironmentId, Fleet, FleetEffect, FleetInput, Scaling};
    use crate::{Answer, Invocation};

    fn fleet(limit: usize) -> Fleet {
        Fleet::new(scaling(limit))
    }

    fn scaling(limit: usize) -> Scaling {
        let (idle_limit, patience) = (Duration::from_secs(60), Duration::from_secs(5));
        Scaling { limit, ahead: 0, concurrency: None, idle_limit, patience }
    }

    fn tell(fleet: &mut Fleet, at: u64, fact: &str) -> String {
        let now = UnixNanos::from_secs(at);
        let (verb, rest) = fact.split_once(' ').unwrap_or((fact, ""));
        let id = |text: &str| EnvironmentId(text.parse().unwrap());
        let invocation = |id: &str| Invocation::new(RequestId::new(id).unwrap(), b"{}");
        match verb {
            "tick" => fleet.tick(now),
            "invoke" => fleet.handle(now, FleetInput::Invoke(invocation(rest))),
            "answered" => fleet.handle(now, FleetInput::Answered(id(rest))),
            "ready" => fleet.handle(now, FleetInput::Ready(id(rest))),
            "ended" => fleet.handle(now, FleetInput::Ended(id(rest))),
            "failed" => {
                let (environment, request) = rest.split_once(' ').unwrap();
                let (environment, invocation) = (id(environment), Some(invocation(request)));
                let reason = "no port".to_owned();
                fleet.handle(now, FleetInput::OpenFailed { environment, invocation, reason });
            }
            "renew" => fleet.handle(now, FleetInput::Renew),
            "shutdown" => fleet.handle(now, FleetInput::Shutdown),
            other => panic!("no such fact: {other}"),
        }
        let mut out = String::new();
        while let Some(effect) = fleet.poll() {
            let separator = if out.is_empty() { "" } else { ", " };
            let shown = match effect {
                FleetEffect::Open { environment, invocation } => {
                    format!("open {} for {}", environment.0, invocation.request_id)
                }
                FleetEffect::Assign { environment, invocation } => {
                    format!("{} to {}", invocation.request_id, environment.0)
                }
                FleetEffect::Prepare(environment) => format!("prepare {}", environment.0),
                FleetEffect::Close(environment) => format!("close {}", environment.0),
                FleetEffect::Answer { request_id, answer: Answer::Failure { message, .. } } => {
                    format!("{request_id} failed: {message}")
                }
                FleetEffect::Answer { request_id, answer } => format!("{request_id} {answer:?}"),
            };
            write!(out, "{separator}{shown}").unwrap();
        }
        out
    }

    /// Facts, each with the second in which it comes, and what comes of it.
    fn check(limit: usize, story: &[(u64, &str, &str)]) {
        let mut fleet = fleet(limit);
        for (n, (at, fact, expect)) in story.iter().enumerate() {
            assert_eq!(tell(&mut fleet, *at, fact), *expect, "{n}: {fact}");
        }
    }

    #[test]
    fn after_a_renewal_only_new_environments_take_invocations() {
        check(
            3,
            &[
                (0, "invoke a", "open 1 for a"),
                (0, "invoke b", "open 2 for b"),
                (1, "answered 1", ""),
                (1, "ready 1", ""),
                (1, "answered 2", ""),
                (2, "renew", "close 1"),
                (2, "invoke c", "open 3 for c"),
                (2, "invoke d", ""),
                (3, "ready 2", "close 2"),
                (3, "ended 1", "open 4 for d"),
                (3, "answered 3", ""),
                (3, "ready 3", ""),
                (4, "invoke e", "e to 3"),
            ],
        );
    }

    fn tell_all(mut fleet: Fleet, story: &[(u64, &str, &str)]) {
        for (n, (at, fact, expect)) in story.iter().enumerate() {
            assert_eq!(tell(&mut fleet, *at, fact), *expect, "{n}: {fact}");
        }
    }

    #[test]
    fn what_is_made_ahead_stays_and_what_is_beyond_goes() {
        tell_all(
            Fleet::new(Scaling { ahead: 1, ..scaling(3) }),
            &[
                (0, "tick", "prepare 1"),
                // One that is being made is waited for by one caller.
                (0, "invoke a", ""),
                (0, "invoke b", "open 2 for a"),
                (1, "ready 1", "b to 1"),
                (2, "answered 1", ""),
                (2, "ready 1", ""),
                (2, "answered 2", ""),
                (2, "ready 2", ""),
                (70, "tick", "close 2"),
                (71, "ended 2", ""),
                (999, "tick", ""),
                (999, "renew", "close 1, prepare 3"),
                (999, "ended 1", ""),
                (1000, "ready 3", ""),
                (1001, "invoke c", "c to 3"),
            ],
        );
    }

    #[test]
    fn managed_instances_have_as_much_room_as_workers() {
        tell_all(
            Fleet::new(Scaling { ahead: 1, concurrency: Some(2), ..scaling(2) }),
            &[
                (0, "invoke a", "prepare 1"),
                (0, "invoke b", ""),
                (0, "invoke c", "prepare 2"),
                (0, "invoke d", ""),
                (1, "ready 1", "a to 1"),
                (1, "ready 1", "b to 1"),
                (1, "invoke e", ""),
                (2, "ready 2", "c to 2"),
                (2, "answered 1", ""),
                (2, "ready 1", "d to 1"),
                (3, "ready 2", "e to 2"),
                (3, "answered 2", ""),
                (3, "answered 2", ""),
                (3, "ready 2", ""),
                (3, "ready 2", ""),
                (4, "answered 1", ""),
                (4, "answered 1", ""),
                (64, "tick", "close 2"),
                (64, "invoke f", ""),
                (64, "ended 2", ""),
                (65, "ready 1", "f to 1"),
                (65, "ended 1", ""),
                (66, "invoke g", "prepare 3"),
                (66, "ended 3", "g failed: RequestId: g Error: the environment could not be initialised"),
            ],
        );
    }

    #[test]
    fn workers_that_hang_are_not_waited_for() {
        tell_all(
            Fleet::new(Scaling { ahead: 1, concurrency: Some(1), ..scaling(2) }),
            &[
                (0, "invoke a", "prepare 1"),
                (0, "ready 1", "a to 1"),
                // Its worker does not ask for another.
                (3, "answered 1", ""),
                (3, "invoke b", ""),
                (7, "tick", ""),
                (8, "tick", "prepare 2"),
                // One that is being made has its own limit.
                (100, "tick", ""),
                (101, "ready 2", "b to 2"),
                (102, "answered 2", ""),
                (102, "invoke c", ""),
                (104, "invoke d", ""),
                (106, "tick", ""),
                (107, "tick", "c Rejected(Unavailable), d Rejected(Unavailable)"),
                (108, "invoke e", ""),
                (109, "ready 1", "e to 1"),
            ],
        );
    }

    #[test]
    fn it_scales_on_demand_and_uses_the_most_recent_again() {
        check(
            2,
            &[
                (0, "invoke a", "open 1 for a"),
                (0, "invoke b", "open 2 for b"),
                (0, "invoke c", ""),
                (1, "answered 2", ""),
                (1, "ready 2", "c to 2"),
                (2, "answered 1", ""),
                (2, "ready 1", ""),
                (3, "answered 2", ""),
                (3, "ready 2", ""),
                (4, "invoke d", "d to 2"),
                (4, "invoke e", "e to 1"),
            ],
        );
    }

    #[test]
    fn one_that_is_answered_is_waited_for_by_one_caller() {
        check(
            9,
            &[
                (0, "invoke a", "open 1 for a"),
                (1, "answered 1", ""),
                (1, "invoke b", ""),
                (1, "invoke c", "open 2 for b"),
                (2, "ready 1", "c to 1"),
            ],
        );
    }

    #[test]
    fn what_is_idle_for_long_is_closed_and_the_end_closes_all() {
        check(
            2,
            &[
                (0, "invoke a", "open 1 for a"),
                (0, "invoke b", "open 2 for b"),
                (1, "ready 1", ""),
                (9, "ready 2", ""),
                (60, "tick", ""),
                (61, "tick", "close 1"),
                (61, "invoke c", "c to 2"),
                // What closes is still there.
                (61, "invoke d", ""),
                (62, "ended 1", "open 3 for d"),
                (62, "invoke e", ""),
                (63, "shutdown", "e Rejected(ShuttingDown), close 2, close 3"),
                (63, "invoke f", "f Rejected(ShuttingDown)"),
                (64, "ready 2", ""),
            ],
        );
    }

    #[test]
    fn what_cannot_be_opened_is_waited_for_or_fails() {
        check(
            3,
            &[
                (0, "invoke a", "open 1 for a"),
                (0, "failed 1 a", "a failed: RequestId: a Error: no port"),
                (0, "invoke b", "open 2 for b"),
                (0, "invoke c", "open 3 for c"),
                (0, "failed 3 c", ""),
                (0, "invoke d", ""),
                (0, "ready 2", "c to 2"),
                (0, "ready 2", "d to 2"),
            ],
        );
    }

    proptest! {
        /// Every invocation comes to exactly one environment, which has no other, and never too many are open.
        #[test]
        fn nothing_is_lost_or_mixed(limit in 1..5_usize, steps in prop::collection::vec((0..6_u8, 0..8_u64), 0..200)) {
            let mut fleet = fleet(limit);
            // What each environment has, if anything.
            let mut open: BTreeMap<u64, Option<RequestId>> = BTreeMap::new();
            let (mut invoked, mut served) = (0, 0);
            let mut now = 0;
            for (step, which) in steps {
                let at = UnixNanos::from_secs(now);
                let busy: Vec<u64> = open.iter().filter(|(_, has)| has.is_some()).map(|(id, _)| *id).collect();
                let one = busy.get(which as usize % busy.len().max(1)).copied();
                match (step, one) {
                    (0 | 1, _) => {
                        invoked += 1;
                        let id = RequestId::new(&invoked.to_string()).unwrap();
                        fleet.handle(at, FleetInput::Invoke(Invocation::new(id, b"")));
                    }
                    (2, Some(id)) => fleet.handle(at, FleetInput::Answered(EnvironmentId(id))),
                    (3, Some(id)) => {
                        open.insert(id, None);
                        fleet.handle(at, FleetInput::Ready(EnvironmentId(id)));
                    }
                    (4, _) => fleet.handle(at, FleetInput::Renew),
                    _ => {
                        now += which * 10;
                        fleet.tick(UnixNanos::from_secs(now));
                    }
                }
                while let Some(effect) = fleet.poll() {
                    match effect {
                        FleetEffect::Open { environment, invocation } => {
                            served += 1;
                            prop_assert_eq!(open.insert(environment.0, Some(invocation.request_id)), None);
                            prop_assert!(open.len() <= limit);
                        }
                        FleetEffect::Assign { environment, invocation } => {
                            served += 1;
                            let before = open.insert(environment.0, Some(invocation.request_id));
                            prop_assert_eq!(before, Some(None));
                        }
                        FleetEffect::Close(environment) => {
                            prop_assert_eq!(open.remove(&environment.0), Some(None));
                            fleet.handle(at, FleetInput::Ended(environment));
                        }
                        FleetEffect::Prepare(_) => prop_assert!(false, "nothing is made ahead here"),
                        FleetEffect::Answer { .. } => prop_assert!(false, "nothing is refused here"),
                    }
                }
            }
            // All that waits is served once the environments are ready again and again.
            for _ in 0..=invoked {
                for id in open.keys().copied().collect::<Vec<_>>() {
                    fleet.handle(UnixNanos::from_secs(now), FleetInput::Ready(EnvironmentId(id)));
                }
                while let Some(effect) = fleet.poll() {
                    match effect {
                        FleetEffect::Assign { .. } => served += 1,
                        FleetEffect::Open { environment, .. } => {
                            served += 1;
                            open.insert(environment.0, None);
                        }
                        FleetEffect::Close(environment) => {
                            open.remove(&environment.0);
                            fleet.handle(UnixNanos::from_secs(now), FleetInput::Ended(environment));
                        }
                        FleetEffect::Prepare(_) => prop_assert!(false, "nothing is made ahead here"),
                        FleetEffect::Answer { .. } => prop_assert!(false, "nothing is refused here"),
                    }
                }
            }
            prop_assert_eq!(served, invoked);
        }
    }
}
