//! The trace stage: what is done to every span before it leaves, whether a tracer sent it or it was made
//! here: spans of the extension's own traffic and spans sent twice go, function tags and marks come.

use model::{
    Chunk, SamplingPriority, Span, SpanId, Text, TraceChunk, TracerInfo, TracerPayload, UnixNanos, keys,
};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::batches::MAX_PAYLOAD;
use crate::labels::Labels;
use crate::normalise;
use crate::rules::{Rules, TraceRules};

/// Ids of spans seen last. A tracer whose request was frozen on its way sends it again.
const MAX_SEEN: usize = 8192;
#[derive(Clone, Debug)]
pub(crate) struct TraceStage {
    labels: Arc<Labels>,
    set: TraceRules,
    /// Compiled for the first trace.
    rules: Option<Rules>,
    seen: BTreeSet<(u64, SpanId)>,
    order: VecDeque<(u64, SpanId)>,
}

/// What a tracer's chunk holds besides spans to send.
#[derive(Debug, Default)]
pub(crate) struct Sifted {
    pub(crate) chunk: Chunk,
    /// Spans by which a tracer hands its tags to the `aws.lambda` span made here.
    pub(crate) placeholders: Vec<Span>,
}

impl TraceStage {
    pub(crate) fn new(labels: Arc<Labels>, set: TraceRules) -> Self {
        Self { labels, set, rules: None, seen: BTreeSet::new(), order: VecDeque::new() }
    }

    /// Leaves out what is not to be sent.
    pub(crate) fn sift(&mut self, chunk: Chunk) -> Sifted {
        let mut sifted = Sifted::default();
        for span in chunk.spans {
            if is_own_traffic(&span) || !self.is_new(&span) {
                continue;
            }
            if span.resource == keys::lambda::PLACEHOLDER_RESOURCE {
                sifted.placeholders.push(span);
            } else {
                sifted.chunk.spans.push(span);
            }
        }
        sifted
    }

    /// Makes chunks of one tracer ready to leave. Gives payloads that each fit a request.
    pub(crate) fn dress(
        &mut self,
        now: UnixNanos,
        tracer: &TracerInfo,
        chunks: Vec<Chunk>,
    ) -> Vec<TracerPayload> {
        let rules = self.rules.get_or_insert_with(|| Rules::compile(&self.set));
        let is_kept = |chunk: &Chunk| root_first(&chunk.spans).next().is_some_and(|root| rules.keep(root));
        let mut chunks: Vec<Chunk> = chunks.into_iter().filter(is_kept).collect();
        for span in chunks.iter_mut().flat_map(|chunk| &mut chunk.spans) {
            rules.rewrite(span);
        }
        if chunks.is_empty() {
            return Vec::new();
        }
        let chunks: Vec<TraceChunk> =
            chunks.into_iter().map(|chunk| self.dress_chunk(now, tracer, chunk)).collect();
        let first = |key: &str| -> Text {
            let values = chunks.iter().flat_map(|chunk| root_first(&chunk.spans));
            values.filter_map(|span| span.meta.get(key)).find(|v| !v.is_empty()).cloned().unwrap_or_default()
        };
        let empty = TracerPayload {
            tracer: tracer.clone(),
            runtime_id: first(keys::trace::RUNTIME_ID),
            env: first(keys::trace::ENV),
            hostname: first(keys::trace::HOSTNAME),
            app_version: first(keys::trace::VERSION),
            tags: self.labels.payload.clone(),
            chunks: Vec::new(),
        };
        let (mut payloads, mut weight) = (vec![empty.clone()], 0);
        for chunk in chunks.into_iter().flat_map(split) {
            let more = chunk.weight();
            if weight > 0 && weight + more > MAX_PAYLOAD {
                payloads.push(empty.clone());
                weight = 0;
            }
            weight += more;
            if let Some(payload) = payloads.last_mut() {
                payload.chunks.push(chunk);
            }
        }
        payloads
    }

    fn dress_chunk(&self, now: UnixNanos, tracer: &TracerInfo, chunk: Chunk) -> TraceChunk {
        let mut spans = chunk.spans;
        let priority = root_first(&spans).find_map(priority);
        let root = root_first(&spans).next();
        let origin = root.and_then(|root| root.meta.get(keys::trace::ORIGIN)).filter(|o| !o.is_empty());
        let origin = origin.cloned().unwrap_or(Text::Borrowed(keys::lambda::ORIGIN_LAMBDA));
        for span in &mut spans {
            normalise::span(span, now);
        }
        mark_top_level(&mut spans, tracer.computed_top_level);
        for span in &mut spans {
            self.tag(span, tracer);
        }
        TraceChunk { priority, origin, tags: model::Tags::new(), spans }
    }

    fn tag(&self, span: &mut Span, tracer: &TracerInfo) {
        if let Some(service) =
            self.labels.configured_service.as_ref().filter(|_| span.service == keys::spans::INVOCATION)
        {
            span.service = service.clone();
        }
        if span.meta.contains(keys::lambda::INFERRED_TAG_SOURCE)
            && !span.meta.contains(keys::trace::BASE_SERVICE)
        {
            span.meta.insert(keys::trace::BASE_SERVICE, self.labels.service.clone());
        }
        for (key, value) in &self.labels.span {
            span.meta.insert(key.clone(), value.clone());
        }
        if !tracer.computed_stats {
            span.meta.insert(keys::trace::COMPUTE_STATS, "1");
        }
    }

    fn is_new(&mut self, span: &Span) -> bool {
        let id = (span.trace_id.low(), span.span_id);
        if !self.seen.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

/// The span at the top of a chunk: without parent, else with a parent elsewhere, else the last.
fn root(spans: &[Span]) -> Option<usize> {
    let ids: BTreeSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let alone = spans.iter().rposition(|span| span.parent_id.is_none());
    let outside =
        || spans.iter().position(|span| span.parent_id.is_some_and(|parent| !ids.contains(&parent)));
    alone.or_else(outside).or_else(|| spans.len().checked_sub(1))
}

fn root_first(spans: &[Span]) -> impl Iterator<Item = &Span> {
    root(spans).and_then(|at| spans.get(at)).into_iter().chain(spans)
}

/// The sampling decision as a span carries it.
pub(crate) fn priority(span: &Span) -> Option<SamplingPriority> {
    span.metrics.get(keys::trace::SAMPLING_PRIORITY).map(|p| SamplingPriority::from_i64(*p as i64))
}

/// Traffic of the function's tracer and SDK with the extension and with the Runtime API.
fn is_own_traffic(span: &Span) -> bool {
    const URLS: [&str; 3] = ["http://127.0.0.1:9001", "http://127.0.0.1:8124", "http://127.0.0.1:8125"];
    const PORTS: [&str; 3] = ["9001", "8124", "8125"];
    const ADDRESSES: [&str; 3] = ["0.0.0.0", "127.0.0.1", "169.254.79.129"];
    let meta = |key: &str| span.meta.get(key).map(Text::as_ref).unwrap_or_default();
    let url = meta(keys::trace::HTTP_URL);
    let dns = meta("dns.address");
    let port = span.metrics.get("tcp.remote.port").map(|port| format!("{port:.0}"));
    let port = port.as_deref().unwrap_or(meta("tcp.remote.port"));
    URLS.iter().any(|own| url.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        || meta("tcp.remote.host") == "127.0.0.1" && PORTS.contains(&port)
        || ADDRESSES.iter().any(|own| dns.starts_with(own))
        || span.name == "dns.lookup"
        || span.resource == "127.0.0.1"
        || span.resource == "0.0.0.0"
}

/// Top-level is a span whose parent is not here or of another service; statistics are kept of those.
fn mark_top_level(spans: &mut [Span], by_tracer: bool) {
    let services: Vec<(SpanId, Text)> = {
        let mut all: Vec<_> = spans.iter().map(|span| (span.span_id, span.service.clone())).collect();
        all.sort_unstable();
        all
    };
    let service_of = |id: SpanId| {
        let at = services.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        services.get(at).map(|(_, service)| service)
    };
    for span in spans {
        let is_top = if by_tracer {
            span.metrics.contains(keys::trace::DD_TOP_LEVEL)
        } else {
            span.parent_id.is_none_or(|parent| service_of(parent) != Some(&span.service))
        };
        if is_top {
            span.metrics.insert(keys::trace::TOP_LEVEL, 1.0);
        }
    }
}

/// Takes a chunk apart that is too big for one payload. Each part says the upper half of the trace id again.
fn split(chunk: TraceChunk) -> Vec<TraceChunk> {
    if chunk.weight() <= MAX_PAYLOAD {
        return vec![chunk];
    }
    let tid = chunk.spans.iter().find_map(|span| span.meta.get(keys::trace::TID)).cloned();
    let empty = TraceChunk { spans: Vec::new(), ..chunk };
    let (mut parts, mut weight): (Vec<TraceChunk>, usize) = (Vec::new(), 0);
    for mut span in chunk.spans {
        let more = span.weight();
        if parts.is_empty() || weight + more > MAX_PAYLOAD {
            if let Some(tid) = &tid {
                span.meta.insert(keys::trace::TID, tid.clone());
            }
            parts.push(empty.clone());
            weight = 0;
        }
        weight += more;
        if let Some(part) = parts.last_mut() {
            part.spans.push(span);
        }
    }
    parts
}
