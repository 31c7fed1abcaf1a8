//! The steps of `cargo xtask test`, in the order of what they cost. The first that fails ends the run. A step
//! whose tests need something that this machine does not have is not run, and the last line says so.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::real::{self, Find, Found};
use crate::{edges, layer, tidy};

struct Step {
    name: &'static str,
    /// The cargo command that it is.
    args: &'static [&'static str],
    /// Finds, or installs, what its tests need besides Rust.
    needs: Option<Find>,
}

const fn step(name: &'static str, args: &'static [&'static str]) -> Step {
    Step { name, args, needs: None }
}

/// House rules run before these.
const STEPS: &[Step] = &[
    step("format", &["fmt", "--all", "--check"]),
    step("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    // The process tests of one crate run binaries of others: these are built first.
    step("build", &["build", "--workspace", "--bins"]),
    step("tests", &["test", "--workspace"]),
    // Once more, to be seen: how many orders of facts were tried.
    step(
        "orders of facts",
        &["test", "--quiet", "--package", "engine", "--lib", "orders", "--", "--nocapture"],
    ),
    step("simulation", &["run", "--quiet", "--package", "sim", "--", "--lives", "10000"]),
    Step {
        name: "real parts",
        args: &[
            "test",
            "--workspace",
            "--test",
            "real",
            "--",
            "--ignored",
            "--skip",
            "node::",
            "--skip",
            "adapter::",
            "--skip",
            "java::",
        ],
        needs: Some(real::python),
    },
    Step {
        name: "real parts of Node",
        args: &["test", "--workspace", "--test", "real", "--", "--ignored", "node::"],
        needs: Some(real::node),
    },
    Step {
        name: "real parts of Java",
        args: &["test", "--package", "extension", "--test", "real", "--", "--ignored", "java::"],
        needs: Some(real::java),
    },
    Step {
        name: "Lambda Web Adapter",
        args: &["test", "--package", "extension", "--test", "real", "--", "--ignored", "adapter::"],
        needs: Some(real::adapter),
    },
    Step {
        name: "browser",
        args: &["test", "--package", "cli", "--test", "browser", "--", "--ignored"],
        needs: Some(real::browser),
    },
    step("docs", &["doc", "--workspace", "--no-deps", "--quiet"]),
    Step {
        name: "release budget",
        args: &["test", "--package", "extension", "--test", "ready", "--", "--nocapture"],
        needs: Some(layer::for_tests),
    },
];

/// Runs the steps whose name contains `only`, or all of them.
pub(crate) fn run(root: &Path, only: Option<&str>, locked: bool) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let begin = Instant::now();
    let mut ran = 0;
    let mut not_run = Vec::new();
    if wanted("house rules") {
        announce("house rules");
        edges::check(root)?;
        tidy::check(root)?;
        ran += 1;
    }
    for step in STEPS.iter().filter(|step| wanted(step.name)) {
        announce(step.name);
        let begin = Instant::now();
        let found = match step.needs.map(|find| find(root)).transpose()?.transpose() {
            Ok(found) => found,
            Err(missing) => {
                eprintln!("      NOT RUN: {missing}");
                not_run.push(format!("{} ({missing})", step.name));
                continue;
            }
        };
        carry_out(root, step, found, locked)?;
        eprintln!("      {}: {:.1} s", step.name, begin.elapsed().as_secs_f64());
        ran += 1;
    }
    if ran == 0 && not_run.is_empty() {
        let names: Vec<_> =
            std::iter::once("house rules").chain(STEPS.iter().map(|step| step.name)).collect();
        bail!("no step is named like {:?}; there are: {}", only.unwrap_or_default(), names.join(", "));
    }
    eprintln!("all {ran} steps passed in {:.0} s", begin.elapsed().as_secs_f64());
    if !not_run.is_empty() {
        eprintln!("NOT RUN: {}", not_run.join("; "));
    }
    Ok(())
}

fn carry_out(root: &Path, step: &Step, found: Option<Found>, locked: bool) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).envs(found);
    if let Some((command, rest)) = step.args.split_first() {
        cargo.arg(command).args((locked && *command != "fmt").then_some("--locked")).args(rest);
    }
    if step.name == "docs" {
        cargo.env("RUSTDOCFLAGS", "-D warnings");
    }
    let line = step.args.join(" ");
    let status = cargo.status().with_context(|| format!("`cargo {line}` could not be started"))?;
    if !status.success() {
        bail!("{} failed: run `cargo xtask test --only '{}'` to see it alone", step.name, step.name);
    }
    Ok(())
}

/// Runs the extension's benchmark with the layer's binary.
pub(crate) fn bench(root: &Path, only: &[String]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).env("AGENT_BINARY", layer::laid_out_here(root)?);
    cargo.args(["bench", "--package", "extension", "--bench", "load", "--"]).args(only);
    if !cargo.status().context("`cargo bench` could not be started")?.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}

fn announce(name: &str) {
    eprintln!("\n----- {name}");
}
