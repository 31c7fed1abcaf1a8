//! An intake that reads everything and says yes, so that the load measures the extension and not the intake.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::Signal;
use tokio::net::TcpListener;

pub(crate) struct Yes {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    /// Bodies of traces, as they came; kept when wanted.
    traces: Option<Mutex<Vec<Bytes>>>,
}

impl Yes {
    pub(crate) async fn start() -> Self {
        Self::with(Seen::default(), false).await
    }

    /// Without TLS, `http1` or `http2` alone.
    pub(crate) async fn speaking(protocol: &str) -> Self {
        Self::with(Seen::default(), protocol == "http2").await
    }

    /// Keeps what it is sent of traces, to be counted when the load is over.
    pub(crate) async fn keeping_traces() -> Self {
        Self::with(Seen { traces: Some(Mutex::default()), ..Seen::default() }, false).await
    }

    async fn with(seen: Seen, is_http2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(seen);
        let counting = seen.clone();
        tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                // An answer of several frames does not wait for the extension's acknowledgement of the first.
                tcp.set_nodelay(true).unwrap();
                let seen = counting.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, seen.clone()));
                    let tcp = TokioIo::new(tcp);
                    if is_http2 {
                        let _ =
                            http2::Builder::new(TokioExecutor::new()).serve_connection(tcp, service).await;
                    } else {
                        let _ = http1::Builder::new().serve_connection(tcp, service).await;
                    }
                });
            }
        });
        Self { url, seen }
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// Of what was kept.
    pub(crate) fn spans(&self) -> u64 {
        let bodies = self.seen.traces.as_ref().unwrap().lock().unwrap();
        let spans = |body: &Bytes| {
            let plain = payload::decompress(body, "zstd", usize::MAX).unwrap();
            payload::decode(Signal::Traces, &plain).unwrap().count()
        };
        bodies.iter().map(spans).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.seen.bytes.load(Ordering::Relaxed)
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Full<Bytes>>, Infallible> {
    let kept = seen.traces.as_ref().filter(|_| request.uri().path().ends_with("/api/v0.2/traces"));
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    seen.bytes.fetch_add(body.len(), Ordering::Relaxed);
    if let Some(kept) = kept {
        kept.lock().unwrap().push(body);
    }
    seen.requests.fetch_add(1, Ordering::Relaxed);
    Ok(Response::builder().status(202).body(Full::new(Bytes::from_static(b"{}"))).unwrap())
}
