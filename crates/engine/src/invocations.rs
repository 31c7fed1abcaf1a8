//! The invocations that are known, oldest first, and whom facts without a request id are about.
//!
//! A request id names all attempts of an asynchronous invocation, and the second may well come to the same
//! sandbox: each source tells of attempts one after another, so that its n-th is every source's n-th.

use std::collections::VecDeque;

use model::{Millis, RequestId, Status, UnixNanos};
use trigger::Reading;

use crate::adopt::Nest;
use crate::ids::Ids;
use crate::invocation::{Invocation, is_failure};
use crate::io::{EndCall, StartCall};
use crate::mode::{Mode, Owner};

#[derive(Clone, Debug)]
pub(crate) struct Invocations {
    mode: Mode,
    entries: VecDeque<Invocation>,
    /// The one that was announced last.
    live: Option<RequestId>,
    /// Who made the last start call, if its end call has not come.
    caller: Option<Owner>,
    unclaimed: Unclaimed,
    /// Any was ever announced.
    announced_any: bool,
    /// Errors that libraries counted of invocations whose end was not told, where nobody knows of which.
    told_errors: u64,
    /// Calls of which nobody knows whose they are.
    strays: u64,
    /// How the initialisation failed, in the words of the runtime, until an invocation has failed for it.
    init_error: Option<(UnixNanos, EndCall)>,
}

/// Calls that came before the invocation that they are about.
#[derive(Clone, Debug, Default)]
struct Unclaimed {
    start_call: Option<Reading>,
    end_call: Option<(UnixNanos, EndCall)>,
}

impl Invocations {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            entries: VecDeque::new(),
            live: None,
            caller: None,
            unclaimed: Unclaimed::default(),
            announced_any: false,
            told_errors: 0,
            strays: 0,
            init_error: None,
        }
    }

    /// Notes the fact that opens an attempt in its source: goes to the oldest attempt for which it was not
    /// told (`is_free`), else it is a new one. Gives the invocation that had to make room.
    fn open(
        &mut self,
        id: &RequestId,
        is_free: impl Fn(&Invocation) -> bool,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        let is_this = |known: &Invocation| known.request_id == *id && !known.is_foreign;
        match self.entries.iter_mut().find(|known| is_this(known) && is_free(known)) {
            Some(known) => {
                known.changed = true;
                fact(known);
                None
            }
            None => self.add(id, fact),
        }
    }

    /// Notes a fact that follows the opening one of its source: goes to the last attempt that was opened
    /// there (`is_open`), else to the last that is known.
    fn follow(
        &mut self,
        id: &RequestId,
        is_open: impl Fn(&Invocation) -> bool,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        let is_this = |known: &Invocation| known.request_id == *id && !known.is_foreign;
        let open = self.entries.iter().rposition(|known| is_this(known) && is_open(known));
        let at = open.or_else(|| self.entries.iter().rposition(is_this));
        match at.and_then(|at| self.entries.get_mut(at)) {
            Some(known) => {
                known.changed = true;
                fact(known);
                None
            }
            None => self.add(id, fact),
        }
    }

    /// Beyond what is remembered the oldest is closed.
    fn add(&mut self, id: &RequestId, fact: impl FnOnce(&mut Invocation)) -> Option<Invocation> {
        let mut new = Invocation::new(id.clone());
        fact(&mut new);
        self.entries.push_back(new);
        if self.entries.len() > self.mode.memory() { self.entries.pop_front() } else { None }
    }

    /// INVOKE
    pub(crate) fn announce(&mut self, now: UnixNanos, id: &RequestId) -> Option<Invocation> {
        let is_first = !std::mem::replace(&mut self.announced_any, true);
        self.live = Some(id.clone());
        let Unclaimed { start_call, end_call } = std::mem::take(&mut self.unclaimed);
        if self.caller == Some(Owner::Next) {
            self.caller = Some(Owner::Invocation(id.clone()));
        }
        self.open(
            id,
            |known| known.invoked.is_none(),
            |invocation| {
                invocation.invoked = Some(now);
                invocation.is_first = is_first;
                if let Some(reading) = start_call {
                    invocation.note_start_call(reading);
                }
                if let Some((at, call)) = end_call {
                    invocation.note_end_call(at, call);
                }
            },
        )
    }

    /// `platform.start`. One with the time of a known one was delivered twice.
    pub(crate) fn start(&mut self, now: UnixNanos, time: UnixNanos, id: &RequestId) -> Option<Invocation> {
        let announces = self.mode.starts_announce();
        let is_first = announces && !std::mem::replace(&mut self.announced_any, true);
        self.open(
            id,
            |known| known.started.is_none_or(|started| started == time),
            |invocation| {
                invocation.started.get_or_insert(time);
                if announces {
                    invocation.invoked.get_or_insert(now);
                    invocation.is_first |= is_first;
                }
            },
        )
    }

    /// When the first of the known attempts of an invocation started.
    pub(crate) fn first_start(&self, id: &RequestId) -> Option<UnixNanos> {
        self.entries.iter().filter(|known| known.request_id == *id).filter_map(|known| known.started).min()
    }

    /// Any later record of the platform.
    pub(crate) fn record(
        &mut self,
        id: &RequestId,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        self.follow(id, |known| known.started.is_some(), fact)
    }

    /// A record of before this process was: not to be mixed up with another attempt of the same invocation.
    pub(crate) fn foreign_record(
        &mut self,
        id: &RequestId,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        match self.entries.iter_mut().find(|known| known.request_id == *id && known.is_foreign) {
            Some(known) => {
                fact(known);
                None
            }
            None => self.add(id, |foreign| {
                foreign.is_foreign = true;
                fact(foreign);
            }),
        }
    }

    /// A span by which a tracer hands over its tags.
    pub(crate) fn placeholder(
        &mut self,
        id: &RequestId,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        self.follow(id, |known| !known.given.root, fact)
    }

    /// A tracer's own `aws.lambda` span came: only known invocations care, a forwarded span must not make
    /// room for itself.
    pub(crate) fn root_seen(&mut self, at: UnixNanos, id: &RequestId) {
        if let Some(known) = self.entries.iter_mut().rev().find(|known| known.request_id == *id) {
            known.root_seen.get_or_insert(at);
        }
    }

    /// `waiting`: the next event was asked for and has not come.
    pub(crate) fn start_call(
        &mut self,
        id: Option<RequestId>,
        waiting: bool,
        reading: Reading,
    ) -> Option<Invocation> {
        let owner = match id {
            Some(id) => Owner::Invocation(id),
            None => self.mode.owner_of_start_call(waiting, self.live_id()),
        };
        self.caller = Some(owner.clone());
        match owner {
            // One that was begun and not ended is told a second time.
            Owner::Invocation(id) => self.open(
                &id,
                |known| known.start_call.is_none() || (known.end_call.is_none() && !known.given.root),
                |invocation| invocation.note_start_call(reading),
            ),
            Owner::Next => {
                self.unclaimed.start_call = Some(reading);
                None
            }
            Owner::Unknown => self.stray(),
        }
    }

    pub(crate) fn end_call(&mut self, at: UnixNanos, call: EndCall) -> Option<Invocation> {
        let owner = match &call.request_id {
            Some(id) => Owner::Invocation(id.clone()),
            None => self.mode.owner_of_end_call(self.caller.as_ref(), self.live_id()),
        };
        if self.caller.as_ref() == Some(&owner) {
            self.caller = None;
        }
        match owner {
            Owner::Invocation(id) => self.follow(
                &id,
                |known| known.start_call.is_some(),
                |invocation| invocation.note_end_call(at, call),
            ),
            Owner::Next => {
                self.unclaimed.end_call = Some((at, call));
                None
            }
            Owner::Unknown => self.stray(),
        }
    }

    fn stray(&mut self) -> Option<Invocation> {
        self.strays += 1;
        None
    }

    /// How many calls came since this was last asked of which nobody knows whose they are.
    pub(crate) fn take_strays(&mut self) -> u64 {
        std::mem::take(&mut self.strays)
    }

    /// The Runtime API proxy saw the event of an invocation.
    pub(crate) fn event_seen(&mut self, now: UnixNanos, seed: u64, call: StartCall) -> Option<Invocation> {
        let (id, reading) = (call.request_id?, call.reading);
        let attempts =
            self.entries.iter().filter(|known| known.request_id == id && known.event_seen.is_some());
        let mut ids = Ids::of(seed, &format!("{id} seen {}", attempts.count()));
        let is_free = |known: &Invocation| known.event_seen.is_none();
        self.open(&id, is_free, |invocation| {
            invocation.note_event(reading);
            invocation.nest = Some(Nest::new(invocation, &mut ids, now));
        })
    }

    /// The Runtime API proxy saw how an invocation was answered; without an id, that the initialisation failed.
    pub(crate) fn answer_seen(&mut self, at: UnixNanos, call: EndCall) -> Option<Invocation> {
        let Some(id) = call.request_id.clone() else {
            self.init_error = Some((at, call));
            return None;
        };
        let is_open = |known: &Invocation| known.event_seen.is_some();
        self.follow(&id, is_open, |invocation| invocation.note_answer(at, call))
    }

    /// An invocation that failed and that no runtime has taken failed for the initialisation: it is told as its answer.
    pub(crate) fn give_init_error(&mut self) {
        let Some((at, call)) = &self.init_error else { return };
        let is_its = |known: &&mut Invocation| {
            known.invoked.is_some() && known.status().is_some_and(is_failure) && !known.has_calls()
        };
        if let Some(failed) = self.entries.iter_mut().find(is_its) {
            failed.note_answer(*at, call.clone());
            failed.changed = true;
            self.init_error = None;
        }
    }

    /// What the kernel told of an invocation that runs.
    pub(crate) fn usage(&mut self, id: &RequestId, figures: Vec<(&'static str, f64)>) {
        let is_open = |known: &&mut Invocation| known.request_id == *id && known.invoked.is_some();
        if let Some(known) = self.entries.iter_mut().rev().find(is_open) {
            known.usage = figures;
            known.changed = true;
        }
    }

    /// How long the runtime took for the invocation that a report is about.
    pub(crate) fn runtime_duration(&self, id: &RequestId) -> Option<Millis> {
        let known =
            self.entries.iter().rev().find(|known| known.request_id == *id && known.done.is_some())?;
        known.done.as_ref()?.duration
    }

    /// What became of the durable execution that an invocation is a part of, by its answer.
    pub(crate) fn execution_status(&self, id: &RequestId) -> Option<&'static str> {
        self.entries.iter().rev().find(|known| known.request_id == *id)?.execution_status()
    }

    /// When the first invocation of this sandbox started, as long as it is known.
    pub(crate) fn first_started(&self) -> Option<UnixNanos> {
        self.entries.iter().find(|known| known.is_first)?.started
    }

    /// All that are known, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Invocation> {
        self.entries.iter()
    }

    /// The invocation that was announced last.
    pub(crate) fn live(&self) -> Option<&Invocation> {
        let live = self.live.as_ref()?;
        self.entries.iter().rev().find(|known| known.invoked.is_some() && known.request_id == *live)
    }

    /// Whom a fact without a request id is about, if that is known.
    pub(crate) fn live_id(&self) -> Option<&RequestId> {
        self.mode.live(self.live.as_ref(), self.running().map(|known| &known.request_id))
    }

    /// Those whose end was not told.
    fn running(&self) -> impl Iterator<Item = &Invocation> {
        self.entries.iter().filter(|known| known.invoked.is_some() && !known.is_over())
    }

    /// SHUTDOWN tells how those ended whose end no record told.
    pub(crate) fn cut_off(&mut self, how: Option<&Status>) {
        let mode = self.mode;
        let last = self.live.clone();
        let is_live = |known: &Invocation| mode.starts_announce() || last.as_ref() == Some(&known.request_id);
        let open =
            |known: &&mut Invocation| known.invoked.is_some() && known.done.is_none() && is_live(known);
        for one in self.entries.iter_mut().filter(open) {
            one.cut_off = how.cloned();
        }
    }

    pub(crate) fn announced_any(&self) -> bool {
        self.announced_any
    }

    /// No announced invocation lacks its report.
    pub(crate) fn all_reported(&self) -> bool {
        self.entries.iter().all(|known| known.report.is_some() || !self.mode.is_announced(known))
    }

    /// A library counts an error of the live invocation: `true` when there is one, and it is counted from
    /// here.
    pub(crate) fn error_told(&mut self) -> bool {
        if !self.mode.errors_have_owners() {
            self.told_errors += 1;
            return false;
        }
        let Some(live) = self.live_mut() else { return false };
        live.error_told = true;
        live.changed = true;
        true
    }

    /// The end of an invocation is told that failed: `true` when its error is one that a library has counted.
    pub(crate) fn take_told_error(&mut self) -> bool {
        let known = self.told_errors > 0;
        self.told_errors = self.told_errors.saturating_sub(1);
        known
    }

    /// Nothing runs any more of which a library could have counted an error.
    pub(crate) fn forget_told_errors(&mut self) {
        if self.running().next().is_none() {
            self.told_errors = 0;
        }
    }

    pub(crate) fn live_mut(&mut self) -> Option<&mut Invocation> {
        let live = self.live.as_ref()?;
        self.entries.iter_mut().rev().find(|known| known.invoked.is_some() && known.request_id == *live)
    }

    /// Announced invocations of which facts came, or have to be looked at again.
    pub(crate) fn changed(&mut self) -> impl Iterator<Item = &mut Invocation> {
        let mode = self.mode;
        self.entries.iter_mut().filter(move |known| known.changed && mode.is_announced(known))
    }

    /// Takes out those that this sandbox was never given.
    pub(crate) fn take_strangers(&mut self) -> Vec<Invocation> {
        let mode = self.mode;
        let (known, strangers) =
            std::mem::take(&mut self.entries).into_iter().partition(|one| mode.is_announced(one));
        self.entries = known;
        Vec::from(strangers)
    }

    /// Takes out those of the sandbox before this one.
    pub(crate) fn take_foreign(&mut self) -> Vec<Invocation> {
        let (foreign, known) = std::mem::take(&mut self.entries).into_iter().partition(|one| one.is_foreign);
        self.entries = known;
        Vec::from(foreign)
    }

    /// All that are known, to be closed.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Invocation> {
        self.entries.iter_mut()
    }
}
