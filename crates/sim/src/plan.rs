//! What kind of life a seed gives: how the function is traced, what Lambda tells, how the intake is.

use std::time::Duration;

use engine::FlushStrategy;
use platform::Mode;

use crate::dice::Dice;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) invocations: u64,
    /// Longest pause between two invocations, in milliseconds.
    pub(crate) pause: u64,
    pub(crate) library: Library,
    pub(crate) telemetry: Telemetry,
    pub(crate) intake: Intake,
    /// Longest time that the intake takes for an answer, in milliseconds.
    pub(crate) latency: u64,
    /// Further intakes get everything too. They always work.
    pub(crate) is_copied: bool,
    /// How many in a hundred handlers hang until the timeout, and how many end their process.
    pub(crate) hangs: u64,
    pub(crate) crashes: u64,
    pub(crate) timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) strategy: FlushStrategy,
}

/// Who makes the invocation's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The function's own library, as in Rust, Python and Node.
    Own,
    /// The extension, told by start and end calls, as for Java, Go and .NET.
    Extension,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telemetry {
    /// Held for 25 ms, as Lambda does.
    Usual,
    /// Held for up to so many milliseconds.
    Late(u64),
    /// Each record of the platform comes twice.
    Twice,
    /// Never comes.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    Healthy,
    /// So many in a hundred requests fail.
    Flaky(u64),
    /// Nothing works for the first half of the invocations.
    Outage,
}

impl Plan {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let library = [Library::Own, Library::Extension, Library::None];
        let telemetry = match dice.between(0, 9) {
            0 => Telemetry::Silent,
            1 | 2 => Telemetry::Late(dice.between(30, 3000)),
            3 => Telemetry::Twice,
            _ => Telemetry::Usual,
        };
        let intake = match dice.between(0, 4) {
            0 => Intake::Flaky(dice.between(1, 60)),
            1 => Intake::Outage,
            _ => Intake::Healthy,
        };
        let troubled = dice.percent(40);
        let mode = match dice.between(0, 9) {
            0 | 1 => Mode::ManagedInstances { concurrency: dice.between(1, 4) as u16 },
            2 => Mode::ProvisionedConcurrency,
            _ => Mode::OnDemand,
        };
        Self {
            mode,
            invocations: dice.between(0, 12),
            pause: [5, 200, 5000, 120_000].into_iter().nth(dice.between(0, 3) as usize).unwrap_or(5),
            library: library.into_iter().nth(dice.between(0, 2) as usize).unwrap_or(Library::Own),
            telemetry,
            intake,
            latency: [2, 50, 400, 6000].into_iter().nth(dice.between(0, 3) as usize).unwrap_or(2),
            is_copied: dice.percent(25),
            hangs: if troubled { 15 } else { 0 },
            crashes: if troubled { 15 } else { 0 },
            timeout: Duration::from_millis(dice.between(1500, 6000)),
            flush_timeout: Duration::from_millis(dice.between(600, 5000)),
            strategy: strategy(dice),
        }
    }

    /// How long the end of an invocation may be without a sign of it: with no library only telemetry tells.
    pub(crate) fn unseen(&self) -> Duration {
        match (self.telemetry, self.library) {
            (Telemetry::Late(ms), Library::None) => Duration::from_millis(ms),
            _ => Duration::ZERO,
        }
    }

    /// Many invocations at once, in a sandbox that is never frozen.
    pub(crate) fn is_managed(&self) -> bool {
        self.mode.concurrency().is_some()
    }

    /// Nothing may be lost.
    pub(crate) fn is_safe(&self) -> bool {
        self.intake == Intake::Healthy && self.latency < 100
    }
}

fn strategy(dice: &mut Dice) -> FlushStrategy {
    let every = Duration::from_millis(dice.between(20, 2000));
    match dice.between(0, 5) {
        0 => FlushStrategy::End,
        1 => FlushStrategy::EndAnd(every),
        2 => FlushStrategy::Periodically(every),
        3 => FlushStrategy::Continuously(every),
        _ => FlushStrategy::Adaptive,
    }
}
