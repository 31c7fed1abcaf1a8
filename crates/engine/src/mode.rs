//! Where the two ways that Lambda runs functions differ. `Mode` is consulted in this file and nowhere else:
//! the rest of the engine works for any number of live invocations.

use std::time::Duration;

use model::keys::measured;
use model::{InvocationReport, RequestId, RuntimeDone, Status};

use crate::invocation::Invocation;

/// How Lambda runs this sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// One invocation at a time, announced by the Extensions API's INVOKE.
    #[default]
    OnDemand,
    /// Managed instances: many at once in a sandbox that is never frozen, announced by their `platform.start`. Lambda
    /// tells their end in one record.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html>
    Managed,
}

/// Whom a fact without a request id is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Invocation(RequestId),
    /// The invocation that will be announced next.
    Next,
    /// Nobody knows.
    Unknown,
}

impl Mode {
    pub(crate) fn new(managed_instances: bool) -> Self {
        if managed_instances { Self::Managed } else { Self::OnDemand }
    }

    /// Whether this sandbox was given this invocation. Others are of its forerunner, whose last records
    /// are delivered to whoever is there.
    pub(crate) fn is_announced(self, invocation: &Invocation) -> bool {
        match self {
            Self::OnDemand => invocation.invoked.is_some(),
            Self::Managed => !invocation.is_foreign,
        }
    }

    /// Whether `platform.start` is all that announces an invocation.
    pub(crate) fn starts_announce(self) -> bool {
        self == Self::Managed
    }

    /// How many invocations are remembered: late facts of older ones find nobody.
    pub(crate) fn memory(self) -> usize {
        match self {
            Self::OnDemand => 32,
            Self::Managed => 1024,
        }
    }

    /// The one invocation that a fact without a request id is about: the one that was announced last, or the only one
    /// that runs.
    pub(crate) fn live<'a>(
        self,
        announced: Option<&'a RequestId>,
        mut running: impl Iterator<Item = &'a RequestId>,
    ) -> Option<&'a RequestId> {
        match self {
            Self::OnDemand => announced,
            Self::Managed => running.next().filter(|_| running.next().is_none()),
        }
    }

    /// Whom a start call is about: the live invocation, or while the next event is being waited for, the
    /// one to come (the call can overtake its INVOKE).
    pub(crate) fn owner_of_start_call(self, waiting: bool, live: Option<&RequestId>) -> Owner {
        match (self, live) {
            (Self::OnDemand, Some(live)) if !waiting => Owner::Invocation(live.clone()),
            (Self::OnDemand, _) => Owner::Next,
            (Self::Managed, live) => live.cloned().map_or(Owner::Unknown, Owner::Invocation),
        }
    }

    /// Whom an end call is about: who made the last start call, else the live invocation.
    pub(crate) fn owner_of_end_call(self, caller: Option<&Owner>, live: Option<&RequestId>) -> Owner {
        match (self, caller, live) {
            (Self::OnDemand, Some(caller), _) => caller.clone(),
            (Self::OnDemand, None, Some(live)) => Owner::Invocation(live.clone()),
            (Self::OnDemand, None, None) => Owner::Next,
            (Self::Managed, _, live) => live.cloned().map_or(Owner::Unknown, Owner::Invocation),
        }
    }

    /// Whom a log line is about that names nobody: the invocation that started last, also after its END,
    /// since only its own background work prints then.
    pub(crate) fn owner_of_line(self, started_last: Option<&RequestId>) -> Owner {
        match (self, started_last) {
            (Self::OnDemand, Some(id)) => Owner::Invocation(id.clone()),
            (Self::OnDemand, None) => Owner::Next,
            (Self::Managed, _) => Owner::Unknown,
        }
    }

    /// Whether a library's count of errors can be told to be that of one invocation.
    pub(crate) fn errors_have_owners(self) -> bool {
        self == Self::OnDemand
    }

    /// Whether an invocation may have waited for this sandbox to be made.
    pub(crate) fn has_cold_starts(self) -> bool {
        self == Self::OnDemand
    }

    /// How long data waits for company while nothing is known to run. `usual`: while something is.
    pub(crate) fn company(self, usual: Option<Duration>) -> Option<Duration> {
        usual.filter(|_| self == Self::Managed)
    }

    /// What `platform.runtimeDone` would have told, where only the report is told.
    pub(crate) fn done_by(self, report: &InvocationReport) -> Option<RuntimeDone> {
        if self == Self::OnDemand {
            return None;
        }
        let latency = report
            .spans
            .iter()
            .find(|span| span.name == measured::RESPONSE_LATENCY)
            .map(|span| span.duration);
        Some(RuntimeDone {
            request_id: report.request_id.clone(),
            status: report.status.clone().unwrap_or(Status::Success),
            error_type: report.error_type.clone(),
            duration: Some(latency.unwrap_or(report.duration)),
            produced_bytes: None,
            spans: Vec::new(),
            trace_header: None,
            tenant_id: None,
        })
    }
}
