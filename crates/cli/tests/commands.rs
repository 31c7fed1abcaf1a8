//! Each command as people use it: the real program, a function of some lines that any Rust builds in a second.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A function that answers with its version and its event; an event with `"fail"` makes it end.
const FUNCTION: &str = r##"
use std::io::{BufRead, BufReader, Read, Write};
fn call(host: &str, head: &str, body: &str) -> (String, String) {
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let rest = format!("host: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(format!("{head} HTTP/1.1\r\n{rest}").as_bytes()).unwrap();
    let (mut reader, mut id, mut length, mut line) = (BufReader::new(stream), String::new(), 0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            match name {
                "lambda-runtime-aws-request-id" => id = value.to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (id, String::from_utf8(body).unwrap())
}
fn main() {
    let host = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    loop {
        let (id, event) = call(&host, "GET /2018-06-01/runtime/invocation/next", "");
        println!("got {event}");
        assert!(!event.contains("\"fail\""), "told to fail");
        let answer = format!("{{\"version\":\"one\",\"event\":{event}}}");
        call(&host, &format!("POST /2018-06-01/runtime/invocation/{id}/response"), &answer);
    }
}
"##;

/// A new folder, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dd-lambda-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The function as a program, built once.
fn bootstrap() -> &'static Path {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("commands-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let source = place.join("function.rs");
        fs::write(&source, FUNCTION).unwrap();
        let program = place.join("bootstrap");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let built = Command::new(rustc).args(["--edition=2021", "-o"]).arg(&program).arg(source).status();
        assert!(built.unwrap().success());
        program
    });
    &BUILT
}

fn dd_lambda(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dd-lambda"));
    command.args(args).current_dir(folder).env("NO_COLOR", "1").env_remove("CARGO_TARGET_DIR");
    command
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    ended(dd_lambda(folder, args).output().unwrap())
}

fn ended(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A command that runs on; killed when dropped.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// Reads standard output, or standard error, line by line.
    fn start(mut command: Command, errors: bool) -> Self {
        command.stdin(Stdio::piped());
        if errors {
            command.stderr(Stdio::piped());
        } else {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let output: Box<dyn std::io::Read + Send> = match errors {
            true => Box::new(child.stderr.take().unwrap()),
            false => Box::new(child.stdout.take().unwrap()),
        };
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    fn line(&self, like: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            if like(&line) {
                return line;
            }
        }
    }

    /// The next line of JSON that tells of this event.
    fn event(&self, name: &str) -> Value {
        let line = self.line(|line| line.contains(&format!("\"event\":\"{name}\"")));
        serde_json::from_str(&line).unwrap()
    }

    fn interrupt(mut self) -> Option<i32> {
        let kill = format!("kill -INT {}", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
        drop(self.stdin.take());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of one request.
fn http(url: &str, head: &str, body: &str) -> (u16, String) {
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head =
        format!("{head}\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn invoked(ready: &Value, event: &str) -> Value {
    let head = "POST /2015-03-31/functions/tiny/invocations HTTP/1.1";
    let (status, body) = http(ready["endpoint"].as_str().unwrap(), head, event);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

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
fn what_is_asked_for_wrongly_is_told_with_what_to_do() {
    let folder = Folder::new("wrong");
    for (args, status, says) in [
        (&["invoke"][..], 1, "--function NAME=PROGRAM or --package PACKAGE"),
        (&["invoke", "--sample", "pigeon", "--show-event"], 1, "dd-lambda invoke --samples"),
        (&["dev", "--function", "x=/no/such"], 2, "is it built?"),
        (&["dev", "--package", "none", "--no-extension"], 1, "could not find `Cargo.toml`"),
        (&["dev"], 2, "<--function <NAME=PROGRAM>|--command <NAME=COMMAND>|--package <[NAME=]PACKAGE>>"),
        (&["replay"], 1, "dd-lambda dev"),
        (&["run", "none.toml"], 2, "none.toml"),
        (&["inwoke"], 2, "invoke"),
        (&[], 2, "dd-lambda demo"),
    ] {
        let (code, _, said) = run(&folder.0, args);
        assert_eq!(code, Some(status), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {says:?} is not in {said}");
    }
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

#[test]
fn the_intake_alone_tells_every_request_and_what_is_wrong_with_it() {
    let folder = Folder::new("intake");
    let key = "content-type: application/json\r\ndd-api-key: k";
    let logs = format!("POST /api/v2/logs HTTP/1.1\r\n{key}");
    for (body, status, code) in [(r#"[{"message":"m"}]"#, 202, 0), ("{broken", 400, 1)] {
        let args = ["intake", "--strict", "--requests", "1"];
        let intake = Running::start(dd_lambda(&folder.0, &args), true);
        let line = intake.line(|line| line.trim_start().starts_with("intake "));
        let url = line.split_whitespace().last().unwrap().to_owned();
        assert_eq!(http(&url, &logs, body).0, status, "{body}");
        let line = intake.line(|line| line.contains("/api/v2/logs"));
        assert!(line.trim_start().starts_with(&status.to_string()), "{line}");
        let mut intake = intake;
        assert_eq!(intake.child.wait().unwrap().code(), Some(code), "{body}");
    }
}
