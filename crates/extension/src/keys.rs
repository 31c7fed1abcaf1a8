//! The API key while the process runs: searched for once the first `/event/next` is asked, beside the
//! invocation; handed to whoever sends; searched for again when an intake refuses it or it is old.
//!
//! Where it may come from and what is asked for it is `secrets`' business. Nothing here holds back anything but a
//! send, and that not beyond its deadline.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use model::UnixNanos;
use secrets::{ApiKey, Base, EXTENSION_ORDER, Resolution, Resolved, Settings, Step};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::config::Config;
use crate::connection::Peer;
use crate::driver::now;
use crate::egress::Egress;
use crate::log::{self, Level};

/// For one answer on the way to the key.
const PATIENCE: Duration = Duration::from_secs(3);
/// Answers here are small.
const MAX_ANSWER: usize = 256 << 10;
/// How long nobody searches again after a search that failed: by something that passes, by something that has to be
/// set right first.
const REST_PASSING: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(60);
/// How long a key that an intake refuses is not searched for again once a search has given the same; doubles with each
/// more that does.
const SAME_AGAIN: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 6;
/// The first request for an event is out before anything is done for the key.
const AFTER_NEXT: Duration = Duration::from_millis(1);

/// A key to send with.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) value: HeaderValue,
    /// The variable that it comes from.
    pub(crate) variable: &'static str,
}

/// Whether there is a key.
#[derive(Debug)]
pub(crate) enum Found {
    Yes(Key),
    /// There may be one later.
    NotYet,
    /// There is none before something is set right.
    No,
}

/// What comes of a key that an intake refused.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// Another one, worth another try.
    Yes(Key),
    /// It is not known yet.
    NotYet,
    /// It is the right one, or there is no other.
    No,
}

pub(crate) struct Keys {
    settings: Settings,
    egress: Rc<Egress>,
    /// `None`: a key does not grow old.
    reload: Option<Duration>,
    state: RefCell<State>,
    /// A search has ended.
    ended: Notify,
}

struct State {
    key: Option<Key>,
    /// The process may yet be frozen into a snapshot, which no key and no connection is to be part of.
    is_held: bool,
    is_searching: bool,
    /// When the last search began or ended, and how it ended.
    searched: Option<UnixNanos>,
    failed: Option<Failed>,
    /// An intake has refused the key since.
    is_refused: bool,
    /// Searches in a row that gave a key which had been refused.
    confirmed: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failed {
    Passing,
    ForGood,
}

impl Keys {
    /// Asks for nothing yet. A plain key is there at once.
    pub(crate) fn new(config: &Config, function_name: &str, egress: Rc<Egress>) -> Rc<Self> {
        let mut settings = config.keys.clone();
        settings.site.clone_from(&config.site);
        settings.region.clone_from(&config.lambda.region);
        function_name.clone_into(&mut settings.function_name);
        settings.endpoints.datadog = config.metrics_url.as_ref().map(base);
        let is_held = config.lambda.initialization_type == "snap-start";
        let state = State {
            key: None,
            is_held,
            is_searching: false,
            searched: None,
            failed: None,
            is_refused: false,
            confirmed: 0,
        };
        let (state, ended, reload) = (RefCell::new(state), Notify::new(), config.key_reload);
        let keys = Self { settings, egress, reload, state, ended };
        if keys.settings.ways(EXTENSION_ORDER).next().is_none() {
            log::error(format_args!("DD_API_KEY is not set: nothing can be sent to Datadog"));
            keys.state.borrow_mut().failed = Some(Failed::ForGood);
        } else if keys.settings.is_plain(EXTENSION_ORDER)
            && let Step::Done(resolved) = keys.resolution().next(now())
        {
            keys.end(resolved);
        }
        Rc::new(keys)
    }

    /// The first event has been asked for: begins to search, unless the process may be frozen into a snapshot.
    pub(crate) fn prefetch(self: &Rc<Self>) {
        if self.state.borrow().key.is_some() || !self.has_search() {
            return;
        }
        let this = self.clone();
        spawn_local(async move {
            sleep(AFTER_NEXT).await;
            this.begin();
        });
    }

    /// An event has come: what runs now is no snapshot's template any more.
    pub(crate) fn wake(self: &Rc<Self>) {
        let was_held = std::mem::take(&mut self.state.borrow_mut().is_held);
        if was_held {
            self.prefetch();
        }
    }

    /// The key, when it is there before `deadline`.
    pub(crate) async fn key(self: &Rc<Self>, deadline: UnixNanos) -> Found {
        loop {
            {
                let state = self.state.borrow();
                if let Some(key) = state.key.clone() {
                    let is_old = self.reload.is_some_and(|reload| self.age(&state) >= reload);
                    drop(state);
                    if is_old {
                        // Beside the send, which goes out with what there is.
                        self.begin();
                    }
                    return Found::Yes(key);
                }
                if state.is_held && self.has_search() {
                    return Found::NotYet;
                }
                let rests = match state.failed {
                    Some(Failed::ForGood) => REST,
                    _ => REST_PASSING,
                };
                match state.failed {
                    Some(_) if state.is_searching => {}
                    Some(Failed::ForGood) if !self.has_search() || self.age(&state) < rests => {
                        return Found::No;
                    }
                    Some(Failed::Passing) if self.age(&state) < rests => return Found::NotYet,
                    _ => {}
                }
            }
            self.begin();
            if !self.until_ended(deadline).await {
                return Found::NotYet;
            }
        }
    }

    /// An intake has refused a key: waits until `deadline` for what another search says. While searches give the same
    /// key, they are made less and less often.
    pub(crate) async fn renewed(self: &Rc<Self>, refused: &Key, deadline: UnixNanos) -> Renewed {
        let known = |state: &State| state.key.clone().filter(|key| key.value != refused.value);
        {
            let mut state = self.state.borrow_mut();
            if let Some(key) = known(&state) {
                return Renewed::Yes(key);
            }
            let doublings = state.confirmed.checked_sub(1).map(|n| n.min(MAX_DOUBLINGS));
            let rest = doublings.map_or(Duration::ZERO, |n| SAME_AGAIN * (1 << n));
            if !self.has_search() || (!state.is_searching && self.age(&state) < rest) {
                return Renewed::No;
            }
            state.is_refused = true;
        }
        self.begin();
        let ended = self.until_ended(deadline).await;
        let state = self.state.borrow();
        match known(&state) {
            Some(key) => Renewed::Yes(key),
            None if !ended || state.failed == Some(Failed::Passing) => Renewed::NotYet,
            None => Renewed::No,
        }
    }

    /// Whether there is anything to ask.
    fn has_search(&self) -> bool {
        self.settings.ways(EXTENSION_ORDER).any(|kind| kind != secrets::Kind::Plain)
    }

    /// Time since the last search.
    fn age(&self, state: &State) -> Duration {
        // A clock that was set back is as good as a long time.
        let since = |at: UnixNanos| if at > now() { Duration::MAX } else { now().since(at) };
        state.searched.map_or(Duration::MAX, since)
    }

    /// `false`: not before `deadline`.
    async fn until_ended(&self, deadline: UnixNanos) -> bool {
        let ended = self.ended.notified();
        if !self.state.borrow().is_searching {
            return true;
        }
        timeout(deadline.since(now()), ended).await.is_ok()
    }

    /// Begins a search, unless one is on.
    fn begin(self: &Rc<Self>) {
        {
            let mut state = self.state.borrow_mut();
            if state.is_searching || state.is_held || !self.has_search() {
                return;
            }
            state.is_searching = true;
            state.searched = Some(now());
        }
        let this = self.clone();
        spawn_local(async move {
            let resolved = this.search().await;
            this.end(resolved);
        });
    }

    fn resolution(&self) -> Resolution {
        let seed = getrandom::u64().unwrap_or_else(|_| now().as_nanos());
        Resolution::new(&self.settings, EXTENSION_ORDER, seed)
    }

    async fn search(&self) -> Resolved {
        let mut resolution = self.resolution();
        let mut kept: Option<Peer> = None;
        loop {
            let (pause, request) = match resolution.next(now()) {
                Step::Done(resolved) => return resolved,
                Step::Ask { pause, request } => (pause, request),
            };
            sleep(pause).await;
            let address = address(&request.base);
            let peer = match kept.take() {
                Some(peer) if peer.address().same_server(&address) => kept.insert(peer),
                _ => kept.insert(Peer::new(address, self.egress.clone())),
            };
            match timeout(PATIENCE, peer.call(http(request), MAX_ANSWER)).await {
                Ok(Ok(reply)) => resolution.told(Ok((reply.status.as_u16(), &reply.body))),
                Ok(Err(error)) => resolution.told(Err(&error.to_string())),
                Err(_) => resolution.told(Err(&format!("no answer within {PATIENCE:?}"))),
            }
        }
    }

    fn end(&self, resolved: Resolved) {
        tell(&resolved, self.state.borrow().key.is_some());
        let failed = if resolved.is_passing() { Failed::Passing } else { Failed::ForGood };
        let found = resolved.key.zip(resolved.variable).and_then(|(key, variable)| header(&key, variable));
        {
            let mut state = self.state.borrow_mut();
            state.is_searching = false;
            state.searched = Some(now());
            state.failed = found.is_none().then_some(failed);
            let is_refused = std::mem::take(&mut state.is_refused);
            if let Some(found) = found {
                let is_same = state.key.as_ref().is_some_and(|key| key.value == found.value);
                match (is_same, is_refused) {
                    (false, _) => state.confirmed = 0,
                    (true, true) => state.confirmed = state.confirmed.saturating_add(1),
                    (true, false) => {}
                }
                state.key = Some(found);
            }
        }
        self.ended.notify_waiters();
    }
}

/// What the user has to know of a search: each way that failed, and a key that is strange.
fn tell(resolved: &Resolved, had_key: bool) {
    for failure in &resolved.failures {
        let then = match resolved.variable {
            Some(variable) => format!("{variable} is used instead"),
            None if had_key => "the key that was found before stays in use".to_owned(),
            None => "there is no key: nothing can be sent to Datadog".to_owned(),
        };
        log::seldom(Level::Error, failure.variable, format_args!("{failure}. So {then}"));
    }
    if let (Some(key), Some(variable)) = (&resolved.key, resolved.variable)
        && let Some(oddity) = key.oddity()
    {
        let text = format_args!("{variable}: what it gives is strange for an API key: {oddity}");
        log::seldom(Level::Warn, "strange key", text);
    }
}

fn header(key: &ApiKey, variable: &'static str) -> Option<Key> {
    let mut value = HeaderValue::from_str(key.as_str()).ok()?;
    value.set_sensitive(true);
    Some(Key { value, variable })
}

fn address(base: &Base) -> Address {
    Address { tls: base.tls, host: base.host.clone(), port: base.port, prefix: base.prefix.clone() }
}

fn base(address: &Address) -> Base {
    Base { tls: address.tls, host: address.host.clone(), port: address.port, prefix: address.prefix.clone() }
}

fn http(request: secrets::Request) -> Request<Full<Bytes>> {
    let mut http = Request::new(Full::new(Bytes::from(request.body)));
    *http.method_mut() = request.method.parse().unwrap_or_default();
    *http.uri_mut() = request.path.parse().unwrap_or_default();
    for (name, value) in request.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            http.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    http
}
