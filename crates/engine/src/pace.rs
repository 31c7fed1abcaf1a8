//! Whether the end of an invocation waits for its data, and how long data waits for company while one runs.
//! Knows when invocations came and how long sending took; holds no data. The reasons are in
//! `docs/decisions/0007-when-data-leaves.md`.
//!
//! | strategy | at the end of an invocation | while one runs |
//! |---|---|---|
//! | `end` | its data is sent, `Next` waits | - |
//! | `end,<ms>` | the same | what is older than that is sent |
//! | `periodically,<ms>` | the same if the last time is so long ago, else nothing | the same |
//! | `continuously,<ms>` | nothing: `Next` is asked when the invocation begins | what is older than that is sent |
//! | adaptive | by how often invocations come, see [`Hold`] | what is older than 10 s is sent |

use std::collections::VecDeque;
use std::time::Duration;

use model::UnixNanos;

use crate::io::FlushStrategy;

/// Invocations that are remembered.
const REMEMBERED: usize = 20;
/// With less than this between invocations, data can wait for the next one.
const FREQUENT: Duration = Duration::from_secs(30);
/// With less than this between them, what Lambda tells late can wait for the next one, before there were enough
/// to let all wait.
const BRISK: Duration = Duration::from_secs(2);
/// So many have to have come before that is relied on.
const FEW: usize = 3;
/// Sending that takes longer is not waited for any more once invocations are known to be frequent.
const SLOW: Duration = Duration::from_millis(100);
/// How long data waits for company while an invocation runs whose end does not wait for it.
const COMPANY: Duration = Duration::from_secs(10);

/// What the end of an invocation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// For Lambda's word that it is over, and for its data to be sent: who knows when there will be another.
    Full,
    /// For its data to be sent, as soon as a library tells that it is over. What Lambda tells goes with the
    /// next one, which is expected within seconds.
    Brief,
    /// For nothing: `Next` is asked when it begins, data leaves while this one or the next one runs.
    None,
}

#[derive(Clone, Debug)]
pub(crate) struct Pace {
    strategy: FlushStrategy,
    /// When the last invocations came, oldest first, without a long pause between any two.
    arrivals: VecDeque<UnixNanos>,
    /// When data was last let go.
    flushed: UnixNanos,
    /// How long it usually takes to send what an invocation leaves.
    typical: Option<Duration>,
}

impl Pace {
    pub(crate) fn new(strategy: FlushStrategy, now: UnixNanos) -> Self {
        Self { strategy, arrivals: VecDeque::new(), flushed: now, typical: None }
    }

    /// An invocation begins: says what its end will wait for.
    pub(crate) fn arrived(&mut self, now: UnixNanos) -> Hold {
        if self.arrivals.back().is_some_and(|last| now.since(*last) > FREQUENT) {
            self.arrivals.clear();
        }
        if self.arrivals.len() == REMEMBERED {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(now);
        match self.strategy {
            FlushStrategy::End | FlushStrategy::EndAnd(_) => Hold::Full,
            FlushStrategy::Continuously(_) => Hold::None,
            FlushStrategy::Periodically(every) if now >= self.flushed + every => Hold::Full,
            FlushStrategy::Periodically(_) => Hold::None,
            FlushStrategy::Adaptive => self.adapted(now),
        }
    }

    fn adapted(&self, now: UnixNanos) -> Hold {
        let known = self.arrivals.len();
        let first = self.arrivals.front().copied().unwrap_or(now);
        let gaps = u32::try_from(known.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        let gap = now.since(first) / gaps;
        let is_slow = self.typical.is_some_and(|typical| typical > SLOW);
        match known {
            _ if known < FEW => Hold::Full,
            REMEMBERED.. => Hold::None,
            _ if is_slow => Hold::None,
            _ if gap < BRISK => Hold::Brief,
            _ => Hold::Full,
        }
    }

    /// How long data waits while an invocation runs: `None` when its end is near enough.
    pub(crate) fn company(&self, holds: bool) -> Option<Duration> {
        match self.strategy {
            FlushStrategy::EndAnd(every)
            | FlushStrategy::Continuously(every)
            | FlushStrategy::Periodically(every) => Some(every),
            FlushStrategy::End | FlushStrategy::Adaptive if holds => None,
            FlushStrategy::End | FlushStrategy::Adaptive => Some(COMPANY),
        }
    }

    /// Data was let go.
    pub(crate) fn flushed(&mut self, now: UnixNanos) {
        self.flushed = now;
    }

    /// All that an invocation left was taken within so long.
    pub(crate) fn measured(&mut self, took: Duration) {
        self.typical = Some(self.typical.map_or(took, |typical| (typical * 3 + took) / 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the ends of invocations wait for that come at these milliseconds, a letter each.
    fn run(pace: &mut Pace, times: impl IntoIterator<Item = u64>) -> String {
        let letter = |ms| match pace.arrived(UnixNanos::from_millis(ms)) {
            Hold::Full => 'F',
            Hold::Brief => 'b',
            Hold::None => '.',
        };
        times.into_iter().map(letter).collect()
    }

    fn check(strategy: FlushStrategy, every_ms: u64, want: &str) {
        let mut pace = Pace::new(strategy, UnixNanos::default());
        let got = run(&mut pace, (1..=want.len() as u64).map(|n| n * every_ms));
        assert_eq!(got, want, "{strategy:?} every {every_ms} ms");
    }

    #[test]
    fn how_often_invocations_come_decides() {
        check(FlushStrategy::Adaptive, 10, "FFbbbbbbbbbbbbbbbbb......");
        check(FlushStrategy::Adaptive, 1999, "FFbbbbbbbbbbbbbbbbb......");
        check(FlushStrategy::Adaptive, 5000, "FFFFFFFFFFFFFFFFFFF......");
        check(FlushStrategy::Adaptive, 30_000, "FFFFFFFFFFFFFFFFFFF......");
        check(FlushStrategy::Adaptive, 30_001, "FFFFFFFFFFFFFFFFFFFFFFFFFFFF");
    }

    #[test]
    fn a_pause_begins_anew() {
        let mut pace = Pace::new(FlushStrategy::Adaptive, UnixNanos::default());
        assert_eq!(run(&mut pace, (0..22).map(|n| n * 100)), "FFbbbbbbbbbbbbbbbbb...");
        assert_eq!(run(&mut pace, (0..5).map(|n| 40_000 + n * 100)), "FFbbb");
    }

    #[test]
    fn sending_that_is_slow_is_waited_for_while_it_is_not_known_that_invocations_are_frequent() {
        let mut pace = Pace::new(FlushStrategy::Adaptive, UnixNanos::default());
        pace.measured(Duration::from_millis(300));
        assert_eq!(run(&mut pace, (0..5).map(|n| n * 5000)), "FF...");
        pace.measured(Duration::from_millis(10));
        assert!(pace.typical > Some(SLOW), "one that was quick is not enough");
        for _ in 0..10 {
            pace.measured(Duration::from_millis(10));
        }
        assert_eq!(run(&mut pace, (5..7).map(|n| n * 5000)), "FF");
    }

    #[test]
    fn strategies_that_are_set() {
        let ms = Duration::from_millis;
        check(FlushStrategy::End, 10, "FFFFFFFFFFFFFFFFFFFFFFFF");
        check(FlushStrategy::EndAnd(ms(50)), 10, "FFFFFFFFFFFFFFFFFFFFFFFF");
        check(FlushStrategy::Continuously(ms(50)), 10_000, "......");
        let mut pace = Pace::new(FlushStrategy::Periodically(ms(50)), UnixNanos::default());
        assert_eq!(run(&mut pace, [10, 49, 50, 60]), "..FF");
        pace.flushed(UnixNanos::from_millis(60));
        assert_eq!(run(&mut pace, [70, 109, 110]), "..F");
    }
}
