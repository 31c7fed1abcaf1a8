//! What a driver is made of and what it is told. Values only.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use platform::{
    Answer, CallId, EnvironmentId, ExitStatus, FleetInput, Input, Invocation, Mode, ProcessId, Reply,
};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::environment::Variables;
use crate::faults::Faults;
use crate::leash::Leash;
use crate::log::Level;
use crate::private::Private;
use crate::telemetry::{self, SubscriberId, Subscription};
use crate::timeline::Timeline;

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// One of the sandbox's processes calls an API.
    Call {
        call: CallId,
        input: Input,
        subscription: Option<Subscription>,
        reply: oneshot::Sender<Reply>,
    },
    Invoke {
        invocation: Invocation,
        caller: Caller,
    },
    /// The sandbox shall be initialised before anybody invokes.
    Prepare,
    /// The function begins to stream its response: where to, if the caller takes it so.
    Stream {
        request_id: String,
        reply: oneshot::Sender<Option<mpsc::Sender<Bytes>>>,
    },
    Exited {
        process: ProcessId,
        status: ExitStatus,
    },
    /// What became of a batch of telemetry.
    Delivered {
        subscriber: SubscriberId,
        outcome: telemetry::Outcome,
    },
    Shutdown,
}

/// Who waits for the answer to an invocation.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) answer: oneshot::Sender<Answered>,
    /// Wants the end of the log too.
    pub(crate) log_tail: bool,
    /// Takes the response part by part.
    pub(crate) stream: Option<mpsc::Sender<Bytes>>,
}

#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) log: Option<String>,
}

impl Caller {
    pub(crate) fn answer(self, answer: Answer, log: Option<String>) {
        // Nobody listens any more if the caller gave up.
        let _ = self.answer.send(Answered { answer, log });
    }
}

/// What the driver starts and where it tells what it did.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) function: Arc<str>,
    pub(crate) mode: Mode,
    /// The id of the environment.
    pub(crate) sandbox: Arc<str>,
    pub(crate) command: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) function_vars: Variables,
    pub(crate) extensions: Vec<(Arc<str>, PathBuf)>,
    pub(crate) extension_vars: Variables,
    /// The JSON log format, and the level below which lines are left out.
    pub(crate) json_logs: Option<Level>,
    /// Megabytes that all processes together may have.
    pub(crate) memory: Option<u64>,
    pub(crate) faults: Faults,
    /// Its namespaces, if it has its own.
    pub(crate) private: Option<Private>,
    pub(crate) clock: Clock,
    pub(crate) timeline: Timeline,
    pub(crate) leash: Leash,
}

/// Where a driver tells its pool what it may be asked next.
#[derive(Debug)]
pub(crate) struct Notices {
    pub(crate) environment: EnvironmentId,
    pub(crate) sender: mpsc::UnboundedSender<FleetInput>,
}
