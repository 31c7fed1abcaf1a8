//! What arrived, within bounds: the oldest goes first, and how much went is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use model::{Batch, TraceChunk, TraceId, keys};
use serde::Serialize;
use tokio::sync::watch;

use crate::body::{Bodies, Body};
use crate::id;
use crate::log::{LogFilter, LogView};
use crate::metric::{MetricView, Metrics};
use crate::request::RequestView;
use crate::strict::Violation;
use crate::summary::TraceSummary;
use crate::trace::{Arrived, TraceView, assemble, summarise};

/// Violations held; the oldest go first.
const MAX_VIOLATIONS: usize = 1000;

/// How much is held.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub span_bytes: usize,
    pub log_bytes: usize,
    pub points: usize,
    pub requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { span_bytes: 128 << 20, log_bytes: 64 << 20, points: 100_000, requests: 5000 }
    }
}

/// How much arrived since the start, dropped or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub requests: u64,
    /// Requests that were refused or could not be read.
    pub failed_requests: u64,
    /// Ways in which requests were not as Datadog wants them.
    pub violations: u64,
    pub spans: u64,
    pub logs: u64,
    pub points: u64,
}

/// How much is no longer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub requests: u64,
    pub spans: u64,
    pub logs: u64,
    pub points: u64,
}

/// Everything at one moment: the answer of `/local/state`.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    pub version: u64,
    pub counts: Counts,
    pub dropped: Dropped,
    pub traces: Vec<TraceView>,
    pub logs: Vec<LogView>,
    pub metrics: Vec<MetricView>,
    pub requests: Vec<RequestView>,
    /// What of them is not as Datadog wants it.
    pub violations: Vec<Violation>,
}

/// What a page shows first: the answer of `/local/overview`.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    pub version: u64,
    pub counts: Counts,
    pub dropped: Dropped,
    /// The last to arrive, oldest first.
    pub traces: Vec<TraceSummary>,
}

/// The shared store. Cloning gives another handle on the same one.
#[derive(Clone, Debug)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

impl Store {
    pub fn new(limits: Limits) -> Self {
        let state = Mutex::new(State { limits, ..State::default() });
        Self(Arc::new(Shared { state, version: watch::Sender::new(0) }))
    }

    /// Takes what did not come by request, such as a span of whoever plays a caller.
    pub fn add(&self, batch: Batch) {
        self.change(|state| {
            state.add(batch, 0);
        });
    }

    /// Takes one request and what was in it.
    pub(crate) fn record(&self, arrival: Arrival) {
        self.change(|state| state.record(arrival));
    }

    /// Forgets what arrived; versions and request numbers go on.
    pub fn clear(&self) {
        self.change(|state| {
            let State { limits, version, numbers, .. } = *state;
            *state = State { limits, version, numbers, ..State::default() };
        });
    }

    /// Looks at the state under its lock: be quick.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.lock())
    }

    pub fn snapshot(&self) -> Snapshot {
        self.read(State::snapshot)
    }

    /// Waits until `enough` holds; `false` when it does not by the deadline. Looks once per change.
    pub async fn wait_until(&self, mut enough: impl FnMut(&State) -> bool, deadline: Instant) -> bool {
        let mut version = self.0.version.subscribe();
        loop {
            version.mark_unchanged();
            if self.read(&mut enough) {
                return true;
            }
            let changed = tokio::time::timeout_at(deadline.into(), version.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return self.read(&mut enough);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.version += 1;
        let version = state.version;
        drop(state);
        self.0.version.send_replace(version);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, and what is known of it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) view: RequestView,
    pub(crate) batch: Option<Batch>,
    pub(crate) body: Option<Body>,
    pub(crate) violations: Vec<Violation>,
}

impl Arrival {
    /// One that was not looked into.
    pub(crate) fn of(view: RequestView) -> Self {
        Self { view, batch: None, body: None, violations: Vec::new() }
    }
}

/// What is held.
#[derive(Debug, Default)]
pub struct State {
    limits: Limits,
    version: u64,
    /// The number of the last request.
    numbers: u64,
    counts: Counts,
    dropped: Dropped,
    /// By the low half of the trace id: the high half may come later, or never.
    spans: HashMap<u64, Vec<Arrived>>,
    /// The keys of `spans` in order of arrival.
    order: VecDeque<u64>,
    span_bytes: usize,
    logs: VecDeque<LogView>,
    log_bytes: usize,
    metrics: Metrics,
    requests: VecDeque<RequestView>,
    bodies: Bodies,
    violations: VecDeque<Violation>,
}

impl State {
    /// Counts the changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// All traces, oldest arrival first.
    pub fn traces(&self) -> Vec<TraceView> {
        self.order.iter().flat_map(|low| self.with_low(*low)).collect()
    }

    /// One trace. An id without a high half means any trace with that low half.
    pub fn trace(&self, id: TraceId) -> Option<TraceView> {
        let mut found = self.with_low(id.low());
        let exact = found.iter().position(|trace| trace.trace_id == id);
        let near = || found.iter().position(|trace| id::same_trace(id, trace.trace_id));
        let at = exact.or_else(near)?;
        Some(found.swap_remove(at))
    }

    /// How many traces are held: counted by the low halves of their ids.
    pub fn trace_count(&self) -> usize {
        self.spans.len()
    }

    fn with_low(&self, low: u64) -> Vec<TraceView> {
        self.spans.get(&low).map(|spans| assemble(low, spans)).unwrap_or_default()
    }

    /// Log entries that match, in order of arrival.
    pub fn logs(&self, filter: &LogFilter) -> Vec<LogView> {
        self.logs.iter().filter(|log| filter.matches(log)).cloned().collect()
    }

    /// Metrics whose name begins with `prefix`.
    pub fn metrics(&self, prefix: &str) -> Vec<MetricView> {
        self.metrics.views(prefix)
    }

    /// Requests, oldest first; those that were not taken alone if asked.
    pub fn requests(&self, only_errors: bool) -> Vec<RequestView> {
        self.requests.iter().filter(|r| !only_errors || r.error.is_some()).cloned().collect()
    }

    /// What of the requests is not as Datadog wants it, oldest first; of one request alone if asked.
    pub fn violations(&self, request: Option<u64>) -> Vec<Violation> {
        let of = |one: &&Violation| request.is_none_or(|request| one.request == request);
        self.violations.iter().filter(of).cloned().collect()
    }

    /// The last traces to arrive, in one line each.
    pub fn overview(&self, last: usize) -> Overview {
        let skip = self.order.len().saturating_sub(last);
        let held = self.order.iter().skip(skip).filter_map(|low| Some((*low, self.spans.get(low)?)));
        Overview {
            version: self.version,
            counts: self.counts,
            dropped: self.dropped,
            traces: held.flat_map(|(low, spans)| summarise(low, spans)).collect(),
        }
    }

    /// The request of this number, and its body if that is still held.
    pub(crate) fn request(&self, number: u64) -> Option<(RequestView, Option<Body>)> {
        let request = self.requests.iter().find(|request| request.number == number)?;
        Some((request.clone(), self.bodies.find(number).cloned()))
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: self.version,
            counts: self.counts,
            dropped: self.dropped,
            traces: self.traces(),
            logs: self.logs(&LogFilter::default()),
            metrics: self.metrics(""),
            requests: self.requests(false),
            violations: self.violations(None),
        }
    }

    fn record(&mut self, arrival: Arrival) {
        let Arrival { view: mut request, batch, body, mut violations } = arrival;
        self.numbers += 1;
        request.number = self.numbers;
        if let Some(body) = body {
            self.bodies.add(request.number, body);
        }
        request.items = batch.map_or(0, |batch| self.add(batch, request.number));
        violations.extend(self.metrics.again().of(&request.path));
        request.violations = violations.iter().map(|one| one.rule).collect();
        self.violated(violations, request.number);
        self.counts.requests += 1;
        self.counts.failed_requests += u64::from(request.error.is_some());
        self.requests.push_back(request);
        while self.requests.len() > self.limits.requests {
            self.requests.pop_front();
            self.dropped.requests += 1;
        }
    }

    fn violated(&mut self, violations: Vec<Violation>, request: u64) {
        self.counts.violations += violations.len() as u64;
        self.violations.extend(violations.into_iter().map(|one| Violation { request, ..one }));
        let excess = self.violations.len().saturating_sub(MAX_VIOLATIONS);
        self.violations.drain(..excess);
    }

    /// How many spans, entries or points were in it.
    fn add(&mut self, batch: Batch, request: u64) -> usize {
        match batch {
            Batch::Traces(payloads) => {
                let chunks = payloads.into_iter().flat_map(|payload| payload.chunks);
                let added = chunks.map(|chunk| self.add_chunk(chunk, request)).sum();
                self.counts.spans += added as u64;
                self.shrink_spans();
                added
            }
            Batch::Logs(logs) => {
                let added = logs.len();
                for log in logs {
                    let log = LogView::new(log, request);
                    self.log_bytes += log.weight();
                    self.logs.push_back(log);
                }
                self.counts.logs += added as u64;
                self.shrink_logs();
                added
            }
            Batch::Stats(all) => all.len(),
            Batch::Forwards(all) => all.len(),
            Batch::Series(all) => {
                let added = all.into_iter().map(|series| self.metrics.add_series(series, request)).sum();
                self.added_points(added)
            }
            Batch::Sketches(all) => {
                let added = all.into_iter().map(|series| self.metrics.add_sketches(series, request)).sum();
                self.added_points(added)
            }
        }
    }

    fn add_chunk(&mut self, chunk: TraceChunk, request: u64) -> usize {
        let high = high_half(&chunk);
        let added = chunk.spans.len();
        for span in chunk.spans {
            let low = span.trace_id.low();
            self.span_bytes += span.weight();
            let (priority, origin) = (chunk.priority, chunk.origin.clone());
            let arrived = Arrived { span, high, priority, origin, request };
            let order = &mut self.order;
            let spans = self.spans.entry(low).or_insert_with(|| {
                order.push_back(low);
                Vec::new()
            });
            spans.push(arrived);
        }
        added
    }

    fn added_points(&mut self, added: usize) -> usize {
        self.counts.points += added as u64;
        self.dropped.points += self.metrics.shrink(self.limits.points) as u64;
        added
    }

    /// Whole traces go: half a tree misleads.
    fn shrink_spans(&mut self) {
        while self.span_bytes > self.limits.span_bytes {
            let Some(spans) = self.order.pop_front().and_then(|low| self.spans.remove(&low)) else { return };
            self.span_bytes -= spans.iter().map(|a| a.span.weight()).sum::<usize>();
            self.dropped.spans += spans.len() as u64;
        }
    }

    fn shrink_logs(&mut self) {
        while self.log_bytes > self.limits.log_bytes {
            let Some(log) = self.logs.pop_front() else { return };
            self.log_bytes -= log.weight();
            self.dropped.logs += 1;
        }
    }
}

/// Told by the tag `_dd.p.tid` on the chunk or on one of its spans, or by the ids as decoded.
fn high_half(chunk: &TraceChunk) -> Option<u64> {
    let tags = std::iter::once(&chunk.tags).chain(chunk.spans.iter().map(|span| &span.meta));
    let tid = tags.filter_map(|tags| tags.get(keys::trace::TID)).next();
    let told = tid.filter(|tid| tid.len() == 16).and_then(|tid| u64::from_str_radix(tid, 16).ok());
    told.or_else(|| chunk.spans.iter().map(|span| span.trace_id.high()).find(|high| *high != 0))
}
