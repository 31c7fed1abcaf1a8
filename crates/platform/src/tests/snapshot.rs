//! Every input in every state.

use std::fmt::Write as _;

use super::{World, with_extension};
use crate::{Config, Mode};

/// Ways into each state, from nothing.
const STATES: &[(&str, &[&str])] = &[
    ("cold", &[]),
    ("init, registering", &["invoke a"]),
    ("init, starting", &["invoke a", "register ext INVOKE SHUTDOWN"]),
    ("init, readying", &["invoke a", "register ext INVOKE SHUTDOWN", "runtime next"]),
    ("invoke, running", &["invoke a", "register ext INVOKE SHUTDOWN", "runtime next", "next ext"]),
    (
        "invoke, responded",
        &["invoke a", "register ext INVOKE SHUTDOWN", "runtime next", "next ext", "response a"],
    ),
    (
        "invoke, runtime done",
        &[
            "invoke a",
            "register ext INVOKE SHUTDOWN",
            "runtime next",
            "next ext",
            "response a",
            "runtime next",
        ],
    ),
    (
        "idle",
        &[
            "invoke a",
            "register ext INVOKE SHUTDOWN",
            "runtime next",
            "next ext",
            "response a",
            "runtime next",
            "next ext",
        ],
    ),
    (
        "stopping the runtime",
        &["invoke a", "register ext INVOKE SHUTDOWN", "runtime next", "next ext", "+3000ms"],
    ),
    (
        "stopping the agents",
        &["invoke a", "register ext INVOKE SHUTDOWN", "runtime next", "next ext", "exit 2 1"],
    ),
    (
        "reaping",
        &["invoke a", "register ext INVOKE SHUTDOWN", "runtime next", "next ext", "exit 2 1", "+2000ms"],
    ),
    ("init inside an invocation", &["invoke a", "exit 1 1"]),
    ("gone", &["shutdown"]),
];

const INPUTS: &[&str] = &[
    "invoke z",
    "shutdown",
    "launch-failed 1",
    "exit 1 0",
    "exit 2 2",
    "exit 99 0",
    "memory 50",
    "out-of-memory",
    "prepare",
    "flushed",
    "runtime next",
    "runtime init-error Runtime.Bad",
    "runtime restore-next",
    "runtime restore-error Runtime.Bad",
    "response a",
    "response y",
    "error a Function.Bad",
    "register ext INVOKE",
    "register inside INVOKE",
    "register inside SHUTDOWN",
    "register ext BOGUS",
    "register ---",
    "next ext",
    "next nobody",
    "init-error ext",
    "init-error nobody",
    "exit-error ext",
    "subscribe ext",
    "subscribe ext invalid",
    "subscribe nobody invalid",
    "+60000ms",
];

/// Those states that only functions of snapshots have.
const OF_SNAPSHOTS: &[(&str, &[&str])] = &[
    ("init, starting", &["prepare", "register ext INVOKE SHUTDOWN"]),
    ("snapshot", &["prepare", "register ext INVOKE SHUTDOWN", "runtime restore-next", "next ext"]),
    ("restore", &["prepare", "register ext INVOKE SHUTDOWN", "runtime restore-next", "next ext", "invoke a"]),
    (
        "restored",
        &[
            "prepare",
            "register ext INVOKE SHUTDOWN",
            "runtime restore-next",
            "next ext",
            "invoke a",
            "runtime next",
        ],
    ),
];

/// Those of managed instances.
const OF_MANAGED: &[(&str, &[&str])] = &[
    ("cold", &[]),
    ("init, starting", &["prepare", "register ext SHUTDOWN"]),
    ("serving, nothing", &["prepare", "register ext SHUTDOWN", "next ext", "runtime next", "runtime next"]),
    (
        "serving, one",
        &["prepare", "register ext SHUTDOWN", "next ext", "runtime next", "runtime next", "invoke a"],
    ),
    (
        "serving, given up",
        &["prepare", "register ext SHUTDOWN", "next ext", "runtime next", "invoke a", "+3000ms"],
    ),
    ("stopping the runtime", &["prepare", "register ext SHUTDOWN", "next ext", "runtime next", "shutdown"]),
    ("gone", &["shutdown"]),
];

#[test]
fn every_input_in_every_state() {
    insta::assert_snapshot!(table(&with_extension(), STATES));
}

#[test]
fn every_input_in_every_state_of_a_snapshot() {
    insta::assert_snapshot!(table(&Config { mode: Mode::SnapStart, ..with_extension() }, OF_SNAPSHOTS));
}

#[test]
fn every_input_in_every_state_of_managed_instances() {
    let mode = Mode::ManagedInstances { concurrency: 2 };
    insta::assert_snapshot!(table(&Config { mode, ..with_extension() }, OF_MANAGED));
}

fn table(config: &Config, states: &[(&str, &[&str])]) -> String {
    let mut out = String::new();
    for (name, way) in states {
        writeln!(out, "== {name}").unwrap();
        for input in INPUTS {
            let mut world = World::new(config.clone());
            for fact in *way {
                world.tell(fact);
            }
            let effects = world.tell(input);
            writeln!(out, "> {input}").unwrap();
            for line in effects.lines() {
                writeln!(out, "    {line}").unwrap();
            }
            writeln!(out, "  {:?}", world.lambda.phase()).unwrap();
        }
    }
    out
}
