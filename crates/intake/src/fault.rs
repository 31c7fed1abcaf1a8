//! Failures on request: what the next requests are answered with instead of being taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Read, and the connection closed without an answer.
    Close,
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
pub(crate) struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() == MAX_FAULTS {
            faults.pop_front();
        }
        faults.push_back(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn all(&self) -> Vec<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// The fault for a request of this signal, which is used up by one.
    pub(crate) fn take(&self, signal: Option<Signal>) -> Option<FaultKind> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|fault| fault.count > 0);
        let fault = faults.iter_mut().find(|fault| fault.signal.is_none() || fault.signal == signal)?;
        fault.count -= 1;
        Some(fault.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultKind, Faults};
    use model::Signal;

    #[test]
    fn a_fault_hits_its_signal_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault { signal: Some(Signal::Logs), kind: FaultKind::Status(503), count: 2 });
        faults.add(Fault { signal: None, kind: FaultKind::Hang, count: 1 });
        let kinds = [Some(Signal::Logs), Some(Signal::Traces), Some(Signal::Logs), Some(Signal::Logs), None];
        let taken: Vec<_> = kinds.into_iter().map(|signal| faults.take(signal)).collect();
        let status = Some(FaultKind::Status(503));
        assert_eq!(taken, [status, Some(FaultKind::Hang), status, None, None]);
    }
}
