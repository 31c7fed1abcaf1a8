//! How many requests are taken in a time: none too many unless that is asked for, as Datadog limits neither metrics
//! nor logs nor spans; what it does limit, it answers with 429 and tells how by headers.
//! <https://docs.datadoghq.com/api/latest/rate-limits/>

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use model::UnixNanos;

/// So many requests are taken in each period; the rest are answered 429.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: u64,
    /// Whole seconds, 1 at least. The periods begin at multiples of it since 1970.
    pub period: Duration,
    /// Only of those whose path begins so.
    pub path: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rate(Arc<Mutex<Option<Counted>>>);

#[derive(Debug)]
struct Counted {
    limit: RateLimit,
    /// The number of the period, and the requests in it.
    period: u64,
    taken: u64,
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) is_over: bool,
    limit: u64,
    period: u64,
    remaining: u64,
    reset: u64,
}

impl Rate {
    pub(crate) fn set(&self, limit: Option<RateLimit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            limit.map(|limit| Counted { limit, period: 0, taken: 0 });
    }

    pub(crate) fn limit(&self) -> Option<RateLimit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|counted| counted.limit.clone())
    }

    /// Counts a request; `None` when there is no limit for it.
    pub(crate) fn take(&self, path: &str, now: UnixNanos) -> Option<Told> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counted { limit, period, taken } = counted.as_mut()?;
        if limit.path.as_ref().is_some_and(|start| !path.starts_with(start.as_str())) {
            return None;
        }
        let (length, now) = (limit.period.as_secs().max(1), now.as_secs());
        if *period != now / length {
            (*period, *taken) = (now / length, 0);
        }
        let is_over = *taken >= limit.requests;
        *taken += u64::from(!is_over);
        let remaining = limit.requests - *taken;
        Some(Told { is_over, limit: limit.requests, period: length, remaining, reset: length - now % length })
    }
}

impl Told {
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        for (name, value) in [
            ("x-ratelimit-limit", self.limit),
            ("x-ratelimit-period", self.period),
            ("x-ratelimit-remaining", self.remaining),
            ("x-ratelimit-reset", self.reset),
        ] {
            headers.insert(HeaderName::from_static(name), value.into());
        }
        headers.insert(HeaderName::from_static("x-ratelimit-name"), HeaderValue::from_static("local"));
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, RateLimit, Told};
    use model::UnixNanos;
    use std::time::Duration;

    #[test]
    fn each_period_has_its_own_requests() {
        let rate = Rate::default();
        let take = |path: &str, secs| rate.take(path, UnixNanos::from_secs(secs));
        assert_eq!(take("/api/v2/series", 61), None);
        let path = Some("/api/v2/".to_owned());
        rate.set(Some(RateLimit { requests: 2, period: Duration::from_secs(60), path }));
        let told = |is_over, remaining, reset| Some(Told { is_over, limit: 2, period: 60, remaining, reset });
        assert_eq!(take("/api/v2/series", 61), told(false, 1, 59));
        assert_eq!(take("/api/v1/series", 61), None);
        assert_eq!(take("/api/v2/logs", 62), told(false, 0, 58));
        assert_eq!(take("/api/v2/logs", 119), told(true, 0, 1));
        assert_eq!(take("/api/v2/logs", 120), told(false, 1, 60));
        rate.set(None);
        assert_eq!(take("/api/v2/logs", 120), None);
    }
}
