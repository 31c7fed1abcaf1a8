//! Every example of docs/scenarios.md is run, and a scenario that does not hold says what is not so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// A new folder inside the workspace, so that cargo finds the packages from there.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn run(files: &[PathBuf], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dd-lambda"));
    command.arg("run").args(files).args(args).env("NO_COLOR", "1").output().unwrap()
}

/// The extension, which lies beside dd-lambda once it is built.
fn extension() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(cargo).current_dir(root()).args(["build", "--quiet", "--package", "extension"]).status();
    assert!(status.unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_dd-lambda")).with_file_name("datadog-agent")
}

/// The fenced blocks of the page: language, name, text.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let (language, name) = info.split_once(' ').unwrap_or((info, ""));
        let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((language.to_owned(), name.to_owned(), text.join("\n") + "\n"));
    }
    blocks
}

#[test]
fn every_example_of_the_page_passes() {
    let folder = folder("examples");
    let extensions = folder.join("layer/extensions");
    fs::create_dir_all(&extensions).unwrap();
    fs::copy(extension(), extensions.join("datadog-agent")).unwrap();
    let page = fs::read_to_string(root().join("docs/scenarios.md")).unwrap();
    let mut scenarios = Vec::new();
    for (language, name, text) in blocks(&page) {
        match language.as_str() {
            "toml" => {
                let path = folder.join(format!("{}.toml", scenarios.len() + 1));
                fs::write(&path, text).unwrap();
                scenarios.push(path);
            }
            _ if !name.is_empty() => fs::write(folder.join(name), text).unwrap(),
            _ => {}
        }
    }
    assert!(scenarios.len() >= 9, "{scenarios:?}");
    let output = run(&scenarios, &["--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), scenarios.len(), "{said}");
    for document in &documents {
        let source = fs::read_to_string(document["scenario"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&document["passed"], &document["failures"]),
            (&true.into(), &Value::Array(vec![])),
            "{source}\n{said}"
        );
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_does_not_hold_is_told_with_what_comes_closest() {
    extension();
    let folder = folder("failing");
    let scenario = folder.join("scenario.toml");
    let text = r#"
        functions.orders.package = "orders-worker"
        [[events]]
        name = "seven"
        json = '{"id": 7}'
        expect.answer = { fulfilled = 2 }
        [[expect.spans]]
        path = "aws.sqs > aws.lambda"
        [[expect.logs]]
        message = "*no such line*"
        [[expect.metrics]]
        name = "aws.lambda.enhanced.invocations"
        sum = 5
    "#;
    fs::write(&scenario, text).unwrap();
    let output = run(&[scenario], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(output.stdout, b"");
    for sentence in [
        r#"answer to seven, {"fulfilled":2}: 200 {"fulfilled":1}"#,
        "span aws.sqs > aws.lambda, at least 1: found 0 of",
        "closest is span aws.lambda \"orders\"",
        "its path is \"aws.lambda\", not \"aws.sqs > aws.lambda\"",
        "log \"*no such line*\", at least 1: found 0 of",
        "metric aws.lambda.enhanced.invocations, sum 5: it is 1",
        "4 not as expected",
    ] {
        assert!(said.contains(sentence), "{sentence} is not said:\n{said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_wrong_scenario_is_told_with_its_place() {
    let folder = folder("wrong");
    let scenario = folder.join("scenario.toml");
    fs::write(&scenario, "[functions.orders]\npackage = 'orders-worker'\nmemory = 5\n[[events]]\n").unwrap();
    let output = run(&[scenario], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("line 3") && said.contains("unknown field `memory`"), "{said}");
    let output = run(&[folder.join("none.toml")], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("none.toml"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}
