//! The extension's process without its sockets: carries what Lambda, the function and the intake say to the
//! engine, and out what it wants.

use std::time::Duration;

use engine::{Effect, Engine, Outcome, Receivers, SendId, Settings};
use model::{Batch, Signal, UnixNanos};
use platform::{AgentId, ExitStatus, Input as Fact, ProcessId, Reply};

use crate::ledger::Ledger;
use crate::life::{Event, Inside, T0, World};
use crate::plan::{Intake, Telemetry};

/// What the engine may take on top of a flush to find out that an invocation is over, and what the network
/// takes here.
const SLACK: Duration = Duration::from_millis(700);

/// After so long without an answer a connection is taken to be dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the intake makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Yes,
    /// It swallows it.
    Nothing,
    /// Its turn does not come before the deadline.
    NotBegun,
    Later,
    Never,
    /// Some parts of it were taken.
    Half,
}

pub(crate) struct Extension {
    pub(crate) process: ProcessId,
    pub(crate) agent: AgentId,
    pub(crate) engine: Option<Engine>,
    /// `/event/next` is asked and not answered.
    pub(crate) asks: bool,
    pub(crate) tick: Option<UnixNanos>,
    pub(crate) shut_down: bool,
    pub(crate) ledger: Ledger,
}

impl World {
    pub(crate) fn extension_hears(&mut self, process: ProcessId, reply: Reply) {
        let Some(extension) = &mut self.extension else { return };
        match reply {
            Reply::Registered { agent } => {
                let types = Ok(["platform", "function", "extension"].map(Into::into).to_vec());
                self.call(process, |call| Fact::Subscribe { call, agent, types });
            }
            Reply::Subscribed => {
                self.subscribed = true;
                if !self.records.is_empty() {
                    self.after(25_000, Event::Deliver);
                }
                self.begin();
            }
            // An environment that is given up while it starts takes no subscription any more. The extension lives on.
            Reply::Refused(refusal)
                if extension.engine.is_none() && refusal.error_type == "Telemetry.SubscriptionClosed" =>
            {
                self.begin();
            }
            Reply::Invoke(delivery) => {
                extension.asks = false;
                let (request_id, deadline) = (delivery.invocation.request_id, delivery.deadline);
                self.engine(engine::Input::Invoke { request_id, arn: None, deadline });
            }
            Reply::Shutdown { reason, deadline } => {
                (extension.asks, extension.shut_down) = (false, true);
                self.engine(engine::Input::Shutdown { reason: reason.as_str().into(), deadline });
            }
            Reply::Invocation(_) | Reply::Restored | Reply::Accepted | Reply::Refused(_) => {
                self.broken.push(format!("the extension's call got {reply:?}"));
            }
        }
    }

    fn begin(&mut self) {
        let Some(extension) = &mut self.extension else { return };
        let settings = Settings {
            function_name: "orders".into(),
            function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:orders".into(),
            flush_strategy: self.plan.strategy,
            flush_timeout: self.plan.flush_timeout,
            seed: extension.process.0,
            managed_instances: self.plan.is_managed(),
            copied: Signal::ALL.into_iter().filter(|_| self.plan.is_copied).collect(),
            ..Settings::default()
        };
        extension.engine = Some(Engine::new(settings, self.now));
        self.pump();
    }

    pub(crate) fn engine(&mut self, input: engine::Input) {
        let now = self.now;
        let Some(Extension { engine: Some(engine), ledger, .. }) = &mut self.extension else { return };
        ledger.put_in(&input);
        engine.handle(now, input);
        self.pump();
    }

    pub(crate) fn tick(&mut self) {
        let now = self.now;
        let Some(extension) = self.extension.as_mut() else { return };
        // Only the newest of the timers counts.
        if extension.tick.is_none_or(|tick| tick > now) {
            return;
        }
        extension.tick = None;
        if let Some(engine) = extension.engine.as_mut() {
            engine.tick(now);
            self.pump();
        }
    }

    /// Does what the engine wants.
    fn pump(&mut self) {
        let now = self.now;
        while let Some(extension) = &mut self.extension
            && let Some(effect) = extension.engine.as_mut().and_then(Engine::poll)
        {
            let process = extension.process;
            match effect {
                Effect::Next => self.ask_next(process),
                Effect::Send { id, batch, deadline, to } => self.send(process, (id, batch, deadline), to),
                Effect::Exit => return self.leave(process),
            }
        }
        let Some(extension) = &mut self.extension else { return };
        let Some(deadline) = extension.engine.as_ref().and_then(Engine::deadline) else { return };
        let due = deadline.max(now + Duration::from_millis(1));
        if extension.tick.is_none_or(|tick| due < tick || tick < now) {
            extension.tick = Some(due);
            let process = extension.process;
            self.at(due, Event::Of(process, Inside::Tick));
        }
    }

    fn ask_next(&mut self, process: ProcessId) {
        let now = self.now;
        self.tell(&"extension", &"asks for the next event");
        let Some(extension) = &mut self.extension else { return };
        if std::mem::replace(&mut extension.asks, true) {
            self.broken.push(format!("{:?}: next is asked twice", now.since(T0)));
        }
        let agent = extension.agent.clone();
        if let Some(done) = self.runtime.as_ref().and_then(|r| r.done)
            && now.since(done) > self.plan.flush_timeout + SLACK + self.plan.unseen()
        {
            self.broken.push(format!(
                "{:?}: next comes {:?} after the function was done",
                now.since(T0),
                now.since(done)
            ));
        }
        self.call(process, |call| Fact::AgentNext { call, agent });
    }

    fn send(&mut self, process: ProcessId, (id, batch, deadline): (SendId, Batch, UnixNanos), to: Receivers) {
        let takes = Duration::from_micros(self.dice.between(300, self.plan.latency * 1000));
        if to != Receivers::Main
            && let Some(extension) = &mut self.extension
        {
            extension.ledger.copy(&batch);
        }
        if to == Receivers::Others {
            self.tell(&"others", &(id, batch.signal()));
            let sent = engine::Input::Sent { id, outcome: Outcome::accepted() };
            return self.at(self.now + takes, Event::Of(process, Inside::Tell(Box::new(sent))));
        }
        let fails = match self.plan.intake {
            Intake::Healthy => false,
            Intake::Flaky(chance) => self.dice.percent(chance),
            Intake::Outage => self.answered <= self.plan.invocations / 2,
        };
        let answer = match fails {
            false => Says::Yes,
            true => match self.dice.between(0, 9) {
                0..=2 => Says::Nothing,
                3 => Says::NotBegun,
                4..=6 => Says::Later,
                7 => Says::Never,
                _ => Says::Half,
            },
        };
        self.tell(&"intake", &(id, batch.signal(), answer));
        let at = match answer {
            Says::Nothing => (self.now + PATIENCE).max(deadline),
            Says::NotBegun => deadline,
            Says::Yes | Says::Later | Says::Never | Says::Half => self.now + takes,
        };
        if at >= deadline {
            let late = engine::Input::Late { id };
            self.at(deadline, Event::Of(process, Inside::Tell(Box::new(late))));
        }
        let outcome = match answer {
            Says::Nothing | Says::NotBegun | Says::Later => Outcome::retry(batch),
            Says::Never => Outcome::refused(&batch),
            Says::Yes => {
                self.arrives(&batch);
                Outcome::accepted()
            }
            Says::Half => {
                let (first, rest) = halves(batch);
                self.arrives(&first);
                Outcome::retry(rest)
            }
        };
        let sent = engine::Input::Sent { id, outcome };
        self.at(at, Event::Of(process, Inside::Tell(Box::new(sent))));
    }

    fn arrives(&mut self, batch: &Batch) {
        if let Some(extension) = &mut self.extension {
            extension.ledger.take_out(batch);
        }
    }

    fn leave(&mut self, process: ProcessId) {
        self.tell(&"extension", &"leaves");
        let Some(extension) = &mut self.extension else { return };
        if let Some(mut engine) = extension.engine.take() {
            extension.ledger.balance(|signal| engine.lost(signal));
        }
        if !extension.shut_down {
            self.broken.push("it left unasked".to_owned());
        } else if self.plan.is_safe() {
            let silent = self.plan.telemetry == Telemetry::Silent;
            extension.ledger.close(silent, self.plan.is_managed(), self.plan.is_copied);
        }
        self.after(100, Event::Exited(process, ExitStatus::Code(0)));
    }
}

fn halves(batch: Batch) -> (Batch, Batch) {
    fn cut<T>(mut items: Vec<T>, wrap: impl Fn(Vec<T>) -> Batch) -> (Batch, Batch) {
        let rest = items.split_off(items.len() / 2);
        (wrap(items), wrap(rest))
    }
    match batch {
        Batch::Traces(items) => cut(items, Batch::Traces),
        Batch::Series(items) => cut(items, Batch::Series),
        Batch::Sketches(items) => cut(items, Batch::Sketches),
        Batch::Logs(items) => cut(items, Batch::Logs),
        Batch::Stats(items) => cut(items, Batch::Stats),
        Batch::Forwards(items) => cut(items, Batch::Forwards),
    }
}
