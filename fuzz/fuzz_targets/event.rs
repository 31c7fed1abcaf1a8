//! Any JSON as an event.
#![no_main]

#[path = "../../crates/trigger/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::event(bytes));
