//! What it costs a function that its calls of Lambda go through the extension: `/next` and `/response`, one after
//! the other, with and without it in between. The real binary, and a Lambda that answers at once. Beside it the least
//! that any process in between costs: one that hands bytes over and looks at none.
//! `cargo bench -p extension --bench proxy` runs this.

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

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use agent::Agent;
use fake_lambda::FakeLambda;

/// Invocations in a row, and how often both ways take turns.
const INVOCATIONS: usize = 1000;
const TURNS: usize = 5;

/// Set: this process is the one that only hands bytes over, to this address.
const RELAY: &str = "RELAY_TO";

fn main() {
    let several = std::env::var(RELAY).is_err();
    let mut builder = if several {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    match std::env::var(RELAY) {
        Ok(address) => runtime.block_on(relay(&address)),
        Err(_) => runtime.block_on(compare()),
    }
}

async fn compare() {
    let lambda = FakeLambda::start().await;
    let address = runtime_api(lambda.address.clone());
    let variables = [("AWS_LAMBDA_RUNTIME_API", address.as_str()), ("DD_EXPERIMENTAL_ENABLE_PROXY", "true")];
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    let (mut relay, relayed) = start_relay(&address);
    let ways = [address, relayed, format!("127.0.0.1:{}", agent.ports.runtime)];
    for size in [1 << 10, 100 << 10] {
        let mut taken = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (way, taken) in ways.iter().zip(&mut taken) {
                let way = way.clone();
                taken.extend(tokio::task::spawn_blocking(move || invoke(&way, size)).await.unwrap());
            }
        }
        let [direct, relayed, through] = taken.map(spread);
        println!(
            "/next and /response, {} KiB each: direct {direct}; bytes handed over {relayed}; through the extension \
             {through}",
            size >> 10
        );
    }
    relay.kill().unwrap();
    relay.wait().unwrap();
}

/// This program again, as the one in between that does nothing.
fn start_relay(address: &str) -> (Child, String) {
    let program = std::env::current_exe().unwrap();
    let mut relay = Command::new(program).env(RELAY, address).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (relay, line.trim().to_owned())
}

async fn relay(address: &str) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    while let Ok((mut from, _)) = listener.accept().await {
        let mut to = tokio::net::TcpStream::connect(address).await.unwrap();
        from.set_nodelay(true).unwrap();
        to.set_nodelay(true).unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
    }
}

fn spread(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |part: usize| all[(all.len() - 1) * part / 100];
    format!("p50 {:?}, p99 {:?}", at(50), at(99))
}

/// A runtime's loop; gives what each turn of it took.
fn invoke(address: &str, size: usize) -> Vec<Duration> {
    let mut tcp = BufReader::new(TcpStream::connect(address).unwrap());
    tcp.get_ref().set_nodelay(true).unwrap();
    let base = "/2018-06-01/runtime/invocation";
    let next = format!("GET {base}/next HTTP/1.1\r\nhost: x\r\nx-size: {size}\r\n\r\n");
    let mut response =
        format!("POST {base}/r-1/response HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n")
            .into_bytes();
    response.resize(response.len() + size, b' ');
    let mut turn = || {
        let begun = Instant::now();
        tcp.get_mut().write_all(next.as_bytes()).unwrap();
        message(&mut tcp).unwrap();
        tcp.get_mut().write_all(&response).unwrap();
        message(&mut tcp).unwrap();
        begun.elapsed()
    };
    for _ in 0..100 {
        turn();
    }
    (0..INVOCATIONS).map(|_| turn()).collect()
}

/// The head and body of a message; `None` at the end of the connection.
fn message(from: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (from.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; lengths.next().map_or(0, |(_, length)| length.parse().unwrap())];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Answers the runtime's calls, and hands all others to the fake Lambda.
fn runtime_api(lambda: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let lambda = lambda.clone();
            thread::spawn(move || answer(tcp, &lambda));
        }
    });
    address
}

fn answer(tcp: TcpStream, lambda: &str) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let mut from = BufReader::new(tcp);
    loop {
        let (head, body) = message(&mut from)?;
        if !head.contains("/runtime/") {
            let mut to = TcpStream::connect(lambda).ok()?;
            to.write_all(&[head.as_bytes(), &body].concat()).ok()?;
            let (mut back, mut there) = (to.try_clone().ok()?, from.get_ref().try_clone().ok()?);
            thread::spawn(move || std::io::copy(&mut back, &mut there));
            std::io::copy(&mut from, &mut to).ok()?;
            return None;
        }
        let size =
            head.lines().find_map(|line| line.strip_prefix("x-size: ")).map(|size| size.parse().unwrap());
        let mut answer = match size {
            Some(size) => format!(
                "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: r-1\r\ncontent-length: {size}\r\n\r\n"
            ),
            None => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
        }
        .into_bytes();
        answer.resize(answer.len() + size.unwrap_or(0), b' ');
        from.get_mut().write_all(&answer).ok()?;
    }
}
