//! What tracers have passed on, each request to the intake that it is for. The intakes are many and seldom
//! used: one that cannot be reached holds up nothing that is for another.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Outcome, Receivers};
use http_body_util::Full;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use model::{Batch, Forward, Signal};
use payload::events::{CHECKS_PATH, EVENTS_PATH};
use tokio::task::spawn_local;

use super::copies::Copies;
use super::uplink::Uplink;
use super::{Patience, Told, Verdict};
use crate::address::Address;
use crate::config::Config;
use crate::egress::Egress;
use crate::keys::{Found, Key, Keys, Renewed};

/// Servers with a connection of their own. Tracers name them, so that there could be any number.
const MAX_UPLINKS: usize = 16;

pub(crate) struct Forwards {
    keys: Rc<Keys>,
    site: String,
    /// What is set instead of the site's intakes, by the subdomain that it stands for.
    set: Vec<(&'static str, Option<Address>)>,
    /// For events and service checks.
    metrics: Option<Address>,
    /// For all others.
    set_else: Option<Address>,
    egress: Rc<Egress>,
    connect_timeout: Duration,
    uplinks: RefCell<Vec<Rc<Uplink>>>,
    copies: Copies,
}

impl Forwards {
    /// `uplinks`: of the other signals, which go to some of the same servers.
    pub(crate) fn new(config: &Config, keys: Rc<Keys>, egress: Rc<Egress>, uplinks: Vec<Rc<Uplink>>) -> Self {
        let set = vec![
            ("trace.agent", config.traces_url.clone()),
            ("intake.profile", config.profiling_url.clone()),
            ("http-intake.logs", config.debugger_url.clone()),
            ("debugger-intake", config.debugger_url.clone()),
            ("instrumentation-telemetry-intake", config.telemetry_url.clone()),
        ];
        let (site, set_else) = (config.site.clone(), config.evp_url.clone());
        let (connect_timeout, metrics) = (config.connect_timeout, config.metrics_url.clone());
        let copies = Copies::new(config, egress.clone());
        let uplinks = RefCell::new(uplinks);
        Self { keys, site, set, metrics, set_else, egress, connect_timeout, uplinks, copies }
    }

    /// Sends each, those for different servers beside each other; what is worth another try comes back.
    /// The further intakes of each get theirs beside, with keys of their own.
    pub(crate) async fn deliver(
        self: Rc<Self>,
        all: Vec<Forward>,
        to: Receivers,
        patience: Rc<Patience>,
    ) -> Outcome {
        if to != Receivers::Main {
            self.copies.take(&all);
        }
        let copies = self.copies.send(patience.deadline);
        let mut outcome = match to {
            // They stay with the engine for the main intake.
            Receivers::Others => Outcome::accepted(),
            Receivers::Main | Receivers::All => self.deliver_to_main(all, patience).await,
        };
        for copy in copies {
            let cost = copy.await.unwrap_or_default();
            outcome.cost.requests += cost.requests;
            outcome.cost.bytes = outcome.cost.bytes.saturating_add(cost.bytes);
        }
        outcome
    }

    async fn deliver_to_main(self: Rc<Self>, all: Vec<Forward>, patience: Rc<Patience>) -> Outcome {
        let key = match self.keys.key(patience.deadline).await {
            Found::Yes(key) => key,
            Found::NotYet => return Outcome::retry(Batch::Forwards(all)),
            Found::No => return Outcome::refused(&Batch::Forwards(all)),
        };
        let mut servers: Vec<(Address, Vec<Forward>)> = Vec::new();
        for forward in all {
            let address = self.address(&forward.subdomain, &forward.path);
            match servers.iter_mut().find(|(known, _)| known.same_server(&address)) {
                Some((_, forwards)) => forwards.push(forward),
                None => servers.push((address, vec![forward])),
            }
        }
        let deliveries: Vec<_> = servers
            .into_iter()
            .map(|(_, forwards)| {
                spawn_local(self.clone().deliver_to_one(forwards, key.clone(), patience.clone()))
            })
            .collect();
        let (mut whole, mut later) = (Outcome::accepted(), Vec::new());
        for delivery in deliveries {
            let Ok((outcome, rest)) = delivery.await else { continue };
            whole.refused += outcome.refused;
            whole.too_large += outcome.too_large;
            whole.cost.requests += outcome.cost.requests;
            whole.cost.bytes = whole.cost.bytes.saturating_add(outcome.cost.bytes);
            later.extend(rest);
        }
        Outcome { retry: (!later.is_empty()).then_some(Batch::Forwards(later)), ..whole }
    }

    /// Those for one server, one after the other until one fails; gives what is worth another try.
    async fn deliver_to_one(
        self: Rc<Self>,
        forwards: Vec<Forward>,
        mut key: Key,
        patience: Rc<Patience>,
    ) -> (Outcome, Vec<Forward>) {
        let (mut outcome, mut later) = (Outcome::accepted(), Vec::new());
        for forward in forwards {
            if !later.is_empty() || patience.is_over() {
                later.push(forward);
                continue;
            }
            let address = self.address(&forward.subdomain, &forward.path);
            outcome.cost.add(forward.body.len());
            match self.send(&mut key, &address, &forward, &patience).await {
                Verdict::Accepted => {}
                Verdict::Later => later.push(forward),
                // It cannot be cut.
                Verdict::TooLarge => outcome.too_large += 1,
                Verdict::Refused | Verdict::BadKey(_) => outcome.refused += 1,
            }
        }
        (outcome, later)
    }

    /// Sends one, with another key if the intake wants one and there is one.
    async fn send(
        &self,
        key: &mut Key,
        address: &Address,
        forward: &Forward,
        patience: &Patience,
    ) -> Verdict {
        let told = Told { what: Signal::Forwards.as_str(), address, site: &self.site };
        let uplink = self.uplink(address);
        loop {
            let call = uplink.call(request(&key.value, address, forward), patience.deadline);
            let verdict = match patience.wait(told, call).await {
                Ok(reply) => told.verdict(reply.status, &reply.body),
                Err(error) => told.unreachable(&error),
            };
            let Verdict::BadKey(status) = verdict else { return verdict };
            match self.keys.renewed(key, patience.deadline).await {
                Renewed::Yes(other) => *key = other,
                Renewed::NotYet => return Verdict::Later,
                Renewed::No => {
                    told.bad_key(status, key);
                    return Verdict::Refused;
                }
            }
        }
    }

    fn address(&self, subdomain: &str, path: &str) -> Address {
        let own = self.set.iter().find(|(name, _)| *name == subdomain);
        let set = match own {
            Some((_, set)) => set,
            // What clients of DogStatsD send goes where their metrics go.
            None if [EVENTS_PATH, CHECKS_PATH].contains(&path) => &self.metrics,
            None => &self.set_else,
        };
        set.clone().unwrap_or_else(|| {
            let host = format!("{subdomain}.{}", self.site);
            Address::parse(&host).unwrap_or(Address { tls: true, host, port: 443, prefix: String::new() })
        })
    }

    fn uplink(&self, address: &Address) -> Rc<Uplink> {
        let mut uplinks = self.uplinks.borrow_mut();
        if let Some(known) = uplinks.iter().find(|uplink| uplink.address().same_server(address)) {
            return known.clone();
        }
        if uplinks.len() >= MAX_UPLINKS {
            // Of the signals at most five: those are at the front.
            uplinks.remove(MAX_UPLINKS / 2);
        }
        let new = Rc::new(Uplink::new(address.clone(), self.egress.clone(), self.connect_timeout));
        uplinks.push(new.clone());
        new
    }
}

pub(super) fn request(key: &HeaderValue, address: &Address, forward: &Forward) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(forward.body.clone())));
    *request.method_mut() = Method::POST;
    let path = forward.path.split_once('?').map_or(&*forward.path, |(path, _)| path);
    // Some of the agent's settings are whole addresses, path and all.
    let prefix = address.prefix.strip_suffix(path).unwrap_or(&address.prefix);
    *request.uri_mut() = format!("{prefix}{}", forward.path).parse().unwrap_or_default();
    let headers = request.headers_mut();
    for (name, value) in &forward.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(&**name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if let Ok(host) = HeaderValue::from_str(&address.authority()) {
        headers.insert(HOST, host);
    }
    headers.insert("dd-api-key", key.clone());
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let check = |address: &str, path: &'static str, want: &str| {
            let forward = Forward {
                path: path.into(),
                headers: vec![("a".into(), "1".into()), ("a".into(), "2".into()), ("b\n".into(), "3".into())],
                ..Forward::default()
            };
            let key = HeaderValue::from_static("key");
            let request = request(&key, &Address::parse(address).unwrap(), &forward);
            assert_eq!(request.uri().to_string(), want);
            assert_eq!(request.headers().get_all("a").iter().count(), 2);
            assert_eq!(request.headers().len(), 4);
        };
        check("https://intake.profile.datadoghq.com", "/api/v2/profile", "/api/v2/profile");
        check("http://p:1/x", "/api/v2/profile?a=b%20c", "/x/api/v2/profile?a=b%20c");
        check("http://p:1/api/v2/profile", "/api/v2/profile?a=b", "/api/v2/profile?a=b");
    }
}
