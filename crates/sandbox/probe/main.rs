//! Stands in for functions and extensions in the tests of the sandbox: speaks the Runtime and Extensions API over plain
//! sockets and prints what it is told. As a function it does what the event says, as an extension what the variable
//! `PROBE` says.

mod wrong;

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{ExitCode, exit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

static TURNS: AtomicU64 = AtomicU64::new(0);
static REPORTS: AtomicU64 = AtomicU64::new(0);

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("inside") {
        return sandbox::inside();
    }
    match env::var("_HANDLER") {
        Ok(_) => function(),
        Err(_) => extension(),
    }
    ExitCode::SUCCESS
}

fn api() -> String {
    env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default()
}

fn call(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap_or_else(|e| fail(&format!("connect {host}: {e}")));
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    sent.unwrap_or_else(|e| fail(&format!("send: {e}")));
    let (first, headers, body) = read_http(&mut BufReader::new(stream));
    let status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn read_http(stream: &mut BufReader<TcpStream>) -> (String, Vec<(String, String)>, Vec<u8>) {
    let line = |stream: &mut BufReader<TcpStream>| {
        let mut text = String::new();
        let _ = stream.read_line(&mut text);
        text.trim_end().to_owned()
    };
    let first = line(stream);
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let header = line(stream);
        let Some((name, value)) = header.split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap_or(0);
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut body = vec![0; length];
    let _ = stream.read_exact(&mut body);
    (first, headers, body)
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or_default()
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn fail(why: &str) -> ! {
    say(&format!("probe: {why}"));
    exit(99)
}

/// With `AWS_LAMBDA_MAX_CONCURRENCY`, so many at a time.
fn function() {
    let several = env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|n| n.parse::<u64>().ok());
    let workers: Vec<_> = (1..several.unwrap_or(1)).map(|_| std::thread::spawn(work)).collect();
    work();
    for worker in workers {
        let _ = worker.join();
    }
}

fn work() {
    let api = api();
    let has = |flag: &str| env::var("PROBE_INIT").is_ok_and(|init| init == flag);
    if has("exit") {
        exit(7);
    }
    if has("error") {
        let body = br#"{"errorType":"Runtime.BadConfig","errorMessage":"no"}"#;
        let headers = [("lambda-runtime-function-error-type", "Runtime.BadConfig")];
        let answer = call(&api, "POST", "/2018-06-01/runtime/init/error", &headers, body);
        say(&format!("init/error {} {}", answer.status, answer.body.trim()));
        exit(1);
    }
    if has("restore") || has("restore-error") {
        let answer = call(&api, "GET", "/2018-06-01/runtime/restore/next", &[], b"");
        say(&format!("restored {} {:?}", answer.status, answer.body));
    }
    if has("restore-error") {
        let headers = [("lambda-runtime-function-error-type", "Runtime.AfterRestoreError")];
        let answer = call(&api, "POST", "/2018-06-01/runtime/restore/error", &headers, b"{}");
        say(&format!("restore/error {}", answer.status));
        exit(1);
    }
    if has("hang") {
        loop {
            std::thread::park();
        }
    }
    loop {
        let next = call(&api, "GET", "/2018-06-01/runtime/invocation/next", &[], b"");
        let id = next.header("lambda-runtime-aws-request-id");
        let attempt = next.header("lambda-runtime-invocation-id");
        let event: Value = serde_json::from_str(&next.body).unwrap_or_default();
        let path = format!("/2018-06-01/runtime/invocation/{id}");
        let echo = [("lambda-runtime-invocation-id", attempt.as_str())];
        if field(&event, "do") == "stream" {
            let answer = stream(&api, &format!("{path}/response"), &event);
            if answer != 202 {
                say(&format!("stream {answer}"));
            }
            continue;
        }
        match act(&event, &next) {
            Ok(body) => {
                let answer = call(&api, "POST", &format!("{path}/response"), &echo, body.as_bytes());
                if answer.status != 202 {
                    say(&format!("response {} {}", answer.status, answer.body.trim()));
                }
            }
            Err(kind) => {
                let body = json!({ "errorType": kind, "errorMessage": "asked for" }).to_string();
                let cause = field(&event, "cause");
                let headers = [
                    ("lambda-runtime-function-error-type", kind.as_str()),
                    ("lambda-runtime-function-xray-error-cause", cause),
                ];
                let answer = call(&api, "POST", &format!("{path}/error"), &headers, body.as_bytes());
                if answer.status != 202 {
                    say(&format!("error {} {}", answer.status, answer.body.trim()));
                }
            }
        }
    }
}

/// Sends a first part, waits for the gate, sends the rest; with `fail`, says in trailers what went wrong.
fn stream(host: &str, path: &str, event: &Value) -> u16 {
    let Ok(mut stream) = TcpStream::connect(host) else { fail("cannot connect") };
    let mode = "lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked";
    let trailers = "trailer: lambda-runtime-function-error-type, lambda-runtime-function-error-body";
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{mode}\r\n{trailers}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(b"5\r\nfirst\r\n"));
    while !std::path::Path::new(field(event, "path")).exists() {
        std::thread::yield_now();
    }
    let end = match event.get("fail") {
        // `{"errorType":"Function.Bad"}`
        Some(_) => {
            "0\r\nlambda-runtime-function-error-type: Function.Bad\r\nlambda-runtime-function-error-body: \
                    eyJlcnJvclR5cGUiOiJGdW5jdGlvbi5CYWQifQ==\r\n\r\n"
        }
        None => "6\r\nsecond\r\n0\r\n\r\n",
    };
    let _ = stream.write_all(end.as_bytes());
    let (first, _, _) = read_http(&mut BufReader::new(stream));
    first.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

fn act(event: &Value, next: &Answer) -> Result<String, String> {
    let text = |name: &str| field(event, name).to_owned();
    match field(event, "do") {
        "headers" => {
            let headers: serde_json::Map<String, Value> = next
                .headers
                .iter()
                .map(|(name, value)| (name.to_lowercase(), value.clone().into()))
                .collect();
            Ok(Value::Object(headers).to_string())
        }
        "env" => Ok(Value::from_iter(env::vars().map(|(n, v)| (n, Value::from(v)))).to_string()),
        "print" => {
            say(&text("text"));
            Ok("null".to_owned())
        }
        "await" => {
            while !std::path::Path::new(&text("path")).exists() {
                std::thread::yield_now();
            }
            Ok("null".to_owned())
        }
        "spin" => {
            std::thread::spawn(|| {
                loop {
                    TURNS.fetch_add(1, Ordering::Relaxed);
                }
            });
            // It runs for sure before anything may freeze it.
            while TURNS.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            Ok("null".to_owned())
        }
        "list" => {
            let entries = std::fs::read_dir(text("path")).into_iter().flatten().flatten();
            let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            Ok(json!(names).to_string())
        }
        "write" => Ok(json!(std::fs::write(text("path"), text("text")).is_ok()).to_string()),
        "fill" => {
            let bytes = vec![1_u8; number(event, "mb") as usize * 1024 * 1024];
            while std::hint::black_box(&bytes).first() == Some(&1) {
                std::thread::park();
            }
            Ok("null".to_owned())
        }
        // So much, and nothing of it any more when it is answered.
        "burst" => {
            let bytes = vec![1_u8; number(event, "mb") as usize * 1024 * 1024];
            Ok(json!(std::hint::black_box(&bytes).first()).to_string())
        }
        "turns" => Ok(TURNS.load(Ordering::Relaxed).to_string()),
        "get" => Ok(get(&text("url"), &text("authorization"))),
        "meet" => {
            meet(number(event, "count"));
            Ok(next.body.clone())
        }
        "sleep" => loop {
            std::thread::park();
        },
        "exit" => {
            say("last words");
            exit(number(event, "code") as i32)
        }
        "error" => Err(text("type")),
        "big" => Ok(format!("\"{}\"", "x".repeat(number(event, "bytes") as usize - 2))),
        "invoke" => Ok(invoke(event)),
        _ => Ok(next.body.clone()),
    }
}

fn get(url: &str, authorization: &str) -> String {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or_default();
    let answer = call(host, "GET", &format!("/{path}"), &[("authorization", authorization)], b"");
    json!({ "status": answer.status, "body": answer.body }).to_string()
}

/// Ends when so many are here at a time.
fn meet(count: i64) {
    TURNS.fetch_add(1, Ordering::Relaxed);
    while (TURNS.load(Ordering::Relaxed) as i64) < count {
        std::thread::yield_now();
    }
}

fn invoke(event: &Value) -> String {
    let endpoint = env::var("AWS_ENDPOINT_URL_LAMBDA").unwrap_or_default();
    let host = endpoint.trim_start_matches("http://");
    let path = format!("/2015-03-31/functions/{}/invocations", field(event, "name"));
    let answer = call(
        host,
        "POST",
        &path,
        &[("x-amz-log-type", "Tail"), ("x-amz-tenant-id", "blue")],
        event.get("event").map(Value::to_string).unwrap_or_default().as_bytes(),
    );
    json!({ "status": answer.status, "body": answer.body, "version": answer.header("x-amz-executed-version"), "log": answer.header("x-amz-log-result") })
        .to_string()
}

fn extension() {
    let name = env::args().next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    let probe = env::var("PROBE").unwrap_or_default();
    let has = |flag: &str| probe.split(',').any(|f| f == flag);
    let api = api();
    if has("registrations") {
        wrong::registrations(&api, &name);
    }
    if has("crash") {
        exit(3);
    }
    while has("mute") {
        std::thread::park();
    }
    if has("wrongs") {
        wrong::unregistered(&api);
    }
    let managed =
        env::var("AWS_LAMBDA_INITIALIZATION_TYPE").is_ok_and(|kind| kind == "lambda-managed-instances");
    let events: &[u8] = match () {
        () if managed => br#"{"events":["SHUTDOWN"]}"#,
        () if has("no-shutdown") => br#"{"events":["INVOKE"]}"#,
        () => br#"{"events":["INVOKE","SHUTDOWN"]}"#,
    };
    let headers =
        [("lambda-extension-name", name.as_str()), ("lambda-extension-accept-feature", "accountId")];
    let answer = call(&api, "POST", "/2020-01-01/extension/register", &headers, events);
    let id = answer.header("lambda-extension-identifier");
    say(&format!("registered {} {}", answer.status, answer.body));
    if has("subscribe") {
        subscribe(&api, &id);
    }
    if has("subscriptions") {
        wrong::subscriptions(&api, &id);
    }
    if has("wrongs") {
        wrong::registered(&api, &id, &name);
    }
    if has("exit-error") {
        wrong::exit_error(&api, &id);
    }
    if has("errors") {
        let headers = [
            ("lambda-extension-identifier", id.as_str()),
            ("lambda-extension-function-error-type", "Ext.Bad"),
        ];
        let answer = call(&api, "POST", "/2020-01-01/extension/init/error", &headers, b"");
        say(&format!("init/error {} {}", answer.status, answer.body.trim()));
        say(&format!("id {id}"));
        let me = [("lambda-extension-identifier", id.as_str())];
        call(&api, "GET", "/2020-01-01/extension/event/next", &me, b"").report("next after it");
        exit(1);
    }
    if has("env") {
        let names: Vec<String> = env::vars().map(|(name, _)| name).collect();
        say(&format!("env {}", names.join(" ")));
    }
    if has("gated") {
        await_gate();
    }
    attend(&api, &id, &name, has);
}

fn await_gate() {
    while !env::var_os("PROBE_GATE").is_some_and(|gate| std::path::Path::new(&gate).exists()) {
        std::thread::yield_now();
    }
}

/// Asks for events and does with each what the probe is told to, until SHUTDOWN.
fn attend(api: &str, id: &str, name: &str, has: impl Fn(&str) -> bool) {
    let mut invocations = 0;
    loop {
        let event =
            call(api, "GET", "/2020-01-01/extension/event/next", &[("lambda-extension-identifier", id)], b"");
        let body: Value = serde_json::from_str(&event.body).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let left = number(&body, "deadlineMs") - now;
        match field(&body, "eventType") {
            "INVOKE" => {
                invocations += 1;
                say(&format!("INVOKE {} {left}", field(&body, "requestId")));
                if has("wrongs") {
                    wrong::running(api, id, name);
                }
                if has("leaves") {
                    await_gate();
                    exit(0);
                }
                if has("works") {
                    std::thread::sleep(std::time::Duration::from_millis(150));
                }
                if has("late") {
                    call(
                        api,
                        "PUT",
                        "/2022-07-01/telemetry",
                        &[("lambda-extension-identifier", id)],
                        SUBSCRIPTION,
                    )
                    .report("late subscription");
                }
            }
            "SHUTDOWN" => {
                // The last report comes with the thaw: stay for it.
                let told = env::var("PROBE_REPORTS").ok().and_then(|n| n.parse().ok());
                while has("subscribe") && REPORTS.load(Ordering::Relaxed) < told.unwrap_or(invocations) {
                    std::thread::yield_now();
                }
                say(&format!("SHUTDOWN {} {left}", field(&body, "shutdownReason")));
                if !has("linger") {
                    exit(0);
                }
            }
            _ => event.report("next"),
        }
    }
}

impl Answer {
    fn report(&self, what: &str) {
        say(&format!("{what}: {} {}", self.status, self.body.trim()));
    }
}

const SUBSCRIPTION: &[u8] = br#"{"schemaVersion":"2022-12-13","types":["platform","function"],
    "buffering":{"timeoutMs":25},"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8999/in"}}"#;

/// Subscribes with a listener of its own and prints every batch that comes, record by record.
fn subscribe(api: &str, id: &str) {
    let Ok(listener) = TcpListener::bind(("127.0.0.1", telemetry_port())) else { fail("cannot listen") };
    let headers = [("lambda-extension-identifier", id)];
    let bad = call(api, "PUT", "/2022-07-01/telemetry", &headers, br#"{"schemaVersion":"2022-12-13"}"#);
    bad.report("bad subscription");
    let unknown = [("lambda-extension-identifier", "00000000-0000-4000-8000-000000000000")];
    call(api, "PUT", "/2022-07-01/telemetry", &unknown, SUBSCRIPTION).report("unknown subscription");
    let body = String::from_utf8_lossy(SUBSCRIPTION).replace("8999", &telemetry_port().to_string());
    let managed =
        env::var("AWS_LAMBDA_INITIALIZATION_TYPE").is_ok_and(|kind| kind == "lambda-managed-instances");
    if managed {
        call(api, "PUT", "/2022-07-01/telemetry", &headers, body.as_bytes()).report("old schema");
        call(api, "PUT", "/2020-08-15/logs", &headers, body.as_bytes()).report("logs");
    }
    let body = if managed { body.replace("2022-12-13", "2025-01-29") } else { body };
    call(api, "PUT", "/2022-07-01/telemetry", &headers, body.as_bytes()).report("subscription");
    call(api, "PUT", "/2022-07-01/telemetry", &headers, body.as_bytes()).report("second subscription");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(mut answers) = stream.try_clone() else { continue };
            let mut stream = BufReader::new(stream);
            while stream.fill_buf().is_ok_and(|b| !b.is_empty()) {
                let (first, _, body) = read_http(&mut stream);
                let records: Vec<Value> = serde_json::from_slice(&body).unwrap_or_default();
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                for record in &records {
                    let kind = field(record, "type");
                    let line = field(record, "record");
                    say(format!("telemetry {path} {kind} {line}").trim_end());
                    let id = record.get("record").map(|r| field(r, "requestId")).unwrap_or_default();
                    if env::var("PROBE").is_ok_and(|probe| probe.contains("ids")) && !id.is_empty() {
                        say(&format!("of {id} {kind} {}", field(record, "time")));
                    }
                    REPORTS.fetch_add(u64::from(kind == "platform.report"), Ordering::Relaxed);
                }
                let _ = answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
}

fn telemetry_port() -> u16 {
    env::var("DD_LAMBDA_TELEMETRY_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(0)
}
