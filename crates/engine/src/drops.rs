//! What was lost, counted by signal and reason. Nothing is dropped in the engine without passing here, and
//! all of it is told to Datadog as `datadog.serverless.extension.dropped`.

use std::collections::BTreeMap;

use model::{Metric, MetricKind, keys};

use crate::io::Dropped;

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// More was held than the bound allows: the oldest went.
    Overflow,
    /// The intake will never take it.
    Refused,
    /// It alone is more than the intake takes.
    TooLarge,
    /// It was sent too often without an answer that says what is wrong with it.
    Attempts,
    /// Too many metric contexts at once.
    Contexts,
    /// It could not be read, or has no meaning (a metric that is not a number).
    Malformed,
    /// The inbox was full.
    Inbox,
    /// Lambda dropped it before it was delivered.
    Platform,
    /// It may hold what a rule was to mask that cannot be used.
    Unmasked,
    /// It came after what it belongs to was sent.
    Late,
    /// Of several invocations it may be of any.
    Stray,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Attempts => "attempts",
            Self::Contexts => "contexts",
            Self::Malformed => "malformed",
            Self::Inbox => "inbox",
            Self::Platform => "platform",
            Self::Unmasked => "unmasked",
            Self::Late => "late",
            Self::Stray => "stray",
        }
    }
}

/// Counts of what was dropped: of spans, log entries, metric values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops {
    untold: BTreeMap<(&'static str, Reason), u64>,
    total: BTreeMap<(&'static str, Reason), u64>,
}

impl Drops {
    pub(crate) fn add(&mut self, signal: &'static str, reason: Reason, count: u64) {
        if count == 0 {
            return;
        }
        for sums in [&mut self.untold, &mut self.total] {
            let sum = sums.entry((signal, reason)).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Counts what a source says it lost.
    pub(crate) fn add_at_source(&mut self, what: Dropped, count: u64) {
        let (signal, reason) = match what {
            Dropped::Spans => ("traces", Reason::Malformed),
            Dropped::Stats => ("stats", Reason::Malformed),
            Dropped::Forwards => ("forwards", Reason::Inbox),
            Dropped::Metrics => ("metrics", Reason::Malformed),
            Dropped::Logs => ("logs", Reason::Malformed),
            Dropped::Records => ("records", Reason::Malformed),
            Dropped::Datagrams => ("datagrams", Reason::Inbox),
        };
        self.add(signal, reason, count);
    }

    /// The counts that were not told yet, as metrics; they count as told from here on.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Metric> {
        std::mem::take(&mut self.untold).into_iter().map(|((signal, reason), count)| Metric {
            kind: MetricKind::Count,
            tags: vec![format!("signal:{signal}").into(), format!("reason:{}", reason.as_str()).into()],
            ..Metric::distribution(keys::metrics::EXTENSION_DROPPED, count as f64)
        })
    }

    /// How much of a signal was dropped since the start.
    pub(crate) fn total(&self, signal: &str) -> u64 {
        self.all().filter(|(of, ..)| *of == signal).map(|(_, _, count)| count).sum()
    }

    /// All that was dropped since the start: of what, why, how much.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.total.iter().map(|((signal, reason), count)| (*signal, reason.as_str(), *count))
    }
}
