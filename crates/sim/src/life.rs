//! One life: Lambda's state machine and the engine, and between them a made-up function, network and intake.
//! Time is virtual; what happens is a queue of events in the order of time. What belongs to a process of the
//! sandbox waits while it is frozen, and is gone when the process is.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use model::{Record, RequestId, TelemetryRecord, UnixNanos};
use platform::{
    AgentId, Answer, Body, CallId, Config, Effect as Do, ExitStatus, Input as Fact, Invocation, PhaseName,
    Platform, ProcessId, Program, Registration, Reply, Subscriptions,
};

use crate::dice::Dice;
use crate::extension::Extension;
use crate::ledger::Ledger;
use crate::plan::{Plan, Telemetry};
use crate::script::{self, Script, Serial, Step};

pub(crate) const T0: UnixNanos = UnixNanos::from_secs(1_700_000_000);
/// More than any life has.
const MAX_EVENTS: u64 = 200_000;
const NAME: &str = "datadog-agent";

/// How a life ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) broken: Vec<String>,
    pub(crate) story: Vec<String>,
    pub(crate) invocations: u64,
    /// Of all that happened.
    pub(crate) digest: u64,
}

#[derive(Debug)]
pub(crate) enum Event {
    Prepare,
    Invoke(u64),
    Spindown,
    PlatformTick,
    Exited(ProcessId, ExitStatus),
    Deliver,
    /// Subscribers have what there was when the sandbox began to end.
    Flushed,
    /// Of a process, and so not while it is frozen.
    Of(ProcessId, Inside),
}

#[derive(Debug)]
pub(crate) enum Inside {
    Started,
    Call(Box<Fact>),
    /// To one of the process' threads.
    Reply(usize, Box<Reply>),
    /// Arrives at the extension.
    Tell(Box<engine::Input>),
    /// The next step of the handler, on one of the runtime's threads.
    Step(usize),
    Tick,
}

pub(crate) struct Runtime {
    process: ProcessId,
    /// One for each invocation that may run at a time.
    workers: Vec<Worker>,
    /// Since when it has nothing to do.
    pub(crate) done: Option<UnixNanos>,
}

struct Worker {
    script: Script,
    serving: Option<RequestId>,
}

pub(crate) struct World {
    pub(crate) now: UnixNanos,
    pub(crate) dice: Dice,
    pub(crate) plan: Plan,
    queue: BTreeMap<(UnixNanos, u64), Event>,
    ticket: u64,
    call: u64,
    serial: Serial,
    platform: Platform,
    frozen: Option<Vec<(ProcessId, Inside)>>,
    pub(crate) extension: Option<Extension>,
    pub(crate) runtime: Option<Runtime>,
    callers: BTreeMap<CallId, (ProcessId, usize)>,
    pub(crate) subscribed: bool,
    /// Kept for a subscriber to come.
    replay: bool,
    pub(crate) records: Vec<TelemetryRecord>,
    asked: u64,
    pub(crate) answered: u64,
    story: Option<Vec<String>>,
    digest: DefaultHasher,
    pub(crate) broken: Vec<String>,
}

/// Lives the life of a seed.
pub(crate) fn live(seed: u64, with_story: bool) -> End {
    let mut dice = Dice::new(seed);
    let plan = Plan::new(&mut dice);
    let mut config = Config::new("orders");
    (config.extensions, config.timeout) = (vec![NAME.into()], plan.timeout);
    (config.mode, config.init_limit) = (plan.mode, plan.mode.init_limit(plan.timeout));
    let mut world = World {
        now: T0,
        dice,
        queue: BTreeMap::new(),
        ticket: 0,
        call: 0,
        serial: Serial::default(),
        platform: Platform::new(config),
        frozen: None,
        extension: None,
        runtime: None,
        callers: BTreeMap::new(),
        subscribed: false,
        replay: false,
        records: Vec::new(),
        asked: 0,
        answered: 0,
        story: with_story.then(Vec::new),
        digest: DefaultHasher::new(),
        broken: Vec::new(),
        plan,
    };
    world.tell(&"plan", &world.plan.clone());
    world.run();
    End {
        broken: world.broken,
        story: world.story.unwrap_or_default(),
        invocations: world.answered,
        digest: world.digest.finish(),
    }
}

impl World {
    fn run(&mut self) {
        let mut at = T0;
        if self.plan.mode.is_ahead() {
            self.at(at, Event::Prepare);
            at = at + Duration::from_millis(self.dice.between(0, 200));
        }
        for number in 1..=self.plan.invocations {
            at = at + Duration::from_millis(self.dice.between(1, self.plan.pause));
            self.at(at, Event::Invoke(number));
        }
        let wait = self.dice.between(0, 60_000) + self.plan.pause;
        self.at(at + Duration::from_millis(wait), Event::Spindown);
        for _ in 0..MAX_EVENTS {
            let Some(((at, _), event)) = self.queue.pop_first() else { return self.end() };
            self.now = self.now.max(at);
            if self.platform.phase() == PhaseName::Gone {
                return self.end();
            }
            self.happen(event);
        }
        self.broken.push(format!("no end after {MAX_EVENTS} events"));
    }

    fn end(&mut self) {
        if self.platform.phase() != PhaseName::Gone {
            self.broken.push(format!("it stands still in {:?}", self.platform.phase()));
        }
        if self.answered != self.asked || (self.asked != self.plan.invocations && !self.plan.is_managed()) {
            self.broken.push(format!("{} of {} invocations answered", self.answered, self.asked));
        }
    }

    pub(crate) fn at(&mut self, time: UnixNanos, event: Event) {
        self.ticket += 1;
        self.queue.insert((time.max(self.now), self.ticket), event);
    }

    pub(crate) fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + Duration::from_micros(micros), event);
    }

    pub(crate) fn tell(&mut self, who: &dyn Debug, what: &dyn Debug) {
        let line = format!("{:>12.3} {who:?} {what:?}", self.now.since(T0).as_secs_f64() * 1e3);
        line.hash(&mut self.digest);
        if let Some(story) = &mut self.story {
            story.push(line);
        }
    }

    fn happen(&mut self, event: Event) {
        if let Event::Of(process, inside) = event {
            match &mut self.frozen {
                Some(waiting) => waiting.push((process, inside)),
                None => self.inside(process, inside),
            }
            return;
        }
        self.tell(&"lambda", &event);
        match event {
            Event::Invoke(number) => {
                let Some(id) = RequestId::new(&format!("r{number}")) else { return };
                self.asked += 1;
                self.lambda(Fact::Invoke(Invocation::new(id, b"{}")));
            }
            Event::Prepare => self.lambda(Fact::Prepare),
            Event::Spindown => self.lambda(Fact::Shutdown),
            Event::PlatformTick => {
                self.platform.tick(self.now);
                self.carry_out();
            }
            Event::Exited(process, status) => {
                self.bury(process);
                self.lambda(Fact::Exited { process, status });
            }
            Event::Deliver => self.deliver(),
            Event::Flushed => self.lambda(Fact::Flushed),
            Event::Of(..) => {}
        }
    }

    pub(crate) fn lambda(&mut self, fact: Fact) {
        self.platform.handle(self.now, fact);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.platform.poll() {
            self.tell(&"lambda does", &effect);
            match effect {
                Do::Spawn { process, program } => self.spawn(process, program),
                Do::Terminate(_) => {}
                Do::Kill(process) => self.kill(process),
                Do::Freeze => self.frozen = Some(Vec::new()),
                Do::Thaw => {
                    for (process, inside) in self.frozen.take().unwrap_or_default() {
                        self.after(1, Event::Of(process, inside));
                    }
                }
                Do::Reply { call, reply } => {
                    if let (Reply::Invocation(_), Some(runtime)) = (&reply, &mut self.runtime) {
                        runtime.done = None;
                    }
                    if let Some((process, thread)) = self.callers.remove(&call) {
                        let micros = self.dice.between(20, 1500);
                        self.after(micros, Event::Of(process, Inside::Reply(thread, Box::new(reply))));
                    }
                }
                Do::Answer { answer, .. } => {
                    self.answered += 1;
                    if let Answer::Rejected(_) = answer {
                        self.tell(&"caller", &"rejected");
                    }
                }
                Do::Record(record) => self.record(record),
                Do::Subscriptions(Subscriptions::Open) => {
                    (self.subscribed, self.replay) = (false, true);
                    self.records.clear();
                }
                Do::Subscriptions(Subscriptions::Closed) => self.replay = false,
                Do::Subscriptions(Subscriptions::Flush) => {
                    self.deliver();
                    if self.platform.awaits_flush() {
                        self.after(300, Event::Flushed);
                    }
                }
                Do::Destroyed => {}
            }
        }
        if let Some(deadline) = self.platform.deadline() {
            self.at(deadline, Event::PlatformTick);
        }
    }

    fn spawn(&mut self, process: ProcessId, program: Program) {
        let micros = self.dice.between(500, 20_000);
        match program {
            Program::Runtime => {
                let worker = || Worker { script: Vec::new().into_iter(), serving: None };
                let workers = (0..self.plan.mode.concurrency().unwrap_or(1)).map(|_| worker()).collect();
                self.runtime = Some(Runtime { process, workers, done: None });
            }
            Program::Extension(_) => {
                let agent = AgentId(format!("agent-{}", process.0).into());
                let ledger = Ledger::default();
                let (engine, tick) = (None, None);
                let extension =
                    Extension { process, agent, engine, asks: false, tick, shut_down: false, ledger };
                self.extension = Some(extension);
            }
        }
        self.after(micros, Event::Of(process, Inside::Started));
    }

    fn kill(&mut self, process: ProcessId) {
        if let Some(extension) = self.extension.as_ref().filter(|e| e.process == process) {
            let asked = extension.shut_down && extension.engine.is_some();
            if asked {
                self.broken
                    .push(format!("{:?}: killed because it did not leave in time", self.now.since(T0)));
            }
        }
        let living = self.extension.as_ref().is_some_and(|e| e.process == process)
            || self.runtime.as_ref().is_some_and(|r| r.process == process);
        if living {
            self.after(300, Event::Exited(process, ExitStatus::Signal(9)));
        }
    }

    /// A process is gone: what it was told and did not pass on is excused, what it sent is not.
    fn bury(&mut self, process: ProcessId) {
        if self.runtime.as_ref().is_some_and(|r| r.process == process) {
            self.runtime = None;
        }
        if let Some(mut extension) = self.extension.take_if(|e| e.process == process) {
            self.broken.append(&mut extension.ledger.broken);
        }
    }

    fn inside(&mut self, process: ProcessId, inside: Inside) {
        let is_extension = self.extension.as_ref().is_some_and(|e| e.process == process);
        let is_runtime = self.runtime.as_ref().is_some_and(|r| r.process == process);
        if !is_extension && !is_runtime {
            return;
        }
        if !matches!(inside, Inside::Tick) {
            self.tell(if is_extension { &"extension" } else { &"function" }, &inside);
        }
        match inside {
            Inside::Call(fact) => self.lambda(*fact),
            Inside::Started if is_extension => {
                let Some(id) = self.extension.as_ref().map(|e| e.agent.clone()) else { return };
                let events: &[&str] =
                    if self.plan.is_managed() { &["SHUTDOWN"] } else { &["INVOKE", "SHUTDOWN"] };
                let events = events.iter().map(|event| (*event).to_owned()).collect();
                let registration = Registration { id, name: NAME.to_owned(), events };
                self.call(process, |call| Fact::Register { call, registration });
            }
            Inside::Started => {
                for thread in 0..self.runtime.as_ref().map_or(0, |runtime| runtime.workers.len()) {
                    self.call_by((process, thread), |call| Fact::RuntimeNext { call });
                }
            }
            Inside::Reply(_, reply) if is_extension => self.extension_hears(process, *reply),
            Inside::Reply(thread, reply) => self.runtime_hears((process, thread), *reply),
            Inside::Tell(input) => self.engine(*input),
            Inside::Step(thread) => self.step((process, thread)),
            Inside::Tick => self.tick(),
        }
    }

    /// Calls one of Lambda's APIs.
    pub(crate) fn call(&mut self, process: ProcessId, fact: impl FnOnce(CallId) -> Fact) {
        self.call_by((process, 0), fact);
    }

    fn call_by(&mut self, (process, thread): (ProcessId, usize), fact: impl FnOnce(CallId) -> Fact) {
        self.call += 1;
        let call = CallId(self.call);
        self.callers.insert(call, (process, thread));
        let micros = self.dice.between(20, 800);
        self.after(micros, Event::Of(process, Inside::Call(Box::new(fact(call)))));
    }

    fn worker(&mut self, thread: usize) -> Option<&mut Worker> {
        self.runtime.as_mut()?.workers.get_mut(thread)
    }

    fn runtime_hears(&mut self, (process, thread): (ProcessId, usize), reply: Reply) {
        let Reply::Invocation(delivery) = reply else { return };
        let id = delivery.invocation.request_id;
        let script = script::write(&self.plan, &mut self.dice, &mut self.serial, self.now, &id);
        if let Some(worker) = self.worker(thread) {
            *worker = Worker { script, serving: Some(id) };
            self.next_step((process, thread));
        }
    }

    /// Plans the next step, which stays the first of the script until it is done.
    fn next_step(&mut self, (process, thread): (ProcessId, usize)) {
        let next = self.worker(thread).and_then(|worker| worker.script.as_slice().first());
        if let Some(pause) = next.map(|(pause, _)| *pause) {
            self.after(pause, Event::Of(process, Inside::Step(thread)));
        }
    }

    fn step(&mut self, (process, thread): (ProcessId, usize)) {
        let Some(worker) = self.worker(thread) else { return };
        let (Some((_, step)), Some(id)) = (worker.script.next(), worker.serving.clone()) else { return };
        match step {
            Step::Tell(input) => {
                if let Some(extension) = self.extension.as_ref().map(|e| e.process) {
                    let micros = self.dice.between(10, 1500);
                    self.after(micros, Event::Of(extension, Inside::Tell(input)));
                }
            }
            Step::Print(text) => self.record(script::line(self.now, text)),
            Step::Respond => {
                let (began, request_id) = (self.now, id.as_str().to_owned());
                let body = Body::Whole(b"{}".as_slice().into());
                self.call_by((process, thread), |call| Fact::RuntimeResponse {
                    call,
                    request_id,
                    attempt: None,
                    began,
                    body,
                });
            }
            Step::Crash => return self.after(10, Event::Exited(process, ExitStatus::Code(1))),
            Step::Hang => return,
            Step::Next => {
                let now = self.now;
                if let Some(runtime) = &mut self.runtime {
                    runtime.done = Some(now);
                }
                self.call_by((process, thread), |call| Fact::RuntimeNext { call });
            }
        }
        self.next_step((process, thread));
    }

    /// A record for the telemetry subscribers.
    fn record(&mut self, record: TelemetryRecord) {
        if !self.subscribed && !self.replay {
            return;
        }
        let twice =
            self.plan.telemetry == Telemetry::Twice && !matches!(record.record, Record::FunctionLog(_));
        if self.records.is_empty() && self.subscribed {
            let late = if let Telemetry::Late(ms) = self.plan.telemetry {
                self.dice.between(25, ms.max(25))
            } else {
                25
            };
            self.after(late * 1000, Event::Deliver);
        }
        self.records.extend(twice.then(|| record.clone()));
        self.records.push(record);
    }

    fn deliver(&mut self) {
        if !self.subscribed || self.records.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.records);
        let Some(extension) = self.extension.as_ref().filter(|_| self.plan.telemetry != Telemetry::Silent)
        else {
            return;
        };
        let process = extension.process;
        let input = engine::Input::Telemetry(records);
        self.after(100, Event::Of(process, Inside::Tell(Box::new(input))));
    }
}
