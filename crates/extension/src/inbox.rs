//! Where sources leave what arrived and the driver takes it: two lanes, bounded, in one thread.
//!
//! The control lane has what decides about phases: events of the Extensions API, lifecycle calls, telemetry
//! and what became of sends. The data lane has traces and metrics. Telemetry stays one source in one lane,
//! log lines included, since a log line belongs to the invocation between whose records it stands; when it
//! is too much, log lines are left out and platform records stay.
//!
//! Large bodies wait as bytes and are decoded when they are taken: their weight is known, and whoever sent
//! them has its answer already.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use engine::{Dropped, Input};
use model::{ClientStats, Forward, Metric, TracerInfo};
use tokio::sync::Notify;

use crate::sources::otlp;

/// Bytes that may wait in the data lane, and bytes of telemetry that may wait. One body of any size is let
/// into an empty lane.
const MAX_BYTES: usize = 32 << 20;
/// Bytes of bodies that are being read, beside one of any size.
const MAX_READING: usize = 64 << 20;
/// Facts that may wait in the control lane before lifecycle calls are turned away.
const MAX_FACTS: usize = 10_000;
/// About what a metric takes in memory.
const METRIC_BYTES: usize = 200;

/// Something that arrived and is not read yet.
#[derive(Debug)]
pub(crate) enum Arrival {
    Fact(Input),
    /// The body of a delivery of the Telemetry API.
    Telemetry(Bytes),
    /// A request with traces.
    Traces(Sent),
    Stats(ClientStats),
    Forward(Box<Forward>),
    Metrics(Vec<Metric>),
    /// A request of an OpenTelemetry exporter.
    Otlp(otlp::Sent),
}

/// What a tracer sent, as it came.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) protocol: Protocol,
    pub(crate) tracer: TracerInfo,
    /// Its `content-encoding`, empty for none.
    pub(crate) encoding: String,
    pub(crate) body: Bytes,
}

/// How traces are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    V04,
    V05,
    V07,
    V1,
}

impl Arrival {
    fn weight(&self) -> usize {
        match self {
            Self::Fact(_) => 0,
            Self::Telemetry(body) => body.len(),
            Self::Traces(sent) => sent.body.len(),
            Self::Stats(stats) => stats.weight(),
            Self::Forward(forward) => forward.weight(),
            Self::Metrics(metrics) => metrics.len() * METRIC_BYTES,
            Self::Otlp(sent) => sent.body.len(),
        }
    }

    /// What reading it takes of a budget of bytes: never nothing.
    pub(crate) fn cost(&self) -> usize {
        self.weight().max(64)
    }
}

#[derive(Default)]
pub(crate) struct Inbox {
    lanes: RefCell<Lanes>,
    /// Bytes of bodies that are on their way here.
    reading: Cell<usize>,
    arrived: Notify,
}

#[derive(Default)]
struct Lanes {
    control: Lane,
    data: Lane,
    dropped: Vec<(Dropped, u64)>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Arrival>,
    bytes: usize,
}

impl Lane {
    fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= MAX_BYTES
    }

    fn put(&mut self, arrival: Arrival) {
        self.bytes = self.bytes.saturating_add(arrival.weight());
        self.waiting.push_back(arrival);
    }

    fn take(&mut self) -> Option<Arrival> {
        let arrival = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(arrival.weight());
        Some(arrival)
    }
}

/// The room that a body takes while it is read. Given back when dropped.
pub(crate) struct Room<'a> {
    inbox: &'a Inbox,
    bytes: usize,
}

impl Room<'_> {
    /// `false`: there is no more, and this body has to be turned away.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let reading = self.inbox.reading.get();
        let has_room = reading == self.bytes || reading.saturating_add(bytes) <= MAX_READING;
        if has_room {
            self.bytes = self.bytes.saturating_add(bytes);
            self.inbox.reading.set(reading.saturating_add(bytes));
        }
        has_room
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.inbox.reading.set(self.inbox.reading.get().saturating_sub(self.bytes));
    }
}

impl Inbox {
    /// Room for a body that is about to be read.
    pub(crate) fn room(&self) -> Room<'_> {
        Room { inbox: self, bytes: 0 }
    }

    /// A fact that must not be lost: few can ever wait.
    pub(crate) fn tell(&self, fact: Input) {
        self.lanes.borrow_mut().control.put(Arrival::Fact(fact));
        self.arrived.notify_one();
    }

    /// A fact from a client, who may send any number. `false`: turned away.
    pub(crate) fn offer(&self, fact: Input) -> bool {
        let has_room = self.lanes.borrow().control.waiting.len() < MAX_FACTS;
        if has_room {
            self.tell(fact);
        }
        has_room
    }

    /// A delivery of telemetry. `false`: there is no room for log lines now.
    pub(crate) fn offer_telemetry(&self, body: Bytes) -> bool {
        self.put(|lanes| &mut lanes.control, Arrival::Telemetry(body))
    }

    /// Traces or metrics. `false`: there is no room, it is for the caller to count.
    pub(crate) fn offer_data(&self, arrival: Arrival) -> bool {
        self.put(|lanes| &mut lanes.data, arrival)
    }

    fn put(&self, lane: impl FnOnce(&mut Lanes) -> &mut Lane, arrival: Arrival) -> bool {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lane(&mut lanes);
        let has_room = lane.has_room(arrival.weight()) && lane.waiting.len() < MAX_FACTS;
        if has_room {
            lane.put(arrival);
            self.arrived.notify_one();
        }
        has_room
    }

    /// Counts what was lost before the engine saw it; told at the next take.
    pub(crate) fn count(&self, what: Dropped, count: u64) {
        if count == 0 {
            return;
        }
        let mut lanes = self.lanes.borrow_mut();
        match lanes.dropped.iter_mut().find(|(w, _)| *w == what) {
            Some((_, n)) => *n = n.saturating_add(count),
            None => lanes.dropped.push((what, count)),
        }
        self.arrived.notify_one();
    }

    pub(crate) fn take_control(&self) -> Option<Arrival> {
        self.lanes.borrow_mut().control.take()
    }

    pub(crate) fn take_data(&self) -> Option<Arrival> {
        self.lanes.borrow_mut().data.take()
    }

    pub(crate) fn take_dropped(&self) -> Option<Input> {
        let (what, count) = self.lanes.borrow_mut().dropped.pop()?;
        Some(Input::Dropped { what, count })
    }

    fn is_empty(&self) -> bool {
        let lanes = self.lanes.borrow();
        lanes.control.waiting.is_empty() && lanes.data.waiting.is_empty() && lanes.dropped.is_empty()
    }

    /// Waits until there is something to take.
    pub(crate) async fn arrived(&self) {
        while self.is_empty() {
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(bytes: usize) -> Arrival {
        Arrival::Traces(Sent {
            protocol: Protocol::V04,
            tracer: TracerInfo::default(),
            encoding: String::new(),
            body: Bytes::from(vec![0; bytes]),
        })
    }

    #[test]
    fn one_body_of_any_size_fits_an_empty_lane() {
        let inbox = Inbox::default();
        assert!(inbox.offer_data(traces(MAX_BYTES * 2)));
        assert!(!inbox.offer_data(traces(1)));
        assert!(inbox.take_data().is_some());
        assert!(inbox.offer_data(traces(1)));
    }

    #[test]
    fn bodies_that_are_read_share_one_bound() {
        let inbox = Inbox::default();
        let (mut one, mut other) = (inbox.room(), inbox.room());
        assert!(one.grow(MAX_READING * 2));
        assert!(!other.grow(1));
        assert!(one.grow(1));
        drop(one);
        assert!(other.grow(MAX_READING));
        drop(other);
        assert_eq!(inbox.reading.get(), 0);
    }

    #[test]
    fn a_full_data_lane_does_not_touch_control() {
        let inbox = Inbox::default();
        while inbox.offer_data(traces(MAX_BYTES / 4)) {}
        assert!(inbox.offer_telemetry(Bytes::from_static(b"[]")));
        inbox.tell(Input::Dropped { what: Dropped::Spans, count: 1 });
        assert!(matches!(inbox.take_control(), Some(Arrival::Telemetry(_))));
        assert!(matches!(inbox.take_control(), Some(Arrival::Fact(_))));
        assert!(inbox.take_control().is_none());
    }

    #[test]
    fn clients_cannot_fill_the_control_lane() {
        let inbox = Inbox::default();
        let call = || Input::EndCall(Box::default());
        let taken = (0..2 * MAX_FACTS).filter(|_| inbox.offer(call())).count();
        assert_eq!(taken, MAX_FACTS);
        inbox.tell(call());
        assert_eq!(std::iter::from_fn(|| inbox.take_control()).count(), MAX_FACTS + 1);
    }

    #[test]
    fn drops_are_summed_by_what_they_are() {
        let inbox = Inbox::default();
        inbox.count(Dropped::Spans, 0);
        assert!(inbox.is_empty());
        inbox.count(Dropped::Spans, 2);
        inbox.count(Dropped::Metrics, 1);
        inbox.count(Dropped::Spans, 3);
        let mut told: Vec<_> = std::iter::from_fn(|| inbox.take_dropped()).collect();
        told.sort_by_key(|input| format!("{input:?}"));
        assert_eq!(
            told,
            [
                Input::Dropped { what: Dropped::Metrics, count: 1 },
                Input::Dropped { what: Dropped::Spans, count: 5 }
            ]
        );
    }
}
