//! Ids of spans made here: a pure function of the sandbox's seed and of what the span is about, so that
//! they do not depend on the order in which facts came in.

use model::{SpanId, TraceId, UnixNanos};

/// A stream of ids: splitmix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    /// The stream of one subject, such as a request id, in the sandbox with this seed.
    pub(crate) fn of(seed: u64, subject: &str) -> Self {
        let hash = subject.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut seeded = Self { state: seed };
        Self { state: seeded.draw() ^ hash }
    }

    pub(crate) fn span(&mut self) -> SpanId {
        loop {
            if let Some(id) = SpanId::new(self.draw()) {
                return id;
            }
        }
    }

    /// A 128-bit trace id as Datadog's tracers make them: the upper half starts with the time in seconds.
    pub(crate) fn trace(&mut self, at: UnixNanos) -> TraceId {
        let high = at.as_secs() << 32;
        loop {
            if let Some(id) = TraceId::new(high, self.draw()) {
                return id;
            }
        }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence() {
        let mut ids = Ids { state: 1_234_567 };
        let drawn: Vec<u64> = (0..3).map(|_| ids.draw()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_subject_has_its_own_ids_in_each_sandbox() {
        let first = |seed, subject| Ids::of(seed, subject).span();
        assert_eq!(first(1, "r1"), first(1, "r1"));
        assert_ne!(first(1, "r1"), first(1, "r2"));
        assert_ne!(first(1, "r1"), first(2, "r1"));
    }
}
