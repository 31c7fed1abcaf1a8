//! Reads one event of the corpus many times, for a tool that counts instructions (tests/instructions.rs).
//! `measured EVENT TIMES`

use std::hint::black_box;
use std::process::ExitCode;

use serde_json::Value;
use trigger::{Function, Settings};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let event = args.next().map(|name| serde_json::from_str::<Value>(testkit::event(&name)));
    let (Some(Ok(event)), Some(Ok(times))) = (event, args.next().map(|n| n.parse())) else {
        eprintln!("usage: measured EVENT TIMES");
        return ExitCode::FAILURE;
    };
    let function = Function { name: "f".into(), region: "eu-west-1".into(), account: "123456789012".into() };
    let settings = Settings::default();
    for _ in 0..u32::min(times, 10_000) {
        black_box(trigger::read(black_box(&event), &function, &settings));
    }
    ExitCode::SUCCESS
}
