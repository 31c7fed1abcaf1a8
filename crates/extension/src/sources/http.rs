//! What the three HTTP sources share: taking connections, reading bodies within bounds, short answers.
//!
//! A connection may idle for as long as it likes, without a timer, since the sandbox is frozen between
//! invocations. Once the first byte of a request is there, the rest has to follow in time.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use crate::inbox::{Inbox, Room};
use crate::log::{self, Level};

/// From the first byte of a request to the end of its headers; between two parts of a body.
const PATIENCE: Duration = Duration::from_secs(5);
/// For all of a body.
const WHOLE_BODY: Duration = Duration::from_secs(15);
/// Bytes of a body that is refused, which are read so that the client comes to read the answer.
const MAX_UNREAD: usize = 256 << 20;
/// Open connections of one source.
const MAX_CONNECTIONS: usize = 256;
/// After a failed accept, so that a full table of file descriptors is not asked in a circle.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(crate) type Answer = Response<Full<Bytes>>;

/// A source that answers requests.
pub(crate) trait Source: 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer>;
}

/// What is spoken on a connection.
pub(crate) trait Speak: 'static {
    /// To the end of the connection; an error is the client's to see.
    fn converse(self: Rc<Self>, stream: Box<dyn Stream>) -> impl Future<Output = ()>;
}

impl<S: Source> Speak for S {
    async fn converse(self: Rc<Self>, stream: Box<dyn Stream>) {
        converse(stream, &*self).await;
    }
}

pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes connections for as long as the process lives.
pub(crate) async fn serve<S: Speak>(listener: Listener, source: Rc<S>) {
    let open = Rc::new(Cell::new(0));
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(tcp, _)| {
                let _ = tcp.set_nodelay(true);
                Box::new(tcp) as Box<dyn Stream>
            }),
            Listener::Unix(listener) => {
                listener.accept().await.map(|(unix, _)| Box::new(unix) as Box<dyn Stream>)
            }
        };
        match accepted {
            Ok(stream) if open.get() < MAX_CONNECTIONS => {
                open.set(open.get() + 1);
                let (open, source) = (open.clone(), source.clone());
                spawn_local(async move {
                    source.converse(stream).await;
                    open.set(open.get().saturating_sub(1));
                });
            }
            Ok(_) => log::seldom(
                Level::Warn,
                "connections",
                format_args!(
                    "more than {MAX_CONNECTIONS} connections are open to one port; a further one was closed"
                ),
            ),
            Err(error) => {
                log::seldom(Level::Warn, "accept", format_args!("cannot take a connection: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Speaks HTTP/1.1.
async fn converse<S: Source>(stream: Box<dyn Stream>, source: &S) {
    let head = Rc::new(Head { is_awaited: Cell::new(true), limit: RefCell::new(None) });
    let io = TokioIo::new(Patient { stream, head: head.clone() });
    let service = service_fn(|request| {
        head.is_awaited.set(false);
        *head.limit.borrow_mut() = None;
        let (answer, head) = (source.answer(request), &head);
        async move {
            let answer = answer.await;
            head.is_awaited.set(true);
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = http1::Builder::new().serve_connection(io, service).await;
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Over the limit. What the client sent of it was read, so that it comes to read the answer.
    TooLarge,
    /// Too many large ones at once.
    Busy,
    /// The connection broke, or nothing came for too long.
    Broken,
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_body(body: Incoming, limit: usize, inbox: &Inbox) -> Result<Bytes, BodyError> {
    read_held(body, limit, inbox).await.map(|(whole, _)| whole)
}

/// The same; gives the room that it takes as well, for as long as it waits to be taken.
pub(crate) async fn read_held(
    body: Incoming,
    limit: usize,
    inbox: &Inbox,
) -> Result<(Bytes, Room<'_>), BodyError> {
    let mut incoming = Body::new(body, limit);
    let (mut room, mut whole) = (inbox.room(), BytesMut::new());
    while let Some(data) = incoming.next().await? {
        if !room.hold(whole.len() + data.len()).await {
            return Err(incoming.refuse(BodyError::Busy).await);
        }
        if whole.is_empty() {
            if incoming.is_ended() {
                return Ok((data, room));
            }
            // What a header claims is believed as far as a page of address space goes: it is not touched before.
            whole.reserve(incoming.announced().min(limit));
        }
        whole.extend_from_slice(&data);
    }
    Ok((whole.freeze(), room))
}

/// A request's body, part by part.
pub(crate) struct Body {
    incoming: Incoming,
    /// When the whole body has to be there: a client that sends a byte now and then does not keep its room.
    deadline: Instant,
    left: usize,
    limit: usize,
    announced: usize,
}

impl Body {
    pub(crate) fn new(incoming: Incoming, limit: usize) -> Self {
        let announced = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
        Self { incoming, deadline: Instant::now() + WHOLE_BODY, left: limit, limit, announced }
    }

    /// How long it is, as its header says; 0 when that says nothing.
    pub(crate) fn announced(&self) -> usize {
        self.announced
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// The next part; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.announced > self.limit {
            return Err(self.refuse(BodyError::TooLarge).await);
        }
        let Some(data) = self.part().await? else { return Ok(None) };
        match self.left.checked_sub(data.len()) {
            Some(left) => self.left = left,
            None => return Err(self.refuse(BodyError::TooLarge).await),
        }
        Ok(Some(data))
    }

    /// Reads on for a while without keeping anything, so that the client comes to read why.
    pub(crate) async fn refuse(&mut self, why: BodyError) -> BodyError {
        let mut unread = MAX_UNREAD;
        while unread > 0
            && let Ok(Some(data)) = self.part().await
        {
            unread = unread.saturating_sub(data.len());
        }
        why
    }

    async fn part(&mut self) -> Result<Option<Bytes>, BodyError> {
        let until = self.deadline.min(Instant::now() + PATIENCE);
        loop {
            match timeout_at(until, self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) | Err(_) => return Err(BodyError::Broken),
            }
        }
    }
}

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    answer
}

pub(crate) fn ok() -> Answer {
    json(StatusCode::OK, Bytes::from_static(b"{}"))
}

pub(crate) fn not_found() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(b"Not Found")));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

impl BodyError {
    pub(crate) fn answer(self) -> Answer {
        let (status, body): (_, &'static [u8]) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, br#"{"error":"too large"}"#),
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, br#"{"error":"too much at once"}"#),
            Self::Broken => (StatusCode::REQUEST_TIMEOUT, br#"{"error":"incomplete"}"#),
        };
        json(status, body)
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// What is known of the request head that is read on a connection.
struct Head {
    /// No request is being answered: what is read is the next one's head.
    is_awaited: Cell<bool>,
    /// When a head that has begun has to be whole.
    limit: RefCell<Option<Pin<Box<Sleep>>>>,
}

/// A stream that fails when a request has begun and its head does not end in time.
struct Patient {
    stream: Box<dyn Stream>,
    head: Rc<Head>,
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.head.is_awaited.get() {
            return read;
        }
        let mut limit = self.head.limit.borrow_mut();
        if read.is_ready() {
            if buf.filled().len() > before && limit.is_none() {
                *limit = Some(Box::pin(sleep(PATIENCE)));
            }
            return read;
        }
        let Some(limit) = limit.as_mut() else { return Poll::Pending };
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
