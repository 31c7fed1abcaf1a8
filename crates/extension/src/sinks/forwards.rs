//! What tracers have passed on, each request to the intake that it is for. The intakes are many and seldom
//! used: one that cannot be reached holds up nothing that is for another.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use engine::Outcome;
use http_body_util::Full;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request};
use model::{Batch, Forward, Signal, UnixNanos};
use tokio::time::timeout;

use super::uplink::Uplink;
use super::{Told, Verdict};
use crate::address::Address;
use crate::config::Config;
use crate::driver::now;
use crate::tls::Tls;

/// Servers with a connection of their own. Tracers name them, so that there could be any number.
const MAX_UPLINKS: usize = 16;

pub(crate) struct Forwards {
    /// `None`: there is no key, and nothing can be sent.
    key: Option<HeaderValue>,
    site: String,
    /// What is set instead of the site's intakes, by the subdomain that it stands for.
    set: Vec<(&'static str, Option<Address>)>,
    /// For all others.
    set_else: Option<Address>,
    tls: Rc<Tls>,
    uplinks: RefCell<Vec<Rc<Uplink>>>,
}

impl Forwards {
    /// `uplinks`: of the other signals, which go to some of the same servers.
    pub(crate) fn new(
        config: &Config,
        key: Option<HeaderValue>,
        tls: Rc<Tls>,
        uplinks: Vec<Rc<Uplink>>,
    ) -> Self {
        let set = vec![
            ("trace.agent", config.traces_url.clone()),
            ("intake.profile", config.profiling_url.clone()),
            ("http-intake.logs", config.debugger_url.clone()),
            ("debugger-intake", config.debugger_url.clone()),
            ("instrumentation-telemetry-intake", config.telemetry_url.clone()),
        ];
        let (site, set_else) = (config.site.clone(), config.evp_url.clone());
        Self { key, site, set, set_else, tls, uplinks: RefCell::new(uplinks) }
    }

    /// Sends each; what is worth another try comes back, all of it when none got through.
    pub(crate) async fn deliver(&self, all: Vec<Forward>, deadline: UnixNanos) -> Outcome {
        let Some(key) = &self.key else { return Outcome::Refused { weight: Batch::Forwards(all).weight() } };
        let (mut later, mut refused, mut down) = (Vec::new(), 0, Vec::<Address>::new());
        for forward in all {
            let address = self.address(&forward.subdomain);
            if down.iter().any(|known| known.same_server(&address)) {
                later.push(forward);
                continue;
            }
            let told = Told { what: Signal::Forwards.as_str(), address: &address, site: &self.site };
            let uplink = self.uplink(&address);
            let reply = uplink.call(request(key, &address, &forward));
            let verdict = match timeout(deadline.since(now()), reply).await {
                Ok(Ok(reply)) => told.verdict(reply.status, &reply.body),
                Ok(Err(error)) => told.unreachable(&error),
                Err(_) => told.timed_out(),
            };
            match verdict {
                Verdict::Accepted => {}
                Verdict::Later => {
                    down.push(address);
                    later.push(forward);
                }
                // It cannot be cut.
                Verdict::TooLarge | Verdict::Refused => refused += forward.weight(),
            }
        }
        match (later.is_empty(), refused) {
            (false, _) => Outcome::Retry(Batch::Forwards(later)),
            (true, 0) => Outcome::Accepted,
            (true, weight) => Outcome::Refused { weight },
        }
    }

    fn address(&self, subdomain: &str) -> Address {
        let own = self.set.iter().find(|(name, _)| *name == subdomain);
        let set = own.map_or(&self.set_else, |(_, set)| set);
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
        let new = Rc::new(Uplink::new(address.clone(), self.tls.clone()));
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
