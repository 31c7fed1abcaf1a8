//! Plays a scenario: starts what it names, sends its events, ends the sandboxes, waits for the last arrivals, and
//! tells what is not as expected.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use intake::Snapshot;
use model::Record;
use sandbox::{InvocationType, InvokeOptions, Lambda, TimelineEvent, What};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::check::{self, Failure};
use super::{Event, EventType, Scenario};
use crate::args::RunArgs;
use crate::callers::Caller;
use crate::function::Ready;
use crate::run::{Answer, Invocation, Stack, follow, interrupted, now, say};
use crate::terminal::{Paint, columns};
use crate::units::duration;
use crate::{INTERRUPTED, report, samples};

/// All events of a scenario, if it does not say.
const LIMIT: Duration = Duration::from_secs(120);
/// What is on its way when the sandboxes are gone.
const LAST_ARRIVALS: Duration = Duration::from_secs(2);
/// Wrong arguments, or a scenario that is none.
const USAGE: u8 = 2;

pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut status = ExitCode::SUCCESS;
    for path in &args.scenarios {
        let scenario = match Scenario::read(path) {
            Ok(scenario) => scenario,
            Err(why) => {
                say("scenario", &Paint::stderr().red(&format!("{why:#}")));
                return Ok(ExitCode::from(USAGE));
            }
        };
        let outcome = tokio::select! {
            outcome = scenario.play(path, args.verbose) => outcome?,
            () = interrupted() => return Ok(ExitCode::from(INTERRUPTED)),
        };
        show(&args, path, &scenario, &outcome)?;
        if !outcome.failures.is_empty() {
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

#[derive(Debug)]
struct Outcome {
    failures: Vec<Failure>,
    answers: Vec<Answer>,
    invocations: Vec<Invocation>,
    received: Snapshot,
    took: Duration,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    scenario: String,
    title: &'a str,
    passed: bool,
    failures: &'a [Failure],
    answers: &'a [Answer],
    invocations: &'a [Invocation],
    #[serde(flatten)]
    received: &'a Snapshot,
}

impl Scenario {
    async fn play(&self, path: &Path, verbose: bool) -> anyhow::Result<Outcome> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).canonicalize().context("the scenario's folder")?;
        let events =
            self.events.iter().map(|event| event.text(&folder)).collect::<anyhow::Result<Vec<_>>>()?;
        let ready = Ready::prepare(self.specs(), &folder).await?;
        let began = Instant::now();
        let deadline = began + self.timeout.map_or(LIMIT, |length| length.0);
        let stack = Stack::start("run", 0).await?;
        self.faults()?.into_iter().for_each(|(fault, place)| stack.intake.fail_where(fault, place));
        let lambda = stack.host(ready.configs(&stack.intake, &folder)).await?;
        let (mut failures, mut answers) = (Vec::new(), Vec::new());
        let work = async {
            for (event, text) in self.events.iter().zip(events) {
                let came = tokio::time::timeout_at(deadline.into(), self.send(event, text, &stack, &lambda));
                let Ok(came) = came.await else {
                    failures.push(Failure {
                        expected: format!("{} within the scenario's time", event.label(self)),
                        found: format!("not done after {}", nanos(began.elapsed())),
                        closest: Vec::new(),
                    });
                    break;
                };
                failures.extend(came.iter().flat_map(|answer| check::answer(&event.expect, answer)));
                answers.extend(came);
            }
            let open = self.events_of(EventType::Async, &answers);
            let all_over = async { tokio::join!(over(&lambda, open), lambda.events_are_over()) };
            let _ = tokio::time::timeout_at(deadline.into(), all_over).await;
            stack.shut_down(&lambda).await;
            let holds =
                |received: &Snapshot| check::received(&self.expect, received, &lambda.timeline()).is_empty();
            let last = Instant::now() + LAST_ARRIVALS;
            stack.intake.store().wait_until(|state| holds(&state.snapshot()), last).await;
        };
        if verbose {
            tokio::select! {
                () = work => {}
                never = follow(&lambda) => match never {},
            }
        } else {
            work.await;
        }
        let received = stack.intake.store().snapshot();
        let timeline: Vec<TimelineEvent> = lambda.timeline();
        failures.extend(check::received(&self.expect, &received, &timeline));
        let invocations = stack.board.run().invocations;
        Ok(Outcome { failures, answers, invocations, received, took: began.elapsed() })
    }

    /// Request ids of the events of this kind that were taken.
    fn events_of(&self, kind: EventType, answers: &[Answer]) -> Vec<String> {
        let kinds = self.events.iter().flat_map(|event| std::iter::repeat_n(event.kind, event.times));
        let of_kind = kinds.zip(answers).filter(|(k, _)| *k == kind);
        of_kind.filter_map(|(_, answer)| answer.request_id.clone()).collect()
    }

    /// Sends one event as often as it says, and gives the answers in the order in which they were asked for.
    async fn send(&self, event: &Event, text: String, stack: &Stack, lambda: &Arc<Lambda>) -> Vec<Answer> {
        if let Some(wait) = event.wait {
            tokio::time::sleep(wait.0).await;
        }
        let (function, label) = (self.function_of(event).to_owned(), event.label(self));
        let (gate, mut open) = (Arc::new(Semaphore::new(event.concurrency)), JoinSet::new());
        for n in 0..event.times {
            let (text, caller) = match &event.sample {
                Some(name) => {
                    let (now, caller) = (now(), Caller::of_sample(now()));
                    (samples::event(name, &caller, now).unwrap_or_default(), Some(caller))
                }
                None => (text.clone(), None),
            };
            let options = InvokeOptions {
                invocation_type: match event.kind {
                    EventType::Sync => InvocationType::RequestResponse,
                    EventType::Async => InvocationType::Event,
                    EventType::DryRun => InvocationType::DryRun,
                },
                cognito_identity: event.cognito_identity.clone(),
                client_context: event.client_context.clone(),
                tenant_id: event.tenant_id.clone(),
                ..InvokeOptions::default()
            };
            let (lambda, gate) = (lambda.clone(), gate.clone());
            let (label, function, store) = (label.clone(), function.clone(), stack.intake.store().clone());
            open.spawn(async move {
                let _turn = gate.acquire().await;
                let start = now();
                let answer = Answer::with(&lambda, &label, &function, text, options).await;
                if let Some(caller) = caller {
                    store.add(caller.span(start, Duration::from_nanos(answer.took_ns)));
                }
                (n, answer)
            });
        }
        let mut came: Vec<_> = open.join_all().await;
        came.sort_by_key(|(n, _)| *n);
        came.into_iter().map(|(_, answer)| answer).collect()
    }
}

impl Event {
    fn text(&self, folder: &Path) -> anyhow::Result<String> {
        match (&self.json, &self.file) {
            (Some(json), _) => Ok(json.clone()),
            (None, Some(file)) => {
                let path = folder.join(file);
                std::fs::read_to_string(&path).with_context(|| format!("event {}", path.display()))
            }
            (None, None) => Ok("{}".to_owned()),
        }
    }
}

/// Waits until each of these invocations was reported at least once.
async fn over(lambda: &Lambda, mut open: Vec<String>) {
    let mut changes = lambda.watch();
    loop {
        for event in lambda.timeline() {
            if let What::Record(Record::Report(report)) = &event.what {
                open.retain(|id| id != report.request_id.as_str());
            }
        }
        if open.is_empty() || changes.changed().await.is_err() {
            return;
        }
    }
}

fn nanos(time: Duration) -> String {
    duration(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn show(args: &RunArgs, path: &Path, scenario: &Scenario, outcome: &Outcome) -> anyhow::Result<()> {
    let Outcome { failures, answers, invocations, received, took } = outcome;
    let paint = Paint::stderr();
    if args.json {
        let document = Document {
            scenario: path.display().to_string(),
            title: &scenario.title,
            passed: failures.is_empty(),
            failures,
            answers,
            invocations,
            received,
        };
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &document).context("standard output")?;
        writeln!(out).and_then(|()| out.flush()).context("standard output")?;
    } else if !failures.is_empty() {
        eprint!("{}", report::all(received, paint, columns()));
        eprintln!();
    }
    for failure in failures {
        say("not so", &format!("{} {}", paint.red(&format!("{}:", failure.expected)), failure.found));
        let mut closest = failure.closest.iter();
        if let Some(label) = closest.next() {
            eprintln!("{:>10}   closest is {label}", "");
        }
        for difference in closest {
            eprintln!("{:>10}     {}", "", paint.dim(difference));
        }
    }
    let name = if scenario.title.is_empty() { path.display().to_string() } else { scenario.title.clone() };
    let figures = format!(
        "{} answers, {} spans, {} log lines, {} metric points in {}",
        answers.len(),
        received.counts.spans,
        received.counts.logs,
        received.counts.points,
        nanos(*took)
    );
    match failures.len() {
        0 => say("passed", &format!("{}  {}", paint.green(&name), paint.dim(&figures))),
        n => say("failed", &format!("{}  {n} not as expected; {}", paint.red(&name), paint.dim(&figures))),
    }
    Ok(())
}
