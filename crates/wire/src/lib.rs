//! The LOCAL protocols, both directions: what tracers, clients and Lambda say to the extension, and what the
//! library and the local sandbox say in their place.
//!
//! Bytes in, `model` values out, and back. No socket, no clock, no decision about what was said: the
//! extension and the sandbox serve these protocols, the library speaks them. What leaves for Datadog is
//! `payload`'s.
//!
//! Every decoder takes any bytes without panicking, allocates in proportion to what is really there, and
//! keeps the readable siblings of what it cannot read.

pub mod cut;
pub mod dogstatsd;
pub mod extensions;
mod json;
pub mod lambda_headers;
pub mod lifecycle;
mod maps;
mod msgpack;
pub mod otlp;
pub mod pipeline_stats;
pub mod runtime_api;
pub mod stats;
pub mod telemetry;
mod texts;
pub mod v04;
pub mod v05;
pub mod v07;
pub mod v1;
