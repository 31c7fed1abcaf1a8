//! Metrics as a function sends them.

use crate::{Text, UnixNanos};

/// One or more values of one metric with one set of tags.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: Text,
    pub kind: MetricKind,
    pub values: Vec<f64>,
    /// The share of events that was sent, in (0, 1]; counts and distributions are scaled by its inverse.
    pub sample_rate: f64,
    /// `key:value` or a bare `key`, in the order given.
    pub tags: Vec<Text>,
    /// When it was measured; `None` means when it arrived.
    pub time: Option<UnixNanos>,
}

impl Metric {
    /// One value of a distribution, unsampled, measured when it arrives.
    pub fn distribution(name: impl Into<Text>, value: f64) -> Self {
        Self {
            name: name.into(),
            kind: MetricKind::Distribution,
            values: vec![value],
            sample_rate: 1.0,
            tags: Vec::new(),
            time: None,
        }
    }
}

/// How values of one metric are put together. Sets (`s`) count distinct texts and have no value here yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// `c`: summed.
    Count,
    /// `g`: the last one stays.
    Gauge,
    /// `d`: a sketch of the distribution over all senders.
    Distribution,
    /// `h`: aggregated where it arrives.
    Histogram,
    /// `ms`: a histogram of milliseconds.
    Timing,
}
