//! The accept loop. Not axum's own, because a stopped intake has to be gone at once: its connections with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::fault::Faults;

/// Connections open at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to agree on TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// Put into the extensions of a response: it is not sent, the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloseConnection;

/// A server with a task of its own. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    task: AbortHandle,
}

impl Server {
    /// With or without TLS.
    pub(crate) fn start(
        listener: TcpListener,
        router: Router,
        tls: Option<TlsAcceptor>,
        faults: Faults,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, router, tls, faults)).abort_handle();
        Ok(Self { address, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Aborting this task drops the set, and with it every connection.
async fn accept(listener: TcpListener, router: Router, tls: Option<TlsAcceptor>, faults: Faults) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                // Closed without lingering: reset.
                Ok((stream, _)) if faults.refuse() => {
                    let _ = stream.set_zero_linger();
                }
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), tls.clone()));
                }
                // Out of file descriptors, or a peer that left again: the next one may do.
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, router: Router, tls: Option<TlsAcceptor>) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve(stream, router).await };
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
        serve(stream, router).await;
    }
}

/// HTTP/1.1 or HTTP/2, as the client begins.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
    // How a connection ended is the client's affair: it sees it too.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let Ok(response) = hyper::service::Service::call(&router, request).await;
    match response.extensions().get::<CloseConnection>() {
        Some(_) => Err(io::ErrorKind::ConnectionReset.into()),
        None => Ok(response),
    }
}
