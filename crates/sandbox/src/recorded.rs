//! What callers asked for, so that it can be asked again. Bounded: the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use model::{RequestId, UnixNanos};

const MAX_INVOCATIONS: usize = 1000;
const MAX_BYTES: usize = 64 << 20;

/// One invocation as its caller made it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedInvocation {
    /// Counts from 1.
    pub number: u64,
    pub at: UnixNanos,
    pub function: String,
    pub request_id: RequestId,
    pub payload: Bytes,
    /// JSON text.
    pub client_context: Option<String>,
    pub trace_header: String,
    pub tenant_id: Option<String>,
}

/// The lock is held for one push or one copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    invocations: VecDeque<RecordedInvocation>,
    bytes: usize,
    count: u64,
}

impl Recorded {
    pub(crate) fn push(&self, mut invocation: RecordedInvocation) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.count += 1;
        invocation.number = held.count;
        held.bytes += invocation.payload.len();
        held.invocations.push_back(invocation);
        while held.invocations.len() > MAX_INVOCATIONS || held.bytes > MAX_BYTES {
            let Some(oldest) = held.invocations.pop_front() else { return };
            held.bytes -= oldest.payload.len();
        }
    }

    /// Those with a higher number, oldest first.
    pub(crate) fn after(&self, number: u64) -> Vec<RecordedInvocation> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.invocations.iter().filter(|invocation| invocation.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, Recorded, RecordedInvocation};
    use bytes::Bytes;
    use model::{RequestId, UnixNanos};

    #[test]
    fn the_oldest_go_first() {
        let recorded = Recorded::default();
        for n in 0..4 {
            recorded.push(RecordedInvocation {
                number: 0,
                at: UnixNanos::default(),
                function: "f".to_owned(),
                request_id: RequestId::new(&n.to_string()).unwrap(),
                payload: Bytes::from(vec![0; MAX_BYTES / 3]),
                client_context: None,
                trace_header: String::new(),
                tenant_id: None,
            });
        }
        let numbers = |after| recorded.after(after).iter().map(|i| i.number).collect::<Vec<_>>();
        assert_eq!((numbers(0), numbers(3)), (vec![2, 3, 4], vec![4]));
    }
}
