//! AWS Lambda itself as pure state machines. [`Platform`] is one execution environment: the order of things, who may
//! call what and when, the limits, the answers, and the records that it reports. [`Fleet`] is all environments of a
//! function: how many there are, and which takes which invocation.
//!
//! No clock, socket, process or log call. `sandbox` drives it with real processes, `sim` with made-up ones:
//!
//! ```
//! use model::{RequestId, UnixNanos};
//! use platform::{Config, Effect, Input, Invocation, Platform};
//!
//! let mut lambda = Platform::new(Config::new("orders"));
//! let now = UnixNanos::from_secs(1_700_000_000);
//! let id = RequestId::new("8f2c").unwrap();
//! lambda.handle(now, Input::Invoke(Invocation::new(id, b"{}")));
//! let effects: Vec<Effect> = std::iter::from_fn(|| lambda.poll()).collect();
//! assert!(effects.iter().any(|e| matches!(e, Effect::Spawn { .. })));
//! ```
//!
//! Call [`Platform::handle`] with each fact, [`Platform::tick`] when [`Platform::deadline`] has come, and
//! carry out what [`Platform::poll`] gives until `None` after each of them.

mod agent;
mod fleet;
mod init;
mod invocation;
mod io;
mod machine;
mod managed;
mod mode;
mod refusal;
mod restore;
mod runtime;
mod stop;
#[cfg(test)]
mod tests;

pub use agent::AgentState;
pub use fleet::{EnvironmentId, Fleet, FleetEffect, FleetInput, Scaling};
pub use io::{
    AgentId, Answer, Body, CallId, Config, Delivery, Effect, ErrorReport, ExitStatus, Input, Invocation,
    ProcessId, Program, Registration, Rejection, Reply, ShutdownReason, Subscriptions,
};
pub use machine::{MAX_QUEUED, PhaseName, Platform};
pub use mode::Mode;
pub use refusal::{MAX_AGENTS, MAX_PAYLOAD_BYTES, Refusal};
pub use runtime::RuntimeState;
