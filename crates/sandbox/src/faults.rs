//! What goes wrong on purpose in a sandbox. Values only: the driver and the deliveries of telemetry ask them.

use std::time::Duration;

use crate::timeline::Process;

/// Faults of every sandbox of a function.
///
/// ```
/// use sandbox::{Batches, Faults, Kill, Process};
/// use std::time::Duration;
///
/// let faults = Faults {
///     telemetry_delay: Duration::from_millis(200),
///     telemetry_drop: Batches::These(vec![2]),
///     kills: vec![Kill { process: Process::Function, invocation: 3, after: Duration::ZERO }],
///     ..Faults::default()
/// };
/// # let _ = faults;
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Faults {
    /// Every batch of telemetry is held back for this long (of time not frozen and frozen) before it is delivered.
    pub telemetry_delay: Duration,
    /// Batches that never arrive, and of which the subscriber is told nothing.
    pub telemetry_drop: Batches,
    /// Batches that arrive twice.
    pub telemetry_duplicate: Batches,
    pub kills: Vec<Kill>,
    /// The clock of the processes jumps against Lambda's.
    pub clock: Vec<ClockJump>,
    /// The part of one processor that the processes have, above 0 and up to 1; all there is when not given.
    pub cpu: Option<f64>,
}

/// From an invocation on the clock of the processes is wrong by so much. What they read stays, since the clock is the
/// machine's: what Lambda tells them is moved the other way, its deadlines and the times of its telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockJump {
    /// Of its sandbox, counted from 1 and on through resets.
    pub invocation: u64,
    pub by: Duration,
    /// Ahead of Lambda's clock, or behind it.
    pub forward: bool,
}

/// Which deliveries of telemetry to one subscriber, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Batches {
    #[default]
    None,
    All,
    These(Vec<u64>),
}

impl Batches {
    pub(crate) fn has(&self, number: u64) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(numbers) => numbers.contains(&number),
        }
    }
}

/// A process that is killed (SIGKILL, with all that it started).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub process: Process,
    /// In which invocation of its sandbox, counted from 1 and on through resets.
    pub invocation: u64,
    /// How long after the invocation began.
    pub after: Duration,
}

#[cfg(test)]
mod tests {
    use super::Batches;

    #[test]
    fn batches_are_counted_from_one() {
        let these = Batches::These(vec![1, 3]);
        assert_eq!([1, 2, 3].map(|n| these.has(n)), [true, false, true]);
        assert!(Batches::All.has(7) && !Batches::None.has(1));
    }
}
