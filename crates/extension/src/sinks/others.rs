//! Further intakes that get a copy of everything (dual shipping). Each has a key of its own, which is never searched
//! for. What one of them does not take waits here, within a bound, and goes with the next copy. The main intake and
//! these know nothing of each other: one that fails changes nothing for the rest.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::Cost;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HeaderValue;
use model::{Signal, UnixNanos};
use payload::{Compressed, Compressor};
use secrets::ApiKey;
use tokio::task::{spawn_blocking, spawn_local};

use super::uplink::Uplink;
use super::{Body, Told, Verdict, intake, request, within};
use crate::address::Address;
use crate::config::{Config, Target};
use crate::driver::now;
use crate::egress::Egress;
use crate::log::{self, Level};

/// Bytes that may wait for one intake and signal, those on their way included; beyond, the oldest are dropped.
const MAX_WAITING: usize = 1 << 20;
/// What a request is at most before compression: whatever an intake takes, and more.
const MAX_PLAIN: usize = 64 << 20;
/// How long an intake that did not take something is left alone; doubles with each time in a row.
const REST: Duration = Duration::from_secs(2);
const MAX_DOUBLINGS: u32 = 5;
/// How long one that failed last is waited for.
const SHORT: Duration = Duration::from_millis(200);

/// A request that is for several intakes.
pub(super) trait Parcel: Clone + 'static {
    /// Bytes of its body.
    fn bytes(&self) -> usize;
    fn request(&self, address: &Address, key: &HeaderValue, signal: Signal) -> Request<Full<Bytes>>;
    /// The same as smaller requests, in their order; none when it cannot be cut.
    fn halves(&self, signal: Signal, level: i32) -> impl Future<Output = Vec<Self>>;
}

impl Parcel for Body {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn request(&self, address: &Address, key: &HeaderValue, signal: Signal) -> Request<Full<Bytes>> {
        request(address, key, payload::endpoint(signal), self.clone())
    }

    /// What it was made of is not kept, as it is hardly ever asked for: it is read again.
    async fn halves(&self, signal: Signal, level: i32) -> Vec<Self> {
        let whole = self.clone();
        spawn_blocking(move || whole.cut(signal, level).unwrap_or_default()).await.unwrap_or_default()
    }
}

impl Body {
    fn cut(&self, signal: Signal, level: i32) -> Option<Vec<Self>> {
        let encoding = self.encoding.header().unwrap_or_default();
        let plain = payload::decompress(&self.bytes, encoding, MAX_PLAIN).ok()?;
        let (first, rest) = intake::halve(payload::decode(signal, &plain).ok()?)?;
        let mut compressor = Compressor::new();
        let halves = [first, rest].into_iter().flat_map(|half| payload::pack(half).requests);
        let packed = halves.map(|(_, body)| {
            let Compressed { body, encoding } = compressor.at(level).compress(&body, self.encoding);
            Self { bytes: Bytes::from(body.into_owned()), encoding }
        });
        Some(packed.collect())
    }
}

/// One further intake of one signal.
pub(crate) struct Other<P = Body> {
    uplink: Rc<Uplink>,
    key: HeaderValue,
    signal: Signal,
    /// How hard it is compressed.
    level: i32,
    waiting: RefCell<VecDeque<P>>,
    /// Of all that waits or is on its way.
    bytes: Cell<usize>,
    failures: Cell<u32>,
    rests_until: Cell<UnixNanos>,
}

impl Other {
    /// The further intakes of a signal, as set.
    pub(super) fn targets(signal: Signal, config: &Config) -> &[Target] {
        match signal {
            Signal::Traces | Signal::Stats => &config.additional.traces,
            Signal::Series | Signal::Sketches => &config.additional.metrics,
            Signal::Logs => &config.additional.logs,
            // Each kind of them has its own.
            Signal::Forwards => &[],
        }
    }

    /// All of a signal. Signals that share an intake share a connection, which is one of `uplinks`.
    pub(crate) fn of(
        signal: Signal,
        config: &Config,
        egress: &Rc<Egress>,
        uplinks: &mut Vec<Rc<Uplink>>,
    ) -> Vec<Rc<Self>> {
        let other = |target: &Target| {
            let known = uplinks.iter().find(|uplink| *uplink.address() == target.address).cloned();
            let uplink = known.unwrap_or_else(|| {
                let new =
                    Rc::new(Uplink::new(target.address.clone(), egress.clone(), config.connect_timeout));
                uplinks.push(new.clone());
                new
            });
            Self::new(signal, uplink, &target.key, config.compression.of(signal)).map(Rc::new)
        };
        Self::targets(signal, config).iter().filter_map(other).collect()
    }
}

impl<P: Parcel> Other<P> {
    /// `None`: the key cannot stand in a header.
    pub(super) fn new(signal: Signal, uplink: Rc<Uplink>, key: &ApiKey, level: i32) -> Option<Self> {
        let mut key = HeaderValue::from_str(key.as_str()).ok()?;
        key.set_sensitive(true);
        let (waiting, bytes) = (RefCell::default(), Cell::new(0));
        let (failures, rests_until) = (Cell::new(0), Cell::new(UnixNanos(0)));
        Some(Self { uplink, key, signal, level, waiting, bytes, failures, rests_until })
    }

    /// Whether requests go to this address with this key.
    pub(super) fn is_to(&self, address: &Address, key: &ApiKey) -> bool {
        self.uplink.address() == address && self.key.as_bytes() == key.as_str().as_bytes()
    }

    /// One more request to send.
    pub(super) fn copy(&self, body: P) {
        self.bytes.set(self.bytes.get() + body.bytes());
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(body);
        let mut dropped = 0_u64;
        while self.bytes.get() > MAX_WAITING
            && let Some(oldest) = waiting.pop_front()
        {
            self.bytes.set(self.bytes.get().saturating_sub(oldest.bytes()));
            dropped += 1;
        }
        if dropped > 0 {
            let (what, server) = (self.signal.as_str(), self.uplink.address().authority());
            let text = format_args!(
                "{dropped} requests with {what} for {server} (additional endpoint) are dropped: it takes none"
            );
            log::seldom(Level::Warn, "additional endpoint full", text);
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Sends what waits, unless the intake rests, and waits for it until the deadline; what that cost.
    pub(super) async fn send(self: Rc<Self>, deadline: UnixNanos) -> Cost {
        let mut cost = Cost::default();
        let short = deadline.min(now() + SHORT);
        while now() >= self.rests_until.get() {
            let until = if self.failures.get() == 0 { deadline } else { short };
            if now() >= until {
                break;
            }
            let Some(body) = self.waiting.borrow_mut().pop_front() else { break };
            cost.add(body.bytes());
            // It goes on when nobody waits for it any more.
            let carried = spawn_local(self.clone().carry(body, until));
            if within(until, carried).await.is_none() {
                self.rest();
            }
        }
        cost
    }

    /// Sends one request; it waits again when it was not taken.
    async fn carry(self: Rc<Self>, body: P, deadline: UnixNanos) {
        match self.post(&body, deadline).await {
            Verdict::Later => {
                self.waiting.borrow_mut().push_front(body);
                self.rest();
            }
            verdict @ (Verdict::Accepted | Verdict::TooLarge | Verdict::Refused | Verdict::BadKey(_)) => {
                self.failures.set(0);
                self.rests_until.set(UnixNanos(0));
                if matches!(verdict, Verdict::TooLarge) {
                    self.halve(&body).await;
                }
                self.bytes.set(self.bytes.get().saturating_sub(body.bytes()));
            }
        }
    }

    /// Smaller ones wait instead.
    async fn halve(&self, body: &P) {
        let halves = body.halves(self.signal, self.level).await;
        if halves.is_empty() {
            return self.tell_lost("finds them too large");
        }
        let mut waiting = self.waiting.borrow_mut();
        for half in halves.into_iter().rev() {
            self.bytes.set(self.bytes.get().saturating_add(half.bytes()));
            waiting.push_front(half);
        }
    }

    fn rest(&self) {
        if now() < self.rests_until.get() {
            return;
        }
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        self.rests_until.set(now() + REST * (1 << failures.min(MAX_DOUBLINGS)));
    }

    async fn post(&self, body: &P, deadline: UnixNanos) -> Verdict {
        let address = self.uplink.address();
        let told = Told { what: self.signal.as_str(), address, site: "" };
        let request = body.request(address, &self.key, self.signal);
        let verdict = match self.uplink.call(request, deadline).await {
            Ok(reply) => told.verdict(reply.status, &reply.body),
            Err(error) => told.unreachable(&error),
        };
        if let Verdict::BadKey(status) = &verdict {
            self.tell_lost(format_args!("answers {status}: check its key"));
        }
        verdict
    }

    fn tell_lost(&self, why: impl Display) {
        let (what, server) = (self.signal.as_str(), self.uplink.address().authority());
        let text = format_args!(
            "{server} (additional endpoint) does not take {what}, which are lost there: it {why}"
        );
        log::seldom(Level::Error, "additional endpoint", text);
    }
}
