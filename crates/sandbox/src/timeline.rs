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
    events: Arc<Mutex<VecDeque<TimelineEvent>>>,
    count: watch::Sender<u64>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { events: Arc::default(), count: watch::Sender::new(0) }
    }

    pub(crate) fn push(&self, event: TimelineEvent) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
        drop(events);
        self.count.send_modify(|n| *n += 1);
    }

    pub(crate) fn all(&self) -> Vec<TimelineEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Tells how many events there ever were, whenever that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}
