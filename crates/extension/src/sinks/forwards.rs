//! What tracers have passed on, each request to the intake that it is for. The intakes are many and seldom
//! used: one that cannot be reached holds up nothing that is for another.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::Outcome;
use http_body_util::Full;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use model::{Batch, Forward, Signal, UnixNanos};
use payload::events::{CHECKS_PATH, EVENTS_PATH};

use super::uplink::Uplink;
use super::{Told, Verdict, within};
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
        Self { keys, site, set, metrics, set_else, egress, connect_timeout, uplinks: RefCell::new(uplinks) }
    }

    /// Sends each; what is worth another try comes back, all of it when none got through.
    pub(crate) async fn deliver(&self, all: Vec<Forward>, deadline: UnixNanos) -> Outcome {
        let mut key = match self.keys.key(deadline).await {
            Found::Yes(key) => key,
            Found::NotYet => return Outcome::retry(Batch::Forwards(all)),
            Found::No => return Outcome::refused(&Batch::Forwards(all)),
        };
        let mut outcome = Outcome::accepted();
        let (mut later, mut down) = (Vec::new(), Vec::<Address>::new());
        for forward in all {
            let address = self.address(&forward.subdomain, &forward.path);
            if down.iter().any(|known| known.same_server(&address)) {
                later.push(forward);
                continue;
            }
            outcome.cost.add(forward.body.len());
            match self.send(&mut key, &address, &forward, deadline).await {
                Verdict::Accepted => {}
                Verdict::Later => {
                    down.push(address);
                    later.push(forward);
                }
                // It cannot be cut.
                Verdict::TooLarge => outcome.too_large += 1,
                Verdict::Refused | Verdict::BadKey(_) => outcome.refused += 1,
            }
        }
        Outcome { retry: (!later.is_empty()).then_some(Batch::Forwards(later)), ..outcome }
    }

    /// Sends one, with another key if the intake wants one and there is one.
    async fn send(
        &self,
        key: &mut Key,
        address: &Address,
        forward: &Forward,
        deadline: UnixNanos,
    ) -> Verdict {
        let told = Told { what: Signal::Forwards.as_str(), address, site: &self.site };
        let uplink = self.uplink(address);
        loop {
            let reply = uplink.call(request(&key.value, address, forward));
            let verdict = match within(deadline, reply).await {
                Some(Ok(reply)) => told.verdict(reply.status, &reply.body),
                Some(Err(error)) => told.unreachable(&error),
                None => told.timed_out(),
            };
            let Verdict::BadKey(status) = verdict else { return verdict };
            match self.keys.renewed(key, deadline).await {
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

fn request(key: &HeaderValue, address: &Address, forward: &Forward) -> Request<Full<Bytes>> {
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
