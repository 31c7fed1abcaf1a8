//! `dd-lambda invoke` and `dd-lambda replay`: one invocation, its answer, its log and its traces.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use intake::Snapshot;
use sandbox::InvokeOptions;
use serde::Serialize;

use crate::args::{InvokeArgs, ReplayArgs};
use crate::callers::Caller;
use crate::dev::chosen;
use crate::event::read_event;
use crate::function::{Ready, Spec};
use crate::journal::{self, Entry};
use crate::run::{Answer, Stack, follow, interrupted, now, say};
use crate::terminal::{Paint, columns};
use crate::{INTERRUPTED, report, samples};

pub(crate) async fn run(args: InvokeArgs) -> anyhow::Result<ExitCode> {
    if args.samples {
        let mut out = std::io::stdout().lock();
        if args.json {
            let names: Vec<&str> = samples::names().collect();
            serde_json::to_writer(&mut out, &names).context("standard output")?;
            return writeln!(out).map(|()| ExitCode::SUCCESS).context("standard output");
        }
        samples::names().try_for_each(|name| writeln!(out, "{name}")).context("standard output")?;
        return Ok(ExitCode::SUCCESS);
    }
    let caller = Caller::of_sample(now());
    let (event, caller) = match (&args.sample, &args.event) {
        (Some(name), _) => {
            let event = samples::event(name, &caller, now()).with_context(|| {
                let meant = samples::closest(name).map(|meant| format!(" (is {meant} meant?)"));
                let meant = meant.unwrap_or_default();
                format!(
                    "--sample {name}: there is no such event{meant}; `dd-lambda invoke --samples` lists them"
                )
            })?;
            (event, Some(caller))
        }
        (None, Some(path)) => (read_event(path)?, None),
        (None, None) => ("{}".to_owned(), None),
    };
    if args.show_event {
        return print(&event);
    }
    let specs = args.functions.specs();
    if specs.is_empty() {
        bail!("which function? Name it with --function NAME=PROGRAM or --package PACKAGE");
    }
    let function = chosen(&specs, args.invoke.as_deref())?;
    let folder = std::env::current_dir().context("the current folder")?;
    let call = args.sample.as_deref().unwrap_or("event").to_owned();
    let order = Order { call, function, event, options: InvokeOptions::default(), caller };
    order.carry_out(specs, &folder, args.json).await
}

pub(crate) async fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let folder = args.folder.canonicalize().with_context(|| format!("--folder {}", args.folder.display()))?;
    let entries = journal::entries(&folder)?;
    if args.list {
        return list(&entries, args.json);
    }
    let of_id = |entry: &&Entry| args.id.as_ref().is_none_or(|id| entry.request_id.starts_with(id.as_str()));
    let entry = entries.iter().rfind(of_id).context(match &args.id {
        Some(id) => format!("no recorded invocation begins with {id}: `dd-lambda replay --list` lists them"),
        None => "no invocation was recorded yet".to_owned(),
    })?;
    if args.event {
        return print(&entry.event);
    }
    let order = Order {
        call: entry.request_id.clone(),
        function: entry.function.name.clone(),
        event: entry.event.clone(),
        options: InvokeOptions {
            client_context: entry.client_context.clone(),
            trace_header: Some(entry.trace_header.clone()),
            tenant_id: entry.tenant_id.clone(),
            ..InvokeOptions::default()
        },
        caller: None,
    };
    order.carry_out(vec![entry.function.clone()], &folder, args.json).await
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn list(entries: &[Entry], as_json: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for Entry { request_id, time, function, event, .. } in entries {
        let written = if as_json {
            let line = serde_json::json!({ "request_id": request_id, "time": time, "function": function.name, "event": event });
            writeln!(out, "{line}")
        } else {
            let event: String =
                event.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
            writeln!(out, "{request_id}  {time}  {:<16} {event}", function.name)
        };
        written.context("standard output")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One invocation to be made.
struct Order {
    call: String,
    function: String,
    event: String,
    options: InvokeOptions,
    caller: Option<Caller>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    answer: &'a Answer,
    event: &'a str,
    #[serde(flatten)]
    received: &'a Snapshot,
}

impl Order {
    async fn carry_out(self, specs: Vec<Spec>, folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
        let ready = Ready::prepare(specs, folder).await?;
        let stack = Stack::start("invoke", 0).await?;
        let lambda = stack.host(ready.configs(&stack.intake, folder)).await?;
        let options = InvokeOptions { log_tail: true, ..self.options };
        let work = async {
            let start = now();
            let answer = Answer::with(&lambda, &self.call, &self.function, self.event.clone(), options).await;
            if let Some(caller) = &self.caller {
                stack.intake.store().add(caller.span(start, Duration::from_nanos(answer.took_ns)));
            }
            stack.shut_down(&lambda).await;
            answer
        };
        let answer = tokio::select! {
            answer = work => answer,
            () = interrupted() => return Ok(ExitCode::from(INTERRUPTED)),
            never = follow(&lambda) => match never {},
        };
        show(&answer, &self.event, &stack.intake.store().snapshot(), json)?;
        Ok(if answer.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(answer: &Answer, event: &str, received: &Snapshot, json: bool) -> anyhow::Result<()> {
    answer.tell();
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &Document { answer, event, received }).context("standard output")?;
        return writeln!(out).and_then(|()| out.flush()).context("standard output");
    }
    let paint = Paint::stderr();
    if let Some(log) = answer.log_tail.as_deref().filter(|log| !log.is_empty()) {
        say("log", &paint.dim("its end, as Lambda gives it to callers"));
        log.lines().for_each(|line| eprintln!("{:>10} {line}", ""));
    }
    eprint!("{}", report::all(received, paint, columns()));
    writeln!(out, "{}", answer.payload).and_then(|()| out.flush()).context("standard output")
}
