//! An HTTP/1.1 client of one server, on one connection that is kept: for the Extensions API and for each
//! intake. Says nothing about what is sent or when to give up: callers wrap a call in their deadline.

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::address::Address;
use crate::tls::Tls;

/// A connection that was unused for longer by the wall clock, which runs on while Lambda freezes the
/// sandbox, is not trusted: load balancers and NAT gateways forget connections without a word.
const MAX_IDLE: Duration = Duration::from_secs(50);

/// How long connecting may take where nothing else is said: callers have deadlines of their own.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server, and the connection to it if there is one. A call that is dropped half-way drops the
/// connection with it.
pub(crate) struct Peer {
    address: Address,
    tls: Rc<Tls>,
    /// The longest that connecting may take, TLS included.
    patience: Duration,
    kept: Option<Kept>,
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
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
        }
    }
}

impl Peer {
    pub(crate) fn new(address: Address, tls: Rc<Tls>) -> Self {
        Self { address, tls, patience: PATIENCE, kept: None }
    }

    /// Connects within this time or not at all.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and reads its answer, of which at most `limit` bytes are kept. A kept connection that
    /// turns out to be dead is replaced by a new one, once.
    pub(crate) async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Reply, Failure> {
        if let Some(mut sender) = self.take_kept()
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(request.clone()).await
        {
            return self.finish(sender, response, limit).await;
        }
        let in_time = timeout(self.patience, self.connect()).await;
        let mut sender = in_time.unwrap_or_else(|_| Err(self.too_slow()))?;
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        self.finish(sender, response, limit).await
    }

    fn take_kept(&mut self) -> Option<Sender> {
        let kept = self.kept.take()?;
        // A clock that was set back counts as too long.
        let idle = SystemTime::now().duration_since(kept.since).unwrap_or(Duration::MAX);
        (idle < MAX_IDLE && !kept.sender.is_closed()).then_some(kept.sender)
    }

    async fn finish(
        &mut self,
        sender: Sender,
        response: Response<Incoming>,
        limit: usize,
    ) -> Result<Reply, Failure> {
        let (head, mut incoming) = response.into_parts();
        let mut body = BytesMut::new();
        let mut whole = true;
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.map_err(Failure::Broken)?.into_data() else { continue };
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
        Ok(Reply { status: head.status, headers: head.headers, body: body.freeze() })
    }

    fn too_slow(&self) -> Failure {
        let why = format!("no connection within {:?}", self.patience);
        Failure::Connect(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
    }

    async fn connect(&self) -> Result<Sender, Failure> {
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port));
        let tcp = tcp.await.map_err(Failure::Connect)?;
        // Requests are written whole: waiting to fill a packet only costs time.
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> = if self.address.tls {
            Box::new(self.tls.connect(&self.address.host, tcp).await.map_err(Failure::Connect)?)
        } else {
            Box::new(tcp)
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
        // Ends when the sender is dropped or the server closes; an error shows in the pending call.
        spawn_local(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}
