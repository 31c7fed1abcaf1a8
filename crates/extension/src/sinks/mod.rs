//! Where data leaves: batches are encoded, split to what an intake takes, and sent within their deadline.
//! What became of a batch goes back to the engine as a fact; nothing is retried here but a connection that
//! turned out to be dead.

mod forwards;
mod intake;
mod others;
mod uplink;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Input, Outcome, SendId};
use http_body_util::Full;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use model::{Batch, Signal, UnixNanos};
use payload::{Compressor, Encoding, Endpoint};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::timeout;

use crate::address::Address;
use crate::config::{Config, shorten};
use crate::connection::Failure;
use crate::driver::now;
use crate::egress::Egress;
use crate::inbox::Inbox;
use crate::keys::{Found, Key, Keys, Renewed};
use crate::log::{self, Level};
use forwards::Forwards;
use others::Other;
use uplink::Uplink;

const AGENT: &str = concat!("datadog-lambda-rs/", env!("CARGO_PKG_VERSION"));

pub(crate) struct Sinks {
    inbox: Rc<Inbox>,
    /// One per signal, but for forwards.
    sinks: Vec<(Signal, Rc<Sink>)>,
    forwards: Rc<Forwards>,
}

/// Where one signal goes.
struct Sink {
    address: Address,
    uplink: Rc<Uplink>,
    keys: Rc<Keys>,
    site: String,
    /// Shared by all sinks: its working memory is large.
    compressor: Rc<RefCell<Compressor>>,
    /// How bodies are packed.
    encoding: Encoding,
    /// The address is a worker of Observability Pipelines, whole: nothing is put behind it.
    is_worker: bool,
    others: Vec<Rc<Other>>,
}

/// A request's body as it goes out.
#[derive(Clone)]
struct Body {
    bytes: Bytes,
    encoding: Encoding,
}

/// What became of one request.
enum Verdict {
    Accepted,
    /// Worth another try, later.
    Later,
    TooLarge,
    /// The key is no good, here or any more.
    BadKey(StatusCode),
    Refused,
}

/// Bytes of a batch, from which on packing it takes more than a moment.
const LARGE: usize = 128 << 10;
/// How much longer than its deadline a call may take when this process was frozen meanwhile: its answer may
/// have come long ago and not been read.
const AFTER_FREEZE: Duration = Duration::from_millis(300);
/// A timer that is so late was not running.
const FROZEN: Duration = Duration::from_millis(100);

/// Waits for a call until its deadline. Also gives way when that is over: whoever waits is answered first.
async fn within<T>(deadline: UnixNanos, call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    let begun = now();
    match timeout(deadline.since(begun), &mut call).await {
        Ok(answer) => Some(answer),
        Err(_) if begun < deadline && now().since(deadline) > FROZEN => {
            timeout(AFTER_FREEZE, call).await.ok()
        }
        Err(_) => None,
    }
}

impl Sinks {
    pub(crate) fn new(config: &Config, keys: Rc<Keys>, egress: Rc<Egress>, inbox: Rc<Inbox>) -> Self {
        let compressor = Rc::new(RefCell::new(Compressor::new()));
        let (mut uplinks, mut copies) = (Vec::<Rc<Uplink>>::new(), Vec::new());
        let mut sinks = Vec::new();
        for signal in Signal::ALL.into_iter().filter(|signal| *signal != Signal::Forwards) {
            let address = intake::address(signal, config);
            let known = uplinks.iter().find(|uplink| uplink.address().same_server(&address)).cloned();
            let uplink = known.unwrap_or_else(|| {
                let new = Rc::new(Uplink::new(address.clone(), egress.clone(), config.connect_timeout));
                uplinks.push(new.clone());
                new
            });
            let is_worker = signal == Signal::Logs && config.pipelines().is_some();
            let is_plain = is_worker || (signal == Signal::Logs && !config.logs_compression);
            let encoding = if is_plain { Encoding::Identity } else { payload::endpoint(signal).encoding };
            let others = Other::of(signal, config, &egress, &mut copies);
            let (keys, site, compressor) = (keys.clone(), config.site.clone(), compressor.clone());
            let sink = Sink { address, uplink, keys, site, compressor, encoding, is_worker, others };
            sinks.push((signal, Rc::new(sink)));
        }
        let forwards = Rc::new(Forwards::new(config, keys, egress, uplinks));
        Self { inbox, sinks, forwards }
    }

    /// Sends a batch in a task of its own; its outcome is in the inbox not later than `deadline`.
    pub(crate) fn send(&self, id: SendId, batch: Batch, deadline: UnixNanos) {
        let inbox = self.inbox.clone();
        if let Batch::Forwards(all) = batch {
            let forwards = self.forwards.clone();
            spawn_local(async move {
                let outcome = forwards.deliver(all, deadline).await;
                inbox.tell(Input::Sent { id, outcome });
            });
            return;
        }
        let Some((_, sink)) = self.sinks.iter().find(|(signal, _)| *signal == batch.signal()) else {
            return inbox.tell(Input::Sent { id, outcome: Outcome::retry(batch) });
        };
        let sink = sink.clone();
        spawn_local(async move {
            let outcome = sink.deliver(batch, deadline).await;
            inbox.tell(Input::Sent { id, outcome });
        });
    }
}

impl Sink {
    async fn deliver(&self, batch: Batch, deadline: UnixNanos) -> Outcome {
        let mut key = match self.keys.key(deadline).await {
            Found::Yes(key) => key,
            Found::NotYet => return Outcome::retry(batch),
            Found::No => return Outcome::refused(&batch),
        };
        let mut outcome = Outcome::accepted();
        let mut parts = self.pack(batch, &mut outcome.too_large).await;
        while let Some((part, body)) = parts.pop_front() {
            outcome.cost.add(body.bytes.len());
            let call = self.post(&key.value, part.signal(), body.clone());
            match within(deadline, call).await.unwrap_or_else(|| self.told(part.signal()).timed_out()) {
                Verdict::Accepted => self.copy(&body),
                Verdict::Refused => {
                    outcome.refused += part.count();
                    self.copy(&body);
                }
                Verdict::BadKey(status) => match self.keys.renewed(&key, deadline).await {
                    Renewed::Yes(other) => {
                        key = other;
                        parts.push_front((part, body));
                    }
                    Renewed::NotYet => {
                        parts.push_front((part, body));
                        break;
                    }
                    Renewed::No => {
                        self.told(part.signal()).bad_key(status, &key);
                        outcome.refused += part.count();
                        self.copy(&body);
                    }
                },
                Verdict::TooLarge => {
                    let count = part.count();
                    let Some((first, rest)) = intake::halve(part) else {
                        outcome.too_large += count;
                        continue;
                    };
                    let rest = self.pack(rest, &mut outcome.too_large).await;
                    let first = self.pack(first, &mut outcome.too_large).await;
                    for part in rest.into_iter().rev().chain(first.into_iter().rev()) {
                        parts.push_front(part);
                    }
                }
                Verdict::Later => {
                    parts.push_front((part, body));
                    break;
                }
            }
        }
        self.send_copies(deadline, &mut outcome).await;
        let rest = parts.into_iter().map(|(part, _)| part).reduce(|mut all, part| {
            // All are of one signal.
            let _ = payload::append(&mut all, part);
            all
        });
        Outcome { retry: rest, ..outcome }
    }

    /// The intake is done with a request: the others get it.
    fn copy(&self, body: &Body) {
        for other in &self.others {
            other.copy(body.clone());
        }
    }

    /// Beside each other: one that is slow holds up no other.
    async fn send_copies(&self, deadline: UnixNanos, outcome: &mut Outcome) {
        let sends = self.others.iter().cloned();
        let sends = sends.map(|other| spawn_local(async move { other.send(deadline).await }));
        for send in sends.collect::<Vec<_>>() {
            let cost = send.await.unwrap_or_default();
            outcome.cost.requests += cost.requests;
            outcome.cost.bytes = outcome.cost.bytes.saturating_add(cost.bytes);
        }
    }

    /// The batch as requests, each with the part of the batch that it carries. What fits none is added to
    /// `too_large`. A large one is worked on beside this thread, which answers clients meanwhile.
    async fn pack(&self, batch: Batch, too_large: &mut u64) -> VecDeque<(Batch, Body)> {
        let (signal, count, weight, wanted) = (batch.signal(), batch.count(), batch.weight(), self.encoding);
        // Another batch that is packed meanwhile has one of its own.
        let mut compressor = self.compressor.take();
        let work = move || {
            let payload::Packed { requests, oversized } = payload::pack(batch);
            let mut compressed = |body: &[u8]| {
                let payload::Compressed { body, encoding } = compressor.compress(body, wanted);
                Body { bytes: Bytes::from(body.into_owned()), encoding }
            };
            let requests: VecDeque<_> =
                requests.into_iter().map(|(part, body)| (part, compressed(&body))).collect();
            (requests, oversized, compressor)
        };
        let done = if weight > LARGE { spawn_blocking(work).await.ok() } else { Some(work()) };
        let Some((requests, oversized, compressor)) = done else {
            *too_large += count;
            return VecDeque::new();
        };
        self.compressor.replace(compressor);
        *too_large += oversized;
        if oversized > 0 {
            let text =
                format_args!("{oversized} elements of {} are larger than the intake takes", signal.as_str());
            log::seldom(Level::Warn, "oversized", text);
        }
        requests
    }

    async fn post(&self, key: &HeaderValue, signal: Signal, body: Body) -> Verdict {
        match self.uplink.call(self.request(key, payload::endpoint(signal), body)).await {
            Ok(reply) => self.told(signal).verdict(reply.status, &reply.body),
            Err(error) => self.told(signal).unreachable(&error),
        }
    }

    fn request(&self, key: &HeaderValue, endpoint: &Endpoint, body: Body) -> Request<Full<Bytes>> {
        if !self.is_worker {
            return request(&self.address, key, endpoint, body);
        }
        let whole = Endpoint { path: "", headers: &[], ..*endpoint };
        request(&self.address, key, &whole, body)
    }

    fn told(&self, signal: Signal) -> Told<'_> {
        Told { what: signal.as_str(), address: &self.address, site: &self.site }
    }
}

/// A request to an endpoint of an intake.
fn request(address: &Address, key: &HeaderValue, endpoint: &Endpoint, body: Body) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body.bytes));
    *request.method_mut() = Method::POST;
    let path = format!("{}{}", address.prefix, endpoint.path);
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&address.authority()) {
        headers.insert(HOST, host);
    }
    headers.insert("dd-api-key", key.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(endpoint.content_type));
    if let Some(encoding) = body.encoding.header() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    for (name, value) in endpoint.headers {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    request
}

/// Reads what a server says, and prints what the user has to know of it.
struct Told<'a> {
    /// What was sent.
    what: &'static str,
    address: &'a Address,
    site: &'a str,
}

impl Told<'_> {
    fn verdict(&self, status: StatusCode, body: &[u8]) -> Verdict {
        let (what, server) = (self.what, self.address.authority());
        let said = shorten(&String::from_utf8_lossy(body));
        match status {
            s if s.is_success() => Verdict::Accepted,
            StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
            s if s.is_server_error()
                || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&s) =>
            {
                let text = format_args!("{server} answers {s} to {what}; tried again later");
                log::seldom(Level::Warn, "later", text);
                Verdict::Later
            }
            s @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Verdict::BadKey(s),
            s => {
                let text = format_args!("{server} answers {s} to {what}, which are lost: {said:?}");
                log::seldom(Level::Error, "refused", text);
                Verdict::Refused
            }
        }
    }

    /// There is no better key than the one that was refused.
    fn bad_key(&self, status: StatusCode, key: &Key) {
        let (what, server, site, variable) = (self.what, self.address.authority(), self.site, key.variable);
        log::seldom(
            Level::Error,
            "key",
            format_args!(
                "{server} answers {status} to {what}, which are lost: check that {variable} gives a valid key of \
                 the site {site} (DD_SITE)"
            ),
        );
    }

    fn unreachable(&self, error: &Failure) -> Verdict {
        let (what, server) = (self.what, self.address.authority());
        let text = format_args!("cannot send {what} to {server}: {error}");
        log::seldom(Level::Warn, "unreachable", text);
        Verdict::Later
    }

    fn timed_out(&self) -> Verdict {
        let (what, server) = (self.what, self.address.authority());
        let text = format_args!("{server} did not answer to {what} in time; tried again later");
        log::seldom(Level::Warn, "slow", text);
        Verdict::Later
    }
}
