//! Each command as people use it: the real program, a function of some lines that any Rust builds in a second.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod intake;
mod wrong;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use common::{FUNCTION, Folder, Running, bootstrap, dd_lambda, ended, invoked, run};

#[test]
fn an_edit_of_a_handler_shows_without_a_restart_and_what_was_invoked_can_be_replayed() {
    let folder = Folder::new("dev");
    let root = &folder.0;
    let source = root.join("src/main.rs");
    fs::create_dir_all(root.join("src")).unwrap();
    fs::write(root.join("Cargo.toml"), "[package]\nname = \"tiny\"\nedition = \"2021\"\n[workspace]\n")
        .unwrap();
    fs::write(&source, FUNCTION).unwrap();
    let dev = dd_lambda(root, &["dev", "--package", "tiny", "--no-extension", "--json"]);
    let dev = Running::start(dev, false);
    let ready = dev.event("ready");
    assert_eq!(ready["functions"], json!(["tiny"]));
    assert_eq!(invoked(&ready, r#"{"n":1}"#), json!({ "version": "one", "event": { "n": 1 } }));

    fs::write(&source, FUNCTION.replace("one", "two")).unwrap();
    assert!(dev.event("building")["changed"].as_str().unwrap().ends_with("src/main.rs"));
    assert_eq!(dev.event("swapped")["function"], "tiny");
    assert_eq!(invoked(&ready, r#"{"n":2}"#)["version"], "two");

    // What does not build changes nothing.
    fs::write(&source, "fn main() { broken }").unwrap();
    let why = dev.event("not_built")["why"].to_string();
    assert!(why.contains("cargo build"), "{why}");
    assert_eq!(invoked(&ready, r#"{"n":3}"#)["version"], "two");

    fs::write(&source, FUNCTION.replace("one", "three")).unwrap();
    dev.event("swapped");
    assert_eq!(invoked(&ready, r#"{"n":4}"#)["version"], "three");
    assert_eq!(dev.interrupt(), Some(0));

    let (status, listed, said) = run(root, &["replay", "--list", "--json"]);
    assert_eq!(status, Some(0), "{said}");
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        listed.iter().map(|entry| &entry["event"]).collect::<Vec<_>>(),
        [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#]
    );
    let id = listed[1]["request_id"].as_str().unwrap();
    let (_, event, _) = run(root, &["replay", id, "--event"]);
    assert_eq!(event, "{\"n\":2}\n");
    let (status, answer, said) = run(root, &["replay", id]);
    assert_eq!((status, &*answer), (Some(0), "{\"event\":{\"n\":2},\"version\":\"three\"}\n"), "{said}");
    let (status, _, said) = run(root, &["replay", "no-such-id"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("dd-lambda replay --list"), "{said}");
}

#[test]
fn a_function_is_invoked_with_a_file_standard_input_or_a_sample() {
    let folder = Folder::new("invoke");
    let root = &folder.0;
    let function = format!("tiny={}", bootstrap().display());
    let base = ["invoke", "--function", &function, "--no-extension"];
    fs::write(root.join("event.json"), "{\"n\":7}").unwrap();
    let (status, answer, said) = run(root, &[&base[..], &["--event", "event.json"]].concat());
    assert_eq!((status, &*answer), (Some(0), "{\"event\":{\"n\":7},\"version\":\"one\"}\n"), "{said}");
    // The end of the log, for people.
    assert!(said.contains("got {\"n\":7}") && said.contains("REPORT RequestId: "), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");

    let mut command = dd_lambda(root, &[&base[..], &["--event", "-", "--json"]].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"[1]").unwrap();
    let (status, document, said) = ended(child.wait_with_output().unwrap());
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((status, &document["answer"]["payload"]["event"]), (Some(0), &json!([1])), "{said}");
    assert!(document["traces"].is_array() && document["answer"]["log_tail"].is_string(), "{document}");

    let (status, answer, said) = run(root, &[&base[..], &["--sample", "sqs"]].concat());
    assert!(
        status == Some(0) && answer.contains("aws:sqs") && answer.contains("x-datadog-trace-id"),
        "{said}"
    );

    let (status, answer, said) = run(root, &[&base[..], &["--event", "-"]].concat());
    assert_eq!((status, &*answer), (Some(1), ""));
    assert!(said.contains("--event - is not JSON"), "{said}");
    fs::write(root.join("bad.json"), "{\"fail\":1}").unwrap();
    let (status, answer, said) = run(root, &[&base[..], &["--event", "bad.json"]].concat());
    assert_eq!(status, Some(1), "{said}");
    assert!(answer.contains("Runtime.ExitError") && said.contains("told to fail"), "{answer}\n{said}");
}

#[test]
fn every_command_teaches_itself() {
    let folder = Folder::new("help");
    for command in ["demo", "dev", "invoke", "replay", "run", "intake", "doctor", "completions"] {
        let (status, help, _) = run(&folder.0, &[command, "--help"]);
        assert!(status == Some(0) && help.contains("Examples:"), "{command}: {help}");
        assert!(help.contains(&format!("dd-lambda {command}")) || command == "demo", "{command}: {help}");
    }
    for (shell, word) in
        [("bash", "complete -F"), ("zsh", "#compdef dd-lambda"), ("fish", "complete -c dd-lambda")]
    {
        let (status, script, _) = run(&folder.0, &["completions", shell]);
        assert!(status == Some(0) && script.contains(word) && script.contains("replay"), "{shell}");
    }
    let (status, names, _) = run(&folder.0, &["invoke", "--samples"]);
    assert!(status == Some(0) && names.lines().any(|name| name == "sqs"), "{names}");
    let (_, names, _) = run(&folder.0, &["invoke", "--samples", "--json"]);
    let names: Vec<String> = serde_json::from_str(&names).unwrap();
    for name in &names {
        let (status, event, said) = run(&folder.0, &["invoke", "--sample", name, "--show-event"]);
        assert!(status == Some(0) && serde_json::from_str::<Value>(&event).is_ok(), "{name}: {said}");
    }
}

#[test]
fn the_doctor_says_what_is_there_and_what_needs_it() {
    let folder = Folder::new("doctor");
    let (status, found, said) = run(&folder.0, &["doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(&found).unwrap();
    let required = findings.iter().filter(|finding| finding["required"] == true);
    assert_eq!(status, Some(i32::from(required.clone().any(|finding| finding["found"] == false))), "{said}");
    assert!(required.count() >= 3, "{found}");
    for finding in &findings {
        for field in ["name", "detail", "needed_for", "remedy"] {
            assert!(finding[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {finding}");
        }
    }
    let (_, text, _) = run(&folder.0, &["doctor"]);
    for finding in &findings {
        assert!(text.contains(finding["name"].as_str().unwrap()), "{text}");
    }
}
