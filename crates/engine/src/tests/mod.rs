//! Tests of the whole engine: facts as lines of text in, effects as lines of text out.

mod corpus;
mod durable;
mod facts;
mod invocations;
mod late;
mod lifecycle;
mod managed;
mod orders;
mod pace;
mod properties;
mod render;
mod sandbox;
mod signals;
mod spans;
mod traps;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Batch, UnixNanos};

use crate::{Effect, Engine, Input, Outcome, Receivers, SendId, Settings};

/// When the clock of all tests begins: 2023-11-14T22:13:20Z.
const T0: UnixNanos = UnixNanos::from_secs(1_700_000_000);

fn settings() -> Settings {
    Settings {
        function_name: "orders".into(),
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:orders".into(),
        function_tags: vec![("functionname".into(), "orders".into())],
        seed: 7,
        flush_strategy: crate::FlushStrategy::End,
        ..Settings::default()
    }
}

/// An engine with what it has sent.
#[derive(Clone)]
struct World {
    engine: Engine,
    now: UnixNanos,
    on_the_way: BTreeMap<SendId, Batch>,
    delivered: Vec<Batch>,
    /// What further intakes got.
    copied: Vec<Batch>,
    nexts: usize,
    exited: bool,
    out: String,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self {
            engine: Engine::new(settings, T0),
            now: T0,
            on_the_way: BTreeMap::new(),
            delivered: Vec::new(),
            copied: Vec::new(),
            nexts: 0,
            exited: false,
            out: String::new(),
        }
    }

    /// Does all that the engine asks for, but for answering sends.
    fn drain(&mut self) {
        while let Some(effect) = self.engine.poll() {
            let ms = self.now.since(T0).as_millis();
            render::effect(&mut self.out, ms, &effect);
            match effect {
                Effect::Next => self.nexts += 1,
                Effect::Exit => self.exited = true,
                Effect::Send { id, batch, to, .. } => {
                    if to != Receivers::Main {
                        self.copied.push(batch.clone());
                    }
                    if to == Receivers::Others {
                        self.engine.handle(self.now, Input::Sent { id, outcome: Outcome::accepted() });
                        continue;
                    }
                    assert!(self.on_the_way.insert(id, batch).is_none(), "{id:?} twice");
                }
            }
        }
    }

    /// Lets the time pass, stopping at each of the engine's deadlines.
    fn advance(&mut self, to: UnixNanos) {
        loop {
            let deadline = self.engine.deadline().filter(|deadline| *deadline <= to);
            let Some(deadline) = deadline else { break };
            assert!(deadline > self.now, "a deadline of the past: busy loop");
            self.now = deadline;
            self.engine.tick(deadline);
            self.drain();
        }
        self.now = self.now.max(to);
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    /// Answers what is on its way.
    fn answer(&mut self, id: SendId, how: Answer) {
        let Some(batch) = self.on_the_way.remove(&id) else { return };
        let outcome = match how {
            Answer::Ok => {
                self.delivered.push(batch);
                Outcome::accepted()
            }
            Answer::Retry => Outcome::retry(batch),
            Answer::Refused => Outcome::refused(&batch),
        };
        self.handle(Input::Sent { id, outcome });
    }

    fn answer_all(&mut self, how: Answer) {
        for id in self.on_the_way.keys().copied().collect::<Vec<_>>() {
            self.answer(id, how);
        }
    }

    /// Answers all with yes until nothing is on its way.
    fn accept_all(&mut self) {
        while !self.on_the_way.is_empty() {
            self.answer_all(Answer::Ok);
        }
    }

    fn line(&mut self, line: &str) {
        let (ms, fact) = line.split_once(' ').unwrap_or_else(|| panic!("no time in {line:?}"));
        let at = T0 + Duration::from_millis(ms.parse().unwrap_or_else(|_| panic!("no time in {line:?}")));
        self.advance(at);
        match fact.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["tick"] => {
                self.engine.tick(at);
                self.drain();
            }
            ["late", id] => {
                self.handle(Input::Late { id: SendId(id.trim_start_matches('#').parse().unwrap()) });
            }
            ["sent", how] => self.answer_all(Answer::parse(how)),
            ["sent", how, id] => {
                self.answer(SendId(id.trim_start_matches('#').parse().unwrap()), Answer::parse(how));
            }
            _ => self.handle(facts::parse(at, fact)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Ok,
    Retry,
    Refused,
}

impl Answer {
    fn parse(word: &str) -> Self {
        match word {
            "ok" => Self::Ok,
            "retry" => Self::Retry,
            "refused" => Self::Refused,
            _ => panic!("{word:?}: ok, retry or refused"),
        }
    }
}

/// Runs facts, one a line, each with its time in milliseconds, and compares what the engine does.
#[track_caller]
fn check(input: &str, expect: &str) {
    check_with(settings(), input, expect);
}

#[track_caller]
fn check_with(settings: Settings, input: &str, expect: &str) {
    let trimmed = |text: &str| {
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    };
    let mut world = World::new(settings);
    world.drain();
    for line in trimmed(input).lines().filter(|line| !line.starts_with("//")) {
        world.line(line);
    }
    let (got, expect) = (trimmed(&world.out), trimmed(expect));
    assert!(got == expect, "\n--- got\n{got}\n--- expected\n{expect}\n");
}
