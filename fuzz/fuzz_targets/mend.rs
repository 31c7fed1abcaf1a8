//! The beginning of any event.
#![no_main]

#[path = "../../crates/extension/src"]
#[allow(dead_code, reason = "one check of them")]
mod extension {
    #[path = "tests/checks.rs"]
    pub(crate) mod checks;
    #[path = "sources/runtime_proxy/mend.rs"]
    mod mend;
    mod yaml;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| extension::checks::mended(bytes));
