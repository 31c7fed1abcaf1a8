//! The CPU time of a function's start: a real process, from its beginning until it asks for its first event.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RUNS: usize = 30;

/// The median of some starts. The first is not counted: it reads the program from the disk.
pub(crate) fn measure(program: &Path) -> Duration {
    let _ = start(program);
    let mut all: Vec<Duration> = (0..RUNS).map(|_| start(program)).collect();
    all.sort();
    all[RUNS / 2]
}

fn start(program: &Path) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = listener.local_addr().unwrap().to_string();
    let mut command = Command::new(program);
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::inherit()).envs([
        ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        // As with the extension in place, which is not there to be asked.
        ("DD_TRACE_AGENT_PORT", "8126"),
    ]);
    let mut child = command.spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 64];
    stream.read_exact(&mut request).unwrap();
    assert!(request.starts_with(b"GET /2018-06-01/runtime/invocation/next"));
    let spent = settled(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    spent
}

/// What a process has used when all of its threads wait.
fn settled(pid: u32) -> Duration {
    let mut before = None;
    loop {
        let now = used(pid);
        if before == Some(now) {
            return Duration::from_nanos(now);
        }
        before = Some(now);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn used(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|spent| spent.parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.map(of_task).sum()
}
