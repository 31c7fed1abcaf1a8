//! When to flush and how much of the function's time that may cost. Holds no data.
//!
//! The budget of a signal shrinks with the first failure, and after the second nothing is sent for a while, and
//! then one batch that nobody waits for: a dead intake costs the function one timeout, one short try, and then
//! nothing.

use std::time::Duration;

use model::{Record, Signal, UnixNanos};

use crate::ids::Ids;
use crate::invocation::Invocation;
use crate::pace::Hold;

/// What is left of an invocation's or a shutdown's time for the platform itself.
pub(crate) const MARGIN: Duration = Duration::from_millis(100);
/// How long before its deadline an invocation is taken to be over, so that its data leaves before a
/// timeout ends the sandbox.
const LEAD: Duration = Duration::from_millis(250);
/// How long `platform.runtimeDone` may be behind the end of the handler: Lambda holds telemetry for 25 ms.
const RECORD_GRACE: Duration = Duration::from_millis(100);
/// How long the end call may be behind `platform.runtimeDone`: both are local and were sent in order.
pub(crate) const CALL_GRACE: Duration = Duration::from_millis(20);
/// How long the first sign of telemetry may be behind an invocation; without any there is no Telemetry
/// API here, as in emulators.
const SILENCE: Duration = Duration::from_millis(500);
/// How long reports are waited for at SHUTDOWN.
pub(crate) const DRAIN: Duration = Duration::from_millis(100);
/// How long data may wait for company while nothing runs that we know of. A sandbox that is not frozen for so
/// long works all the same: telemetry is late, or does not exist.
const IDLE: Duration = Duration::from_secs(1);
/// What a try may cost after a failure.
const SHORT: Duration = Duration::from_millis(200);
/// How long nothing is sent after the second failure; doubles with each more.
const COOL_DOWN: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 5;
/// The same where so much waits that it will be lost soon: an intake that fails now and then must not cost data.
const HURRY: Duration = Duration::from_secs(1);
/// A deadline that has passed when it is told is none (emulators say zero): the longest there can be.
const LONGEST_INVOCATION: Duration = Duration::from_secs(900);
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(2);

/// An invocation's deadline as told, or a bound where that makes no sense.
pub(crate) fn invocation_deadline(now: UnixNanos, told: UnixNanos) -> UnixNanos {
    let longest = now + LONGEST_INVOCATION + LEAD;
    if told > now { told.min(longest) } else { longest }
}

/// The end of a shutdown, time for the platform deducted.
pub(crate) fn shutdown_end(now: UnixNanos, told: UnixNanos) -> UnixNanos {
    let longest = now + LONGEST_SHUTDOWN;
    let deadline = if told > now { told.min(longest) } else { longest };
    // However little there is, half of it is for the data.
    deadline - MARGIN.min(deadline.since(now) / 2)
}

/// Whether the Telemetry API speaks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Telemetry {
    #[default]
    NothingYet,
    Heard,
    /// An invocation went by without a word.
    Silent,
}

/// Whether Lambda tells of ends: a record gets lost, and an emulator may tell of begins alone. What cannot be told apart
/// from a handler that still runs costs one invocation, not each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Ends {
    #[default]
    Told,
    /// One was waited for until its deadline, and nobody has told of it.
    Missed,
    /// And the sandbox lives on, so that it was an end: none is waited for until one is told.
    Untold,
}

impl Ends {
    /// A record was told.
    pub(crate) fn note(&mut self, record: &Record) {
        if matches!(record, Record::RuntimeDone(_)) {
            *self = Self::Told;
        }
    }

    /// Waiting for one is over, by its deadline.
    pub(crate) fn miss(&mut self) {
        if *self == Self::Told {
            *self = Self::Missed;
        }
    }

    /// Another invocation begins.
    pub(crate) fn go_on(&mut self) {
        if *self == Self::Missed {
            *self = Self::Untold;
        }
    }

    /// What is to be made of telemetry that was heard.
    pub(crate) fn judge(self, telemetry: Telemetry) -> Telemetry {
        match (self, telemetry) {
            (Self::Untold, Telemetry::Heard) => Telemetry::Silent,
            _ => telemetry,
        }
    }
}

/// When an invocation is over, as far as is known now: it never depends on one record.
pub(crate) fn end_of(
    live: Option<&Invocation>,
    telemetry: Telemetry,
    hold: Hold,
    begun: UnixNanos,
    deadline: UnixNanos,
) -> UnixNanos {
    let last = deadline - LEAD;
    let Some(live) = live else { return begun };
    let done = live.done.as_ref().map(|done| done.at);
    let answered = live.answered().or(live.root_seen);
    let end = match (done, answered, telemetry) {
        (Some(done), _, _) if live.report.is_some() || !live.awaits_end_call() => done,
        (Some(done), _, _) => done + CALL_GRACE,
        (None, Some(answered), Telemetry::Silent) => answered,
        (None, Some(answered), _) if hold == Hold::Brief => answered,
        (None, Some(answered), _) => answered + RECORD_GRACE,
        (None, None, Telemetry::Heard) => last,
        (None, None, Telemetry::NothingYet) => begun + SILENCE,
        (None, None, Telemetry::Silent) => begun,
    };
    end.min(last)
}

/// When data has to be gone of an invocation whose end does not wait for it.
pub(crate) fn lead(deadline: UnixNanos) -> UnixNanos {
    deadline - LEAD
}

/// When data has to go that came while no invocation runs that we know of.
pub(crate) fn idle_end(data_since: UnixNanos) -> UnixNanos {
    data_since + IDLE
}

/// What a signal may send in a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) batches: usize,
    pub(crate) deadline: UnixNanos,
    /// Whether it is worth waiting for the answers.
    pub(crate) held: bool,
}

/// One circuit breaker per signal: their intakes are different hosts.
#[derive(Clone, Debug)]
pub(crate) struct Flush {
    timeout: Duration,
    breakers: [(Signal, Breaker); Signal::ALL.len()],
    number: u64,
    /// Of the jitter: sandboxes must not come back to an intake all at once.
    seed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    /// Flushes that failed, one after another.
    failures: u32,
    /// The flush that failed last.
    failed_in: u64,
    /// Nothing is sent before.
    open_until: UnixNanos,
    /// Nor before this where there is hardly room for more.
    hurry_at: UnixNanos,
}

impl Flush {
    pub(crate) fn new(timeout: Duration, seed: u64) -> Self {
        let breakers = Signal::ALL.map(|signal| (signal, Breaker::default()));
        Self { timeout, breakers, number: 0, seed }
    }

    /// The longest that a flush may hold back `Next`.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// SnapStart: all sandboxes that are made of one snapshot have one seed, but no two have the same first
    /// invocation.
    pub(crate) fn reseed(&mut self, first: &str) {
        self.seed = Ids::of(self.seed, first).draw();
    }

    /// Begins another flush.
    pub(crate) fn begin(&mut self) {
        self.number += 1;
    }

    /// What a signal may send in the flush that began, which ends at `until`. `None`: nothing. `hurries`: half of
    /// what can be held of it waits.
    pub(crate) fn allow(
        &self,
        signal: Signal,
        now: UnixNanos,
        until: UnixNanos,
        hurries: bool,
    ) -> Option<Allowance> {
        let breaker = self.breaker(signal);
        let (batches, deadline, held) = match breaker.failures {
            0 => (usize::MAX, until.min(now + self.timeout), true),
            1 => (1, until.min(now + self.timeout.min(SHORT)), true),
            _ if now < breaker.open_until && !(hurries && now >= breaker.hurry_at) => return None,
            // Whether it is back is found out while invocations run.
            _ => (1, now + self.timeout, false),
        };
        (deadline > now).then_some(Allowance { batches, deadline, held })
    }

    /// When a signal may go again that may not now. Never at once.
    pub(crate) fn opens(&self, signal: Signal, now: UnixNanos, hurries: bool) -> UnixNanos {
        let breaker = self.breaker(signal);
        let opens = if hurries { breaker.open_until.min(breaker.hurry_at) } else { breaker.open_until };
        opens.max(now + IDLE)
    }

    /// No intake failed when it was last tried.
    pub(crate) fn is_well(&self) -> bool {
        self.breakers.iter().all(|(_, breaker)| breaker.failures == 0)
    }

    /// What a signal may send in the last flush: another chance there is not, and nobody waits for it.
    pub(crate) fn allow_last(now: UnixNanos, until: UnixNanos) -> Option<Allowance> {
        (until > now).then_some(Allowance { batches: usize::MAX, deadline: until, held: true })
    }

    /// Takes note of an answer; `true` when the intake is back after failures.
    pub(crate) fn answered(&mut self, signal: Signal, now: UnixNanos, accepted: bool) -> bool {
        let (number, seed) = (self.number, self.seed);
        let Some((_, breaker)) = self.breakers.iter_mut().find(|(s, _)| *s == signal) else { return false };
        if accepted {
            return std::mem::take(breaker).failures > 0;
        }
        if breaker.failures > 0 && breaker.failed_in == number {
            return false;
        }
        breaker.failed_in = number;
        breaker.failures = breaker.failures.saturating_add(1);
        if let Some(doublings) = breaker.failures.checked_sub(2) {
            let pause = COOL_DOWN * (1 << doublings.min(MAX_DOUBLINGS));
            // From as much to a quarter more.
            let drawn = Ids::of(seed ^ u64::from(breaker.failures), signal.as_str()).draw();
            let more = u32::try_from(drawn % 256).unwrap_or_default();
            breaker.open_until = now + pause + pause / 1024 * more;
            breaker.hurry_at = now + HURRY * (1 << doublings.min(MAX_DOUBLINGS));
        }
        false
    }

    fn breaker(&self, signal: Signal) -> Breaker {
        self.breakers.iter().find(|(s, _)| *s == signal).map(|(_, breaker)| *breaker).unwrap_or_default()
    }
}
