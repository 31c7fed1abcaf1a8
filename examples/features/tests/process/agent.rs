//! The little of an HTTP server that these tests need: for the service that a function calls, for an agent that
//! does not do what it should, for the Runtime API of a function with many events at once.

use std::net::Shutdown;
use std::sync::Arc;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its first line and its headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

/// `None` when the other side has closed.
pub(crate) async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(head + 4);
    let mut request = Request { head: String::from_utf8(bytes).ok()?, body };
    let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}

pub(crate) async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // The other side may be gone.
    let _ = stream.write_all(text.as_bytes()).await;
}

/// Serves until it is killed or dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    listener: Arc<TcpListener>,
    task: JoinHandle<()>,
}

impl Server {
    /// As when its process is killed: its connections break, and new ones are refused. The port stays its own, so
    /// that nobody else gets it.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
        SockRef::from(&self.listener).shutdown(Shutdown::Both).unwrap();
        let port = ("127.0.0.1", self.port);
        assert!(TcpStream::connect(port).await.is_err(), "nobody is there");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers each request with what is said of it, or leaves it without an answer.
pub(crate) async fn serve(say: impl Fn(Request) -> Option<&'static str> + Clone + Send + 'static) -> Server {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let accepting = listener.clone();
    let task = tokio::spawn(async move {
        // Dropped with this task, and its connections with it.
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = accepting.accept().await {
            let say = say.clone();
            connections.spawn(async move {
                while let Some(request) = read(&mut stream).await {
                    if let Some(status) = say(request) {
                        answer(&mut stream, status, "{}").await;
                    }
                }
            });
        }
    });
    Server { port, listener, task }
}
