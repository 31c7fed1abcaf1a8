//! What the library costs a function: CPU time of an invocation and of a start, size, crates. Prints a table, and
//! fails when it is more than the budget. `cargo bench -p datadog-lambda-rs`
//!
//! CPU time is the kernel's own count, in nanoseconds, of all threads but the one that plays the extension.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench"
)]

mod answers;
mod build;
mod invocation;
mod start;

use std::process::Command;
use std::time::Duration;

use answers::Extension;
use invocation::{SPANS, Stack};

/// Of an invocation with ten child spans.
const INVOCATION: Duration = Duration::from_micros(150);
const START: Duration = Duration::from_millis(1);
/// What answers may take more, or less, beside an extension that is not well.
const ANSWER: Duration = Duration::from_millis(5);

/// Tells a child of this program which stack it measures.
const STACK: &str = "BENCH_STACK";

fn main() {
    if let Ok(name) = std::env::var(STACK) {
        let stack = Stack::named(&name);
        println!("{}", invocation::measure(stack).as_nanos());
        return;
    }
    println!(
        "| a function | CPU per invocation | CPU until its first poll | binary | crates |\n|---|---|---|---|---|"
    );
    let built = build::functions();
    let starts = [start::measure(&built.bare), start::measure(&built.traced)];
    let cpu = Stack::ALL.map(of_child);
    let row = |what: &str, cpu: Duration, rest: String| println!("| {what} | {cpu:.1?} | {rest} |");
    row("bare", cpu[0], format!("{:.2?} | {} | {}", starts[0], build::size(&built.bare), built.bare_crates));
    let [otel_floor, ours] = [cpu[1], cpu[2]];
    row(
        &format!("lambda_runtime's OpenTelemetryLayer, {SPANS} spans, exported nowhere"),
        otel_floor,
        "- | - | -".to_owned(),
    );
    let of_ours = format!(
        "{:.2?} | {} | {}",
        starts[1],
        build::size(&built.traced),
        built.bare_crates + built.added_crates
    );
    row(&format!("this library, {SPANS} spans, sent to an extension"), ours, of_ours);
    let (added, added_start) = (ours.saturating_sub(cpu[0]), starts[1].saturating_sub(starts[0]));
    let bytes = build::bytes(&built.traced) - build::bytes(&built.bare);
    row(
        "added by this library",
        added,
        format!("{added_start:.2?} | {} KiB | {}", bytes / 1024, built.added_crates),
    );
    println!("\n| the extension | median answer | longest answer |\n|---|---|---|");
    let answers = Extension::ALL.map(|extension| {
        let (median, longest) = answers::measure(&built.traced, extension);
        println!("| {extension:?} | {median:.2?} | {longest:.2?} |");
        median
    });
    for median in answers {
        assert!(median.abs_diff(answers[0]) < ANSWER, "an answer waits for the extension");
    }
    assert!(added < INVOCATION, "an invocation costs more than {INVOCATION:?}");
    assert!(added_start < START, "a start costs more than {START:?}");
}

/// The least of some runs, each in a process of its own: what else the machine does only adds.
fn of_child(stack: Stack) -> Duration {
    let run = || {
        let child = Command::new(std::env::current_exe().unwrap()).env(STACK, stack.name()).output().unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        let text = String::from_utf8(child.stdout).unwrap();
        Duration::from_nanos(text.lines().last().unwrap().trim().parse().unwrap())
    };
    (0..5).map(|_| run()).min().unwrap()
}
