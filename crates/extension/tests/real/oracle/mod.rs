//! Datadog's own trace agent for serverless platforms beside ours: what both make of the same requests, field by field.
//! What is different has to be in the list, with the reason, and `docs/compatibility-tracers.md` shows the list.

mod cases;
mod differences;
mod stats;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use intake::Intake;
use model::{Attribute, SamplingPriority, Span, TraceChunk, TracerPayload};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::agent::{Agent, http, raw};
use crate::fake_lambda::{FakeLambda, PATIENCE, millis};
use crate::ports::Ports;
use crate::records::{delivery, runtime_done, start};
use cases::{Case, cases};
use differences::{DIFFERENCES, Difference, REFUSED_CASES};

/// What a tracer says of itself.
const HEADERS: [(&str, &str); 5] = [
    ("content-type", "application/msgpack"),
    ("datadog-meta-lang", "python"),
    ("datadog-meta-lang-version", "3.11"),
    ("datadog-meta-tracer-version", "4.16"),
    ("datadog-container-id", "c1"),
];

/// By case, span and field: what there is of it.
type Fields = BTreeMap<(String, u64, String), String>;

/// Their process.
struct Theirs {
    #[expect(dead_code, reason = "ends with this")]
    child: Child,
    ports: Ports,
    folder: PathBuf,
}

impl Theirs {
    async fn start(intake: &Intake, more: &[(&str, &str)]) -> Self {
        let python = std::env::var("REAL_PYTHON").expect("REAL_PYTHON: cargo xtask test --only real");
        let find = "from datadog_serverless_compat.main import get_binary_path as path; print(path())";
        let found = Command::new(python).args(["-c", find]).output().await.unwrap();
        let packaged = String::from_utf8(found.stdout).unwrap();
        let ports = Ports::free();
        let folder = std::env::temp_dir().join(format!("oracle-{}-{}", std::process::id(), ports.traces));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("datadog-serverless-compat");
        // By another process: one that a test beside this begins while this writes would have the file open for
        // writing, and then it cannot be run.
        let copied =
            Command::new("install").args(["-m", "755", packaged.trim()]).arg(&program).status().await;
        assert!(copied.unwrap().success());
        let child = Command::new(program)
            .env_clear()
            .envs([
                ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
                ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
                ("DD_API_KEY", "0123456789abcdef0123456789abcdef"),
                ("DD_APM_DD_URL", &intake.url()),
                ("DD_APM_RECEIVER_PORT", &ports.traces.to_string()),
                ("DD_DOGSTATSD_PORT", &ports.dogstatsd.to_string()),
            ])
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let theirs = Self { child, ports, folder };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", ports.traces)).await.is_err() {
            assert!(Instant::now() < end, "Datadog's agent does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        theirs
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The trace of a case.
fn trace_id(number: usize) -> u64 {
    5_000_000 + number as u64
}

/// The body of a request. Times are the same for both.
fn body(case: &Case, number: usize, now: u64) -> Vec<u8> {
    let mut all = case.traces.clone();
    for trace in &mut all {
        for span in trace.as_array_mut().unwrap() {
            span["trace_id"] = trace_id(number).into();
            if span["start"] == "now" {
                span["start"] = now.into();
            }
        }
    }
    let mut bytes = Vec::new();
    pack(&Value::Array(all), &mut bytes);
    bytes
}

/// MessagePack of JSON, with what JSON has not: `{"$": "nil"}`, and bytes as `bin` or `text`.
fn pack(value: &Value, to: &mut Vec<u8>) {
    let sized = |to: &mut Vec<u8>, code: u8, length: usize| {
        to.push(code);
        to.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    };
    match value {
        Value::Null => to.push(0xc0),
        Value::Bool(yes) => to.push(0xc2 + u8::from(*yes)),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => to.extend([&[0xcf][..], &n.to_be_bytes()].concat()),
            (_, Some(n)) => to.extend([&[0xd3][..], &n.to_be_bytes()].concat()),
            _ => to.extend([&[0xcb][..], &number.as_f64().unwrap().to_be_bytes()].concat()),
        },
        Value::String(text) => {
            sized(to, 0xdb, text.len());
            to.extend_from_slice(text.as_bytes());
        }
        Value::Array(all) => {
            sized(to, 0xdd, all.len());
            all.iter().for_each(|one| pack(one, to));
        }
        Value::Object(special) if special.contains_key("$") => {
            let bytes = || special["of"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u8);
            match special["$"].as_str().unwrap() {
                "nil" => return to.push(0xc0),
                "bin" => sized(to, 0xc6, bytes().count()),
                _ => sized(to, 0xdb, bytes().count()),
            }
            to.extend(bytes());
        }
        Value::Object(fields) => {
            sized(to, 0xdf, fields.len());
            for (key, value) in fields {
                pack(&key.clone().into(), to);
                pack(value, to);
            }
        }
    }
}

/// Sends all to one of them.
async fn send(port: u16, now: u64) -> Vec<u16> {
    let mut answers = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        answers.push(http(port, "PUT", "/v0.4/traces", &HEADERS, &body(case, number, now)).await.status);
    }
    answers
}

/// What is at an intake, once the cases are of which there shall be something.
async fn arrived(intake: &Intake, now: u64, but: &[&str]) -> Fields {
    let all = cases();
    let wanted = all.iter().enumerate().filter(|(_, case)| !but.contains(&case.name));
    let ids: Vec<_> = wanted.map(|(number, _)| model::TraceId::new(0, trace_id(number)).unwrap()).collect();
    let there = |state: &intake::State| ids.iter().all(|id| state.trace(*id).is_some());
    let arrived = intake.store().wait_until(there, Instant::now() + 3 * PATIENCE).await;
    assert!(arrived, "{:#?}", intake.store().snapshot().traces);
    let mut fields = Fields::new();
    for body in plain_bodies(intake, "/api/v0.2/traces").await {
        for payload in payload::traces::decode(&body).unwrap() {
            for chunk in &payload.chunks {
                flatten(&payload, chunk, now, &mut fields);
            }
        }
    }
    fields
}

/// What requests of a path held.
async fn plain_bodies(intake: &Intake, path: &str) -> Vec<Vec<u8>> {
    let port = intake.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut bodies = Vec::new();
    for request in intake.store().snapshot().requests.iter().filter(|request| request.path == path) {
        let ask = format!(
            "GET /local/requests/{}/body HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            request.number
        );
        let answer = raw(port, ask.as_bytes()).await;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        bodies.push(answer[head..].to_vec());
    }
    bodies
}

fn is_there() -> bool {
    let is_there = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    if !is_there {
        eprintln!("NOT TESTED: Datadog's agent is there for Linux on x86_64 alone");
    }
    is_there
}

fn flatten(payload: &TracerPayload, chunk: &TraceChunk, now: u64, to: &mut Fields) {
    let all = cases();
    for span in &chunk.spans {
        let number = usize::try_from(span.trace_id.low() - trace_id(0)).unwrap();
        let mut put = |field: &str, value: String| {
            let key = (all[number].name.to_owned(), span.span_id.get(), field.to_owned());
            let copy = (key.0.clone(), key.1, format!("{field} again"));
            let key = if to.contains_key(&key) { copy } else { key };
            to.insert(key, value);
        };
        put("payload.env", payload.env.to_string());
        put("payload.app_version", payload.app_version.to_string());
        put("payload.hostname", payload.hostname.to_string());
        put("payload.runtime_id", payload.runtime_id.to_string());
        put("payload.tracer", format!("{:?}", payload.tracer));
        put("payload.tags", keys(payload.tags.iter().map(|(key, _)| key.to_string())));
        put("chunk.priority", format!("{:?}", chunk.priority.map(SamplingPriority::as_i8)));
        put("chunk.origin", chunk.origin.to_string());
        put("chunk.tags", keys(chunk.tags.iter().map(|(key, _)| key.to_string())));
        span_fields(span, now, &mut put);
    }
}

fn span_fields(span: &Span, now: u64, put: &mut impl FnMut(&str, String)) {
    put("name", span.name.to_string());
    put("service", span.service.to_string());
    put("resource", span.resource.to_string());
    put("type", span.kind.to_string());
    put("parent", span.parent_id.map_or(0, model::SpanId::get).to_string());
    let start = span.start.as_nanos();
    put(
        "start",
        match start {
            start if start == now => "as told".to_owned(),
            start if start.abs_diff(now) < 600_000_000_000 => "now".to_owned(),
            start => start.to_string(),
        },
    );
    put("duration", span.duration.as_nanos().to_string());
    put("error", span.error.to_string());
    for (key, value) in span.meta.iter() {
        put(&format!("meta.{key}"), value.to_string());
    }
    for (key, value) in span.metrics.iter() {
        put(&format!("metrics.{key}"), value.to_string());
    }
    for (key, value) in span.meta_struct.iter() {
        put(&format!("meta_struct.{key}"), format!("{value:x?}"));
    }
    for (n, link) in span.links.iter().enumerate() {
        put(&format!("links.{n}"), format!("{link:?}"));
    }
    for (n, event) in span.events.iter().enumerate() {
        let mut attributes: Vec<(String, &Attribute)> =
            event.attributes.iter().map(|(key, value)| (key.to_string(), value)).collect();
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        put(&format!("events.{n}"), format!("{} {} {attributes:?}", event.time.as_nanos(), event.name));
    }
}

fn keys(all: impl Iterator<Item = String>) -> String {
    all.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
#[ignore = "needs Datadog's trace agent: cargo xtask test --only real"]
async fn what_is_different_from_datadogs_agent_is_in_the_list() {
    if !is_there() {
        return;
    }
    let now = u64::try_from(millis()).unwrap() * 1_000_000;
    let (their_intake, intake) = (Intake::start().await.unwrap(), Intake::start().await.unwrap());
    let theirs = Theirs::start(&their_intake, &[]).await;
    let lambda = FakeLambda::start().await;
    let url = intake.url();
    let variables =
        ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map(|name| (name, url.as_str()));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", 10 * PATIENCE);
    let (their_answers, answers) =
        tokio::join!(send(theirs.ports.traces, now), send(agent.ports.traces, now));
    let refused = cases().into_iter().zip(&their_answers).filter(|(_, status)| **status != 200);
    assert_eq!(refused.map(|(case, _)| case.name).collect::<Vec<_>>(), REFUSED_CASES);
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let (theirs, ours) =
        (arrived(&their_intake, now, &REFUSED_CASES).await, arrived(&intake, now, &[]).await);
    compare(&DIFFERENCES, &theirs, &ours);
    // What is alike must not be alike because it is missing.
    assert_eq!(ours.keys().filter(|(_, _, field)| field == "name").count(), spans());
    let url = &ours[&("HTTP".to_owned(), 1, "meta.http.url".to_owned())];
    assert!(!url.contains("secret"), "{url}");
}

/// How many spans there are in all, each once.
fn spans() -> usize {
    let ids = |case: &Case| {
        let spans = case.traces.iter().flat_map(|trace| trace.as_array().unwrap());
        spans.map(|span| span["span_id"].as_u64()).collect::<BTreeSet<_>>().len()
    };
    cases().iter().map(ids).sum()
}

fn compare(listed: &[Difference], theirs: &Fields, ours: &Fields) {
    let all: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    let (mut found, mut unknown) = (BTreeSet::new(), String::new());
    for key in all.into_iter().filter(|key| theirs.get(*key) != ours.get(*key)) {
        let (a, b) = (short(theirs.get(key)), short(ours.get(key)));
        match listed.iter().position(|difference| difference.is(key, &a, &b)) {
            Some(n) => drop(found.insert(n)),
            None => unknown.push_str(&format!("{key:?}: theirs {a}, ours {b}\n")),
        }
    }
    assert_eq!(unknown, "", "not in the list");
    let gone = listed.iter().enumerate().filter(|(n, _)| !found.contains(n));
    let gone: Vec<_> = gone.map(|(_, difference)| (difference.case, difference.fields)).collect();
    assert!(gone.is_empty(), "in the list, but alike: {gone:?}");
}

/// Runs with the tests that need Rust alone.
#[test]
fn the_list_is_in_the_docs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility-tracers.md");
    let mut fresh = fs::read_to_string(&path).unwrap();
    let lists: [(&str, &[Difference]); 3] = [
        ("differences", &DIFFERENCES),
        ("statistics", &stats::MADE),
        ("statistics of tracers", &stats::PASSED_ON),
    ];
    for (name, list) in lists {
        let mark = format!("<!-- {name} -->\n");
        let (before, rest) = fresh.split_once(&mark).unwrap();
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        fresh = format!("{before}{mark}{}<!-- end -->{after}", differences::table(list));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text == fresh, "UPDATE_DOCS=1 cargo test -p extension --test real");
}

fn short(value: Option<&String>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match value.chars().count() {
        0 => "\"\"".to_owned(),
        n if n > 60 => format!("{}… ({n})", value.chars().take(50).collect::<String>()),
        _ => value.clone(),
    }
}
