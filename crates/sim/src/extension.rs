//! The extension's process without its sockets: carries what Lambda, the function and the intake say to the
//! engine, and out what it wants.

use std::time::Duration;

use engine::{Effect, Engine, Outcome, SendId, Settings};
use model::{Batch, UnixNanos};
use platform::{AgentId, ExitStatus, Input as Fact, ProcessId, Reply};

use crate::ledger::Ledger;
use crate::life::{Event, Inside, T0, World};
use crate::plan::{Intake, Telemetry};

/// What the engine may take on top of a flush to find out that an invocation is over, and what the network
/// takes here.
const SLACK: Duration = Duration::from_millis(700);

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
                let settings = Settings {
                    function_name: "orders".into(),
                    function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:orders".into(),
                    flush_strategy: self.plan.strategy,
                    flush_timeout: self.plan.flush_timeout,
                    seed: process.0,
                    ..Settings::default()
                };
                extension.engine = Some(Engine::new(settings, self.now));
                self.subscribed = true;
                if !self.records.is_empty() {
                    self.after(25_000, Event::Deliver);
                }
                self.pump();
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
            Reply::Invocation(_) | Reply::Accepted | Reply::Refused(_) => {
                self.broken.push(format!("the extension's call got {reply:?}"));
            }
        }
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
                Effect::Send { id, batch, deadline } => self.send(process, id, batch, deadline),
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

    fn send(&mut self, process: ProcessId, id: SendId, batch: Batch, deadline: UnixNanos) {
        let takes = Duration::from_micros(self.dice.between(300, self.plan.latency * 1000));
        let fails = match self.plan.intake {
            Intake::Healthy => false,
            Intake::Flaky(chance) => self.dice.percent(chance),
            Intake::Outage => self.answered <= self.plan.invocations / 2,
        };
        let hangs = (fails && self.dice.percent(50)) || self.now + takes > deadline;
        self.tell(
            &"intake",
            &(
                id,
                batch.signal(),
                if hangs {
                    "hangs"
                } else if fails {
                    "503"
                } else {
                    "202"
                },
            ),
        );
        let (at, outcome) = if hangs {
            (deadline, Outcome::retry(batch))
        } else if fails {
            (self.now + takes, Outcome::retry(batch))
        } else {
            if let Some(extension) = &mut self.extension {
                extension.ledger.take_out(&batch);
            }
            (self.now + takes, Outcome::accepted())
        };
        let sent = engine::Input::Sent { id, outcome };
        self.at(at, Event::Of(process, Inside::Tell(Box::new(sent))));
    }

    fn leave(&mut self, process: ProcessId) {
        self.tell(&"extension", &"leaves");
        let Some(extension) = &mut self.extension else { return };
        extension.engine = None;
        if !extension.shut_down {
            self.broken.push("it left unasked".to_owned());
        } else if self.plan.is_safe() {
            let silent = self.plan.telemetry == Telemetry::Silent;
            extension.ledger.close(silent);
        }
        self.after(100, Event::Exited(process, ExitStatus::Code(0)));
    }
}
