//! Every input in every state.

use std::fmt::Write as _;

use super::{World, with_extension};

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
    "runtime next",
    "runtime init-error Runtime.Bad",
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

#[test]
fn every_input_in_every_state() {
    let mut out = String::new();
    for (name, way) in STATES {
        writeln!(out, "== {name}").unwrap();
        for input in INPUTS {
            let mut world = World::new(with_extension());
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
    insta::assert_snapshot!(out);
}
