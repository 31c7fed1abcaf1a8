//! How environments of a function are made and used. All that differs between the ways is decided here.

use std::time::Duration;

use model::{InitializationType, Phase};

use crate::agent::Origin;

/// Longest initialisation of an environment that nobody waits for yet.
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib>
const AHEAD_INIT_LIMIT: Duration = Duration::from_secs(130);
/// The longest timeout that a function may have.
const MAX_TIMEOUT: Duration = Duration::from_secs(900);

/// How Lambda runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Made for a first invocation, one invocation at a time, frozen between them.
    #[default]
    OnDemand,
    /// Made before the first invocation, and then as on demand.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html>
    ProvisionedConcurrency,
    /// Initialised and stopped before the first invocation, gone on from there with it.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html>
    SnapStart,
    /// Never frozen; up to so many invocations at a time in one environment.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html>
    ManagedInstances { concurrency: u16 },
}

impl Mode {
    pub fn initialization_type(self) -> InitializationType {
        match self {
            Self::OnDemand => InitializationType::OnDemand,
            Self::ProvisionedConcurrency => InitializationType::ProvisionedConcurrency,
            Self::SnapStart => InitializationType::SnapStart,
            Self::ManagedInstances { .. } => InitializationType::ManagedInstances,
        }
    }

    /// Longest initialisation outside an invocation, of a function with this timeout.
    pub fn init_limit(self, timeout: Duration) -> Duration {
        match self {
            Self::OnDemand => Duration::from_secs(10),
            Self::ProvisionedConcurrency | Self::SnapStart | Self::ManagedInstances { .. } => {
                timeout.clamp(AHEAD_INIT_LIMIT, MAX_TIMEOUT)
            }
        }
    }

    /// Whether environments are made before anybody invokes.
    pub fn is_ahead(self) -> bool {
        self != Self::OnDemand
    }

    /// Invocations at a time in one environment, where that is not one.
    pub fn concurrency(self) -> Option<u16> {
        match self {
            Self::OnDemand | Self::ProvisionedConcurrency | Self::SnapStart => None,
            Self::ManagedInstances { concurrency } => Some(concurrency.max(1)),
        }
    }

    /// Whether invocations run beside each other in one environment.
    pub(crate) fn is_managed(self) -> bool {
        self.concurrency().is_some()
    }

    /// Whether an initialisation ends in a snapshot, from which invocations go on.
    pub(crate) fn snapshots(self) -> bool {
        self == Self::SnapStart
    }

    /// Whether processes stop while there is nothing to do.
    pub(crate) fn freezes(self) -> bool {
        !self.is_managed()
    }

    /// Whether an environment whose process ended is made anew.
    pub(crate) fn resets(self) -> bool {
        !self.is_managed()
    }

    /// The phase of an initialisation, inside an invocation or not.
    pub(crate) fn init_phase(self, inside: bool) -> Phase {
        match self {
            _ if inside => Phase::Invoke,
            Self::SnapStart => Phase::SnapStart,
            Self::OnDemand | Self::ProvisionedConcurrency | Self::ManagedInstances { .. } => Phase::Init,
        }
    }

    /// Why an agent may not ask for this event; `None` when it may.
    pub(crate) fn event_fault(self, origin: Origin, event: &str) -> Option<&'static str> {
        match (self, origin, event) {
            (Self::ManagedInstances { .. }, Origin::Internal, _) => {
                Some("No events allowed for internal extensions")
            }
            (Self::ManagedInstances { .. }, Origin::External, "INVOKE") => Some("ErrorInvalidEventType"),
            (_, _, "INVOKE") | (_, Origin::External, "SHUTDOWN") => None,
            (_, Origin::Internal, "SHUTDOWN") => Some("ShutdownEventNotSupportedForInternalExtension"),
            (_, _, _) => Some("ErrorInvalidEventType"),
        }
    }
}
