//! `dd-lambda intake`: the local Datadog alone, for an agent that runs elsewhere.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use intake::{RequestView, State};

use crate::args::IntakeArgs;
use crate::report;
use crate::run::{Stack, interrupted, say};
use crate::terminal::{Paint, columns};

/// How long one wait for a request may be; then comes the next.
const TURN: Duration = Duration::from_secs(3600);

pub(crate) async fn run(args: IntakeArgs) -> anyhow::Result<ExitCode> {
    let stack = Stack::start_with("intake", args.page_port, args.port).await?;
    let url = stack.intake.url();
    say("intake", &Paint::stderr().bold(&url));
    say("page", &stack.page_url);
    say("settings", &format!("DD_DD_URL={url} DD_APM_DD_URL={url} DD_LOGS_CONFIG_LOGS_DD_URL={url}"));
    tokio::select! {
        told = tell(&stack, &args) => told?,
        () = interrupted() => {}
    }
    let store = stack.intake.store();
    if !args.json {
        eprint!("{}", report::all(&store.snapshot(), Paint::stderr(), columns()));
    }
    let counts = store.read(State::counts);
    say("received", &format!("{} requests, {} of them refused", counts.requests, counts.failed_requests));
    Ok(if args.strict && counts.failed_requests > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tells of each request, until there were as many as asked for.
async fn tell(stack: &Stack, args: &IntakeArgs) -> anyhow::Result<()> {
    let store = stack.intake.store();
    let mut told = 0;
    loop {
        let news = |state: &State| state.requests(false).last().is_some_and(|request| request.number > told);
        if !store.wait_until(news, Instant::now() + TURN).await {
            continue;
        }
        for request in
            store.read(|state| state.requests(false)).iter().filter(|request| request.number > told)
        {
            line(request, args.json)?;
        }
        told = store.read(|state| state.requests(false).last().map_or(told, |request| request.number));
        if args.requests.is_some_and(|wanted| store.read(State::counts).requests >= wanted) {
            return Ok(());
        }
    }
}

fn line(request: &RequestView, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, request).context("standard output")?;
        return writeln!(out).and_then(|()| out.flush()).context("standard output");
    }
    let paint = Paint::stderr();
    let status = request.status.map_or("-".to_owned(), |status| status.to_string());
    let text = format!(
        "{} {}  {} items, {} bytes",
        request.method, request.path, request.items, request.encoded_bytes
    );
    match &request.error {
        None => say(&status, &text),
        Some(why) => say(&status, &format!("{text}  {}", paint.red(why))),
    }
    Ok(())
}
