//! Further intakes of what tracers have passed on. Each kind of it has its own, as in the agent; who they are is known
//! when something comes that is for them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::Cost;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HeaderValue;
use model::{Forward, Signal, UnixNanos};
use payload::events::{CHECKS_PATH, EVENTS_PATH};
use tokio::task::{JoinHandle, spawn_local};

use super::forwards;
use super::others::{Other, Parcel};
use super::uplink::Uplink;
use crate::address::Address;
use crate::config::{Additional, Config, Target};
use crate::egress::Egress;
use crate::log::{self, Level};

/// Intakes with a connection and a queue of their own. Tracers name them, so that there could be any number.
const MAX_INTAKES: usize = 16;

type Copy = Other<Rc<Forward>>;

pub(super) struct Copies {
    additional: Additional,
    egress: Rc<Egress>,
    connect_timeout: Duration,
    intakes: RefCell<Vec<Rc<Copy>>>,
}

impl Parcel for Rc<Forward> {
    fn bytes(&self) -> usize {
        self.body.len()
    }

    fn request(&self, address: &Address, key: &HeaderValue, _: Signal) -> Request<Full<Bytes>> {
        forwards::request(key, address, self)
    }

    /// Nobody here knows what is in it.
    async fn halves(&self, _: Signal, _: i32) -> Vec<Self> {
        Vec::new()
    }
}

impl Copies {
    /// Whether any of it goes to further intakes.
    pub(super) fn are_set(config: &Config) -> bool {
        let Additional {
            metrics,
            traces,
            logs: _,
            profiling,
            debugger,
            debugger_diagnostics,
            telemetry,
            evp,
            evp_sites,
        } = &config.additional;
        let all = [metrics, traces, profiling, debugger, debugger_diagnostics, telemetry, evp, evp_sites];
        all.iter().any(|targets| !targets.is_empty())
    }

    pub(super) fn new(config: &Config, egress: Rc<Egress>) -> Self {
        let (additional, connect_timeout) = (config.additional.clone(), config.connect_timeout);
        Self { additional, egress, connect_timeout, intakes: RefCell::default() }
    }

    /// Keeps what is for further intakes until it is sent.
    pub(super) fn take(&self, all: &[Forward]) {
        for forward in all {
            let targets = targets(&self.additional, forward);
            if targets.is_empty() {
                continue;
            }
            let forward = Rc::new(forward.clone());
            for target in targets {
                match self.intake(&target) {
                    Some(intake) => intake.copy(forward.clone()),
                    None => log::seldom(
                        Level::Warn,
                        "additional endpoints",
                        format_args!(
                            "tracers name more than {MAX_INTAKES} additional endpoints; {} gets nothing",
                            target.address.authority()
                        ),
                    ),
                }
            }
        }
    }

    /// Sends what waits, to each intake in a task of its own.
    pub(super) fn send(&self, deadline: UnixNanos) -> Vec<JoinHandle<Cost>> {
        self.intakes.borrow().iter().map(|intake| spawn_local(intake.clone().send(deadline))).collect()
    }

    fn intake(&self, target: &Target) -> Option<Rc<Copy>> {
        let mut intakes = self.intakes.borrow_mut();
        if let Some(known) = intakes.iter().find(|intake| intake.is_to(&target.address, &target.key)) {
            return Some(known.clone());
        }
        if intakes.len() >= MAX_INTAKES {
            return None;
        }
        let uplink = Uplink::new(target.address.clone(), self.egress.clone(), self.connect_timeout);
        let new = Rc::new(Other::new(Signal::Forwards, Rc::new(uplink), &target.key, payload::FAST)?);
        intakes.push(new.clone());
        Some(new)
    }
}

/// Where one goes too.
fn targets(additional: &Additional, forward: &Forward) -> Vec<Target> {
    let set = match &*forward.subdomain {
        "trace.agent" => &additional.traces,
        "intake.profile" => &additional.profiling,
        "http-intake.logs" => &additional.debugger,
        "debugger-intake" => &additional.debugger_diagnostics,
        "instrumentation-telemetry-intake" => &additional.telemetry,
        // What clients of DogStatsD send goes where their metrics go.
        _ if [EVENTS_PATH, CHECKS_PATH].contains(&&*forward.path) => &additional.metrics,
        subdomain => {
            let of_site = |target: &Target| {
                let host = format!("{subdomain}.{}", target.address.host);
                Target { address: Address { host, ..target.address.clone() }, key: target.key.clone() }
            };
            return additional.evp.iter().cloned().chain(additional.evp_sites.iter().map(of_site)).collect();
        }
    };
    set.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own() {
        let variables = [
            ("DD_ADDITIONAL_ENDPOINTS", r#"{"https://m":["k"]}"#),
            ("DD_APM_ADDITIONAL_ENDPOINTS", r#"{"https://t":["k"]}"#),
            ("DD_APM_PROFILING_ADDITIONAL_ENDPOINTS", r#"{"https://p/api/v2/profile":["k","l"]}"#),
            ("DD_APM_DEBUGGER_ADDITIONAL_ENDPOINTS", r#"{"https://d":["k"]}"#),
            ("DD_APM_DEBUGGER_DIAGNOSTICS_ADDITIONAL_ENDPOINTS", r#"{"https://dd":["k"]}"#),
            ("DD_APM_TELEMETRY_ADDITIONAL_ENDPOINTS", r#"{"https://i":["k"]}"#),
            ("DD_EVP_PROXY_CONFIG_ADDITIONAL_ENDPOINTS", r#"{"datadoghq.eu":["k"],"http://e:1/x":["l"]}"#),
        ];
        let config = Config::parse(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        });
        assert!(config.problems.iter().all(|problem| !problem.to_string().contains("ADDITIONAL")));
        assert!(Copies::are_set(&config) && !Copies::are_set(&Config::parse(|_| None)));
        let check = |subdomain: &'static str, path: &'static str, want: &[&str]| {
            let forward = Forward { subdomain: subdomain.into(), path: path.into(), ..Forward::default() };
            let got: Vec<_> = targets(&config.additional, &forward)
                .iter()
                .map(|target| {
                    let uri = forwards::request(&HeaderValue::from_static("k"), &target.address, &forward);
                    format!("{}{} {}", target.address.authority(), uri.uri(), target.key.as_str())
                })
                .collect();
            assert_eq!(got, want, "{subdomain}");
        };
        check("trace.agent", "/api/v0.1/pipeline_stats", &["t/api/v0.1/pipeline_stats k"]);
        check("intake.profile", "/api/v2/profile", &["p/api/v2/profile k", "p/api/v2/profile l"]);
        check("http-intake.logs", "/api/v2/logs?a=b", &["d/api/v2/logs?a=b k"]);
        check("debugger-intake", "/api/v2/debugger", &["dd/api/v2/debugger k"]);
        check("instrumentation-telemetry-intake", "/api/v2/apmtelemetry", &["i/api/v2/apmtelemetry k"]);
        check("api", EVENTS_PATH, &[&format!("m{EVENTS_PATH} k")]);
        check(
            "llmobs-intake",
            "/api/v2/llmobs",
            &["e:1/x/api/v2/llmobs l", "llmobs-intake.datadoghq.eu/api/v2/llmobs k"],
        );
    }
}
