//! One connection to one intake server, owned by one task; calls to it go one after the other. Signals that
//! share a server share its uplink: a second TLS handshake costs more than the wait.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

use crate::address::Address;
use crate::connection::{Failure, Peer, Reply};
use crate::egress::Egress;

/// Of an answer that is not an acceptance, what is read for the log line.
const REPLY_BYTES: usize = 4096;

/// Hands calls to the task that owns the connection.
pub(crate) struct Uplink {
    address: Address,
    calls: mpsc::UnboundedSender<Call>,
}

struct Call {
    request: Request<Full<Bytes>>,
    /// Closed when the caller has given up.
    reply: oneshot::Sender<Result<Reply, Failure>>,
}

impl Uplink {
    /// Starts the task. Nothing is connected before the first call.
    pub(crate) fn new(address: Address, egress: Rc<Egress>, connect_timeout: Duration) -> Self {
        let (calls, waiting) = mpsc::unbounded_channel();
        let peer = Peer::new(address.clone(), egress).with_patience(connect_timeout);
        spawn_local(run(peer, waiting));
        Self { address, calls }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Makes a call when those before it are done. Dropping the future gives the call up.
    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let (reply, replied) = oneshot::channel();
        let gone = || Failure::Connect(std::io::ErrorKind::NotConnected.into());
        self.calls.send(Call { request, reply }).map_err(|_| gone())?;
        replied.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn run(mut peer: Peer, mut waiting: mpsc::UnboundedReceiver<Call>) {
    while let Some(Call { request, mut reply }) = waiting.recv().await {
        let result = tokio::select! {
            biased;
            () = reply.closed() => continue,
            result = peer.call(request, REPLY_BYTES) => result,
        };
        // Nobody waits any more: nothing to do.
        let _ = reply.send(result);
    }
}
