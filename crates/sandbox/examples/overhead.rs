//! What an invocation costs besides what the function does: warm invocations, one after another, of a program that
//! answers at once, from the caller's request to its answer and until the sandbox is frozen again.
//!
//! ```sh
//! cargo build --release -p sandbox && \
//!     cargo run --release -p sandbox --example overhead -- target/release/sandbox-probe
//! ```

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig, What};

const INVOCATIONS: usize = 2000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args().nth(1).ok_or("which program? target/release/sandbox-probe")?;
    let mut out = std::io::stdout().lock();
    for (name, extension) in [("function alone", false), ("function and extension", true)] {
        let mut function = FunctionConfig::new("f", [&program]);
        if extension {
            function = function.extension(&program);
        }
        let lambda = Lambda::start(vec![function], LambdaConfig::default()).await?;
        lambda.invoke("f", "{}".into(), InvokeOptions::default()).await?;
        let (mut answered, mut ready) = (Vec::new(), Vec::new());
        let mut changes = lambda.watch();
        for n in 0..INVOCATIONS {
            while lambda.timeline().iter().rev().take(8).all(|event| event.what != What::Frozen) {
                changes.changed().await?;
            }
            changes.mark_unchanged();
            let began = Instant::now();
            let event = format!("{{\"n\":{n}}}");
            lambda.invoke("f", event.into(), InvokeOptions::default()).await?;
            answered.push(began.elapsed());
            while lambda.timeline().last().is_none_or(|event| event.what != What::Frozen) {
                changes.changed().await?;
            }
            ready.push(began.elapsed());
        }
        lambda.shutdown().await;
        writeln!(out, "{name}: answered {}, frozen again {}", quantiles(answered), quantiles(ready))?;
    }
    Ok(())
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    format!("p50 {:?} p90 {:?} p99 {:?}", at(50), at(90), at(99))
}
