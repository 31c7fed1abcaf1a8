//! Finished spans on their way from OpenTelemetry to the invocation that they belong to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Chunk, Span as ModelSpan, UnixNanos};
use opentelemetry::Context;
use opentelemetry::trace::Span as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use propagation::TraceContext;

use crate::agent::lock;
use crate::convert;
use crate::datadog::{Datadog, datadog, mark_first};
use crate::invocation::{Current, Invocation, context_of};
use crate::propagator::Remote;

/// Spans that may be open at once; those beyond go without their invocation.
const MAX_OPEN: usize = 4096;
/// Bytes of spans that wait for the next invocation to end.
const MAX_LOOSE: usize = 1024 * 1024;

/// The span that `lambda_runtime` makes around a handler: beside `aws.lambda` it says nothing.
const RUNTIME_SPAN: &str = "Lambda runtime invoke";

/// Takes the spans of an OpenTelemetry provider for Datadog: for users who build their own
/// [`SdkTracerProvider`](opentelemetry_sdk::trace::SdkTracerProvider).
///
/// ```
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// let provider = SdkTracerProvider::builder().with_span_processor(datadog_lambda_rs::span_processor()).build();
/// ```
pub fn span_processor() -> DatadogSpans {
    DatadogSpans { datadog: datadog().clone() }
}

/// Made by [`span_processor`]. Does no IO: spans are sent with the invocation they belong to.
#[derive(Clone, Debug)]
pub struct DatadogSpans {
    pub(crate) datadog: Arc<Datadog>,
}

impl SpanProcessor for DatadogSpans {
    fn on_start(&self, span: &mut Span, context: &Context) {
        if let Some(Current(invocation)) = context.get::<Current>() {
            let open = Open {
                invocation: invocation.clone(),
                remote: context.get::<Remote>().map(|remote| Arc::clone(&remote.0)),
                begun: span.exported_data(),
                is_told: false,
            };
            self.datadog.spans.open(span.span_context().span_id().to_bytes(), open);
        }
    }

    fn on_end(&self, span: SpanData) {
        let open = self.datadog.spans.take_open(span.span_context.span_id().to_bytes());
        if open.is_none() && span.name == RUNTIME_SPAN {
            return;
        }
        let Some(span) = convert::span(span, &self.datadog.common) else {
            return self.datadog.count_dropped(1);
        };
        match open {
            Some(open) if open.is_told => {}
            Some(open) => open.invocation.add(span, open.remote.as_deref()),
            None => self.datadog.spans.add_loose(&self.datadog, span, None),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Spans that are not in their invocation: still open, or finished outside of any.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    open: Mutex<HashMap<[u8; 8], Open>>,
    loose: Mutex<Loose>,
}

/// A span that has begun.
#[derive(Debug)]
struct Open {
    invocation: Arc<Invocation>,
    /// The context that its own or an outer span continues, if that came with a message.
    remote: Option<Arc<TraceContext>>,
    /// What it was when it began.
    begun: Option<SpanData>,
    /// It was sent as it was when its invocation timed out: once is enough.
    is_told: bool,
}

/// Spans made before the first invocation, in tasks that outlive theirs, or without a context. Grouped by
/// trace: each group becomes a chunk.
#[derive(Debug, Default)]
struct Loose {
    traces: Vec<(TraceContext, Vec<ModelSpan>)>,
    /// Of invocations that were given up.
    chunks: Vec<Chunk>,
    weight: usize,
}

impl Spans {
    fn open(&self, id: [u8; 8], span: Open) {
        let mut open = lock(&self.open);
        if open.len() < MAX_OPEN {
            open.insert(id, span);
        }
    }

    fn take_open(&self, id: [u8; 8]) -> Option<Open> {
        lock(&self.open).remove(&id)
    }

    /// The spans of an invocation that are open, as if they ended now. When they do end it is no news.
    pub(crate) fn take_unfinished(
        &self,
        invocation: &Arc<Invocation>,
        now: UnixNanos,
    ) -> Vec<(ModelSpan, Option<TraceContext>)> {
        let mut open = lock(&self.open);
        let of_it = open.values_mut().filter(|open| Arc::ptr_eq(&open.invocation, invocation));
        let mut spans = Vec::new();
        for open in of_it {
            let Some(begun) = open.begun.take() else { continue };
            open.is_told = true;
            if let Some(mut span) = convert::span(begun, &invocation.datadog.common) {
                span.duration = now.since(span.start);
                spans.push((span, open.remote.as_deref().cloned()));
            }
        }
        spans
    }

    pub(crate) fn add_loose(&self, datadog: &Datadog, span: ModelSpan, context: Option<&TraceContext>) {
        let mut loose = lock(&self.loose);
        let weight = span.weight();
        if loose.weight + weight > MAX_LOOSE {
            return datadog.count_dropped(1);
        }
        loose.weight += weight;
        match loose.traces.iter_mut().find(|(context, _)| context.trace_id == span.trace_id) {
            Some((_, spans)) => spans.push(span),
            None => loose.traces.push((context_of(span.trace_id, context), vec![span])),
        }
    }

    /// Takes a whole chunk, to be sent as it is.
    pub(crate) fn keep(&self, datadog: &Datadog, chunk: Chunk) {
        let mut loose = lock(&self.loose);
        let weight = chunk.weight();
        if loose.weight + weight > MAX_LOOSE {
            return datadog.drop_chunk(&chunk);
        }
        loose.weight += weight;
        loose.chunks.push(chunk);
    }

    pub(crate) fn take_loose(&self) -> Vec<Chunk> {
        let Loose { traces, mut chunks, .. } = std::mem::take(&mut *lock(&self.loose));
        for (context, mut spans) in traces {
            mark_first(&mut spans, &context);
            chunks.push(Chunk { spans });
        }
        chunks
    }
}
