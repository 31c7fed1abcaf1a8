//! What `demo` and `dev` share: a local Datadog, a local Lambda, and the page that shows both.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use intake::{Intake, Settings};
use model::{InitializationType, Record, UnixNanos};
use sandbox::{
    FunctionConfig, InvokeError, InvokeOptions, InvokeResult, Lambda, LambdaConfig, Process,
    RecordedInvocation, TimelineEvent, What,
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::page;
use crate::rebuilt::Rebuilt;
use crate::terminal::Paint;

/// Invocations shown; the oldest go first.
const MAX_INVOCATIONS: usize = 500;

/// A running local Lambda and local Datadog with their page. Dropping it ends everything, at once.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) intake: Intake,
    pub(crate) board: Board,
    pub(crate) page_url: String,
    server: AbortHandle,
}

impl Stack {
    /// Starts the intake and the page. Functions are told of the intake, so they come after it.
    pub(crate) async fn start(title: &str, port: u16) -> anyhow::Result<Self> {
        Self::start_with(title, ("--port", port), 0, Settings::default()).await
    }

    /// The same with the intake as told, and on a port of choice; 0 for any free one. The page's port has the name of
    /// its option.
    pub(crate) async fn start_with(
        title: &str,
        (option, port): (&str, u16),
        intake_port: u16,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], intake_port));
        let intake = Intake::start_with(address, settings)
            .await
            .with_context(|| taken("the local intake", "--port", intake_port))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).await.with_context(|| taken("the page", option, port))?;
        let page_url = format!("http://{}/", listener.local_addr()?);
        let board = Board::new(title, &intake.url());
        let router = page::router(board.clone(), intake.store().clone(), intake.router());
        let server = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { intake, board, page_url, server })
    }

    /// Starts the local Lambda.
    pub(crate) async fn host(&self, functions: Vec<FunctionConfig>) -> anyhow::Result<Arc<Lambda>> {
        self.host_on(functions, 0).await
    }

    /// The same with the Invoke API on a port of choice; 0 for any free one.
    pub(crate) async fn host_on(
        &self,
        functions: Vec<FunctionConfig>,
        port: u16,
    ) -> anyhow::Result<Arc<Lambda>> {
        let names = functions.iter().map(|function| function.name.clone()).collect();
        let lambda = Lambda::start(functions, LambdaConfig { port, ..LambdaConfig::default() })
            .await
            .with_context(|| taken("the local Lambda", "--invoke-port", port))?;
        let lambda = Arc::new(lambda);
        self.board.show(lambda.clone(), names);
        Ok(lambda)
    }

    /// Ends all sandboxes as Lambda does, so that the last reports arrive.
    pub(crate) async fn shut_down(&self, lambda: &Lambda) {
        lambda.shutdown().await;
        self.board.ended();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What the page shows beside what the intake has.
#[derive(Clone, Debug)]
pub(crate) struct Board(Arc<Mutex<Shown>>);

#[derive(Debug)]
struct Shown {
    lambda: Option<Arc<Lambda>>,
    /// Counts what is changed here, beside what the local Lambda counts.
    changes: watch::Sender<u64>,
    last: Run,
}

/// The answer of `/local/run`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Run {
    pub(crate) title: String,
    /// Of the Invoke API, for `aws lambda invoke --endpoint-url`; empty where no local Lambda runs.
    pub(crate) endpoint: String,
    /// Of the local Datadog, which agents send to.
    pub(crate) intake: String,
    pub(crate) functions: Vec<String>,
    pub(crate) invocations: Vec<Invocation>,
    /// What the demo expected and did not find; `None` while it is not known.
    pub(crate) missing: Option<Vec<String>>,
    /// The local Lambda has ended.
    pub(crate) ended: bool,
    /// Functions that were built anew, the last time of each.
    pub(crate) rebuilt: Vec<Rebuilt>,
    /// The file of the authority that agents have to trust, where the intake speaks TLS.
    pub(crate) authority: Option<String>,
}

/// One invocation as Lambda saw it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Invocation {
    pub(crate) request_id: String,
    pub(crate) function: String,
    /// The execution environment that had it.
    pub(crate) sandbox: String,
    pub(crate) time: String,
    pub(crate) start_ns: u64,
    /// The environment was made for it.
    pub(crate) cold: bool,
    /// `running`, then `success`, `error`, `timeout`, …
    pub(crate) status: String,
    pub(crate) function_error: Option<String>,
    pub(crate) duration_ms: Option<f64>,
    pub(crate) billed_ms: Option<u64>,
    pub(crate) init_ms: Option<f64>,
    pub(crate) memory_mb: Option<u64>,
    pub(crate) memory_size_mb: Option<u64>,
    pub(crate) error_type: Option<String>,
}

impl Board {
    fn new(title: &str, intake: &str) -> Self {
        let last = Run { title: title.to_owned(), intake: intake.to_owned(), ..Run::default() };
        Self(Arc::new(Mutex::new(Shown { lambda: None, changes: watch::Sender::new(1), last })))
    }

    fn show(&self, lambda: Arc<Lambda>, functions: Vec<String>) {
        let mut shown = self.lock();
        shown.last.endpoint = lambda.endpoint();
        shown.last.functions = functions;
        shown.lambda = Some(lambda);
        shown.changes.send_modify(|n| *n += 1);
    }

    fn ended(&self) {
        let mut shown = self.lock();
        shown.last.ended = true;
        shown.changes.send_modify(|n| *n += 1);
    }

    /// What a rebuild has come to.
    pub(crate) fn rebuilt(&self, rebuilt: Rebuilt) {
        let mut shown = self.lock();
        shown.last.rebuilt.retain(|one| one.function != rebuilt.function);
        shown.last.rebuilt.push(rebuilt);
        shown.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn authority(&self, path: &str) {
        let mut shown = self.lock();
        shown.last.authority = Some(path.to_owned());
        shown.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn verdict(&self, missing: Vec<String>) {
        let mut shown = self.lock();
        shown.last.missing = Some(missing);
        shown.changes.send_modify(|n| *n += 1);
    }

    /// All that happened in the local Lambda, oldest first.
    pub(crate) fn timeline(&self) -> Vec<TimelineEvent> {
        let lambda = self.lock().lambda.clone();
        lambda.map(|lambda| lambda.timeline()).unwrap_or_default()
    }

    /// What a caller asked for, while it is held.
    pub(crate) fn recorded(&self, request_id: &str) -> Option<RecordedInvocation> {
        let lambda = self.lock().lambda.clone()?;
        lambda.recorded(0).into_iter().rfind(|one| one.request_id.as_str() == request_id)
    }

    /// Waits until something here or in the local Lambda is newer than `after`: the number to wait with next.
    pub(crate) async fn newer(&self, after: u64) -> u64 {
        loop {
            let (mut own, mut lambda) = {
                let shown = self.lock();
                (shown.changes.subscribe(), shown.lambda.as_ref().map(|lambda| lambda.watch()))
            };
            let events = lambda.as_mut().map_or(0, |lambda| *lambda.borrow_and_update());
            let number = *own.borrow_and_update() + events;
            if number != after {
                return number;
            }
            let event = async {
                match &mut lambda {
                    Some(lambda) => lambda.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = own.changed() => {}
                Ok(()) = event => {}
                else => std::future::pending().await,
            }
        }
    }

    pub(crate) fn run(&self) -> Run {
        let mut shown = self.lock();
        shown.refresh();
        shown.last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn refresh(&mut self) {
        if let Some(lambda) = &self.lambda {
            self.last.invocations = invocations(&lambda.timeline());
        }
    }
}

/// The invocations among all that happened, oldest first.
fn invocations(timeline: &[TimelineEvent]) -> Vec<Invocation> {
    let mut all: Vec<Invocation> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    // Environments that are ready without an invocation, or that had one.
    let mut warm: HashSet<Arc<str>> = HashSet::new();
    for event in timeline {
        if let What::Invoked { request_id } = &event.what {
            places.insert(request_id.to_string(), all.len());
            all.push(Invocation {
                request_id: request_id.to_string(),
                function: event.function.to_string(),
                sandbox: event.sandbox.to_string(),
                time: event.at.to_rfc3339_millis(),
                start_ns: event.at.as_nanos(),
                cold: warm.insert(event.sandbox.clone()),
                status: "running".to_owned(),
                ..Invocation::default()
            });
            continue;
        }
        if let What::Record(Record::InitStart(init)) = &event.what
            && init.initialization_type != InitializationType::OnDemand
        {
            warm.insert(event.sandbox.clone());
        }
        let Some(id) = request_of(&event.what) else { continue };
        let Some(invocation) = places.get(id).and_then(|at| all.get_mut(*at)) else { continue };
        invocation.learn(&event.what);
    }
    all.split_off(all.len().saturating_sub(MAX_INVOCATIONS))
}

fn request_of(what: &What) -> Option<&str> {
    match what {
        What::Answered { request_id, .. } => Some(request_id.as_str()),
        What::Record(Record::RuntimeDone(done)) => Some(done.request_id.as_str()),
        What::Record(Record::Report(report)) => Some(report.request_id.as_str()),
        _ => None,
    }
}

impl Invocation {
    fn learn(&mut self, what: &What) {
        match what {
            What::Answered { function_error, .. } => {
                self.function_error.clone_from(function_error);
                if self.status == "running" {
                    self.status = if function_error.is_some() { "error" } else { "success" }.to_owned();
                }
            }
            What::Record(Record::RuntimeDone(done)) => self.status = done.status.as_str().to_owned(),
            What::Record(Record::Report(report)) => {
                self.duration_ms = Some(report.duration.get());
                self.billed_ms = report.billed_ms;
                self.init_ms = report.init_duration.map(model::Millis::get);
                self.memory_mb = report.max_memory_used_mb;
                self.memory_size_mb = report.memory_size_mb;
                self.error_type = report.error_type.as_deref().map(str::to_owned);
            }
            _ => {}
        }
    }
}

/// What a caller was answered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Answer {
    /// What was asked: `POST /orders`.
    pub(crate) call: String,
    pub(crate) function: String,
    pub(crate) request_id: Option<String>,
    pub(crate) status: u16,
    pub(crate) function_error: Option<String>,
    pub(crate) payload: serde_json::Value,
    /// As long as the caller waited.
    pub(crate) took_ns: u64,
    /// The end of its log, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_tail: Option<String>,
}

impl Answer {
    /// Invokes and tells what came, a refusal included.
    pub(crate) async fn of(lambda: &Lambda, call: &str, function: &str, event: String) -> Self {
        Self::with(lambda, call, function, event, InvokeOptions::default()).await
    }

    /// The same with something beside the event.
    pub(crate) async fn with(
        lambda: &Lambda,
        call: &str,
        function: &str,
        event: String,
        options: InvokeOptions,
    ) -> Self {
        let clock = Instant::now();
        let result = lambda.invoke(function, event.into(), options).await;
        let took_ns = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (call, function) = (call.to_owned(), function.to_owned());
        match result {
            Ok(InvokeResult { request_id, status, payload, function_error, log_tail, .. }) => {
                let payload = json_or_text(&payload);
                let request_id = Some(request_id.to_string());
                Self { call, function, request_id, status, function_error, payload, took_ns, log_tail }
            }
            Err(why) => Self::refused(call, function, &why, took_ns),
        }
    }

    fn refused(call: String, function: String, why: &InvokeError, took_ns: u64) -> Self {
        let (status, function_error) = (why.status(), Some(why.error_type().to_owned()));
        let payload = serde_json::json!({ "errorMessage": why.to_string() });
        Self { call, function, request_id: None, status, function_error, payload, took_ns, log_tail: None }
    }

    /// The function ran and did not fail.
    pub(crate) fn is_success(&self) -> bool {
        self.status == 200 && self.function_error.is_none()
    }
}

/// Why a port cannot be had, and what to do.
fn taken(who: &str, option: &str, port: u16) -> String {
    match port {
        0 => format!("{who} cannot listen on any port of 127.0.0.1"),
        port => format!(
            "{who} cannot listen on port {port} of 127.0.0.1: choose another with {option}, or leave it out for any free \
             one"
        ),
    }
}

/// Answers are JSON; anything else is shown as text.
pub(crate) fn json_or_text(payload: &[u8]) -> serde_json::Value {
    serde_json::from_slice(payload).unwrap_or_else(|_| String::from_utf8_lossy(payload).into())
}

pub(crate) fn now() -> UnixNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixNanos::default() + since.unwrap_or_default()
}

/// A line about what goes on, on standard error.
pub(crate) fn say(what: &str, text: &str) {
    eprintln!("{} {text}", Paint::stderr().cyan(&format!("{what:>10}")));
}

/// Passes on what the processes print, and how they end, to standard error; as long as it is polled.
pub(crate) async fn follow(lambda: &Lambda) -> Infallible {
    follow_from(lambda, &mut 0).await
}

/// The same, from where it was left.
pub(crate) async fn follow_from(lambda: &Lambda, seen: &mut u64) -> Infallible {
    let paint = Paint::stderr();
    let mut changes = lambda.watch();
    loop {
        let count = *changes.borrow_and_update();
        let events = lambda.timeline();
        let fresh = usize::try_from(count.saturating_sub(*seen)).unwrap_or(usize::MAX);
        for event in events.iter().skip(events.len().saturating_sub(fresh)) {
            let function = &event.function;
            match &event.what {
                What::Line { process: Process::Function, text } => say(function, text),
                What::Line { process, text } => {
                    say(function, &paint.dim(&format!("{} {text}", process.name())));
                }
                What::LaunchFailed { process, reason } => {
                    say(function, &paint.red(&format!("{} cannot be started: {reason}", process.name())));
                }
                What::Exited { process, status } => {
                    say(function, &paint.dim(&format!("{} ended: {status}", process.name())));
                }
                _ => {}
            }
        }
        *seen = count;
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Somebody is there to look at the page and to press Ctrl-C.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Waits for Ctrl-C, or for whoever ends programs politely.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => signal.recv().await,
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = wait(SignalKind::interrupt()) => {}
        _ = wait(SignalKind::terminate()) => {}
    }
}
