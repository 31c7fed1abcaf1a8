//! The two closed enums at the edges of the machine, and the values that they carry.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{RequestId, TelemetryRecord, Text, UnixNanos};

use crate::{Mode, Refusal};

/// A fact. Those of one process arrive in the order in which they happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A caller wants the function to run. Gets exactly one [`Effect::Answer`].
    Invoke(Invocation),
    /// The environment shall be initialised before anybody invokes.
    Prepare,
    /// The environment is not needed any more (SPINDOWN). An invocation that has begun is finished first.
    Shutdown,
    /// A program could not be started; `denied` when for want of permission.
    LaunchFailed { process: ProcessId, reason: String, denied: bool },
    /// A process ended.
    Exited { process: ProcessId, status: ExitStatus },
    /// The most memory that all processes together have used so far.
    Memory { used_mb: u64 },
    /// All processes together have more memory than the function has: the runtime is killed for it.
    OutOfMemory,
    /// Telemetry subscribers have all that there is for them: see [`crate::Platform::awaits_flush`].
    Flushed,
    /// Runtime API: `GET /runtime/invocation/next`.
    RuntimeNext { call: CallId },
    /// Runtime API: `POST /runtime/invocation/{id}/response`, whose headers came at `began`.
    RuntimeResponse {
        call: CallId,
        request_id: String,
        attempt: Option<String>,
        began: UnixNanos,
        body: Body,
    },
    /// Runtime API: `POST /runtime/invocation/{id}/error`.
    RuntimeError {
        call: CallId,
        request_id: String,
        attempt: Option<String>,
        began: UnixNanos,
        report: ErrorReport,
    },
    /// Runtime API: `POST /runtime/init/error`.
    RuntimeInitError { call: CallId, report: ErrorReport },
    /// Runtime API: `GET /runtime/restore/next`.
    RuntimeRestoreNext { call: CallId },
    /// Runtime API: `POST /runtime/restore/error`.
    RuntimeRestoreError { call: CallId, report: ErrorReport },
    /// Extensions API: `POST /extension/register`.
    Register { call: CallId, registration: Registration },
    /// Extensions API: `GET /extension/event/next`.
    AgentNext { call: CallId, agent: AgentId },
    /// Extensions API: `POST /extension/init/error`.
    AgentInitError { call: CallId, agent: AgentId, error_type: String },
    /// Extensions API: `POST /extension/exit/error`.
    AgentExitError { call: CallId, agent: AgentId, error_type: String },
    /// Telemetry API: `PUT /telemetry`: the types of a body that is valid by itself, or what is wrong with it.
    Subscribe { call: CallId, agent: AgentId, types: Result<Vec<Text>, String> },
}

/// Something for the shell to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Start a program in a process group of its own; tell when it ends or cannot be started.
    Spawn {
        process: ProcessId,
        program: Program,
    },
    /// SIGTERM to the process group.
    Terminate(ProcessId),
    /// SIGKILL to the process group.
    Kill(ProcessId),
    /// Stop all processes: nothing runs until the next [`Effect::Thaw`].
    Freeze,
    Thaw,
    /// Answer an open call of the Runtime, Extensions or Telemetry API.
    Reply {
        call: CallId,
        reply: Reply,
    },
    /// Answer the caller of an invocation.
    Answer {
        request_id: RequestId,
        answer: Answer,
    },
    /// Tell the telemetry subscribers.
    Record(TelemetryRecord),
    Subscriptions(Subscriptions),
    /// No process is left. Calls that are still open will not be answered.
    Destroyed,
}

/// What becomes of telemetry subscriptions and of the records kept for those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscriptions {
    /// A new initialisation: no subscriber, nothing kept; from here on keep records for those who subscribe.
    Open,
    /// Nobody can subscribe any more: forget what was kept.
    Closed,
    /// The environment ends: deliver what is buffered without waiting for the buffering time.
    Flush,
}

/// One open call of an API. Given out by the shell, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// One process, for the whole life of the machine. Given out by the machine, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub u64);

/// `Lambda-Extension-Identifier`: a UUID that the shell makes up for each registration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub Arc<str>);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The function's bootstrap.
    Runtime,
    /// The external extension of this name.
    Extension(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    pub request_id: RequestId,
    /// `Lambda-Runtime-Invocation-Id`: names this attempt of the request.
    pub attempt: Text,
    /// `Lambda-Runtime-Invoked-Function-Arn`.
    pub arn: Text,
    pub payload: Arc<[u8]>,
    /// `X-Amzn-Trace-Id`.
    pub trace_header: Option<Text>,
    /// JSON text.
    pub client_context: Option<Text>,
    /// JSON text: who calls, by a mobile SDK.
    pub cognito_identity: Option<Text>,
    /// `X-Amz-Tenant-Id`.
    pub tenant_id: Option<Text>,
}

impl Invocation {
    /// An invocation with nothing beside its event.
    pub fn new(request_id: RequestId, payload: &[u8]) -> Self {
        Self {
            attempt: request_id.as_str().to_owned().into(),
            request_id,
            arn: Text::default(),
            payload: payload.into(),
            trace_header: None,
            client_context: None,
            cognito_identity: None,
            tenant_id: None,
        }
    }
}

/// The body of a posted response.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Whole(Arc<[u8]>),
    /// The caller has it already, part by part: how long it was.
    Streamed(u64),
    /// Longer than [`crate::MAX_PAYLOAD_BYTES`]: how long.
    TooLarge(u64),
    /// The connection ended in the middle.
    Truncated,
    /// `Lambda-Runtime-Function-Response-Mode` has a value that does not exist.
    UnknownMode,
}

/// What a runtime says about an error.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ErrorReport {
    /// `Lambda-Runtime-Function-Error-Type` as it came.
    pub error_type: Option<String>,
    pub body: Arc<[u8]>,
}

/// A request to register, read but not judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Made up by the shell: becomes the agent's if it is accepted.
    pub id: AgentId,
    pub name: String,
    pub events: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(i32),
    Signal(i32),
}

/// What an API call gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To the runtime's next.
    Invocation(Delivery),
    /// To an agent's next.
    Invoke(Delivery),
    /// To an agent's next: the last event.
    Shutdown {
        reason: ShutdownReason,
        deadline: UnixNanos,
    },
    /// To the runtime's restore/next: 200, empty.
    Restored,
    /// 202 `{"status":"OK"}`.
    Accepted,
    /// 200 with the agent's id and the function's name.
    Registered {
        agent: AgentId,
    },
    /// 200 `OK`: from here on the subscription counts.
    Subscribed,
    Refused(Refusal),
}

/// An invocation on its way to the runtime or to an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub invocation: Invocation,
    pub deadline: UnixNanos,
}

/// What a caller gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// What the function returned.
    Response(Arc<[u8]>),
    /// The error that the function posted, as it posted it.
    Error(Arc<[u8]>),
    /// Lambda's own words for a crash, a timeout, a response that is too large.
    Failure { error_type: Text, message: String },
    /// Not run.
    Rejected(Rejection),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Too many wait already.
    Throttled,
    /// The environment ends, or has ended.
    ShuttingDown,
    /// Of managed instances: every worker is busy.
    Unavailable,
    /// Of managed instances: nothing is initialised yet.
    InitIncomplete,
    /// Of managed instances: an invocation of this id runs.
    Duplicated,
    /// Of managed instances: the environment ends, or has ended.
    Unhealthy,
}

/// Why agents are told to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    Spindown,
    Timeout,
    Failure,
}

impl ShutdownReason {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spindown => "spindown",
            Self::Timeout => "timeout",
            Self::Failure => "failure",
        }
    }
}

/// What the machine has to know before anything happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub mode: Mode,
    pub function_name: Text,
    pub function_version: Text,
    /// Names of the external extensions, in the order in which they are started.
    pub extensions: Vec<Arc<str>>,
    /// Longest time of an invocation.
    pub timeout: Duration,
    /// Longest time of an initialisation outside an invocation: see [`Mode::init_limit`].
    pub init_limit: Duration,
    pub memory_mb: u64,
    /// Of the function; told in records of managed instances.
    pub function_arn: Option<Text>,
    /// Names the environment, as the log stream does.
    pub instance_id: Option<Text>,
}

impl Config {
    /// An on-demand function without extensions: 3 s, 128 MB, 10 s to initialise.
    pub fn new(function_name: impl Into<Text>) -> Self {
        Self {
            mode: Mode::OnDemand,
            function_name: function_name.into(),
            function_version: Text::Borrowed("$LATEST"),
            extensions: Vec::new(),
            timeout: Duration::from_secs(3),
            init_limit: Duration::from_secs(10),
            memory_mb: 128,
            function_arn: None,
            instance_id: None,
        }
    }
}
