//! An HTTP client of one server, on one connection that is kept: for the Extensions API and for each intake. Over
//! HTTP/1.1, one call at a time; whoever may speak HTTP/2 is handed the connection, for all calls at once. Says nothing
//! about what is sent or when to give up: callers wrap a call in their deadline.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::address::Address;
use crate::egress::{Egress, Protocol};
use crate::log;
use crate::session::Session;

/// A connection that was unused for longer by the wall clock, which runs on while Lambda freezes the
/// sandbox, is not trusted: load balancers and NAT gateways forget connections without a word.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(50);

/// How long connecting may take where nothing else is said: callers have deadlines of their own.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server, and the connection to it if there is one. A call that is dropped half-way drops the
/// connection with it.
pub(crate) struct Peer {
    address: Address,
    egress: Rc<Egress>,
    /// The longest that connecting may take, proxy and TLS included.
    patience: Duration,
    versions: Rc<Versions>,
    kept: Option<Kept>,
}

/// Which versions of HTTP a server is spoken to in: what is set, and what it has shown.
#[derive(Debug)]
pub(crate) struct Versions {
    set: Protocol,
    /// It was offered HTTP/2 and did not take it.
    is_old: Cell<bool>,
    is_told: Cell<bool>,
}

/// A connection that was just made.
enum Way {
    Own(Sender),
    Shared(Session),
}

/// What has become of a request.
pub(crate) enum Begun {
    Answered(Reply),
    /// Nothing was sent: the server speaks HTTP/2, and this is the connection, for this request and others.
    Shared(Session, Request<Full<Bytes>>),
}

struct Kept {
    sender: Sender,
    since: SystemTime,
}

type Sender = SendRequest<Full<Bytes>>;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Cut at the limit of the call.
    pub(crate) body: Bytes,
}

/// No answer came.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no connection.
    Connect(std::io::Error),
    /// The connection broke.
    Broken(hyper::Error),
    /// The same of HTTP/2, or of one call on its connection.
    Stream(h2::Error),
    /// The connection was open for so long, and nothing came.
    Silent(Duration),
    /// It was not made: the time for it was over before its turn.
    NotBegun,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Stream(error) if error.is_reset() => write!(f, "the request was ended: {error}"),
            Self::Stream(error) => write!(f, "the connection broke: {error}"),
            Self::Silent(time) => write!(f, "no answer within {time:?}"),
            Self::NotBegun => write!(f, "its turn did not come in time"),
        }
    }
}

impl Versions {
    pub(crate) fn new(set: Protocol) -> Rc<Self> {
        Rc::new(Self { set, is_old: Cell::new(false), is_told: Cell::new(false) })
    }

    /// The server speaks HTTP/1.1 only. Told once, if that is not what is set.
    pub(crate) fn is_old(&self, server: &Address) {
        self.is_old.set(true);
        if self.set == Protocol::Http2 && !self.is_told.replace(true) {
            let server = server.authority();
            log::warn(format_args!(
                "{server} does not speak HTTP/2, which DD_HTTP_PROTOCOL is set to; HTTP/1.1 is used for it"
            ));
        }
    }

    /// It did not answer in HTTP/1.1 either: nothing is known.
    pub(crate) fn forget(&self) {
        self.is_old.set(false);
    }

    fn now(&self) -> Protocol {
        if self.is_old.get() { Protocol::Http1 } else { self.set }
    }
}

impl Peer {
    /// Over HTTP/1.1.
    pub(crate) fn new(address: Address, egress: Rc<Egress>) -> Self {
        Self { address, egress, patience: PATIENCE, versions: Versions::new(Protocol::Http1), kept: None }
    }

    /// Over what these say.
    pub(crate) fn speaking(self, versions: Rc<Versions>) -> Self {
        Self { versions, ..self }
    }

    /// Connects within this time or not at all.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// There is a connection, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.sender.is_closed())
    }

    /// Sends a request and reads its answer, of which at most `limit` bytes are kept. A kept connection that
    /// turns out to be dead is replaced by a new one, once.
    pub(crate) async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Reply, Failure> {
        match self.begin(request, limit).await? {
            Begun::Answered(reply) => Ok(reply),
            Begun::Shared(session, request) => session.call(request, limit).await,
        }
    }

    /// The same, unless the connection is one for many calls: it is handed over.
    pub(crate) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Begun, Failure> {
        if let Some(mut sender) = self.take_kept()
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(request.clone()).await
        {
            return Ok(Begun::Answered(self.finish(sender, response, limit).await));
        }
        let in_time = timeout(self.patience, self.connect()).await;
        let mut sender = match in_time.unwrap_or_else(|_| Err(self.too_slow()))? {
            Way::Own(sender) => sender,
            Way::Shared(session) => return Ok(Begun::Shared(session, request)),
        };
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        Ok(Begun::Answered(self.finish(sender, response, limit).await))
    }

    fn take_kept(&mut self) -> Option<Sender> {
        let kept = self.kept.take()?;
        // A clock that was set back counts as too long.
        let idle = SystemTime::now().duration_since(kept.since).unwrap_or(Duration::MAX);
        (idle < MAX_IDLE && !kept.sender.is_closed()).then_some(kept.sender)
    }

    /// Reads the body. The status has been said: a body that breaks off changes nothing about that.
    async fn finish(&mut self, sender: Sender, response: Response<Incoming>, limit: usize) -> Reply {
        let (head, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        let mut whole = true;
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else {
                whole = false;
                break;
            };
            let Ok(data) = frame.into_data() else { continue };
            let room = limit.saturating_sub(body.len());
            body.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if data.len() > room {
                whole = false;
                break;
            }
        }
        if whole {
            self.kept = Some(Kept { sender, since: SystemTime::now() });
        }
        Reply { status: head.status, headers: head.headers, body: body.freeze() }
    }

    fn too_slow(&self) -> Failure {
        let why = format!("no connection within {:?}", self.patience);
        Failure::Connect(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
    }

    async fn connect(&self) -> Result<Way, Failure> {
        let offered = self.versions.now();
        let (stream, is_http2) =
            self.egress.connect(&self.address, offered).await.map_err(Failure::Connect)?;
        if is_http2 {
            return Session::begin(stream, &self.address).await.map(Way::Shared);
        }
        if offered == Protocol::Http2 {
            self.versions.is_old(&self.address);
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
        // Ends when the sender is dropped or the server closes; an error shows in the pending call.
        spawn_local(async move {
            let _ = connection.await;
        });
        Ok(Way::Own(sender))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;

    /// Answers every request, and counts connections.
    async fn server() -> (Address, Rc<Cell<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let count = Rc::new(Cell::new(0));
        let counter = count.clone();
        spawn_local(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                counter.set(counter.get() + 1);
                spawn_local(async move {
                    let mut head = [0; 1024];
                    while tcp.read(&mut head).await.is_ok_and(|read| read > 0) {
                        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                });
            }
        });
        (address, count)
    }

    /// The wall clock goes on while the sandbox is frozen: it tells how long the connection was not used.
    #[tokio::test]
    async fn a_connection_that_a_freeze_made_old_is_not_used_again() {
        LocalSet::new()
            .run_until(async {
                let (address, count) = server().await;
                let mut peer = Peer::new(address, Rc::default());
                let mut call = async |since: Option<SystemTime>| {
                    if let (Some(kept), Some(since)) = (&mut peer.kept, since) {
                        kept.since = since;
                    }
                    let request = Request::get("/").body(Full::default()).unwrap();
                    assert_eq!(peer.call(request, 10).await.unwrap().status, 200);
                    count.get()
                };
                let now = SystemTime::now();
                assert_eq!(call(None).await, 1);
                assert_eq!(call(None).await, 1);
                assert_eq!(call(Some(now - MAX_IDLE / 2)).await, 1);
                assert_eq!(call(Some(now - MAX_IDLE)).await, 2);
                // A clock that was set back.
                assert_eq!(call(Some(now + MAX_IDLE)).await, 3);
            })
            .await;
    }
}
