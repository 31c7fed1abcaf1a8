//! Counts spans by what they have in common, when the extension is the one that computes statistics: neither the
//! tracer did, nor is it left to the backend. Called by the trace stage; emptied at every flush, since the backend
//! adds up what it gets of one span of time.
//! <https://docs.datadoghq.com/tracing/metrics/metrics_namespace/>

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    ClientStats, LatencySketch, Span, SpanStats, StatsBucket, StatsGroup, StatsKey, Text, TraceChunk,
    TracerPayload, UnixNanos, keys,
};

use crate::labels::Labels;
use crate::peers;

/// The span of time that is counted together.
const BUCKET: Duration = Duration::from_secs(10);
/// Groups between two flushes. A resource that has an id in it would make one for each span.
const MAX_GROUPS: usize = 2000;
/// The environment where none is set, as in the agent.
const UNKNOWN_ENV: &str = "unknown-env";

/// Kinds of spans that stand at the border of a service.
pub const COUNTED_KINDS: [&str; 4] = ["client", "server", "producer", "consumer"];
/// Tags in which gRPC's status is, as in the agent.
const GRPC_CODES: [&str; 4] =
    ["rpc.grpc.status_code", "grpc.code", "rpc.grpc.status.code", "grpc.status.code"];
/// Tags in which HTTP's method and status are: Datadog's, and OpenTelemetry's of a tracer that was told to use them.
const HTTP_METHODS: [&str; 2] = [keys::trace::HTTP_METHOD, keys::trace::OTEL_HTTP_METHOD];
const HTTP_STATUSES: [&str; 2] = [keys::trace::HTTP_STATUS_CODE, keys::trace::OTEL_HTTP_STATUS_CODE];
/// What gRPC's statuses are called, by their numbers.
/// <https://grpc.io/docs/guides/status-codes/>
const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// How often a trace's sampler keeps one of its kind: it stands for all of them.
const SAMPLE_RATE: &str = "_sample_rate";
/// Who named the service of a span.
const SERVICE_SOURCE: &str = "_dd.svc_src";

/// Groups since the last flush.
#[derive(Clone, Debug, Default)]
pub(crate) struct Concentrator {
    groups: BTreeMap<(u64, StatsKey), Sums>,
    /// Whose spans they are: of the first payload, as they are of one function.
    of: Option<TracerPayload>,
    /// Spans that found no room.
    left_out: u64,
}

/// What is counted of a group. A span of a trace that was sampled stands for several.
#[derive(Clone, Debug, Default)]
struct Sums {
    hits: f64,
    errors: f64,
    top_level_hits: f64,
    nanos: f64,
    ok: LatencySketch,
    error: LatencySketch,
}

impl From<Sums> for StatsGroup {
    fn from(sums: Sums) -> Self {
        let whole = |sum: f64| sum.round() as u64;
        Self {
            hits: whole(sums.hits),
            errors: whole(sums.errors),
            top_level_hits: whole(sums.top_level_hits),
            duration: whole(sums.nanos),
            ok: sums.ok,
            error: sums.error,
        }
    }
}

impl Concentrator {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Counts what is in a payload that is ready to leave.
    pub(crate) fn add(&mut self, payload: &TracerPayload) {
        if self.of.is_none() {
            self.of = Some(TracerPayload { chunks: Vec::new(), ..payload.clone() });
        }
        for chunk in &payload.chunks {
            let weight = weight(chunk);
            for span in chunk.spans.iter().filter(|span| is_counted(span)) {
                self.count(chunk, span, weight);
            }
        }
    }

    fn count(&mut self, chunk: &TraceChunk, span: &Span, weight: f64) {
        let bucket = span.end().as_nanos() / BUCKET.as_nanos() as u64;
        let entry = (bucket, key(chunk, span));
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&entry) {
            self.left_out += 1;
            return;
        }
        let group = self.groups.entry(entry).or_default();
        let of = |counts: bool| if counts { weight } else { 0.0 };
        group.hits += weight;
        group.errors += of(span.error);
        group.top_level_hits += of(is_marked(span, keys::trace::TOP_LEVEL));
        group.nanos += span.duration.as_nanos() as f64 * weight;
        let sketch = if span.error { &mut group.error } else { &mut group.ok };
        sketch.insert(span.duration);
    }

    /// All that was counted, and how many spans found no room.
    pub(crate) fn take(&mut self, labels: &Labels) -> (Option<ClientStats>, u64) {
        let Self { groups, of, left_out } = std::mem::take(self);
        let Some(of) = of.filter(|_| !groups.is_empty()) else { return (None, left_out) };
        let mut buckets: Vec<StatsBucket> = Vec::new();
        for ((bucket, key), group) in groups {
            let start = UnixNanos(bucket * BUCKET.as_nanos() as u64);
            let group = (key, group.into());
            match buckets.last_mut().filter(|last| last.start == start) {
                Some(last) => last.groups.push(group),
                None => buckets.push(StatsBucket { start, duration: BUCKET, groups: vec![group] }),
            }
        }
        // What is not configured the tracer may know: its spans say so, too.
        let known = |configured: &Option<Text>, told: Text| configured.clone().unwrap_or(told);
        let env = known(&labels.env, of.env);
        let stats = SpanStats {
            env: if env.is_empty() { Text::Borrowed(UNKNOWN_ENV) } else { env },
            version: known(&labels.version, of.app_version),
            service: labels.service.clone(),
            language: of.tracer.language,
            tracer_version: of.tracer.tracer_version,
            runtime_id: of.runtime_id,
            container_id: of.tracer.container_id,
            buckets,
        };
        (Some(ClientStats::Made(Box::new(stats))), left_out)
    }
}

fn is_marked(span: &Span, key: &str) -> bool {
    span.metrics.get(key).is_some_and(|mark| *mark == 1.0)
}

/// Top-level, measured, or at the border of a service; not the part of a span that is still open.
fn is_counted(span: &Span) -> bool {
    let at_border = || COUNTED_KINDS.contains(&kind_of(span).as_str());
    !span.metrics.contains("_dd.partial_version")
        && (is_marked(span, keys::trace::TOP_LEVEL) || is_marked(span, keys::trace::MEASURED) || at_border())
}

/// In lower case, whatever case it is told in.
fn kind_of(span: &Span) -> String {
    tag(span, &[keys::trace::SPAN_KIND]).to_lowercase()
}

/// The first that says something.
fn tag(span: &Span, keys: &[&str]) -> Text {
    let values = keys.iter().filter_map(|key| span.meta.get(key));
    values.into_iter().find(|value| !value.is_empty()).cloned().unwrap_or_default()
}

/// How many traces a trace stands for.
fn weight(chunk: &TraceChunk) -> f64 {
    let root = chunk.spans.iter().find(|span| span.parent_id.is_none()).or(chunk.spans.first());
    let rate = root.and_then(|root| root.metrics.get(SAMPLE_RATE)).copied();
    rate.filter(|rate| *rate > 0.0 && *rate <= 1.0).map_or(1.0, f64::recip)
}

/// gRPC's status as a number in text: tracers send it so, as a number, or by its name.
fn grpc_status(span: &Span) -> Text {
    let named = |text: &str| {
        let name = text.trim().to_uppercase();
        let name = name.strip_prefix("STATUSCODE.").unwrap_or(&name);
        if let Ok(number) = name.parse::<u64>() {
            return Some(number);
        }
        // Go writes names without a line, and one of them with a single L.
        let plain = |name: &str| name.replace('_', "").replace("CANCELED", "CANCELLED");
        let at = GRPC_NAMES.iter().position(|known| plain(known) == plain(name))?;
        u64::try_from(at).ok()
    };
    let texts = GRPC_CODES.iter().find_map(|key| named(span.meta.get(key)?));
    let found = texts.or_else(|| GRPC_CODES.iter().find_map(|key| Some(*span.metrics.get(key)? as u64)));
    found.map_or_else(Text::default, |number| number.to_string().into())
}

/// HTTP's status: a number where there is one, else what a text says.
fn http_status(span: &Span) -> Option<u16> {
    HTTP_STATUSES.iter().find_map(|key| {
        let number = span.metrics.get(key).map(|number| *number as u16);
        number.or_else(|| span.meta.get(key)?.parse().ok())
    })
}

fn key(chunk: &TraceChunk, span: &Span) -> StatsKey {
    let span_kind = kind_of(span);
    StatsKey {
        service: span.service.clone(),
        name: span.name.clone(),
        resource: span.resource.clone(),
        kind: span.kind.clone(),
        http_status: http_status(span).unwrap_or_default(),
        http_method: tag(span, &HTTP_METHODS),
        http_endpoint: tag(span, &["http.endpoint", keys::trace::HTTP_ROUTE]),
        grpc_status: grpc_status(span),
        service_source: tag(span, &[SERVICE_SOURCE]),
        synthetics: chunk.origin.starts_with("synthetics"),
        is_trace_root: span.parent_id.is_none(),
        peer_tags: peers::tags(span, &span_kind),
        span_kind: span_kind.into(),
    }
}

#[cfg(test)]
mod tests {
    use model::{SpanId, TraceId};

    use super::*;

    fn span(tags: &[(&'static str, &'static str)]) -> Span {
        let (trace, own) = (TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap());
        let mut span = Span::new("work", trace, own, None);
        (span.start, span.duration) = (UnixNanos::from_secs(1_700_000_000), Duration::from_millis(10));
        span.metrics.insert(keys::trace::TOP_LEVEL, 1.0);
        for (key, value) in tags {
            span.meta.insert(*key, *value);
        }
        span
    }

    fn counted(spans: Vec<Span>) -> Vec<(StatsKey, StatsGroup)> {
        let mut all = Concentrator::default();
        let chunk = TraceChunk { spans, ..TraceChunk::default() };
        all.add(&TracerPayload { chunks: vec![chunk], ..TracerPayload::default() });
        let (Some(ClientStats::Made(stats)), 0) = all.take(&Labels::new(&crate::Settings::default())) else {
            panic!("nothing")
        };
        stats.buckets.into_iter().flat_map(|bucket| bucket.groups).collect()
    }

    #[test]
    fn a_sampled_trace_stands_for_several() {
        let check = |rate: Option<f64>, want: u64| {
            let mut root = span(&[]);
            root.error = true;
            if let Some(rate) = rate {
                root.metrics.insert(SAMPLE_RATE, rate);
            }
            let child = Span { span_id: SpanId::new(3).unwrap(), parent_id: Some(root.span_id), ..span(&[]) };
            let all = counted(vec![child, root]);
            let of =
                |error: bool| all.iter().find(|(_, group)| (group.errors > 0) == error).unwrap().1.clone();
            let (root, child) = (of(true), of(false));
            assert_eq!((root.hits, root.errors, root.top_level_hits, child.hits), (want, want, want, want));
            assert_eq!(root.duration, want * 10_000_000);
            // Latencies are not more than were seen.
            let mut once = LatencySketch::default();
            once.insert(Duration::from_millis(10));
            assert_eq!((&root.error, &child.ok), (&once, &once));
        };
        check(None, 1);
        check(Some(1.0), 1);
        check(Some(0.25), 4);
        check(Some(0.0), 1);
        check(Some(-1.0), 1);
        check(Some(2.0), 1);
        check(Some(f64::NAN), 1);
    }

    #[test]
    fn grpc_statuses() {
        let check = |key: &'static str, value: &'static str, want: &str| {
            assert_eq!(counted(vec![span(&[(key, value)])])[0].0.grpc_status, want, "{key} {value}");
        };
        check("rpc.grpc.status_code", "14", "14");
        check("grpc.code", "OK", "0");
        check("grpc.code", "DEADLINE_EXCEEDED", "4");
        check("grpc.code", "DeadlineExceeded", "4");
        check("grpc.code", "Canceled", "1");
        check("rpc.grpc.status.code", "StatusCode.UNAVAILABLE", "14");
        check("grpc.status.code", "unauthenticated", "16");
        check("grpc.status.code", "nonsense", "");
        check("other", "14", "");
        let mut number = span(&[]);
        number.metrics.insert("grpc.status.code", 5.0);
        assert_eq!(counted(vec![number])[0].0.grpc_status, "5");
    }

    #[test]
    fn groups() {
        let [(key, _)] = &counted(vec![span(&[
            ("span.kind", "Client"),
            ("http.status_code", "404"),
            ("http.method", "GET"),
            ("http.route", "/r"),
            ("_dd.svc_src", "opt.mysql"),
            ("peer.service", "db"),
        ])])[..] else {
            panic!("one")
        };
        assert_eq!((&*key.span_kind, key.http_status, &*key.http_method), ("client", 404, "GET"));
        assert_eq!((&*key.http_endpoint, &*key.service_source), ("/r", "opt.mysql"));
        assert_eq!(
            (key.peer_tags.as_slice(), key.is_trace_root),
            (&[Text::from("peer.service:db")][..], true)
        );
    }
}
