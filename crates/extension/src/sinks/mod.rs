//! Where data leaves: batches are encoded, split to what an intake takes, and sent. What became of a batch goes back
//! to the engine as a fact, and so does that it is late: a request that was begun is never cut off, as the intake may
//! have taken it. Nothing is retried here but a connection that turned out to be dead.

mod copies;
mod forwards;
mod intake;
mod others;
mod uplink;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Cost, Input, Outcome, Receivers, SendId};
use http_body_util::Full;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use model::{Batch, Signal, UnixNanos};
use payload::{Compressor, Encoding, Endpoint};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::timeout;

use crate::address::Address;
use crate::config::{Config, shorten};
use crate::connection::Failure;
use crate::driver::now;
use crate::egress::Egress;
use crate::inbox::Inbox;
use crate::keys::{Found, Key, Keys, Renewed};
use crate::log::{self, Level};
use copies::Copies;
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
    /// How bodies are packed, and how hard.
    encoding: Encoding,
    level: i32,
    /// The address is a worker of Observability Pipelines, whole: nothing is put behind it.
    is_worker: bool,
    /// The further intakes of this signal.
    others: Vec<Rc<Other>>,
    /// Those of all signals: what waits for them may go whenever anything goes.
    all_others: Rc<RefCell<Vec<Rc<Other>>>>,
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
const LARGE: usize = 1 << 20;
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

/// Signals that go to further intakes too.
pub(crate) fn copied(config: &Config) -> Vec<Signal> {
    let goes_on = |signal: &Signal| match signal {
        Signal::Forwards => Copies::are_set(config),
        signal => !Other::<Body>::targets(*signal, config).is_empty(),
    };
    Signal::ALL.into_iter().filter(goes_on).collect()
}

impl Sinks {
    pub(crate) fn new(config: &Config, keys: Rc<Keys>, egress: Rc<Egress>, inbox: Rc<Inbox>) -> Self {
        let compressor = Rc::new(RefCell::new(Compressor::new()));
        let (mut uplinks, mut copies) = (Vec::<Rc<Uplink>>::new(), Vec::new());
        let all_others = Rc::new(RefCell::new(Vec::new()));
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
            all_others.borrow_mut().extend(others.iter().cloned());
            let all_others = all_others.clone();
            let level = config.compression.of(signal);
            let sink = Sink {
                address,
                uplink,
                keys,
                site,
                compressor,
                encoding,
                level,
                is_worker,
                others,
                all_others,
            };
            sinks.push((signal, Rc::new(sink)));
        }
        let forwards = Rc::new(Forwards::new(config, keys, egress, uplinks));
        Self { inbox, sinks, forwards }
    }

    /// Sends a batch in a task of its own; its outcome comes to the inbox, and that it is late when it is.
    pub(crate) fn send(&self, id: SendId, batch: Batch, deadline: UnixNanos, to: Receivers) {
        let inbox = self.inbox.clone();
        let patience = Rc::new(Patience { id, deadline, inbox: inbox.clone(), is_told: Cell::new(false) });
        if let Batch::Forwards(all) = batch {
            let forwards = self.forwards.clone();
            spawn_local(async move {
                let outcome = forwards.deliver(all, to, patience).await;
                inbox.tell(Input::Sent { id, outcome });
            });
            return;
        }
        let Some((_, sink)) = self.sinks.iter().find(|(signal, _)| *signal == batch.signal()) else {
            return inbox.tell(Input::Sent { id, outcome: Outcome::retry(batch) });
        };
        let sink = sink.clone();
        spawn_local(async move {
            let outcome = sink.deliver(batch, to, &patience).await;
            inbox.tell(Input::Sent { id, outcome });
        });
    }
}

/// How long the engine waits for a batch, and that it is told when that is over.
struct Patience {
    id: SendId,
    deadline: UnixNanos,
    inbox: Rc<Inbox>,
    is_told: Cell<bool>,
}

impl Patience {
    /// Waits for a call to its end, however long that takes.
    async fn wait<T>(&self, told: Told<'_>, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        if let Some(answer) = within(self.deadline, &mut call).await {
            return answer;
        }
        if !self.is_told.replace(true) {
            told.late();
            self.inbox.tell(Input::Late { id: self.id });
        }
        call.await
    }

    /// Nothing more is begun.
    fn is_over(&self) -> bool {
        self.is_told.get() || now() >= self.deadline
    }
}

/// A batch, as requests when those were made.
enum Load {
    Whole(Batch),
    Parts(Parts),
}

type Parts = VecDeque<(Batch, Body)>;

impl Sink {
    /// The main intake and the further ones beside each other: one that is slow holds up no other.
    async fn deliver(&self, batch: Batch, to: Receivers, patience: &Patience) -> Outcome {
        let mut outcome = Outcome::accepted();
        let mut load = Load::Whole(batch);
        if to != Receivers::Main && !self.others.is_empty() {
            load = Load::Parts(self.parts(load, &mut outcome.too_large).await);
            self.copy(&load);
        }
        let copies = self.send_copies(patience.deadline);
        if to == Receivers::Others {
            // They stay here for the main intake.
            outcome.too_large = 0;
        } else {
            self.submit(load, patience, &mut outcome).await;
        }
        for copy in copies {
            let cost = copy.await.unwrap_or_default();
            outcome.cost.requests += cost.requests;
            outcome.cost.bytes = outcome.cost.bytes.saturating_add(cost.bytes);
        }
        outcome
    }

    /// Sends a batch to the main intake.
    async fn submit(&self, load: Load, patience: &Patience, outcome: &mut Outcome) {
        let mut key = match self.keys.key(patience.deadline).await {
            Found::Yes(key) => key,
            Found::NotYet => {
                outcome.retry = load.whole();
                return;
            }
            Found::No => {
                outcome.refused += load.whole().map_or(0, |batch| batch.count());
                return;
            }
        };
        let mut parts = self.parts(load, &mut outcome.too_large).await;
        while !patience.is_over()
            && let Some((part, body)) = parts.pop_front()
        {
            outcome.cost.add(body.bytes.len());
            let call = self.post(&key.value, part.signal(), body.clone(), patience.deadline);
            match patience.wait(self.told(part.signal()), call).await {
                Verdict::Accepted => {}
                Verdict::Refused => outcome.refused += part.count(),
                Verdict::BadKey(status) => match self.keys.renewed(&key, patience.deadline).await {
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
                    }
                },
                Verdict::TooLarge => {
                    let count = part.count();
                    let Some((first, rest)) = intake::halve(part) else {
                        outcome.too_large += count;
                        continue;
                    };
                    let rest = self.parts(Load::Whole(rest), &mut outcome.too_large).await;
                    let first = self.parts(Load::Whole(first), &mut outcome.too_large).await;
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
        outcome.retry = Load::Parts(parts).whole();
    }

    /// The further intakes get these requests too.
    fn copy(&self, load: &Load) {
        let Load::Parts(parts) = load else { return };
        for (other, (_, body)) in self.others.iter().flat_map(|o| parts.iter().map(move |part| (o, part))) {
            other.copy(body.clone());
        }
    }

    /// What waits for the further intakes, each in a task of its own.
    fn send_copies(&self, deadline: UnixNanos) -> Vec<JoinHandle<Cost>> {
        let all = self.all_others.borrow();
        let waiting = all.iter().filter(|other| other.has_waiting());
        waiting.map(|other| spawn_local(other.clone().send(deadline))).collect()
    }

    async fn parts(&self, load: Load, too_large: &mut u64) -> Parts {
        match load {
            Load::Whole(batch) => self.pack(batch, too_large).await,
            Load::Parts(parts) => parts,
        }
    }

    /// The batch as requests, each with the part of the batch that it carries. What fits none is added to
    /// `too_large`. A large one is worked on beside this thread, which answers clients meanwhile.
    async fn pack(&self, batch: Batch, too_large: &mut u64) -> VecDeque<(Batch, Body)> {
        let (signal, count, weight) = (batch.signal(), batch.count(), batch.weight());
        let (wanted, level) = (self.encoding, self.level);
        // Another batch that is packed meanwhile has one of its own.
        let mut compressor = self.compressor.take();
        let work = move || {
            let payload::Packed { requests, oversized } = payload::pack(batch);
            let mut compressed = |body: &[u8]| {
                let payload::Compressed { body, encoding } = compressor.at(level).compress(body, wanted);
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

    async fn post(&self, key: &HeaderValue, signal: Signal, body: Body, deadline: UnixNanos) -> Verdict {
        let request = self.request(key, payload::endpoint(signal), body);
        match self.uplink.call(request, deadline).await {
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

impl Load {
    /// All of it as one batch again; `None` when nothing is left.
    fn whole(self) -> Option<Batch> {
        let parts = match self {
            Self::Whole(batch) => return Some(batch),
            Self::Parts(parts) => parts,
        };
        parts.into_iter().map(|(part, _)| part).reduce(|mut all, part| {
            // All are of one signal.
            let _ = payload::append(&mut all, part);
            all
        })
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
#[derive(Clone, Copy)]
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
        if matches!(error, Failure::NotBegun) {
            // What kept it from its turn has been told.
            return Verdict::Later;
        }
        let (what, server) = (self.what, self.address.authority());
        let text = format_args!("cannot send {what} to {server}: {error}");
        log::seldom(Level::Warn, "unreachable", text);
        Verdict::Later
    }

    fn late(&self) {
        let (what, server) = (self.what, self.address.authority());
        let text = format_args!("{server} did not answer to {what} in time; nothing waits for it any more");
        log::seldom(Level::Warn, "slow", text);
    }
}
