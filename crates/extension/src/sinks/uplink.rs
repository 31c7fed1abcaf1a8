//! One server, and the connection to it that is kept. Over HTTP/1.1 calls go one after the other; over HTTP/2 beside
//! each other. Signals that share a server share its uplink: a second TLS handshake costs more than the wait.
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
use crate::connection::{Begun, Failure, MAX_IDLE, Peer, Reply, Versions};
use crate::driver::now;
use crate::egress::Egress;
use crate::session::{Session, Then};

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
    /// Why it is made again.
    before: Option<Failure>,
}

impl Uplink {
    /// Starts the task. Nothing is connected before the first call.
    pub(crate) fn new(address: Address, egress: Rc<Egress>, connect_timeout: Duration) -> Self {
        let (calls, waiting) = mpsc::unbounded_channel();
        spawn_local(Rc::new(Line::new(&address, egress, connect_timeout, &calls)).run(waiting));
        Self { address, calls }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Makes a call, over HTTP/1.1 when those before it are done, unless that is after `deadline`
    /// ([`Failure::NotBegun`]). One that has begun goes on after it, until there is an answer or the connection has proved
    /// dead.
    pub(crate) async fn call(
        &self,
        request: Request<Full<Bytes>>,
        deadline: UnixNanos,
    ) -> Result<Reply, Failure> {
        let (reply, replied) = oneshot::channel();
        self.calls.send(Call { request, deadline, reply, before: None }).map_err(|_| Failure::NotBegun)?;
        replied.await.unwrap_or(Err(Failure::NotBegun))
    }
}

/// What the task and its calls share.
struct Line {
    address: Address,
    egress: Rc<Egress>,
    connect_timeout: Duration,
    versions: Rc<Versions>,
    /// For calls that are made again.
    again: mpsc::WeakUnboundedSender<Call>,
    /// Calls that go on after their deadline.
    late: Cell<usize>,
    /// The connection of one of them that was answered at last.
    spare: RefCell<Option<Peer>>,
    /// The connection of HTTP/2 that new calls go over.
    session: RefCell<Option<Session>>,
}

impl Line {
    fn new(
        address: &Address,
        egress: Rc<Egress>,
        connect_timeout: Duration,
        calls: &mpsc::UnboundedSender<Call>,
    ) -> Self {
        Self {
            address: address.clone(),
            versions: Versions::new(egress.protocol()),
            egress,
            connect_timeout,
            again: calls.downgrade(),
            late: Cell::new(0),
            spare: RefCell::default(),
            session: RefCell::default(),
        }
    }

    fn peer(&self) -> Peer {
        Peer::new(self.address.clone(), self.egress.clone())
            .with_patience(self.connect_timeout)
            .speaking(self.versions.clone())
    }

    async fn run(self: Rc<Self>, mut waiting: mpsc::UnboundedReceiver<Call>) {
        let mut peer = self.peer();
        while let Some(call) = waiting.recv().await {
            let is_crowded = self.late.get() >= MAX_STRAGGLERS;
            if is_crowded || call.reply.is_closed() || now() >= call.deadline {
                // Nobody waits any more: nothing to do.
                let _ = call.reply.send(Err(call.before.unwrap_or(Failure::NotBegun)));
                continue;
            }
            if let Some(session) = self.session() {
                spawn_local(self.clone().share(session, call));
                continue;
            }
            if !peer.is_connected()
                && let Some(spare) = self.spare.take()
            {
                peer = spare;
            }
            let Call { request, deadline, reply, before } = call;
            let last = last(deadline);
            let mut begun = Box::pin(async move {
                let result = peer.begin(request, REPLY_BYTES).await;
                (peer, result)
            });
            let in_time = within(deadline, &mut begun).await;
            let Some((back, result)) = in_time else {
                peer = self.peer();
                spawn_local(self.clone().go_on(begun, last, reply));
                continue;
            };
            peer = back;
            match result {
                Ok(Begun::Shared(session, request)) => {
                    self.session.replace(Some(session.clone()));
                    spawn_local(self.clone().share(session, Call { request, deadline, reply, before }));
                }
                Ok(Begun::Answered(answer)) => drop(reply.send(Ok(answer))),
                Err(failure) => {
                    self.versions.forget();
                    let _ = reply.send(Err(failure));
                }
            }
        }
    }

    /// A call that nobody waits for any more, and that has a connection of its own.
    async fn go_on(
        self: Rc<Self>,
        begun: impl Future<Output = (Peer, Result<Begun, Failure>)>,
        last: UnixNanos,
        reply: oneshot::Sender<Result<Reply, Failure>>,
    ) {
        self.late.set(self.late.get() + 1);
        let answered = async {
            let (back, result) = begun.await;
            match result? {
                Begun::Answered(reply) => {
                    self.spare.replace(Some(back).filter(Peer::is_connected));
                    Ok(reply)
                }
                Begun::Shared(session, request) => {
                    let reply = session.call(request, REPLY_BYTES).await?;
                    self.keep(session);
                    Ok(reply)
                }
            }
        };
        let result = in_patience(last, answered).await.unwrap_or(Err(Failure::Silent(PATIENCE)));
        self.late.set(self.late.get().saturating_sub(1));
        let _ = reply.send(result);
    }

    /// One of the calls of a connection of HTTP/2. What the server has certainly not done is asked again, once, and so is
    /// what a kept connection did not survive.
    async fn share(self: Rc<Self>, session: Session, call: Call) {
        let Call { request, deadline, reply, before } = call;
        let last = last(deadline);
        let mut answered = Box::pin(session.call(request.clone(), REPLY_BYTES));
        let result = match within(deadline, &mut answered).await {
            Some(result) => result,
            None => {
                // Whether the connection lives is not known: the next call gets another.
                self.forget(&session);
                self.late.set(self.late.get() + 1);
                let result = in_patience(last, &mut answered).await;
                self.late.set(self.late.get().saturating_sub(1));
                if matches!(result, Some(Ok(_))) {
                    self.keep(session.clone());
                }
                result.unwrap_or(Err(Failure::Silent(PATIENCE)))
            }
        };
        let failure = match result {
            Err(failure) => failure,
            answer => return drop(reply.send(answer)),
        };
        let then = session.after(&failure);
        if !matches!(then, Then::AgainHere | Then::Failed) {
            self.forget(&session);
        }
        if then == Then::AgainAsBefore {
            self.versions.is_old(&self.address);
        }
        let is_over = matches!(then, Then::Failed | Then::Gone { was_alive: false }) || before.is_some();
        match self.again.upgrade().filter(|_| !is_over) {
            // The task lives as long as somebody can call.
            Some(again) => drop(again.send(Call { request, deadline, reply, before: Some(failure) })),
            None => drop(reply.send(Err(failure))),
        }
    }

    /// The connection that calls share, unless it is too old.
    fn session(&self) -> Option<Session> {
        let mut kept = self.session.borrow_mut();
        if kept.as_ref().is_some_and(|session| !session.is_fresh(MAX_IDLE)) {
            *kept = None;
        }
        kept.clone()
    }

    /// It has proved to live: it is used again if there is no other.
    fn keep(&self, session: Session) {
        self.session.borrow_mut().get_or_insert(session);
    }

    fn forget(&self, session: &Session) {
        let mut kept = self.session.borrow_mut();
        if kept.as_ref().is_some_and(|own| own.is(session)) {
            *kept = None;
        }
    }
}

/// Until when a call goes on whose deadline is this.
fn last(deadline: UnixNanos) -> UnixNanos {
    deadline.max(now() + PATIENCE)
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;
    use crate::config::Config;

    /// Connections that a server has had, and those that have ended.
    #[derive(Clone, Default)]
    struct Counts {
        all: Rc<Cell<usize>>,
        ended: Rc<Cell<usize>>,
    }

    /// Answers every request with so many bytes.
    async fn server(bytes: usize) -> (Address, Counts) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let counts = Counts::default();
        let counting = counts.clone();
        spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counting.all.set(counting.all.get() + 1);
                let ended = counting.ended.clone();
                spawn_local(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(hyper::Response::new(()), bytes == 0).unwrap();
                        if bytes > 0 {
                            body.send_data(vec![b'x'; bytes].into(), true).unwrap();
                        }
                    }
                    ended.set(ended.get() + 1);
                });
            }
        });
        (address, counts)
    }

    fn started(address: Address) -> (Uplink, Rc<Line>) {
        let config = Config::parse(|name| (name == "DD_HTTP_PROTOCOL").then(|| "http2".to_owned()));
        let (calls, waiting) = mpsc::unbounded_channel();
        let line = Rc::new(Line::new(&address, Egress::new(&config), Duration::from_secs(20), &calls));
        spawn_local(line.clone().run(waiting));
        (Uplink { address, calls }, line)
    }

    async fn called(uplink: &Uplink) -> Reply {
        let request = Request::get("/x").body(Full::default()).unwrap();
        uplink.call(request, now() + Duration::from_secs(20)).await.unwrap()
    }

    /// Far more in all than a connection may have unread.
    #[tokio::test]
    async fn large_answers_are_cut_and_the_connection_goes_on() {
        LocalSet::new()
            .run_until(async {
                let (address, counts) = server(100_000).await;
                let (uplink, _line) = started(address);
                for _ in 0..20 {
                    assert_eq!(called(&uplink).await.body.len(), REPLY_BYTES);
                }
                assert_eq!(counts.all.get(), 1);
            })
            .await;
    }

    /// Nobody can call any more.
    #[tokio::test]
    async fn a_connection_that_nobody_has_is_closed() {
        LocalSet::new()
            .run_until(async {
                let (address, counts) = server(0).await;
                let (uplink, line) = started(address);
                called(&uplink).await;
                drop((uplink, line));
                timeout(Duration::from_secs(20), async {
                    while counts.ended.get() == 0 {
                        tokio::task::yield_now().await;
                    }
                })
                .await
                .expect("it lives on");
            })
            .await;
    }

    /// As for HTTP/1.1: the wall clock goes on while the sandbox is frozen.
    #[tokio::test]
    async fn a_connection_that_a_freeze_made_old_is_not_used_again() {
        LocalSet::new()
            .run_until(async {
                let (address, counts) = server(0).await;
                let (uplink, line) = started(address);
                let call = async |since: Option<SystemTime>| {
                    if let (Some(session), Some(since)) = (&*line.session.borrow(), since) {
                        session.used_at(since);
                    }
                    assert_eq!(called(&uplink).await.status, 200);
                    counts.all.get()
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
