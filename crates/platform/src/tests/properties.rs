//! Whatever is said in whatever order: no panic, exactly one answer per invocation, no call answered twice, nothing
//! armed when there is nothing to wait for.

use std::collections::HashMap;

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

use super::{World, with_extension};
use crate::{Config, Mode, PhaseName};

fn fact() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "invoke",
        "exit 1 0",
        "exit 2 1",
        "killed 3",
        "killed 4",
        "launch-failed 5",
        "memory 9",
        "prepare",
        "runtime next",
        "runtime next",
        "runtime next",
        "runtime restore-next",
        "runtime restore-error Runtime.X",
        "runtime init-error Runtime.X",
        "response",
        "response",
        "error",
        "register ext INVOKE SHUTDOWN",
        "register ext",
        "register inside INVOKE",
        "register inside SHUTDOWN",
        "next ext",
        "next ext",
        "next inside",
        "next nobody",
        "init-error ext",
        "exit-error ext",
        "subscribe ext",
        "+1ms",
        "+500ms",
        "+3000ms",
        "shutdown",
    ];
    (select(WORDS), 0..4_u8, any::<bool>()).prop_map(|(word, n, good)| match word {
        "invoke" => "invoke ?".to_owned(),
        "response" | "error" => {
            let id = if good { "now".to_owned() } else { n.to_string() };
            let kind = if word == "error" { " Function.Bad" } else { "" };
            format!("{word} {id}{kind}")
        }
        // Shutting down ends all: rarer than the rest.
        "shutdown" if n > 0 => "+10ms".to_owned(),
        other => other.to_owned(),
    })
}

fn modes() -> impl Strategy<Value = Mode> {
    let managed = Mode::ManagedInstances { concurrency: 2 };
    select(vec![Mode::OnDemand, Mode::OnDemand, Mode::ProvisionedConcurrency, Mode::SnapStart, managed])
}

/// Counts answers by request and replies by call.
fn run(config: Config, facts: &[String]) -> (World, HashMap<String, u32>, HashMap<String, u32>, u32) {
    let mut world = World::new(config);
    let (mut answers, mut replies, mut invoked, mut current) = (HashMap::new(), HashMap::new(), 0, 0);
    for fact in facts {
        let fact = match fact.as_str() {
            "invoke ?" => {
                invoked += 1;
                format!("invoke r{invoked}")
            }
            other => other.replace("now", &format!("r{current}")),
        };
        count(&world.tell(&fact), &mut answers, &mut replies, &mut current);
    }
    world.calls += 1;
    count(&world.tell("shutdown"), &mut answers, &mut replies, &mut current);
    // A restore may take ten seconds, the end of an environment three.
    for _ in 0..6 {
        count(&world.tell("+3000ms"), &mut answers, &mut replies, &mut current);
    }
    (world, answers, replies, invoked)
}

fn count(
    effects: &str,
    answers: &mut HashMap<String, u32>,
    replies: &mut HashMap<String, u32>,
    current: &mut u32,
) {
    for line in effects.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["answer", id, ..] => *answers.entry(id.to_owned()).or_default() += 1,
            ["reply", call, ..] => *replies.entry(call.to_owned()).or_default() += 1,
            ["start", id, ..] => *current = id.trim_start_matches('r').parse().unwrap(),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn each_invocation_is_answered_once(facts in prop::collection::vec(fact(), 0..60), extension in any::<bool>(), mode in modes()) {
        let config = if extension { with_extension() } else { Config::new("f") };
        let config = Config { mode, ..config };
        let (world, answers, replies, invoked) = run(config, &facts);
        prop_assert_eq!(answers.len(), invoked as usize);
        prop_assert!(answers.values().all(|n| *n == 1), "{:?}", answers);
        prop_assert!(replies.values().all(|n| *n == 1), "{:?}", replies);
        prop_assert_eq!(world.lambda.phase(), PhaseName::Gone);
        prop_assert_eq!(world.lambda.deadline(), None);
    }
}
