//! HTTP/2 to one server: one connection that all calls share, each a stream of its own. Says nothing about when to give
//! up and what to do then: see [`crate::sinks`]. Nothing here keeps time: an idle connection wakes nobody.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http_body_util::Full;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use crate::address::Address;
use crate::connection::{Failure, Reply};
use crate::egress::Stream;

/// Of an answer that nobody has read yet, so much may come: answers are small.
const WINDOW: u32 = 16 << 10;
/// Bytes of an answer's headers, unpacked.
const MAX_HEADERS: u32 = 16 << 10;
/// Calls at once before the server has said how many it takes; no server that does what the standard recommends takes
/// less than this.
const FIRST_CALLS: usize = 100;

/// What is said of one connection, and not of a request (RFC 9113, 8.2.2); the host has a place of its own.
const OF_A_CONNECTION: [HeaderName; 7] = [
    HOST,
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A connection, for as many calls at once as the server takes; more wait for their turn. It is closed when nobody has
/// it any more and all calls are over.
#[derive(Clone)]
pub(crate) struct Session(Rc<Shared>);

struct Shared {
    sender: SendRequest<Bytes>,
    scheme: Scheme,
    authority: Authority,
    /// When it was made or the last answer came.
    since: Cell<SystemTime>,
    has_answered: Cell<bool>,
    is_over: Rc<Cell<bool>>,
    /// The server has said anything at all.
    is_heard: Rc<Cell<bool>>,
}

/// The bytes of a connection; notes whether any have come.
struct Listening {
    stream: Box<dyn Stream>,
    is_heard: Rc<Cell<bool>>,
}

/// What a call that failed says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The server has not looked at the request, and takes it on this connection.
    AgainHere,
    /// The same, on another connection.
    AgainElsewhere,
    /// Over HTTP/1.1, which is all that the server speaks.
    AgainAsBefore,
    /// Nobody knows whether the server has it, and the connection is gone. A connection that has answered before and dies
    /// with the next request was dead all the time.
    Gone { was_alive: bool },
    /// The server did not want this one.
    Failed,
}

impl Session {
    /// Begins to speak HTTP/2. That the other side does too shows with the first call.
    pub(crate) async fn begin(stream: Box<dyn Stream>, address: &Address) -> Result<Self, Failure> {
        let authority = address.authority().parse::<Authority>();
        let authority = authority.map_err(|error| Failure::Connect(io::Error::other(error)))?;
        let is_heard = Rc::new(Cell::new(false));
        let stream = Listening { stream, is_heard: is_heard.clone() };
        let mut builder = Builder::new();
        builder.enable_push(false).initial_window_size(WINDOW).max_header_list_size(MAX_HEADERS);
        builder.initial_max_send_streams(FIRST_CALLS);
        let (sender, connection) = builder.handshake(stream).await.map_err(Failure::Stream)?;
        let is_over = Rc::new(Cell::new(false));
        let ended = is_over.clone();
        // Moves all bytes of all calls; an error shows in each call that is not over.
        spawn_local(async move {
            let _ = connection.await;
            ended.set(true);
        });
        let scheme = if address.tls { Scheme::HTTPS } else { Scheme::HTTP };
        let since = Cell::new(SystemTime::now());
        let has_answered = Cell::new(false);
        Ok(Self(Rc::new(Shared { sender, scheme, authority, since, has_answered, is_over, is_heard })))
    }

    /// It is open as far as is known, and was used not longer ago than this.
    pub(crate) fn is_fresh(&self, max_idle: Duration) -> bool {
        // A clock that was set back counts as too long.
        let idle = SystemTime::now().duration_since(self.0.since.get()).unwrap_or(Duration::MAX);
        idle < max_idle && !self.0.is_over.get()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Sends a request and reads its answer, of which at most `limit` bytes are kept. A call that is dropped half-way ends
    /// its stream and nothing else.
    pub(crate) async fn call(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Reply, Failure> {
        let (head, body) = self.addressed(request);
        let mut sender = self.0.sender.clone().ready().await.map_err(Failure::Stream)?;
        let is_empty = body.is_empty();
        let (response, mut stream) = sender.send_request(head, is_empty).map_err(Failure::Stream)?;
        if !is_empty {
            // Not a copy: it waits, as it is, for the window that the server opens.
            stream.send_data(body, true).map_err(Failure::Stream)?;
        }
        let (head, incoming) = response.await.map_err(Failure::Stream)?.into_parts();
        let body = read(incoming, limit).await;
        self.0.has_answered.set(true);
        self.0.since.set(SystemTime::now());
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    /// What to do about a call that failed.
    pub(crate) fn after(&self, failure: &Failure) -> Then {
        let Failure::Stream(error) = failure else { return Then::Failed };
        let (reason, has_answered) = (error.reason(), self.0.has_answered.get());
        match reason {
            Some(Reason::HTTP_1_1_REQUIRED) if error.is_remote() => Then::AgainAsBefore,
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => Then::AgainHere,
            // It is told to requests only that are beyond the last one that the server has looked at.
            _ if error.is_go_away() && error.is_remote() => Then::AgainElsewhere,
            // What came back is no frame: its first bytes are no length that we allow.
            Some(Reason::FRAME_SIZE_ERROR) if error.is_library() && !has_answered => Then::AgainAsBefore,
            _ if error.is_reset() => Then::Failed,
            // Servers that do not know it answer as above, or not at all.
            _ if !self.0.is_heard.get() && self.0.scheme == Scheme::HTTP => Then::AgainAsBefore,
            _ => Then::Gone { was_alive: has_answered },
        }
    }

    /// The request as HTTP/2 has it.
    fn addressed(&self, request: Request<Full<Bytes>>) -> (Request<()>, Bytes) {
        let (mut head, body) = request.into_parts();
        let body = body.into_inner().unwrap_or_default();
        let mut uri = head.uri.into_parts();
        uri.scheme = Some(self.0.scheme.clone());
        uri.authority = Some(self.0.authority.clone());
        head.uri = Uri::from_parts(uri).unwrap_or_default();
        head.version = hyper::Version::HTTP_2;
        for name in &OF_A_CONNECTION {
            head.headers.remove(name);
        }
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        (Request::from_parts(head, ()), body)
    }

    #[cfg(test)]
    pub(crate) fn used_at(&self, since: SystemTime) {
        self.0.since.set(since);
    }
}

/// Reads a body. The status has been said: one that breaks off changes nothing about that.
async fn read(mut incoming: RecvStream, limit: usize) -> Bytes {
    let mut body = BytesMut::new();
    while let Some(Ok(data)) = incoming.data().await {
        let room = limit.saturating_sub(body.len());
        body.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        if data.len() > room || incoming.flow_control().release_capacity(data.len()).is_err() {
            break;
        }
    }
    body.freeze()
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.is_heard.set(true);
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
