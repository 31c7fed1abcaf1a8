//! Any value of any setting, and any text of a `datadog.yaml`.
#![no_main]

#[path = "../../crates/extension/src/tests/set.rs"]
mod set;

use extension::{Config, settings};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| set::settings(bytes));
