//! One server, and the connection to it that is kept; calls to it go one after the other. Signals that share a
//! server share its uplink: a second TLS handshake costs more than the wait.
//!
//! A call without an answer at its deadline makes room for the next one, which gets a connection of its own, and goes
//! on beside it: the server may have taken it, and only a connection that broke, or that was silent for very long,
//! shows that it has not.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use model::UnixNanos;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{FROZEN, within};
use crate::address::Address;
use crate::connection::{Failure, Peer, Reply};
use crate::driver::now;
use crate::egress::Egress;

/// Of an answer that is not an acceptance, what is read for the log line.
const REPLY_BYTES: usize = 4096;
/// After so long without an answer a connection is taken to be dead.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same after a freeze that took longer than that: what the server answered meanwhile is sent again within
/// seconds, if the connection lives.
const AFTER_LONG_FREEZE: Duration = Duration::from_secs(1);
/// So often at most, should each thaw be short.
const MAX_FREEZES: usize = 5;
/// Calls that go on beside the newest one. While there are so many, no more are made: each holds its body.
const MAX_STRAGGLERS: usize = 4;

/// Hands calls to the task that owns the connection.
pub(crate) struct Uplink {
    address: Address,
    calls: mpsc::UnboundedSender<Call>,
}

struct Call {
    request: Request<Full<Bytes>>,
    deadline: UnixNanos,
    reply: oneshot::Sender<Result<Reply, Failure>>,
}

impl Uplink {
    /// Starts the task. Nothing is connected before the first call.
    pub(crate) fn new(address: Address, egress: Rc<Egress>, connect_timeout: Duration) -> Self {
        let (calls, waiting) = mpsc::unbounded_channel();
        let line = Line { address: address.clone(), egress, connect_timeout, state: Rc::default() };
        spawn_local(line.run(waiting));
        Self { address, calls }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Makes a call when those before it are done, unless that is after `deadline` ([`Failure::NotBegun`]). One that
    /// has begun goes on after it, until there is an answer or the connection has proved dead.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        deadline: UnixNanos,
    ) -> Result<Reply, Failure> {
        let (reply, replied) = oneshot::channel();
        self.calls.send(Call { request, deadline, reply }).map_err(|_| Failure::NotBegun)?;
        replied.await.unwrap_or(Err(Failure::NotBegun))
    }
}

/// What the task owns.
struct Line {
    address: Address,
    egress: Rc<Egress>,
    connect_timeout: Duration,
    state: Rc<Stragglers>,
}

/// Calls that go on after their deadline.
#[derive(Default)]
struct Stragglers {
    count: Cell<usize>,
    /// The connection of one that was answered at last.
    spare: RefCell<Option<Peer>>,
}

impl Line {
    fn peer(&self) -> Peer {
        Peer::new(self.address.clone(), self.egress.clone()).with_patience(self.connect_timeout)
    }

    async fn run(self, mut waiting: mpsc::UnboundedReceiver<Call>) {
        let mut peer = self.peer();
        while let Some(Call { request, deadline, reply }) = waiting.recv().await {
            let is_crowded = self.state.count.get() >= MAX_STRAGGLERS;
            if is_crowded || reply.is_closed() || now() >= deadline {
                // Nobody waits any more: nothing to do.
                let _ = reply.send(Err(Failure::NotBegun));
                continue;
            }
            if !peer.is_connected()
                && let Some(spare) = self.state.spare.take()
            {
                peer = spare;
            }
            let last = deadline.max(now() + PATIENCE);
            let mut call = Box::pin(async move {
                let result = peer.call(request, REPLY_BYTES).await;
                (peer, result)
            });
            if let Some((back, result)) = within(deadline, &mut call).await {
                peer = back;
                let _ = reply.send(result);
                continue;
            }
            peer = self.peer();
            let state = self.state.clone();
            state.count.set(state.count.get() + 1);
            spawn_local(async move {
                let result = match in_patience(last, call).await {
                    Some((back, result)) => {
                        state.spare.replace(Some(back).filter(Peer::is_connected));
                        result
                    }
                    None => Err(Failure::Silent(PATIENCE)),
                };
                state.count.set(state.count.get().saturating_sub(1));
                let _ = reply.send(result);
            });
        }
    }
}

/// Waits for a call that nobody else waits for.
async fn in_patience<T>(mut until: UnixNanos, call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    for _ in 0..MAX_FREEZES {
        if let Ok(answer) = timeout(until.since(now()), &mut call).await {
            return Some(answer);
        }
        if now().since(until) < FROZEN {
            break;
        }
        until = now() + AFTER_LONG_FREEZE;
    }
    None
}
