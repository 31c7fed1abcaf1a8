//! The real process between a Lambda and a Datadog: what goes in is what tracers, clients and Lambda send,
//! what comes out is read from a local intake.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

mod agent;
mod bodies;
mod cloud;
mod data;
mod durable;
mod egress;
mod fake_lambda;
mod faults;
mod file;
mod flushing;
mod frames;
mod http2;
mod keys;
mod late;
mod levels;
mod managed;
mod measured;
mod memory;
mod otlp;
mod ports;
mod promises;
mod records;
mod rules;
mod runtime_api;
mod runtime_proxy;
mod sandboxed;
mod secure;
mod soak;
mod spans;
mod start;
mod tally;
mod tracers;
mod traps;
mod watched;

use std::time::Instant;

use intake::State;

use fake_lambda::PATIENCE;

/// The settings that send everything to an intake.
fn to(url: &str) -> [(&'static str, &str); 3] {
    [("DD_DD_URL", url), ("DD_APM_DD_URL", url), ("DD_LOGS_CONFIG_LOGS_DD_URL", url)]
}

async fn arrives(intake: &intake::Intake, what: &str, enough: impl FnMut(&State) -> bool) {
    let arrived = intake.store().wait_until(enough, Instant::now() + PATIENCE).await;
    assert!(arrived, "{what} did not arrive:\n{:#?}", intake.store().snapshot());
}
