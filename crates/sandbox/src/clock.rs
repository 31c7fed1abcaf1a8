//! The one clock of a local Lambda: wall time that never runs backwards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use model::UnixNanos;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    wall: UnixNanos,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), wall: UnixNanos::default() + wall }
    }

    pub(crate) fn now(&self) -> UnixNanos {
        self.wall + self.origin.elapsed()
    }

    pub(crate) fn instant(&self, at: UnixNanos) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + at.since(self.wall))
    }
}
