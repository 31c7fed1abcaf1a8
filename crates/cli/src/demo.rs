//! `dd-lambda demo`: builds the examples, runs them, sends events, shows what came out.

mod events;
mod expected;

use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use intake::{Snapshot, State};
use model::UnixNanos;
use sandbox::{FunctionConfig, Lambda};
use serde::Serialize;

use crate::args::DemoArgs;
use crate::callers::Caller;
use crate::demo::expected::{API, Missing, Sent, WORKER, expected};
use crate::run::{Answer, Stack, interrupted, is_watched, now, say};
use crate::terminal::{Paint, columns};
use crate::units::duration;
use crate::{INTERRUPTED, environment, report, workspace};

/// All of it, once it is built.
const LIMIT: Duration = Duration::from_secs(50);
/// What is on its way when the sandboxes are gone.
const LAST_ARRIVALS: Duration = Duration::from_secs(2);
const AGENT: &str = "datadog-agent";

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let (stack, outcome) = tokio::select! {
        done = demo(&args) => done?,
        () = interrupted() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    show(&args, &outcome)?;
    if !args.exit && is_watched() {
        say("page", &format!("{}  until Ctrl-C", Paint::stderr().bold(&stack.page_url)));
        interrupted().await;
    }
    Ok(if outcome.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of it.
#[derive(Debug)]
struct Outcome {
    missing: Vec<Missing>,
    answers: Vec<Answer>,
    received: Snapshot,
}

/// What `--json` prints: the verdict and the answers before all that the intake received.
#[derive(Debug, Serialize)]
struct Document<'a> {
    complete: bool,
    missing: &'a [Missing],
    answers: &'a [Answer],
    #[serde(flatten)]
    received: &'a Snapshot,
}

async fn demo(args: &DemoArgs) -> anyhow::Result<(Stack, Outcome)> {
    let root = workspace::find()?;
    say("building", "the extension and two functions (the first time takes a while)");
    let built = workspace::build(&root, &["extension", API, WORKER]).await?;
    let program = |name| workspace::program(&built, name);
    let (agent, api, worker) = (program(AGENT)?, program(API)?, program(WORKER)?);

    let deadline = Instant::now() + LIMIT;
    let stack = Stack::start("demo", args.port).await?;
    let function = |name: &str, path: &Path| {
        let function = FunctionConfig::new(name, [path.to_string_lossy()]).timeout(Duration::from_secs(10));
        environment::connect(function, Some(&agent), &stack.intake)
    };
    let api = function(API, &api).env("ORDERS_WORKER", WORKER);
    let lambda = stack.host(vec![api, function(WORKER, &worker)]).await?;
    say("lambda", &format!("{}  (aws lambda invoke --endpoint-url …)", lambda.endpoint()));
    say("intake", &format!("{}/local/state", stack.intake.url()));
    say("page", &Paint::stderr().bold(&stack.page_url));
    let outcome = tokio::select! {
        outcome = drive(&stack, lambda, deadline) => outcome,
        never = kill(&stack, args.kill_intake_after, deadline) => match never {},
    };
    Ok((stack, outcome))
}

/// Takes the intake away once it has taken so many requests.
async fn kill(stack: &Stack, requests: Option<u64>, deadline: Instant) -> Infallible {
    if let Some(requests) = requests {
        stack.intake.store().wait_until(|state| state.counts().requests >= requests, deadline).await;
        stack.intake.stop();
        say("intake", &Paint::stderr().red("killed, as asked for"));
    }
    std::future::pending().await
}

/// Sends the events, ends the sandboxes, waits for the last arrivals.
async fn drive(stack: &Stack, lambda: Arc<Lambda>, deadline: Instant) -> Outcome {
    let mut answers = Vec::new();
    let now = now();
    let [first, second] = ["checkout", "subscriptions"]
        .map(|service| Caller::of_message(service, "SendMessage orders-queue", now));
    let shop = Caller::over_http("web-shop", "POST /orders", now);
    let mut sent = Sent { shop, producers: [first, second], request_ids: [None, None, None] };
    let calls = tokio::time::timeout_at(deadline.into(), call(stack, &lambda, &sent, &mut answers)).await;
    for (id, answer) in sent.request_ids.iter_mut().zip(&answers) {
        id.clone_from(&answer.request_id);
    }
    stack.shut_down(&lambda).await;
    let complete = |state: &State| expected(&state.snapshot(), &sent).is_empty();
    stack.intake.store().wait_until(complete, deadline.min(Instant::now() + LAST_ARRIVALS)).await;
    let received = stack.intake.store().snapshot();
    let mut missing = wrong_answers(&answers);
    if calls.is_err() {
        missing.push(Missing::new(format!("the demo was not done within {} s", LIMIT.as_secs())));
    }
    missing.extend(expected(&received, &sent));
    stack.board.verdict(missing.iter().map(ToString::to_string).collect());
    Outcome { missing, answers, received }
}

/// One HTTP request, one batch of messages, one order that fails; and what their callers' agents would send.
async fn call(stack: &Stack, lambda: &Lambda, sent: &Sent, answers: &mut Vec<Answer>) {
    let store = stack.intake.store();
    let mut done = |answer: Answer| {
        let paint = Paint::stderr();
        let mark = if answer.is_success() { paint.green("answered") } else { paint.red("failed") };
        say(
            "invoked",
            &format!("{:<14} {:<34} {mark} in {}", answer.function, answer.call, duration(answer.took_ns)),
        );
        answers.push(answer);
    };
    // Lambda's times have milliseconds: so has the caller's, that it is not later than what follows it.
    let start = UnixNanos::from_millis(now().as_millis());
    let answer = Answer::of(lambda, "POST /orders", API, events::http(&sent.shop, start)).await;
    store.add(sent.shop.span(start, now().since(start)));
    done(answer);

    let start = now();
    for (n, producer) in (0..).zip(&sent.producers) {
        store.add(producer.span(start - events::message_age(n), Duration::from_millis(3)));
    }
    done(Answer::of(lambda, "two queue messages", WORKER, events::messages(&sent.producers, start)).await);
    done(Answer::of(lambda, "an order that is told to fail", WORKER, events::bad_order()).await);
}

/// The functions answer the same whatever becomes of their telemetry.
fn wrong_answers(answers: &[Answer]) -> Vec<Missing> {
    let wrong = answers.iter().enumerate().filter(|(n, answer)| answer.is_success() != (*n != 2));
    let sentence = |answer: &Answer| {
        let (function, call, payload) = (&answer.function, &answer.call, &answer.payload);
        Missing::new(format!(
            "{function}, {call}: answered {} {payload}, which is not as it should be",
            answer.status
        ))
    };
    wrong.map(|(_, answer)| sentence(answer)).collect()
}

fn show(args: &DemoArgs, outcome: &Outcome) -> anyhow::Result<()> {
    let Outcome { missing, answers, received } = outcome;
    let mut out = std::io::stdout().lock();
    if args.json {
        let document = Document { complete: missing.is_empty(), missing, answers, received };
        serde_json::to_writer(&mut out, &document).context("standard output")?;
        writeln!(out).context("standard output")?;
    } else {
        out.write_all(report::all(received, Paint::stdout(), columns()).as_bytes())
            .context("standard output")?;
    }
    out.flush().context("standard output")?;
    let paint = Paint::stderr();
    for sentence in missing {
        say("missing", &paint.red(&sentence.to_string()));
    }
    if missing.is_empty() {
        say("complete", &paint.green("every span, log line and metric arrived"));
    }
    Ok(())
}
