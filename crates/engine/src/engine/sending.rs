//! Flushes: what goes when one begins, and what its answers change. When one begins is the engine's business.

use model::{Signal, UnixNanos};

use super::Engine;
use crate::flush::{Allowance, Flush};
use crate::io::{Outcome, SendId};
use crate::lifecycle::Phase;
use crate::metric::Wanted;

impl Engine {
    /// Lets all that is here go, as far as the breakers allow.
    pub(super) fn begin_flush(&mut self, until: UnixNanos) {
        let now = self.now;
        self.idle_since = None;
        self.pace.flushed(now);
        self.derive();
        self.stages.queue_logs();
        // What may not go now is better put together with what comes.
        let [series, sketches] = [Signal::Series, Signal::Sketches]
            .map(|signal| self.stages.batches.is_copied(signal) || self.allowance(signal, until).is_some());
        let is_end = self.lifecycle.is_shutting_down();
        self.stages.queue_metrics(&Wanted { now, series, sketches, is_end });
        self.flush.begin();
        self.left_until = None;
        for signal in Signal::ALL.into_iter().filter(|s| self.stages.holds(*s)).collect::<Vec<_>>() {
            let allowance = self.allowance(signal, until);
            if allowance.is_none() {
                let hurries = self.stages.batches.is_half_full(signal);
                let again = self.flush.opens(signal, now, hurries);
                self.left_until = Some(self.left_until.map_or(again, |first| first.min(again)));
            }
            // The further intakes need not wait until the main one takes all again.
            if allowance.is_none_or(|allowance| allowance.batches < usize::MAX) {
                let deadline = until.min(now + self.flush.timeout());
                while let Some(departure) = self.stages.batches.copy(signal, now, deadline) {
                    self.effects.push_back(departure.into());
                }
            }
            if let Some(mut allowance) = allowance {
                // After a freeze there is an answer that was not read, or none: nobody knows.
                allowance.held &= !self.stages.batches.is_late(signal, now);
                self.stages.batches.begin(signal, allowance);
            }
        }
    }

    /// What a signal may send now.
    fn allowance(&mut self, signal: Signal, until: UnixNanos) -> Option<Allowance> {
        if self.lifecycle.is_shutting_down() {
            return Flush::allow_last(self.now, until);
        }
        let hurries = self.stages.batches.is_half_full(signal);
        self.flush.allow(signal, self.now, until, hurries)
    }

    pub(super) fn depart(&mut self) {
        while let Some(departure) = self.stages.batches.depart(self.now) {
            self.effects.push_back(departure.into());
        }
    }

    pub(super) fn landed(&mut self, id: SendId, outcome: Outcome) {
        let cost = outcome.cost;
        let Some(landing) = self.stages.batches.land(id, outcome, &mut self.stages.drops) else { return };
        self.stages.overhead.sent(landing.signal, cost);
        if landing.is_told {
            return;
        }
        if landing.is_well {
            self.accepted_at = Some(self.now);
        }
        if self.flush.answered(landing.signal, self.now, landing.is_well) {
            self.stages.batches.widen(landing.signal, self.end_of_flush());
        }
    }

    /// How long what goes now may take.
    fn end_of_flush(&self) -> UnixNanos {
        let end = self.now + self.flush.timeout();
        match self.lifecycle.phase() {
            Phase::Flushing { until } | Phase::Leaving { until } => until.min(end),
            Phase::Draining { end: last, .. } => last.min(end),
            Phase::Waiting | Phase::Running { .. } => end,
            Phase::Gone => self.now,
        }
    }

    /// A send has no answer in time: its intake is slow or gone, whatever becomes of the request.
    pub(super) fn late(&mut self, id: SendId) {
        if let Some(signal) = self.stages.batches.note_late(id) {
            self.flush.answered(signal, self.now, false);
        }
    }
}
