//! Counts spans by what they have in common, when the extension is the one that computes statistics: neither the
//! tracer did, nor is it left to the backend. Called by the trace stage; emptied at every flush, since the backend
//! adds up what it gets of one span of time.
//! <https://docs.datadoghq.com/tracing/metrics/metrics_namespace/>

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    ClientStats, Span, SpanStats, StatsBucket, StatsGroup, StatsKey, Text, TraceChunk, TracerPayload,
    UnixNanos, keys,
};

use crate::labels::Labels;

/// The span of time that is counted together.
const BUCKET: Duration = Duration::from_secs(10);
/// Groups between two flushes. A resource that has an id in it would make one for each span.
const MAX_GROUPS: usize = 2000;
/// The environment where none is set, as in the agent.
const UNKNOWN_ENV: &str = "unknown-env";

/// Tags that say what a span calls, as in the agent.
const PEER_TAGS: [&str; 38] = [
    "_dd.base_service",
    "amqp.destination",
    "amqp.exchange",
    "amqp.queue",
    "aws.queue.name",
    "aws.s3.bucket",
    "bucketname",
    "cassandra.keyspace",
    "db.cassandra.contact.points",
    "db.couchbase.seed.nodes",
    "db.hostname",
    "db.instance",
    "db.name",
    "db.namespace",
    "db.system",
    "db.type",
    "grpc.host",
    "hostname",
    "http.host",
    "http.server_name",
    "messaging.destination",
    "messaging.destination.name",
    "messaging.kafka.bootstrap.servers",
    "messaging.rabbitmq.exchange",
    "messaging.system",
    "mongodb.db",
    "msmq.queue.path",
    "net.peer.name",
    "network.destination.ip",
    "network.destination.name",
    "out.host",
    "peer.hostname",
    "peer.service",
    "queuename",
    "rpc.service",
    "rpc.system",
    "sequel.db.vendor",
    "server.address",
];

/// Groups since the last flush.
#[derive(Clone, Debug, Default)]
pub(crate) struct Concentrator {
    groups: BTreeMap<(u64, StatsKey), StatsGroup>,
    /// Whose spans they are: of the first payload, as they are of one function.
    of: Option<TracerPayload>,
    /// Spans that found no room.
    left_out: u64,
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
            for span in chunk.spans.iter().filter(|span| is_counted(span)) {
                self.count(chunk, span);
            }
        }
    }

    fn count(&mut self, chunk: &TraceChunk, span: &Span) {
        let bucket = span.end().as_nanos() / BUCKET.as_nanos() as u64;
        let entry = (bucket, key(chunk, span));
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&entry) {
            self.left_out += 1;
            return;
        }
        let group = self.groups.entry(entry).or_default();
        group.hits += 1;
        group.errors += u64::from(span.error);
        group.top_level_hits += u64::from(is_marked(span, keys::trace::TOP_LEVEL));
        group.duration =
            group.duration.saturating_add(u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX));
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
            match buckets.last_mut().filter(|last| last.start == start) {
                Some(last) => last.groups.push((key, group)),
                None => buckets.push(StatsBucket { start, duration: BUCKET, groups: vec![(key, group)] }),
            }
        }
        let stats = SpanStats {
            env: labels.env.clone().unwrap_or(Text::Borrowed(UNKNOWN_ENV)),
            version: labels.version.clone().unwrap_or_default(),
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
    let at_border = || ["client", "server", "producer", "consumer"].contains(&kind_of(span).as_str());
    !span.metrics.contains("_dd.partial_version")
        && (is_marked(span, keys::trace::TOP_LEVEL) || is_marked(span, keys::trace::MEASURED) || at_border())
}

fn kind_of(span: &Span) -> String {
    tag(span, &[keys::trace::SPAN_KIND]).to_lowercase()
}

fn tag(span: &Span, keys: &[&str]) -> Text {
    keys.iter().find_map(|key| span.meta.get(key)).cloned().unwrap_or_default()
}

fn key(chunk: &TraceChunk, span: &Span) -> StatsKey {
    let span_kind = kind_of(span);
    let number = |key: &str| {
        let text = span.meta.get(key).and_then(|text| text.parse().ok());
        text.or_else(|| span.metrics.get(key).map(|number| *number as u16))
    };
    let has_peer = ["client", "producer", "consumer"].contains(&span_kind.as_str());
    let peer = |key: &&str| Some(Text::from(format!("{key}:{}", span.meta.get(key)?)));
    StatsKey {
        service: span.service.clone(),
        name: span.name.clone(),
        resource: span.resource.clone(),
        kind: span.kind.clone(),
        http_status: number(keys::trace::HTTP_STATUS_CODE).unwrap_or_default(),
        http_method: tag(span, &[keys::trace::HTTP_METHOD]),
        http_endpoint: tag(span, &["http.endpoint", keys::trace::HTTP_ROUTE]),
        grpc_status: number("rpc.grpc.status_code")
            .or_else(|| number("grpc.status.code"))
            .map_or_else(Text::default, |code| code.to_string().into()),
        synthetics: chunk.origin.starts_with("synthetics"),
        is_trace_root: span.parent_id.is_none(),
        peer_tags: PEER_TAGS.iter().filter(|_| has_peer).filter_map(peer).collect(),
        span_kind: span_kind.into(),
    }
}
