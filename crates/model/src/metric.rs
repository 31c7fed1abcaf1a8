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

/// How values of one metric are put together.
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
    /// `s`: distinct texts are counted. The values are whole numbers that stand for the texts.
    Set,
}

/// Something that happened, for the event stream.
/// <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/?tab=events>
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Event {
    pub title: Text,
    pub text: Text,
    pub time: Option<UnixNanos>,
    /// Empty when not given, as are all texts from here on.
    pub host: Text,
    pub aggregation_key: Text,
    pub priority: Text,
    pub source_type: Text,
    pub alert_type: Text,
    pub tags: Vec<Text>,
}

/// How something is, as a client of DogStatsD says.
/// <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/?tab=servicechecks>
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ServiceCheck {
    pub name: Text,
    /// 0 ok, 1 warning, 2 critical, 3 unknown.
    pub status: u8,
    pub time: Option<UnixNanos>,
    pub host: Text,
    pub message: Text,
    pub tags: Vec<Text>,
}
