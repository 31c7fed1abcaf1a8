//! What an invocation costs besides what the function does: warm invocations, one after another, of a program that
//! answers at once, from the caller's request to its answer and until the sandbox is frozen again; and the processor
//! time that this program takes for one, which a busy machine does not change. Fails when that is a millisecond.
//!
//! ```sh
//! cargo build --release -p sandbox && \
//!     cargo run --release -p sandbox --example overhead -- target/release/sandbox-probe
//! ```

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig, What};

const INVOCATIONS: u32 = 2000;
const BUDGET: Duration = Duration::from_millis(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args().nth(1).ok_or("which program? target/release/sandbox-probe")?;
    for (name, extension) in [("function alone", false), ("function and extension", true)] {
        let mut function = FunctionConfig::new("f", [&program]);
        if extension {
            function = function.extension(&program);
        }
        let (answered, frozen, processor) = measure(function).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{name}: processor time of the local Lambda {processor:?} an invocation")?;
        writeln!(out, "    answered {}, frozen again {}", quantiles(answered), quantiles(frozen))?;
        if processor >= BUDGET {
            return Err(format!("more than {BUDGET:?} an invocation").into());
        }
    }
    Ok(())
}

/// How long it took until each answer, and until each freeze; what we needed for one.
async fn measure(
    function: FunctionConfig,
) -> Result<(Vec<Duration>, Vec<Duration>, Duration), Box<dyn Error>> {
    let lambda = Lambda::start(vec![function], LambdaConfig::default()).await?;
    let mut seen = 0;
    lambda.invoke("f", "{}".into(), InvokeOptions::default()).await?;
    until_frozen(&lambda, &mut seen).await?;
    let (mut answered, mut frozen) = (Vec::new(), Vec::new());
    let before = processor_time()?;
    for n in 0..INVOCATIONS {
        let began = Instant::now();
        let event = format!("{{\"n\":{n}}}");
        lambda.invoke("f", event.into(), InvokeOptions::default()).await?;
        answered.push(began.elapsed());
        until_frozen(&lambda, &mut seen).await?;
        frozen.push(began.elapsed());
    }
    let processor = processor_time()?.saturating_sub(before) / INVOCATIONS;
    lambda.shutdown().await;
    Ok((answered, frozen, processor))
}

async fn until_frozen(lambda: &Lambda, seen: &mut u64) -> Result<(), Box<dyn Error>> {
    let mut changes = lambda.watch();
    loop {
        let events = lambda.timeline_after(*seen);
        *seen += events.len() as u64;
        if events.iter().any(|event| event.what == What::Frozen) {
            return Ok(());
        }
        changes.wait_for(|count| count > seen).await?;
    }
}

/// What the kernel counts of all threads of this process.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += Duration::from_nanos(stat.split(' ').next().unwrap_or_default().parse()?);
    }
    Ok(total)
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    format!("fastest {:?} p10 {:?} p50 {:?} p99 {:?}", at(0), at(10), at(50), at(99))
}
