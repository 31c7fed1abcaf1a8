//! The real `dd-lambda`, and what is sent to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use model::{
    Batch, Log, LogLevel, SamplingPriority, Series, SeriesKind, Span, SpanId, SpanLink, Tags, TraceChunk,
    TraceId, TracerPayload, UnixNanos, keys,
};

use crate::chromium::PATIENCE;

/// A running `dd-lambda`. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Stack {
    process: Child,
    said: Receiver<String>,
    told: Vec<String>,
    /// `http://127.0.0.1:port/`
    pub(crate) page: String,
}

impl Stack {
    /// Starts it, and waits until it says where its page is.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        // It keeps what is invoked where it runs.
        Self::start_in(Path::new(env!("CARGO_TARGET_TMPDIR")), arguments)
    }

    /// The same in another folder.
    pub(crate) fn start_in(folder: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_dd-lambda"))
            .args(arguments)
            .env("NO_COLOR", "1")
            .current_dir(folder)
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = process.stderr.take().unwrap();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Also when nobody listens: it must not wait for a full pipe.
                let _ = sender.send(line);
            }
        });
        let mut stack = Self { process, said, told: Vec::new(), page: String::new() };
        stack.page = stack.word("page");
        stack
    }

    /// What it says its `what` is.
    pub(crate) fn word(&mut self, what: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.told.iter().find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some(what)).then(|| words.next().unwrap_or_default().to_owned())
            });
            if let Some(found) = found {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) => self.told.push(line),
                Err(_) => panic!("it does not say its {what}: {:#?}", self.told),
            }
        }
    }
}

impl Stack {
    /// An answer of the page's own API.
    pub(crate) fn ask(&self, path: &str) -> serde_json::Value {
        let address = self.page.strip_prefix("http://").unwrap().trim_end_matches('/');
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /{path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {head}");
        serde_json::from_str(body).unwrap_or_else(|why| panic!("{path}: {why}: {body}"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program of an example, built with the extension, which lies beside it and beside dd-lambda. The same packages
/// as the demo builds: with others, cargo would build what they share anew.
pub(crate) fn program(example: &str) -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "extension", "-p", "orders-api", "-p", "orders-worker"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_dd-lambda")).with_file_name(example)
}

/// Looks like a key.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Sends a batch as an agent does.
pub(crate) fn send(intake: &str, batch: &Batch) {
    let endpoint = payload::endpoint(batch.signal());
    let plain = payload::encode(batch);
    let packed = payload::compress(&plain, payload::Encoding::Zstd);
    let headers =
        [("dd-api-key", KEY), ("content-encoding", "zstd"), ("content-type", endpoint.content_type)];
    assert_eq!(post(intake, endpoint.path, &headers, &packed.body), 202);
}

/// The status of the answer.
pub(crate) fn post(url: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A moment long ago enough.
pub(crate) const START_MS: u64 = 1_790_000_000_000;

pub(crate) fn trace_id(low: u64) -> TraceId {
    TraceId::new(0x66a1_b2c3_0000_0000, low).unwrap()
}

/// A span of a trace: microseconds from [`START_MS`].
pub(crate) fn span(trace: u64, id: u64, parent: u64, name: &str, from_us: u64, length_us: u64) -> Span {
    let mut span = Span::new(name.to_owned(), trace_id(trace), SpanId::new(id).unwrap(), SpanId::new(parent));
    span.service = "orders".into();
    span.resource = format!("{name} {id}").into();
    span.start = UnixNanos::from_millis(START_MS) + Duration::from_micros(from_us);
    span.duration = Duration::from_micros(length_us);
    if parent == 0 {
        span.metrics.insert(keys::trace::TOP_LEVEL, 1.0);
    }
    span
}

pub(crate) fn traces(spans: Vec<Span>) -> Batch {
    let tags = [(keys::trace::TID, "66a1b2c300000000")].into_iter().collect();
    let chunk =
        TraceChunk { priority: Some(SamplingPriority::AutoKeep), spans, tags, ..TraceChunk::default() };
    Batch::Traces(vec![TracerPayload { chunks: vec![chunk], ..TracerPayload::default() }])
}

pub(crate) fn logs(lines: &[String]) -> Batch {
    let log = |(at, message): (usize, &String)| Log {
        message: message.clone(),
        level: LogLevel::Info,
        time: UnixNanos::from_millis(START_MS + at as u64),
        request_id: None,
        arn: "arn:aws:lambda:us-east-1:123456789012:function:orders".into(),
        service: "orders".into(),
        tags: "env:test".into(),
        durable: None,
    };
    Batch::Logs(lines.iter().enumerate().map(log).collect())
}

pub(crate) fn gauge(name: &str, tag: &str, values: &[f64]) -> Batch {
    let at = |n: usize| UnixNanos::from_millis(START_MS + 10_000 * n as u64);
    let points = values.iter().enumerate().map(|(n, value)| (at(n), *value)).collect();
    let tags = vec![tag.to_owned().into()];
    let name = name.to_owned().into();
    Batch::Series(vec![Series { name, kind: SeriesKind::Gauge, tags, points, interval_secs: None }])
}

/// A pointer to a thing with this hash.
pub(crate) fn pointer(hash: &str, direction: &str) -> SpanLink {
    let pairs = [("ptr.kind", "aws.s3.object"), ("ptr.hash", hash), ("ptr.dir", direction)];
    let attributes: Tags<_> = pairs.map(|(key, value)| (key, value.to_owned())).into_iter().collect();
    SpanLink { trace_id: None, span_id: None, attributes, tracestate: "".into(), flags: 0 }
}

/// A link to a span.
pub(crate) fn link(trace: u64, span: u64) -> SpanLink {
    let (trace_id, span_id) = (Some(trace_id(trace)), SpanId::new(span));
    SpanLink { trace_id, span_id, attributes: Tags::default(), tracestate: "".into(), flags: 0 }
}
