//! `dd-lambda doctor`: what this machine has and lacks, and which feature needs it. Looks, and changes nothing.

use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::terminal::Paint;

#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    found: bool,
    /// Without it nothing works; otherwise one feature does not.
    required: bool,
    /// What was found, or what is the matter.
    detail: String,
    needed_for: &'static str,
    /// What to do, when it is not found.
    remedy: &'static str,
}

/// A look at one thing: what was found, or what is the matter.
type Look = fn() -> Result<String, String>;

/// Name, whether it is required, the look, what needs it, what to do.
const LOOKS: &[(&str, bool, Look, &str, &str)] = &[
    ("loopback", true, loopback, "everything", "allow programs to listen on 127.0.0.1"),
    ("shell", true, shell, "killing what a sandbox leaves behind", "install a POSIX shell as /bin/sh"),
    ("proc", true, proc, "memory figures, freezing", "mount /proc"),
    (
        "freeze",
        true,
        freeze,
        "freezing functions between invocations",
        "allow signals between processes of one user",
    ),
    ("extension", false, extension, "telemetry", "cargo build -p extension, or name one with --extension"),
    ("cargo", false, cargo, "--package, demo, rebuilding", "install Rust: https://rustup.rs"),
    (
        "namespaces",
        false,
        namespaces,
        "private sandboxes: own ports, /opt, /var/task and /tmp",
        "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or a container with SYS_ADMIN) and install \
         util-linux",
    ),
    (
        "memory limit",
        false,
        memory,
        "killing at once what takes more memory than it has; it is looked at every 10 ms instead",
        "run as root, or by `systemd-run --user --scope dd-lambda …`, where control groups are of version 2",
    ),
    (
        "fixed ports",
        false,
        ports,
        "real tracers without namespaces",
        "stop what listens there, or use namespaces",
    ),
    ("python3", false, python, "functions in Python", "install Python 3"),
    ("node", false, node, "functions in Node", "install Node"),
    ("chromium", false, chromium, "the tests of the page", "install chromium, or set CHROMIUM to its path"),
];

/// Where tracers and the extension listen or send when nobody says otherwise.
const FIXED: [u16; 4] = [8124, 8125, 8126, 8999];

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let findings: Vec<_> = LOOKS.iter().map(find).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &findings).context("standard output")?;
        writeln!(out).context("standard output")?;
    } else {
        let paint = Paint::stdout();
        for finding in &findings {
            writeln!(out, "{}", finding.line(paint)).context("standard output")?;
        }
    }
    let lacking = findings.iter().any(|finding| finding.required && !finding.found);
    Ok(if lacking { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn find(
    &(name, required, look, needed_for, remedy): &(&'static str, bool, Look, &'static str, &'static str),
) -> Finding {
    let (found, detail) = match look() {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    Finding { name, found, required, detail, needed_for, remedy }
}

impl Finding {
    fn line(&self, paint: Paint) -> String {
        let Self { name, detail, needed_for, remedy, .. } = self;
        if self.found {
            return format!("{} {name:<12} {}", paint.green("✓"), paint.dim(detail));
        }
        let mark = if self.required { paint.red("✗") } else { paint.bold("–") };
        format!("{mark} {name:<12} {detail}; needed for {needed_for}\n  {:<12} {}", "", paint.cyan(remedy))
    }
}

fn loopback() -> Result<String, String> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    port.map(|_| "127.0.0.1 can be listened on".to_owned()).map_err(|why| why.to_string())
}

fn shell() -> Result<String, String> {
    output("/bin/sh", &["-c", "echo works"]).map(|_| "/bin/sh".to_owned())
}

fn proc() -> Result<String, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|why| format!("/proc: {why}"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident
        .map(|size| format!("this process has {}", size.trim()))
        .ok_or("/proc does not tell sizes".to_owned())
}

/// Stops a process and looks whether it stands still.
fn freeze() -> Result<String, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", "kill -STOP $$"])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|why| why.to_string())?;
    let path = format!("/proc/{}/stat", child.id());
    let state = || {
        let stat = std::fs::read_to_string(&path).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let mut stopped = false;
    while !stopped && std::time::Instant::now() < end {
        stopped = state() == Some('T');
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
    if stopped {
        Ok("by SIGSTOP and SIGCONT".to_owned())
    } else {
        Err("a stopped process goes on".to_owned())
    }
}

fn extension() -> Result<String, String> {
    let path = std::env::current_exe().map_err(|why| why.to_string())?.with_file_name("datadog-agent");
    if path.is_file() { Ok(path.display().to_string()) } else { Err(format!("not at {}", path.display())) }
}

fn cargo() -> Result<String, String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    output(&program, &["--version"])
}

fn namespaces() -> Result<String, String> {
    output("nsenter", &["--version"])?;
    let args = ["--user", "--map-root-user", "--mount", "--net", "true"];
    output("unshare", &args).map(|_| "user, mount and network namespaces can be made".to_owned())
}

fn memory() -> Result<String, String> {
    sandbox::memory_limit().map(|above| format!("by control groups below {}", above.display()))
}

fn ports() -> Result<String, String> {
    let free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
    };
    let taken: Vec<_> = FIXED.iter().filter(|port| !free(port)).map(ToString::to_string).collect();
    if taken.is_empty() {
        Ok("8124, 8125, 8126 and 8999 are free".to_owned())
    } else {
        Err(format!("taken: {}", taken.join(", ")))
    }
}

fn python() -> Result<String, String> {
    output("python3", &["--version"])
}

fn node() -> Result<String, String> {
    output("node", &["--version"])
}

fn chromium() -> Result<String, String> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let on_path = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let found = named.into_iter().chain(on_path).find(|path| path.is_file());
    found.map(|path| path.display().to_string()).ok_or("not installed".to_owned())
}

/// The first line that a program prints.
fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    let text = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    if output.status.success() { Ok(line) } else { Err(format!("{program}: {line}")) }
}
