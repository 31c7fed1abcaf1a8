//! What is asked for wrongly: what went wrong, and what to do.

use std::fs;
use std::net::TcpListener;

use super::common::{Folder, bootstrap, run};

#[test]
fn what_is_asked_for_wrongly_is_told_with_what_to_do() {
    let folder = Folder::new("wrong");
    fs::create_dir(folder.0.join("empty")).unwrap();
    fs::write(folder.0.join("broken.json"), "{\"id\":").unwrap();
    fs::write(folder.0.join("not.zip"), "no zip").unwrap();
    fs::write(folder.0.join("broken.toml"), "[functions.f\n").unwrap();
    let function = format!("tiny={}", bootstrap().display());
    let invoke = |more: &[&'static str]| {
        [&["invoke", "--function", function.as_str(), "--no-extension"], more].concat()
    };
    for (args, status, says) in [
        (vec!["invoke"], 1, "--function NAME=PROGRAM or --package PACKAGE"),
        (vec!["invoke", "--sample", "pigeon", "--show-event"], 1, "dd-lambda invoke --samples"),
        (vec!["invoke", "--sample", "sqss", "--show-event"], 1, "(is sqs meant?)"),
        (invoke(&["--event", "none.json"]), 1, "--event none.json: No such file"),
        (
            invoke(&["--event", "broken.json"]),
            1,
            "--event broken.json is not JSON: EOF while parsing a value at line 1",
        ),
        (invoke(&["--invoke", "other"]), 1, "there is no such function; there is tiny"),
        (invoke(&["--layer", "none"]), 1, "none"),
        (invoke(&["--layer", "not.zip"]), 1, "not.zip"),
        (invoke(&["--timeout", "0"]), 2, "above 0 and up to 900"),
        (invoke(&["--mode", "fast"]), 2, "on-demand"),
        (vec!["invoke", "--function", &function, "--extension", "empty"], 1, "cargo build -p extension"),
        (vec!["dev", "--function", "x=/no/such"], 2, "is it built?"),
        (vec!["dev", "--function", "x=empty"], 2, "is a folder: name the program in it"),
        (vec!["dev", "--function", "no/name=x"], 2, "1 to 64 letters, digits, - and _"),
        (vec!["dev", "--function", "bootstrap"], 2, "name=path/to/program"),
        (vec!["dev", "--package", "none", "--no-extension"], 1, "could not find `Cargo.toml`"),
        (vec!["dev"], 2, "<--function <NAME=PROGRAM>|--command <NAME=COMMAND>|--package <[NAME=]PACKAGE>>"),
        (vec!["replay"], 1, "dd-lambda dev"),
        (vec!["run", "none.toml"], 2, "none.toml"),
        (vec!["run", "broken.toml"], 2, "broken.toml"),
        (vec!["inwoke"], 2, "invoke"),
        (vec![], 2, "dd-lambda demo"),
    ] {
        let (code, out, said) = run(&folder.0, &args);
        assert_eq!(code, Some(status), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {says:?} is not in {said}");
        assert!(out.is_empty() && !said.contains('\u{1b}'), "{args:?}: {out}{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_its_option() {
    let folder = Folder::new("ports");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let function = format!("tiny={}", bootstrap().display());
    let dev = ["dev", "--function", &function, "--no-extension"];
    for (args, who, option) in [
        (vec!["intake", "--port", &port], "the local intake", "--port"),
        (vec!["intake", "--page-port", &port], "the page", "--page-port"),
        ([&dev[..], &["--port", &port]].concat(), "the page", "--port"),
        ([&dev[..], &["--invoke-port", &port]].concat(), "the local Lambda", "--invoke-port"),
    ] {
        let (code, _, said) = run(&folder.0, &args);
        let want = format!("{who} cannot listen on port {port} of 127.0.0.1: choose another with {option},");
        assert!(code == Some(1) && said.contains(&want), "{args:?}: {said}");
        assert!(said.contains("in use"), "{said}");
    }
}
