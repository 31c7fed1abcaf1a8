//! What is taken out of a span, and its names.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "modules of another crate")]

#[path = "../../crates/engine/src/tests/checks.rs"]
mod checks;
#[path = "../../crates/engine/src/log_rules.rs"]
mod log_rules;
#[path = "../../crates/engine/src/normalise.rs"]
mod normalise;
#[path = "../../crates/engine/src/obfuscate/mod.rs"]
mod obfuscate;
#[path = "../../crates/engine/src/rules.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::spans(bytes));
