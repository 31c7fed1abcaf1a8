//! The services around the functions, which the demo plays itself: a web shop that calls over HTTP and two that
//! send messages. Their contexts are what their tracers would send along; their spans go straight to the store,
//! marked as played.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use model::keys::{headers, trace};
use model::{Batch, SamplingPriority, Span, SpanId, TraceChunk, TraceId, TracerPayload, UnixNanos};
use serde_json::{Value, json};

/// Tells a reader of the trace where this span comes from.
const PLAYED: (&str, &str) =
    ("demo.note", "played by dd-lambda: stands for a service outside of this Lambda");

/// What a service does when it calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) trace_id: TraceId,
    /// The span whose child the function's first span has to be.
    pub(crate) span_id: SpanId,
}

impl Caller {
    /// Calls a function over HTTP.
    pub(crate) fn over_http(service: &'static str, resource: &'static str, now: UnixNanos) -> Self {
        Self::new(service, "http.request", resource, "http", now)
    }

    /// Sends a message to a queue.
    pub(crate) fn of_message(service: &'static str, resource: &'static str, now: UnixNanos) -> Self {
        Self::new(service, "aws.sqs.send", resource, "http", now)
    }

    /// Whoever sends a built-in sample.
    pub(crate) fn of_sample(now: UnixNanos) -> Self {
        Self::new("sample-caller", "sample.call", "a built-in event", "http", now)
    }

    /// Ids as Datadog's tracers make them: the high half begins with the second, the rest is random.
    fn new(
        service: &'static str,
        name: &'static str,
        resource: &'static str,
        kind: &'static str,
        now: UnixNanos,
    ) -> Self {
        let trace_id = random(|low| TraceId::new(now.as_secs() << 32, low));
        Self { service, name, resource, kind, trace_id, span_id: random(SpanId::new) }
    }

    /// The context as Datadog headers, which is also what `_datadog` of a message holds.
    pub(crate) fn headers(&self) -> [(&'static str, String); 4] {
        let tags = format!("{}=-1,{}={:016x}", trace::DECISION_MAKER, trace::TID, self.trace_id.high());
        [
            (headers::TRACE_ID, self.trace_id.low().to_string()),
            (headers::PARENT_ID, self.span_id.get().to_string()),
            (headers::SAMPLING_PRIORITY, "1".to_owned()),
            (headers::TAGS, tags),
        ]
    }

    /// The same as one JSON object.
    pub(crate) fn carrier(&self) -> Value {
        self.headers().into_iter().map(|(name, value)| (name, json!(value))).collect()
    }

    /// Its own span, as its agent would have sent it.
    pub(crate) fn span(&self, start: UnixNanos, duration: Duration) -> Batch {
        let mut span = Span::new(self.name, self.trace_id, self.span_id, None);
        span.service = self.service.into();
        span.resource = self.resource.into();
        span.kind = self.kind.into();
        (span.start, span.duration) = (start, duration);
        span.meta.insert(trace::TID, format!("{:016x}", self.trace_id.high()));
        span.meta.insert(trace::SPAN_KIND, if self.kind == "http" { "client" } else { "producer" });
        span.meta.insert(PLAYED.0, PLAYED.1);
        let chunk = TraceChunk {
            priority: Some(SamplingPriority::AutoKeep),
            spans: vec![span],
            ..TraceChunk::default()
        };
        Batch::Traces(vec![TracerPayload { chunks: vec![chunk], ..TracerPayload::default() }])
    }
}

/// A random id; the few numbers that are none are passed over.
fn random<T>(id: impl Fn(u64) -> Option<T>) -> T {
    loop {
        // Each state is keyed anew from the system's randomness.
        if let Some(id) = id(RandomState::new().build_hasher().finish()) {
            return id;
        }
    }
}
