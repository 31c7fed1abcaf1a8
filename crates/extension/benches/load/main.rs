//! What the extension costs under load: spans a second, answers' latencies, processor time and memory. The
//! real binary, clients and an intake that says yes to everything, all on the same cores: figures are for
//! comparing on one machine, and the load itself takes a part of it. `cargo xtask bench` runs this.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]
#![allow(dead_code, reason = "shared with the process tests, which use all of it")]

#[path = "../../tests/process/agent.rs"]
mod agent;
#[path = "../../tests/process/fake_lambda.rs"]
mod fake_lambda;
#[path = "../../tests/process/ports.rs"]
mod ports;
#[path = "../../tests/process/records.rs"]
mod records;
#[path = "../../tests/process/soak.rs"]
mod soak;
#[path = "../../tests/process/tally.rs"]
mod tally;
mod yes;

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use agent::Agent;
use fake_lambda::FakeLambda;
use records::{delivery, runtime_done, start};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags};
use soak::{Clients, trace};
use yes::Yes;

const MINUTE: Duration = Duration::from_secs(60);
const REQUESTS: u64 = 2000;
const SPANS: u64 = 100;
const INVOCATIONS: u64 = 20_000;
/// Whose first invocation is measured.
const SANDBOXES: usize = 40;
/// Invocations whose ends are measured.
const ENDS: u64 = 200;
/// How long Lambda holds telemetry back, by the subscription.
const BUFFERED: Duration = Duration::from_millis(25);
const DATAGRAMS: u64 = 200_000;
/// Datagrams that are sent with one call.
const AT_ONCE: usize = 16;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    // `cargo bench` adds flags of its own.
    let mut only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let number = only.iter().find_map(|arg| arg.parse::<u64>().ok());
    only.retain(|arg| arg.parse::<u64>().is_err());
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| name.contains(only));
    if wanted("traces") {
        traces(1).await;
        traces(4).await;
    }
    if wanted("datagrams") {
        datagrams(None).await;
        datagrams(Some(300_000)).await;
        datagrams(Some(50_000)).await;
    }
    if wanted("first") {
        first_ends().await;
    }
    if wanted("invocations") {
        for (strategy, protocol) in [("default", "http1"), ("end", "http1"), ("end", "http2")] {
            ends(strategy, protocol).await;
        }
        shutdown_at_once().await;
        intake_down().await;
        for protocol in ["http1", "http2"] {
            invocations(protocol).await;
        }
    }
    if wanted("soak") {
        let (invocations, seed) = (number.unwrap_or(10_000), 1);
        let report = soak::run(invocations, seed, "http1").await;
        report.print(invocations, seed);
        report.check();
    }
}

/// An extension that sends to an intake that says yes, ready.
async fn started() -> (FakeLambda, Yes, Agent) {
    let (lambda, yes) = (FakeLambda::start().await, Yes::start().await);
    let agent = Agent::start(&lambda, &to(&yes.url));
    lambda.asked(1).await;
    (lambda, yes, agent)
}

fn to(url: &str) -> [(&'static str, &str); 3] {
    [("DD_DD_URL", url), ("DD_APM_DD_URL", url), ("DD_LOGS_CONFIG_LOGS_DD_URL", url)]
}

/// Requests of 100 spans on some connections, then the flush, with calls of others beside it.
async fn traces(connections: u64) {
    let (lambda, yes) = (FakeLambda::start().await, Yes::keeping_traces().await);
    let agent = Agent::start(&lambda, &to(&yes.url));
    lambda.asked(1).await;
    let (port, lifecycle) = (agent.ports.traces, agent.ports.lifecycle);
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let bodies: Vec<Vec<Vec<u8>>> = (0..connections)
        .map(|c| (c * REQUESTS / connections..(c + 1) * REQUESTS / connections).map(body).collect())
        .collect();
    let bytes: usize = bodies.iter().flatten().map(Vec::len).sum();
    let begun = Instant::now();
    let clients: Vec<_> = bodies
        .into_iter()
        .map(|bodies| {
            std::thread::spawn(move || {
                let mut client = Client::new(port);
                bodies.iter().map(|body| client.call("PUT", "/v0.4/traces", body)).collect::<Vec<_>>()
            })
        })
        .collect();
    let answered = tokio::task::spawn_blocking(move || {
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let mut latencies = answered.await.unwrap();
    let took = begun.elapsed();
    let taken_in = agent.used_by_all();
    println!("traces, {connections} connection(s): {REQUESTS} requests of {SPANS} spans, {} MB", bytes >> 20);
    println!(
        "  {:.0} spans/s; answers {}",
        (REQUESTS * SPANS) as f64 / took.as_secs_f64(),
        spread(&mut latencies)
    );
    println!("  resident {}, at most {}", megabytes(&agent, "VmRSS"), megabytes(&agent, "VmHWM"));
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    let during = tokio::task::spawn_blocking(move || {
        let (mut traces, mut calls) = (Client::new(port), Client::new(lifecycle));
        let small = body(REQUESTS + 1);
        (0..200)
            .map(|_| {
                (
                    traces.call("PUT", "/v0.4/traces", &small),
                    calls.call("POST", "/lambda/start-invocation", b"{}"),
                )
            })
            .unzip::<_, _, Vec<_>, Vec<_>>()
    });
    let (mut puts, mut starts) = during.await.unwrap();
    println!("  while it is sent: traces {}; start-invocation {}", spread(&mut puts), spread(&mut starts));
    lambda.asked(2).await;
    println!(
        "  CPU: {taken_in:?} until all was taken in, {:?} until all was sent; {} of {} spans in {} requests, {} MB sent; at most {} resident\n",
        agent.used_by_all(),
        yes.spans(),
        REQUESTS * SPANS + 1,
        yes.requests(),
        yes.bytes() >> 20,
        megabytes(&agent, "VmHWM")
    );
}

/// DogStatsD, as fast as one socket can send or so many a second.
async fn datagrams(a_second: Option<u32>) {
    let intake = intake::Intake::start().await.unwrap();
    let lambda = FakeLambda::start().await;
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let port = agent.ports.dogstatsd;
    let sent = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        let begun = Instant::now();
        for number in (0..DATAGRAMS).step_by(AT_ONCE) {
            while a_second.is_some_and(|n| begun.elapsed().as_secs_f64() * f64::from(n) < number as f64) {
                std::hint::spin_loop();
            }
            send_some(&socket);
        }
        begun.elapsed()
    });
    let took = sent.await.unwrap();
    // One request after all of them: they have been read.
    agent::http(agent.ports.traces, "GET", "/info", &[], b"").await;
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    let used = agent.used();
    agent.ended().await;
    let counted: f64 = intake
        .store()
        .snapshot()
        .metrics
        .iter()
        .filter(|m| m.name == "load.count")
        .map(|m| m.total.as_f64())
        .sum();
    println!(
        "datagrams: {DATAGRAMS} at {:.0}/s: {:.3} % lost; CPU {used:?}\n",
        DATAGRAMS as f64 / took.as_secs_f64(),
        100.0 * (1.0 - counted / DATAGRAMS as f64)
    );
}

/// As many datagrams as go with one call of the kernel: one call for each takes longer than it takes to read it.
fn send_some(socket: &UdpSocket) {
    let line = [IoSlice::new(b"load.count:1|c|#shop:berlin,kind:order")];
    let mut nothing = [(); AT_ONCE].map(|()| SendAncillaryBuffer::default());
    let mut messages: Vec<_> = nothing.iter_mut().map(|nothing| MMsgHdr::new(&line, nothing)).collect();
    let mut rest = messages.as_mut_slice();
    while !rest.is_empty() {
        let sent = rustix::net::sendmmsg(socket, rest, SendFlags::empty()).unwrap();
        rest = &mut rest[sent..];
    }
}

/// What the end of an invocation waits for the extension, from the response on.
async fn ends(strategy: &str, protocol: &str) {
    let (lambda, yes) = (FakeLambda::start().await, Yes::speaking(protocol).await);
    let mut variables = to(&yes.url).to_vec();
    variables.extend([("DD_SERVERLESS_FLUSH_STRATEGY", strategy), ("DD_HTTP_PROTOCOL", protocol)]);
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    let mut clients = Clients::new(&agent).await;
    let mut held = Vec::new();
    let mut before = agent.used();
    for number in 1..=ENDS {
        clients.handler(&lambda, number).await;
        let ended = Instant::now();
        tokio::time::sleep(BUFFERED).await;
        clients.telemetry.call("POST", "/", "", Clients::records(number).as_bytes()).await;
        let asked = lambda.asked(usize::try_from(number).unwrap() + 1).await;
        held.push(asked.saturating_duration_since(ended));
        if number == 1 {
            println!("ends, {strategy}, {protocol}: CPU {:?} for the first", agent.used() - before);
            before = agent.used();
        }
    }
    let first = held[0];
    let used = (agent.used() - before) / u32::try_from(ENDS - 1).unwrap();
    println!("  {ENDS} invocations, {} requests sent; CPU {used:?} each", yes.requests());
    println!(
        "  next asked after the response {}; the first {first:?}. Telemetry came {BUFFERED:?} after it\n",
        spread(&mut held)
    );
}

/// The first invocation of a sandbox, which connects to an intake with TLS. In turns, as the machine's pace changes.
async fn first_ends() {
    let settings = intake::Settings { tls: true, ..intake::Settings::default() };
    let intake = intake::Intake::start_with(([127, 0, 0, 1], 0).into(), settings).await.unwrap();
    let authority = std::env::temp_dir().join(format!("load-{}.pem", std::process::id()));
    fs::write(&authority, intake.authority().unwrap()).unwrap();
    let url = intake.url();
    let protocols = ["http1", "auto"];
    let (mut held, mut used) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for number in 0..2 * SANDBOXES {
        let protocol = protocols[number % 2];
        let lambda = FakeLambda::start().await;
        let mut variables = to(&url).to_vec();
        variables.extend([
            ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
            ("DD_HTTP_PROTOCOL", protocol),
            ("DD_TLS_CERT_FILE", authority.to_str().unwrap()),
        ]);
        let agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        let before = agent.used();
        let mut clients = Clients::new(&agent).await;
        clients.handler(&lambda, 1).await;
        clients.telemetry.call("POST", "/", "", Clients::records(1).as_bytes()).await;
        let ended = Instant::now();
        let asked = lambda.asked(2).await;
        held[number % 2].push(asked.saturating_duration_since(ended));
        used[number % 2].push(agent.used().saturating_sub(before));
    }
    fs::remove_file(&authority).unwrap();
    println!("first ends, with TLS: {SANDBOXES} sandboxes each");
    for ((protocol, held), used) in protocols.iter().zip(&mut held).zip(&mut used) {
        println!("  {protocol}: next asked {}; CPU {}", spread(held), spread(used));
    }
    println!();
}

/// SHUTDOWN where nothing was ever invoked.
async fn shutdown_at_once() {
    let (lambda, _yes, mut agent) = started().await;
    let begun = Instant::now();
    lambda.shutdown(Duration::from_secs(2));
    agent.ended().await;
    println!("shutdown before any invocation: gone after {:?}\n", begun.elapsed());
}

/// What an intake costs that refuses connections.
async fn intake_down() {
    let intake = intake::Intake::start().await.unwrap();
    let url = intake.url();
    intake.stop();
    let lambda = FakeLambda::start().await;
    let agent = Agent::start(&lambda, &to(&url));
    lambda.asked(1).await;
    let mut clients = Clients::new(&agent).await;
    let mut held = Vec::new();
    for number in 1..=50 {
        clients.handler(&lambda, number).await;
        let ended = Instant::now();
        clients.telemetry.call("POST", "/", "", Clients::records(number).as_bytes()).await;
        let asked = lambda.asked(usize::try_from(number).unwrap() + 1).await;
        held.push(asked.saturating_duration_since(ended));
    }
    let sum: Duration = held.iter().sum();
    println!("intake down: 50 invocations waited {sum:?} in all; {}\n", spread(&mut held));
}

/// Invocations with a start and an end call, a trace of ten spans and four log lines.
async fn invocations(protocol: &str) {
    let lambda = FakeLambda::start().await;
    let yes = Yes::speaking(protocol).await;
    let mut variables = to(&yes.url).to_vec();
    variables.push(("DD_HTTP_PROTOCOL", protocol));
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    let mut clients = Clients::new(&agent).await;
    let mut before = agent.used();
    let mut figures = Vec::new();
    for number in 1..=INVOCATIONS {
        clients.handler(&lambda, number).await;
        clients.telemetry.call("POST", "/", "", Clients::records(number).as_bytes()).await;
        lambda.asked(usize::try_from(number).unwrap() + 1).await;
        if [200, INVOCATIONS / 2, INVOCATIONS].contains(&number) {
            let (all, own) = (megabytes(&agent, "VmRSS"), megabytes(&agent, "RssAnon"));
            figures.push(format!("{all} ({own} its own) after {number}"));
        }
        if number == 1 {
            before = agent.used();
        }
    }
    let used = (agent.used() - before) / u32::try_from(INVOCATIONS - 1).unwrap();
    println!(
        "invocations, {protocol}: {INVOCATIONS} with start and end call, {} spans, {} log lines; {} requests sent",
        soak::SPANS,
        soak::LINES,
        yes.requests()
    );
    println!("  CPU {used:?} each; resident {}", figures.join(", "));
    // What waits goes a second later; after that there is nothing to do.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (used, woken) = (agent.used(), agent.woken());
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!(
        "  between invocations: {} wake-ups and {:?} of CPU in 5 s\n",
        agent.woken() - woken,
        agent.used() - used
    );
}

fn body(number: u64) -> Vec<u8> {
    trace(number, SPANS)
}

/// A client that keeps its connection.
struct Client {
    tcp: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    fn new(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { tcp, answer: vec![0; 16 << 10] }
    }

    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Duration {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let begun = Instant::now();
        self.tcp.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let read = self.tcp.read(&mut self.answer).unwrap();
        assert!(
            self.answer[..read].starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.answer[..read])
        );
        begun.elapsed()
    }
}

impl Agent {
    fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Time on a processor.
    fn used(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid())).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }

    /// The same of all its threads, those that ended included; in hundredths of a second.
    fn used_by_all(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<u64> =
            text.rsplit_once(')').unwrap().1.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
        Duration::from_millis(10 * (fields[11] + fields[12]))
    }

    /// How often it went to sleep.
    fn woken(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }
}

fn megabytes(agent: &Agent, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    format!("{:.1} MB", kilobytes / 1024.0)
}

/// Median and 99th percentile.
fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    format!("p50 {:?}, p99 {:?}", at(0.5), at(0.99))
}
