//! All that happened in a local Lambda, in order: for the page, and for tests to look at. Nothing is decided
//! from it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Record, RequestId, UnixNanos};
use tokio::sync::watch;

/// Entries held; the oldest go first.
const MAX_EVENTS: usize = 100_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEvent {
    pub at: UnixNanos,
    pub function: Arc<str>,
    /// The id of the execution environment, as at the end of the log stream's name.
    pub sandbox: Arc<str>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A caller's invocation was accepted.
    Invoked { request_id: RequestId },
    /// The caller has its answer.
    Answered { request_id: RequestId, function_error: Option<String>, bytes: usize },
    /// A process was started: the function's, or an extension's.
    Spawned { process: Process, pid: u32 },
    /// A program could not be started.
    LaunchFailed { process: Process, reason: String },
    /// A process ended: `exit status 1`, `signal: killed`.
    Exited { process: Process, status: String },
    /// SIGTERM was sent to a process group.
    Terminated { process: Process },
    /// SIGKILL was sent to a process group.
    Killed { process: Process },
    /// What the platform tells about itself: `platform.*`.
    Record(Record),
    /// A line that a process printed.
    Line { process: Process, text: String },
    /// All processes were stopped.
    Frozen,
    /// All processes go on.
    Thawed,
    /// A process asked for the next event: what it does until then keeps Lambda from freezing it.
    Asked { process: Process },
    /// An extension got an event in answer to its `event/next`.
    Event { extension: String, event: &'static str },
    /// A telemetry subscriber took a batch.
    Delivered { extension: String, records: usize, bytes: usize },
    /// A telemetry subscriber did not take a batch, which is lost.
    DeliveryFailed { extension: String, records: usize, reason: String },
    /// The environment and all its processes are gone.
    Destroyed,
}

/// Which process of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    Function,
    Extension(String),
}

impl Process {
    /// The extension's name, or `function`.
    pub fn name(&self) -> &str {
        match self {
            Self::Function => "function",
            Self::Extension(name) => name,
        }
    }
}

/// The shared, append-only journal. The lock is held for one push or one copy.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    held: Arc<Mutex<Held>>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Held {
    events: VecDeque<TimelineEvent>,
    /// How many have gone.
    gone: u64,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { held: Arc::default(), count: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, event: TimelineEvent) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.events.len() == MAX_EVENTS {
            held.events.pop_front();
            held.gone += 1;
        }
        held.events.push_back(event);
        drop(held);
        self.count.send_modify(|n| *n += 1);
    }

    /// Those after so many, oldest first.
    pub(crate) fn after(&self, number: u64) -> Vec<TimelineEvent> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = usize::try_from(number.saturating_sub(held.gone)).unwrap_or(usize::MAX);
        held.events.iter().skip(known).cloned().collect()
    }

    /// Tells how many events there ever were, whenever that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use model::UnixNanos;

    use super::{MAX_EVENTS, Timeline, TimelineEvent, What};

    #[test]
    fn what_is_known_is_not_copied_again() {
        let timeline = Timeline::new();
        let push = |n: u64| {
            let at = UnixNanos::from_millis(n);
            timeline.push(TimelineEvent {
                at,
                function: "f".into(),
                sandbox: "s".into(),
                what: What::Frozen,
            });
        };
        let after =
            |n: u64| -> Vec<u64> { timeline.after(n).iter().map(|event| event.at.as_millis()).collect() };
        (0..3).for_each(push);
        assert_eq!((after(0), after(2), after(3), after(9)), (vec![0, 1, 2], vec![2], vec![], vec![]));
        let all = MAX_EVENTS as u64 + 10;
        (3..all).for_each(push);
        assert_eq!((after(all - 2), after(5).len()), (vec![all - 2, all - 1], MAX_EVENTS));
        assert_eq!(*timeline.watch().borrow(), all);
    }
}
