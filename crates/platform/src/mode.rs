//! How environments of a function are made and used. All that differs between the ways is decided here.

use model::InitializationType;

use crate::agent::Origin;

/// How Lambda runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Made for a first invocation, one invocation at a time, frozen between them.
    #[default]
    OnDemand,
}

impl Mode {
    pub fn initialization_type(self) -> InitializationType {
        match self {
            Self::OnDemand => InitializationType::OnDemand,
        }
    }

    /// Whether processes stop while there is nothing to do.
    pub(crate) fn freezes(self) -> bool {
        match self {
            Self::OnDemand => true,
        }
    }

    /// Why an agent may not ask for this event; `None` when it may.
    pub(crate) fn event_fault(self, origin: Origin, event: &str) -> Option<&'static str> {
        match (self, origin, event) {
            (Self::OnDemand, _, "INVOKE") | (Self::OnDemand, Origin::External, "SHUTDOWN") => None,
            (Self::OnDemand, Origin::Internal, "SHUTDOWN") => {
                Some("ShutdownEventNotSupportedForInternalExtension")
            }
            (Self::OnDemand, _, _) => Some("ErrorInvalidEventType"),
        }
    }
}
