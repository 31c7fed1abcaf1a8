//! How long a function's answers take beside an extension that is well, one that is not there, one that hangs and
//! one that answers 500: a real process, from an event until its response is there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const EVENTS: usize = 200;
/// A connection that says nothing for this long ends the run.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an extension does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    Answers,
    IsGone,
    Hangs,
    Refuses,
}

impl Extension {
    pub(crate) const ALL: [Self; 4] = [Self::Answers, Self::IsGone, Self::Hangs, Self::Refuses];

    /// The port that it is at.
    fn start(self) -> u16 {
        if self == Self::IsGone {
            // Nobody listens there, and nobody can be given it.
            return 1;
        }
        serve(move |_| match self {
            Self::Answers => Some("200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned()),
            Self::Refuses => Some("500 Error\r\nContent-Length: 0\r\n\r\n".to_owned()),
            Self::Hangs | Self::IsGone => None,
        })
    }
}

/// The median and the longest of the answers.
pub(crate) fn measure(program: &Path, extension: Extension) -> (Duration, Duration) {
    let (ended, end) = channel();
    let run = Arc::new(Mutex::new(Run { sent: None, took: Vec::new() }));
    let api = serve(api(run.clone(), ended));
    let mut command = Command::new(program);
    command.env_clear().stdout(Stdio::null()).stderr(Stdio::inherit()).envs([
        ("AWS_LAMBDA_RUNTIME_API", format!("127.0.0.1:{api}").as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("DD_TRACE_AGENT_PORT", &extension.start().to_string()),
    ]);
    let mut child = command.spawn().unwrap();
    let over = end.recv_timeout(PATIENCE);
    child.kill().unwrap();
    child.wait().unwrap();
    over.unwrap();
    let mut took = std::mem::take(&mut run.lock().unwrap().took);
    took.sort();
    (took[EVENTS / 2], took[EVENTS - 1])
}

struct Run {
    sent: Option<Instant>,
    took: Vec<Duration>,
}

/// Gives events and times what comes back.
fn api(run: Arc<Mutex<Run>>, ended: Sender<()>) -> impl Fn(&str) -> Option<String> + Clone + Send + 'static {
    move |request| {
        let mut run = run.lock().unwrap();
        if let Some(sent) = run.sent.take() {
            assert!(request.starts_with("POST "), "{request}");
            run.took.push(sent.elapsed());
            return Some("202 Accepted\r\nContent-Length: 2\r\n\r\n{}".to_owned());
        }
        let n = run.took.len();
        if n == EVENTS {
            let _ = ended.send(());
            return None;
        }
        run.sent = Some(Instant::now());
        let event = format!("{{\"n\":{n}}}");
        Some(format!(
            "200 OK\r\nLambda-Runtime-Aws-Request-Id: req-{n}\r\nLambda-Runtime-Deadline-Ms: 9999999999999\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:123456789012:function:bench\r\n\
             Content-Length: {}\r\n\r\n{event}",
            event.len()
        ))
    }
}

/// A little server: a request's first line in, an answer out, or none.
fn serve(answer: impl Fn(&str) -> Option<String> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            std::thread::spawn(move || connection(stream.unwrap(), &answer));
        }
    });
    port
}

fn connection(mut stream: TcpStream, answer: &impl Fn(&str) -> Option<String>) {
    stream.set_nodelay(true).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let n = stream.read(&mut buffer).unwrap_or(0);
        if n == 0 {
            return;
        }
        bytes.extend_from_slice(&buffer[..n]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            bytes.clear();
            if let Some(answer) = answer(&head)
                && stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).is_err()
            {
                return;
            }
        }
    }
}
