//! How many instructions reading an event takes, against `tests/instructions.txt`. Time says more, and is too
//! noisy for a test.
//!
//! Needs valgrind: without it the test says so and passes. `UPDATE_INSTRUCTIONS=1` writes the file anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// By how much a count may be off, in percent: a new compiler is not a regression.
const MARGIN: u64 = 15;
const EVENTS: [&str; 4] = ["http-api", "sqs", "sqs-batch", "sqs-sns-eventbridge"];
const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

#[test]
fn reading_takes_no_more_instructions_than_before() {
    let Some(program) = program() else {
        return skip("the example `measured` is not built: run without --lib or --test");
    };
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|out| out.status.success()) {
        return skip("valgrind is not installed");
    }
    let counted: BTreeMap<String, u64> =
        EVENTS.iter().map(|name| (key(name), per_read(&program, name))).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions.txt");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let mut known = parse(&known);
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        known.extend(counted);
        let lines: String = known.iter().map(|(key, count)| format!("{key} {count}\n")).collect();
        return std::fs::write(file, lines).unwrap();
    }
    for (key, count) in counted {
        println!("{key}: {count} instructions");
        let Some(before) = known.get(&key) else {
            skip(&format!("{key} is not in {}", file.display()));
            continue;
        };
        let worse = count > before * (100 + MARGIN) / 100;
        assert!(
            !worse,
            "{key}: {count} instructions, {before} before; UPDATE_INSTRUCTIONS=1 if that has to be"
        );
    }
}

fn skip(why: &str) {
    eprintln!("SKIPPED: instructions are not counted: {why}");
}

fn key(event: &str) -> String {
    format!("{} {PROFILE} {event}", std::env::consts::ARCH)
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (key, count) = line.rsplit_once(' ')?;
        Some((key.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Examples lie beside the folder of the test programs.
fn program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.parent()?.parent()?.join("examples/measured");
    program.exists().then_some(program)
}

/// The difference of two runs, which takes start and end of the program out.
fn per_read(program: &Path, event: &str) -> u64 {
    let (few, many) = (2, 22);
    (total(program, event, many) - total(program, event, few)) / (many - few)
}

fn total(program: &Path, event: &str, times: u64) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let out = valgrind.args([event, &times.to_string()]).output().unwrap();
    let report = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{report}");
    let collected =
        report.lines().find_map(|line| line.split_once("Collected :")).map(|(_, n)| n.trim().parse());
    collected.unwrap_or_else(|| panic!("{report}")).unwrap()
}
