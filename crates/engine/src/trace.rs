//! The trace stage: what is done to every span before it leaves, whether a tracer sent it or it was made
//! here: spans of the extension's own traffic and spans sent twice go, function tags and marks come.

use model::{
    Chunk, ClientStats, SamplingPriority, Span, SpanId, Text, TraceChunk, TracerInfo, TracerPayload,
    UnixNanos, keys,
};
use std::collections::HashSet;
use std::sync::Arc;

use crate::batches::MAX_PAYLOAD;
use crate::concentrator::Concentrator;
use crate::labels::Labels;
use crate::normalise;
use crate::rules::{Rules, TraceRules};

/// Ids of spans seen last. A tracer whose request was frozen on its way sends it again.
const MAX_SEEN: usize = 16_384;

#[derive(Clone, Debug)]
pub(crate) struct TraceStage {
    labels: Arc<Labels>,
    set: TraceRules,
    /// Compiled for the first trace.
    rules: Option<Rules>,
    /// Two of at most half of [`MAX_SEEN`]: when the newer is full, the older is forgotten.
    seen: [HashSet<(u64, SpanId)>; 2],
    /// `None`: the tracer makes statistics, or the backend.
    stats: Option<Concentrator>,
}

/// What a tracer's chunk holds besides spans to send.
#[derive(Debug, Default)]
pub(crate) struct Sifted {
    pub(crate) chunk: Chunk,
    /// Spans by which a tracer hands its tags to the `aws.lambda` span made here.
    pub(crate) placeholders: Vec<Span>,
}

impl TraceStage {
    pub(crate) fn new(labels: Arc<Labels>, set: TraceRules, compute_stats: bool) -> Self {
        let stats = compute_stats.then(Concentrator::default);
        Self { labels, set, rules: None, seen: Default::default(), stats }
    }

    /// Statistics wait to be taken.
    pub(crate) fn has_stats(&self) -> bool {
        self.stats.as_ref().is_some_and(|stats| !stats.is_empty())
    }

    /// Statistics since the last time, and how many spans are in none.
    pub(crate) fn take_stats(&mut self) -> (Option<ClientStats>, u64) {
        self.stats.as_mut().map(|stats| stats.take(&self.labels)).unwrap_or_default()
    }

    /// Leaves out what is not to be sent.
    pub(crate) fn sift(&mut self, mut chunk: Chunk) -> Sifted {
        chunk.spans.retain(|span| !is_own_traffic(span) && self.is_new(span));
        let is_placeholder = |span: &mut Span| span.resource == keys::lambda::PLACEHOLDER_RESOURCE;
        let placeholders = chunk.spans.extract_if(.., is_placeholder).collect();
        Sifted { chunk, placeholders }
    }

    /// Makes chunks of one tracer ready to leave. Gives payloads that each fit a request.
    pub(crate) fn dress(
        &mut self,
        now: UnixNanos,
        tracer: &TracerInfo,
        chunks: Vec<Chunk>,
    ) -> Vec<TracerPayload> {
        let rules = self.rules.get_or_insert_with(|| Rules::compile(&self.set));
        let is_kept = |chunk: &Chunk| {
            let root = root(&chunk.spans).and_then(|at| chunk.spans.get(at));
            root.is_some_and(|root| rules.keep(root))
        };
        let mut chunks: Vec<Chunk> = chunks.into_iter().filter(is_kept).collect();
        for span in chunks.iter_mut().flat_map(|chunk| &mut chunk.spans) {
            rules.rewrite(span);
        }
        if chunks.is_empty() {
            return Vec::new();
        }
        let chunks: Vec<TraceChunk> =
            chunks.into_iter().map(|chunk| self.dress_chunk(now, tracer, chunk)).collect();
        let roots: Vec<Option<usize>> = chunks.iter().map(|chunk| root(&chunk.spans)).collect();
        let first = |key: &str| -> Text {
            let values = chunks.iter().zip(&roots).flat_map(|(chunk, at)| root_first(&chunk.spans, *at));
            values.filter_map(|span| span.meta.get(key)).find(|v| !v.is_empty()).cloned().unwrap_or_default()
        };
        let mut tags = self.labels.payload.clone();
        if !tracer.container_tags.is_empty() {
            tags.insert(keys::trace::CONTAINER_TAGS, tracer.container_tags.clone());
        }
        let empty = TracerPayload {
            tracer: tracer.clone(),
            runtime_id: first(keys::trace::RUNTIME_ID),
            env: first(keys::trace::ENV),
            hostname: first(keys::trace::HOSTNAME),
            app_version: first(keys::trace::VERSION),
            tags,
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
        if let Some(stats) = self.stats.as_mut().filter(|_| !tracer.computed_stats) {
            payloads.iter().for_each(|payload| stats.add(payload));
            let is_kept = |chunk: &TraceChunk| chunk.priority.is_none_or(SamplingPriority::is_keep);
            payloads.iter_mut().for_each(|payload| payload.chunks.retain(is_kept));
            payloads.retain(|payload| !payload.chunks.is_empty());
        }
        payloads
    }

    fn dress_chunk(&self, now: UnixNanos, tracer: &TracerInfo, chunk: Chunk) -> TraceChunk {
        let mut spans = chunk.spans;
        let root = root(&spans);
        let priority = root_first(&spans, root).find_map(priority);
        let origin = root.and_then(|at| spans.get(at));
        let origin = origin.and_then(|root| root.meta.get(keys::trace::ORIGIN)).filter(|o| !o.is_empty());
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
        if !tracer.computed_stats && self.stats.is_none() {
            span.meta.insert(keys::trace::COMPUTE_STATS, "1");
        }
        span.meta.share(&self.labels.span);
    }

    fn is_new(&mut self, span: &Span) -> bool {
        let id = (span.trace_id.low(), span.span_id);
        let [older, newer] = &mut self.seen;
        if older.contains(&id) || !newer.insert(id) {
            return false;
        }
        if newer.len() >= MAX_SEEN / 2 {
            std::mem::swap(older, newer);
            newer.clear();
        }
        true
    }
}

/// The span at the top of a chunk: without parent, else with a parent elsewhere, else the last.
fn root(spans: &[Span]) -> Option<usize> {
    let alone = spans.iter().rposition(|span| span.parent_id.is_none());
    let outside = || {
        let ids: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
        spans.iter().position(|span| span.parent_id.is_some_and(|parent| !ids.contains(&parent)))
    };
    alone.or_else(outside).or_else(|| spans.len().checked_sub(1))
}

fn root_first(spans: &[Span], root: Option<usize>) -> impl Iterator<Item = &Span> {
    root.and_then(|at| spans.get(at)).into_iter().chain(spans)
}

/// The sampling decision as a span carries it.
pub(crate) fn priority(span: &Span) -> Option<SamplingPriority> {
    span.metrics.get(keys::trace::SAMPLING_PRIORITY).map(|p| SamplingPriority::from_i64(*p as i64))
}

/// Traffic of the function's tracer and SDK with the extension and with the Runtime API.
fn is_own_traffic(span: &Span) -> bool {
    // The Runtime API by its address in Lambda, and where the function runs elsewhere.
    const URLS: [&str; 4] = [
        "http://169.254.100.1:9001",
        "http://127.0.0.1:9001",
        "http://127.0.0.1:8124",
        "http://127.0.0.1:8125",
    ];
    const HOSTS: [&str; 2] = ["127.0.0.1", "169.254.100.1"];
    const PORTS: [&str; 3] = ["9001", "8124", "8125"];
    const ADDRESSES: [&str; 3] = ["0.0.0.0", "127.0.0.1", "169.254.79.129"];
    let meta = |key: &str| span.meta.get(key).map(Text::as_ref).unwrap_or_default();
    let url = meta(keys::trace::HTTP_URL);
    let dns = meta("dns.address");
    let port = span.metrics.get("tcp.remote.port").map(|port| format!("{port:.0}"));
    let port = port.as_deref().unwrap_or(meta("tcp.remote.port"));
    URLS.iter().any(|own| url.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        || HOSTS.contains(&meta("tcp.remote.host")) && PORTS.contains(&port)
        || ADDRESSES.iter().any(|own| dns.starts_with(own))
        || span.name == "dns.lookup"
        || span.resource == "127.0.0.1"
        || span.resource == "0.0.0.0"
}

/// Top-level is a span whose parent is not here or of another service; statistics are kept of those.
fn mark_top_level(spans: &mut [Span], by_tracer: bool) {
    let mark = |span: &mut Span| span.metrics.insert(keys::trace::TOP_LEVEL, 1.0);
    if by_tracer {
        let marked = |span: &&mut Span| span.metrics.contains(keys::trace::DD_TOP_LEVEL);
        return spans.iter_mut().filter(marked).for_each(mark);
    }
    let mut services: Vec<(SpanId, &Text)> = spans.iter().map(|span| (span.span_id, &span.service)).collect();
    services.sort_unstable();
    let service_of = |id: SpanId| {
        let at = services.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        services.get(at).map(|(_, service)| *service)
    };
    let is_top = |span: &Span| span.parent_id.is_none_or(|parent| service_of(parent) != Some(&span.service));
    let tops: Vec<bool> = spans.iter().map(is_top).collect();
    spans.iter_mut().zip(tops).filter(|(_, is_top)| *is_top).for_each(|(span, _)| mark(span));
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

#[cfg(test)]
mod tests {
    use model::TraceId;

    use super::*;
    use crate::io::Settings;
    use crate::rules::{TagRule, TagValue};

    /// They are not looked at again: compiling one takes far longer than what it is for.
    #[test]
    fn expressions_are_compiled_once() {
        let reject = |pattern: &'static str| TraceRules {
            reject: vec![TagRule { key: "resource".into(), value: TagValue::Matches(pattern.into()) }],
            ..TraceRules::default()
        };
        let mut stage =
            TraceStage::new(Arc::new(Labels::new(&Settings::default())), reject("^GET /h"), false);
        let kept = |stage: &mut TraceStage| {
            let span = |id| {
                let (trace, own) = (TraceId::new(0, id).unwrap(), SpanId::new(id).unwrap());
                let mut span = Span::new("web", trace, own, None);
                span.resource = if id == 1 { "GET /health".into() } else { "GET /orders".into() };
                Chunk { spans: vec![span] }
            };
            let payloads = stage.dress(UnixNanos(0), &TracerInfo::default(), vec![span(1), span(2)]);
            let chunks = payloads.iter().flat_map(|payload| &payload.chunks);
            chunks.flat_map(|chunk| chunk.spans.iter().map(|span| span.span_id.get())).collect::<Vec<_>>()
        };
        assert!(stage.rules.is_none(), "not before there is a trace");
        assert_eq!(kept(&mut stage), [2]);
        // Were they compiled for each trace, these would hold from here on.
        stage.set = reject("^GET /o");
        assert_eq!(kept(&mut stage), [2]);
    }
}
