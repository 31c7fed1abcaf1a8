//! The way to the extension: traces over HTTP on loopback, or on a Unix socket.
//!
//! One request at a time per connection, connections kept alive. Every wait is within the caller's budget; an
//! agent that did not answer is left alone for a while, so that it costs one budget and then nothing.
//! Not here: what is sent and when (`invocation`, `datadog`).

use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::settings::Address;

/// How long an agent that failed is not asked again.
const REST: Duration = Duration::from_secs(10);

/// A budget that was shorter says nothing about the agent.
const FAIR: Duration = Duration::from_millis(100);

/// How long the answer to an earlier request is waited for, which mostly is there already.
const PATIENCE: Duration = Duration::from_millis(3);

/// Requests that an agent may leave unanswered before it counts as one that failed.
const MAX_SILENCE: u32 = 3;

/// As many connections as invocations run at once on most managed instances; more are closed after use.
const MAX_IDLE: usize = 16;

/// More answer than this is not read.
const MAX_ANSWER: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Agent {
    address: Address,
    idle: Mutex<Vec<Connection>>,
    rests_until: Mutex<Option<Instant>>,
    /// Requests without an answer since the last answer.
    silence: AtomicU32,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    /// The answer to the last request has not been read yet.
    owed: bool,
}

/// How much has to be certain before [`Agent::send`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The bytes are the kernel's, and reach the agent even if this process is frozen.
    Written,
    /// The agent has answered.
    Answered,
}

/// Why a chunk did not arrive, or may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The agent failed a moment ago and is not asked.
    Resting,
    /// Nothing listens, or the connection broke twice.
    Unreachable,
    /// The budget was used up.
    Slow,
    /// It answered with this status.
    Refused(u16),
}

impl Agent {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, idle: Mutex::default(), rests_until: Mutex::default(), silence: AtomicU32::new(0) }
    }

    /// Leaves all connections and all memory of failures behind.
    pub(crate) fn forget(&self) {
        lock(&self.idle).clear();
        *lock(&self.rests_until) = None;
        self.silence.store(0, Ordering::Relaxed);
    }

    /// Posts the body of a `/v0.4/traces` request that holds so many traces.
    pub(crate) async fn send(
        &self,
        traces: usize,
        body: &[u8],
        until: Until,
        budget: Duration,
    ) -> Result<(), Lost> {
        self.deliver(&self.traces(traces, body), until, budget).await
    }

    /// Posts a request as it is.
    pub(crate) async fn deliver(&self, request: &[u8], until: Until, budget: Duration) -> Result<(), Lost> {
        if self.rests() {
            return Err(Lost::Resting);
        }
        let sent = match tokio::time::timeout(budget, self.attempts(request, until)).await {
            Ok(Ok(status)) if !(200..300).contains(&status) => return Err(Lost::Refused(status)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Lost::Unreachable),
            Err(_) => Err(Lost::Slow),
        };
        let is_fair = sent != Err(Lost::Slow) || budget >= FAIR || self.is_silent();
        if sent.is_err() && is_fair {
            self.rest();
        }
        sent
    }

    /// Leaves it alone for a while.
    pub(crate) fn rest(&self) {
        self.silence.store(0, Ordering::Relaxed);
        *lock(&self.rests_until) = Instant::now().checked_add(REST);
    }

    /// The same from a thread that may block, on a connection of its own. Each of its few waits is within the
    /// budget.
    pub(crate) fn send_now(&self, traces: usize, body: &[u8], budget: Duration) -> io::Result<()> {
        self.deliver_now(&self.traces(traces, body), budget)
    }

    /// Posts a request as it is, from such a thread.
    pub(crate) fn deliver_now(&self, request: &[u8], budget: Duration) -> io::Result<()> {
        match &self.address {
            Address::Tcp { host, port } => {
                let addresses = (host.as_str(), *port).to_socket_addrs();
                let address = addresses?.next().ok_or(io::ErrorKind::NotFound)?;
                let mut stream = std::net::TcpStream::connect_timeout(&address, budget)?;
                stream.set_write_timeout(Some(budget))?;
                stream.set_read_timeout(Some(budget))?;
                exchange(&mut stream, request)
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                // Connecting may wait for the other side, and knows no limit: it is left behind then.
                let (done, sent) = std::sync::mpsc::channel();
                let (path, request) = (path.clone(), request.to_vec());
                std::thread::Builder::new().name("datadog-send".to_owned()).spawn(move || {
                    let _ = done.send(exchange_at(&path, &request, budget));
                })?;
                sent.recv_timeout(budget).map_err(|_| io::ErrorKind::TimedOut)?
            }
        }
    }

    /// On a kept connection, which the agent may have closed meanwhile, and then on a new one.
    async fn attempts(&self, request: &[u8], until: Until) -> io::Result<u16> {
        let kept = lock(&self.idle).pop();
        if let Some(connection) = kept
            && let Some(connection) = self.settle(connection).await
            && let Ok(status) = self.attempt(connection, request, until).await
        {
            return Ok(status);
        }
        if self.is_silent() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let stream = Stream::connect(&self.address).await?;
        self.attempt(Connection { stream, owed: false }, request, until).await
    }

    /// A kept connection that can take another request.
    async fn settle(&self, mut connection: Connection) -> Option<Connection> {
        if !connection.owed {
            return connection.check_open().is_ok().then_some(connection);
        }
        match tokio::time::timeout(PATIENCE, connection.answer()).await {
            Ok(Ok((_, reusable))) => {
                self.silence.store(0, Ordering::Relaxed);
                reusable.then_some(connection)
            }
            Ok(Err(_)) => None,
            Err(_) => {
                self.silence.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    fn is_silent(&self) -> bool {
        self.silence.load(Ordering::Relaxed) >= MAX_SILENCE
    }

    async fn attempt(&self, mut connection: Connection, request: &[u8], until: Until) -> io::Result<u16> {
        connection.stream.write_all(request).await?;
        connection.owed = until == Until::Written;
        let (status, reusable) = if connection.owed { (200, true) } else { connection.answer().await? };
        if !connection.owed {
            self.silence.store(0, Ordering::Relaxed);
        }
        let mut idle = lock(&self.idle);
        if reusable && idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(status)
    }

    fn traces(&self, traces: usize, body: &[u8]) -> Vec<u8> {
        let headers =
            format!("X-Datadog-Trace-Count: {traces}\r\nDatadog-Client-Computed-Top-Level: yes\r\n");
        self.request("/v0.4/traces", &headers, body)
    }

    /// A request with a body of msgpack. `headers` are whole lines.
    pub(crate) fn request(&self, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let host = match &self.address {
            Address::Tcp { host, port } => format!("{host}:{port}"),
            #[cfg(unix)]
            Address::Unix(_) => "localhost".to_owned(),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/msgpack\r\n\
             Content-Length: {}\r\nDatadog-Meta-Lang: rust\r\nDatadog-Meta-Tracer-Version: {}\r\n{headers}\r\n",
            body.len(),
            env!("CARGO_PKG_VERSION"),
        );
        let mut request = Vec::with_capacity(head.len() + body.len());
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(body);
        request
    }

    /// Whether it failed a moment ago, and is left alone.
    pub(crate) fn rests(&self) -> bool {
        let mut until = lock(&self.rests_until);
        match *until {
            Some(moment) if Instant::now() < moment => true,
            _ => {
                *until = None;
                false
            }
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    // The first byte of the answer says that the request was read.
    stream.read_exact(&mut [0])
}

#[cfg(unix)]
fn exchange_at(path: &std::path::Path, request: &[u8], budget: Duration) -> io::Result<()> {
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_write_timeout(Some(budget))?;
    stream.set_read_timeout(Some(budget))?;
    exchange(&mut stream, request)
}

/// A connection of either kind.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            #[cfg(unix)]
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            #[cfg(unix)]
            Self::Unix(stream) => stream.write_all(bytes).await,
        }
    }

    async fn read_buf(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(bytes).await,
            #[cfg(unix)]
            Self::Unix(stream) => stream.read_buf(bytes).await,
        }
    }

    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_read(bytes),
        }
    }
}

impl Connection {
    /// Fails when the other side has closed, or says something that nobody asked for.
    fn check_open(&self) -> io::Result<()> {
        match self.stream.try_read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Reads one answer: its status, and whether the connection can be used again.
    async fn answer(&mut self) -> io::Result<(u16, bool)> {
        let mut bytes = Vec::with_capacity(512);
        loop {
            if let Some(head_end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(bytes.get(..head_end).unwrap_or_default()).into_owned();
                let (status, length) = read_head(&head).ok_or(io::ErrorKind::InvalidData)?;
                let Some(length) = length.filter(|length| *length <= MAX_ANSWER) else {
                    return Ok((status, false));
                };
                let end = head_end + 4 + length;
                while bytes.len() < end {
                    self.more(&mut bytes).await?;
                }
                return Ok((status, bytes.len() == end));
            }
            if bytes.len() > MAX_ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.more(&mut bytes).await?;
        }
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self.stream.read_buf(bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The status, and the length of the body when it is told and the connection stays.
fn read_head(head: &str) -> Option<(u16, Option<usize>)> {
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut length = None;
    let mut closes = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    Some((status, length.filter(|_| !closes)))
}

/// A lock that a panic elsewhere does not take away: what it guards is whole after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const BUDGET: Duration = Duration::from_secs(20);
    const SHORT: Duration = FAIR;

    async fn listen() -> (TcpListener, Agent) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, Agent::new(Address::local(port)))
    }

    /// Reads one request of a three-byte body, answers it.
    async fn serve(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), answer: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\nabc") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

    #[tokio::test]
    async fn one_connection_serves_many_requests() {
        let (listener, agent) = listen().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = serve(&mut stream, OK).await;
            for _ in 0..3 {
                serve(&mut stream, OK).await;
            }
            first
        };
        let client = async {
            for until in [Until::Answered, Until::Written, Until::Written, Until::Answered] {
                assert_eq!(agent.send(1, b"abc", until, BUDGET).await, Ok(()));
            }
        };
        let (first, ()) = tokio::join!(server, client);
        assert!(first.starts_with("POST /v0.4/traces HTTP/1.1\r\nHost: 127.0.0.1:"), "{first}");
        assert!(first.contains("\r\nX-Datadog-Trace-Count: 1\r\n"), "{first}");
        assert!(first.contains("\r\nContent-Length: 3\r\n"), "{first}");
    }

    #[tokio::test]
    async fn a_closed_connection_is_replaced_once() {
        let (listener, agent) = listen().await;
        for answer in [OK, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK] {
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                serve(&mut stream, answer).await;
            };
            let (sent, ()) = tokio::join!(agent.send(1, b"abc", Until::Answered, BUDGET), server);
            assert_eq!(sent, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_the_agent_is_asked_again() {
        let (listener, agent) = listen().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            serve(&mut stream, "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
            serve(&mut stream, OK).await;
        };
        let client = async {
            assert_eq!(agent.send(1, b"abc", Until::Answered, BUDGET).await, Err(Lost::Refused(413)));
            assert_eq!(agent.send(1, b"abc", Until::Answered, BUDGET).await, Ok(()));
        };
        tokio::join!(server, client);
    }

    #[tokio::test]
    async fn a_silent_agent_costs_one_budget() {
        let (_listener, agent) = listen().await;
        let start = Instant::now();
        assert_eq!(agent.send(1, b"abc", Until::Answered, SHORT).await, Err(Lost::Slow));
        for _ in 0..100 {
            assert_eq!(agent.send(1, b"abc", Until::Answered, BUDGET).await, Err(Lost::Resting));
        }
        assert!(start.elapsed() < BUDGET, "{:?}", start.elapsed());
    }

    /// As when an invocation is nearly over: the next one has time again.
    #[tokio::test]
    async fn a_budget_of_nothing_is_not_held_against_the_agent() {
        let (listener, agent) = listen().await;
        let tiny = Duration::from_nanos(1);
        assert_eq!(agent.send(1, b"abc", Until::Answered, tiny).await, Err(Lost::Slow));
        let server = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut first = [0];
                // The first connection was given up, perhaps before it was used.
                if stream.peek(&mut first).await.is_ok_and(|n| n > 0) {
                    serve(&mut stream, OK).await;
                }
            }
        };
        let sent = tokio::select! {
            sent = agent.send(1, b"abc", Until::Answered, BUDGET) => sent,
            () = server => unreachable!(),
        };
        assert_eq!(sent, Ok(()));
    }

    /// The response waits for nobody who is silent, and the silent one is left alone soon.
    #[tokio::test]
    async fn an_agent_that_never_answers_holds_no_response_back() {
        let (_listener, agent) = listen().await;
        let start = Instant::now();
        let mut sent = 0;
        while agent.send(1, b"abc", Until::Written, BUDGET).await == Ok(()) {
            sent += 1;
        }
        assert!(start.elapsed() < BUDGET / 2, "{:?}", start.elapsed());
        assert_eq!(sent, MAX_SILENCE);
        assert_eq!(agent.send(1, b"abc", Until::Written, BUDGET).await, Err(Lost::Resting));
    }

    #[tokio::test]
    async fn a_connection_that_the_agent_gives_up_with_its_answer_is_not_written_to() {
        let (listener, agent) = listen().await;
        let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(agent.send(1, b"abc", Until::Written, BUDGET).await, Ok(()));
        let (mut first, _) = listener.accept().await.unwrap();
        serve(&mut first, closing).await;
        assert_eq!(agent.send(1, b"abc", Until::Written, BUDGET).await, Ok(()));
        let (mut second, _) = listener.accept().await.unwrap();
        serve(&mut second, OK).await;
        assert_eq!(first.read_buf(&mut Vec::new()).await.unwrap(), 0);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_socket_is_as_good_as_a_port() {
        let path = std::env::temp_dir().join(format!("datadog-{}.sock", crate::ids::uuid()));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let agent = Agent::new(Address::Unix(path.clone()));
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = serve(&mut stream, OK).await;
            serve(&mut stream, OK).await;
            let (mut stream, _) = listener.accept().await.unwrap();
            serve(&mut stream, OK).await;
            request
        };
        let agent = std::sync::Arc::new(agent);
        let client = async {
            assert_eq!(agent.send(1, b"abc", Until::Answered, BUDGET).await, Ok(()));
            assert_eq!(agent.send(1, b"abc", Until::Written, BUDGET).await, Ok(()));
            let agent = agent.clone();
            tokio::task::spawn_blocking(move || agent.send_now(1, b"abc", BUDGET)).await.unwrap().unwrap();
        };
        let (request, ()) = tokio::join!(server, client);
        assert!(request.contains("\r\nHost: localhost\r\n"), "{request}");
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn no_agent_at_all() {
        let (listener, agent) = listen().await;
        drop(listener);
        assert_eq!(agent.send(1, b"abc", Until::Answered, BUDGET).await, Err(Lost::Unreachable));
        assert_eq!(agent.send(1, b"abc", Until::Answered, BUDGET).await, Err(Lost::Resting));
    }

    #[test]
    fn heads() {
        let check = |head: &str, expect| assert_eq!(read_head(head), expect, "{head}");
        check("HTTP/1.1 200 OK\r\nContent-Length: 5", Some((200, Some(5))));
        check("HTTP/1.0 404", Some((404, None)));
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close", Some((200, None)));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", Some((200, None)));
        check("HTTP/1.1 200 OK\r\nContent-Length: many", Some((200, None)));
        check("SSH-2.0", None);
        check("", None);
    }
}
