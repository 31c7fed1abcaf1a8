//! Any gRPC message.
#![no_main]

#[path = "../../crates/extension/src"]
mod source {
    #[path = "sources/otlp/frame.rs"]
    mod frame;
    #[path = "tests/frames.rs"]
    pub(crate) mod frames;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| source::frames::frames(bytes));
