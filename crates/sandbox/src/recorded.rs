//! What callers asked for, so that it can be asked again, and what they were answered. Bounded: the oldest go first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use model::{RequestId, UnixNanos};

const MAX_INVOCATIONS: usize = 1000;
const MAX_BYTES: usize = 64 << 20;
/// Bytes kept of one answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

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
    /// The last answer of the function, or Lambda's own; `None` while it runs. Not of an invocation that was refused.
    pub answer: Option<RecordedAnswer>,
}

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedAnswer {
    /// Its beginning, if it is longer than 1 MiB. What was streamed stands in one piece.
    pub payload: Bytes,
    /// Of all of it.
    pub bytes: usize,
    pub streamed: bool,
    pub function_error: Option<String>,
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

impl Held {
    fn shrink(&mut self) {
        while self.invocations.len() > MAX_INVOCATIONS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.invocations.pop_front() else { return };
            self.bytes -= oldest.payload.len() + oldest.answer.map_or(0, |answer| answer.payload.len());
        }
    }
}

impl Recorded {
    pub(crate) fn push(&self, mut invocation: RecordedInvocation) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.count += 1;
        invocation.number = held.count;
        held.bytes += invocation.payload.len();
        held.invocations.push_back(invocation);
        held.shrink();
    }

    /// What became of an invocation, if that is still held. An attempt that follows another takes its place.
    pub(crate) fn answered(&self, request_id: &RequestId, mut answer: RecordedAnswer) {
        answer.payload.truncate(MAX_ANSWER_BYTES);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        let Some(invocation) = held.invocations.iter_mut().rfind(|one| one.request_id == *request_id) else {
            return;
        };
        held.bytes += answer.payload.len();
        let before = invocation.answer.replace(answer);
        held.bytes -= before.map_or(0, |before| before.payload.len());
        held.shrink();
    }

    /// Those with a higher number, oldest first.
    pub(crate) fn after(&self, number: u64) -> Vec<RecordedInvocation> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.invocations.iter().filter(|invocation| invocation.number > number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ANSWER_BYTES, MAX_BYTES, Recorded, RecordedAnswer, RecordedInvocation};
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
                answer: None,
            });
        }
        let numbers = |after| recorded.after(after).iter().map(|i| i.number).collect::<Vec<_>>();
        assert_eq!((numbers(0), numbers(3)), (vec![2, 3, 4], vec![4]));
        // The beginning of a long answer, the last of several attempts; and it counts as an event does.
        let answer = |id: &str, bytes: usize| {
            let payload = Bytes::from(vec![0; bytes]);
            let answer = RecordedAnswer { payload, bytes, streamed: false, function_error: None };
            recorded.answered(&RequestId::new(id).unwrap(), answer);
        };
        for (id, bytes) in [("3", 5), ("3", MAX_BYTES), ("0", 7)] {
            answer(id, bytes);
        }
        let last = recorded.after(3).remove(0).answer.unwrap();
        assert_eq!((last.payload.len(), last.bytes), (MAX_ANSWER_BYTES, MAX_BYTES));
        assert_eq!(numbers(0), vec![3, 4]);
    }
}
