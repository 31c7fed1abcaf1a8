//! All that turns facts into outgoing data, side by side: the stages and the queues that they end in. The
//! engine decides when; here is only what.

use std::sync::Arc;

use model::{
    Chunk, ClientStats, InitStart, LogLine, Metric, RequestId, SketchSeries, Span, Text, TracerInfo,
    UnixNanos, keys,
};

use crate::batches::Batches;
use crate::boot::{Boot, Context, Verdict};
use crate::drops::{Drops, Reason};
use crate::enhanced;
use crate::invocation::Invocation;
use crate::io::Settings;
use crate::labels::Labels;
use crate::log::LogStage;
use crate::metric::{MetricStage, Wanted};
use crate::mode::Mode;
use crate::overhead::Overhead;
use crate::root;
use crate::runtime;
use crate::trace::{Sifted, TraceStage};

/// Which facts of an invocation may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    All,
    /// Only what libraries tell: Lambda is silent.
    Calls,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct Stages {
    pub(crate) labels: Arc<Labels>,
    pub(crate) traces: TraceStage,
    pub(crate) metrics: MetricStage,
    pub(crate) logs: LogStage,
    pub(crate) batches: Batches,
    pub(crate) drops: Drops,
    pub(crate) overhead: Overhead,
    enhanced_metrics: bool,
    /// Nothing of a trace leaves otherwise.
    sends_traces: bool,
    /// What Lambda said of the sandbox, on the enhanced metrics.
    sandbox_tags: Vec<Text>,
    seed: u64,
}

impl Stages {
    pub(crate) fn new(settings: &Settings, mode: Mode) -> Self {
        let labels = Arc::new(Labels::new(settings));
        Self {
            traces: TraceStage::new(
                Arc::clone(&labels),
                settings.trace_rules.clone(),
                settings.compute_stats,
            ),
            labels,
            metrics: MetricStage::new(settings.batch_bytes, settings.metric_namespace.clone()),
            logs: LogStage::new(settings, mode),
            batches: Batches::new(settings.batch_bytes, &settings.copied),
            drops: Drops::default(),
            overhead: Overhead::default(),
            enhanced_metrics: settings.enhanced_metrics,
            sends_traces: settings.traces,
            sandbox_tags: Vec::new(),
            seed: settings.seed,
        }
    }

    /// `platform.initStart`
    pub(crate) fn init_start(&mut self, time: UnixNanos, init: &InitStart) {
        self.sandbox_tags = runtime::tags(init);
        self.logs.init_start(time, init);
    }

    /// Of the ids of spans made here.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Something is here that was not sent.
    pub(crate) fn has_data(&mut self) -> bool {
        !self.metrics.is_empty()
            || self.traces.has_stats()
            || model::Signal::ALL.into_iter().any(|signal| self.batches.has(signal))
    }

    /// Something of a signal is here, be it that it is not put together yet.
    pub(crate) fn holds(&mut self, signal: model::Signal) -> bool {
        let is_metric = matches!(signal, model::Signal::Series | model::Signal::Sketches);
        self.batches.has(signal) || (is_metric && !self.metrics.is_empty())
    }

    /// Something is here that was never on its way.
    pub(crate) fn has_news(&mut self) -> bool {
        !self.metrics.is_empty()
            || self.traces.has_stats()
            || model::Signal::ALL.into_iter().any(|signal| self.batches.has_fresh(signal))
    }

    /// Takes a tracer's chunks, but for those with a load span, which the cold start may need: gives those,
    /// and the placeholders.
    pub(crate) fn chunks(
        &mut self,
        now: UnixNanos,
        tracer: &TracerInfo,
        chunks: Vec<Chunk>,
    ) -> (Vec<Chunk>, Vec<Span>) {
        let (mut loads, mut ready, mut all_placeholders) = (Vec::new(), Vec::new(), Vec::new());
        if !self.sends_traces {
            return (loads, all_placeholders);
        }
        for chunk in chunks {
            let Sifted { chunk, placeholders } = self.traces.sift(chunk);
            all_placeholders.extend(placeholders);
            let has_load = chunk.spans.iter().any(|span| span.name == keys::spans::LOAD);
            if has_load { loads.push(chunk) } else { ready.push(chunk) }
        }
        self.send_chunks(now, tracer, ready);
        (loads, all_placeholders)
    }

    /// Takes chunks that are as they will be sent, but for the tags of the function.
    pub(crate) fn send_chunks(&mut self, now: UnixNanos, tracer: &TracerInfo, chunks: Vec<Chunk>) {
        if !self.sends_traces {
            return;
        }
        let payloads = self.traces.dress(now, tracer, chunks);
        self.batches.push_traces(payloads, &mut self.drops);
    }

    /// Takes statistics that a tracer made itself.
    pub(crate) fn take_stats(&mut self, stats: ClientStats) {
        if self.sends_traces {
            self.batches.push_stats(stats, &mut self.drops);
        }
    }

    /// Takes a metric made here.
    pub(crate) fn own_metric(&mut self, now: UnixNanos, metric: Metric) {
        if self.enhanced_metrics {
            self.metrics.accept_own(now, metric, &mut self.drops);
        }
    }

    /// Takes a printed line; gives whose it is, if it tells that memory ran out.
    pub(crate) fn line(&mut self, time: UnixNanos, line: LogLine) -> Option<RequestId> {
        let fatal = crate::log::tells_out_of_memory(line.as_str());
        self.logs.line(time, line).filter(|_| fatal)
    }

    /// Takes distributions as they are, but for the tags of the function.
    pub(crate) fn take_sketches(&mut self, all: Vec<SketchSeries>) {
        for mut one in all {
            one.tags.extend(self.labels.own_metric.iter().cloned());
            one.tags.sort_unstable();
            one.tags.dedup();
            self.batches.push_sketches(one, &mut self.drops);
        }
    }

    /// Takes lines that the function sends. What they say of memory is not looked at: that is the runtime's to
    /// say, which prints.
    pub(crate) fn take_lines(&mut self, now: UnixNanos, lines: Vec<(Option<UnixNanos>, LogLine)>) {
        for (time, line) in lines {
            self.logs.line(time.unwrap_or(now), line);
        }
        self.queue_logs();
    }

    /// Takes what can be derived from an invocation's facts. Gives where its span hangs, when that is made.
    pub(crate) fn derive(
        &mut self,
        now: UnixNanos,
        invocation: &mut Invocation,
        verdict: Verdict,
        more: More,
    ) -> Option<Context> {
        let (sandbox, price) = (&self.sandbox_tags, self.labels.price);
        for metric in enhanced::derive(invocation, verdict, sandbox, price, more == More::Nothing) {
            self.own_metric(now, metric);
        }
        let is_due = match more {
            More::Nothing => invocation.has_calls() || invocation.placeholder.is_some(),
            More::Calls => invocation.has_calls() && invocation.is_settled(now, true),
            More::All => invocation.has_calls() && invocation.is_settled(now, false),
        };
        if !is_due || invocation.given.root {
            return None;
        }
        invocation.given.root = true;
        if invocation.has_span_of_its_own() {
            invocation.forget_details();
            return None;
        }
        let root = root::assemble(invocation, verdict, &self.labels, self.seed, now);
        invocation.forget_details();
        if let Some(span) = root.spans.last() {
            self.logs.note_span(&invocation.request_id, &span.meta);
        }
        self.send_chunks(now, &TracerInfo::default(), vec![Chunk { spans: root.spans }]);
        Some(root.context)
    }

    /// Takes what can be derived from the initialisation's facts.
    pub(crate) fn derive_boot(&mut self, now: UnixNanos, boot: &mut Boot, closing: bool) {
        for mut metric in
            [boot.take_init_duration(closing), boot.take_restore_duration(closing)].into_iter().flatten()
        {
            metric.tags.extend(self.sandbox_tags.iter().cloned());
            self.own_metric(now, metric);
        }
        if let Some((tracer, chunk)) = boot.take_cold_start(&self.labels, closing) {
            self.send_chunks(now, &tracer, vec![chunk]);
        }
    }

    /// Counts calls of the lifecycle of which nobody knows whose they are.
    pub(crate) fn drop_strays(&mut self, calls: u64) {
        self.drops.add("calls", Reason::Stray, calls);
    }

    /// Counts a span that came too late to be of use.
    pub(crate) fn drop_late_span(&mut self) {
        self.drops.add("traces", Reason::Late, 1);
    }

    /// Moves the entries that the log stage has ready to their queue.
    pub(crate) fn queue_logs(&mut self) {
        self.drops.add("logs", Reason::Unmasked, self.logs.take_withheld());
        for log in self.logs.take(&self.labels) {
            self.batches.push_log(log, &mut self.drops);
        }
    }

    /// Moves the metrics that the metric stage holds to their queues, as far as they may go, with statistics and
    /// what was dropped.
    pub(crate) fn queue_metrics(&mut self, wanted: &Wanted) {
        let (stats, left_out) = self.traces.take_stats();
        self.drops.add("stats", Reason::Contexts, left_out);
        if let Some(stats) = stats {
            self.batches.push_stats(stats, &mut self.drops);
        }
        let mut told: Vec<Metric> = self.drops.take().collect();
        let cost = self.overhead.take();
        if self.enhanced_metrics {
            told.extend(cost);
        }
        for metric in told {
            self.metrics.accept_own(wanted.now, metric, &mut self.drops);
        }
        let (series, sketches) = self.metrics.take(&self.labels, wanted);
        for one in series {
            self.batches.push_series(one, &mut self.drops);
        }
        for one in sketches {
            self.batches.push_sketches(one, &mut self.drops);
        }
    }

    /// Takes figures of the whole sandbox.
    pub(crate) fn sandbox_metrics(&mut self, now: UnixNanos, figures: Vec<(&'static str, f64)>) {
        for (name, value) in figures {
            let (time, tags) = (Some(now), self.sandbox_tags.clone());
            self.own_metric(now, Metric { time, tags, ..Metric::distribution(name, value) });
        }
    }

    /// Tells of the sandbox's end.
    pub(crate) fn shutdown_metrics(&mut self, now: UnixNanos, unused: bool) {
        let one = |name: &'static str| Metric { time: Some(now), ..Metric::distribution(name, 1.0) };
        self.own_metric(now, one(keys::metrics::SHUTDOWNS));
        if unused {
            self.own_metric(now, one(keys::metrics::UNUSED_INIT));
        }
    }
}
