//! Whole lives of the extension in no time. The engine and Lambda's own state machine are the real ones; the
//! function, its library, the network and the intake are made up, all from one seed. Each life is watched for
//! what must always hold ([`ledger`]), and a seed that breaks it can be lived again, with its story printed:
//!
//! `cargo run -p sim -- --seed 42`

mod dice;
mod extension;
mod ledger;
mod life;
mod plan;
mod script;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

/// Lives of the extension, made up from seeds, watched for what must always hold.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Live this one life and print its story.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of the seeds.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many lives.
    #[arg(long, default_value_t = 1000)]
    lives: u64,
    /// Go on for so many seconds instead.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let end = life::live(seed, true);
        eprintln!("{}", end.story.join("\n"));
        return verdict(seed, &end);
    }
    let (begin, mut lives, mut invocations) = (Instant::now(), 0, 0);
    let goes_on = |lives| match args.seconds {
        Some(seconds) => begin.elapsed() < Duration::from_secs(seconds),
        None => lives < args.lives,
    };
    while goes_on(lives) {
        let seed = args.from + lives;
        let end = life::live(seed, false);
        let again = (lives % 16 == 0).then(|| life::live(seed, false));
        if verdict(seed, &end) == ExitCode::FAILURE {
            return ExitCode::FAILURE;
        }
        if again.is_some_and(|again| again.digest != end.digest) {
            eprintln!("seed {seed}: two lives of one seed differ");
            return ExitCode::FAILURE;
        }
        lives += 1;
        invocations += end.invocations;
    }
    eprintln!(
        "{lives} lives from seed {}, {invocations} invocations, {:.1} s: nothing broken",
        args.from,
        begin.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}

fn verdict(seed: u64, end: &life::End) -> ExitCode {
    if end.broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("seed {seed} breaks:\n  {}", end.broken.join("\n  "));
    eprintln!("see it with: cargo run -p sim -- --seed {seed}");
    ExitCode::FAILURE
}
