//! What the extension itself costs, as metrics: time that invocations waited for it, requests and bytes. Told
//! only together with something else, so that telling it is no reason to send.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Metric, MetricKind, Signal, keys::metrics};

use crate::io::Cost;

/// Waits that are remembered between two flushes.
const MAX_WAITS: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Overhead {
    costs: BTreeMap<Signal, Cost>,
    waits: Vec<f64>,
}

impl Overhead {
    /// Something was sent.
    pub(crate) fn sent(&mut self, signal: Signal, cost: Cost) {
        if cost == Cost::default() {
            return;
        }
        let sum = self.costs.entry(signal).or_default();
        sum.requests = sum.requests.saturating_add(cost.requests);
        sum.bytes = sum.bytes.saturating_add(cost.bytes);
    }

    /// The end of an invocation waited so long for its data to be sent.
    pub(crate) fn waited(&mut self, time: Duration) {
        if self.waits.len() < MAX_WAITS && !self.costs.is_empty() {
            self.waits.push(time.as_secs_f64() * 1000.0);
        }
    }

    /// What was not told yet.
    pub(crate) fn take(&mut self) -> Vec<Metric> {
        let mut all = Vec::new();
        for (signal, Cost { requests, bytes }) in std::mem::take(&mut self.costs) {
            for (name, value) in [(metrics::EXTENSION_REQUESTS, requests), (metrics::EXTENSION_BYTES, bytes)]
            {
                all.push(Metric {
                    kind: MetricKind::Count,
                    tags: vec![format!("signal:{}", signal.as_str()).into()],
                    ..Metric::distribution(name, value as f64)
                });
            }
        }
        let waits = std::mem::take(&mut self.waits);
        if !waits.is_empty() {
            all.push(Metric {
                values: waits,
                ..Metric::distribution(metrics::EXTENSION_FLUSH_DURATION, 0.0)
            });
        }
        all
    }
}
