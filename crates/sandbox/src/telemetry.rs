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
use model::{LogLine, Record, TelemetryRecord, Text, UnixNanos};
use tokio::sync::{mpsc, watch};

pub(crate) use delivery::Outcome;
pub(crate) use subscription::Subscription;

use crate::driver::Message;
use crate::faults::Faults;
use crate::private::Private;
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
    faults: Faults,
    /// In whose network the subscribers listen.
    private: Option<Private>,
    next: u64,
}

#[derive(Debug, Default)]
struct Replay {
    records: VecDeque<(UnixNanos, Category, Encoded)>,
    bytes: usize,
}

#[derive(Debug)]
struct Subscriber {
    id: SubscriberId,
    name: String,
    categories: Vec<Category>,
    text_only: bool,
    buffer: Buffer,
    /// Records and bytes of the batch under way.
    in_flight: Option<(usize, usize)>,
    batches: mpsc::Sender<Bytes>,
    task: tokio::task::JoinHandle<()>,
}

/// A record as it goes out.
#[derive(Clone, Debug)]
struct Encoded {
    bytes: Bytes,
    /// For those who take text only, where that is another.
    text: Option<Bytes>,
}

impl Encoded {
    fn of(record: &TelemetryRecord) -> Self {
        let text = |line: &str| LogLine::Text(line.to_owned());
        let as_text = match &record.record {
            Record::FunctionLog(LogLine::Json(line)) => Some(Record::FunctionLog(text(line))),
            Record::ExtensionLog(LogLine::Json(line)) => Some(Record::ExtensionLog(text(line))),
            _ => None,
        };
        let encode = |record: &TelemetryRecord| Bytes::from(wire::telemetry::encode_record(record));
        let text = as_text.map(|text| encode(&TelemetryRecord { time: record.time, record: text }));
        Self { bytes: encode(record), text }
    }

    fn to(&self, text_only: bool) -> Bytes {
        self.text.as_ref().filter(|_| text_only).unwrap_or(&self.bytes).clone()
    }
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
    pub(crate) fn new(inbox: mpsc::Sender<Message>, faults: Faults, private: Option<Private>) -> Self {
        let frozen = watch::Sender::new(false);
        Self { subscribers: Vec::new(), replay: None, frozen, inbox, faults, private, next: 0 }
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

    /// Subscribers have all that there is for them.
    pub(crate) fn is_drained(&self) -> bool {
        self.subscribers.iter().all(|s| s.in_flight.is_none() && s.buffer.due().is_none())
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
        let run = delivery::Delivery {
            id,
            destination,
            faults: self.faults.clone(),
            private: self.private.clone(),
            frozen: self.frozen.subscribe(),
            inbox: self.inbox.clone(),
        };
        let mut buffer = Buffer::new(subscription.buffering);
        for (time, category, record) in self.replay.iter().flat_map(|r| &r.records) {
            if subscription.categories.contains(category) {
                buffer.push(*time, record.to(subscription.text_only));
            }
        }
        self.subscribers.push(Subscriber {
            id,
            name: name.to_owned(),
            categories: subscription.categories,
            text_only: subscription.text_only,
            buffer,
            in_flight: None,
            batches,
            task: tokio::spawn(run.run(receiver)),
        });
    }

    /// The extension is gone: so is its listener.
    pub(crate) fn remove(&mut self, name: &str) {
        self.subscribers.retain(|s| s.name != name);
    }

    /// `at`: when it came, which need not be the time that it tells.
    pub(crate) fn push(&mut self, at: UnixNanos, record: &TelemetryRecord) {
        let category = Category::of(&record.record);
        let wanted = self.subscribers.iter().any(|s| s.categories.contains(&category));
        if !wanted && self.replay.is_none() {
            return;
        }
        let encoded = Encoded::of(record);
        for subscriber in self.subscribers.iter_mut().filter(|s| s.categories.contains(&category)) {
            subscriber.buffer.push(at, encoded.to(subscriber.text_only));
        }
        if let Some(replay) = &mut self.replay {
            replay.bytes += encoded.bytes.len();
            replay.records.push_back((at, category, encoded));
            while replay.bytes > REPLAY_BYTES {
                let Some((_, _, oldest)) = replay.records.pop_front() else { break };
                replay.bytes -= oldest.bytes.len();
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
        let failure = match outcome {
            Outcome::Delivered => None,
            Outcome::Failed(why) => {
                subscriber.buffer.lost(now, records, bytes, format!("could not send events: {why}"));
                Some(why)
            }
            Outcome::Dropped => Some("dropped, as asked for".to_owned()),
        };
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

    use model::{LogLine, Record, RestoreStart, TelemetryRecord, UnixNanos};
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::subscription::{Buffering, Category, Destination};
    use super::{Hub, Settled, Subscription};
    use crate::driver::Message;
    use crate::faults::{Batches, Faults};

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
            text_only: false,
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
        let mut hub = Hub::new(sender, Faults::default(), None);
        hub.open();
        hub.push(UnixNanos::from_millis(10), &line(10, "early"));
        hub.subscribe("ext", subscription(Destination::Tcp { port }));
        hub.push(UnixNanos::from_millis(20), &line(20, "late"));
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
        let mut hub = Hub::new(sender, Faults::default(), None);
        hub.open();
        let authority = format!("sandbox:{port}");
        hub.subscribe("ext", subscription(Destination::Http { authority, port, path: "/".to_owned() }));
        hub.push(UnixNanos::from_millis(0), &line(0, "lost"));
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

    /// Bodies that come in until the sender is done, each answered 200.
    async fn post_office(listener: TcpListener, count: usize) -> Vec<String> {
        busy_post_office(listener, count, 0).await
    }

    /// The first so many are answered 500.
    async fn busy_post_office(listener: TcpListener, count: usize, busy: usize) -> Vec<String> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            while bodies.len() < count {
                let (mut length, mut line) = (0, String::new());
                while stream.read_line(&mut line).await.unwrap() > 2 {
                    if let Some(n) = line.strip_prefix("content-length: ") {
                        length = n.trim().parse().unwrap();
                    }
                    line.clear();
                }
                if length == 0 {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                bodies.push(String::from_utf8(body).unwrap());
                let status = if bodies.len() <= busy { "500 No" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                if bodies.len() <= busy {
                    break;
                }
            }
        }
        bodies
    }

    #[tokio::test]
    async fn batches_are_dropped_and_doubled_on_request() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let office = tokio::spawn(post_office(listener, 3));
        let (sender, mut inbox) = mpsc::channel(4);
        let faults = Faults {
            telemetry_drop: Batches::These(vec![1]),
            telemetry_duplicate: Batches::These(vec![2]),
            telemetry_delay: Duration::from_millis(1),
            ..Faults::default()
        };
        let mut hub = Hub::new(sender, faults, None);
        hub.open();
        let destination =
            Destination::Http { authority: format!("sandbox:{port}"), port, path: "/".to_owned() };
        hub.subscribe("ext", subscription(destination));
        let mut failures = Vec::new();
        for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
            hub.push(UnixNanos::from_millis(n as u64), &line(n as u64, text));
            hub.flush();
            hub.tick(UnixNanos::from_millis(n as u64));
            failures.push(settled(&mut hub, &mut inbox).await.failure);
        }
        assert_eq!(failures, [Some("dropped, as asked for".to_owned()), None, None]);
        let bodies = tokio::time::timeout(Duration::from_secs(30), office).await.unwrap().unwrap();
        let texts: Vec<_> = bodies.iter().map(|b| b.rsplit('"').nth(1).unwrap()).collect();
        assert_eq!(texts, ["two", "two", "three"]);
    }

    #[tokio::test]
    async fn a_batch_is_tried_again_until_it_is_taken() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let office = tokio::spawn(busy_post_office(listener, 3, 2));
        let (sender, mut inbox) = mpsc::channel(4);
        let mut hub = Hub::new(sender, Faults::default(), None);
        hub.open();
        let authority = format!("sandbox:{port}");
        hub.subscribe("ext", subscription(Destination::Http { authority, port, path: "/".to_owned() }));
        hub.push(UnixNanos::default(), &line(0, "once"));
        hub.flush();
        hub.tick(UnixNanos::default());
        let settled = settled(&mut hub, &mut inbox).await;
        assert_eq!((settled.records, settled.failure), (1, None));
        let bodies = tokio::time::timeout(Duration::from_secs(30), office).await.unwrap().unwrap();
        assert!(bodies.iter().all(|body| body.contains("\"once\"")), "{bodies:?}");
    }

    #[tokio::test]
    async fn each_gets_what_it_asked_for() {
        let (sender, _inbox) = mpsc::channel(4);
        let mut hub = Hub::new(sender, Faults::default(), None);
        hub.open();
        let records = [
            Record::ExtensionLog(LogLine::Text("of an extension".to_owned())),
            Record::FunctionLog(LogLine::Text("of the function".to_owned())),
            Record::RestoreStart(RestoreStart::default()),
        ];
        for record in records {
            hub.push(UnixNanos::default(), &TelemetryRecord { time: UnixNanos::default(), record });
        }
        for category in [Category::Extension, Category::Function, Category::Platform] {
            let to = subscription(Destination::Tcp { port: 9 });
            hub.subscribe("ext", Subscription { categories: vec![category], ..to });
        }
        let got = hub.subscribers.iter_mut().map(|subscriber| {
            let batch = subscriber.buffer.take(|_| None);
            (batch.records, String::from_utf8(batch.body.to_vec()).unwrap())
        });
        let got: Vec<_> = got.collect();
        for ((records, body), expect) in got.iter().zip(["extension", "function", "platform.restoreStart"]) {
            assert!(*records == 1 && body.contains(&format!("\"type\":\"{expect}\"")), "{body}");
        }
    }

    #[test]
    fn the_first_schema_has_text_only() {
        let record = Record::FunctionLog(LogLine::Json(r#"{"a":1}"#.to_owned()));
        let record = super::Encoded::of(&TelemetryRecord { time: UnixNanos::default(), record });
        let text = |text_only| String::from_utf8(record.to(text_only).to_vec()).unwrap();
        assert!(text(false).ends_with(r#""record":{"a":1}}"#), "{}", text(false));
        assert!(text(true).ends_with(r#""record":"{\"a\":1}"}"#), "{}", text(true));
    }
}
