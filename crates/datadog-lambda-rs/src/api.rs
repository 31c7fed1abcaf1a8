//! Metrics straight to Datadog's API, for functions without an extension: kept until an invocation is over, sent then
//! within its budget.
//!
//! A send that takes longer than its budget goes on by itself and is not waited for again; a server that cannot be
//! reached is left alone for a while. What there is no key for is printed for the Datadog Forwarder instead.

mod https;
mod key;
mod points;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use model::{Metric, Text};
use secrets::{Base, LIBRARY_ORDER, Request};
use tokio::time::{sleep, timeout};
use tracing::Level;

use crate::agent::lock;
use crate::datadog::Datadog;
use crate::settings::Settings;
use crate::{ids, out};
use https::Client;
use key::{Found, Keys};
use points::Points;

const PATH: &str = "/api/v1/distribution_points";
const AGENT: &str = concat!("datadog-lambda-rs/", env!("CARGO_PKG_VERSION"));

/// For one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before a request that failed is made once more.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a server that failed twice is left alone.
const REST: Duration = Duration::from_secs(30);
/// What a try may cost an invocation after that.
const SHORT: Duration = Duration::from_millis(100);
/// Between two lines about the same.
const QUIET: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Api {
    points: Mutex<Points>,
    sending: Arc<tokio::sync::Mutex<Sending>>,
    common: Vec<Text>,
    /// The key may be looked for before an invocation is over: not in a snapshot's template.
    may_prefetch: bool,
    is_prefetched: AtomicBool,
    /// Not asked before this moment; `Some` until something is accepted.
    rests_until: Mutex<Option<Instant>>,
    /// The last send was not waited for to its end.
    is_abandoned: AtomicBool,
    restores: AtomicU64,
    /// Values that were dropped since it was last told.
    dropped: AtomicU64,
    told: Mutex<Vec<(&'static str, Instant)>>,
}

/// What one send at a time uses.
#[derive(Debug)]
struct Sending {
    base: Base,
    client: Client,
    keys: Keys,
    /// The restore that this belongs to.
    restores: u64,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// It may be taken another time.
    Later(String),
    /// There is no key, or no good one. With why, unless it was told before.
    NoKey(Option<String>),
    Refused(String),
}

impl Api {
    /// `None` unless metrics are to go this way.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        if !settings.api_metrics() {
            return None;
        }
        let mut keys = settings.keys.clone();
        keys.region.clone_from(&settings.region);
        keys.function_name.clone_from(&settings.function_name);
        let by_site = || Base::parse(&format!("https://api.{}", settings.site));
        let base = settings.metrics_url.clone().or_else(by_site)?;
        let authorities = settings.tls_cert_file.as_ref().map(PathBuf::from);
        let client = Client::new(authorities, settings.proxy.clone(), settings.no_proxy.clone());
        let sending = Sending { base, client, keys: Keys::new(keys), restores: 0 };
        Some(Self {
            points: Mutex::default(),
            sending: Arc::new(tokio::sync::Mutex::new(sending)),
            common: common(settings),
            may_prefetch: settings.initialization_type != "snap-start",
            is_prefetched: AtomicBool::new(settings.keys.is_plain(LIBRARY_ORDER)),
            rests_until: Mutex::default(),
            is_abandoned: AtomicBool::new(false),
            restores: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            told: Mutex::default(),
        })
    }

    /// Keeps a metric until the invocation is over. The first one has the key looked for, beside the handler.
    pub(crate) fn push(&self, metric: Metric) {
        let dropped = lock(&self.points).push(metric, ids::now());
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        if self.may_prefetch
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.is_prefetched.swap(true, Ordering::Relaxed)
        {
            let sending = self.sending.clone();
            runtime.spawn(async move {
                let Sending { client, keys, .. } = &mut *sending.lock().await;
                keys.find(client).await;
            });
        }
    }

    /// The process goes on elsewhere: connections are dead, and the key may be another.
    pub(crate) fn restored(&self) {
        self.restores.fetch_add(1, Ordering::Relaxed);
        *lock(&self.rests_until) = None;
    }

    /// All that waits, for someone who has no time to send it.
    pub(crate) fn take_all(&self) -> Vec<Metric> {
        let mut points = lock(&self.points);
        std::iter::from_fn(|| Some(points.take()).filter(|taken| !taken.is_empty())).flatten().collect()
    }

    /// Sends what waits, and is back within the budget.
    pub(crate) async fn flush(datadog: &Arc<Datadog>, budget: Duration) {
        let Some(api) = &datadog.api else { return };
        let rest = *lock(&api.rests_until);
        let is_resting = rest.is_some_and(|until| Instant::now() < until);
        if budget.is_zero() || is_resting || lock(&api.points).is_empty() {
            return;
        }
        if api.is_abandoned.load(Ordering::Relaxed) && api.sending.try_lock().is_err() {
            return;
        }
        let budget = if rest.is_some() { budget.min(SHORT) } else { budget };
        let this = datadog.clone();
        let send = tokio::spawn(async move {
            if let Some(api) = &this.api {
                let mut sending = api.sending.lock().await;
                api.send(&this, &mut sending).await;
            }
        });
        let is_late = timeout(budget, send).await.is_err();
        api.is_abandoned.store(is_late, Ordering::Relaxed);
    }

    async fn send(&self, datadog: &Datadog, sending: &mut Sending) {
        let restores = self.restores.load(Ordering::Relaxed);
        if std::mem::replace(&mut sending.restores, restores) != restores {
            sending.client.forget();
            sending.keys.forget();
        }
        loop {
            let metrics = lock(&self.points).take();
            if metrics.is_empty() {
                break;
            }
            let verdict = sending.deliver(points::body(&metrics, &self.common)).await;
            for (level, line) in sending.keys.take_told() {
                datadog.report(level, &line);
            }
            if let Some(problem) = sending.client.take_problem() {
                datadog.report(Level::WARN, &problem);
            }
            match verdict {
                Verdict::Accepted => *lock(&self.rests_until) = None,
                Verdict::Later(why) => {
                    let server = sending.base.authority();
                    let line = format!("metrics could not be sent to {server}: {why}; tried again later");
                    self.tell(datadog, "later", Level::WARN, &line);
                    let dropped = lock(&self.points).give_back(metrics);
                    self.dropped.fetch_add(dropped, Ordering::Relaxed);
                    *lock(&self.rests_until) = Instant::now().checked_add(REST);
                    break;
                }
                Verdict::NoKey(why) => {
                    if let Some(why) = why {
                        self.tell(datadog, "key", Level::ERROR, &why);
                    }
                    print(datadog, &metrics);
                }
                Verdict::Refused(why) => {
                    let lost = metrics.iter().map(|metric| metric.values.len() as u64).sum();
                    self.dropped.fetch_add(lost, Ordering::Relaxed);
                    self.tell(datadog, "refused", Level::ERROR, &why);
                }
            }
        }
        self.tell_dropped(datadog);
    }

    fn tell_dropped(&self, datadog: &Datadog) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0 && self.is_due("dropped") {
            self.dropped.fetch_sub(dropped, Ordering::Relaxed);
            datadog.report(Level::WARN, &format!("{dropped} values of metrics were dropped"));
        }
    }

    fn tell(&self, datadog: &Datadog, topic: &'static str, level: Level, line: &str) {
        if self.is_due(topic) {
            datadog.report(level, line);
        }
    }

    /// Whether nothing was said of a topic for a while.
    fn is_due(&self, topic: &'static str) -> bool {
        let now = Instant::now();
        let mut told = lock(&self.told);
        told.retain(|(_, at)| now.duration_since(*at) < QUIET);
        let is_due = told.iter().all(|(known, _)| *known != topic);
        if is_due {
            told.push((topic, now));
        }
        is_due
    }
}

/// Prints metrics for the Datadog Forwarder.
pub(crate) fn print(datadog: &Datadog, metrics: &[Metric]) {
    let lines = metrics.iter().flat_map(|metric| out::metric_lines(metric, ids::now()));
    lines.for_each(|line| datadog.out.line(&line));
}

/// Tags of every metric: what an extension would add, or the forwarder.
fn common(settings: &Settings) -> Vec<Text> {
    let named = [
        ("env", settings.env.as_deref()),
        ("service", settings.service.as_deref()),
        ("version", settings.version.as_deref()),
        ("functionname", Some(settings.function_name.as_str()).filter(|name| !name.is_empty())),
    ];
    let named = named.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let set = settings.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    named.chain(set).map(|(key, value)| Text::Owned(format!("{key}:{value}"))).collect()
}

impl Sending {
    /// Sends one body; what fails in a way that may pass is tried once more.
    async fn deliver(&mut self, body: Vec<u8>) -> Verdict {
        let mut request = self.request(body);
        let mut tries_left = 1;
        loop {
            let key = match self.keys.find(&mut self.client).await {
                Found::Yes(key) => key,
                Found::NotYet => return Verdict::Later("there is no API key yet".to_owned()),
                Found::No => return Verdict::NoKey(None),
            };
            request.headers.retain(|(name, _)| *name != "dd-api-key");
            request.headers.push(("dd-api-key", key.as_str().to_owned()));
            let server = self.base.authority();
            let why = match timeout(PATIENCE, self.client.call(&request)).await {
                Ok(Ok((200..=299, _))) => return Verdict::Accepted,
                Ok(Ok((status @ (401 | 403), _))) => {
                    if self.keys.renew(&key, &mut self.client).await {
                        continue;
                    }
                    let variable = self.keys.variable();
                    return Verdict::NoKey(Some(format!(
                        "{server} answers {status} to metrics, which are printed instead: check that {variable} \
                         gives a valid key of the site that DD_SITE names"
                    )));
                }
                Ok(Ok((status @ (408 | 429 | 500..), _))) => format!("it answers {status}"),
                Ok(Ok((status, said))) => {
                    let said: String = String::from_utf8_lossy(&said).chars().take(200).collect();
                    return Verdict::Refused(format!(
                        "{server} answers {status} to metrics, which are lost: {said:?}"
                    ));
                }
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            if tries_left == 0 {
                return Verdict::Later(why);
            }
            tries_left -= 1;
            sleep(PAUSE).await;
        }
    }

    fn request(&self, body: Vec<u8>) -> Request {
        let headers = vec![
            ("host", self.base.authority()),
            ("user-agent", AGENT.to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        let path = format!("{}{PATH}", self.base.prefix);
        Request { base: self.base.clone(), method: "POST", path, headers, body }
    }
}
