//! Carries batches to one subscriber, one at a time. Stands still while the sandbox is frozen.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::SubscriberId;
use super::subscription::Destination;
use crate::driver::Message;
use crate::faults::Faults;
use crate::private::Private;

/// Tries per batch, the first included.
const ATTEMPTS: u32 = 6;
/// Wait before the second try; doubles.
const BACKOFF: Duration = Duration::from_millis(25);
/// Longest wait for an answer, not counting time frozen.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Outcome {
    Delivered,
    /// It was given up, and why.
    Failed(String),
    /// It was lost on purpose.
    Dropped,
}

/// What a delivery is made of.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) id: SubscriberId,
    pub(super) destination: Destination,
    pub(super) faults: Faults,
    pub(super) private: Option<Private>,
    pub(super) frozen: watch::Receiver<bool>,
    pub(super) inbox: mpsc::Sender<Message>,
}

impl Delivery {
    /// Runs until the subscriber is dropped.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<Bytes>) {
        let Self { id, destination, faults, private, mut frozen, inbox } = self;
        let mut line = Line { destination, private, open: Open::None };
        let mut number = 0;
        while let Some(batch) = batches.recv().await {
            number += 1;
            if !faults.telemetry_delay.is_zero() {
                sleep(faults.telemetry_delay).await;
            }
            let mut outcome = Outcome::Dropped;
            if !faults.telemetry_drop.has(number) {
                if faults.telemetry_duplicate.has(number) {
                    // What becomes of the copy is not told.
                    let _ = deliver(&mut line, batch.clone(), &mut frozen).await;
                }
                outcome = match deliver(&mut line, batch, &mut frozen).await {
                    Ok(()) => Outcome::Delivered,
                    Err(why) => Outcome::Failed(why),
                };
            }
            if inbox.send(Message::Delivered { subscriber: id, outcome }).await.is_err() {
                return;
            }
        }
    }
}

async fn deliver(line: &mut Line, batch: Bytes, frozen: &mut watch::Receiver<bool>) -> Result<(), String> {
    let mut pause = BACKOFF;
    let mut attempt = 1;
    loop {
        thawed(frozen).await;
        let sent = within(ATTEMPT_LIMIT, frozen, line.send(batch.clone())).await;
        let why = match sent {
            Some(Ok(())) => return Ok(()),
            Some(Err(e)) => e.to_string(),
            None => "no answer in time".to_owned(),
        };
        line.open = Open::None;
        if attempt == ATTEMPTS {
            return Err(why);
        }
        attempt += 1;
        sleep(pause).await;
        pause *= 2;
    }
}

/// Waits until processes run. A sandbox that is gone does not thaw: then this task is dropped.
async fn thawed(frozen: &mut watch::Receiver<bool>) {
    if frozen.wait_for(|frozen| !frozen).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The result of `work`, unless it takes longer than `limit` of time not frozen.
async fn within<T>(
    limit: Duration,
    frozen: &mut watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = sleep(limit) => return None,
            _ = frozen.wait_for(|frozen| *frozen) => {}
        }
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = thawed(frozen) => {}
        }
    }
}

/// The connection to a subscriber, kept open.
struct Line {
    destination: Destination,
    private: Option<Private>,
    open: Open,
}

enum Open {
    None,
    Http(SendRequest<Full<Bytes>>),
    Tcp(TcpStream),
}

impl Line {
    async fn send(&mut self, batch: Bytes) -> io::Result<()> {
        match &self.destination {
            Destination::Http { authority, port, path } => {
                let request = hyper::Request::post(path.as_str())
                    .header("host", authority.as_str())
                    .header("content-type", "application/json")
                    .body(Full::new(batch))
                    .map_err(io::Error::other)?;
                let connection = match &mut self.open {
                    Open::Http(connection) if !connection.is_closed() => connection,
                    open => {
                        *open = Open::Http(handshaken(dial(self.private.as_ref(), *port).await?).await?);
                        let Open::Http(connection) = open else {
                            return Err(io::ErrorKind::NotConnected.into());
                        };
                        connection
                    }
                };
                connection.ready().await.map_err(io::Error::other)?;
                let answer = connection.send_request(request).await.map_err(io::Error::other)?;
                let status = answer.status();
                // Read to its end, so that the connection can be used again.
                let mut body = answer.into_body();
                while let Some(frame) = body.frame().await {
                    frame.map_err(io::Error::other)?;
                }
                if status.is_success() {
                    Ok(())
                } else {
                    Err(io::Error::other(format!("HTTP status {status}")))
                }
            }
            Destination::Tcp { port } => {
                let stream = match &mut self.open {
                    Open::Tcp(stream) => stream,
                    open => {
                        *open = Open::Tcp(dial(self.private.as_ref(), *port).await?);
                        let Open::Tcp(stream) = open else { return Err(io::ErrorKind::NotConnected.into()) };
                        stream
                    }
                };
                stream.write_all(&lines(&batch)).await
            }
        }
    }
}

/// A connection to a port of the sandbox.
async fn dial(private: Option<&Private>, port: u16) -> io::Result<TcpStream> {
    match private {
        Some(private) => private.connect(port).await,
        None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await,
    }
}

async fn handshaken(stream: TcpStream) -> io::Result<SendRequest<Full<Bytes>>> {
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends when the sender is dropped.
    tokio::spawn(connection);
    Ok(sender)
}

/// Newline-delimited JSON of a JSON array.
fn lines(batch: &[u8]) -> Vec<u8> {
    let records: Vec<&serde_json::value::RawValue> = serde_json::from_slice(batch).unwrap_or_default();
    records.iter().flat_map(|r| r.get().bytes().chain([b'\n'])).collect()
}
