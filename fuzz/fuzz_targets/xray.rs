//! Any values of the headers of the style `xray`.
#![no_main]

#[path = "../../crates/propagation/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::header(propagation::Style::XRay, bytes));
