//! Any body that is packed.
#![no_main]

#[path = "../../crates/payload/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::unpack(bytes));
