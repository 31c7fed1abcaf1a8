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
use std::time::Duration;

use bytes::Bytes;
use engine::{Dropped, Input};
use model::{ClientStats, Forward, TracerInfo};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use wire::cut::Version;

use crate::log::{self, Level};
use crate::sources::{otlp, runtime_proxy};

/// The part of all memory that may wait in the data lane, that telemetry may wait in the control lane, and that
/// bodies may take that are being read. One body of any size is let into an empty lane, and one is read beside.
const SHARE: usize = 6;
/// The part that texts may take which bodies on their way have to keep: a fraction.
const TEXTS_SHARE: (usize, usize) = (3, 8);
/// How long a body waits for room before it is turned away.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long each piece of a large body does: what came before it has been taken, and would come again.
const PATIENCE_WITHIN: Duration = Duration::from_secs(3);
/// Facts that may wait in the control lane before lifecycle calls are turned away.
const MAX_FACTS: usize = 10_000;

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
    /// Lines of DogStatsD.
    Datagrams(Vec<u8>),
    /// A request of an OpenTelemetry exporter.
    Otlp(otlp::Sent),
    /// What the runtime and Lambda said to each other.
    Seen(runtime_proxy::Seen),
}

/// What a tracer sent, as it came; a piece of it where that was large or packed.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) version: Version,
    pub(crate) tracer: TracerInfo,
    pub(crate) body: Bytes,
}

impl Arrival {
    fn weight(&self) -> usize {
        match self {
            Self::Fact(_) => 0,
            Self::Telemetry(body) => body.len(),
            Self::Traces(sent) => sent.body.len(),
            Self::Stats(stats) => stats.weight(),
            Self::Forward(forward) => forward.weight(),
            Self::Datagrams(lines) => lines.len(),
            Self::Otlp(sent) => sent.body.len(),
            Self::Seen(seen) => seen.weight(),
        }
    }

    /// What reading it takes of a budget of bytes: never nothing.
    pub(crate) fn cost(&self) -> usize {
        self.weight().max(64)
    }
}

pub(crate) struct Inbox {
    /// Bytes of each lane, and of bodies that are being read.
    limit: usize,
    lanes: RefCell<Lanes>,
    /// Bytes of bodies that are on their way here.
    reading: Cell<usize>,
    /// Bytes of the texts that have to be kept of them, and what those may be in all.
    texts: Cell<usize>,
    texts_limit: usize,
    arrived: Notify,
    /// There is more room than there was.
    freed: Notify,
}

/// With the room that is usual.
impl Default for Inbox {
    fn default() -> Self {
        Self::new(crate::config::MEMORY_LIMIT)
    }
}

#[derive(Default)]
struct Lanes {
    /// How much ever came.
    count: u64,
    control: Lane,
    data: Lane,
    dropped: Vec<(Dropped, u64)>,
}

#[derive(Default)]
struct Lane {
    /// Each with its number of all that ever came, whatever the lane.
    waiting: VecDeque<(u64, Arrival)>,
    bytes: usize,
}

impl Lane {
    fn has_room(&self, bytes: usize, limit: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= limit
    }

    fn put(&mut self, number: u64, arrival: Arrival) {
        self.bytes = self.bytes.saturating_add(arrival.weight());
        self.waiting.push_back((number, arrival));
    }

    fn take(&mut self) -> Option<Arrival> {
        let (_, arrival) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(arrival.weight());
        Some(arrival)
    }

    fn first(&self) -> Option<u64> {
        self.waiting.front().map(|(number, _)| *number)
    }
}

/// The room that a body takes while it is read. Given back when dropped.
pub(crate) struct Room<'a> {
    inbox: &'a Inbox,
    /// What all bodies take of it, and may take.
    taken: &'a Cell<usize>,
    limit: usize,
    /// One body may take more than that.
    has_one_free: bool,
    bytes: usize,
}

impl Room<'_> {
    /// Takes room for so many bytes in all. `false`: there is no more.
    fn resize(&mut self, bytes: usize) -> bool {
        let others = self.taken.get().saturating_sub(self.bytes);
        let is_alone = self.has_one_free && others == 0;
        let has_room = bytes <= self.bytes || is_alone || others.saturating_add(bytes) <= self.limit;
        if has_room {
            if bytes < self.bytes {
                self.inbox.freed.notify_waiters();
            }
            self.bytes = bytes;
            self.taken.set(others.saturating_add(bytes));
        }
        has_room
    }

    /// The same, and waits a little for others to make room. `false`: this body has to be turned away.
    pub(crate) async fn hold(&mut self, bytes: usize) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.resize(bytes) {
                return true;
            }
            if timeout_at(deadline, self.inbox.freed.notified()).await.is_err() {
                return false;
            }
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.resize(0);
    }
}

impl Inbox {
    /// `memory`: what the process may take in all.
    pub(crate) fn new(memory: usize) -> Self {
        Self {
            limit: memory / SHARE,
            lanes: RefCell::default(),
            reading: Cell::new(0),
            texts: Cell::new(0),
            texts_limit: memory / TEXTS_SHARE.1 * TEXTS_SHARE.0,
            arrived: Notify::new(),
            freed: Notify::new(),
        }
    }

    /// Room for a body that is about to be read.
    pub(crate) fn room(&self) -> Room<'_> {
        Room { inbox: self, taken: &self.reading, limit: self.limit, has_one_free: true, bytes: 0 }
    }

    /// Room for the texts of a body that have to be kept until its end.
    pub(crate) fn room_for_texts(&self) -> Room<'_> {
        Room { inbox: self, taken: &self.texts, limit: self.texts_limit, has_one_free: false, bytes: 0 }
    }

    /// What the texts of one body may take.
    pub(crate) fn texts_limit(&self) -> usize {
        self.texts_limit
    }

    /// A fact that must not be lost: few can ever wait.
    pub(crate) fn tell(&self, fact: Input) {
        let mut lanes = self.lanes.borrow_mut();
        let number = lanes.number();
        lanes.control.put(number, Arrival::Fact(fact));
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

    /// What passed between the runtime and Lambda; turned away only when nothing has been taken for long.
    pub(crate) fn offer_seen(&self, seen: runtime_proxy::Seen) {
        if !self.put(|lanes| &mut lanes.control, Arrival::Seen(seen)) {
            log::seldom(
                Level::Warn,
                "runtime calls",
                format_args!("too many calls of the runtime at once; some invocations will have no span"),
            );
        }
    }

    /// Traces or metrics. `false`: there is no room, it is for the caller to count.
    pub(crate) fn offer_data(&self, arrival: Arrival) -> bool {
        self.put(|lanes| &mut lanes.data, arrival)
    }

    /// The same, and waits a little for room: whoever sends faster than this can be passed on is slowed down.
    pub(crate) async fn offer_patiently(&self, arrival: Arrival) -> bool {
        self.offer_within(PATIENCE, arrival).await
    }

    /// A piece of a body that is taken apart. Its sender has to wait for the rest anyway.
    pub(crate) async fn offer_piece(&self, arrival: Arrival) -> bool {
        self.offer_within(PATIENCE_WITHIN, arrival).await
    }

    async fn offer_within(&self, patience: Duration, arrival: Arrival) -> bool {
        let deadline = Instant::now() + patience;
        while !self.lanes.borrow().data.has_room(arrival.weight(), self.limit) {
            if timeout_at(deadline, self.freed.notified()).await.is_err() {
                break;
            }
        }
        self.offer_data(arrival)
    }

    fn put(&self, lane: impl FnOnce(&mut Lanes) -> &mut Lane, arrival: Arrival) -> bool {
        let mut lanes = self.lanes.borrow_mut();
        let number = lanes.number();
        let lane = lane(&mut lanes);
        let has_room = lane.has_room(arrival.weight(), self.limit) && lane.waiting.len() < MAX_FACTS;
        if has_room {
            lane.put(number, arrival);
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

    /// What came first, so that data that was there before the end of an invocation was told is part of its
    /// flush. With `skip_data` only what decides about phases.
    pub(crate) fn take(&self, skip_data: bool) -> Option<Arrival> {
        let mut lanes = self.lanes.borrow_mut();
        let is_data = match (lanes.control.first(), lanes.data.first()) {
            (control, Some(data)) => !skip_data && control.is_none_or(|control| data < control),
            (_, None) => false,
        };
        if !is_data {
            return lanes.control.take();
        }
        self.freed.notify_waiters();
        lanes.data.take()
    }

    /// Bytes of the data that is to be taken next.
    pub(crate) fn next_data(&self) -> usize {
        self.lanes.borrow().data.waiting.front().map_or(0, |(_, arrival)| arrival.weight())
    }

    pub(crate) fn take_dropped(&self) -> Option<Input> {
        let (what, count) = self.lanes.borrow_mut().dropped.pop()?;
        Some(Input::Dropped { what, count })
    }

    /// Waits until there is something to take; with `skip_data` other than data.
    pub(crate) async fn arrived(&self, skip_data: bool) {
        while self.is_empty(skip_data) {
            self.arrived.notified().await;
        }
    }

    fn is_empty(&self, skip_data: bool) -> bool {
        let lanes = self.lanes.borrow();
        lanes.control.waiting.is_empty()
            && (skip_data || lanes.data.waiting.is_empty())
            && lanes.dropped.is_empty()
    }
}

impl Lanes {
    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(bytes: usize) -> Arrival {
        Arrival::Traces(Sent {
            version: Version::V04,
            tracer: TracerInfo::default(),
            body: Bytes::from(vec![0; bytes]),
        })
    }

    #[test]
    fn one_body_of_any_size_fits_an_empty_lane() {
        let inbox = Inbox::default();
        assert!(inbox.offer_data(traces(inbox.limit * 2)));
        assert!(!inbox.offer_data(traces(1)));
        assert!(inbox.take(false).is_some());
        assert!(inbox.offer_data(traces(1)));
    }

    #[test]
    fn bodies_that_are_read_share_one_bound() {
        let inbox = Inbox::default();
        let (mut one, mut other) = (inbox.room(), inbox.room());
        assert!(one.resize(inbox.limit * 2));
        assert!(!other.resize(1));
        assert!(one.resize(inbox.limit * 2 + 1));
        assert!(one.resize(inbox.limit - 1));
        assert!(other.resize(1));
        assert!(!other.resize(2));
        drop(one);
        assert!(other.resize(inbox.limit));
        drop(other);
        assert_eq!(inbox.reading.get(), 0);
    }

    #[test]
    fn texts_that_are_kept_have_a_bound_that_nobody_may_pass() {
        let inbox = Inbox::default();
        let (mut one, mut other) = (inbox.room_for_texts(), inbox.room_for_texts());
        assert!(!one.resize(inbox.texts_limit() + 1));
        assert!(one.resize(inbox.texts_limit()));
        assert!(!other.resize(1));
        // Bodies without texts are not held up by those.
        assert!(inbox.room().resize(inbox.limit));
        drop(one);
        assert!(other.resize(1));
    }

    #[tokio::test]
    async fn who_waits_gets_the_room_that_comes_free() {
        let inbox = Inbox::default();
        let (mut one, mut other) = (inbox.room(), inbox.room());
        assert!(one.resize(inbox.limit));
        assert!(!other.hold(1).await);
        let (_, has_room) = tokio::join!(async { drop(one) }, other.hold(1));
        assert!(has_room);
        assert!(inbox.offer_data(traces(inbox.limit)));
        assert!(!inbox.offer_patiently(traces(1)).await);
        let (_, is_taken) = tokio::join!(async { inbox.take(false) }, inbox.offer_patiently(traces(1)));
        assert!(is_taken);
    }

    #[test]
    fn what_came_first_is_taken_first_unless_data_has_to_wait() {
        let inbox = Inbox::default();
        let told = |taken: Option<Arrival>| match taken {
            Some(Arrival::Traces(_)) => "data",
            Some(Arrival::Telemetry(_)) => "telemetry",
            Some(_) => "fact",
            None => "nothing",
        };
        let fill = || {
            assert!(inbox.offer_telemetry(Bytes::from_static(b"[]")));
            assert!(inbox.offer_data(traces(1)));
            inbox.tell(Input::Dropped { what: Dropped::Spans, count: 1 });
        };
        fill();
        assert_eq!([(); 4].map(|()| told(inbox.take(false))), ["telemetry", "data", "fact", "nothing"]);
        fill();
        assert_eq!([(); 3].map(|()| told(inbox.take(true))), ["telemetry", "fact", "nothing"]);
        assert!(inbox.is_empty(true) && !inbox.is_empty(false));
        assert_eq!(told(inbox.take(false)), "data");
    }

    #[test]
    fn a_full_data_lane_does_not_touch_control() {
        let inbox = Inbox::default();
        while inbox.offer_data(traces(inbox.limit / 4)) {}
        assert!(inbox.offer_telemetry(Bytes::from_static(b"[]")));
        inbox.tell(Input::Dropped { what: Dropped::Spans, count: 1 });
        assert!(matches!(inbox.take(true), Some(Arrival::Telemetry(_))));
        assert!(matches!(inbox.take(true), Some(Arrival::Fact(_))));
        assert!(inbox.take(true).is_none());
    }

    #[test]
    fn clients_cannot_fill_the_control_lane() {
        let inbox = Inbox::default();
        let call = || Input::EndCall(Box::default());
        let taken = (0..2 * MAX_FACTS).filter(|_| inbox.offer(call())).count();
        assert_eq!(taken, MAX_FACTS);
        inbox.tell(call());
        assert_eq!(std::iter::from_fn(|| inbox.take(false)).count(), MAX_FACTS + 1);
    }

    #[test]
    fn drops_are_summed_by_what_they_are() {
        let inbox = Inbox::default();
        inbox.count(Dropped::Spans, 0);
        assert!(inbox.is_empty(false));
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
