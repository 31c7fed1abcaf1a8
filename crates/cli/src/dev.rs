//! `dd-lambda dev`: runs functions given on the command line, invokes one with an event file, serves the page, builds
//! and swaps a function whose sources change, and keeps what was invoked for `dd-lambda replay`.

use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use sandbox::Lambda;

use crate::args::DevArgs;
use crate::event::read_event;
use crate::function::{Ready, Spec};
use crate::journal::Journal;
use crate::rebuilt::Rebuilt;
use crate::run::{Answer, Board, Stack, follow_from, interrupted, now, say};
use crate::terminal::{Paint, columns};
use crate::units::duration;
use crate::watch::{self, Fingerprint};
use crate::{INTERRUPTED, report, sources, workspace};

pub(crate) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let specs = args.functions.specs();
    let event = event(&args, &specs)?;
    let mappings = sources::open(&args.sources, &specs).await?;
    let folder = std::env::current_dir().context("the current folder")?;
    let ready = Ready::prepare(specs, &folder).await?;
    let stack = Stack::start("dev", args.port).await?;
    let lambda = stack.host_on(ready.configs(&stack.intake, &folder), args.invoke_port).await?;
    introduce(&ready, &stack, &lambda);
    mappings.iter().for_each(|mapping| say("source", &mapping.spec().to_string()));
    let told = Told { json: args.json };
    told.ready(&ready, &stack, &lambda);
    let work = async {
        let answer = invoke(&lambda, event, told).await?;
        if !args.exit {
            say("ready", "invoke it from elsewhere, or press Ctrl-C");
            std::future::pending::<()>().await;
        }
        anyhow::Ok(answer)
    };
    let mut journal = Journal::open(&folder);
    let mut seen = 0;
    let answer = tokio::select! {
        answer = work => answer?,
        () = interrupted() => None,
        never = follow_from(&lambda, &mut seen) => match never {},
        never = keep_fresh((&args, told), &ready, &folder, &lambda, &stack.board) => match never {},
        never = keep(&mut journal, &ready, &lambda) => match never {},
        never = sources::drive(mappings, &lambda, told) => match never {},
    };
    keep_new(&mut journal, &ready, &lambda);
    tokio::select! {
        () = stack.shut_down(&lambda) => {}
        never = follow_from(&lambda, &mut seen) => match never {},
    }
    eprint!("{}", report::all(&stack.intake.store().snapshot(), Paint::stderr(), columns()));
    Ok(match answer {
        Some(answer) if !answer.is_success() => ExitCode::FAILURE,
        None if args.exit => ExitCode::from(INTERRUPTED),
        _ => ExitCode::SUCCESS,
    })
}

fn introduce(ready: &Ready, stack: &Stack, lambda: &Arc<Lambda>) {
    let mut name = "";
    let mut extension = None;
    for (function, program, path) in ready.told() {
        say("function", &format!("{function}  {program}"));
        name = if name.is_empty() { function } else { name };
        extension = extension.or(path);
    }
    match extension {
        Some(path) => say("extension", &path.display().to_string()),
        None => say("extension", "none, but for those of layers"),
    }
    say("intake", &format!("{}  what arrives as JSON: /local/state", stack.intake.url()));
    say("page", &Paint::stderr().bold(&stack.page_url));
    say(
        "invoke",
        &format!(
            "aws lambda invoke --endpoint-url {} --function-name {name} \\\n           \
             --cli-binary-format raw-in-base64-out --payload '{{}}' /dev/stdout",
            lambda.endpoint()
        ),
    );
}

/// Whether what happens is told on standard output, too, as lines of JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    json: bool,
}

impl Told {
    fn ready(self, ready: &Ready, stack: &Stack, lambda: &Lambda) {
        let functions: Vec<&str> = ready.specs().map(|spec| spec.name.as_str()).collect();
        let addresses = serde_json::json!({
            "functions": functions,
            "endpoint": lambda.endpoint(),
            "intake": stack.intake.url(),
            "page": stack.page_url,
        });
        self.line("ready", &addresses);
    }

    /// Whoever reads may have gone away: that changes nothing.
    pub(crate) fn line(self, event: &str, about: &serde_json::Value) {
        if self.json {
            let mut line = serde_json::json!({ "event": event });
            if let (Some(line), Some(about)) = (line.as_object_mut(), about.as_object()) {
                line.extend(about.clone());
            }
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}

/// The answer goes to standard output, alone.
async fn invoke(
    lambda: &Lambda,
    event: Option<(String, String)>,
    told: Told,
) -> anyhow::Result<Option<Answer>> {
    let Some((function, event)) = event else { return Ok(None) };
    let answer = Answer::of(lambda, "event", &function, event).await;
    answer.tell();
    if told.json {
        told.line("invoked", &serde_json::json!({ "answer": answer }));
        return Ok(Some(answer));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", answer.payload).context("standard output")?;
    Ok(Some(answer))
}

impl Answer {
    /// Says on standard error how it went.
    pub(crate) fn tell(&self) {
        let paint = Paint::stderr();
        let mark = match &self.function_error {
            None => paint.green("answered"),
            Some(error) => paint.red(&format!("failed ({error})")),
        };
        say("invoked", &format!("{}  {mark} in {}", self.function, duration(self.took_ns)));
    }
}

/// Which function is invoked with what.
fn event(args: &DevArgs, specs: &[Spec]) -> anyhow::Result<Option<(String, String)>> {
    let Some(path) = &args.event else { return Ok(None) };
    let function = chosen(specs, args.invoke.as_deref())?;
    Ok(Some((function, read_event(path)?)))
}

/// The function that was named, or the first.
pub(crate) fn chosen(specs: &[Spec], name: Option<&str>) -> anyhow::Result<String> {
    let names: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
    match name {
        Some(name) if !names.contains(&name) => {
            bail!("--invoke {name}: there is no such function; there is {}", names.join(", "))
        }
        Some(name) => Ok(name.to_owned()),
        None => Ok(names.first().copied().unwrap_or_default().to_owned()),
    }
}

/// Builds and swaps what changes, for as long as it is polled.
async fn keep_fresh(
    (args, told): (&DevArgs, Told),
    ready: &Ready,
    folder: &Path,
    lambda: &Lambda,
    board: &Board,
) -> Infallible {
    let all = ready.sources(folder).into_iter().map(|(name, package, mut files)| {
        files.extend(args.watch.iter().map(|path| folder.join(path)));
        Fresh { name, package, seen: Fingerprint::of(&files), files }
    });
    let mut all: Vec<_> = if args.no_watch { Vec::new() } else { all.collect() };
    loop {
        let Some((at, path)) = first_change(&mut all).await else { return std::future::pending().await };
        if let Some(function) = all.get_mut(at) {
            function.swap(&path, folder, lambda, board, told).await;
        }
    }
}

/// A function, and its files as they were when it was made.
#[derive(Debug)]
struct Fresh {
    name: String,
    package: Option<String>,
    files: Vec<PathBuf>,
    seen: Fingerprint,
}

/// Which of them changes first, and by which file; `None` when there is nothing to watch.
async fn first_change(all: &mut [Fresh]) -> Option<(usize, PathBuf)> {
    let mut waits: Vec<_> =
        all.iter().map(|function| Box::pin(watch::change(&function.files, &function.seen))).collect();
    if waits.is_empty() {
        return None;
    }
    let (at, (path, now)) = std::future::poll_fn(|cx| {
        for (at, wait) in waits.iter_mut().enumerate() {
            if let std::task::Poll::Ready(change) = wait.as_mut().poll(cx) {
                return std::task::Poll::Ready((at, change));
            }
        }
        std::task::Poll::Pending
    })
    .await;
    drop(waits);
    // As they are before the build: what is edited while it runs is built next.
    all.get_mut(at)?.seen = now;
    Some((at, path))
}

impl Fresh {
    async fn swap(&mut self, path: &Path, folder: &Path, lambda: &Lambda, board: &Board, told: Told) {
        let paint = Paint::stderr();
        let rebuilt = Rebuilt::begun(&self.name, path, now());
        if let Some(package) = &self.package {
            say("building", &format!("{}: {} changed", self.name, path.display()));
            told.line("building", &serde_json::json!({ "function": self.name, "changed": path }));
            board.rebuilt(rebuilt.clone());
            match workspace::build_programs(folder, &[package]).await {
                Ok(built) => {
                    if let Some(built) = built.get(package) {
                        let command = [built.program.to_string_lossy().into_owned()];
                        self.learn(workspace::sources(&command, &built.manifest));
                    }
                }
                Err(why) => {
                    let failed = serde_json::json!({ "function": self.name, "why": format!("{why:#}") });
                    told.line("not_built", &failed);
                    let said = why.downcast_ref::<workspace::NotBuilt>().map(|not| not.messages.clone());
                    let said = said.filter(|said| !said.is_empty()).unwrap_or_else(|| format!("{why:#}"));
                    board.rebuilt(rebuilt.failed(said, now()));
                    say("not built", &paint.red(&format!("{why:#}; {} serves on as it was", self.name)));
                    return;
                }
            }
        }
        if lambda.renew(&self.name).await {
            board.rebuilt(rebuilt.swapped(self.package.is_some(), now()));
            told.line("swapped", &serde_json::json!({ "function": self.name }));
            say(
                "swapped",
                &paint.green(&format!("{}: the next invocation is answered by the new one", self.name)),
            );
        }
    }

    /// Watches sources that are new, too.
    fn learn(&mut self, sources: Vec<PathBuf>) {
        let new: Vec<_> = sources.into_iter().filter(|path| !self.files.contains(path)).collect();
        self.seen.add_all(&new);
        self.files.extend(new);
    }
}

/// Keeps what is invoked, for as long as it is polled.
async fn keep(journal: &mut Journal, ready: &Ready, lambda: &Lambda) -> Infallible {
    let mut changes = lambda.watch();
    loop {
        keep_new(journal, ready, lambda);
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn keep_new(journal: &mut Journal, ready: &Ready, lambda: &Lambda) {
    for invocation in lambda.recorded(journal.last_number()) {
        let spec = ready.specs().find(|spec| spec.name == invocation.function);
        if let Some(spec) = spec {
            journal.add(spec, &invocation);
        }
    }
}
