//! The agent's distribution sketch: what the sketches intake expects, bin for bin.
//!
//! Logarithmic bins of relative width 1/64, keys shifted so that 1.0 is at 1338, as in the Datadog agent
//! (`pkg/util/quantile`). Any value it gives back is within 1/128 of a true one, relatively.

/// A distribution of values: count, extremes, sum and logarithmic bins.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sketch {
    /// Ascending by key, each key once, no count zero.
    bins: Vec<(i16, u64)>,
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
}

impl Sketch {
    /// The agent's bound; beyond it the lowest bins are put together.
    pub const MAX_BINS: usize = 4096;
    /// Two to the power of what a bin of the wire format holds; a fuller bin is written more than once.
    const BIN_WIDTH: u64 = u16::MAX as u64;
    const GAMMA_LN: f64 = 0.015_504_186_535_965_254; // ln(1 + 1/64)
    const BIAS: f64 = 1338.0;
    const MIN_VALUE: f64 = 1e-9;
    const MAX_KEY: f64 = 32767.0;

    /// Adds `value` as if it had been seen `count` times. Values that are not finite are ignored and give
    /// `false`.
    pub fn insert(&mut self, value: f64, count: u64) -> bool {
        if !value.is_finite() || count == 0 {
            return false;
        }
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        self.count = self.count.saturating_add(count);
        self.sum += value * count as f64;
        self.add(Self::key(value), count);
        self.collapse();
        true
    }

    /// Adds all that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        (self.min, self.max) = match self.count {
            0 => (other.min, other.max),
            _ => (self.min.min(other.min), self.max.max(other.max)),
        };
        self.count = self.count.saturating_add(other.count);
        self.sum += other.sum;
        for &(key, n) in &other.bins {
            self.add(key, n);
        }
        self.collapse();
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Zero when empty, as are the other figures.
    pub fn min(&self) -> f64 {
        self.min
    }

    pub fn max(&self) -> f64 {
        self.max
    }

    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub fn avg(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Key and count of each bin as the wire wants them: ascending keys, a key again when its count does
    /// not fit 16 bits.
    pub fn wire_bins(&self) -> impl Iterator<Item = (i16, u16)> {
        self.bins.iter().flat_map(|&(key, n)| {
            let full = n / Self::BIN_WIDTH;
            let rest = (n % Self::BIN_WIDTH) as u16;
            let full = std::iter::repeat_n((key, u16::MAX), usize::try_from(full).unwrap_or(usize::MAX));
            full.chain((rest > 0).then_some((key, rest)))
        })
    }

    /// Builds a sketch from what came over the wire; bins may be in any order and repeat.
    pub fn from_wire(
        count: u64,
        min: f64,
        max: f64,
        sum: f64,
        bins: impl IntoIterator<Item = (i16, u64)>,
    ) -> Self {
        let mut sketch = Self { bins: Vec::new(), count, min, max, sum };
        for (key, n) in bins.into_iter().filter(|(_, n)| *n > 0) {
            sketch.add(key, n);
        }
        sketch
    }

    /// The value below which the share `q` (0 to 1) of all values lies. `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.bins.iter().map(|(_, n)| n).sum();
        let rank = q.clamp(0.0, 1.0) * total.checked_sub(1)? as f64;
        let mut seen = 0;
        let bin = self.bins.iter().find(|(_, n)| {
            seen += n;
            seen as f64 > rank
        });
        let value = bin.map_or(self.max, |(key, _)| Self::value(*key));
        Some(value.clamp(self.min, self.max))
    }

    /// About how many bytes this takes in memory and on the wire.
    pub fn weight(&self) -> usize {
        64 + self.bins.len() * 16
    }

    fn add(&mut self, key: i16, n: u64) {
        match self.bins.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => {
                if let Some((_, count)) = self.bins.get_mut(at) {
                    *count = count.saturating_add(n);
                }
            }
            Err(at) => self.bins.insert(at, (key, n)),
        }
    }

    fn collapse(&mut self) {
        let Some(excess) = self.bins.len().checked_sub(Self::MAX_BINS).filter(|n| *n > 0) else { return };
        let moved: u64 = self.bins.drain(..excess).map(|(_, n)| n).sum();
        if let Some((_, count)) = self.bins.first_mut() {
            *count = count.saturating_add(moved);
        }
    }

    fn key(value: f64) -> i16 {
        if value.abs() < Self::MIN_VALUE {
            return 0;
        }
        let key = (value.abs().ln() / Self::GAMMA_LN).round_ties_even() + Self::BIAS;
        let key = key.clamp(1.0, Self::MAX_KEY) as i16;
        if value < 0.0 { -key } else { key }
    }

    fn value(key: i16) -> f64 {
        match key {
            0 => 0.0,
            _ => f64::from(key.signum()) * ((f64::from(key.abs()) - Self::BIAS) * Self::GAMMA_LN).exp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_agents() {
        assert_eq!(Sketch::GAMMA_LN, (1.0f64 + 1.0 / 64.0).ln());
        for (value, key) in [(1.0, 1338), (0.5, 1293), (0.0, 0), (1e-10, 0), (-1.0, -1338)] {
            assert_eq!(Sketch::key(value), key, "{value}");
        }
    }

    #[test]
    fn quantiles_are_within_the_error_bound() {
        let mut sketch = Sketch::default();
        for n in 1..=10_000 {
            assert!(sketch.insert(f64::from(n), 1));
        }
        for q in [0.0, 0.01, 0.5, 0.75, 0.95, 0.99, 1.0] {
            let (got, want) = (sketch.quantile(q).unwrap(), 1.0 + q * 9_999.0);
            assert!((got - want).abs() <= want / 64.0, "q {q}: {got} for {want}");
        }
        assert_eq!((sketch.count(), sketch.min(), sketch.max()), (10_000, 1.0, 10_000.0));
        assert_eq!(sketch.avg(), 5000.5);
    }

    #[test]
    fn a_full_bin_is_written_more_than_once() {
        let mut sketch = Sketch::default();
        sketch.insert(1.0, 65_535 * 2 + 7);
        assert_eq!(sketch.wire_bins().collect::<Vec<_>>(), [(1338, 65_535), (1338, 65_535), (1338, 7)]);
    }

    #[test]
    fn merging_is_adding() {
        let (mut a, mut b, mut both) = (Sketch::default(), Sketch::default(), Sketch::default());
        for n in 0..500 {
            let value = f64::from(n * n) - 1000.0;
            if n % 3 == 0 {
                a.insert(value, 2)
            } else {
                b.insert(value, 2)
            };
            both.insert(value, 2);
        }
        a.merge(&b);
        a.merge(&Sketch::default());
        assert_eq!(a, both);
        assert!(!a.insert(f64::NAN, 1) && !a.insert(f64::INFINITY, 1) && a == both);
    }

    #[test]
    fn bins_are_bounded() {
        let mut sketch = Sketch::default();
        for key in 1..6000i16 {
            sketch.add(key, 1);
            sketch.collapse();
        }
        assert_eq!(sketch.bins.len(), Sketch::MAX_BINS);
        assert_eq!(sketch.bins.iter().map(|(_, n)| n).sum::<u64>(), 5999);
    }
}
