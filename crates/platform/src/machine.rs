//! The machine: what it holds, and which part of it takes which fact.
//!
//! ```text
//!            Invoke                 all ready              Invoke
//!   Cold ───────────────► Init ───────────────► Idle ◄──────────────► Invoke
//!    ▲                     │ fails               │ Shutdown            │ fails
//!    └──── Stopping ◄──────┴─────────────────────┴─────────────────────┘
//!              └───────► Gone  (after Shutdown)
//! ```
//! With `SnapStart` the first invocation passes through Restore on its way from Idle; on managed instances Serving takes
//! the place of Idle and Invoke.
//!
//! The first initialisation has a phase of its own; after any failure the next one runs inside the invocation that
//! needs it, on that invocation's time.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{Millis, Record, RequestId, Status, TelemetryRecord, Text, UnixNanos};

use crate::agent::{Agent, AgentState};
use crate::init::Init;
use crate::invocation::Live;
use crate::io::{
    AgentId, Answer, CallId, Config, Effect, ExitStatus, Input, Invocation, ProcessId, Program, Rejection,
    Reply, ShutdownReason,
};
use crate::managed::Serving;
use crate::refusal::Refusal;
use crate::restore::Restore;
use crate::runtime::Runtime;
use crate::stop::Stopping;

/// Invocations that may wait for the one that runs.
pub const MAX_QUEUED: usize = 1000;

/// One execution environment, from before it exists until it is gone.
#[derive(Debug)]
pub struct Platform {
    pub(crate) config: Config,
    pub(crate) stage: Stage,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) agents: Vec<Agent>,
    /// Processes that were started and did not end yet.
    pub(crate) alive: Vec<ProcessId>,
    pub(crate) queue: VecDeque<Invocation>,
    pub(crate) timers: BTreeMap<Timer, UnixNanos>,
    /// The first thing that went wrong in this environment.
    pub(crate) fatal: Option<Fatal>,
    pub(crate) frozen: bool,
    /// The next initialisation runs inside an invocation.
    pub(crate) suppress_init: bool,
    /// The environment ends with what runs now.
    pub(crate) closing: bool,
    /// Time of the initialisation, until an invocation reported it.
    pub(crate) init_duration: Option<Millis>,
    /// Time of the restore, until an invocation reported it.
    pub(crate) restore_duration: Option<Millis>,
    /// It is stopped as a snapshot: the next invocation begins with a restore.
    pub(crate) snapshot: bool,
    /// Of managed instances: the runtime's open calls for an event, oldest first.
    pub(crate) workers: VecDeque<CallId>,
    pub(crate) memory_used_mb: u64,
    /// The runtime was killed because the memory was used up.
    pub(crate) out_of_memory: bool,
    effects: VecDeque<Effect>,
    next_process: u64,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Cold,
    Init(Init),
    Idle,
    Restore(Box<Restore>),
    Invoke(Box<Live>),
    Serving(Serving),
    Stopping(Stopping),
    Gone,
}

/// Where the environment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseName {
    /// Nothing runs; an invocation would start it.
    Cold,
    Init,
    /// Initialised, nothing to do, frozen.
    Idle,
    /// Going on from a snapshot.
    Restore,
    Invoke,
    Stopping,
    /// Nothing runs and nothing ever will.
    Gone,
}

/// The waits of the machine. Each is armed in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An initialisation outside an invocation.
    Init,
    /// Going on from a snapshot.
    Restore,
    /// The function's timeout; of those that run beside each other, the next one's.
    Invoke,
    /// The runtime was asked to end.
    RuntimeStop,
    /// Telemetry is on its way.
    Flush,
    /// The agents were asked to end.
    AgentStop,
    /// All were killed and have to be gone.
    Reap,
}

/// Something that ends the environment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fatal {
    pub(crate) error_type: Text,
    pub(crate) message: String,
    /// The runtime's own words.
    pub(crate) body: Option<Arc<[u8]>>,
}

/// Why an initialisation or an invocation failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cause {
    Timeout,
    Fatal(Fatal),
}

impl Cause {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Timeout => Status::Timeout,
            Self::Fatal(fatal) if fatal.error_type.starts_with("Sandbox.") => Status::Failure,
            Self::Fatal(_) => Status::Error,
        }
    }

    pub(crate) fn error_type(&self) -> Option<Text> {
        match self {
            Self::Timeout => None,
            Self::Fatal(fatal) => Some(fatal.error_type.clone()),
        }
    }

    pub(crate) fn shutdown_reason(&self) -> ShutdownReason {
        match self {
            Self::Timeout => ShutdownReason::Timeout,
            Self::Fatal(_) => ShutdownReason::Failure,
        }
    }
}

impl Platform {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            stage: Stage::Cold,
            runtime: None,
            agents: Vec::new(),
            alive: Vec::new(),
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            fatal: None,
            frozen: false,
            suppress_init: false,
            closing: false,
            init_duration: None,
            restore_duration: None,
            snapshot: false,
            workers: VecDeque::new(),
            memory_used_mb: 0,
            out_of_memory: false,
            effects: VecDeque::new(),
            next_process: 1,
        }
    }

    /// Takes a fact. Poll the effects afterwards.
    pub fn handle(&mut self, now: UnixNanos, input: Input) {
        match input {
            Input::Invoke(invocation) if self.config.mode.is_managed() => self.serve(now, invocation),
            Input::Invoke(invocation) => self.accept(now, invocation),
            Input::Prepare => self.prepare(now),
            Input::Shutdown => self.shut_down(now),
            Input::LaunchFailed { process, reason, denied } => {
                self.launch_failed(now, process, &reason, denied);
            }
            Input::Exited { process, status } => self.exited(now, process, status),
            Input::Memory { used_mb } => self.memory_used_mb = self.memory_used_mb.max(used_mb),
            Input::OutOfMemory => self.run_out_of_memory(),
            Input::RuntimeNext { call } => self.runtime_next(now, call),
            Input::RuntimeResponse { call, request_id, attempt, began, body } => {
                self.runtime_response(now, call, &request_id, attempt.as_deref(), began, body);
            }
            Input::RuntimeError { call, request_id, attempt, began, report } => {
                self.runtime_error(now, call, &request_id, attempt.as_deref(), began, report);
            }
            Input::RuntimeInitError { call, report } => self.runtime_init_error(now, call, report),
            Input::RuntimeRestoreNext { call } => self.runtime_restore_next(now, call),
            Input::RuntimeRestoreError { call, report } => self.runtime_restore_error(now, call, report),
            Input::Register { call, registration } => self.register(now, call, registration),
            Input::AgentNext { call, agent } => self.agent_next(now, call, &agent),
            Input::AgentInitError { call, agent, error_type } => {
                self.agent_reports(call, &agent, AgentState::InitError, &error_type);
            }
            Input::AgentExitError { call, agent, error_type } => {
                self.agent_reports(call, &agent, AgentState::ExitError, &error_type);
            }
            Input::Flushed => self.flushed(now),
            Input::Subscribe { call, agent, types } => self.subscribe(now, call, &agent, types),
        }
    }

    /// Lets time pass: whatever was due by `now` happens.
    pub fn tick(&mut self, now: UnixNanos) {
        while let Some((timer, _)) = self
            .timers
            .iter()
            .filter(|(_, at)| **at <= now)
            .min_by_key(|(_, at)| **at)
            .map(|(t, at)| (*t, *at))
        {
            self.timers.remove(&timer);
            match timer {
                Timer::Invoke if self.config.mode.is_managed() => self.serving_timeout(now),
                Timer::Init | Timer::Restore | Timer::Invoke => self.fail(now, Cause::Timeout),
                Timer::RuntimeStop => self.runtime_stop_due(now),
                Timer::Flush => self.flushed(now),
                Timer::AgentStop => self.reap(now),
                Timer::Reap => self.finish_stop(now),
            }
        }
    }

    /// When [`Platform::tick`] has something to do.
    pub fn deadline(&self) -> Option<UnixNanos> {
        self.timers.values().min().copied()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn phase(&self) -> PhaseName {
        match &self.stage {
            Stage::Cold => PhaseName::Cold,
            Stage::Init(_) => PhaseName::Init,
            Stage::Idle => PhaseName::Idle,
            Stage::Restore(_) => PhaseName::Restore,
            Stage::Serving(serving) if serving.is_idle() => PhaseName::Idle,
            Stage::Invoke(_) | Stage::Serving(_) => PhaseName::Invoke,
            Stage::Stopping(_) => PhaseName::Stopping,
            Stage::Gone => PhaseName::Gone,
        }
    }

    /// The name of a registered agent.
    pub fn agent_name(&self, id: &AgentId) -> Option<&str> {
        self.agents.iter().find(|a| a.id.as_ref() == Some(id)).map(|a| &*a.name)
    }

    fn accept(&mut self, now: UnixNanos, invocation: Invocation) {
        let rejection = match self.queue.len() {
            _ if self.closing => Some(Rejection::ShuttingDown),
            MAX_QUEUED.. => Some(Rejection::Throttled),
            _ => None,
        };
        match rejection {
            Some(why) => self.answer(invocation.request_id, Answer::Rejected(why)),
            None => {
                self.queue.push_back(invocation);
                self.pump(now);
            }
        }
    }

    /// Initialises, unless that is done or under way.
    fn prepare(&mut self, now: UnixNanos) {
        if matches!(self.stage, Stage::Cold) && !self.closing {
            self.begin_init(now, None);
        }
    }

    /// Begins what the queue asks for, if nothing else is going on.
    pub(crate) fn pump(&mut self, now: UnixNanos) {
        match self.stage {
            Stage::Cold if self.suppress_init => {
                if let Some(invocation) = self.queue.pop_front() {
                    self.begin_suppressed_init(now, invocation);
                }
            }
            Stage::Cold if !self.queue.is_empty() => self.begin_init(now, None),
            Stage::Idle if self.closing => self.stop(now, ShutdownReason::Spindown, None),
            Stage::Idle => match self.queue.pop_front() {
                Some(invocation) if self.snapshot => self.begin_restore(now, invocation),
                Some(invocation) => self.begin_invocation(now, invocation),
                None => self.freeze(),
            },
            _ => {}
        }
    }

    /// Lambda never ends an environment in the middle of an invocation: one that has begun comes to its end first,
    /// at the latest by its timeout. Those that wait are not begun any more.
    fn shut_down(&mut self, now: UnixNanos) {
        for waiting in std::mem::take(&mut self.queue) {
            self.answer(waiting.request_id, Answer::Rejected(Rejection::ShuttingDown));
        }
        self.closing = true;
        match &self.stage {
            Stage::Cold => {
                self.stage = Stage::Gone;
                self.effect(Effect::Destroyed);
            }
            Stage::Init(Init { live: None, .. }) | Stage::Idle => {
                self.stop(now, ShutdownReason::Spindown, None);
            }
            Stage::Serving(serving) if serving.is_idle() => self.stop(now, ShutdownReason::Spindown, None),
            Stage::Init(Init { live: Some(_), .. })
            | Stage::Restore(_)
            | Stage::Invoke(_)
            | Stage::Serving(_)
            | Stage::Stopping(_)
            | Stage::Gone => {}
        }
    }

    fn launch_failed(&mut self, now: UnixNanos, process: ProcessId, reason: &str, denied: bool) {
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.process == Some(process)) {
            agent.error_type = Some(if denied { "PermissionDenied" } else { "UnknownError" }.into());
        }
        let Some(who) = self.bury(process, AgentState::LaunchError) else { return };
        let error_type = match who {
            Program::Runtime => "Runtime.InvalidEntrypoint",
            Program::Extension(_) => "Extension.LaunchError",
        };
        self.process_gone(now, error_type, reason.to_owned());
    }

    fn exited(&mut self, now: UnixNanos, process: ProcessId, status: ExitStatus) {
        let Some(who) = self.bury(process, AgentState::Exited) else { return };
        match who {
            Program::Runtime => {
                let message = match status {
                    ExitStatus::Code(0) => "Runtime exited without providing a reason".to_owned(),
                    failed => format!("Runtime exited with error: {failed}"),
                };
                self.process_gone(now, "Runtime.ExitError", message);
            }
            Program::Extension(_) => {
                let message = match status {
                    ExitStatus::Code(0) => "exit code 0".to_owned(),
                    failed => failed.to_string(),
                };
                self.process_gone(now, "Extension.Crash", message);
            }
        }
    }

    /// The kernel takes the biggest process, which is the function; that it ends is a fact of its own.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
    fn run_out_of_memory(&mut self) {
        let process = self.runtime.as_ref().map(|runtime| runtime.process);
        let Some(process) = process.filter(|process| self.alive.contains(process)) else { return };
        let runs =
            matches!(self.stage, Stage::Init(_) | Stage::Restore(_) | Stage::Invoke(_) | Stage::Serving(_));
        if runs && !self.out_of_memory {
            self.out_of_memory = true;
            self.memory_used_mb = self.config.memory_mb;
            // Whichever process ends first for it, this is why.
            let message = format!("Runtime exited with error: {}", ExitStatus::Signal(9));
            let error_type = "Runtime.OutOfMemory".into();
            self.fatal.get_or_insert(Fatal { error_type, message, body: None });
            self.effect(Effect::Kill(process));
        }
    }

    /// Takes a process from the living; `None` when it is not one of them.
    fn bury(&mut self, process: ProcessId, state: AgentState) -> Option<Program> {
        let at = self.alive.iter().position(|p| *p == process)?;
        self.alive.swap_remove(at);
        if let Some(agent) = self.agents.iter_mut().find(|a| a.process == Some(process)) {
            agent.waiting = None;
            agent.state = state;
            return Some(Program::Extension(agent.name.clone()));
        }
        if let Some(runtime) = &mut self.runtime {
            runtime.waiting = None;
        }
        Some(Program::Runtime)
    }

    /// A process that ends by itself is the end of the environment; one that was told to is not.
    fn process_gone(&mut self, now: UnixNanos, error_type: &'static str, message: String) {
        if matches!(self.stage, Stage::Stopping(_)) {
            self.advance_stop(now);
            return;
        }
        let fatal = Fatal { error_type: error_type.into(), message, body: None };
        let first = self.fatal.get_or_insert(fatal).clone();
        self.fail(now, Cause::Fatal(first));
    }

    /// Ends what is going on because of `cause`; the next invocation starts anew.
    pub(crate) fn fail(&mut self, now: UnixNanos, cause: Cause) {
        match std::mem::replace(&mut self.stage, Stage::Cold) {
            Stage::Init(init) => self.fail_init(now, init, &cause),
            Stage::Restore(restore) => self.fail_restore(now, *restore, &cause),
            Stage::Invoke(live) => self.fail_invocation(now, *live, &cause),
            Stage::Serving(serving) => self.fail_serving(now, serving, &cause),
            Stage::Idle => {
                self.suppress_init = true;
                self.stop(now, cause.shutdown_reason(), None);
            }
            other @ (Stage::Cold | Stage::Stopping(_) | Stage::Gone) => self.stage = other,
        }
    }

    fn freeze(&mut self) {
        if self.config.mode.freezes() && !self.frozen {
            self.frozen = true;
            self.effect(Effect::Freeze);
        }
    }

    pub(crate) fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            self.effect(Effect::Thaw);
        }
    }

    pub(crate) fn spawn(&mut self, program: Program) -> ProcessId {
        let process = ProcessId(self.next_process);
        self.next_process += 1;
        self.alive.push(process);
        self.effect(Effect::Spawn { process, program });
        process
    }

    pub(crate) fn is_alive(&self, process: Option<ProcessId>) -> bool {
        process.is_some_and(|p| self.alive.contains(&p))
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn record(&mut self, time: UnixNanos, record: Record) {
        self.effect(Effect::Record(TelemetryRecord { time, record }));
    }

    pub(crate) fn reply(&mut self, call: CallId, reply: Reply) {
        self.effect(Effect::Reply { call, reply });
    }

    pub(crate) fn refuse(&mut self, call: CallId, refusal: Refusal) {
        self.reply(call, Reply::Refused(refusal));
    }

    pub(crate) fn answer(&mut self, request_id: RequestId, answer: Answer) {
        self.effect(Effect::Answer { request_id, answer });
    }
}

/// `exit status 1`, `signal: killed`: as in Lambda's messages.
impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(2) => f.write_str("signal: interrupt"),
            Self::Signal(6) => f.write_str("signal: aborted"),
            Self::Signal(9) => f.write_str("signal: killed"),
            Self::Signal(11) => f.write_str("signal: segmentation fault"),
            Self::Signal(15) => f.write_str("signal: terminated"),
            Self::Signal(other) => write!(f, "signal: signal {other}"),
        }
    }
}
