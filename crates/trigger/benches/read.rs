//! How long reading an event takes, once it is parsed: `cargo bench -p trigger`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot start may as well stop")]

use serde_json::Value;
use trigger::{Function, Settings, read};

fn main() {
    divan::main();
}

const EVENTS: &[&str] =
    &["sqs", "http-api", "rest-api", "sqs-batch", "sqs-sns-eventbridge", "msk", "step-functions", "direct"];

#[divan::bench(args = EVENTS)]
fn event(bencher: divan::Bencher<'_, '_>, name: &str) {
    let event: Value = serde_json::from_str(testkit::event(name)).unwrap();
    let function = Function { name: "f".into(), region: "eu-west-1".into(), account: "123456789012".into() };
    let settings = Settings::default();
    bencher.bench_local(|| read(divan::black_box(&event), &function, &settings));
}
