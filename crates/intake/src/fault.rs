//! Failures on request: what the next requests are answered with instead of being taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Signal;

/// Faults waiting at the same time; further ones push the oldest out.
const MAX_FAULTS: usize = 1000;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Answered with this status and an empty JSON object.
    Status(u16),
    /// Read, and never answered.
    Hang,
    /// The connection is reset as soon as it is made. Not of a signal or a path, as none is known by then.
    Refuse,
    /// Read, and the connection closed without an answer.
    Close,
    /// Taken, and the connection closed in the middle of the answer.
    Cut,
    /// Taken and answered as usual, so much later.
    Delay(Duration),
}

/// Which requests a fault is for.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Where {
    /// Only those whose path begins so.
    pub path: Option<String>,
    /// The part of them that fails, above 0; all when not given. Spread evenly, so that a test can be repeated: with
    /// 0.5 every second one.
    pub probability: Option<f64>,
}

/// The next `count` requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `None`: requests of any signal, and of none.
    pub signal: Option<Signal>,
    pub kind: FaultKind,
    pub count: u32,
}

/// Faults still to come, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<VecDeque<Planned>>>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) place: Where,
    /// Grows by the probability with each request; one fails when it has come to 1.
    share: f64,
}

impl Planned {
    fn is_for(&self, signal: Option<Signal>, path: &str) -> bool {
        if self.fault.kind == FaultKind::Refuse {
            return false;
        }
        let of_signal = self.fault.signal.is_none() || self.fault.signal == signal;
        of_signal && self.place.path.as_ref().is_none_or(|start| path.starts_with(start.as_str()))
    }

    /// Whether it is this request's turn.
    fn hits(&mut self) -> bool {
        let Some(probability) = self.place.probability else { return true };
        self.share += probability.clamp(0.0, 1.0);
        let hit = self.share >= 1.0 - 1e-9;
        if hit {
            self.share -= 1.0;
        }
        hit
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault, place: Where) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() == MAX_FAULTS {
            faults.pop_front();
        }
        faults.push_back(Planned { fault, place, share: 0.0 });
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn all(&self) -> Vec<Planned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether a new connection is refused.
    pub(crate) fn refuse(&self) -> bool {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|planned| planned.fault.count > 0);
        let mut meant = faults.iter_mut().filter(|planned| planned.fault.kind == FaultKind::Refuse);
        let planned = meant.find_map(|planned| planned.hits().then_some(planned));
        planned.is_some_and(|planned| {
            planned.fault.count -= 1;
            true
        })
    }

    /// The fault for a request of this signal, which is used up by one.
    pub(crate) fn take(&self, signal: Option<Signal>, path: &str) -> Option<FaultKind> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|planned| planned.fault.count > 0);
        let mut meant = faults.iter_mut().filter(|planned| planned.is_for(signal, path));
        let planned = meant.find_map(|planned| planned.hits().then_some(planned))?;
        planned.fault.count -= 1;
        Some(planned.fault.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultKind, Faults, Where};
    use model::Signal;

    #[test]
    fn a_fault_hits_its_signal_as_often_as_it_says() {
        let faults = Faults::default();
        let all = Where::default;
        faults.add(Fault { signal: Some(Signal::Logs), kind: FaultKind::Status(503), count: 2 }, all());
        faults.add(Fault { signal: None, kind: FaultKind::Hang, count: 1 }, all());
        let kinds = [Some(Signal::Logs), Some(Signal::Traces), Some(Signal::Logs), Some(Signal::Logs), None];
        let taken: Vec<_> = kinds.into_iter().map(|signal| faults.take(signal, "/x")).collect();
        let status = Some(FaultKind::Status(503));
        assert_eq!(taken, [status, Some(FaultKind::Hang), status, None, None]);
    }

    #[test]
    fn a_fault_hits_its_path_and_its_part() {
        let faults = Faults::default();
        let place = Where { path: Some("/api/v2/".to_owned()), probability: Some(0.5) };
        faults.add(Fault { signal: None, kind: FaultKind::Close, count: 2 }, place);
        let hits = |path: &str| faults.take(None, path).is_some();
        let paths =
            ["/api/v1/x", "/api/v2/x", "/api/v2/y", "/api/v2/x", "/api/v2/x", "/api/v2/x", "/api/v2/x"];
        assert_eq!(paths.map(hits), [false, false, true, false, true, false, false]);
    }
}
