//! Any message of the Extensions API.
#![no_main]

#[path = "../../crates/wire/tests/checks/mod.rs"]
#[allow(dead_code, unused_imports, reason = "one check of them")]
mod checks;

libfuzzer_sys::fuzz_target!(|body: &[u8]| checks::extensions(body));
