//! One search for the key: which request comes next, and what an answer leads to.
//!
//! The ways that are set are gone in order until one gives a key. One that fails is told and the next is gone: data
//! under a key that was meant to be replaced is better than none.

use std::collections::VecDeque;
use std::time::Duration;

use model::UnixNanos;

use crate::failure::{Failure, Refusal, unreachable};
use crate::key::ApiKey;
use crate::request::Request;
use crate::settings::{Credentials, Kind, Settings};
use crate::sign::sign;
use crate::{container, delegated, service};

/// Waits before a question is asked again. Many sandboxes that start at once meet the services' limits.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// A search that is on.
pub struct Resolution {
    settings: Settings,
    ways: VecDeque<Kind>,
    credentials: Option<Credentials>,
    asking: Asking,
    server: String,
    tries: usize,
    /// KMS is asked a second time, with the context that its console adds.
    with_context: bool,
    /// What it said the first time.
    without_context: Option<Failure>,
    seed: u64,
    key: Option<(Kind, ApiKey)>,
    failures: Vec<Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    Nothing,
    Credentials,
    Value,
}

/// What to do now.
#[derive(Debug)]
pub enum Step {
    /// Wait so long, send this within a deadline of your own, and [`Resolution::told`] what came.
    Ask {
        pause: Duration,
        request: Request,
    },
    Done(Resolved),
}

/// How a search ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    pub key: Option<ApiKey>,
    /// The variable that led to the key.
    pub variable: Option<&'static str>,
    /// The ways that did not, in the order of trial.
    pub failures: Vec<Failure>,
}

impl Resolved {
    /// There is no key, and there may be one when it is looked for again.
    pub fn is_passing(&self) -> bool {
        self.key.is_none() && self.failures.iter().any(|failure| failure.is_passing)
    }
}

impl Resolution {
    /// `seed`: different in every process, so that not all ask again at the same moment.
    pub fn new(settings: &Settings, order: &[Kind], seed: u64) -> Self {
        let here = settings.credentials.are_here();
        Self {
            ways: settings.ways(order).collect(),
            credentials: here.then(|| settings.credentials.clone()),
            settings: settings.clone(),
            asking: Asking::Nothing,
            server: String::new(),
            tries: 0,
            with_context: false,
            without_context: None,
            seed,
            key: None,
            failures: Vec::new(),
        }
    }

    /// What to do next. `now`: what requests are signed with.
    pub fn next(&mut self, now: UnixNanos) -> Step {
        while self.key.is_none()
            && let Some(kind) = self.ways.front().copied()
        {
            if kind == Kind::Plain {
                let text = self.settings.api_key.clone().unwrap_or_default();
                self.accept(kind, &text);
                continue;
            }
            if let Some(request) = self.request(kind, now) {
                self.server = request.base.authority();
                return Step::Ask { pause: self.pause(), request };
            }
        }
        let (kind, key) = self.key.clone().unzip();
        let variable = kind.map(|kind| self.settings.variable(kind));
        Step::Done(Resolved { key, variable, failures: std::mem::take(&mut self.failures) })
    }

    /// Tells what came of the last request: status and body, or why there is no answer.
    pub fn told(&mut self, answer: Result<(u16, &[u8]), &str>) {
        let Some(kind) = self.ways.front().copied() else { return };
        let variable = self.settings.variable(kind);
        match (std::mem::replace(&mut self.asking, Asking::Nothing), answer) {
            (Asking::Nothing, _) => {}
            (Asking::Credentials, Ok((200..=299, body))) => match container::credentials(body) {
                Some(found) => {
                    self.credentials = Some(found);
                    self.tries = 0;
                }
                None => self.fail(no_credentials(variable, "the answer has none")),
            },
            (Asking::Credentials, answer) => {
                let why = answer.map_or_else(str::to_owned, |(status, _)| format!("it answers {status}"));
                self.try_again_or(no_credentials(variable, &why));
            }
            (Asking::Value, Ok((200..=299, body))) => {
                let answer = serde_json::from_slice(body).unwrap_or_default();
                match service::value(kind, &answer) {
                    Ok(text) => self.accept(kind, &text),
                    Err(what) => self.fail(Failure {
                        variable,
                        what: format!("what {} gives {what}", self.server),
                        advice: "it has to be the key alone, or a JSON object with dd_api_key".to_owned(),
                        is_passing: false,
                    }),
                }
            }
            (Asking::Value, Ok((status, body))) => self.refused(kind, Refusal::read(status, body)),
            (Asking::Value, Err(why)) => {
                let failure = unreachable(variable, kind, &self.server, why);
                self.try_again_or(failure);
            }
        }
    }

    fn refused(&mut self, kind: Kind, refusal: Refusal) {
        let failure = refusal.clone().into_failure(self.settings.variable(kind), kind, &self.server);
        if refusal.is_passing() {
            return self.try_again_or(failure);
        }
        if kind == Kind::Kms && !self.with_context && !self.settings.function_name.is_empty() {
            self.with_context = true;
            self.without_context = Some(failure);
            self.tries = 0;
            return;
        }
        // That the context is wrong says nothing to someone who used none.
        let first = self.without_context.take().filter(|_| refusal.is_of_ciphertext());
        self.fail(first.unwrap_or(failure));
    }

    /// The next request of a way. `None`: there can be none, and it is told why.
    fn request(&mut self, kind: Kind, now: UnixNanos) -> Option<Request> {
        let Some(credentials) = self.credentials.clone() else {
            let credentials = &self.settings.credentials;
            if let Some(uri) = &credentials.uri {
                let mut request = Request::new("GET", uri, "", Vec::new());
                if request.path.is_empty() {
                    "/".clone_into(&mut request.path);
                }
                self.asking = Asking::Credentials;
                return Some(if credentials.uri_token.is_empty() {
                    request
                } else {
                    request.with("authorization", credentials.uri_token.clone())
                });
            }
            let why = "neither AWS_ACCESS_KEY_ID nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set";
            self.fail(no_credentials(self.settings.variable(kind), why));
            return None;
        };
        self.asking = Asking::Value;
        if kind == Kind::Delegated {
            return Some(delegated::request(&self.settings, &credentials, now));
        }
        let Some(service::Ask { service, region, mut request }) =
            service::ask(kind, &self.settings, self.with_context)
        else {
            self.ways.pop_front();
            return None;
        };
        sign(&mut request, &credentials, service.name(), &region, now);
        Some(request)
    }

    fn accept(&mut self, kind: Kind, text: &str) {
        match ApiKey::new(text) {
            Some(key) => self.key = Some((kind, key)),
            None => self.fail(Failure {
                variable: self.settings.variable(kind),
                what: "the value is no key of printable characters".to_owned(),
                advice: String::new(),
                is_passing: false,
            }),
        }
    }

    fn try_again_or(&mut self, failure: Failure) {
        self.tries += 1;
        if self.tries > PAUSES.len() {
            self.fail(failure);
        }
    }

    /// This way is at its end; the next one is gone.
    fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
        self.ways.pop_front();
        self.tries = 0;
        self.with_context = false;
    }

    /// Between half and all of the pause: who failed together does not come back together.
    fn pause(&self) -> Duration {
        let Some(pause) = self.tries.checked_sub(1).and_then(|n| PAUSES.get(n)) else {
            return Duration::ZERO;
        };
        let spread = self.seed.rotate_left(u32::try_from(self.tries * 16).unwrap_or(0)) % 1024;
        *pause / 2 + *pause * u32::try_from(spread).unwrap_or(0) / 2048
    }
}

fn no_credentials(variable: &'static str, why: &str) -> Failure {
    Failure {
        variable,
        what: format!("there are no credentials of the function's role to ask with: {why}"),
        advice: String::new(),
        is_passing: false,
    }
}

/// Without settings, which hold secrets.
impl std::fmt::Debug for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolution").field("ways", &self.ways).finish_non_exhaustive()
    }
}
