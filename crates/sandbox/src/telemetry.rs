//! The Telemetry API's service side: who subscribed to what, what is buffered for whom, when it goes out.
//!
//! [`Hub`] decides and holds, without a clock or socket; a task per subscriber ([`delivery`]) carries batches over
//! and reports back. While the sandbox is frozen nothing is handed over: as in Lambda, what came after the last
//! extension asked for its next event waits for the thaw.
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html>

mod buffer;
mod delivery;
mod subscription;

use std::collections::VecDeque;

use bytes::Bytes;
use model::{Record, TelemetryRecord, Text, UnixNanos};
use tokio::sync::{mpsc, watch};

pub(crate) use delivery::Outcome;
pub(crate) use subscription::Subscription;

use crate::driver::Message;
use buffer::{Batch, Buffer};
use subscription::Category;

/// Bytes of records kept for subscribers to come.
const REPLAY_BYTES: usize = 512 * 1024;
/// Subscribers of one sandbox: as many as there may be extensions.
const MAX_SUBSCRIBERS: usize = 16;

/// All subscribers of a sandbox.
#[derive(Debug)]
pub(crate) struct Hub {
    subscribers: Vec<Subscriber>,
    /// What was recorded since the initialisation began; `None` once nobody can subscribe any more.
    replay: Option<Replay>,
    frozen: watch::Sender<bool>,
    inbox: mpsc::Sender<Message>,
    next: u64,
}

#[derive(Debug, Default)]
struct Replay {
    records: VecDeque<(UnixNanos, Category, Bytes)>,
    bytes: usize,
}

#[derive(Debug)]
struct Subscriber {
    id: SubscriberId,
    name: String,
    categories: Vec<Category>,
    buffer: Buffer,
    /// Records and bytes of the batch under way.
    in_flight: Option<(usize, usize)>,
    batches: mpsc::Sender<Bytes>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One subscription, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriberId(u64);

/// What became of a batch, for the timeline.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) extension: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) failure: Option<String>,
}

impl Hub {
    pub(crate) fn new(inbox: mpsc::Sender<Message>) -> Self {
        Self { subscribers: Vec::new(), replay: None, frozen: watch::Sender::new(false), inbox, next: 0 }
    }

    /// A new environment: no subscriber; records are kept for those to come.
    pub(crate) fn open(&mut self) {
        self.subscribers.clear();
        self.replay = Some(Replay::default());
    }

    pub(crate) fn close(&mut self) {
        self.replay = None;
    }

    pub(crate) fn set_frozen(&mut self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// What is buffered goes out without waiting for its time.
    pub(crate) fn flush(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.buffer.flush();
        }
    }

    /// Adds a subscriber and gives it what happened so far.
    pub(crate) fn subscribe(&mut self, name: &str, subscription: Subscription) {
        if self.subscribers.len() >= MAX_SUBSCRIBERS {
            return;
        }
        self.next += 1;
        let id = SubscriberId(self.next);
        let (batches, receiver) = mpsc::channel(1);
        let destination = subscription.destination.clone();
        let task = delivery::run(id, destination, receiver, self.frozen.subscribe(), self.inbox.clone());
        let mut buffer = Buffer::new(subscription.buffering);
        for (time, category, record) in self.replay.iter().flat_map(|r| &r.records) {
            if subscription.categories.contains(category) {
                buffer.push(*time, record.clone());
            }
        }
        self.subscribers.push(Subscriber {
            id,
            name: name.to_owned(),
            categories: subscription.categories,
            buffer,
            in_flight: None,
            batches,
            task: tokio::spawn(task),
        });
    }

    /// The extension is gone: so is its listener.
    pub(crate) fn remove(&mut self, name: &str) {
        self.subscribers.retain(|s| s.name != name);
    }

    pub(crate) fn push(&mut self, record: &TelemetryRecord) {
        let category = Category::of(&record.record);
        let wanted = self.subscribers.iter().any(|s| s.categories.contains(&category));
        if !wanted && self.replay.is_none() {
            return;
        }
        let encoded = Bytes::from(wire::telemetry::encode_record(record));
        for subscriber in self.subscribers.iter_mut().filter(|s| s.categories.contains(&category)) {
            subscriber.buffer.push(record.time, encoded.clone());
        }
        if let Some(replay) = &mut self.replay {
            replay.bytes += encoded.len();
            replay.records.push_back((record.time, category, encoded));
            while replay.bytes > REPLAY_BYTES {
                let Some((_, _, oldest)) = replay.records.pop_front() else { break };
                replay.bytes -= oldest.len();
            }
        }
    }

    /// When something has to go out.
    pub(crate) fn deadline(&self) -> Option<UnixNanos> {
        if *self.frozen.borrow() {
            return None;
        }
        self.subscribers.iter().filter(|s| s.in_flight.is_none()).filter_map(|s| s.buffer.due()).min()
    }

    /// Hands over what is due.
    pub(crate) fn tick(&mut self, now: UnixNanos) {
        if *self.frozen.borrow() {
            return;
        }
        for subscriber in self.subscribers.iter_mut().filter(|s| s.in_flight.is_none()) {
            if subscriber.buffer.due().is_none_or(|due| due > now) {
                continue;
            }
            let note = |dropped: &buffer::Dropped| {
                let wanted = subscriber.categories.contains(&Category::Platform);
                wanted.then(|| Bytes::from(wire::telemetry::encode_record(&logs_dropped(now, dropped))))
            };
            let Batch { body, records } = subscriber.buffer.take(note);
            let bytes = body.len();
            if subscriber.batches.try_send(body).is_ok() {
                subscriber.in_flight = Some((records, bytes));
            }
        }
    }

    /// A batch has arrived, or was given up.
    pub(crate) fn settle(&mut self, now: UnixNanos, id: SubscriberId, outcome: Outcome) -> Option<Settled> {
        let subscriber = self.subscribers.iter_mut().find(|s| s.id == id)?;
        let (records, bytes) = subscriber.in_flight.take()?;
        let failure = outcome.err();
        if let Some(why) = &failure {
            subscriber.buffer.lost(now, records, bytes, format!("could not send events: {why}"));
        }
        Some(Settled { extension: subscriber.name.clone(), records, bytes, failure })
    }
}

fn logs_dropped(time: UnixNanos, dropped: &buffer::Dropped) -> TelemetryRecord {
    let reason = Text::Owned(dropped.reason.clone());
    let record = Record::LogsDropped { bytes: dropped.bytes as u64, records: dropped.records as u64, reason };
    TelemetryRecord { time, record }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{LogLine, Record, TelemetryRecord, UnixNanos};
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::subscription::{Buffering, Category, Destination};
    use super::{Hub, Settled, Subscription};
    use crate::driver::Message;

    fn line(ms: u64, text: &str) -> TelemetryRecord {
        let record = Record::FunctionLog(LogLine::Text(text.to_owned()));
        TelemetryRecord { time: UnixNanos::from_millis(ms), record }
    }

    fn subscription(destination: Destination) -> Subscription {
        let timeout = Duration::from_millis(25);
        Subscription {
            categories: vec![Category::Platform, Category::Function],
            destination,
            buffering: Buffering { max_items: 1000, max_bytes: 262_144, timeout },
        }
    }

    async fn settled(hub: &mut Hub, inbox: &mut mpsc::Receiver<Message>) -> Settled {
        let message = tokio::time::timeout(Duration::from_secs(30), inbox.recv()).await.unwrap().unwrap();
        let Message::Delivered { subscriber, outcome } = message else { panic!("{message:?}") };
        hub.settle(UnixNanos::from_millis(100), subscriber, outcome).unwrap()
    }

    #[tokio::test]
    async fn lines_of_json_go_over_tcp_and_not_while_frozen() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mut inbox) = mpsc::channel(4);
        let mut hub = Hub::new(sender);
        hub.open();
        hub.push(&line(10, "early"));
        hub.subscribe("ext", subscription(Destination::Tcp { port }));
        hub.push(&line(20, "late"));
        assert_eq!(hub.deadline(), Some(UnixNanos::from_millis(35)));
        hub.set_frozen(true);
        assert_eq!(hub.deadline(), None);
        hub.tick(UnixNanos::from_millis(50));
        hub.set_frozen(false);
        hub.tick(UnixNanos::from_millis(50));
        let (stream, _) = listener.accept().await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        for text in ["early", "late"] {
            let got = lines.next_line().await.unwrap().unwrap();
            assert!(got.ends_with(&format!(r#""type":"function","record":"{text}"}}"#)), "{got}");
        }
        let settled = settled(&mut hub, &mut inbox).await;
        assert_eq!((settled.records, settled.failure), (2, None));
    }

    #[tokio::test]
    async fn a_subscriber_that_is_not_there_is_told_later_what_it_missed() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (sender, mut inbox) = mpsc::channel(4);
        let mut hub = Hub::new(sender);
        hub.open();
        let authority = format!("sandbox:{port}");
        hub.subscribe("ext", subscription(Destination::Http { authority, port, path: "/".to_owned() }));
        hub.push(&line(0, "lost"));
        hub.flush();
        hub.tick(UnixNanos::from_millis(1));
        let failed = settled(&mut hub, &mut inbox).await;
        assert!(failed.failure.is_some_and(|why| why.contains("refused")));
        let batch = hub.subscribers[0].buffer.take(|dropped| {
            let record = super::logs_dropped(UnixNanos::default(), dropped);
            Some(wire::telemetry::encode_record(&record).into())
        });
        let body = String::from_utf8(batch.body.to_vec()).unwrap();
        assert!(body.contains(r#""type":"platform.logsDropped""#), "{body}");
        assert!(body.contains(r#""droppedRecords":1,"reason":"could not send events: "#), "{body}");
    }
}
