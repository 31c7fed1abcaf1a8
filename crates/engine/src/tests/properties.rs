//! What holds for any facts at any time.

use std::time::Duration;

use model::{Batch, Signal};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{T0, World, facts, settings};
use crate::{Input, Outcome, Settings};

/// A step of a random life: milliseconds that go by first, and what happens then.
type Step = (u64, Move);

#[derive(Clone, Debug)]
enum Move {
    Fact(String),
    /// Spans, log lines, values: so many of a size.
    Data(Signal, usize, usize),
    /// Answers one of the sends: which, how, and of how much (of four) a no is.
    Answer(usize, Yes),
}

#[derive(Clone, Copy, Debug)]
enum Yes {
    Accepted,
    Refused,
    /// This many of four of the items come back.
    Partly(usize),
}

fn a_fact() -> impl Strategy<Value = String> {
    let id = 0..6u32;
    prop_oneof![
        id.clone().prop_map(|r| format!("start r{r}")),
        (id.clone(), 0..4usize)
            .prop_map(|(r, s)| { format!("done r{r} {} 5", ["success", "error", "timeout", "failure"][s]) }),
        id.clone().prop_map(|r| format!("report r{r} error duration=9 billed=9 size=128 max=128 init=3")),
        id.clone().prop_map(|r| format!("start-call r{r} trace=a http inferred=aws.sqs:q:5")),
        Just("start-call trace=b".to_owned()),
        id.clone().prop_map(|r| format!("end-call r{r} span=c status=500")),
        Just("end-call error=Boom".to_owned()),
        (id, 1..9u32).prop_map(|(r, s)| format!("traces a/{s:x}<a:aws.lambda:x:request_id=r{r}")),
        (1..9u32).prop_map(|s| format!("traces a/{s:x}<a:aws.lambda:x:resource=dd-tracer-serverless-span")),
        (1..9u32).prop_map(|s| format!("traces a/{s:x}<a:aws.lambda.load | b/{s:x}:y")),
        Just("init-start on-demand".to_owned()),
        Just("init-report 50".to_owned()),
        Just("log java.lang.OutOfMemoryError".to_owned()),
        Just("json {\"requestId\":\"r1\",\"ddtags\":\"a:b\"}".to_owned()),
        Just("unknown".to_owned()),
        Just("logs-dropped 3".to_owned()),
        Just("dropped spans 2".to_owned()),
        Just("metric g:1|g".to_owned()),
        Just("tick".to_owned()),
    ]
}

fn an_event() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..6u32, prop_oneof![Just(0u64), 50..5000u64]).prop_map(|(r, d)| format!("invoke r{r} deadline={d}")),
        1 => prop_oneof![Just(0u64), 10..3000u64].prop_map(|d| format!("shutdown timeout deadline={d}")),
    ]
}

fn an_answer() -> impl Strategy<Value = Move> {
    let yes = prop_oneof![
        2 => Just(Yes::Accepted),
        1 => Just(Yes::Refused),
        2 => (1..=4usize).prop_map(Yes::Partly)
    ];
    (any::<usize>(), yes).prop_map(|(which, yes)| Move::Answer(which, yes))
}

fn data() -> impl Strategy<Value = Move> {
    let signal = prop_oneof![Just(Signal::Traces), Just(Signal::Logs), Just(Signal::Sketches)];
    (signal, 1..6usize, 0..400usize).prop_map(|(signal, n, size)| Move::Data(signal, n, size))
}

fn a_life() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![4 => Just(0u64), 3 => 1..30u64, 1 => 100..3000u64, 1 => Just(60_000u64)];
    let move_ = prop_oneof![
        4 => a_fact().prop_map(Move::Fact),
        2 => an_event().prop_map(Move::Fact),
        3 => data(),
        3 => an_answer(),
    ];
    vec((pause, move_), 0..80)
}

/// Lives one out, and keeps count of what went in and out.
struct Life {
    world: World,
    went_in: [u64; 3],
    came_out: [u64; 3],
    serial: u64,
    /// Only give events that were asked for, as Lambda does.
    polite: bool,
    nexts_used: usize,
}

const COUNTED: [(Signal, &[&str]); 3] =
    [(Signal::Traces, &["traces"]), (Signal::Logs, &["logs"]), (Signal::Sketches, &["sketches", "metrics"])];

impl Life {
    fn new(settings: Settings, polite: bool) -> Self {
        let mut world = World::new(settings);
        world.drain();
        Self { world, went_in: [0; 3], came_out: [0; 3], serial: 100, polite, nexts_used: 0 }
    }

    fn step(&mut self, (pause, move_): &Step) {
        let at = self.world.now + Duration::from_millis(*pause);
        self.world.advance(at);
        match move_ {
            Move::Fact(fact) if fact == "tick" => {
                self.world.engine.tick(at);
                self.world.drain();
            }
            Move::Fact(fact) => {
                if self.polite && (fact.starts_with("invoke") || fact.starts_with("shutdown")) {
                    if self.world.nexts == self.nexts_used {
                        return;
                    }
                    self.nexts_used += 1;
                }
                self.world.handle(facts::parse(at, fact));
            }
            Move::Data(signal, n, size) => self.data(*signal, *n, *size),
            Move::Answer(which, how) => self.answer(*which, *how),
        }
    }

    fn data(&mut self, signal: Signal, n: usize, size: usize) {
        for _ in 0..n {
            self.serial += 1;
            let filler = "x".repeat(size);
            let fact = match signal {
                Signal::Traces => format!("traces a/{:x}:work:s:filler={filler}", self.serial),
                Signal::Logs => format!("log {filler}{}", self.serial),
                Signal::Forwards => format!("forward intake.profile/{filler}{}", self.serial),
                Signal::Stats => format!("stats {filler}{}", self.serial),
                Signal::Sketches | Signal::Series => format!("metric m:{}|d|#{filler}", self.serial),
            };
            self.went_in[position(signal)] += 1;
            self.world.handle(facts::parse(self.world.now, &fact));
        }
    }

    fn answer(&mut self, which: usize, how: Yes) {
        let ids: Vec<_> = self.world.on_the_way.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[which % ids.len()];
        let Some(batch) = self.world.on_the_way.remove(&id) else { return };
        let (signal, total) = (batch.signal(), batch.count());
        let (outcome, accepted) = match how {
            Yes::Accepted => (Outcome::accepted(), total),
            Yes::Refused => (Outcome::refused(&batch), 0),
            Yes::Partly(quarters) => {
                let back = tail(batch, quarters);
                // Of what does not come back, some was refused and some too large.
                let gone = total - back.count();
                let (refused, too_large) = (gone / 3, gone / 4);
                let outcome = Outcome { refused, too_large, ..Outcome::retry(back) };
                (outcome, gone - refused - too_large)
            }
        };
        if signal != Signal::Series {
            self.came_out[position(signal)] += accepted;
        }
        self.world.handle(Input::Sent { id, outcome: outcome.clone() });
        // Told twice: it must not count.
        self.world.handle(Input::Sent { id, outcome });
    }

    fn balance(&mut self) -> Result<(), proptest::test_runner::TestCaseError> {
        for (n, (signal, names)) in COUNTED.into_iter().enumerate() {
            let dropped: u64 = names.iter().map(|name| self.world.engine.dropped(name)).sum();
            let held = self.world.engine.held(signal);
            prop_assert_eq!(
                self.went_in[n],
                self.came_out[n] + dropped + held,
                "{}: in = out {} + dropped {} + held {}",
                signal.as_str(),
                self.came_out[n],
                dropped,
                held
            );
        }
        Ok(())
    }
}

fn position(signal: Signal) -> usize {
    COUNTED.iter().position(|(s, _)| *s == signal).unwrap()
}

/// The last so many quarters of a batch's items.
fn tail(batch: Batch, quarters: usize) -> Batch {
    fn cut<T>(mut items: Vec<T>, quarters: usize) -> Vec<T> {
        let from = items.len() * (4 - quarters) / 4;
        items.split_off(from)
    }
    match batch {
        Batch::Traces(items) => Batch::Traces(cut(items, quarters)),
        Batch::Series(items) => Batch::Series(cut(items, quarters)),
        Batch::Sketches(items) => Batch::Sketches(cut(items, quarters)),
        Batch::Logs(items) => Batch::Logs(cut(items, quarters)),
        Batch::Stats(items) => Batch::Stats(cut(items, quarters)),
        Batch::Forwards(items) => Batch::Forwards(cut(items, quarters)),
    }
}

/// No metrics of its own, little room.
fn tight() -> Settings {
    Settings {
        enhanced_metrics: false,
        batch_bytes: 6000,
        flush_timeout: Duration::from_millis(700),
        ..settings()
    }
}

proptest! {
    /// Whatever comes, in whatever order, also what Lambda would never send: nothing panics, nothing spins,
    /// no send is named twice, nothing is asked after `Exit`, no more is held than may be.
    #[test]
    fn any_facts_are_taken(life in a_life()) {
        let bound = 20_000;
        let mut it = Life::new(Settings { batch_bytes: bound, ..settings() }, false);
        for step in &life {
            it.step(step);
            for signal in Signal::ALL {
                prop_assert!(it.world.engine.weight(signal) <= bound);
            }
        }
        let (_, after) = it.world.out.split_once("exit\n").unwrap_or_default();
        prop_assert_eq!(after, "");
    }

    /// The same facts at the same times give the same effects.
    #[test]
    fn replay_gives_equal_effects(life in a_life()) {
        let run = || {
            let mut it = Life::new(settings(), true);
            life.iter().for_each(|step| it.step(step));
            it.world.out
        };
        prop_assert_eq!(run(), run());
    }

    /// What went in was delivered, or its loss was counted, or it is still held: at every moment. No facts
    /// from which something is made here, as that does not come in.
    #[test]
    fn nothing_is_lost_uncounted(
        life in vec((prop_oneof![Just(0u64), 1..200u64], prop_oneof![
            3 => data(),
            3 => an_answer(),
            2 => an_event().prop_map(Move::Fact),
            1 => Just(Move::Fact("metric g:1|g".to_owned())),
        ]), 0..120),
        roomy in any::<bool>(),
    ) {
        let settings = if roomy { Settings { batch_bytes: 1 << 20, ..tight() } } else { tight() };
        let mut it = Life::new(settings, true);
        for step in &life {
            it.step(step);
            it.balance()?;
        }
    }

    /// After an INVOKE, `Next` is asked before the deadline whatever stays away; after SHUTDOWN, the engine
    /// leaves before the deadline.
    #[test]
    fn next_always_follows(life in a_life(), deadline in 500u64..20_000, shutdown in 200u64..2000, loud in any::<bool>()) {
        let mut it = Life::new(settings(), true);
        if loud {
            it.step(&(0, Move::Fact("init-start on-demand".to_owned())));
        }
        let begin = it.world.now;
        it.step(&(0, Move::Fact(format!("invoke r1 deadline={deadline}"))));
        let end = begin + Duration::from_millis(deadline);
        for step in life.iter().filter(|(_, m)| !matches!(m, Move::Fact(f) if f.starts_with("invoke") || f.starts_with("shutdown"))) {
            it.step(&(step.0.min(deadline / 50), step.1.clone()));
        }
        it.world.advance(end);
        prop_assert!(it.world.nexts >= 2, "no next");
        let nexts = it.world.out.lines().filter_map(|line| line.strip_suffix(" next")).nth(1).unwrap();
        let asked = T0 + Duration::from_millis(nexts.parse().unwrap());
        prop_assert!(asked + Duration::from_millis(100) <= end, "next at {:?}, deadline {:?}", asked, end);

        let begin = it.world.now;
        it.world.handle(facts::parse(begin, &format!("shutdown spindown deadline={shutdown}")));
        it.world.advance(begin + Duration::from_millis(shutdown - 100));
        prop_assert!(it.world.exited);
    }
}
