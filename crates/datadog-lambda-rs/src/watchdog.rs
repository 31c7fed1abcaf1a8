//! The last moment to say something of an invocation that runs out of time: Lambda kills the process at the
//! deadline, and nothing is sent then.
//!
//! On a thread of its own: a handler that blocks its thread, or spins, is the one that times out. The thread
//! is there while there is something to watch, and sleeps until the nearest moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use model::UnixNanos;

use crate::agent::lock;
use crate::ids;
use crate::invocation::Invocation;

/// Plenty for encoding and sending a chunk.
const STACK: usize = 512 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    watched: Mutex<Watched>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Watched {
    invocations: Vec<(UnixNanos, Weak<Invocation>)>,
    has_thread: bool,
    /// When the thread looks again. The next invocation's moment is later than that of one that is over, so it
    /// mostly need not be woken.
    looks_at: UnixNanos,
}

impl Watchdog {
    /// Has [`Invocation::time_out`] called at a moment, unless the invocation is over by then.
    pub(crate) fn watch(self: &Arc<Self>, at: UnixNanos, invocation: &Arc<Invocation>) {
        let mut watched = lock(&self.watched);
        watched.invocations.retain(|(_, invocation)| invocation.strong_count() > 0);
        watched.invocations.push((at, Arc::downgrade(invocation)));
        if !watched.has_thread {
            let this = self.clone();
            let thread = std::thread::Builder::new().name("datadog-timeout".to_owned()).stack_size(STACK);
            // Without a thread there is no watch; the invocation has all else.
            watched.has_thread = thread.spawn(move || this.run()).is_ok();
        } else if at < watched.looks_at {
            self.changed.notify_one();
        }
    }

    fn run(&self) {
        let mut watched = lock(&self.watched);
        loop {
            let now = ids::now();
            let mut due = Vec::new();
            watched.invocations.retain(|(at, invocation)| {
                let is_due = *at <= now;
                due.extend(is_due.then(|| invocation.upgrade()).flatten());
                !is_due && invocation.strong_count() > 0
            });
            if !due.is_empty() {
                drop(watched);
                for invocation in due {
                    let _ = catch_unwind(AssertUnwindSafe(|| invocation.time_out(ids::now())));
                }
                watched = lock(&self.watched);
                continue;
            }
            let Some(nearest) = watched.invocations.iter().map(|(at, _)| *at).min() else {
                watched.has_thread = false;
                return;
            };
            // The clock may be set: look again after a while, however far it is.
            let wait = nearest.since(now).clamp(Duration::from_millis(1), Duration::from_secs(60));
            watched.looks_at = now + wait;
            let waited = self.changed.wait_timeout(watched, wait);
            watched = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::datadog::Datadog;
    use crate::out::Out;
    use crate::settings::Settings;

    /// The thread sleeps until the first of two moments, told of the later one first.
    #[test]
    fn the_nearest_moment_is_the_first() {
        let datadog = Arc::new(Datadog::new(Settings::default(), Out::Memory(Mutex::default())));
        let lambda = lambda_runtime::Context::default();
        let begin = || Invocation::start(&datadog, &Value::Null, None, &lambda, ids::now());
        let (late, soon, over) = (begin(), begin(), begin());
        let watchdog = Arc::new(Watchdog::default());
        watchdog.watch(ids::now() + Duration::from_secs(3600), &late);
        watchdog.watch(ids::now() + Duration::from_millis(20), &over);
        drop(over);
        watchdog.watch(ids::now() + Duration::from_millis(40), &soon);
        let Out::Memory(lines) = &datadog.out else { unreachable!() };
        let told = || lock(lines).iter().any(|line| line.contains("Impending Timeout"));
        while !told() {
            std::thread::yield_now();
        }
        assert_eq!(soon.close(ids::now()), []);
        assert_eq!(late.close(ids::now()).len(), 1);
    }
}
