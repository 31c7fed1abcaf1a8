//! Every example of this folder as it would be run: its own process in a local Lambda, once beside the real
//! extension with a local Datadog behind it, once alone. What is checked is what arrived, or what was printed for
//! Datadog's forwarder, and that is the same in most.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod agent;
mod concurrent;
mod events;
mod faults;
mod handlers;
mod http;
mod output;
mod runtime;
mod seen;
mod settings;
mod sources;
mod start;
mod world;
