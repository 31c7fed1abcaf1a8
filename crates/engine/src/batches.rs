//! What waits to be sent, by signal, and what is on its way. Bounded in bytes; beyond that the oldest is
//! dropped and counted. A batch that failed comes back here and goes out first at the next flush; what was
//! accepted is gone.

use std::collections::BTreeMap;

use model::{Batch, ClientStats, Forward, Log, Series, Signal, SketchSeries, TracerPayload, UnixNanos};

use crate::drops::{Drops, Reason};
use crate::flush::Allowance;
use crate::io::{Effect, Outcome, Receivers, SendId};
use crate::queue::{Cut, Queue};

/// Sends that may be on their way at once.
const MAX_FLIGHTS: usize = 8;
/// Bytes of one request before compression, well below the intakes' limits.
const MAX_TRACES: usize = 3 << 20;
const MAX_OTHER: usize = 3 << 20;
/// Bytes of one tracer payload: bigger ones are taken apart before they get here.
pub(crate) const MAX_PAYLOAD: usize = MAX_TRACES / 2;

/// A batch on its way.
#[derive(Clone, Debug)]
struct Flight {
    signal: Signal,
    weight: usize,
    count: u64,
    /// How often any of it was sent, this time included.
    attempts: u8,
    deadline: UnixNanos,
    /// Its answer is worth waiting for.
    held: bool,
    /// It was told to be late: its answer may come any time, or never.
    late: bool,
    /// Of what is here all the same: only further intakes get it.
    is_copy: bool,
}

/// A batch to send.
#[derive(Debug)]
pub(crate) struct Departure {
    id: SendId,
    batch: Batch,
    deadline: UnixNanos,
    to: Receivers,
}

impl From<Departure> for Effect {
    fn from(Departure { id, batch, deadline, to }: Departure) -> Self {
        Self::Send { id, batch, deadline, to }
    }
}

/// All queues, and what is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    /// Bytes of one signal, on its way included.
    bound: usize,
    traces: Queue<TracerPayload>,
    series: Queue<Series>,
    sketches: Queue<SketchSeries>,
    logs: Queue<Log>,
    stats: Queue<ClientStats>,
    forwards: Queue<Forward>,
    flights: BTreeMap<SendId, Flight>,
    next_id: u64,
    /// What the main intake has taken since the start.
    delivered: BTreeMap<Signal, u64>,
}

/// Does the same with the queue of a signal, whatever that holds.
macro_rules! on_queue {
    ($batches:expr, $signal:expr, $queue:ident => $body:expr) => {
        match $signal {
            Signal::Traces => {
                let $queue = &mut $batches.traces;
                $body
            }
            Signal::Series => {
                let $queue = &mut $batches.series;
                $body
            }
            Signal::Sketches => {
                let $queue = &mut $batches.sketches;
                $body
            }
            Signal::Logs => {
                let $queue = &mut $batches.logs;
                $body
            }
            Signal::Stats => {
                let $queue = &mut $batches.stats;
                $body
            }
            Signal::Forwards => {
                let $queue = &mut $batches.forwards;
                $body
            }
        }
    };
}

impl Batches {
    /// `copied`: signals that further intakes get too.
    pub(crate) fn new(bound: usize, copied: &[Signal]) -> Self {
        let is_copied = |signal| copied.contains(&signal);
        Self {
            bound,
            traces: Queue::new(is_copied(Signal::Traces)),
            series: Queue::new(is_copied(Signal::Series)),
            sketches: Queue::new(is_copied(Signal::Sketches)),
            logs: Queue::new(is_copied(Signal::Logs)),
            stats: Queue::new(is_copied(Signal::Stats)),
            forwards: Queue::new(is_copied(Signal::Forwards)),
            flights: BTreeMap::new(),
            next_id: 0,
            delivered: BTreeMap::new(),
        }
    }

    /// Whether further intakes get a signal too.
    pub(crate) fn is_copied(&mut self, signal: Signal) -> bool {
        on_queue!(self, signal, queue => queue.is_copied)
    }

    /// What came together is not pushed out by its own last part: it is in memory in any case.
    pub(crate) fn push_traces(&mut self, payloads: Vec<TracerPayload>, drops: &mut Drops) {
        let bound = self.bound.max(payloads.iter().map(TracerPayload::weight).sum());
        for payload in payloads {
            drops.add(Signal::Traces.as_str(), Reason::Overflow, self.traces.push(payload, bound));
        }
    }

    pub(crate) fn push_series(&mut self, series: Series, drops: &mut Drops) {
        drops.add(Signal::Series.as_str(), Reason::Overflow, self.series.push(series, self.bound));
    }

    pub(crate) fn push_sketches(&mut self, sketches: SketchSeries, drops: &mut Drops) {
        drops.add(Signal::Sketches.as_str(), Reason::Overflow, self.sketches.push(sketches, self.bound));
    }

    pub(crate) fn push_log(&mut self, log: Log, drops: &mut Drops) {
        drops.add(Signal::Logs.as_str(), Reason::Overflow, self.logs.push(log, self.bound));
    }

    /// Those that were made here come at once, like traces, and as many as they are.
    pub(crate) fn push_stats(&mut self, stats: ClientStats, drops: &mut Drops) {
        let parts: Vec<ClientStats> = match stats {
            ClientStats::Made(stats) => {
                stats.parts(MAX_OTHER / 2).into_iter().map(|part| ClientStats::Made(Box::new(part))).collect()
            }
            ClientStats::Sent(_) => vec![stats],
        };
        let bound = self.bound.max(parts.iter().map(ClientStats::weight).sum());
        for part in parts {
            drops.add(Signal::Stats.as_str(), Reason::Overflow, self.stats.push(part, bound));
        }
    }

    /// What was taken alone is not dropped for being large.
    pub(crate) fn push_forward(&mut self, forward: Forward, drops: &mut Drops) {
        let bound = self.bound.max(forward.weight());
        drops.add(Signal::Forwards.as_str(), Reason::Overflow, self.forwards.push(forward, bound));
    }

    pub(crate) fn has(&mut self, signal: Signal) -> bool {
        on_queue!(self, signal, queue => !queue.is_empty())
    }

    /// Something waits that did not come back.
    pub(crate) fn has_fresh(&mut self, signal: Signal) -> bool {
        on_queue!(self, signal, queue => !queue.waiting.is_empty())
    }

    pub(crate) fn has_returned(&self) -> bool {
        !self.traces.returned.is_empty()
            || !self.series.returned.is_empty()
            || !self.sketches.returned.is_empty()
            || !self.logs.returned.is_empty()
            || !self.stats.returned.is_empty()
            || !self.forwards.returned.is_empty()
    }

    /// Lets all that waits now go, as far as it may. What comes back or in afterwards waits for the next time.
    pub(crate) fn begin(&mut self, signal: Signal, allowance: Allowance) {
        on_queue!(self, signal, queue => queue.begin(allowance));
    }

    /// Bytes that wait, of all signals.
    pub(crate) fn waiting_weight(&self) -> usize {
        self.traces.weight
            + self.series.weight
            + self.sketches.weight
            + self.logs.weight
            + self.stats.weight
            + self.forwards.weight
    }

    /// Half of what can be held of a signal waits.
    pub(crate) fn is_half_full(&mut self, signal: Signal) -> bool {
        let half = self.bound / 2;
        on_queue!(self, signal, queue => queue.weight >= half)
    }

    /// So much waits that there will soon be no room for more.
    pub(crate) fn is_filling(&self) -> bool {
        let queues = [self.traces.weight, self.sketches.weight, self.logs.weight, self.forwards.weight];
        queues.into_iter().any(|weight| weight > self.bound / 4)
    }

    /// What is on its way will make room: until then more would push out what is here.
    pub(crate) fn is_full_for_now(&self, more: usize) -> bool {
        let held = (self.traces.weight + self.traces.flying).max(self.forwards.weight + self.forwards.flying);
        // In memory, and with the tags of the function, it is more than it was on its way here.
        let full = held > self.bound / 4 * 3 || held.saturating_add(more / 4 * 5) > self.bound;
        full && self.flights.values().any(|flight| !flight.late)
    }

    /// Something of a signal is on its way that should have been answered by now.
    pub(crate) fn is_late(&self, signal: Signal, now: UnixNanos) -> bool {
        let is_late = |flight: &Flight| flight.late || flight.deadline <= now;
        self.flights.values().any(|flight| flight.signal == signal && !flight.is_copy && is_late(flight))
    }

    /// Takes note that a batch has no answer in time, and may have none for long. Gives whose main intake that is.
    pub(crate) fn note_late(&mut self, id: SendId) -> Option<Signal> {
        let flight = self.flights.get_mut(&id).filter(|flight| !flight.late)?;
        flight.late = true;
        (!flight.is_copy).then_some(flight.signal)
    }

    /// Nothing is on its way.
    pub(crate) fn has_landed(&self) -> bool {
        self.flights.is_empty()
    }

    /// Lets the rest of what [`Batches::begin`] let go follow the one batch that was allowed, with the time that it
    /// would have had.
    pub(crate) fn widen(&mut self, signal: Signal, deadline: UnixNanos) {
        on_queue!(self, signal, queue => {
            queue.going.batches = usize::MAX;
            queue.going.deadline = queue.going.deadline.max(deadline);
        });
    }

    /// The next batch to send, while there may be more on its way.
    pub(crate) fn depart(&mut self, now: UnixNanos) -> Option<Departure> {
        if self.flights.values().filter(|flight| !flight.late).count() >= MAX_FLIGHTS {
            return None;
        }
        let signals = Signal::ALL;
        let signal = signals.into_iter().find(|s| on_queue!(self, *s, queue => queue.is_going(now)))?;
        fn wrapped<T>(cut: Cut<T>, wrap: impl Fn(Vec<T>) -> Batch) -> (Batch, u8, bool) {
            (wrap(cut.items), cut.attempts, cut.copied)
        }
        let (batch, attempts, copied) = match signal {
            Signal::Traces => wrapped(self.traces.cut(MAX_TRACES), |all| Batch::Traces(merge(all))),
            Signal::Series => wrapped(self.series.cut(MAX_OTHER), Batch::Series),
            Signal::Sketches => wrapped(self.sketches.cut(MAX_OTHER), Batch::Sketches),
            Signal::Logs => wrapped(self.logs.cut(MAX_OTHER), Batch::Logs),
            Signal::Stats => wrapped(self.stats.cut(MAX_OTHER), Batch::Stats),
            Signal::Forwards => wrapped(self.forwards.cut(MAX_OTHER), Batch::Forwards),
        };
        let (weight, count, attempts) = (batch.weight(), batch.count(), attempts.saturating_add(1));
        let id = SendId(self.next_id);
        self.next_id += 1;
        let (deadline, held) = on_queue!(self, signal, queue => {
            queue.flying += weight;
            (queue.going.deadline, queue.going.held)
        });
        let flight = Flight { signal, weight, count, attempts, deadline, held, late: false, is_copy: false };
        self.flights.insert(id, flight);
        let to = if copied { Receivers::Main } else { Receivers::All };
        Some(Departure { id, batch, deadline, to })
    }

    /// The next batch for further intakes alone, of what waits for the main one and they have not had.
    pub(crate) fn copy(&mut self, signal: Signal, now: UnixNanos, deadline: UnixNanos) -> Option<Departure> {
        if deadline <= now || !on_queue!(self, signal, queue => queue.has_news_for_others()) {
            return None;
        }
        let batch = match signal {
            Signal::Traces => Batch::Traces(merge(self.traces.copy(MAX_TRACES))),
            Signal::Series => Batch::Series(self.series.copy(MAX_OTHER)),
            Signal::Sketches => Batch::Sketches(self.sketches.copy(MAX_OTHER)),
            Signal::Logs => Batch::Logs(self.logs.copy(MAX_OTHER)),
            Signal::Stats => Batch::Stats(self.stats.copy(MAX_OTHER)),
            Signal::Forwards => Batch::Forwards(self.forwards.copy(MAX_OTHER)),
        };
        // One that is slow is waited for once.
        let held = !self.flights.values().any(|flight| flight.is_copy && flight.late);
        let id = SendId(self.next_id);
        self.next_id += 1;
        let flight =
            Flight { signal, weight: 0, count: 0, attempts: 0, deadline, held, late: false, is_copy: true };
        self.flights.insert(id, flight);
        Some(Departure { id, batch, deadline, to: Receivers::Others })
    }

    /// Takes note of what became of a batch; `None` when it is not on its way (told twice).
    pub(crate) fn land(&mut self, id: SendId, outcome: Outcome, drops: &mut Drops) -> Option<Landing> {
        let flight = self.flights.remove(&id)?;
        let signal = flight.signal;
        if flight.is_copy {
            return Some(Landing { signal, is_well: true, is_told: true });
        }
        on_queue!(self, signal, queue => queue.flying = queue.flying.saturating_sub(flight.weight));
        let Outcome { retry, refused, too_large, .. } = outcome;
        let name = signal.as_str();
        // What is told to be lost was in the batch: more than that was cannot be.
        let back = retry.as_ref().map_or(0, Batch::count).min(flight.count);
        let refused = refused.min(flight.count - back);
        let too_large = too_large.min(flight.count - back - refused);
        drops.add(name, Reason::Refused, refused);
        drops.add(name, Reason::TooLarge, too_large);
        let (is_well, bound, attempts) = (retry.is_none(), self.bound, flight.attempts);
        if let Some(batch) = retry {
            let name = batch.signal().as_str();
            let (dropped, given_up) = match batch {
                Batch::Traces(items) => self.traces.give_back(items, attempts, bound),
                Batch::Series(items) => self.series.give_back(items, attempts, bound),
                Batch::Sketches(items) => self.sketches.give_back(items, attempts, bound),
                Batch::Logs(items) => self.logs.give_back(items, attempts, bound),
                Batch::Stats(items) => self.stats.give_back(items, attempts, bound),
                Batch::Forwards(items) => self.forwards.give_back(items, attempts, bound),
            };
            drops.add(name, Reason::Overflow, dropped);
            drops.add(name, Reason::Attempts, given_up);
        }
        let accepted = flight.count - back - refused - too_large;
        let delivered = self.delivered.entry(signal).or_default();
        *delivered = delivered.saturating_add(accepted);
        // An intake that refuses all is not worth waiting for either: the key is wrong.
        let is_well = is_well && (accepted > 0 || refused == 0);
        Some(Landing { signal, is_well, is_told: flight.late && !is_well })
    }

    /// Nothing more can be sent now, and nobody's answer is due that is worth waiting for; with `all`, nobody's
    /// at all.
    pub(crate) fn is_quiet(&mut self, now: UnixNanos, all: bool) -> bool {
        let going = Signal::ALL
            .into_iter()
            .any(|s| on_queue!(self, s, queue => queue.is_going(now) && (all || queue.going.held)));
        let is_due = |flight: &Flight| all || (flight.held && !flight.late && flight.deadline > now);
        !going && !self.flights.values().any(is_due)
    }

    /// When nothing is worth waiting for any more, whatever the answers.
    pub(crate) fn last_deadline(&self) -> Option<UnixNanos> {
        let going = [
            self.traces.going,
            self.series.going,
            self.sketches.going,
            self.logs.going,
            self.stats.going,
            self.forwards.going,
        ];
        let going = going.into_iter().filter(|g| g.items > 0 && g.batches > 0 && g.held);
        let held = self.flights.values().filter(|flight| flight.held && !flight.late);
        let held = held.map(|flight| flight.deadline);
        held.chain(going.map(|g| g.deadline)).max()
    }

    /// Spans, log entries, points or values of a signal that are here or on their way.
    pub(crate) fn held(&mut self, signal: Signal) -> u64 {
        let flying: u64 = self.flights.values().filter(|f| f.signal == signal).map(|f| f.count).sum();
        flying + on_queue!(self, signal, queue => queue.count())
    }

    /// Spans, log entries, points or values of a signal that the main intake has taken.
    pub(crate) fn delivered(&self, signal: Signal) -> u64 {
        self.delivered.get(&signal).copied().unwrap_or_default()
    }

    /// What waits, item by item, in any order.
    #[cfg(test)]
    pub(crate) fn held_items(&self) -> Vec<String> {
        fn texts<T: std::fmt::Debug>(queue: &Queue<T>) -> impl Iterator<Item = String> {
            queue
                .returned
                .iter()
                .map(|held| ("returned", held))
                .chain(queue.waiting.iter().map(|held| ("", held)))
                .map(|(where_, held)| format!("{where_}{:?}", held.item))
        }
        let mut items: Vec<String> = texts(&self.traces)
            .chain(texts(&self.series))
            .chain(texts(&self.sketches))
            .chain(texts(&self.logs))
            .chain(texts(&self.stats))
            .chain(texts(&self.forwards))
            .collect();
        items.sort_unstable();
        items
    }

    /// Bytes of a signal that are here or on their way.
    #[cfg(test)]
    pub(crate) fn weight(&mut self, signal: Signal) -> usize {
        on_queue!(self, signal, queue => queue.weight + queue.flying)
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landing {
    pub(crate) signal: Signal,
    /// The intake works.
    pub(crate) is_well: bool,
    /// Nothing of it is news: that it failed was known when it was late, or it was for others.
    pub(crate) is_told: bool,
}

/// Puts the chunks of equal tracers together: one payload for each.
fn merge(payloads: Vec<TracerPayload>) -> Vec<TracerPayload> {
    let mut merged: Vec<TracerPayload> = Vec::new();
    for payload in payloads {
        match merged.iter_mut().find(|m| is_same_tracer(m, &payload)) {
            Some(m) => m.chunks.extend(payload.chunks),
            None => merged.push(payload),
        }
    }
    merged
}

fn is_same_tracer(a: &TracerPayload, b: &TracerPayload) -> bool {
    a.tracer == b.tracer
        && a.runtime_id == b.runtime_id
        && a.env == b.env
        && a.hostname == b.hostname
        && a.app_version == b.app_version
        && a.tags == b.tags
}
