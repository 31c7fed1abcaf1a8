//! The phase of the sandbox as the Extensions API shows it, and with it whether `Next` is owed.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>
//!
//! Knows no invocation and no data: the engine tells it that an invocation ended or that a flush is done.

use model::UnixNanos;

/// Where the sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `Next` was asked: nothing is owed, and the sandbox may be frozen at any moment. An invocation may run
    /// whose end does not wait for us.
    Waiting,
    /// An invocation runs; `Next` is owed. `deadline`: when Lambda ends it.
    Running {
        deadline: UnixNanos,
    },
    /// The invocation is over; `Next` is held back until its data is sent, not beyond `until`.
    Flushing {
        until: UnixNanos,
    },
    /// SHUTDOWN came: what is there is being sent, reports are waited for until `until`.
    Draining {
        until: UnixNanos,
        end: UnixNanos,
    },
    /// The last data is being sent, not beyond `until`.
    Leaving {
        until: UnixNanos,
    },
    Gone,
}

/// What moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Invoke {
        deadline: UnixNanos,
        /// Whether its end waits for its data.
        holds: bool,
    },
    /// The invocation is over; its data may hold `Next` back until `until`.
    Ended {
        until: UnixNanos,
    },
    /// All that a flush had to send was answered.
    Delivered,
    /// SHUTDOWN: reports are waited for until `drain`, all ends at `end`.
    Shutdown {
        drain: UnixNanos,
        end: UnixNanos,
    },
    /// No invocation lacks its report.
    Reported,
    Tick,
}

/// What the engine has to do on a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send what is there, not beyond this moment.
    Flush {
        until: UnixNanos,
    },
    /// Nothing more will come: close all invocations and send all that is left.
    FlushLast {
        until: UnixNanos,
    },
    Next,
    Exit,
}

#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    phase: Phase,
}

impl Lifecycle {
    /// `Next` has just been asked for the first time.
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Waiting }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The sandbox waits for its next event.
    pub(crate) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Gone)
    }

    /// Moves on. Events that mean nothing in the present phase change nothing.
    pub(crate) fn on(&mut self, now: UnixNanos, event: Event) -> Option<Step> {
        let (phase, step) = Self::transition(self.phase, now, event)?;
        self.phase = phase;
        step
    }

    fn transition(phase: Phase, now: UnixNanos, event: Event) -> Option<(Phase, Option<Step>)> {
        use Event::{Delivered, Ended, Invoke, Reported, Shutdown, Tick};
        use Phase::{Draining, Flushing, Gone, Leaving, Running, Waiting};
        Some(match (phase, event) {
            // Lambda gives no event unasked. Should it, then the newest invocation is the one that runs.
            (Waiting | Running { .. } | Flushing { .. }, Invoke { deadline, holds: true }) => {
                (Running { deadline }, None)
            }
            (Waiting | Running { .. } | Flushing { .. }, Invoke { .. }) => (Waiting, Some(Step::Next)),

            (Running { .. }, Ended { until }) => (Flushing { until }, Some(Step::Flush { until })),
            (Flushing { .. }, Delivered) => (Waiting, Some(Step::Next)),
            (Flushing { until }, Tick) if now >= until => (Waiting, Some(Step::Next)),

            (Waiting | Running { .. } | Flushing { .. }, Shutdown { drain, end }) => {
                (Draining { until: drain, end }, Some(Step::Flush { until: end }))
            }
            (Draining { end, .. }, Reported) => {
                (Leaving { until: end }, Some(Step::FlushLast { until: end }))
            }
            (Draining { until, end }, Tick) if now >= until => {
                (Leaving { until: end }, Some(Step::FlushLast { until: end }))
            }
            (Leaving { .. }, Delivered) => (Gone, Some(Step::Exit)),
            (Leaving { until }, Tick) if now >= until => (Gone, Some(Step::Exit)),

            (Waiting, Ended { .. } | Delivered | Reported | Tick)
            | (Running { .. }, Delivered | Reported | Tick)
            | (Flushing { .. }, Ended { .. } | Reported | Tick)
            | (Draining { .. }, Invoke { .. } | Ended { .. } | Delivered | Shutdown { .. } | Tick)
            | (Leaving { .. }, Invoke { .. } | Ended { .. } | Shutdown { .. } | Reported | Tick)
            | (Gone, _) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Every event in every phase, before and after the phase's own deadline.
    #[test]
    fn transitions() {
        let at = UnixNanos::from_secs;
        let phases = [
            Phase::Waiting,
            Phase::Running { deadline: at(10) },
            Phase::Flushing { until: at(10) },
            Phase::Draining { until: at(10), end: at(12) },
            Phase::Leaving { until: at(10) },
            Phase::Gone,
        ];
        let events = [
            Event::Invoke { deadline: at(30), holds: true },
            Event::Invoke { deadline: at(30), holds: false },
            Event::Ended { until: at(20) },
            Event::Delivered,
            Event::Shutdown { drain: at(40), end: at(42) },
            Event::Reported,
            Event::Tick,
        ];
        let mut table = String::new();
        let to = |phase, now, event| match Lifecycle::transition(phase, now, event) {
            Some((to, Some(step))) => format!("{to:?}, {step:?}"),
            Some((to, None)) => format!("{to:?}"),
            None => "-".to_owned(),
        };
        for phase in phases {
            writeln!(table, "{phase:?}").unwrap();
            for event in events {
                let (before, after) = (to(phase, at(9), event), to(phase, at(10), event));
                let after = if before == after { String::new() } else { format!("; from 10s on {after}") };
                writeln!(table, "  {event:?} -> {before}{after}").unwrap();
            }
        }
        let table = table.replace(".000000000", "s");
        insta::assert_snapshot!(table);
    }
}
