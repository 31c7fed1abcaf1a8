//! Streams of points, one after another, and the metrics that come of them.

use proptest::collection::vec;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::*;

const BORN: UnixNanos = UnixNanos::from_secs(1_700_000_000);

fn at(secs: u64) -> UnixNanos {
    UnixNanos::from_secs(BORN.as_secs() + secs)
}

fn point(start: u64, time: u64, data: Data) -> Point {
    Point { name: "m".into(), tags: vec!["a:b".into()], start: at(start), time: at(time), data }
}

fn total(value: f64) -> Data {
    Data::Count { value, temporality: Temporality::Cumulative }
}

fn told(made: &[Made]) -> String {
    let one = |made: &Made| match made {
        Made::Metric(m) => format!("{} {:?} {:?} {}", m.name, m.kind, m.values, m.tags.join(",")),
        Made::Sketch(s) => {
            let points =
                s.points.iter().map(|(_, p)| format!("{}/{}/{}/{}", p.count(), p.sum(), p.min(), p.max()));
            format!("{} {} {}", s.name, points.collect::<Vec<_>>().join(" "), s.tags.join(","))
        }
        Made::Dropped => "dropped".to_owned(),
    };
    made.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn streams(how: Points) -> Streams {
    Streams::new(how, BORN)
}

#[test]
fn sums_since_a_start() {
    let mut streams = streams(Points::default());
    let mut check = |start, time, value, want: &str| {
        assert_eq!(told(&streams.take(point(start, time, total(value)))), want, "{start} {time} {value}");
    };
    // A stream that began after us is whole.
    check(1, 10, 5.0, "m Count [5.0] a:b");
    check(1, 20, 7.0, "m Count [2.0] a:b");
    // Sent again, and late.
    check(1, 20, 7.0, "");
    check(1, 15, 6.0, "");
    check(1, 30, 7.0, "m Count [0.0] a:b");
    // The function's process began again.
    check(40, 50, 3.0, "m Count [3.0] a:b");
    check(40, 60, 4.0, "m Count [1.0] a:b");
    // Less than before, without another start.
    check(40, 70, 2.0, "m Count [2.0] a:b");
}

#[test]
fn what_was_counted_before_us_is_not_ours() {
    let mut first = streams(Points::default());
    let old = Point { start: UnixNanos::from_secs(5), ..point(0, 10, total(100.0)) };
    assert_eq!(told(&first.take(old.clone())), "");
    let later = Point { time: at(20), data: total(103.0), ..old };
    assert_eq!(told(&first.take(later)), "m Count [3.0] a:b");
    // A start that is not known is no start.
    let mut unknown = streams(Points::default());
    let point = |time, value| Point { start: UnixNanos::default(), ..point(0, time, total(value)) };
    assert_eq!(told(&unknown.take(point(10, 100.0))), "");
    assert_eq!(told(&unknown.take(point(20, 101.0))), "m Count [1.0] a:b");
}

#[test]
fn settings_of_sums() {
    let check = |how: Points, start: u64, want: &str| {
        assert_eq!(told(&streams(how).take(point(start, 10, total(5.0)))), want, "{how:?}");
    };
    let initial = |initial| Points { initial, ..Points::default() };
    check(initial(Initial::Drop), 1, "");
    check(initial(Initial::Keep), 0, "m Count [5.0] a:b");
    check(initial(Initial::Auto), 10, "");
    check(Points { raw_sums: true, ..Points::default() }, 1, "m Gauge [5.0] a:b");
}

#[test]
fn what_is_new_already_stays() {
    let mut streams = streams(Points::default());
    let mut check = |data: Data, want: &str| assert_eq!(told(&streams.take(point(1, 10, data))), want);
    check(Data::Count { value: 2.0, temporality: Temporality::Delta }, "m Count [2.0] a:b");
    check(Data::Count { value: 2.0, temporality: Temporality::Delta }, "m Count [2.0] a:b");
    check(Data::Gauge(-1.5), "m Gauge [-1.5] a:b");
    check(Data::Total(-1.5), "m Gauge [-1.5] a:b");
}

fn histogram(counts: &[u64], sum: f64, min: f64, max: f64) -> Histogram {
    let buckets = Buckets::Explicit { bounds: vec![1.0, 10.0], counts: counts.to_vec() };
    Histogram { count: counts.iter().sum(), sum: Some(sum), min: Some(min), max: Some(max), buckets }
}

#[test]
fn histograms_since_a_start() {
    let mut streams = streams(Points::default());
    let mut check = |start, time, histogram: Histogram, want: &str| {
        let data = Data::Histogram { histogram, temporality: Temporality::Cumulative };
        assert_eq!(told(&streams.take(point(start, time, data))), want);
    };
    check(1, 10, histogram(&[1, 2, 0], 8.0, 0.5, 5.0), "m 3/8/0.5/5 a:b");
    check(1, 20, histogram(&[1, 2, 0], 8.0, 0.5, 5.0), "");
    check(1, 30, histogram(&[1, 2, 2], 48.0, 0.5, 30.0), "m 2/40/20/30 a:b");
    // Began again.
    check(31, 40, histogram(&[0, 1, 0], 4.0, 4.0, 4.0), "m 1/4/4/4 a:b");
}

#[test]
fn powers_since_a_start_with_another_scale() {
    let mut streams = streams(Points { histogram_aggregations: true, ..Points::default() });
    let mut check = |time, scale, offset, counts: &[u64], want: &str| {
        let positive = Side { offset, counts: counts.to_vec() };
        let buckets = Buckets::Exponential { scale, zero: 0, positive, negative: Side::default() };
        let count = counts.iter().sum();
        let histogram = Histogram { count, sum: Some(count as f64), buckets, ..Histogram::default() };
        let data = Data::Histogram { histogram, temporality: Temporality::Cumulative };
        let made = streams.take(point(1, time, data));
        assert_eq!(told(&made[..made.len().min(1)]), want);
    };
    check(10, 2, -3, &[1, 0, 2, 1], "m.count Count [4.0] a:b");
    // Indices -3..=0 are -2, -1, -1 and 0 in buckets of twice the width.
    check(20, 1, -2, &[1, 2, 5], "m.count Count [4.0] a:b");
}

#[test]
fn modes_of_histograms() {
    let check = |histograms, histogram_aggregations, want: &str| {
        let how = Points { histograms, histogram_aggregations, ..Points::default() };
        let histogram = histogram(&[1, 0, 1], 20.5, 0.5, 20.0);
        let data = Data::Histogram { histogram, temporality: Temporality::Delta };
        assert_eq!(told(&streams(how).take(point(1, 10, data))), want);
    };
    check(Histograms::Distributions, false, "m 2/20.5/0.5/20 a:b");
    check(
        Histograms::Counters,
        false,
        "m.bucket Count [1.0] a:b,lower_bound:-inf,upper_bound:1; m.bucket Count [1.0] a:b,lower_bound:10,upper_bound:inf",
    );
    check(
        Histograms::Nothing,
        true,
        "m.count Count [2.0] a:b; m.sum Count [20.5] a:b; m.min Gauge [0.5] a:b; m.max Gauge [20.0] a:b",
    );
    check(Histograms::Nothing, false, "");
}

#[test]
fn summaries() {
    let mut streams = streams(Points::default());
    let summary = |count, sum| Data::Summary { count, sum, quantiles: vec![(0.5, 2.0)] };
    let quantile = "m.quantile Gauge [2.0] a:b,quantile:0.5";
    let first = format!("m.count Count [3.0] a:b; m.sum Count [6.0] a:b; {quantile}");
    assert_eq!(told(&streams.take(point(1, 10, summary(3, 6.0)))), first);
    let second = format!("m.count Count [1.0] a:b; m.sum Count [2.0] a:b; {quantile}");
    assert_eq!(told(&streams.take(point(1, 20, summary(4, 8.0)))), second);
}

#[test]
fn memory_is_bounded_and_nothing_is_counted_twice() {
    let mut streams = streams(Points::default());
    let of = |n: u64, time, value| Point { name: format!("m{n}").into(), ..point(1, time, total(value)) };
    let many = 50_000;
    for n in 0..many {
        streams.take(of(n, 10, 5.0));
        assert!(streams.bytes <= MAX_BYTES);
    }
    assert!(streams.last.len() < usize::try_from(many).unwrap());
    assert_eq!(streams.last.len(), streams.turns.len());
    // Forgotten: what it counts was passed on before.
    assert_eq!(told(&streams.take(of(0, 20, 6.0))), "");
    assert_eq!(told(&streams.take(of(many - 1, 20, 6.0))), format!("m{} Count [1.0] a:b", many - 1));
    // A stream that began since is known from its start.
    let later = Point { name: "later".into(), ..point(15, 20, total(1.0)) };
    assert_eq!(told(&streams.take(later)), "later Count [1.0] a:b");
}

proptest! {
    /// Whatever is exported when: the counts add up to what was counted.
    #[test]
    fn counts_add_up(steps in vec(0..100u32, 1..40)) {
        let (mut streams, mut sum, mut got) = (streams(Points::default()), 0.0, 0.0);
        for (n, step) in steps.iter().enumerate() {
            sum += f64::from(*step);
            for made in streams.take(point(1, 2 + n as u64, total(sum))) {
                let Made::Metric(metric) = made else { continue };
                prop_assert_eq!(metric.kind, MetricKind::Count);
                got += metric.values.iter().sum::<f64>();
            }
        }
        prop_assert_eq!(got, sum);
    }

    #[test]
    fn histograms_add_up(steps in vec(vec(0..50u64, 3), 1..20)) {
        let (mut streams, mut counts, mut got) = (streams(Points::default()), vec![0u64; 3], 0);
        for (n, step) in steps.iter().enumerate() {
            counts.iter_mut().zip(step).for_each(|(sum, n)| *sum += n);
            let histogram = Histogram { sum: Some(1.0), min: None, max: None, ..histogram(&counts, 0.0, 0.0, 0.0) };
            let data = Data::Histogram { histogram, temporality: Temporality::Cumulative };
            for made in streams.take(point(1, 2 + n as u64, data)) {
                let Made::Sketch(sketch) = made else { continue };
                got += sketch.points.iter().map(|(_, p)| p.count()).sum::<u64>();
            }
        }
        prop_assert!(got == counts.iter().sum::<u64>());
    }
}
