//! The owner of one sandbox: the machine, its processes, its open calls. One task; everything else sends it messages.

mod limits;
mod site;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use model::{LogLine, Record, RequestId, TelemetryRecord, UnixNanos};
use platform::{
    Answer, CallId, Effect, ExitStatus, FleetInput, Input, PhaseName, Platform, ProcessId, Program,
    Rejection, Reply, Subscriptions,
};
use rustix::process::Signal;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

use crate::cgroup::Cgroup;
use crate::environment::Variables;
use crate::leash::Group;
use crate::log::{self, Tail};
use crate::memory;
use crate::process::{self, Launch, Outputs};
use crate::telemetry::{self, Hub, Subscription};
use crate::timeline::{Process, TimelineEvent, What};
use limits::{Cpu, Skew};
pub(crate) use site::{Answered, Caller, Message, Notices, Site};

/// Messages that may wait for the driver; senders wait when there are more.
pub(crate) const INBOX: usize = 256;
/// Times in a row that what was printed comes before what was said.
const PATIENCE: u32 = 16;

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
    /// In which the kernel limits the memory.
    group: Option<Cgroup>,
    /// When to look at the memory next.
    look: UnixNanos,
    /// How far the clock of the processes is from ours, on purpose.
    skew: Skew,
    /// What a share of a processor is made of.
    cpu: Cpu,
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
            group: None,
            look: UnixNanos::default(),
            skew: Skew::default(),
            cpu: Cpu::default(),
            site,
        }
    }

    /// Runs until the machine is gone.
    pub(crate) async fn run(mut self) {
        let mut printed = 0;
        while self.platform.phase() != PhaseName::Gone {
            let kill = self.kills.iter().map(|(due, _)| *due).min();
            let waits = [
                self.platform.deadline(),
                self.hub.deadline(),
                kill,
                self.memory_deadline(),
                self.cpu_deadline(),
            ];
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
            if self.platform.awaits_flush() && self.hub.is_drained() {
                self.platform.handle(now, Input::Flushed);
                self.carry_out();
            }
            self.kill_due(now);
            self.look_at_memory(now);
            self.share_cpu(now);
            if self.site.mode.concurrency().is_none()
                && matches!(self.platform.phase(), PhaseName::Idle | PhaseName::Cold)
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
                let workers = self.platform.idle_workers();
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
                // Of managed instances: room for one more; for as many as have asked when all is initialised.
                for _ in workers..self.platform.idle_workers() {
                    let _ = self.notices.sender.send(FleetInput::Ready(self.notices.environment));
                }
            }
            Message::Prepare => {
                self.busy = true;
                self.platform.handle(now, Input::Prepare);
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
                if self.killed_for_memory(status) {
                    self.platform.handle(now, Input::OutOfMemory);
                }
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
                    self.group = None;
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
                self.confine(&process, pid);
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
                let denied = e.kind() == io::ErrorKind::PermissionDenied;
                let failed = Input::LaunchFailed { process: id, reason: e.to_string(), denied };
                self.platform.handle(now, failed);
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
        if signal == Signal::KILL {
            // What the kernel killed before was none of ours: from here on it is us.
            let _ = self.group.as_mut().map(Cgroup::has_killed);
        }
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
        self.cpu = Cpu::default();
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
        let _ = sender.send(self.skew.reply(reply));
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
            // Where several run at a time there is no log of one alone.
            Some(caller)
                if caller.log_tail
                    && self.site.mode.concurrency().is_none()
                    && !matches!(answer, Answer::Rejected(_)) =>
            {
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
        if matches!(record.record, Record::Start(_)) {
            self.plan_faults(record.time);
            // Who is to be killed as it begins does not get the event: it might be faster than we are.
            self.kill_due(record.time);
        }
        self.hub.push(record.time, &self.skew.record(record.clone()));
        self.log.record(&record);
        if matches!(record.record, Record::Report(_)) {
            self.release();
        }
        self.tell(What::Record(record.record));
    }

    fn printed(&mut self, lines: Vec<(Process, String)>) {
        let now = self.site.clock.now();
        for (process, text) in lines {
            let record = match &process {
                Process::Function => log::line(text.clone(), self.site.json_logs).map(Record::FunctionLog),
                Process::Extension(_) => Some(Record::ExtensionLog(LogLine::Text(text.clone()))),
            };
            if let Some(record) = record {
                self.log.line(&text);
                self.hub.push(now, &self.skew.record(TelemetryRecord { time: now, record }));
            }
            self.tell(What::Line { process, text });
        }
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
