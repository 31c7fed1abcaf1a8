//! Where the two ways that Lambda runs functions differ. `Mode` is consulted in this file and nowhere else:
//! the rest of the engine works for any number of live invocations.

use model::RequestId;

use crate::invocation::Invocation;

/// How Lambda runs this sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// One invocation at a time, announced by the Extensions API's INVOKE.
    #[default]
    OnDemand,
}

/// Whom a fact without a request id is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Invocation(RequestId),
    /// The invocation that will be announced next.
    Next,
}

impl Mode {
    /// Whether this sandbox was given this invocation. Others are of its forerunner, whose last records
    /// are delivered to whoever is there.
    pub(crate) fn is_announced(self, invocation: &Invocation) -> bool {
        match self {
            Self::OnDemand => invocation.invoked.is_some(),
        }
    }

    /// Whom a start call is about: the live invocation, or while the next event is being waited for, the
    /// one to come (the call can overtake its INVOKE).
    pub(crate) fn owner_of_start_call(self, waiting: bool, live: Option<&RequestId>) -> Owner {
        match (self, live) {
            (Self::OnDemand, Some(live)) if !waiting => Owner::Invocation(live.clone()),
            (Self::OnDemand, _) => Owner::Next,
        }
    }

    /// Whom an end call is about: who made the last start call, else the live invocation.
    pub(crate) fn owner_of_end_call(self, caller: Option<&Owner>, live: Option<&RequestId>) -> Owner {
        match (self, caller, live) {
            (Self::OnDemand, Some(caller), _) => caller.clone(),
            (Self::OnDemand, None, Some(live)) => Owner::Invocation(live.clone()),
            (Self::OnDemand, None, None) => Owner::Next,
        }
    }

    /// Whom a log line is about that names nobody: the invocation that started last, also after its END,
    /// since only its own background work prints then.
    pub(crate) fn owner_of_line(self, started_last: Option<&RequestId>) -> Owner {
        match (self, started_last) {
            (Self::OnDemand, Some(id)) => Owner::Invocation(id.clone()),
            (Self::OnDemand, None) => Owner::Next,
        }
    }
}
