//! The Runtime API and a runtime, byte by byte: a test says what each sends and sees what the other gets. What is
//! not of the Runtime API goes to the fake Lambda, since both have one address.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::fake_lambda::{FakeLambda, PATIENCE};

/// What answers the extension and the runtime behind it.
pub(crate) struct RuntimeApi {
    pub(crate) address: String,
    calls: mpsc::UnboundedReceiver<Side>,
    server: JoinHandle<()>,
}

impl RuntimeApi {
    pub(crate) async fn start(lambda: &FakeLambda) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(lambda.address.clone()))
    }

    /// `lambda`: who answers what is not of the Runtime API; nobody does if it is not given.
    pub(crate) fn on(listener: TcpListener, lambda: Option<String>) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let (sender, calls) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                tokio::spawn(receive(Side::new(tcp), lambda.clone(), sender.clone()));
            }
        });
        Self { address, calls, server }
    }

    /// A new connection on which a call of the runtime came.
    pub(crate) async fn called(&mut self) -> Side {
        timeout(PATIENCE, self.calls.recv()).await.expect("no call comes through").unwrap()
    }

    /// From here on nobody listens.
    pub(crate) async fn stop(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(mut side: Side, lambda: Option<String>, calls: mpsc::UnboundedSender<Side>) {
    let Some(head) = side.peek_head().await else { return };
    if head.contains("/runtime/") {
        let _ = calls.send(side);
        return;
    }
    let Some(lambda) = lambda else { return std::future::pending().await };
    let Ok(mut to) = TcpStream::connect(lambda).await else { return };
    if to.write_all(&side.unread).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut side.tcp, &mut to).await;
    }
}

/// One end of a connection.
pub(crate) struct Side {
    tcp: TcpStream,
    /// What came and was not looked at.
    unread: Vec<u8>,
}

impl Side {
    fn new(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).unwrap();
        Self { tcp, unread: Vec::new() }
    }

    /// The runtime's.
    pub(crate) async fn connect(port: u16) -> Self {
        Self::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.tcp.write_all(bytes)).await.expect("nobody reads").unwrap();
    }

    /// `false` when the other side has hung up.
    async fn more(&mut self) -> bool {
        let mut part = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.tcp.read(&mut part)).await;
        let length =
            read.unwrap_or_else(|_| panic!("nothing comes after {:?}", text(&self.unread))).unwrap_or(0);
        self.unread.extend_from_slice(&part[..length]);
        length > 0
    }

    async fn peek_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(text(&self.unread[..end + 4]));
            }
            // A connection may be open for long before the first call.
            let mut part = [0; 4096];
            match self.tcp.read(&mut part).await {
                Ok(length) if length > 0 => self.unread.extend_from_slice(&part[..length]),
                _ => return None,
            }
        }
    }

    /// The next `length` bytes.
    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            assert!(self.more().await, "hung up after {:?}", text(&self.unread));
        }
        self.unread.drain(..length).collect()
    }

    /// The head of a message, with the empty line behind it.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// All until this text, with it.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|part| part == end.as_bytes()) {
                let rest = self.unread.split_off(at + end.len());
                return text(&std::mem::replace(&mut self.unread, rest));
            }
            assert!(self.more().await, "hung up after {:?}", text(&self.unread));
        }
    }

    /// A chunked body and its trailers.
    pub(crate) async fn chunks(&mut self) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let line = self.until("\r\n").await;
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            if length == 0 {
                let trailers = self.until("\r\n").await;
                return match trailers.as_str() {
                    "\r\n" => (body, String::new()),
                    _ => (body, trailers + &self.until("\r\n").await),
                };
            }
            body.extend(self.bytes(length).await);
            assert_eq!(self.bytes(2).await, b"\r\n");
        }
    }

    /// Waits for the other side to hang up; gives what it said before.
    pub(crate) async fn hung_up(&mut self) -> String {
        while self.more().await {}
        text(&self.unread)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The most memory that a process had, in kB.
pub(crate) fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The answer to `/next`: an event for this request.
pub(crate) fn event(id: &str, body: &[u8]) -> Vec<u8> {
    let deadline = crate::fake_lambda::millis() + Duration::from_secs(60).as_millis();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: {id}\r\n\
         Lambda-Runtime-Deadline-Ms: {deadline}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Lambda's answer to what it took.
pub(crate) const ACCEPTED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n";
