//! Starting programs and reading what they print.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use platform::{ExitStatus, ProcessId};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::environment::Variables;
use crate::timeline::Process;

/// A longer line is cut here and goes on as another.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>
const MAX_LINE: usize = 256 * 1024;
/// As much as a pipe holds: what was printed before a call is read before the call is handled.
const READ: usize = 64 * 1024;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) command: &'a [String],
    pub(crate) dir: Option<PathBuf>,
    pub(crate) vars: Variables,
}

/// Starts a program as the leader of a new process group, with nothing of our own environment. Both its outputs go
/// into one pipe, so that their lines keep their order.
pub(crate) fn start(launch: &Launch<'_>) -> io::Result<(Child, pipe::Receiver)> {
    let (program, args) = launch.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(executable(program)?);
    let (output, input) = io::pipe()?;
    command
        .args(args)
        .env_clear()
        .envs(launch.vars.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::from(input.try_clone()?))
        .stderr(Stdio::from(input))
        .process_group(0)
        .kill_on_drop(true);
    if let Some(dir) = &launch.dir {
        command.current_dir(dir);
    }
    let child = command.spawn()?;
    Ok((child, pipe::Receiver::from_owned_fd(output.into())?))
}

/// A path is meant from where we are, not from where the program will run; a bare name is looked up.
fn executable(program: &str) -> io::Result<PathBuf> {
    match program.contains('/') {
        true => std::path::absolute(Path::new(program)),
        false => Ok(PathBuf::from(program)),
    }
}

pub(crate) fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
    }
}

/// The outputs of all processes of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pipes: BTreeMap<ProcessId, Output>,
}

#[derive(Debug)]
struct Output {
    process: Process,
    pipe: pipe::Receiver,
    partial: Vec<u8>,
}

impl Outputs {
    pub(crate) fn add(&mut self, id: ProcessId, process: Process, pipe: pipe::Receiver) {
        self.pipes.insert(id, Output { process, pipe, partial: Vec::new() });
    }

    pub(crate) fn clear(&mut self) {
        self.pipes.clear();
    }

    /// Waits until something was printed. Reads each pipe once; so it cannot starve whatever else the caller
    /// waits for. Never ready when there is no pipe.
    pub(crate) async fn lines(&mut self) -> Vec<(Process, String)> {
        poll_fn(|cx| self.poll_lines(cx)).await
    }

    /// What was printed up to now, asked of the kernel itself: the runtime may not know yet that a pipe can be
    /// read, while a call that was made after the printing is here already.
    pub(crate) fn printed(&mut self) -> Vec<(Process, String)> {
        let mut lines = Vec::new();
        for output in self.pipes.values_mut() {
            let mut bytes = [0; READ];
            // Nothing there, or the end, which `lines` will meet.
            let Ok(length) = rustix::io::read(&output.pipe, &mut bytes) else { continue };
            output.partial.extend_from_slice(bytes.get(..length).unwrap_or_default());
            let process = output.process.clone();
            output.take_lines(false, |line| lines.push((process.clone(), line)));
        }
        lines
    }

    fn poll_lines(&mut self, cx: &mut Context<'_>) -> Poll<Vec<(Process, String)>> {
        let mut lines = Vec::new();
        let mut progress = false;
        self.pipes.retain(|_, output| match output.poll_read(cx) {
            Poll::Pending => true,
            Poll::Ready(open) => {
                progress = true;
                let process = output.process.clone();
                output.take_lines(!open, |line| lines.push((process.clone(), line)));
                open
            }
        });
        if progress { Poll::Ready(lines) } else { Poll::Pending }
    }
}

impl Output {
    /// Reads what is there; `false` at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut bytes = [0; READ];
        let mut buf = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buf));
        self.partial.extend_from_slice(buf.filled());
        Poll::Ready(read.is_ok() && !buf.filled().is_empty())
    }

    fn take_lines(&mut self, ended: bool, mut line: impl FnMut(String)) {
        let mut rest = self.partial.as_slice();
        loop {
            let end = rest.iter().position(|b| *b == b'\n');
            let (head, tail) = match end {
                Some(end) if end <= MAX_LINE => (rest.get(..end), rest.get(end + 1..)),
                None if rest.is_empty() || (rest.len() < MAX_LINE && !ended) => break,
                _ => (rest.get(..MAX_LINE.min(rest.len())), rest.get(MAX_LINE.min(rest.len())..)),
            };
            line(String::from_utf8_lossy(head.unwrap_or_default()).into_owned());
            rest = tail.unwrap_or_default();
        }
        self.partial = rest.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::{Launch, MAX_LINE, Outputs, start};
    use crate::timeline::Process;
    use platform::ProcessId;

    async fn printed(script: &str) -> Vec<String> {
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let (mut child, pipe) = start(&Launch { command: &command, dir: None, vars: Vec::new() }).unwrap();
        let mut outputs = Outputs::default();
        outputs.add(ProcessId(1), Process::Function, pipe);
        let mut lines = Vec::new();
        while !outputs.pipes.is_empty() {
            lines.extend(outputs.lines().await.into_iter().map(|(_, line)| line));
        }
        assert!(child.wait().await.unwrap().success());
        lines
    }

    #[tokio::test]
    async fn output_is_cut_into_lines() {
        assert_eq!(printed("echo a; echo b >&2; echo; printf c").await, ["a", "b", "", "c"]);
        assert_eq!(printed("true").await, Vec::<String>::new());
        assert_eq!(printed("printf '\\377x\\n'").await, ["\u{fffd}x"]);
        let long = printed("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end").await;
        let lengths: Vec<usize> = long.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, 300_000 - MAX_LINE, 3]);
    }

    #[tokio::test]
    async fn what_was_printed_is_there_at_once() {
        let command = ["/bin/sh", "-c", "echo a; echo b; printf c"].map(str::to_owned);
        let (mut child, pipe) = start(&Launch { command: &command, dir: None, vars: Vec::new() }).unwrap();
        assert!(child.wait().await.unwrap().success());
        let mut outputs = Outputs::default();
        outputs.add(ProcessId(1), Process::Function, pipe);
        let lines: Vec<_> = outputs.printed().into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(outputs.printed(), []);
        let last: Vec<_> = outputs.lines().await.into_iter().map(|(_, line)| line).collect();
        assert_eq!((last, outputs.pipes.len()), (vec!["c".to_owned()], 0));
    }
}
