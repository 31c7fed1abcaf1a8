//! The function, its folder, and `dd-lambda` as a process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A function that answers with its version and its event; an event with `"fail"` makes it end.
pub(crate) const FUNCTION: &str = r##"
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
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
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
pub(crate) fn bootstrap() -> &'static Path {
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

pub(crate) fn dd_lambda(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dd-lambda"));
    command.args(args).current_dir(folder).env("NO_COLOR", "1").env_remove("CARGO_TARGET_DIR");
    command
}

pub(crate) fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    ended(dd_lambda(folder, args).output().unwrap())
}

pub(crate) fn ended(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A command that runs on; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    /// Reads standard output, or standard error, line by line.
    pub(crate) fn start(mut command: Command, errors: bool) -> Self {
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

    pub(crate) fn line(&self, like: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            if like(&line) {
                return line;
            }
        }
    }

    /// The next line of JSON that tells of this event.
    pub(crate) fn event(&self, name: &str) -> Value {
        let line = self.line(|line| line.contains(&format!("\"event\":\"{name}\"")));
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn interrupt(mut self) -> Option<i32> {
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
pub(crate) fn http(url: &str, head: &str, body: &str) -> (u16, String) {
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

pub(crate) fn invoked(ready: &Value, event: &str) -> Value {
    let head = "POST /2015-03-31/functions/tiny/invocations HTTP/1.1";
    let (status, body) = http(ready["endpoint"].as_str().unwrap(), head, event);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}
