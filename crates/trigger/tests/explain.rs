//! The example `explain`, as a person and as a program would use it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of a test")]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn an_event_is_explained() {
    let Some(text) = explain(&[], testkit::event("sqs-sns-eventbridge")) else { return };
    assert!(text.contains("source    Sqs (sqs)\n"), "{text}");
    assert!(text.contains("in body > Message > detail._datadog\n"), "{text}");
    let json = explain(&["--json"], testkit::event("s3")).unwrap();
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["event_source"], "s3");
    assert_eq!(found["links"][0]["attributes"]["ptr.hash"], "c3560e5225e8ee06d60f055ebfcda408");
    assert_eq!(found["inferred"][0]["name"], "aws.s3");
}

/// `None`, with a word on it, when the example is not built.
fn explain(args: &[&str], event: &str) -> Option<String> {
    let program = std::env::current_exe().ok()?.parent()?.parent()?.join("examples/explain");
    if !program.exists() {
        eprintln!("SKIPPED: {} is not built: run without --lib or --test", program.display());
        return None;
    }
    let mut child =
        Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().expect("it is piped").write_all(event.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    Some(String::from_utf8(out.stdout).unwrap())
}
