//! One signal's queue: what waits, oldest first, and what came back. Bounded in bytes by its owner.

use std::collections::VecDeque;

use model::{ClientStats, Forward, Log, Series, SketchSeries, TracerPayload, UnixNanos};

use crate::flush::Allowance;

/// Entries of one request: the logs intake's limit.
const MAX_ITEMS: usize = 1000;
/// Sends of one item without an answer that settles it, after which it goes: whatever is wrong with it must not
/// keep all behind it waiting. With the pauses between them, most of an hour.
const MAX_ATTEMPTS: u8 = 10;

/// Something that can be held and counted.
pub(crate) trait Item {
    fn weight(&self) -> usize;
    /// How many spans, log entries, points or values it holds.
    fn count(&self) -> u64;
}

impl Item for TracerPayload {
    fn weight(&self) -> usize {
        self.weight()
    }
    fn count(&self) -> u64 {
        self.chunks.iter().map(|c| c.spans.len() as u64).sum()
    }
}

impl Item for Log {
    fn weight(&self) -> usize {
        self.weight()
    }
    fn count(&self) -> u64 {
        1
    }
}

impl Item for Series {
    fn weight(&self) -> usize {
        64 + self.name.len() + self.tags.iter().map(|t| t.len() + 3).sum::<usize>() + self.points.len() * 32
    }
    fn count(&self) -> u64 {
        self.points.len() as u64
    }
}

impl Item for SketchSeries {
    fn weight(&self) -> usize {
        let points: usize = self.points.iter().map(|(_, sketch)| sketch.weight()).sum();
        64 + self.name.len() + self.tags.iter().map(|t| t.len() + 3).sum::<usize>() + points
    }
    fn count(&self) -> u64 {
        self.points.iter().map(|(_, sketch)| sketch.count()).sum()
    }
}

impl Item for ClientStats {
    fn weight(&self) -> usize {
        self.weight()
    }
    fn count(&self) -> u64 {
        1
    }
}

impl Item for Forward {
    fn weight(&self) -> usize {
        self.weight()
    }
    fn count(&self) -> u64 {
        1
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Held<T> {
    weight: usize,
    /// How often it was sent.
    attempts: u8,
    /// Further intakes have had it, or there are none.
    copied: bool,
    pub(crate) item: T,
}

/// Items for one request.
#[derive(Debug)]
pub(crate) struct Cut<T> {
    pub(crate) items: Vec<T>,
    /// How often any of them was sent.
    pub(crate) attempts: u8,
    pub(crate) copied: bool,
}

/// One signal's queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue<T> {
    pub(crate) waiting: VecDeque<Held<T>>,
    /// Came back from a failed send: older than all that waits.
    pub(crate) returned: VecDeque<Held<T>>,
    /// Bytes of `waiting` and `returned`.
    pub(crate) weight: usize,
    /// Bytes on their way.
    pub(crate) flying: usize,
    pub(crate) going: Going,
    /// Further intakes get these too.
    pub(crate) is_copied: bool,
}

/// What the flush under way may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Going {
    pub(crate) items: usize,
    pub(crate) batches: usize,
    pub(crate) deadline: UnixNanos,
    pub(crate) held: bool,
}

impl<T: Item> Queue<T> {
    pub(crate) fn new(is_copied: bool) -> Self {
        let (waiting, returned) = (VecDeque::new(), VecDeque::new());
        Self { waiting, returned, weight: 0, flying: 0, going: Going::default(), is_copied }
    }

    pub(crate) fn push(&mut self, item: T, bound: usize) -> u64 {
        let weight = item.weight();
        self.weight += weight;
        self.waiting.push_back(Held { weight, attempts: 0, copied: !self.is_copied, item });
        self.shrink(bound)
    }

    /// Takes back what has to be tried again; how much was dropped, and how much was given up.
    pub(crate) fn give_back(&mut self, items: Vec<T>, attempts: u8, bound: usize) -> (u64, u64) {
        let mut given_up = 0;
        for item in items {
            if attempts >= MAX_ATTEMPTS {
                given_up += item.count();
                continue;
            }
            let weight = item.weight();
            self.weight += weight;
            self.returned.push_back(Held { weight, attempts, copied: true, item });
        }
        (self.shrink(bound), given_up)
    }

    /// Drops the oldest until the bound is kept; how much that was.
    pub(crate) fn shrink(&mut self, bound: usize) -> u64 {
        let mut dropped = 0;
        while self.weight + self.flying > bound {
            let oldest = self.returned.pop_front().or_else(|| {
                self.going.items = self.going.items.saturating_sub(1);
                self.waiting.pop_front()
            });
            let Some(oldest) = oldest else { break };
            self.weight = self.weight.saturating_sub(oldest.weight);
            dropped += oldest.item.count();
        }
        dropped
    }

    pub(crate) fn begin(&mut self, Allowance { batches, deadline, held }: Allowance) {
        while let Some(held) = self.returned.pop_back() {
            self.waiting.push_front(held);
        }
        self.going = Going { items: self.waiting.len(), batches, deadline, held };
    }

    pub(crate) fn is_going(&self, now: UnixNanos) -> bool {
        self.going.items > 0 && self.going.batches > 0 && now < self.going.deadline
    }

    /// The oldest items that fit one request. Those that further intakes have had and those that they have not are
    /// not in the same one.
    pub(crate) fn cut(&mut self, max_weight: usize) -> Cut<T> {
        let (mut items, mut weight, mut attempts) = (Vec::new(), 0, 0);
        let copied = self.waiting.front().is_none_or(|first| first.copied);
        while self.going.items > 0 && items.len() < MAX_ITEMS {
            let Some(held) = self.waiting.pop_front() else { break };
            if !items.is_empty() && (weight + held.weight > max_weight || held.copied != copied) {
                self.waiting.push_front(held);
                break;
            }
            self.going.items -= 1;
            weight += held.weight;
            attempts = attempts.max(held.attempts);
            items.push(held.item);
        }
        self.going.batches = self.going.batches.saturating_sub(1);
        self.weight = self.weight.saturating_sub(weight);
        Cut { items, attempts, copied }
    }

    /// Something waits that further intakes have not had.
    pub(crate) fn has_news_for_others(&self) -> bool {
        // What came last went to them last.
        self.waiting.back().is_some_and(|last| !last.copied)
    }

    /// Copies of the oldest items that further intakes have not had and that fit one request. From here on they have.
    pub(crate) fn copy(&mut self, max_weight: usize) -> Vec<T>
    where
        T: Clone,
    {
        let (mut items, mut weight) = (Vec::new(), 0);
        for held in self.waiting.iter_mut().filter(|held| !held.copied) {
            if items.len() == MAX_ITEMS || (!items.is_empty() && weight + held.weight > max_weight) {
                break;
            }
            weight += held.weight;
            held.copied = true;
            items.push(held.item.clone());
        }
        items
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.returned.is_empty()
    }

    pub(crate) fn count(&self) -> u64 {
        self.waiting.iter().chain(&self.returned).map(|held| held.item.count()).sum()
    }
}
