//! The runtime, the process that runs the handler, as the Runtime API sees it.
//!
//! ```text
//! call            allowed in            leads to
//! next            Started, ResponseSent Ready
//!                 Restoring             Ready
//!                 Ready                 Ready (waits again)
//!                 Running               Running (the same event again)
//! response        Running               ResponseSent
//! error           Running               ResponseSent
//! init/error      Started               InitError
//! restore/next    Started, RestoreReady RestoreReady
//! restore/error   Restoring             RestoreError
//! (a restore)     RestoreReady          Restoring
//! (an event)      Ready                 Running
//! ```
//! Anything else is refused with `InvalidStateTransition`.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use crate::io::{CallId, ProcessId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeState {
    Started,
    InitError,
    RestoreReady,
    Restoring,
    RestoreError,
    Ready,
    Running,
    ResponseSent,
}

impl RuntimeState {
    /// As in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::InitError => "InitError",
            Self::RestoreReady => "RestoreReady",
            Self::Restoring => "Restoring",
            Self::RestoreError => "RestoreError",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::ResponseSent => "ResponseSent",
        }
    }

    /// The state after the runtime asked for its next event; `None` when it may not.
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::Started | Self::ResponseSent | Self::Ready | Self::Restoring => Some(Self::Ready),
            Self::Running => Some(Self::Running),
            Self::InitError | Self::RestoreReady | Self::RestoreError => None,
        }
    }

    pub(crate) fn init_error(self) -> Option<Self> {
        (self == Self::Started).then_some(Self::InitError)
    }

    /// The state after the runtime said that a snapshot may be taken.
    pub(crate) fn restore_next(self) -> Option<Self> {
        matches!(self, Self::Started | Self::RestoreReady).then_some(Self::RestoreReady)
    }

    pub(crate) fn restore_error(self) -> Option<Self> {
        (self == Self::Restoring).then_some(Self::RestoreError)
    }

    /// Its initialisation is over.
    pub(crate) fn is_initialised(self) -> bool {
        matches!(self, Self::Ready | Self::RestoreReady)
    }

    /// The state after a response or an error for the running invocation.
    pub(crate) fn respond(self) -> Option<Self> {
        (self == Self::Running).then_some(Self::ResponseSent)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) process: ProcessId,
    pub(crate) state: RuntimeState,
    /// Its open call for the next event.
    pub(crate) waiting: Option<CallId>,
}

impl Runtime {
    pub(crate) fn new(process: ProcessId) -> Self {
        Self { process, state: RuntimeState::Started, waiting: None }
    }
}

/// What becomes of `Lambda-Runtime-Function-Error-Type`: kept when it holds a name such as
/// `Runtime.ExitError` or `Function.BadInput`, otherwise only its kind is.
pub(crate) fn error_type(header: Option<&str>) -> String {
    let header = header.unwrap_or_default();
    let named = |prefix: &str| {
        header.match_indices(prefix).any(|(at, _)| {
            let mut rest = header.get(at + prefix.len()..).unwrap_or_default().chars();
            rest.next().is_some_and(|c| c.is_ascii_uppercase())
                && rest.next().is_some_and(|c| c.is_ascii_alphabetic())
        })
    };
    if named("Runtime.") || named("Function.") {
        header.to_owned()
    } else if header.starts_with("Function.") {
        "Function.Unknown".to_owned()
    } else {
        "Runtime.Unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::error_type;

    #[test]
    fn error_types_are_kept_or_reduced_to_their_kind() {
        let check = |header: Option<&str>, expect: &str| assert_eq!(error_type(header), expect, "{header:?}");
        check(Some("Runtime.ExitError"), "Runtime.ExitError");
        check(Some("Function.BadInput"), "Function.BadInput");
        check(Some("my Function.Ab"), "my Function.Ab");
        check(Some("Function.bad"), "Function.Unknown");
        check(Some("Function.A"), "Function.Unknown");
        check(Some("Function."), "Function.Unknown");
        check(Some("ValueError"), "Runtime.Unknown");
        check(Some("Runtime.é"), "Runtime.Unknown");
        check(None, "Runtime.Unknown");
    }
}
