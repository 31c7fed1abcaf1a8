//! A long life of one sandbox with an intake that fails one request in ten: what came in is what was delivered and
//! what was counted as dropped, by signal, and nothing is delivered twice. Here a short one; `cargo bench -p
//! extension --bench load -- soak 100000` is the same with so many invocations.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::{Chunk, Span, SpanId, TraceId, UnixNanos};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, PATIENCE, millis};
use crate::records::{delivery, log, report, runtime_done, start};
use crate::tally::{Seen, Tally};

const MINUTE: Duration = Duration::from_secs(60);
/// Of a thousand requests.
const FAILING: u64 = 100;
pub(crate) const SPANS: u64 = 10;
pub(crate) const LINES: u64 = 4;
/// Once per invocation each, from the extension.
const ENHANCED: [&str; 9] = [
    "invocations",
    "duration",
    "billed_duration",
    "max_memory_used",
    "memorysize",
    "estimated_cost",
    "runtime_duration",
    "post_runtime_duration",
    "produced_bytes",
];

/// What went in, what came of it.
#[derive(Debug)]
pub(crate) struct Balance {
    pub(crate) signal: &'static str,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
}

pub(crate) struct Report {
    pub(crate) balances: Vec<Balance>,
    /// Deliveries of something that had been delivered.
    pub(crate) twice: u64,
    /// By signal and reason.
    pub(crate) reasons: BTreeMap<(String, String), f64>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) took: Duration,
    pub(crate) unreadable: Vec<String>,
    /// Some request got no answer within its time, as on a machine that stood still: whether it arrived nobody
    /// knows, and it is sent again.
    pub(crate) unanswered: bool,
}

/// Runs so many invocations, each with a start and an end call, a trace, log lines and metrics. `protocol`: `http1` or
/// `http2`.
pub(crate) async fn run(invocations: u64, seed: u64, protocol: &str) -> Report {
    let (lambda, tally) = (FakeLambda::start().await, Tally::start(FAILING, seed, protocol == "http2").await);
    let url = tally.url.clone();
    let mut agent = Agent::start(
        &lambda,
        &[
            ("DD_DD_URL", &*url),
            ("DD_APM_DD_URL", &url),
            ("DD_LOGS_CONFIG_LOGS_DD_URL", &url),
            ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
            ("DD_HTTP_PROTOCOL", protocol),
        ],
    );
    lambda.asked(1).await;
    let begun = Instant::now();
    let mut sandbox = Clients::new(&agent).await;
    for number in 1..=invocations {
        sandbox.invocation(&lambda, number).await;
        lambda.asked(usize::try_from(number).unwrap() + 1).await;
    }
    sandbox.telemetry.call("POST", "/", "", delivery(&[report(&id(invocations))]).as_bytes()).await;
    // A request that fails when the sandbox ends cannot be sent again, and nobody is there to tell of it.
    tally.recover();
    lambda.shutdown(Duration::from_secs(10));
    assert!(agent.ended().await.success(), "{}", agent.printed());
    let took = begun.elapsed();
    let report = tally.read(|seen| balanced(seen, invocations, took));
    Report { unanswered: agent.printed().contains("did not answer"), ..report }
}

pub(crate) fn id(number: u64) -> String {
    format!("r-{number}")
}

fn balanced(seen: &Seen, invocations: u64, took: Duration) -> Report {
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| seen.distinct(kind)).sum();
    let enhanced = ENHANCED.iter().map(|name| seen.value(&format!("aws.lambda.enhanced.{name}")));
    let balance = |signal, sent, delivered, lost: &[&str]| Balance {
        signal,
        sent,
        delivered,
        dropped: lost.iter().map(|signal| seen.lost(signal)).sum::<f64>() as u64,
    };
    Report {
        balances: vec![
            balance("traces", invocations * (SPANS + 1), kinds(&["spans", "aws.lambda spans"]), &["traces"]),
            balance(
                "logs",
                invocations * (LINES + 3),
                kinds(&["log lines", "START lines", "END lines", "REPORT lines"]),
                &["logs"],
            ),
            balance(
                "counts",
                invocations,
                seen.value("soak.count") as u64,
                &["series", "metrics", "datagrams"],
            ),
            balance(
                "distributions",
                invocations * (1 + ENHANCED.len() as u64),
                (seen.value("soak.value") + enhanced.sum::<f64>()) as u64,
                &["sketches"],
            ),
        ],
        twice: seen.again(),
        reasons: seen.dropped.clone(),
        requests: seen.requests,
        failed: seen.failed,
        took,
        unreadable: seen.unreadable.clone(),
        unanswered: false,
    }
}

/// The function's side: connections that it keeps.
pub(crate) struct Clients {
    pub(crate) traces: Kept,
    pub(crate) lifecycle: Kept,
    pub(crate) telemetry: Kept,
    metrics: UdpSocket,
}

impl Clients {
    pub(crate) async fn new(agent: &Agent) -> Self {
        let metrics = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        metrics.connect(("127.0.0.1", agent.ports.dogstatsd)).await.unwrap();
        Self {
            traces: Kept::new(agent.ports.traces).await,
            lifecycle: Kept::new(agent.ports.lifecycle).await,
            telemetry: Kept::new(agent.ports.telemetry).await,
            metrics,
        }
    }

    /// One invocation up to the moment at which its end is told.
    pub(crate) async fn handler(&mut self, lambda: &FakeLambda, number: u64) {
        let id = id(number);
        lambda.invoke(&id, MINUTE);
        let header = format!("lambda-runtime-aws-request-id: {id}\r\n");
        self.lifecycle.call("POST", "/lambda/start-invocation", &header, b"{\"id\":1}").await;
        self.traces.call("PUT", "/v0.4/traces", "", &trace(number, SPANS)).await;
        self.lifecycle.call("POST", "/lambda/end-invocation", &header, b"{}").await;
    }

    /// What Lambda tells of an invocation, and what it could not tell of the one before.
    pub(crate) fn records(number: u64) -> String {
        let id = id(number);
        let before = (number > 1).then(|| report(&self::id(number - 1)));
        let lines = (0..LINES).map(|line| log(&format!("at work on {}", number * LINES + line)));
        let records = before.into_iter().chain([start(&id)]).chain(lines).chain([runtime_done(&id)]);
        delivery(&records.collect::<Vec<_>>())
    }

    async fn invocation(&mut self, lambda: &FakeLambda, number: u64) {
        self.metrics.send(b"soak.value:1.5|d|#kind:order\nsoak.count:1|c").await.unwrap();
        self.handler(lambda, number).await;
        self.telemetry.call("POST", "/", "", Self::records(number).as_bytes()).await;
    }
}

/// A connection that is kept.
pub(crate) struct Kept {
    tcp: TcpStream,
    answer: Vec<u8>,
}

impl Kept {
    pub(crate) async fn new(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { tcp, answer: vec![0; 16 << 10] }
    }

    pub(crate) async fn call(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.tcp.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut read = 0;
        while !is_whole(&self.answer[..read]) {
            let more = timeout(PATIENCE, self.tcp.read(&mut self.answer[read..])).await.expect("no answer");
            let more = more.unwrap();
            assert!(more > 0, "{method} {path}: the connection ends");
            read += more;
        }
        let answer = String::from_utf8_lossy(&self.answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    }
}

/// A head, and as much of a body as it says.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lengths = head.lines().filter_map(|line| line.strip_prefix("content-length: "));
    body.len() >= lengths.filter_map(|length| length.parse().ok()).next().unwrap_or(0)
}

/// A trace as tracers send it.
pub(crate) fn trace(number: u64, spans: u64) -> Vec<u8> {
    let now = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
    let first = number * spans + 1;
    let spans = (0..spans).map(|n| {
        let (id, parent) = (SpanId::new(first + n).unwrap(), SpanId::new(first).filter(|_| n > 0));
        let mut span = Span::new("http.request", TraceId::new(0, number + 1).unwrap(), id, parent);
        (span.service, span.resource) = ("shop".into(), "GET /orders/{id}".into());
        (span.start, span.duration) = (now, Duration::from_micros(1500 + n));
        for (key, value) in [
            ("http.method", "GET"),
            ("http.status_code", "200"),
            ("http.url", "https://shop.example.com/orders/4711"),
            ("component", "reqwest"),
            ("span.kind", "client"),
        ] {
            span.meta.insert(key, value);
        }
        span
    });
    wire::v04::encode(&[Chunk { spans: spans.collect() }])
}

impl Report {
    pub(crate) fn print(&self, invocations: u64, seed: u64) {
        let a_second = invocations as f64 / self.took.as_secs_f64();
        println!(
            "soak: {invocations} invocations in {:.0?} ({a_second:.0}/s), seed {seed}; {} requests, {} of them failed",
            self.took, self.requests, self.failed
        );
        for Balance { signal, sent, delivered, dropped } in &self.balances {
            println!("  {signal}: {sent} in, {delivered} delivered, {dropped} counted as dropped");
        }
        println!("  delivered twice: {}; dropped by reason: {:?}", self.twice, self.reasons);
        if self.unanswered {
            println!("  some request got no answer within its time: what is delivered twice may be right");
        }
    }

    pub(crate) fn check(&self) {
        assert!(self.unreadable.is_empty(), "{:?}", self.unreadable);
        for Balance { signal, sent, delivered, dropped } in &self.balances {
            let accounted = delivered + dropped;
            let is_even = *sent == accounted || (self.unanswered && *sent < accounted);
            assert!(is_even, "{signal}: {sent} in, {delivered} delivered, {dropped} dropped");
        }
        assert!(self.twice == 0 || self.unanswered, "{} delivered twice", self.twice);
        // An intake that never failed would show nothing.
        assert!(self.failed > 0, "{} requests", self.requests);
    }
}

#[tokio::test]
async fn what_came_in_is_what_was_delivered_and_what_was_counted_as_dropped() {
    let (invocations, seed) = (300, 20_240_501);
    let report = run(invocations, seed, "http1").await;
    report.print(invocations, seed);
    report.check();
}

/// The same, from an intake that leaves every connection after some requests as well.
#[tokio::test]
async fn over_http2_too_what_came_in_is_what_was_delivered_and_what_was_counted_as_dropped() {
    let (invocations, seed) = (150, 20_261_122);
    let report = run(invocations, seed, "http2").await;
    report.print(invocations, seed);
    report.check();
}
