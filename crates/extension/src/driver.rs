//! The one loop: facts from the inbox into the engine, effects out of it to whoever carries them out.
//!
//! Between invocations nothing is pending but `/event/next` and the listeners, so the process sleeps without
//! a timer.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::{Effect, Engine, Input};
use model::{Signal, UnixNanos};
use tokio::select;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::inbox::{Arrival, Inbox};
use crate::ledger::{Ledger, Source};
use crate::log::{self, Level};
use crate::proc::Probe;
use crate::sinks::Sinks;
use crate::sources;

/// Bytes that are read before others get a turn, and then the rest of one body: well below a millisecond's work.
const AT_ONCE: usize = 128 << 10;

/// The timer's own resolution: waiting for less is spinning.
const MIN_WAIT: Duration = Duration::from_millis(1);

pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) inbox: Rc<Inbox>,
    pub(crate) sinks: Sinks,
    /// `None`: no OpenTelemetry exporter is listened for.
    pub(crate) otlp: Option<sources::otlp::State>,
    /// Of the events and service checks of DogStatsD's clients.
    pub(crate) labels: sources::dogstatsd::Labels,
    /// Reads what passes through the Runtime API proxy.
    pub(crate) reader: sources::runtime_proxy::Reader,
    pub(crate) probe: Probe,
    pub(crate) ledger: Ledger,
    /// To the task that asks the Extensions API for the next event.
    pub(crate) next: mpsc::UnboundedSender<()>,
}

impl Driver {
    /// Runs until the engine says that it is over.
    pub(crate) async fn run(mut self) {
        let mut alarm = pin!(None);
        loop {
            if self.carry_out() {
                return;
            }
            // Whoever was woken gets a turn even when the inbox is never empty.
            yield_now().await;
            self.wait(alarm.as_mut()).await;
            self.take_in();
            if self.engine.deadline().is_some_and(|deadline| deadline <= now()) {
                self.engine.tick(now());
            }
        }
    }

    /// Until something has arrived or the engine's next deadline is near. Elapsed or not is seen by the clock.
    async fn wait(&self, mut alarm: Pin<&mut Option<Sleep>>) {
        let arrived = self.inbox.arrived(self.is_full());
        let Some(deadline) = self.engine.deadline() else {
            alarm.set(None);
            return arrived.await;
        };
        let until = Instant::now() + deadline.since(now()).max(MIN_WAIT);
        // A timer that is set wakes the kernel's wait for sockets: it is left alone while it is right.
        let is_right = alarm.as_ref().as_pin_ref().is_some_and(|set| {
            let off = set.deadline().max(until) - set.deadline().min(until);
            !set.is_elapsed() && off < MIN_WAIT
        });
        if !is_right {
            alarm.set(Some(sleep_until(until)));
        }
        let Some(alarm) = alarm.as_pin_mut() else { return };
        select! {
            biased;
            () = arrived => {}
            () = alarm => {}
        }
    }

    /// Carries out all that the engine wants; `true` when that is to leave.
    fn carry_out(&mut self) -> bool {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Next => {
                    self.tell_books(None);
                    // The task lives as long as the process: a failed send cannot be.
                    let _ = self.next.send(());
                }
                Effect::Send { id, batch, deadline, to } => {
                    self.sinks.send(id, batch, deadline, to);
                    self.tell_books(Some("books"));
                }
                Effect::Exit => {
                    self.tell_books(None);
                    self.tell_losses();
                    return true;
                }
            }
        }
        false
    }

    /// For whoever misses something: what came in from where, and what became of it. At the end of invocations and of
    /// the sandbox; under a topic, once a minute at most, when data leaves: managed instances have no other end.
    fn tell_books(&mut self, topic: Option<&'static str>) {
        if !log::is_wanted(Level::Debug) || self.ledger.is_empty() {
            return;
        }
        let line = self.ledger.line(&mut self.engine);
        match topic {
            Some(topic) => log::seldom(Level::Debug, topic, format_args!("{line}")),
            None => log::debug(format_args!("{line}")),
        }
    }

    /// There is no later flush that could tell how much never reached Datadog.
    fn tell_losses(&mut self) {
        let lost: Vec<String> = Signal::ALL
            .into_iter()
            .map(|signal| (self.engine.lost(signal), signal))
            .filter(|(count, _)| *count > 0)
            .map(|(count, signal)| format!("{count} of {}", signal.as_str()))
            .collect();
        if !lost.is_empty() {
            log::warn(format_args!("this sandbox ends; of its data was lost: {}", lost.join(", ")));
        }
    }

    /// Tells the engine what waits, in the order in which it came. Data waits in the inbox while the engine has
    /// as much as it holds on its way: there whoever sends it is slowed down, here the oldest would go.
    fn take_in(&mut self) {
        let mut left = AT_ONCE;
        while left > 0
            && let Some(arrival) = self.inbox.take(self.is_full())
        {
            left = left.saturating_sub(arrival.cost());
            self.open(arrival);
        }
        while let Some(dropped) = self.inbox.take_dropped() {
            self.engine.handle(now(), dropped);
        }
    }

    /// The data that waits has to go on waiting: there is no room for it.
    fn is_full(&self) -> bool {
        !self.engine.has_room(self.inbox.next_data())
    }

    fn open(&mut self, arrival: Arrival) {
        let source = Source::of(&arrival);
        let fact = match arrival {
            Arrival::Fact(fact) => Some(fact),
            Arrival::Telemetry(body) => sources::telemetry::decode(&body, &self.inbox),
            Arrival::Traces(sent) => sources::traces::decode(sent, &self.inbox),
            Arrival::Stats(stats) => Some(Input::Stats(stats)),
            Arrival::Forward(forward) => Some(Input::Forward(forward)),
            Arrival::Datagrams(lines) => return self.open_datagrams(&lines),
            Arrival::Otlp(sent) => return self.open_otlp(&sent),
            Arrival::Seen(seen) => Some(self.reader.read(seen)),
        };
        if let Some(fact) = fact {
            self.ledger.note(source, &fact);
            for told in self.probe.see(now(), &fact) {
                self.engine.handle(now(), told);
            }
            self.engine.handle(now(), fact);
        }
    }

    fn open_datagrams(&mut self, lines: &[u8]) {
        for fact in sources::dogstatsd::decode(lines, &self.labels, &self.inbox) {
            self.ledger.note(Source::DogStatsd, &fact);
            self.engine.handle(now(), fact);
        }
    }

    fn open_otlp(&mut self, sent: &sources::otlp::Sent) {
        let facts = self.otlp.as_mut().map(|otlp| otlp.decode(sent, &self.inbox));
        for fact in facts.into_iter().flatten() {
            self.ledger.note(Source::Otlp, &fact);
            self.engine.handle(now(), fact);
        }
    }
}

/// The wall clock, which is what Lambda's deadlines are told in.
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
