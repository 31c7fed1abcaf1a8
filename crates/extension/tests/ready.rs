//! What being there costs: from spawn to the first `/event/next`, in time, processor time and memory; and
//! that waiting costs nothing. The figures hold for one machine; the bounds are for a release build, of which
//! the binary alone has to be one:
//! `cargo xtask test --only release` gives it the binary of the layer, as `READY_BINARY`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

#[allow(dead_code, reason = "shared with the process tests, which use all of it")]
#[path = "process/fake_lambda.rs"]
mod fake_lambda;
#[path = "process/ports.rs"]
mod ports;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fake_lambda::FakeLambda;
use ports::Ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const RUNS: usize = 25;
const MAX_READY: Duration = Duration::from_millis(3);
const MAX_CPU: Duration = Duration::from_millis(2);
/// How much of a file is mapped around what is touched depends on how it lies in the page cache: up to 0.4 MB more or less.
const MAX_BYTES: u64 = 3_000_000;
/// Of the binary.
const MAX_SIZE: u64 = 3_900_000;

/// The binary to measure, and whether it has to keep the bounds.
fn binary() -> (PathBuf, bool) {
    match std::env::var_os("READY_BINARY") {
        Some(path) => (path.into(), true),
        None => (env!("CARGO_BIN_EXE_datadog-agent").into(), !cfg!(debug_assertions)),
    }
}

/// Starts the process; gives the port that takes traces too.
fn spawn(lambda: &FakeLambda) -> (Child, u16) {
    let mut command = Command::new(binary().0);
    command.env_clear().env("AWS_LAMBDA_RUNTIME_API", &lambda.address).env("DD_API_KEY", "0123456789abcdef");
    command.envs([("AWS_LAMBDA_FUNCTION_NAME", "orders"), ("AWS_REGION", "eu-west-1")]);
    // An intake that nobody has to be asked for.
    for name in ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"] {
        command.env(name, "http://127.0.0.1:1");
    }
    // Free ports and not the real ones, of which a machine has one each.
    let ports = Ports::free();
    command.envs(ports.variables());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    (child, ports.traces)
}

/// Nanoseconds on a processor since it was started.
fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A line of `/proc/<pid>/status`, such as `VmRSS`.
fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_is_ready_soon_and_costs_nothing_while_it_waits() {
    let (mut ready, mut used, mut memory, mut threads) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let lambda = FakeLambda::start().await;
        let begun = Instant::now();
        let (mut child, _) = spawn(&lambda);
        let asked = lambda.asked(1).await;
        let pid = child.id().unwrap();
        // Asleep again, so that all that it takes to be ready is counted.
        while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") S ") {
            tokio::task::yield_now().await;
        }
        ready.push(asked - begun);
        used.push(cpu(pid));
        memory.push(status(pid, "VmRSS:") * 1024);
        threads = threads.max(status(pid, "Threads:"));
        child.kill().await.unwrap();
    }
    for figures in [&mut ready, &mut used] {
        figures.sort();
    }
    memory.sort();
    let idle = idle().await;
    let (binary, has_bounds) = binary();
    let size = fs::metadata(&binary).unwrap().len();
    let middle = RUNS / 2;
    println!("ready:  min {:?}, median {:?}", ready[0], ready[middle]);
    println!("cpu:    min {:?}, median {:?}", used[0], used[middle]);
    println!("memory: {} kB, {threads} thread(s); binary {} kB", memory[middle] / 1024, size / 1024);
    println!("idle:   {idle:?} of processor time in {IDLE:?}");
    assert_eq!(threads, 1);
    assert_eq!(idle, Duration::ZERO, "something wakes it");
    if has_bounds {
        // The best run: what else the machine does is not ours.
        assert!(ready[0] <= MAX_READY, "{:?}", ready[0]);
        assert!(used[0] <= MAX_CPU, "{:?}", used[0]);
        assert!(memory[middle] <= MAX_BYTES, "{}", memory[middle]);
        assert!(size <= MAX_SIZE, "{size}");
    }
}

const IDLE: Duration = Duration::from_secs(2);

/// Processor time over a stretch with nothing to do, after an invocation, with a tracer's connection open.
async fn idle() -> Duration {
    let lambda = FakeLambda::start().await;
    let (child, port) = spawn(&lambda);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(1));
    lambda.asked(2).await;
    let mut tracer = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tracer.write_all(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(tracer.read(&mut [0; 4096]).await.unwrap() > 0);
    let pid = child.id().unwrap();
    // Until it sleeps for good: a stretch of its own.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = cpu(pid);
    tokio::time::sleep(IDLE).await;
    cpu(pid) - before
}
