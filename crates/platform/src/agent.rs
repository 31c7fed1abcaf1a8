//! Agents: extensions as the Extensions API sees them. External ones are processes of their own, internal ones live
//! in the runtime's process.
//!
//! ```text
//! call            allowed in                           leads to
//! register        Started                              Registered
//! next            Registered, Running                  Ready
//! init/error      Registered, InitError                InitError
//! exit/error      Registered, Ready, Running, ExitError ExitError
//! (an event)      Ready                                Running
//! ```
//! Anything else is refused with `Extension.InvalidExtensionState`.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>

use std::sync::Arc;

use model::Text;

use crate::io::{AgentId, CallId, ProcessId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    Started,
    Registered,
    Ready,
    Running,
    InitError,
    ExitError,
    Exited,
    LaunchError,
}

impl AgentState {
    /// As in messages and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
            Self::Exited => "Exited",
            Self::LaunchError => "LaunchError",
        }
    }

    pub(crate) fn register(self) -> Option<Self> {
        (self == Self::Started).then_some(Self::Registered)
    }

    pub(crate) fn next(self) -> Option<Self> {
        matches!(self, Self::Registered | Self::Running).then_some(Self::Ready)
    }

    pub(crate) fn init_error(self) -> Option<Self> {
        matches!(self, Self::Registered | Self::InitError).then_some(Self::InitError)
    }

    pub(crate) fn exit_error(self) -> Option<Self> {
        matches!(self, Self::Registered | Self::Ready | Self::Running | Self::ExitError)
            .then_some(Self::ExitError)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    External,
    Internal,
}

#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) name: Arc<str>,
    pub(crate) state: AgentState,
    /// `None` for an internal agent.
    pub(crate) process: Option<ProcessId>,
    /// Known once registered.
    pub(crate) id: Option<AgentId>,
    pub(crate) wants_invoke: bool,
    pub(crate) wants_shutdown: bool,
    /// Its open call for the next event.
    pub(crate) waiting: Option<CallId>,
    pub(crate) subscribed: bool,
    pub(crate) told_shutdown: bool,
    /// What it said that went wrong, or why it could not be started.
    pub(crate) error_type: Option<Text>,
}

impl Agent {
    pub(crate) fn new(name: Arc<str>, process: Option<ProcessId>) -> Self {
        Self {
            name,
            state: AgentState::Started,
            process,
            id: None,
            wants_invoke: false,
            wants_shutdown: false,
            waiting: None,
            subscribed: false,
            told_shutdown: false,
            error_type: None,
        }
    }

    pub(crate) fn registered(&self) -> bool {
        self.id.is_some()
    }

    pub(crate) fn external(&self) -> bool {
        self.process.is_some()
    }

    /// What it registered for, sorted.
    pub(crate) fn events(&self) -> impl Iterator<Item = &'static str> {
        let events = [self.wants_invoke.then_some("INVOKE"), self.wants_shutdown.then_some("SHUTDOWN")];
        events.into_iter().flatten()
    }
}
