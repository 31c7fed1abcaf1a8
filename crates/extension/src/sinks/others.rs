//! Further intakes that get a copy of what the main one is done with (dual shipping). Each has a key of its own, which
//! is never searched for. What one of them does not take waits here, within a bound, and goes with the next copy; it
//! changes nothing for the main intake, and what that one has not yet taken is not here yet: nothing is here twice.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use engine::Cost;
use hyper::header::HeaderValue;
use model::{Signal, UnixNanos};

use super::uplink::Uplink;
use super::{Body, Told, Verdict, request, within};
use crate::config::{Config, Target};
use crate::driver::now;
use crate::egress::Egress;
use crate::log::{self, Level};

/// Bytes that may wait for one intake and signal; beyond, the oldest are dropped.
const MAX_WAITING: usize = 1 << 20;
/// How long an intake that did not take something is left alone; doubles with each time in a row.
const REST: Duration = Duration::from_secs(2);
const MAX_DOUBLINGS: u32 = 5;

/// One further intake of one signal.
pub(crate) struct Other {
    uplink: Rc<Uplink>,
    key: HeaderValue,
    signal: Signal,
    waiting: RefCell<VecDeque<Body>>,
    /// Of all that waits.
    bytes: Cell<usize>,
    failures: Cell<u32>,
    rests_until: Cell<UnixNanos>,
}

impl Other {
    /// All of a signal. Signals that share an intake share a connection, which is one of `uplinks`.
    pub(crate) fn of(
        signal: Signal,
        config: &Config,
        egress: &Rc<Egress>,
        uplinks: &mut Vec<Rc<Uplink>>,
    ) -> Vec<Rc<Self>> {
        let targets = match signal {
            Signal::Traces | Signal::Stats => &config.additional.traces,
            Signal::Series | Signal::Sketches => &config.additional.metrics,
            Signal::Logs => &config.additional.logs,
            Signal::Forwards => return Vec::new(),
        };
        let other = |target: &Target| {
            let known = uplinks.iter().find(|uplink| *uplink.address() == target.address).cloned();
            let uplink = known.unwrap_or_else(|| {
                let new =
                    Rc::new(Uplink::new(target.address.clone(), egress.clone(), config.connect_timeout));
                uplinks.push(new.clone());
                new
            });
            let mut key = HeaderValue::from_str(target.key.as_str()).ok()?;
            key.set_sensitive(true);
            Some(Rc::new(Self {
                uplink,
                key,
                signal,
                waiting: RefCell::default(),
                bytes: Cell::new(0),
                failures: Cell::new(0),
                rests_until: Cell::new(UnixNanos(0)),
            }))
        };
        targets.iter().filter_map(other).collect()
    }

    /// One more request to send.
    pub(super) fn copy(&self, body: Body) {
        self.bytes.set(self.bytes.get() + body.bytes.len());
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(body);
        let mut dropped = 0_u64;
        while self.bytes.get() > MAX_WAITING
            && let Some(oldest) = waiting.pop_front()
        {
            self.bytes.set(self.bytes.get().saturating_sub(oldest.bytes.len()));
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

    /// Sends what waits, unless the intake rests; what that cost.
    pub(super) async fn send(&self, deadline: UnixNanos) -> Cost {
        let mut cost = Cost::default();
        while now() >= self.rests_until.get() {
            let Some(body) = self.waiting.borrow_mut().pop_front() else { break };
            self.bytes.set(self.bytes.get().saturating_sub(body.bytes.len()));
            cost.add(body.bytes.len());
            match self.post(body.clone(), deadline).await {
                Verdict::Later => {
                    self.bytes.set(self.bytes.get() + body.bytes.len());
                    self.waiting.borrow_mut().push_front(body);
                    let failures = self.failures.get();
                    self.failures.set(failures.saturating_add(1));
                    self.rests_until.set(now() + REST * (1 << failures.min(MAX_DOUBLINGS)));
                    break;
                }
                Verdict::Accepted | Verdict::TooLarge | Verdict::Refused | Verdict::BadKey(_) => {
                    self.failures.set(0);
                }
            }
        }
        cost
    }

    async fn post(&self, body: Body, deadline: UnixNanos) -> Verdict {
        let address = self.uplink.address();
        let told = Told { what: self.signal.as_str(), address, site: "" };
        let call = self.uplink.call(request(address, &self.key, payload::endpoint(self.signal), body));
        let verdict = match within(deadline, call).await {
            Some(Ok(reply)) => told.verdict(reply.status, &reply.body),
            Some(Err(error)) => told.unreachable(&error),
            None => told.timed_out(),
        };
        let why = match &verdict {
            Verdict::BadKey(status) => format!("answers {status}: check its key"),
            Verdict::TooLarge => "finds them too large".to_owned(),
            _ => return verdict,
        };
        let (what, server) = (self.signal.as_str(), address.authority());
        let text = format_args!(
            "{server} (additional endpoint) does not take {what}, which are lost there: it {why}"
        );
        log::seldom(Level::Error, "additional endpoint", text);
        verdict
    }
}
