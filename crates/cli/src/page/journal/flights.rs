//! Invocations that run beside each other in one execution environment, as managed instances have them. Each is a
//! flight from its start to its report; a cycle is a time in which there always was one, or nearly.

use model::InvocationReport;
use serde::Serialize;

use super::{Cycle, Kind, Reader};

/// Flights told of one cycle; the oldest go first.
const MAX_FLIGHTS: usize = 200;
/// Nothing for that long, and the next flight is of another cycle.
const IDLE_NS: u64 = 1_000_000_000;

/// One invocation beside others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Flight {
    pub(crate) request_id: String,
    pub(crate) from: u64,
    pub(crate) answered: Option<u64>,
    pub(crate) to: Option<u64>,
    pub(crate) status: String,
    pub(crate) error_type: Option<String>,
    /// As Lambda reports it.
    pub(crate) duration_ms: Option<f64>,
}

impl Reader {
    pub(super) fn begin_flight(&mut self, id: &str, at: u64) {
        let is_idle = self.now.to.is_some_and(|to| at.saturating_sub(to) > IDLE_NS);
        if self.now.kind != Kind::Serve || is_idle {
            self.open(Kind::Serve, at);
            // Who of the processes is at work for which of them is not known.
            self.now.lanes.clear();
        }
        let cycle = &mut self.now;
        cycle.to = None;
        cycle.flights.push(Flight {
            request_id: id.to_owned(),
            from: at,
            answered: None,
            to: None,
            status: "running".to_owned(),
            error_type: None,
            duration_ms: None,
        });
        if cycle.flights.len() > MAX_FLIGHTS {
            cycle.flights.remove(0);
            cycle.more_flights += 1;
        }
    }

    /// The flight of this invocation, while it is remembered.
    pub(super) fn flight(&mut self, id: &str) -> Option<&mut Flight> {
        let cycles = std::iter::once(&mut self.now).chain(self.seen.cycles.iter_mut().rev());
        cycles.flat_map(|cycle| &mut cycle.flights).find(|flight| flight.request_id == id)
    }

    /// Lambda reports it: `false` when it is none.
    pub(super) fn end_flight(&mut self, report: &InvocationReport, at: u64) -> bool {
        let Some(flight) = self.flight(report.request_id.as_str()) else { return false };
        flight.to = Some(at);
        flight.duration_ms = Some(report.duration.get());
        flight.error_type = report.error_type.as_deref().map(str::to_owned);
        flight.status = report.status.as_ref().map_or("success", |status| status.as_str()).to_owned();
        self.now.land(at);
        true
    }
}

impl Cycle {
    /// It ends with the last flight, until there is another.
    fn land(&mut self, at: u64) {
        if self.kind == Kind::Serve && self.flights.iter().all(|flight| flight.to.is_some()) {
            self.to = Some(at);
        }
    }
}
