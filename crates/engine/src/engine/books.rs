//! What the engine holds and what it has lost.

use model::Signal;

use super::Engine;

impl Engine {
    /// Spans, log entries, points or values of a signal that this process dropped, or would take with it if it
    /// ended now.
    pub fn lost(&mut self, signal: Signal) -> u64 {
        let drops = &self.stages.drops;
        let dropped = match signal {
            // Before it is known what becomes of a metric.
            Signal::Sketches => drops.total(signal.as_str()) + drops.total("metrics"),
            _ => drops.total(signal.as_str()),
        };
        dropped + self.held(signal)
    }

    /// Spans, log entries, points or values of a signal that the intake has taken since the start.
    pub fn delivered(&self, signal: Signal) -> u64 {
        self.stages.batches.delivered(signal)
    }

    /// What was dropped since the start: of what, why, how much.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        self.stages.drops.all()
    }

    /// Spans, log entries or values of distributions that are held anywhere, or on their way.
    pub fn held(&mut self, signal: Signal) -> u64 {
        let elsewhere = match signal {
            Signal::Traces => self.boot.held(),
            Signal::Sketches => self.stages.metrics.held_values(),
            Signal::Logs => self.stages.logs.held(),
            Signal::Series | Signal::Stats | Signal::Forwards => 0,
        };
        elsewhere + self.stages.batches.held(signal)
    }
}

#[cfg(test)]
impl Engine {
    pub(crate) fn phase(&self) -> crate::lifecycle::Phase {
        self.lifecycle.phase()
    }

    /// All that can tell two engines apart, but for how often they sent. Queues are given apart: their
    /// order may differ.
    pub(crate) fn fingerprint(&self) -> (String, Vec<String>) {
        let (traces, metrics, logs) = (&self.stages.traces, &self.stages.metrics, &self.stages.logs);
        let state = (
            &self.lifecycle,
            &self.boot,
            &self.invocations,
            &self.flush,
            self.telemetry,
            self.ends,
            &self.cut_off,
        );
        let pace = (&self.pace, self.hold, self.free_until, self.unheard, self.idle_since, self.left_until);
        (format!("{state:?}{pace:?}{traces:?}{metrics:?}{logs:?}"), self.stages.batches.held_items())
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
