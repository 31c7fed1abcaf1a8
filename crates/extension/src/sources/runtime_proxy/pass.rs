//! One connection of the runtime, and one of its own to Lambda: a long poll holds up nobody else, and what one
//! side does to its connection is done to the other. There is no deadline: the runtime waits in `/next` for as
//! long as Lambda lets it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use model::RequestId;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout_at};
use wire::lambda_headers::runtime as names;

use super::head::{Answer, Head, Passing, Seen, Told};
use crate::address::Address;
use crate::inbox::Inbox;
use crate::log::{self, Level};

/// How long a Runtime API that cannot be reached is tried: in Lambda it is there before any process is.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// What a header may weigh, and what is held of a body in either direction. The largest header is the cause of
/// an error for X-Ray, 64 KiB.
const MAX_BUFFER: usize = 256 << 10;

/// Of one connection, and not of what is said on it.
const OF_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
];

/// What no `Connection` header can make a matter of one connection.
const OF_MESSAGE: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TRAILER, header::HOST];

type Sender = SendRequest<Passing>;

pub(crate) struct Proxy {
    lambda: Address,
    host: HeaderValue,
    inbox: Rc<Inbox>,
    /// Bytes of bodies that are kept.
    kept: Rc<Cell<usize>>,
}

/// A call of the Runtime API, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Next,
    Response(RequestId),
    Error(RequestId),
    InitError,
    Other,
}

impl Call {
    fn of(method: &Method, path: &str) -> Self {
        let mut parts = path.split('/').skip(1);
        let (_version, runtime, invocation) = (parts.next(), parts.next(), parts.next());
        let (what, more) = (parts.clone().next(), parts.clone().nth(1));
        match (runtime, invocation) {
            (Some("runtime"), Some("invocation")) => {}
            (Some("runtime"), Some("init"))
                if (method, what, more) == (&Method::POST, Some("error"), None) =>
            {
                return Self::InitError;
            }
            _ => return Self::Other,
        }
        match (method, parts.next(), parts.next(), parts.next()) {
            (&Method::GET, Some("next"), None, None) => Self::Next,
            (&Method::POST, Some(id), Some("response"), None) => {
                RequestId::new(id).map_or(Self::Other, Self::Response)
            }
            (&Method::POST, Some(id), Some("error"), None) => {
                RequestId::new(id).map_or(Self::Other, Self::Error)
            }
            _ => Self::Other,
        }
    }
}

/// Why a call did not come to its end.
#[derive(Debug)]
enum Failure {
    /// There is no connection to Lambda.
    Connect(std::io::Error),
    /// It broke: so does the runtime's, as it would without us.
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

impl std::error::Error for Failure {}

impl Proxy {
    pub(crate) fn new(lambda: Address, inbox: Rc<Inbox>) -> Self {
        let host = HeaderValue::from_str(&lambda.authority()).unwrap_or(HeaderValue::from_static("lambda"));
        Self { lambda, host, inbox, kept: Rc::default() }
    }

    /// To the end of the connection. When the runtime hangs up, what it waits for is dropped, and with it the
    /// connection to Lambda.
    pub(crate) async fn converse(self: Rc<Self>, tcp: TcpStream) {
        let to_lambda = Cell::new(None);
        let service = service_fn(|request| self.pass(request, &to_lambda));
        let _ = server::Builder::new()
            .preserve_header_case(true)
            .auto_date_header(false)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(tcp), service)
            .await;
    }

    async fn pass(
        &self,
        request: Request<Incoming>,
        to_lambda: &Cell<Option<Sender>>,
    ) -> Result<Response<Outgoing>, Failure> {
        let call = Call::of(request.method(), request.uri().path());
        let (mut head, body) = request.into_parts();
        let answer = self.answer(&call, &head.headers);
        let body = match &answer {
            Some((_, kept)) => Passing::seen(body, kept.clone()),
            None => Passing::unseen(body),
        };
        self.direct(&mut head);
        let request = Request::from_parts(head, body.primed().await);
        let response = match self.send(request, to_lambda).await {
            Ok(response) => response,
            Err(Failure::Connect(error)) => return Ok(unreachable(&self.lambda, &error)),
            Err(broken) => return Err(broken),
        };
        let (mut head, body) = response.into_parts();
        if let Some((answer, kept)) = answer
            && head.status.is_success()
        {
            let body = std::mem::take(&mut *kept.borrow_mut());
            self.inbox.offer_seen(Seen::Answer(Answer { body, ..answer }));
        }
        let body = match told(&call, head.status, &head.headers, &self.inbox) {
            Some(told) => Passing::told(body, Head::new(self.kept.clone()), told),
            None => Passing::unseen(body),
        };
        strip(&mut head.headers);
        Ok(Response::from_parts(head, Outgoing::Passing(Box::new(body.primed().await))))
    }

    /// What a request tells of the end of an invocation, and where its body will be kept.
    fn answer(&self, call: &Call, headers: &HeaderMap) -> Option<(Answer, Rc<RefCell<Head>>)> {
        let (request_id, is_error) = match call {
            Call::Response(id) => (Some(id.clone()), false),
            Call::Error(id) => (Some(id.clone()), true),
            Call::InitError => (None, true),
            Call::Next | Call::Other => return None,
        };
        let answer = Answer {
            request_id,
            is_error,
            error_type: headers.get(names::ERROR_TYPE).cloned(),
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
            body: Head::default(),
        };
        Some((answer, Rc::new(RefCell::new(Head::new(self.kept.clone())))))
    }

    /// Makes a request one to Lambda. The interim answer to `Expect` is given by our own server.
    fn direct(&self, head: &mut Parts) {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = match self.lambda.prefix.is_empty() {
            true => path.parse(),
            false => format!("{}{path}", self.lambda.prefix).parse(),
        };
        head.uri = uri.unwrap_or_else(|_| Uri::from_static("/"));
        head.version = hyper::Version::HTTP_11;
        strip(&mut head.headers);
        head.headers.remove(header::EXPECT);
        head.headers.insert(header::HOST, self.host.clone());
    }

    /// On the connection that is there, else on a new one. Nothing is sent twice.
    async fn send(
        &self,
        mut request: Request<Passing>,
        to_lambda: &Cell<Option<Sender>>,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(mut sender) = to_lambda.take()
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    to_lambda.set(Some(sender));
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    // Lambda had hung up before any of it was written.
                    Some(unsent) => request = unsent,
                    None => return Err(Failure::Broken(error.into_error())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(Failure::Broken)?;
        to_lambda.set(Some(sender));
        Ok(response)
    }

    async fn connect(&self) -> Result<Sender, Failure> {
        let until = Instant::now() + PATIENCE;
        let place = (self.lambda.host.as_str(), self.lambda.port);
        let tcp = loop {
            match timeout_at(until, TcpStream::connect(place)).await {
                Ok(Ok(tcp)) => break tcp,
                Ok(Err(_)) if Instant::now() + PAUSE < until => sleep(PAUSE).await,
                Ok(Err(error)) => return Err(Failure::Connect(error)),
                Err(_) => return Err(Failure::Connect(std::io::ErrorKind::TimedOut.into())),
            }
        };
        let _ = tcp.set_nodelay(true);
        let mut builder = client::Builder::new();
        builder.preserve_header_case(true).max_buf_size(MAX_BUFFER);
        let (sender, connection) = builder.handshake(TokioIo::new(tcp)).await.map_err(Failure::Broken)?;
        // Ends when the sender is dropped or Lambda closes; an error shows in the pending call.
        spawn_local(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// What is told once the body of a response has passed, if it is an event.
fn told(call: &Call, status: StatusCode, headers: &HeaderMap, inbox: &Rc<Inbox>) -> Option<Told> {
    if *call != Call::Next || !status.is_success() {
        return None;
    }
    let request_id = RequestId::new(headers.get(names::REQUEST_ID)?.to_str().ok()?)?;
    Some(Told { inbox: inbox.clone(), request_id, headers: headers.clone() })
}

/// Takes out what is said of the connection only.
/// <https://www.rfc-editor.org/rfc/rfc9110#name-connection>
fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|names| names.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named.iter().filter(|name| !OF_MESSAGE.contains(name)).chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

/// What the runtime is told, and prints, when there is no Runtime API.
fn unreachable(lambda: &Address, error: &std::io::Error) -> Response<Outgoing> {
    let lambda = lambda.authority();
    log::seldom(
        Level::Error,
        "runtime api",
        format_args!("the Runtime API at {lambda} cannot be reached for the function: {error}"),
    );
    let message = format!("datadog-agent cannot reach the Runtime API at {lambda}: {error}");
    let body = serde_json::json!({"errorType": "Extension.RuntimeApiUnreachable", "errorMessage": message})
        .to_string();
    let mut response = Response::new(Outgoing::Own(Full::new(body.into())));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body of an answer to the runtime.
enum Outgoing {
    Passing(Box<Passing>),
    Own(Full<Bytes>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Passing(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passing(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passing(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let id = || RequestId::new("r-1").unwrap();
        let check = |method: Method, path: &str, want: Call| {
            assert_eq!(Call::of(&method, path), want, "{method} {path}");
        };
        check(Method::GET, "/2018-06-01/runtime/invocation/next", Call::Next);
        check(Method::GET, "/2030-01-01/runtime/invocation/next", Call::Next);
        check(Method::POST, "/2018-06-01/runtime/invocation/next", Call::Other);
        check(Method::POST, "/2018-06-01/runtime/invocation/r-1/response", Call::Response(id()));
        check(Method::POST, "/2018-06-01/runtime/invocation/r-1/error", Call::Error(id()));
        check(Method::POST, "/2018-06-01/runtime/invocation//error", Call::Other);
        check(Method::POST, "/2018-06-01/runtime/invocation/r-1/error/more", Call::Other);
        check(Method::POST, "/2018-06-01/runtime/init/error", Call::InitError);
        check(Method::GET, "/2018-06-01/runtime/init/error", Call::Other);
        check(Method::POST, "/2018-06-01/runtime/init/error/more", Call::Other);
        check(Method::GET, "/2018-06-01/runtime/restore/next", Call::Other);
        check(Method::GET, "/2020-01-01/extension/event/next", Call::Other);
        check(Method::GET, "/", Call::Other);
        check(Method::GET, "*", Call::Other);
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Upgrade, HTTP2-Settings, Content-Length"),
            ("http2-settings", "AAE"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("content-length", "3"),
            ("trailer", "x"),
            ("lambda-runtime-function-error-type", "Function.Kaputt"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "lambda-runtime-function-error-type", "trailer"]);
    }
}
