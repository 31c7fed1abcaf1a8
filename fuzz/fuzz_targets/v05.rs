//! Any body of `/v0.5/traces`.
#![no_main]

#[path = "../../crates/wire/tests/checks/mod.rs"]
#[allow(dead_code, reason = "one check of them")]
mod checks;

libfuzzer_sys::fuzz_target!(|body: &[u8]| checks::v05(body));
