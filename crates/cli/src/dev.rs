//! `dd-lambda dev`: runs functions given on the command line, invokes one with an event file, serves the page.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use sandbox::{FunctionConfig, Lambda};

use crate::args::DevArgs;
use crate::run::{Answer, Stack, follow, interrupted, say};
use crate::terminal::{Paint, columns};
use crate::units::duration;
use crate::{INTERRUPTED, environment, report};

const AGENT: &str = "datadog-agent";
/// Largest event that Lambda takes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_EVENT_BYTES: u64 = 6 << 20;

pub(crate) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let event = read_event(&args)?;
    let extension = extension(&args)?;
    let stack = Stack::start("dev", args.port).await?;
    let functions = args.functions.iter().map(|(name, path)| {
        let function = FunctionConfig::new(name, [path.to_string_lossy()]).timeout(args.timeout);
        let function = environment::connect(function, extension.as_deref(), &stack.intake);
        args.env.iter().fold(function, |function, (name, value)| function.env(name, value))
    });
    let lambda = stack.host(functions.collect()).await?;
    introduce(&args, &stack, &lambda, extension.as_deref());
    let work = async {
        let answer = invoke(&lambda, event).await?;
        if !args.exit {
            say("ready", "invoke it from elsewhere, or press Ctrl-C");
            std::future::pending::<()>().await;
        }
        anyhow::Ok(answer)
    };
    let answer = tokio::select! {
        answer = work => answer?,
        () = interrupted() => None,
        never = follow(&lambda) => match never {},
    };
    tokio::select! {
        () = stack.shut_down(&lambda) => {}
        never = follow(&lambda) => match never {},
    }
    eprint!("{}", report::all(&stack.intake.store().snapshot(), Paint::stderr(), columns()));
    Ok(match answer {
        Some(answer) if !answer.is_success() => ExitCode::FAILURE,
        None if args.exit => ExitCode::from(INTERRUPTED),
        _ => ExitCode::SUCCESS,
    })
}

fn introduce(args: &DevArgs, stack: &Stack, lambda: &Arc<Lambda>, extension: Option<&Path>) {
    for (name, path) in &args.functions {
        say("function", &format!("{name}  {}", path.display()));
    }
    match extension {
        Some(path) => say("extension", &path.display().to_string()),
        None => say("extension", "none: nothing will be sent"),
    }
    say("page", &Paint::stderr().bold(&stack.page_url));
    let name = args.functions.first().map(|(name, _)| name.as_str()).unwrap_or_default();
    say(
        "invoke",
        &format!(
            "aws lambda invoke --endpoint-url {} --function-name {name} \\\n           \
             --cli-binary-format raw-in-base64-out --payload '{{}}' /dev/stdout",
            lambda.endpoint()
        ),
    );
}

/// The answer goes to standard output, alone.
async fn invoke(lambda: &Lambda, event: Option<(String, String)>) -> anyhow::Result<Option<Answer>> {
    let Some((function, event)) = event else { return Ok(None) };
    let answer = Answer::of(lambda, "event", &function, event).await;
    let paint = Paint::stderr();
    let mark = match &answer.function_error {
        None => paint.green("answered"),
        Some(error) => paint.red(&format!("failed ({error})")),
    };
    say("invoked", &format!("{function}  {mark} in {}", duration(answer.took_ns)));
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", answer.payload).context("standard output")?;
    Ok(Some(answer))
}

/// Which function is invoked with what.
fn read_event(args: &DevArgs) -> anyhow::Result<Option<(String, String)>> {
    let Some(path) = &args.event else { return Ok(None) };
    let names: Vec<_> = args.functions.iter().map(|(name, _)| name.as_str()).collect();
    let function = match args.invoke.as_deref() {
        Some(name) if !names.contains(&name) => {
            bail!("--invoke {name}: there is no such function; there is {}", names.join(", "));
        }
        Some(name) => name,
        None => names.first().copied().unwrap_or_default(),
    };
    let mut event = String::new();
    let file: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("--event {}", path.display()))?)
    };
    let read = file.take(MAX_EVENT_BYTES + 1).read_to_string(&mut event);
    let size = read.with_context(|| format!("--event {}", path.display()))?;
    if size as u64 > MAX_EVENT_BYTES {
        bail!("--event {}: Lambda takes events of up to {MAX_EVENT_BYTES} bytes", path.display());
    }
    if let Err(why) = serde_json::from_str::<serde::de::IgnoredAny>(&event) {
        bail!("--event {} is not JSON: {why}", path.display());
    }
    Ok(Some((function.to_owned(), event)))
}

/// The extension that was named, or the one beside this program.
fn extension(args: &DevArgs) -> anyhow::Result<Option<PathBuf>> {
    if args.no_extension {
        return Ok(None);
    }
    let path = match &args.extension {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("where this program is")?.with_file_name(AGENT),
    };
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(Some(path)),
        _ => bail!(
            "no extension at {}: build it with `cargo build -p extension`, name it with --extension, or do without \
             it with --no-extension",
            path.display()
        ),
    }
}
