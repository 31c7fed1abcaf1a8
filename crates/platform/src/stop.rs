//! The end of an environment, by shutdown or by failure: first the runtime, then the agents, then by force.
//!
//! ```text
//! agents           runtime                        agents that want SHUTDOWN      other processes
//! none             SIGKILL at once                -                              -
//! only internal    SIGTERM, SIGKILL after 500 ms  -                              -
//! an external one  SIGTERM, SIGKILL after 300 ms  SIGKILL 2000 ms from the start SIGKILL at once
//! ```
//! On managed instances the runtime has 600 ms beside an external extension; then telemetry has up to 1 s to arrive, and
//! the extensions have 2000 ms from there on.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>

use std::time::Duration;

use model::{InvocationReport, Record, UnixNanos};

use crate::agent::{Agent, AgentState};
use crate::io::{Effect, ProcessId, Reply, ShutdownReason, Subscriptions};
use crate::machine::{Platform, Stage, Timer};

/// Longest time for the runtime beside an external extension.
const RUNTIME_BUDGET: Duration = Duration::from_millis(300);
/// The same on managed instances.
const MANAGED_RUNTIME_BUDGET: Duration = Duration::from_millis(600);
/// Longest time for the runtime when extensions are inside it.
const INTERNAL_BUDGET: Duration = Duration::from_millis(500);
/// Longest time for all of it.
const TOTAL_BUDGET: Duration = Duration::from_millis(2000);
/// Longest time for telemetry to arrive before extensions of managed instances are told to end.
const FLUSH_LIMIT: Duration = Duration::from_millis(1000);
/// A killed process that is not gone by then is left to the kernel.
const REAP_LIMIT: Duration = Duration::from_millis(1000);

#[derive(Debug)]
pub(crate) struct Stopping {
    step: Step,
    reason: ShutdownReason,
    deadline: UnixNanos,
    /// The failed invocation's, told when all is over.
    report: Option<Box<InvocationReport>>,
    killed: Vec<ProcessId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Runtime,
    Flushing,
    Agents,
    Reaping,
}

impl Platform {
    pub(crate) fn stop(
        &mut self,
        now: UnixNanos,
        reason: ShutdownReason,
        report: Option<Box<InvocationReport>>,
    ) {
        self.timers.clear();
        self.thaw();
        self.closing |= !self.config.mode.resets();
        self.effect(Effect::Subscriptions(Subscriptions::Flush));
        let external = self.agents.iter().any(|a| a.external() && a.registered());
        let (runtime_budget, total) = match (external, self.agents.iter().any(Agent::registered)) {
            (true, _) if self.config.mode.is_managed() => (MANAGED_RUNTIME_BUDGET, TOTAL_BUDGET),
            (true, _) => (RUNTIME_BUDGET, TOTAL_BUDGET),
            (false, true) => (INTERNAL_BUDGET, INTERNAL_BUDGET),
            (false, false) => (Duration::ZERO, Duration::ZERO),
        };
        let deadline = now + total;
        self.stage =
            Stage::Stopping(Stopping { step: Step::Runtime, reason, deadline, report, killed: Vec::new() });
        match self.runtime.as_ref().map(|r| r.process).filter(|p| self.alive.contains(p)) {
            _ if total.is_zero() => self.reap(now),
            Some(process) => {
                self.effect(Effect::Terminate(process));
                self.timers.insert(Timer::RuntimeStop, now + runtime_budget);
            }
            None => self.runtime_stopped(now),
        }
    }

    /// Whether the end waits for what subscribers have not got yet: tell with [`crate::Input::Flushed`].
    pub fn awaits_flush(&self) -> bool {
        matches!(&self.stage, Stage::Stopping(stopping) if stopping.step == Step::Flushing)
    }

    /// Subscribers have what there was, or had the time for it.
    pub(crate) fn flushed(&mut self, now: UnixNanos) {
        if self.awaits_flush() {
            self.timers.remove(&Timer::Flush);
            self.stop_agents(now);
        }
    }

    fn runtime_stopped(&mut self, now: UnixNanos) {
        let waits = self.config.mode.is_managed() && self.agents.iter().any(|agent| agent.subscribed);
        let Stage::Stopping(stopping) = &mut self.stage else { return };
        self.timers.remove(&Timer::RuntimeStop);
        if !waits {
            return self.stop_agents(now);
        }
        stopping.step = Step::Flushing;
        self.timers.insert(Timer::Flush, now + FLUSH_LIMIT);
        self.effect(Effect::Subscriptions(Subscriptions::Flush));
    }

    /// A process is gone: goes on if that was the one waited for.
    pub(crate) fn advance_stop(&mut self, now: UnixNanos) {
        let Stage::Stopping(stopping) = &self.stage else { return };
        let runtime_alive = self.is_alive(self.runtime.as_ref().map(|r| r.process));
        match stopping.step {
            Step::Runtime if !runtime_alive => self.runtime_stopped(now),
            Step::Agents if !self.awaits_agents() => self.reap(now),
            Step::Reaping if self.alive.is_empty() => self.finish_stop(now),
            Step::Runtime | Step::Flushing | Step::Agents | Step::Reaping => {}
        }
    }

    pub(crate) fn runtime_stop_due(&mut self, now: UnixNanos) {
        if let Some(process) = self.runtime.as_ref().map(|r| r.process) {
            self.kill(process);
        }
        self.runtime_stopped(now);
    }

    fn stop_agents(&mut self, now: UnixNanos) {
        let Stage::Stopping(stopping) = &mut self.stage else { return };
        stopping.step = Step::Agents;
        if self.config.mode.is_managed() {
            stopping.deadline = now + TOTAL_BUDGET;
        }
        self.timers.insert(Timer::AgentStop, stopping.deadline);
        let others: Vec<_> =
            self.agents.iter().filter(|a| !a.wants_shutdown).filter_map(|a| a.process).collect();
        for process in others {
            self.kill(process);
        }
        self.tell_shutdown();
        self.advance_stop(now);
    }

    /// Gives SHUTDOWN to every agent that wants it, waits for an event and does not know yet.
    pub(crate) fn tell_shutdown(&mut self) {
        let Stage::Stopping(Stopping { step: Step::Agents, reason, deadline, .. }) = self.stage else {
            return;
        };
        let mut calls = Vec::new();
        for agent in self.agents.iter_mut().filter(|a| a.wants_shutdown && !a.told_shutdown) {
            if let Some(call) = agent.waiting.take() {
                agent.told_shutdown = true;
                agent.state = AgentState::Running;
                calls.push(call);
            }
        }
        for call in calls {
            self.reply(call, Reply::Shutdown { reason, deadline });
        }
    }

    fn awaits_agents(&self) -> bool {
        self.agents.iter().any(|a| a.wants_shutdown && self.is_alive(a.process))
    }

    /// Kills whatever is left.
    pub(crate) fn reap(&mut self, now: UnixNanos) {
        let Stage::Stopping(stopping) = &mut self.stage else { return };
        stopping.step = Step::Reaping;
        self.timers.clear();
        for process in self.alive.clone() {
            self.kill(process);
        }
        self.timers.insert(Timer::Reap, now + REAP_LIMIT);
        self.advance_stop(now);
    }

    fn kill(&mut self, process: ProcessId) {
        let Stage::Stopping(stopping) = &mut self.stage else { return };
        if self.alive.contains(&process) && !stopping.killed.contains(&process) {
            stopping.killed.push(process);
            self.effect(Effect::Kill(process));
        }
    }

    /// Forgets the environment, and starts the next one if somebody waits for it and there may be another.
    pub(crate) fn finish_stop(&mut self, now: UnixNanos) {
        let Stage::Stopping(stopping) = std::mem::replace(&mut self.stage, Stage::Cold) else { return };
        if let Some(report) = stopping.report {
            self.record(now, Record::Report(*report));
        }
        self.timers.clear();
        self.runtime = None;
        self.agents.clear();
        self.alive.clear();
        self.fatal = None;
        self.workers.clear();
        self.init_duration = None;
        self.restore_duration = None;
        self.snapshot = false;
        self.effect(Effect::Destroyed);
        if self.closing {
            self.stage = Stage::Gone;
        } else {
            self.pump(now);
        }
    }
}
