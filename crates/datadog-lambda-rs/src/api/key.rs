//! The API key: searched for when it is first needed, and again when it is refused. Where it may come from and what
//! is asked for it is `secrets`' business.

use std::time::{Duration, Instant};

use secrets::{ApiKey, Kind, LIBRARY_ORDER, Resolution, Resolved, Settings, Step};
use tokio::time::{sleep, timeout};
use tracing::Level;

use super::https::Client;
use crate::ids;

/// For one answer on the way to the key.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long nobody searches again after a search that failed: by something that passes, by something that has to be
/// set right first.
const REST_PASSING: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Keys {
    settings: Settings,
    key: Option<(ApiKey, &'static str)>,
    /// When the last search ended, and whether another may do better soon.
    failed: Option<(Instant, bool)>,
    /// When a search gave the key that had been refused.
    confirmed: Option<Instant>,
    told: Vec<(Level, String)>,
}

/// Whether there is a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Yes(ApiKey),
    /// There may be one later.
    NotYet,
    /// There is none before something is set right.
    No,
}

impl Keys {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, key: None, failed: None, confirmed: None, told: Vec::new() }
    }

    pub(super) fn forget(&mut self) {
        (self.key, self.failed, self.confirmed) = (None, None, None);
    }

    /// What the user has to know, in lines.
    pub(super) fn take_told(&mut self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.told)
    }

    /// The variable that the key comes from.
    pub(super) fn variable(&self) -> &'static str {
        self.key.as_ref().map_or("DD_API_KEY", |(_, variable)| variable)
    }

    /// The key, searched for if that was not done lately.
    pub(super) async fn find(&mut self, client: &mut Client) -> Found {
        if let Some((key, _)) = &self.key {
            return Found::Yes(key.clone());
        }
        match self.failed {
            Some((at, true)) if at.elapsed() < REST_PASSING => return Found::NotYet,
            Some((at, false)) if at.elapsed() < REST => return Found::No,
            _ => {}
        }
        let resolved = self.search(client).await;
        self.tell(&resolved);
        let is_passing = resolved.is_passing();
        self.key = resolved.key.zip(resolved.variable);
        self.failed = self.key.is_none().then(|| (Instant::now(), is_passing));
        match &self.key {
            Some((key, _)) => Found::Yes(key.clone()),
            None if is_passing => Found::NotYet,
            None => Found::No,
        }
    }

    /// A key was refused: whether there is another one now.
    pub(super) async fn renew(&mut self, refused: &ApiKey, client: &mut Client) -> bool {
        let can_ask = self.settings.ways(LIBRARY_ORDER).any(|kind| kind != Kind::Plain);
        if !can_ask || self.confirmed.is_some_and(|at| at.elapsed() < REST) {
            return false;
        }
        let resolved = self.search(client).await;
        self.tell(&resolved);
        match resolved.key.zip(resolved.variable) {
            Some((key, variable)) if key != *refused => {
                self.key = Some((key, variable));
                self.confirmed = None;
                true
            }
            _ => {
                self.confirmed = Some(Instant::now());
                false
            }
        }
    }

    async fn search(&self, client: &mut Client) -> Resolved {
        let seed = ids::now().as_nanos();
        let mut resolution = Resolution::new(&self.settings, LIBRARY_ORDER, seed);
        loop {
            let (pause, request) = match resolution.next(ids::now()) {
                Step::Done(resolved) => return resolved,
                Step::Ask { pause, request } => (pause, request),
            };
            sleep(pause).await;
            match timeout(PATIENCE, client.call(&request)).await {
                Ok(Ok((status, body))) => resolution.told(Ok((status, &body))),
                Ok(Err(why)) => resolution.told(Err(&why)),
                Err(_) => resolution.told(Err(&format!("no answer within {PATIENCE:?}"))),
            }
        }
    }

    fn tell(&mut self, resolved: &Resolved) {
        for failure in &resolved.failures {
            let then = match resolved.variable {
                Some(variable) => format!("{variable} is used instead"),
                None => "there is no key: metrics are not sent to Datadog".to_owned(),
            };
            self.told.push((Level::ERROR, format!("{failure}. So {then}")));
        }
        if let (Some(key), Some(variable)) = (&resolved.key, resolved.variable)
            && let Some(oddity) = key.oddity()
        {
            let line = format!("{variable}: what it gives is strange for an API key: {oddity}");
            self.told.push((Level::WARN, line));
        }
    }
}
