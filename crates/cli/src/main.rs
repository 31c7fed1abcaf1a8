//! `dd-lambda`: run Lambda functions with their extension on your own machine, and see what Datadog would see.
//! Here only: arguments in, exit status out. Status 0: done; 1: it did not work out, and standard error says
//! what and why; 2: wrong arguments; 130: interrupted before the end.

mod args;
mod callers;
mod demo;
mod dev;
mod doctor;
mod environment;
mod event;
mod function;
mod intake_alone;
mod invoke;
mod journal;
mod layers;
mod mode;
mod page;
mod rebuilt;
mod report;
mod run;
mod samples;
mod scenario;
mod sources;
mod temporary;
mod terminal;
mod units;
mod watch;
mod workspace;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Args, Command};
use crate::terminal::Paint;

const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse_from(args::without_separator(std::env::args_os()));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&anyhow::Error::new(why).context("cannot start threads")),
    };
    let work = async {
        match args.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Invoke(args) => invoke::run(args).await,
            Command::Replay(args) => invoke::replay(args).await,
            Command::Run(args) => scenario::run(args).await,
            Command::Intake(args) => intake_alone::run(args).await,
            Command::Doctor(args) => doctor::run(&args),
            Command::Completions(args) => {
                let mut command = Args::command();
                clap_complete::generate(args.shell, &mut command, "dd-lambda", &mut std::io::stdout());
                Ok(ExitCode::SUCCESS)
            }
            Command::Inside => Ok(sandbox::inside()),
        }
    };
    runtime.block_on(work).unwrap_or_else(|why| failed(&why))
}

fn failed(why: &anyhow::Error) -> ExitCode {
    let paint = Paint::stderr();
    eprintln!("{}: {why:#}", paint.red("error"));
    ExitCode::FAILURE
}
