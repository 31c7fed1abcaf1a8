//! `dd-lambda intake`: the local Datadog alone, for an agent that runs elsewhere.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use intake::{RequestView, Settings, State, Violation};

use crate::args::IntakeArgs;
use crate::journal;
use crate::report;
use crate::run::{Stack, interrupted, say};
use crate::terminal::{Paint, columns};

/// How long one wait for a request may be; then comes the next.
const TURN: Duration = Duration::from_secs(3600);

pub(crate) async fn run(args: IntakeArgs) -> anyhow::Result<ExitCode> {
    let settings =
        Settings { keys: args.key.clone(), rate: args.rate.clone(), tls: args.tls, ..Settings::default() };
    let stack = Stack::start_with("intake", ("--page-port", args.page_port), args.port, settings).await?;
    let url = stack.intake.url();
    say("intake", &Paint::stderr().bold(&url));
    say("page", &stack.page_url);
    let mut told = format!("DD_DD_URL={url} DD_APM_DD_URL={url} DD_LOGS_CONFIG_LOGS_DD_URL={url}");
    if let Some(authority) = stack.intake.authority() {
        let path = write(authority, args.ca_out.as_deref())?.display().to_string();
        stack.board.authority(&path);
        told = format!("{told} DD_TLS_CERT_FILE={path}");
    }
    say("settings", &told);
    tokio::select! {
        told = tell(&stack, &args) => told?,
        () = interrupted() => {}
    }
    let store = stack.intake.store();
    if !args.json {
        eprint!("{}", report::all(&store.snapshot(), Paint::stderr(), columns()));
    }
    let counts = store.read(State::counts);
    let wrong = match counts.violations {
        0 => "all as Datadog wants them".to_owned(),
        1 => "1 way in which they are not as Datadog wants them".to_owned(),
        n => format!("{n} ways in which they are not as Datadog wants them"),
    };
    say(
        "received",
        &format!("{} requests, {} of them refused; {wrong}", counts.requests, counts.failed_requests),
    );
    let is_wrong = counts.failed_requests > 0 || counts.violations > 0;
    Ok(if args.strict && is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes what has to be trusted; where it is then.
fn write(authority: &str, path: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => journal::folder(Path::new("."))?.join("ca.pem"),
    };
    std::fs::write(&path, authority).with_context(|| format!("--ca-out {}", path.display()))?;
    path.canonicalize().with_context(|| format!("--ca-out {}", path.display()))
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
        let (requests, violations) = store.read(|state| (state.requests(false), state.violations(None)));
        for request in requests.iter().filter(|request| request.number > told) {
            let of_it: Vec<_> = violations.iter().filter(|one| one.request == request.number).collect();
            line(request, &of_it, args.json)?;
        }
        told = requests.last().map_or(told, |request| request.number);
        if args.requests.is_some_and(|wanted| store.read(State::counts).requests >= wanted) {
            return Ok(());
        }
    }
}

fn line(request: &RequestView, violations: &[&Violation], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let mut line = serde_json::to_value(request).context("standard output")?;
        if let Some(line) = line.as_object_mut() {
            line.insert("violations".to_owned(), serde_json::json!(violations));
        }
        let mut out = std::io::stdout().lock();
        return writeln!(out, "{line}").and_then(|()| out.flush()).context("standard output");
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
    for Violation { rule, field, value, wants, effect, .. } in violations {
        let told = format!("{field} is {value}, not {wants}: {effect}");
        say("", &format!("{} {told}", paint.red(rule)));
    }
    Ok(())
}
