//! Every decision of the extension, as a pure state machine: facts in, effects out.
//!
//! No clock, no socket, no environment, no log call: the caller tells the time with each fact. So a sandbox's
//! whole life can be run in a test, in every order that its sources allow.
//!
//! The caller (the extension's driver, the simulation) loops: [`Engine::handle`] all facts that are there, do
//! all that [`Engine::poll`] asks for, wait for a fact or for [`Engine::deadline`], then [`Engine::tick`].
//!
//! ```
//! use engine::{Effect, Engine, Settings};
//! use model::UnixNanos;
//!
//! let now = UnixNanos::from_secs(1_722_369_353);
//! let mut engine = Engine::new(Settings::default(), now);
//! assert_eq!(engine.poll(), Some(Effect::Next));
//! assert_eq!((engine.poll(), engine.deadline()), (None, None));
//! ```

mod adopt;
mod batches;
mod boot;
mod concentrator;
mod drops;
mod durable;
mod engine;
mod enhanced;
mod flush;
mod ids;
mod invocation;
mod invocations;
mod io;
mod labels;
mod lifecycle;
mod log;
mod log_rules;
mod metric;
mod mode;
mod normalise;
mod obfuscate;
mod overhead;
mod pace;
mod peers;
mod pricing;
mod queue;
mod root;
mod rules;
mod runtime;
mod stages;
mod trace;

#[cfg(test)]
mod tests;

pub use concentrator::COUNTED_KINDS;
pub use engine::Engine;
pub use io::{
    Cost, Dropped, Effect, EndCall, FlushStrategy, Input, InvocationError, Outcome, Receivers, SendId,
    Settings, StartCall,
};
pub use labels::TagChoice;
pub use log_rules::{LogRule, LogRuleKind, LogRules};
pub use obfuscate::{Documents, Obfuscation};
pub use peers::KEYS as PEER_TAGS;
pub use rules::{ReplaceRule, TagRule, TagValue, TraceRules, Unusable};
