//! What this process has once: settings, the way out, what is known of the start. Everything that belongs to
//! one invocation is in `invocation`; nothing here says which invocation is running.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use model::keys::lambda;
use model::{Chunk, Metric, Span, SpanId, Text, UnixNanos};
use opentelemetry_sdk::trace::SdkTracerProvider;
use streams::Streams;
use tracing::Level;

use crate::agent::{Agent, Lost, Until, lock};
#[cfg(any(feature = "api-metrics", test))]
use crate::api::{self, Api};
use crate::builder::Builder;
use crate::cold_start::{ColdStart, process_start};
use crate::convert::Common;
use crate::ids;
use crate::invocation::Invocation;
use crate::lifecycle::Lifecycle;
use crate::metric::Statsd;
use crate::out::Out;
use crate::parent::Extractor;
use crate::partial::Parts;
use crate::sampling::Sampler;
use crate::settings::Settings;
use crate::spans::Spans;
use crate::watchdog::Watchdog;
use crate::{data_streams, describe, log, out, panics};

/// The longest that an answer is held back for its telemetry.
pub(crate) const BEFORE_RESPONSE: Duration = Duration::from_millis(100);
/// The longest that the next event waits for the telemetry of the last one.
pub(crate) const AFTER_RESPONSE: Duration = Duration::from_millis(500);
/// Left untouched at the end of an invocation's time.
const MARGIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Datadog {
    pub(crate) settings: Settings,
    pub(crate) common: Common,
    pub(crate) start: ColdStart,
    pub(crate) spans: Spans,
    pub(crate) out: Out,
    runtime_id: Mutex<String>,
    pub(crate) sampler: Sampler,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) extractor: Option<Extractor>,
    /// A wrapper sits around the handler and tells how it ends.
    pub(crate) wraps_handler: AtomicBool,
    /// Spans that were lost since it was last told.
    dropped: AtomicU64,
    pub(crate) agent: Option<Agent>,
    /// Where Data Streams Monitoring is on.
    pub(crate) streams: Option<Arc<Streams>>,
    pub(crate) parts: Parts,
    /// The extension makes the spans of invocations, of what it is told by this.
    pub(crate) lifecycle: Option<Lifecycle>,
    statsd: Option<Statsd>,
    #[cfg(any(feature = "api-metrics", test))]
    pub(crate) api: Option<Api>,
    provider: Mutex<Option<SdkTracerProvider>>,
    provider_flushes: Arc<AtomicBool>,
}

static DATADOG: OnceLock<Arc<Datadog>> = OnceLock::new();

/// The one of this process, made of its environment when first asked for.
pub(crate) fn datadog() -> &'static Arc<Datadog> {
    DATADOG.get_or_init(|| make(Builder::default()))
}

/// The same, if it has been made.
pub(crate) fn made() -> Option<&'static Arc<Datadog>> {
    DATADOG.get()
}

/// The same, made of what a user has set. What was made before stays, and it is said so.
pub(crate) fn datadog_of(builder: Builder) -> &'static Arc<Datadog> {
    let mut builder = Some(builder);
    let datadog = DATADOG.get_or_init(|| make(builder.take().unwrap_or_default()));
    if builder.is_some() {
        let message =
            "the builder comes too late: this crate was used before, with the settings of the environment";
        datadog.report(Level::WARN, message);
    }
    datadog
}

fn make(builder: Builder) -> Arc<Datadog> {
    panics::watch();
    let (settings, mut problems) = Settings::from_env(|key| builder.value(key));
    problems.extend(builder.unknown());
    problems.extend(settings.lacks_agent());
    #[cfg(not(any(feature = "api-metrics", test)))]
    problems.extend(settings.lacks_feature());
    let mut datadog = Datadog::new(settings, Out::Stdout);
    datadog.extractor = builder.into_extractor();
    for problem in problems {
        let used = if problem.used.is_empty() { "nothing" } else { problem.used };
        let message = format!("{}: {}; using {used}", problem.key, problem.reason);
        datadog.report(Level::WARN, &message);
    }
    datadog.debug(|| match &datadog.settings.agent {
        Some(agent) => format!("spans go to {agent:?}"),
        None => "there is no extension: all is printed for the Datadog Forwarder".to_owned(),
    });
    Arc::new(datadog)
}

impl Datadog {
    pub(crate) fn new(settings: Settings, out: Out) -> Self {
        let text = |setting: &Option<String>| setting.clone().map(Text::Owned);
        let common = Common {
            service: settings.service(&settings.function_name).into(),
            env: text(&settings.env),
            version: text(&settings.version),
        };
        // Where the system does not tell, the process began no later than here.
        let began = settings.cold_start_tracing.then(|| process_start().unwrap_or_else(ids::now));
        Self {
            common,
            start: ColdStart::of(began).in_snapshots(settings.initialization_type == "snap-start"),
            sampler: Sampler::new(settings.rules(), settings.rate_limit),
            watchdog: Arc::default(),
            extractor: None,
            spans: Spans::default(),
            out,
            runtime_id: Mutex::new(ids::uuid()),
            wraps_handler: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            agent: settings.agent.clone().map(Agent::new),
            streams: data_streams::of(&settings),
            parts: Parts::default(),
            lifecycle: Lifecycle::of(&settings),
            statsd: settings.agent.as_ref().and_then(|_| Statsd::new(settings.statsd_port)),
            #[cfg(any(feature = "api-metrics", test))]
            api: Api::of(&settings),
            provider: Mutex::default(),
            provider_flushes: Arc::default(),
            settings,
        }
    }

    pub(crate) fn has_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// A UUID of this process.
    pub(crate) fn runtime_id(&self) -> String {
        lock(&self.runtime_id).clone()
    }

    /// The process goes on in another sandbox, one of many made of the same snapshot: what was once for all is
    /// made anew.
    pub(crate) fn restored(&self, now: UnixNanos) {
        *lock(&self.runtime_id) = ids::uuid();
        self.start.restored(now);
        if let Some(agent) = &self.agent {
            agent.forget();
        }
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.forget();
        }
        #[cfg(any(feature = "api-metrics", test))]
        if let Some(api) = &self.api {
            api.restored();
        }
    }

    /// Whether the function's tags are to be on its spans, since no extension puts them there.
    pub(crate) fn tags_spans(&self) -> bool {
        !self.has_agent() && !self.settings.tags.is_empty()
    }

    /// Says what holds for the spans of any chunk. Saying it twice does no harm.
    pub(crate) fn dress(&self, chunks: &mut [Chunk]) {
        for chunk in &mut *chunks {
            mark_top_level(&mut chunk.spans, &self.common.service);
        }
        if self.tags_spans() {
            let spans = chunks.iter_mut().flat_map(|chunk| &mut chunk.spans);
            spans.for_each(|span| describe::function_tags(span, self));
        }
    }

    pub(crate) fn set_provider(&self, provider: SdkTracerProvider) {
        *lock(&self.provider) = Some(provider);
    }

    pub(crate) fn count_dropped(&self, spans: usize) {
        self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Counts a chunk as lost, and with it what it was to tell of others.
    pub(crate) fn drop_chunk(&self, chunk: &Chunk) {
        let told = |span: &Span| span.metrics.get(lambda::DROPPED_SPANS).map_or(0, |n| *n as usize);
        self.count_dropped(chunk.spans.iter().map(|span| 1 + told(span)).sum());
    }

    /// How many spans were lost since the last call.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// A metric of the user's.
    pub(crate) fn send_metric(&self, metric: Metric) {
        #[cfg(any(feature = "api-metrics", test))]
        if let Some(api) = &self.api {
            return api.push(metric);
        }
        self.send_own_metric(&metric);
    }

    /// A metric about the function itself: without an extension they are always lines.
    pub(crate) fn send_own_metric(&self, metric: &Metric) {
        match &self.statsd {
            Some(statsd) => statsd.send(metric),
            None if self.has_agent() => {}
            None => out::metric_lines(metric, ids::now()).iter().for_each(|line| self.out.line(line)),
        }
    }

    /// Sends what an invocation left, within what is left of its time. Never fails: what cannot be sent now is
    /// kept, up to a bound, and what is dropped is counted and told with the next trace.
    pub(crate) async fn flush(&self, invocation: &Invocation, until: Until) {
        let budget = budget(&self.settings, invocation.deadline, ids::now(), until);
        let end = Instant::now().checked_add(budget);
        let mut chunks = invocation.close(ids::now());
        if self.agent.as_ref().is_some_and(Agent::rests) {
            self.keep(chunks);
            return self.flush_provider(budget).await;
        }
        let mut loose = self.spans.take_loose();
        self.dress(&mut loose);
        chunks.extend(loose);
        // What the extension makes of the invocation's end has to find the spans there.
        let until = if invocation.is_told() { Until::Answered } else { until };
        let (spans, streams) = (self.send(chunks, until, budget), self.send_streams(until, budget));
        let sent = async { tokio::join!(spans, streams, self.parts.arrive(budget)) };
        #[cfg(any(feature = "api-metrics", test))]
        let metrics = Api::flush(&invocation.datadog, budget);
        #[cfg(not(any(feature = "api-metrics", test)))]
        let metrics = async {};
        tokio::join!(sent, self.flush_provider(budget), metrics);
        if let (Some(lifecycle), Some(told)) = (&self.lifecycle, invocation.take_end()) {
            let left = end.map_or(budget, |end| end.saturating_duration_since(Instant::now()));
            if let Err(lost) = lifecycle.end(&told, left).await {
                self.debug(|| format!("the extension was not told of the end of an invocation: {lost:?}"));
            }
        }
    }

    /// [`Self::flush`] as a future to keep. Should it panic, it is over.
    pub(crate) fn flushing(invocation: &Arc<Invocation>, until: Until) -> Flush {
        let invocation = invocation.clone();
        Flush(Box::pin(async move { invocation.datadog.flush(&invocation, until).await }))
    }

    /// Sends what an invocation left without a runtime's help, blocking this thread.
    pub(crate) fn flush_now(invocation: &Invocation) {
        let budget = budget(&invocation.datadog.settings, invocation.deadline, ids::now(), Until::Written);
        invocation.datadog.send_now(&invocation.close(ids::now()), budget);
        invocation.datadog.send_streams_now(budget);
    }

    /// Sends chunks, blocking this thread: for a process that is about to end.
    pub(crate) fn send_now(&self, chunks: &[Chunk], budget: Duration) {
        // A request would take too long: what waits is at least not lost.
        #[cfg(any(feature = "api-metrics", test))]
        if let Some(api) = &self.api {
            api::print(self, &api.take_all());
        }
        match &self.agent {
            None => chunks.iter().flat_map(out::trace_lines).for_each(|line| self.out.line(&line)),
            // Zero would mean no limit to a socket.
            Some(agent) if !chunks.is_empty() && !budget.is_zero() => {
                let spans = chunks.iter().map(|chunk| chunk.spans.len()).sum();
                if agent.send_now(chunks.len(), &wire::v04::encode(chunks), budget).is_err() {
                    self.count_dropped(spans);
                }
            }
            Some(_) => {}
        }
    }

    /// Sends chunks, or keeps them for the next time: the extension drops what it gets twice.
    pub(crate) async fn send(&self, chunks: Vec<Chunk>, until: Until, budget: Duration) {
        let spans: usize = chunks.iter().map(|chunk| chunk.spans.len()).sum();
        if spans == 0 {
            return;
        }
        let Some(agent) = &self.agent else {
            chunks.iter().flat_map(out::trace_lines).for_each(|line| self.out.line(&line));
            return;
        };
        if budget.is_zero() {
            return self.keep(chunks);
        }
        let sent = agent.send(chunks.len(), &wire::v04::encode(&chunks), until, budget).await;
        self.debug(|| match sent {
            Ok(()) => format!("sent {spans} spans in {} chunks", chunks.len()),
            Err(lost) => format!("{spans} spans were not sent: {lost:?}"),
        });
        match sent {
            Ok(()) => {}
            Err(Lost::Refused(_)) => chunks.iter().for_each(|chunk| self.drop_chunk(chunk)),
            Err(Lost::Resting | Lost::Unreachable | Lost::Slow) => self.keep(chunks),
        }
    }

    /// Says something of the library itself.
    pub(crate) fn report(&self, level: Level, message: &str) {
        if level <= self.settings.own_level {
            self.out.line(&log::plain_line(level.as_str(), message, ids::now()));
        }
    }

    pub(crate) fn debug(&self, message: impl FnOnce() -> String) {
        if Level::DEBUG <= self.settings.own_level {
            self.report(Level::DEBUG, &message());
        }
    }

    pub(crate) fn keep(&self, chunks: Vec<Chunk>) {
        chunks.into_iter().for_each(|chunk| self.spans.keep(self, chunk));
    }

    /// Flushes the user's provider on a thread of its own: exporters block, and on a current-thread runtime a
    /// blocked thread is the one that would have to do the sending. A flush that hangs is left behind, and no
    /// other is begun until it is done.
    async fn flush_provider(&self, budget: Duration) {
        let Some(provider) = lock(&self.provider).clone() else { return };
        if budget.is_zero() || self.provider_flushes.swap(true, Ordering::AcqRel) {
            return;
        }
        let (busy, runtime) = (self.provider_flushes.clone(), tokio::runtime::Handle::current());
        let (done, flushed) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("datadog-flush".to_owned()).spawn(move || {
            let _entered = runtime.enter();
            // What went wrong is the exporter's to tell.
            let _ = catch_unwind(AssertUnwindSafe(|| provider.force_flush()));
            busy.store(false, Ordering::Release);
            let _ = done.send(());
        });
        match thread {
            Ok(_) => drop(tokio::time::timeout(budget, flushed).await),
            Err(_) => self.provider_flushes.store(false, Ordering::Release),
        }
    }
}

/// An invocation's telemetry on its way out.
pub(crate) struct Flush(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for Flush {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // A runtime without timers, for one, panics where a deadline is set.
        catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))).unwrap_or(Poll::Ready(()))
    }
}

/// A deadline of zero is none: contexts made by hand.
pub(crate) fn budget(settings: &Settings, deadline: UnixNanos, now: UnixNanos, until: Until) -> Duration {
    let most = match until {
        Until::Written => settings.before_response,
        Until::Answered => settings.after_response,
    };
    match deadline {
        UnixNanos(0) => most,
        deadline => most.min(deadline.since(now).saturating_sub(MARGIN)),
    }
}

/// Marks the first span of a chunk with what holds for the whole trace.
pub(crate) fn mark_first(spans: &mut [Span], context: &propagation::TraceContext) {
    use model::SamplingPriority;
    use model::keys::trace;

    let Some(first) = spans.first_mut() else { return };
    let priority = context.priority.unwrap_or(SamplingPriority::AutoKeep);
    for (key, value) in context.tags.iter() {
        first.meta.insert(key.clone(), value.clone());
    }
    if context.trace_id.high() != 0 {
        first.meta.insert(trace::TID, format!("{:016x}", context.trace_id.high()));
    }
    if priority.is_keep() && !first.meta.contains(trace::DECISION_MAKER) {
        // "-0": kept by default, by no rule. The decision maker of a trace never changes on its way.
        first.meta.insert(trace::DECISION_MAKER, "-0");
    }
    first.metrics.insert(trace::SAMPLING_PRIORITY, f64::from(priority.as_i8()));
}

/// Marks the spans that statistics are kept of: those of another service than their parent's. A parent that is
/// not here is in another part of the trace and of this function's `own` service; those that begin their trace
/// here are marked already.
pub(crate) fn mark_top_level(spans: &mut [Span], own: &Text) {
    use model::keys::trace;

    let others = spans.iter().filter(|span| span.service != *own);
    let others: HashMap<SpanId, Text> = others.map(|span| (span.span_id, span.service.clone())).collect();
    if others.is_empty() {
        return;
    }
    for span in spans {
        let parent = span.parent_id.and_then(|parent| others.get(&parent)).unwrap_or(own);
        if span.service != *parent {
            span.metrics.insert(trace::DD_TOP_LEVEL, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_keep_clear_of_the_deadline() {
        let now = UnixNanos::from_secs(1000);
        let check = |left_ms: u64, until, expect_ms: u64| {
            let deadline = now + Duration::from_millis(left_ms);
            let budget = budget(&Settings::default(), deadline, now, until);
            assert_eq!(budget, Duration::from_millis(expect_ms), "{left_ms} {until:?}");
        };
        check(3000, Until::Answered, 500);
        check(3000, Until::Written, 100);
        check(120, Until::Answered, 70);
        check(120, Until::Written, 70);
        check(50, Until::Written, 0);
        check(0, Until::Answered, 0);
        let written = |deadline| budget(&Settings::default(), UnixNanos(deadline), now, Until::Written);
        assert_eq!((written(0), written(1)), (BEFORE_RESPONSE, Duration::ZERO));
    }
}
