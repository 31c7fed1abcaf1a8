//! The steps of `cargo xtask test`, in the order of what they cost. The first that fails ends the run.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{edges, tidy};

/// A step: its name, and the cargo command that it is. House rules run before these.
const STEPS: &[(&str, &[&str])] = &[
    ("format", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    // The process tests of one crate run binaries of others: these are built first.
    ("build", &["build", "--workspace", "--bins"]),
    ("tests", &["test", "--workspace"]),
    // Once more, to be seen: how many orders of facts were tried.
    ("orders of facts", &["test", "--quiet", "--package", "engine", "--lib", "orders", "--", "--nocapture"]),
    ("docs", &["doc", "--workspace", "--no-deps", "--quiet"]),
    (
        "release budget",
        &["test", "--release", "--package", "extension", "--test", "ready", "--", "--nocapture"],
    ),
];

/// Runs the steps whose name contains `only`, or all of them.
pub(crate) fn run(root: &Path, only: Option<&str>, locked: bool) -> Result<()> {
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let begin = Instant::now();
    let mut ran = 0;
    if wanted("house rules") {
        announce("house rules");
        edges::check(root)?;
        tidy::check(root)?;
        ran += 1;
    }
    for (name, args) in STEPS.iter().filter(|(name, _)| wanted(name)) {
        announce(name);
        let step = Instant::now();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root);
        if let Some((command, rest)) = args.split_first() {
            cargo.arg(command).args((locked && *command != "fmt").then_some("--locked")).args(rest);
        }
        if *name == "docs" {
            cargo.env("RUSTDOCFLAGS", "-D warnings");
        }
        let status =
            cargo.status().with_context(|| format!("`cargo {}` could not be started", args.join(" ")))?;
        if !status.success() {
            bail!("{name} failed: run `cargo {}` to see it alone", args.join(" "));
        }
        eprintln!("      {name}: {:.1} s", step.elapsed().as_secs_f64());
        ran += 1;
    }
    if ran == 0 {
        let names: Vec<_> =
            std::iter::once("house rules").chain(STEPS.iter().map(|(name, _)| *name)).collect();
        bail!("no step is named like {:?}; there are: {}", only.unwrap_or_default(), names.join(", "));
    }
    eprintln!("all {ran} steps passed in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn announce(name: &str) {
    eprintln!("\n----- {name}");
}
