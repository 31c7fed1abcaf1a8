//! The process in the layer: sources decode, the engine decides, sinks encode and send.
//!
//! Three phases, three types: [`Config`] is read from the environment, [`App`] has its sockets bound,
//! [`App::run`] runs until Lambda ends the sandbox. Called by `main.rs` only; what it may never do is end
//! early or hold the function up.

mod address;
mod app;
mod config;
mod connection;
mod driver;
mod egress;
mod extensions_api;
mod function;
mod inbox;
mod keys;
mod ledger;
pub mod log;
mod proc;
mod session;
pub mod settings;
mod sinks;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
mod yaml;

pub use address::Address;
pub use app::{App, Fatal};
pub use config::{Additional, Config, Lambda, Problem, Target};
pub use egress::Protocol;
pub use tls::MinTls;
