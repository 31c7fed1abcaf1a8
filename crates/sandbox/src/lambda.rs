//! The local Lambda: its functions and the way in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{Destination, FunctionConfig, LambdaConfig};
use crate::driver::INBOX;
use crate::endpoint;
use crate::events::{self, EventRecord, MAX_EVENTS};
use crate::functions::{Function, Functions};
use crate::invoke::{InvokeError, InvokeOptions, InvokeResult};
use crate::leash::Leash;
use crate::pool::{Ask, Blueprint, Pool, serve};
use crate::recorded::RecordedInvocation;
use crate::timeline::{Timeline, TimelineEvent};

/// Longer than any sandbox takes to end: 2 s for its processes, 1 s for the kernel.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Why a local Lambda could not start.
#[derive(Debug)]
pub enum StartError {
    /// Two functions have this name.
    DuplicateFunction(String),
    /// A function without a command.
    NoCommand(String),
    /// A folder of extensions could not be listed.
    Extensions(PathBuf, std::io::Error),
    /// A function tells its events to one that does not exist.
    UnknownDestination(String),
    /// No port to listen on.
    Listen(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateFunction(name) => write!(f, "two functions are called {name:?}"),
            Self::NoCommand(name) => write!(f, "function {name:?} has no command"),
            Self::Extensions(path, e) => write!(f, "cannot list the extensions in {}: {e}", path.display()),
            Self::UnknownDestination(name) => write!(f, "there is no function {name:?} to tell events to"),
            Self::Listen(e) => write!(f, "cannot listen on 127.0.0.1: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A running local Lambda. Dropping it kills all its processes; [`Lambda::shutdown`] ends them properly.
#[derive(Debug)]
pub struct Lambda {
    functions: Arc<Functions>,
    pools: Vec<JoinHandle<()>>,
    server: JoinHandle<()>,
    events: JoinHandle<()>,
    endpoint: String,
    timeline: Timeline,
    leash: Leash,
}

impl Lambda {
    /// Listens; starts no process before the first invocation.
    pub async fn start(functions: Vec<FunctionConfig>, config: LambdaConfig) -> Result<Self, StartError> {
        let listener = TcpListener::bind(("127.0.0.1", config.port)).await.map_err(StartError::Listen)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(StartError::Listen)?);
        let (clock, timeline, leash) = (Clock::start(), Timeline::new(), Leash::default());
        let (mut open, mut pools) = (BTreeMap::new(), Vec::new());
        for function in functions {
            let name = function.name.clone();
            if function.command.is_empty() {
                return Err(StartError::NoCommand(name));
            }
            if open.contains_key(&name) {
                return Err(StartError::DuplicateFunction(name));
            }
            let (sender, inbox) = mpsc::channel(INBOX);
            let blueprint = Blueprint {
                function: function.clone(),
                lambda: config.clone(),
                endpoint: endpoint.clone(),
                extensions: extensions(&function)?,
                clock,
                timeline: timeline.clone(),
                leash: leash.clone(),
            };
            pools.push(Pool::new(blueprint, inbox));
            open.insert(name, Function { config: function, inbox: sender });
        }
        if let Some(name) = unknown_destination(&open) {
            return Err(StartError::UnknownDestination(name));
        }
        let (sender, inbox) = mpsc::channel(MAX_EVENTS);
        let functions = Arc::new(Functions::new(clock, config, open, sender));
        Ok(Self {
            pools: pools.into_iter().map(|pool| tokio::spawn(pool.run())).collect(),
            server: tokio::spawn(serve(listener, endpoint::router(functions.clone()))),
            events: tokio::spawn(events::run(functions.clone(), inbox)),
            functions,
            endpoint,
            timeline,
            leash,
        })
    }

    /// The Invoke API, `http://127.0.0.1:port`: for `--endpoint-url` and `AWS_ENDPOINT_URL_LAMBDA`. Functions have it
    /// in their environment.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Invokes a function by name, partial ARN or ARN, and waits for the answer (unless the options say
    /// otherwise).
    pub async fn invoke(
        &self,
        name: &str,
        payload: Bytes,
        options: InvokeOptions,
    ) -> Result<InvokeResult, InvokeError> {
        self.functions.invoke(name, None, payload, options, None).await
    }

    /// As [`Lambda::invoke`]; a response that the function streams goes to `parts` as it comes and is not in the
    /// result. The function waits for a receiver that is slow.
    pub async fn invoke_streaming(
        &self,
        name: &str,
        payload: Bytes,
        options: InvokeOptions,
        parts: mpsc::Sender<Bytes>,
    ) -> Result<InvokeResult, InvokeError> {
        self.functions.invoke(name, None, payload, options, Some(parts)).await
    }

    /// Ends every sandbox as Lambda does (SPINDOWN) and returns when no process is left. An invocation that has begun
    /// comes to its end first, at the latest by its timeout; those that wait are rejected. The timeline can still
    /// be read.
    pub async fn shutdown(&self) {
        let longest = self.functions.all().map(|function| function.config.timeout).max().unwrap_or_default();
        let ends = tokio::time::Instant::now() + longest + SHUTDOWN_LIMIT;
        for function in self.functions.all() {
            let _ = tokio::time::timeout_at(ends, function.inbox.send(Ask::Shutdown)).await;
        }
        for function in self.functions.all() {
            let _ = tokio::time::timeout_at(ends, function.inbox.closed()).await;
        }
        self.leash.close();
    }

    /// The function is another from now on, such as one that was built anew: what runs comes to its end, and the
    /// next invocation starts its program again. `false` when there is no function of that name.
    pub async fn renew(&self, name: &str) -> bool {
        match self.functions.find(name) {
            Some(function) => function.inbox.send(Ask::Renew).await.is_ok(),
            None => false,
        }
    }

    /// What callers asked for, oldest first, from the one after this number (0: all that is held).
    pub fn recorded(&self, after: u64) -> Vec<RecordedInvocation> {
        self.functions.recorded.after(after)
    }

    /// All that happened so far, oldest first.
    pub fn timeline(&self) -> Vec<TimelineEvent> {
        self.timeline.after(0)
    }

    /// What happened after the first so many things: see [`Lambda::watch`].
    pub fn timeline_after(&self, number: u64) -> Vec<TimelineEvent> {
        self.timeline.after(number)
    }

    /// What became of events whose function keeps such records, oldest first.
    pub fn event_records(&self) -> Vec<EventRecord> {
        self.functions.records.all()
    }

    /// Waits until no event that nobody waits for is queued, runs, or will be tried again.
    pub async fn events_are_over(&self) {
        // The sender lives as long as we do.
        let _ = self.functions.open_events.subscribe().wait_for(|open| *open == 0).await;
    }

    /// The number of things that happened so far, and a way to wait for the next.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.timeline.watch()
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        self.leash.close();
        self.server.abort();
        self.events.abort();
        for pool in &self.pools {
            pool.abort();
        }
    }
}

fn unknown_destination(functions: &BTreeMap<String, Function>) -> Option<String> {
    let configs = functions.values().map(|function| &function.config);
    let mut named = configs.flat_map(|c| [&c.on_failure, &c.on_success]).filter_map(|d| match d {
        Some(Destination::Function(name)) => Some(name),
        Some(Destination::Kept) | None => None,
    });
    named.find(|name| !functions.contains_key(*name)).cloned()
}

/// The extensions by name, in the order in which they start: those given, folders by the names of their files.
fn extensions(function: &FunctionConfig) -> Result<Vec<(Arc<str>, PathBuf)>, StartError> {
    let mut found = Vec::new();
    let of_layers = function.opt.as_ref().map(|opt| opt.join("extensions")).filter(|path| path.is_dir());
    for path in function.extensions.iter().chain(&of_layers) {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let failed = |e| StartError::Extensions(path.clone(), e);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if !file.is_dir() {
                files.push(file);
            }
        }
        files.sort();
        found.extend(files);
    }
    Ok(found.into_iter().map(|path| (file_name(&path), path)).collect())
}

fn file_name(path: &Path) -> Arc<str> {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default().into()
}
