//! Repo automation. `cargo xtask test` is the one command that decides whether a change is good: what
//! `.ci/run` calls and what a contributor types.

mod edges;
mod layer;
mod link;
mod musl;
mod order;
mod real;
mod steps;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Automation for this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and every test: house rules, formatting, lints, tests, the release budget.
    Test {
        /// Run only the steps whose name contains this text; names are printed as they run.
        #[arg(long)]
        only: Option<String>,
    },
    /// The same as `test`, with Cargo.lock held fixed.
    Ci,
    /// Build the extension as a static binary and pack it as a Lambda layer, in target/layer.
    Layer {
        /// As Lambda names it: x86_64 or arm64.
        #[arg(long, default_value = "x86_64")]
        arch: String,
    },
    /// Measure the extension under load, in a release build, and print the figures of docs/performance.md.
    Bench {
        /// Only those whose name contains one of these: traces, datagrams, invocations.
        only: Vec<String>,
    },
    /// Find out which functions run in every sandbox, so that they lie together in the layer's binary. Needs valgrind.
    Order,
    /// Check the house rules alone: crate edges, file lengths, and what must not be written.
    Tidy,
}

fn main() -> ExitCode {
    let root = root();
    let result = match Args::parse().command {
        Command::Test { only } => steps::run(&root, only.as_deref(), false),
        Command::Ci => steps::run(&root, None, true),
        Command::Layer { arch } => layer::build(&root, &arch),
        Command::Bench { only } => steps::bench(&root, &only),
        Command::Order => order::make(&root),
        Command::Tidy => tidy::check(&root).and_then(|()| edges::check(&root)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace: two folders above this crate.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf()
}
