//! What tells the extension something: each has `serve`, reads one protocol, and leaves what it read in the
//! inbox.

pub(crate) mod capture;
pub(crate) mod dogstatsd;
mod forward;
pub(crate) mod http;
pub(crate) mod lifecycle;
pub(crate) mod otlp;
pub(crate) mod runtime_proxy;
mod stats;
pub(crate) mod telemetry;
pub(crate) mod traces;
