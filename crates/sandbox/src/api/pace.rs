//! How fast a streamed response goes out, where that is limited. Says when; does not wait.

use std::time::Duration;

use tokio::time::Instant;

/// Lambda's limit of streamed responses: the first bytes as fast as they come, the others at a rate.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html#config-rs-bandwidth-limits>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimit {
    /// Bytes that are not limited.
    pub burst: u64,
    /// Bytes per second of those after them.
    pub rate: u64,
}

impl StreamLimit {
    /// 2 MiB/s after the first 6 MiB.
    pub const LAMBDA: Self = Self { burst: 6 << 20, rate: 2 << 20 };
}

/// One response on its way.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: StreamLimit,
    sent: u64,
    /// When what was limited so far is out.
    free: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(limit: StreamLimit) -> Self {
        Self { limit, sent: 0, free: None }
    }

    /// When a part of this length has arrived; `None` when that is now.
    pub(crate) fn arrival(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let before = self.sent.max(self.limit.burst);
        self.sent += bytes as u64;
        let slow = self.sent.saturating_sub(before);
        if slow == 0 {
            return None;
        }
        let takes = Duration::from_secs_f64(slow as f64 / self.limit.rate.max(1) as f64);
        let free = self.free.map_or(now, |free| free.max(now)) + takes;
        self.free = Some(free);
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Pace, StreamLimit};

    #[test]
    fn what_comes_after_the_burst_has_a_rate() {
        let mut pace = Pace::new(StreamLimit { burst: 10, rate: 100 });
        let start = Instant::now();
        let mut check = |at: u64, bytes: usize, expect: Option<u64>| {
            let at = start + Duration::from_millis(at);
            let got = pace.arrival(at, bytes).map(|due| (due - start).as_millis() as u64);
            assert_eq!(got, expect, "{bytes} bytes");
        };
        check(0, 8, None);
        // Two of them are of the burst.
        check(0, 12, Some(100));
        // While those before are on their way.
        check(50, 10, Some(200));
        check(1000, 10, Some(1100));
        check(1000, 0, None);
        assert_eq!(StreamLimit::LAMBDA.rate * 3, StreamLimit::LAMBDA.burst);
    }
}
