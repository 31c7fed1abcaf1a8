//! Histograms as sketches: the values of a bucket are taken to lie evenly in it.

use model::Sketch;
use wire::otlp::metrics::{Buckets, Histogram, Side};

/// Values that one point may stand for. More than a function can measure between two exports, and few enough
/// that the bins of the wire format, which hold 65,535 each, stay few.
const MAX_COUNT: u64 = 100_000_000;
/// Places within a bucket that its values are put at.
const PLACES: u64 = 32;

/// `None` when there are too many values, or none.
pub(super) fn sketch(histogram: &Histogram) -> Option<Sketch> {
    if histogram.count > MAX_COUNT {
        return None;
    }
    let mut sketch = Sketch::default();
    match &histogram.buckets {
        Buckets::Explicit { counts, .. } if counts.is_empty() => {
            let average = histogram.sum? / histogram.count as f64;
            sketch.insert(average, histogram.count);
        }
        Buckets::Explicit { bounds, counts } => {
            for (at, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
                let below = at.checked_sub(1).and_then(|at| bounds.get(at)).copied();
                let (low, high) = limits(below, bounds.get(at).copied(), histogram)?;
                spread(&mut sketch, low, high, *n)?;
            }
        }
        Buckets::Exponential { scale, zero, positive, negative } => {
            sketch.insert(0.0, *zero);
            fill(&mut sketch, *scale, positive, 1.0)?;
            fill(&mut sketch, *scale, negative, -1.0)?;
        }
    }
    exact(&sketch, histogram)
}

/// The sketch with what is known exactly.
fn exact(sketch: &Sketch, histogram: &Histogram) -> Option<Sketch> {
    let count = sketch.count();
    if count == 0 || count > MAX_COUNT {
        return None;
    }
    let known = |value: Option<f64>| value.filter(|value| value.is_finite());
    let sum = known(histogram.sum).filter(|_| count == histogram.count).unwrap_or(sketch.sum());
    let single = (count == 1).then_some(sum);
    let min = known(histogram.min).or(single).unwrap_or(sketch.min());
    let max = known(histogram.max).or(single).unwrap_or(sketch.max()).max(min);
    let bins = sketch.wire_bins().map(|(key, n)| (key, n.into()));
    Some(Sketch::from_wire(count, min, max, sum, bins))
}

/// Where the values of a bucket may lie. `None` when nothing bounds it.
fn limits(below: Option<f64>, above: Option<f64>, histogram: &Histogram) -> Option<(f64, f64)> {
    let (low, high) = (below.unwrap_or(f64::NEG_INFINITY), above.unwrap_or(f64::INFINITY));
    let within = |value: Option<f64>| value.filter(|value| *value > low && *value <= high);
    let (min, max) = (within(histogram.min), within(histogram.max));
    let top = if high.is_finite() { max.unwrap_or(high) } else { max.or(min).or(below)? };
    // A bucket from zero on holds no zero: its values must not fall into the bin of zero.
    let bottom = if low.is_finite() && low != 0.0 { min.unwrap_or(low) } else { min.unwrap_or(top) };
    Some((bottom.min(top), top))
}

fn spread(sketch: &mut Sketch, low: f64, high: f64, n: u64) -> Option<()> {
    if n > MAX_COUNT {
        return None;
    }
    let places = if low < high { n.min(PLACES) } else { 1 };
    let mut left = n;
    for place in 1..=places {
        let here = left / (places - place + 1);
        left -= here;
        sketch.insert(low + (high - low) * (place as f64 / places as f64), here);
    }
    Some(())
}

fn fill(sketch: &mut Sketch, scale: i32, side: &Side, sign: f64) -> Option<()> {
    let width = (-f64::from(scale)).exp2();
    for (at, n) in side.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        if *n > MAX_COUNT {
            return None;
        }
        // The middle of the bucket, in powers.
        let power = (f64::from(side.offset) + at as f64 + 0.5) * width;
        sketch.insert(sign * power.exp2().min(f64::MAX), *n);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn explicit(bounds: &[f64], counts: &[u64]) -> Histogram {
        let buckets = Buckets::Explicit { bounds: bounds.to_vec(), counts: counts.to_vec() };
        Histogram { count: counts.iter().sum(), buckets, ..Histogram::default() }
    }

    #[test]
    fn buckets_become_bins() {
        let check = |histogram: &Histogram, want: Option<(u64, f64, f64, f64)>| {
            let made = sketch(histogram);
            assert_eq!(made.map(|s| (s.count(), s.min(), s.max(), s.sum())), want, "{histogram:?}");
        };
        let hundred =
            Histogram { sum: Some(250.0), min: Some(1.0), max: Some(9.0), ..explicit(&[5.0], &[60, 40]) };
        check(&hundred, Some((100, 1.0, 9.0, 250.0)));
        check(&Histogram { sum: Some(7.0), ..explicit(&[5.0, 10.0], &[0, 1, 0]) }, Some((1, 7.0, 7.0, 7.0)));
        // Above the last bound and below the first nothing is known but the bound.
        check(&explicit(&[5.0], &[0, 3]), Some((3, 5.0, 5.0, 15.0)));
        check(&explicit(&[5.0], &[3, 0]), Some((3, 5.0, 5.0, 15.0)));
        check(&explicit(&[], &[3]), None);
        check(&Histogram { count: 4, sum: Some(10.0), ..Histogram::default() }, Some((4, 2.5, 2.5, 10.0)));
        check(&Histogram { count: 4, ..Histogram::default() }, None);
        check(&Histogram::default(), None);
        check(&explicit(&[1.0], &[MAX_COUNT, MAX_COUNT]), None);
        check(&explicit(&[1.0], &[u64::MAX / 2, 0]), None);
    }

    #[test]
    fn quantiles_stay() {
        // Ten thousand values from 0 to 1, by tenths.
        let bounds: Vec<f64> = (1..=10).map(|n| f64::from(n) / 10.0).collect();
        let histogram =
            Histogram { min: Some(0.0001), ..explicit(&bounds, &[[1000; 10].as_slice(), &[0]].concat()) };
        let made = sketch(&histogram).unwrap();
        for q in [0.25, 0.5, 0.75, 0.95, 0.99] {
            let got = made.quantile(q).unwrap();
            assert!((got - q).abs() < 0.02, "{q}: {got}");
        }
    }

    #[test]
    fn powers_become_bins() {
        let side = |offset, counts: &[u64]| Side { offset, counts: counts.to_vec() };
        let histogram = Histogram {
            count: 10,
            buckets: Buckets::Exponential {
                scale: 3,
                zero: 2,
                positive: side(24, &[3, 0, 2]),
                negative: side(0, &[3]),
            },
            ..Histogram::default()
        };
        let made = sketch(&histogram).unwrap();
        assert_eq!(made.count(), 10);
        assert!((made.quantile(0.99).unwrap() - (26.5f64 / 8.0).exp2()).abs() < 0.2, "{made:?}");
        assert!(made.min() < -1.0 && made.quantile(0.4).unwrap() == 0.0, "{made:?}");
    }

    proptest! {
        #[test]
        fn any_histogram_does_no_harm(
            scale in any::<i32>(), offset in any::<i32>(), counts in vec(any::<u64>(), 0..50),
            small in vec(0..100u64, 0..50), sum in any::<f64>(), bounds in vec(any::<f64>(), 0..50),
        ) {
            let side = |counts: &[u64]| Side { offset, counts: counts.to_vec() };
            for counts in [&counts, &small] {
                let count = counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
                let buckets = Buckets::Exponential { scale, zero: 1, positive: side(counts), negative: side(&small) };
                let whole = Histogram { count, sum: Some(sum), min: Some(sum), max: None, buckets };
                if let Some(sketch) = sketch(&whole) {
                    prop_assert!(sketch.wire_bins().count() < 20_000);
                    prop_assert_eq!(sketch.wire_bins().map(|(_, n)| u64::from(n)).sum::<u64>(), sketch.count());
                }
                let buckets = Buckets::Explicit { bounds: bounds.clone(), counts: counts.clone() };
                let _ = sketch(&Histogram { buckets, ..whole });
            }
        }
    }
}
