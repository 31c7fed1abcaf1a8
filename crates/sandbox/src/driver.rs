//! The owner of one sandbox: the machine, its processes, its open calls. One task; everything else sends it messages.

mod limits;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use model::{LogLine, Record, RequestId, TelemetryRecord, UnixNanos};
use platform::{
    Answer, CallId, Effect, EnvironmentId, ExitStatus, FleetInput, Input, Invocation, PhaseName, Platform,
    ProcessId, Program, Rejection, Reply, Subscriptions,
};
use rustix::process::Signal;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::environment::Variables;
use crate::faults::Faults;
use crate::leash::{Group, Leash};
use crate::log::Tail;
use crate::memory;
use crate::private::Private;
use crate::process::{self, Launch, Outputs};
use crate::telemetry::{self, Hub, SubscriberId, Subscription};
use crate::timeline::{Process, Timeline, TimelineEvent, What};

/// Messages that may wait for the driver; senders wait when there are more.
pub(crate) const INBOX: usize = 256;
/// Times in a row that what was printed comes before what was said.
const PATIENCE: u32 = 16;

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
    /// The id of the environment.
    pub(crate) sandbox: Arc<str>,
    pub(crate) command: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) function_vars: Variables,
    pub(crate) extensions: Vec<(Arc<str>, PathBuf)>,
    pub(crate) extension_vars: Variables,
    /// Lines that are JSON objects are delivered as such.
    pub(crate) json_logs: bool,
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

#[derive(Debug)]
pub(crate) struct Driver {
    site: Site,
    platform: Platform,
    inbox: mpsc::Receiver<Message>,
    /// For the tasks that wait for processes.
    sender: mpsc::Sender<Message>,
    processes: BTreeMap<ProcessId, Running>,
    outputs: Outputs,
    hub: Hub,
    calls: HashMap<CallId, Open>,
    callers: HashMap<RequestId, Caller>,
    log: Tail,
    /// An answer that waits for the log to be complete.
    held: Option<(Caller, Answer)>,
    notices: Notices,
    /// It has an invocation that is not over.
    busy: bool,
    /// How many invocations it had.
    invocations: u64,
    /// Kills that were asked for, and when they are due.
    kills: Vec<(UnixNanos, Process)>,
    /// When to look at the memory next.
    look: UnixNanos,
}

#[derive(Debug)]
struct Running {
    group: Group,
    process: Process,
}

/// A call that waits for its reply.
#[derive(Debug)]
struct Open {
    reply: oneshot::Sender<Reply>,
    /// Whose it is, if an extension's.
    agent: Option<platform::AgentId>,
    subscription: Option<Subscription>,
}

impl Driver {
    pub(crate) fn new(
        site: Site,
        platform: Platform,
        inbox: mpsc::Receiver<Message>,
        sender: mpsc::Sender<Message>,
        notices: Notices,
    ) -> Self {
        Self {
            platform,
            inbox,
            hub: Hub::new(sender.clone(), site.faults.clone(), site.private.clone()),
            sender,
            processes: BTreeMap::new(),
            outputs: Outputs::default(),
            calls: HashMap::new(),
            callers: HashMap::new(),
            log: Tail::default(),
            held: None,
            notices,
            busy: false,
            invocations: 0,
            kills: Vec::new(),
            look: UnixNanos::default(),
            site,
        }
    }

    /// Runs until the machine is gone.
    pub(crate) async fn run(mut self) {
        let mut printed = 0;
        while self.platform.phase() != PhaseName::Gone {
            let kill = self.kills.iter().map(|(due, _)| *due).min();
            let waits = [self.platform.deadline(), self.hub.deadline(), kill, self.memory_deadline()];
            let due = waits.into_iter().flatten().min();
            let wake = self.site.clock.instant(due.unwrap_or(UnixNanos(u64::MAX / 2)));
            tokio::select! {
                // What was printed before a call is told before the call is handled.
                biased;
                lines = self.outputs.lines(), if printed < PATIENCE => {
                    printed += 1;
                    self.printed(lines);
                }
                message = self.inbox.recv() => match message {
                    Some(message) => self.hear(message),
                    None => return,
                },
                () = tokio::time::sleep_until(wake), if due.is_some() => {}
                // A process that prints without end must not keep the others from being heard.
                () = std::future::ready(()), if printed == PATIENCE => printed = 0,
            }
            let now = self.site.clock.now();
            if self.platform.deadline().is_some_and(|due| due <= now) {
                self.platform.tick(now);
                self.carry_out();
            }
            self.hub.tick(now);
            self.kill_due(now);
            self.look_at_memory(now);
            if matches!(self.platform.phase(), PhaseName::Idle | PhaseName::Cold)
                && std::mem::take(&mut self.busy)
            {
                let _ = self.notices.sender.send(FleetInput::Ready(self.notices.environment));
            }
        }
        self.inbox.close();
        while let Some(message) = self.inbox.recv().await {
            if let Message::Invoke { caller, .. } = message {
                caller.answer(Answer::Rejected(Rejection::ShuttingDown), None);
            }
        }
    }

    fn hear(&mut self, message: Message) {
        let now = self.site.clock.now();
        match message {
            Message::Call { call, input, subscription, reply } => {
                let lines = self.outputs.printed();
                self.printed(lines);
                let agent = match &input {
                    Input::AgentNext { agent, .. } | Input::Subscribe { agent, .. } => Some(agent.clone()),
                    _ => None,
                };
                self.calls.retain(|_, open| !open.reply.is_closed());
                self.calls.insert(call, Open { reply, agent, subscription });
                self.asked(&input);
                if self.is_out_of_memory(now) {
                    // Whoever calls is killed for it, and gets no answer.
                    self.carry_out();
                    return;
                }
                if matches!(input, Input::RuntimeNext { .. } | Input::AgentNext { .. }) {
                    let used_mb = memory::peak_mb(self.processes.values().map(|p| p.group.0));
                    self.platform.handle(now, Input::Memory { used_mb });
                }
                self.platform.handle(now, input);
            }
            Message::Invoke { invocation, caller } => {
                self.tell(What::Invoked { request_id: invocation.request_id.clone() });
                self.callers.insert(invocation.request_id.clone(), caller);
                self.busy = true;
                self.platform.handle(now, Input::Invoke(invocation));
            }
            Message::Stream { request_id, reply } => {
                let id = RequestId::new(&request_id);
                let caller = id.and_then(|id| self.callers.get_mut(&id));
                let _ = reply.send(caller.and_then(|caller| caller.stream.take()));
            }
            Message::Exited { process, status } => {
                self.bury(process, status);
                self.platform.handle(now, Input::Exited { process, status });
            }
            Message::Delivered { subscriber, outcome } => {
                if let Some(settled) = self.hub.settle(now, subscriber, outcome) {
                    let telemetry::Settled { extension, records, bytes, failure } = settled;
                    self.tell(match failure {
                        None => What::Delivered { extension, records, bytes },
                        Some(reason) => What::DeliveryFailed { extension, records, reason },
                    });
                }
            }
            Message::Shutdown => self.platform.handle(now, Input::Shutdown),
        }
        self.carry_out();
    }

    /// Whoever asks for the next event is done with the one before.
    fn asked(&self, input: &Input) {
        let process = match input {
            Input::RuntimeNext { .. } => Some(Process::Function),
            Input::AgentNext { agent, .. } => {
                self.platform.agent_name(agent).map(|name| Process::Extension(name.to_owned()))
            }
            _ => None,
        };
        if let Some(process) = process {
            self.tell(What::Asked { process });
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.platform.poll() {
            match effect {
                Effect::Spawn { process, program } => self.spawn(process, &program),
                Effect::Terminate(process) => {
                    self.signal(process, Signal::TERM, |process| What::Terminated { process });
                }
                Effect::Kill(process) => {
                    self.signal(process, Signal::KILL, |process| What::Killed { process });
                }
                Effect::Freeze => self.freeze(true),
                Effect::Thaw => self.freeze(false),
                Effect::Reply { call, reply } => self.reply(call, reply),
                Effect::Answer { request_id, answer } => self.answer(&request_id, answer),
                Effect::Record(record) => self.record(record),
                Effect::Subscriptions(Subscriptions::Open) => {
                    self.hub.set_frozen(false);
                    self.hub.open();
                }
                Effect::Subscriptions(Subscriptions::Closed) => self.hub.close(),
                Effect::Subscriptions(Subscriptions::Flush) => self.hub.flush(),
                Effect::Destroyed => {
                    for (_, running) in std::mem::take(&mut self.processes) {
                        self.site.leash.remove(running.group);
                    }
                    self.release();
                    self.outputs.clear();
                    self.calls.clear();
                    self.tell(What::Destroyed);
                }
            }
        }
    }

    fn spawn(&mut self, id: ProcessId, program: &Program) {
        let (process, launched) = match program {
            Program::Runtime => {
                let vars = self.site.function_vars.clone();
                (Process::Function, self.launch(&self.site.command, Some(&self.site.dir), vars))
            }
            Program::Extension(name) => {
                let path = self.site.extensions.iter().find(|(n, _)| n == name).map(|(_, path)| path);
                let path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
                // A path without a folder would be looked up in PATH.
                let path = if path.contains('/') { path } else { format!("./{path}") };
                let vars = self.site.extension_vars.clone();
                (Process::Extension(name.to_string()), self.launch(&[path], None, vars))
            }
        };
        let started = launched.and_then(|(child, pipe)| {
            let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
            Ok((child, pipe, pid))
        });
        match started {
            Ok((mut child, pipe, pid)) => {
                let group = Group(pid);
                self.site.leash.add(group);
                self.outputs.add(id, process.clone(), pipe);
                self.tell(What::Spawned { process: process.clone(), pid });
                self.processes.insert(id, Running { group, process });
                let sender = self.sender.clone();
                tokio::spawn(async move {
                    let status = child.wait().await.map_or(ExitStatus::Code(-1), process::exit_status);
                    let _ = sender.send(Message::Exited { process: id, status }).await;
                });
            }
            Err(e) => {
                self.tell(What::LaunchFailed { process, reason: e.to_string() });
                let now = self.site.clock.now();
                self.platform.handle(now, Input::LaunchFailed { process: id, reason: e.to_string() });
            }
        }
    }

    fn launch(
        &self,
        command: &[String],
        dir: Option<&Path>,
        vars: Variables,
    ) -> io::Result<(Child, pipe::Receiver)> {
        match &self.site.private {
            Some(private) => process::start(&Launch { command: &private.enter(command)?, dir: None, vars }),
            None => process::start(&Launch { command, dir: dir.map(Path::to_path_buf), vars }),
        }
    }

    fn bury(&mut self, id: ProcessId, status: ExitStatus) {
        let Some(Running { group, process }) = self.processes.remove(&id) else { return };
        self.site.leash.remove(group);
        if let Process::Extension(name) = &process {
            self.hub.remove(name);
        }
        self.tell(What::Exited { process, status: status.to_string() });
    }

    fn signal(&mut self, id: ProcessId, signal: Signal, what: impl FnOnce(Process) -> What) {
        let Some(Running { group, process }) = self.processes.get(&id) else { return };
        group.signal(signal);
        let what = what(process.clone());
        self.tell(what);
    }

    fn freeze(&mut self, frozen: bool) {
        if !frozen {
            self.hub.set_frozen(false);
        }
        for running in self.processes.values() {
            running.group.signal(if frozen { Signal::STOP } else { Signal::CONT });
        }
        if frozen {
            self.hub.set_frozen(true);
        }
        self.tell(if frozen { What::Frozen } else { What::Thawed });
    }

    fn reply(&mut self, call: CallId, reply: Reply) {
        let Some(Open { reply: sender, agent, subscription }) = self.calls.remove(&call) else { return };
        let name = agent.and_then(|id| self.platform.agent_name(&id)).map(ToString::to_string);
        match (&reply, name) {
            (Reply::Invoke(_), Some(extension)) => self.tell(What::Event { extension, event: "INVOKE" }),
            (Reply::Shutdown { .. }, Some(extension)) => {
                self.tell(What::Event { extension, event: "SHUTDOWN" });
            }
            (Reply::Subscribed, Some(extension)) => {
                if let Some(subscription) = subscription {
                    self.hub.subscribe(&extension, subscription);
                }
            }
            _ => {}
        }
        // Nobody listens any more when the process closed the connection.
        let _ = sender.send(reply);
    }

    fn answer(&mut self, request_id: &RequestId, answer: Answer) {
        let (function_error, bytes) = match &answer {
            Answer::Response(body) => (None, body.len()),
            Answer::Error(body) => (Some("Unhandled".to_owned()), body.len()),
            Answer::Failure { error_type, message } => (Some(error_type.to_string()), message.len()),
            Answer::Rejected(_) => (Some("rejected".to_owned()), 0),
        };
        self.tell(What::Answered { request_id: request_id.clone(), function_error, bytes });
        // Before the caller knows: it may invoke again at once.
        let _ = self.notices.sender.send(FleetInput::Answered(self.notices.environment));
        match self.callers.remove(request_id) {
            Some(caller) if caller.log_tail && !matches!(answer, Answer::Rejected(_)) => {
                self.held = Some((caller, answer));
            }
            Some(caller) => caller.answer(answer, None),
            None => {}
        }
    }

    /// The invocation is over, and with it its log.
    fn release(&mut self) {
        if let Some((caller, answer)) = self.held.take() {
            caller.answer(answer, Some(self.log.text()));
        }
    }

    fn record(&mut self, record: TelemetryRecord) {
        self.hub.push(&record);
        self.log.record(&record);
        match &record.record {
            Record::Report(_) => self.release(),
            Record::Start(_) => self.plan_kills(record.time),
            _ => {}
        }
        self.tell(What::Record(record.record));
    }

    fn printed(&mut self, lines: Vec<(Process, String)>) {
        let now = self.site.clock.now();
        for (process, text) in lines {
            self.log.line(&text);
            let record = match &process {
                Process::Function => Record::FunctionLog(self.log_line(text.clone())),
                Process::Extension(_) => Record::ExtensionLog(LogLine::Text(text.clone())),
            };
            self.hub.push(&TelemetryRecord { time: now, record });
            self.tell(What::Line { process, text });
        }
    }

    fn log_line(&self, text: String) -> LogLine {
        if self.site.json_logs && text.starts_with('{') { LogLine::Json(text) } else { LogLine::Text(text) }
    }

    fn tell(&self, what: What) {
        self.site.timeline.push(TimelineEvent {
            at: self.site.clock.now(),
            function: self.site.function.clone(),
            sandbox: self.site.sandbox.clone(),
            what,
        });
    }
}
