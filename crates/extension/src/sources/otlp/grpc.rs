//! OTLP over gRPC: the one method of each of the three services, by hand on HTTP/2. A message is framed by five
//! bytes; how the call went is told in trailers.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use wire::otlp::Signal;

use super::frame::{self, HEAD, Unframed};
use super::{Sent, computes_stats, header, lost};
use crate::inbox::{Arrival, Inbox};
use crate::settings::Otlp as Settings;
use crate::sources::http::{BodyError, Speak, Stream, read_body};

/// Calls at once on a connection; what each may send before it is read.
const MAX_CALLS: u32 = 32;
const WINDOW: u32 = 1 << 20;

/// The source over gRPC.
pub(crate) struct Grpc {
    inbox: Rc<Inbox>,
    settings: Settings,
}

impl Grpc {
    pub(crate) fn new(inbox: Rc<Inbox>, settings: Settings) -> Self {
        Self { inbox, settings }
    }

    fn signal(&self, path: &str) -> Option<Signal> {
        let signal = match path {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
            _ => return None,
        };
        self.settings.takes(signal).then_some(signal)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let signal = self.signal(head.uri.path()).filter(|_| head.method == Method::POST);
        let Some(signal) = signal else { return Status::Unimplemented.answer("no such method is offered") };
        let message = match read_body(body, self.settings.max_message + HEAD, &self.inbox).await {
            Ok(framed) => frame::message(&framed, header(&head.headers, "grpc-encoding")).map_err(Status::of),
            Err(BodyError::TooLarge) => {
                Err((Status::ResourceExhausted, "the message is larger than is taken"))
            }
            Err(BodyError::Busy) => Err((Status::Unavailable, "too much at once")),
            Err(BodyError::Broken) => return Status::Cancelled.answer("the message did not come"),
        };
        let told = message.and_then(|(encoding, body)| {
            if encoding.is_empty() && !wire::otlp::is_whole(&body) {
                return Err((Status::InvalidArgument, "the message is no protobuf"));
            }
            let computed_stats = computes_stats(&head.headers);
            let sent = Sent { signal, is_json: false, encoding: encoding.to_owned(), computed_stats, body };
            let is_taken = self.inbox.offer_data(Arrival::Otlp(sent));
            if is_taken { Ok(()) } else { Err((Status::Unavailable, "too much at once")) }
        });
        match told {
            Ok(()) => Status::Ok.answer(""),
            Err((status, why)) => {
                self.inbox.count(lost(signal), 1);
                status.answer(why)
            }
        }
    }
}

impl Speak for Grpc {
    async fn converse(self: Rc<Self>, stream: Box<dyn Stream>) {
        let service = service_fn(move |request| {
            let source = self.clone();
            async move { Ok::<_, Infallible>(source.answer(request).await) }
        });
        let mut builder = http2::Builder::new(Local);
        builder.max_concurrent_streams(MAX_CALLS);
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(4 * WINDOW);
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }
}

/// Runs a connection's calls in the one thread that there is.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, call: F) {
        spawn_local(call);
    }
}

/// How a call went, by gRPC's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok = 0,
    Cancelled = 1,
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
}

impl Status {
    fn of(why: Unframed) -> (Self, &'static str) {
        match why {
            Unframed::Malformed => (Self::InvalidArgument, "the message is not framed as gRPC has it"),
            Unframed::UnknownEncoding => (Self::Unimplemented, "the message encoding is not known"),
        }
    }

    /// A success has an empty message and the status in trailers; a failure has the status alone.
    fn answer(self, why: &'static str) -> Response<Reply> {
        let mut status = HeaderMap::new();
        status.insert("grpc-status", HeaderValue::from(self as u16));
        let mut answer = if self == Self::Ok {
            Response::new(Reply { message: Some(Bytes::from_static(&[0; HEAD])), trailers: Some(status) })
        } else {
            status.insert("grpc-message", HeaderValue::from_static(why));
            let mut answer = Response::new(Reply { message: None, trailers: None });
            *answer.headers_mut() = status;
            answer
        };
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // So that clients may pack their next message.
        answer.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd"));
        answer
    }
}

struct Reply {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = self.message.take().map(Frame::data);
        Poll::Ready(message.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.message.as_ref().map_or(0, |message| message.len() as u64))
    }
}
