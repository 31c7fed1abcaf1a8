//! One invocation: what its event means, its root span, the spans made under it, how it ended. Everything
//! that differs between two invocations that run at once is here, and travels with them in the OpenTelemetry
//! context.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use lambda_runtime::Context as LambdaContext;
use model::keys::{lambda, spans, trace};
use model::{Arn, Chunk, RequestId, Span, SpanId, Text, TraceId, UnixNanos};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use propagation::TraceContext;
use serde_json::Value;
use streams::Scope;
use trigger::{Kind, Reading};

use crate::agent::lock;
use crate::cold_start::Verdict;
use crate::datadog::{Datadog, mark_first};
use crate::failure::Failure;
use crate::lifecycle::{self, Ended};
use crate::root::RootSpan;
use crate::sampling::Decision;
use crate::status::Facts;
use crate::{capture, data_streams, describe, enhanced, ids, parent};

/// Bytes of spans that one invocation may hold until it ends.
const MAX_WEIGHT: usize = 4 * 1024 * 1024;

/// Traces beside its own in which one invocation may make spans: those of the records of a batch, say.
const MAX_OTHERS: usize = 1000;

pub(crate) struct Invocation {
    pub(crate) datadog: Arc<Datadog>,
    pub(crate) request_id: String,
    pub(crate) deadline: UnixNanos,
    /// What the next service is told, but for the span id, which is that of the calling span.
    pub(crate) context: TraceContext,
    /// Of `aws.lambda`.
    pub(crate) span_id: SpanId,
    /// Of the metrics about this invocation.
    pub(crate) enhanced_tags: Vec<Text>,
    /// Of an API Gateway authorizer, for whose answer this is what it needs to know of the event.
    pub(crate) authorizer: Option<Value>,
    /// The extension was told of its start, and makes its span.
    is_told: bool,
    /// The handler's HTTP caller waits for it.
    is_http: bool,
    /// The response may tell which messages of a batch failed.
    is_batch: bool,
    /// The response may tell what became of the durable execution that this is a part of.
    is_durable: bool,
    verdict: Verdict,
    decision: Decision,
    start: UnixNanos,
    /// What the handler sends goes on from what the event was taken from.
    streams: Option<Scope>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    root: Span,
    reading: Reading,
    /// Of the inferred spans, outermost first.
    inferred: Vec<SpanId>,
    children: Vec<Span>,
    /// Spans in other traces than the invocation's own, by trace.
    others: Vec<(TraceContext, Vec<Span>)>,
    weight: usize,
    handler_called: bool,
    /// What the extension is told at the end, if it was told of the start.
    ended: Option<Ended>,
    status: Option<String>,
    end: Option<UnixNanos>,
    closed: bool,
}

/// How the OpenTelemetry context names the invocation that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Current(pub(crate) Arc<Invocation>);

impl Invocation {
    /// Reads the event and begins the root span. `raw` is the event as it came, if it is at hand.
    pub(crate) fn start(
        datadog: &Arc<Datadog>,
        event: &Value,
        raw: Option<&[u8]>,
        lambda: &LambdaContext,
        now: UnixNanos,
    ) -> Arc<Self> {
        let settings = &datadog.settings;
        let function = function(datadog, lambda);
        let verdict = datadog.start.invoked(now);
        let (mut reading, mut found) = parent::find(datadog, event, lambda, &function, now);
        let is_told = parent::ask(datadog, event, raw, lambda, &mut reading, &mut found, now);
        let mut context = found.context.unwrap_or_else(|| {
            let mut context = TraceContext::new(ids::trace_id(settings.long_ids), None);
            context.baggage = std::mem::take(&mut reading.baggage);
            context
        });
        let inferred: Vec<SpanId> = reading.inferred.iter().map(|_| ids::span_id()).collect();
        let span_id = ids::span_id();
        let parent_id = inferred.last().copied().or(context.span_id);
        let mut root = Span::new(spans::INVOCATION, context.trace_id, span_id, parent_id);
        root.links = reading.links.drain(..).chain(context.links.drain(..)).collect();
        describe::root(&mut root, datadog, lambda, &function, verdict);
        for (key, value) in reading.tags.iter() {
            root.meta.insert(key.clone(), value.clone());
        }
        if found.is_xray {
            root.meta.insert(trace::PARENT_SOURCE, "xray");
        }
        if settings.capture_payload {
            capture::set_tags(&mut root, "function.request", event, settings.capture_depth);
        }
        root.start = now;
        let streams = data_streams::consumed(datadog, event, &mut root, now);
        let decision = parent::decide(datadog, &mut context, &reading, &root);
        let authorizer =
            (reading.kind == Kind::ApiAuthorizer && settings.encode_authorizer && settings.tracing)
                .then(|| parent::request_of(event));
        let invocation = Arc::new(Self {
            datadog: datadog.clone(),
            request_id: lambda.request_id.clone(),
            deadline: UnixNanos::from_millis(lambda.deadline),
            context,
            span_id,
            enhanced_tags: enhanced::tags(settings, &function, lambda, verdict),
            authorizer,
            is_told,
            is_http: reading.is_http,
            is_durable: reading.kind == Kind::Durable,
            is_batch: matches!(
                reading.event_source,
                Some("sqs" | "kinesis" | "dynamodb" | "msk" | "self-managed-kafka" | "kafka")
            ),
            verdict,
            decision,
            start: now,
            streams,
            state: Mutex::new(State {
                root,
                reading,
                inferred,
                children: Vec::new(),
                others: Vec::new(),
                weight: 0,
                handler_called: false,
                ended: is_told.then(Ended::default),
                status: None,
                end: None,
                closed: false,
            }),
        });
        enhanced::invoked(&invocation);
        invocation.watch(now);
        invocation
    }

    /// Has [`Self::time_out`] called shortly before the deadline.
    fn watch(self: &Arc<Self>, now: UnixNanos) {
        let at = self.deadline - self.datadog.settings.flush_deadline;
        // A deadline of zero is none, and one that is too near leaves no time to tell of it.
        if self.deadline.0 != 0 && at > now && self.datadog.settings.tracing {
            self.datadog.watchdog.watch(at, self);
        }
    }

    /// The invocation that the current OpenTelemetry context belongs to.
    pub(crate) fn current() -> Option<Arc<Self>> {
        Context::map_current(|context| context.get::<Current>().map(|current| current.0.clone()))
    }

    /// The context for the handler: what is made in it becomes part of this invocation.
    pub(crate) fn otel_context(self: &Arc<Self>) -> Context {
        let mut context = Context::current_with_value(Current(self.clone()));
        if let Some(streams) = &self.streams {
            context = context.with_value(streams.clone());
        }
        if self.datadog.settings.tracing { context.with_span(RootSpan::new(self.clone())) } else { context }
    }

    /// Lets the root span be changed, until it is sent.
    pub(crate) fn with_root(&self, change: impl FnOnce(&mut Span)) {
        let mut state = lock(&self.state);
        if !state.closed {
            change(&mut state.root);
        }
    }

    pub(crate) fn start_time(&self) -> UnixNanos {
        self.start
    }

    /// Takes a finished span. One that comes after the invocation was sent goes with the next. `context` is
    /// that of a trace other than the invocation's own, if the span was made in one.
    pub(crate) fn add(&self, span: Span, context: Option<&TraceContext>) {
        let mut state = lock(&self.state);
        let own = span.trace_id == self.context.trace_id;
        if state.closed {
            drop(state);
            let context = if own { Some(&self.context) } else { context };
            return self.datadog.spans.add_loose(&self.datadog, span, context);
        }
        let weight = span.weight();
        if state.weight + weight > MAX_WEIGHT {
            return self.datadog.count_dropped(1);
        }
        state.weight += weight;
        if own {
            state.children.push(span);
            let settings = &self.datadog.settings;
            if settings.partial_flush && state.children.len() >= settings.partial_flush_spans {
                let part = std::mem::take(&mut state.children);
                state.weight -= part.iter().map(Span::weight).sum::<usize>().min(state.weight);
                drop(state);
                self.send_part(part);
            }
            return;
        }
        let others = state.others.len();
        match state.others.iter_mut().find(|(context, _)| context.trace_id == span.trace_id) {
            Some((_, spans)) => spans.push(span),
            None if others >= MAX_OTHERS => self.datadog.count_dropped(1),
            None => state.others.push((context_of(span.trace_id, context), vec![span])),
        }
    }

    fn send_part(&self, mut spans: Vec<Span>) {
        mark_first(&mut spans, &self.context);
        let mut chunks = [Chunk { spans }];
        self.datadog.dress(&mut chunks);
        let [chunk] = chunks;
        self.datadog.send_part(chunk);
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Keeps the response for the extension, if that is told of it.
    pub(crate) fn keep_response(&self, response: impl FnOnce() -> Option<Vec<u8>>) {
        if let Some(bytes) = self.is_told.then(response).flatten()
            && let Some(ended) = &mut lock(&self.state).ended
        {
            ended.body = bytes;
        }
    }

    /// What the extension is to be told, once, at the end of an invocation whose start it was told of.
    pub(crate) fn take_end(&self) -> Option<Ended> {
        let mut state = lock(&self.state);
        let mut ended = state.ended.take()?;
        ended.headers.request_id = RequestId::new(&self.request_id);
        ended.headers.span_id = Some(self.span_id);
        ended.context = Some(self.context.clone());
        Some(ended)
    }

    pub(crate) fn handler_called(&self) {
        lock(&self.state).handler_called = true;
    }

    /// Whether the response is to be looked at for [`Self::answered`].
    pub(crate) fn wants_facts(&self) -> bool {
        self.is_http || self.is_batch || self.is_durable
    }

    /// The handler has given its answer, all of it or its beginning.
    pub(crate) fn answered(&self, facts: Option<Facts>) {
        let Some(facts) = facts else { return };
        if let Some(failed) = facts.failed_items.filter(|_| self.is_batch) {
            enhanced::failed_items(self, failed);
        }
        if let Some(status) = facts.execution.filter(|_| self.is_durable) {
            self.with_root(|root| root.meta.insert(lambda::DURABLE_STATUS, status));
        }
        if self.is_http {
            if is_server_error(&facts.status) {
                enhanced::server_error(self);
            }
            self.set_status(facts.status);
        }
    }

    /// The answer as tags, when the user wants it.
    pub(crate) fn capture_response(&self, response: impl FnOnce() -> Option<Value>) {
        let settings = &self.datadog.settings;
        if let Some(response) = settings.capture_payload.then(response).flatten() {
            self.with_root(|root| {
                capture::set_tags(root, "function.response", &response, settings.capture_depth);
            });
        }
    }

    fn set_status(&self, status: String) {
        let mut state = lock(&self.state);
        if let Some(ended) = state.ended.as_mut().filter(|ended| ended.body.is_empty()) {
            // Of a response that is not at hand: a stream, or none.
            ended.body = format!("{{\"statusCode\":{status}}}").into_bytes();
        }
        state.root.error |= is_server_error(&status);
        state.status = Some(status);
    }

    /// The handler, and the stream that it may have returned, is done.
    pub(crate) fn finished(&self, now: UnixNanos) {
        lock(&self.state).end = Some(now);
    }

    /// The handler has failed. Its HTTP caller, if there is one, gets a 502.
    pub(crate) fn failed(&self, now: UnixNanos, failure: Failure) {
        if let Some(ended) = &mut lock(&self.state).ended {
            ended.headers.error = Some(lifecycle::error(&failure));
        }
        self.with_root(|root| failure.apply(root));
        if self.is_http {
            self.set_status("502".to_owned());
        }
        self.finished(now);
    }

    /// Sends what there is of an invocation that is about to be killed: its root span as an error, and what was
    /// open at that moment. Called off the runtime's threads, and blocks.
    pub(crate) fn time_out(self: &Arc<Self>, now: UnixNanos) {
        let state = lock(&self.state);
        if state.closed || state.end.is_some() {
            return;
        }
        drop(state);
        for (mut span, context) in self.datadog.spans.take_unfinished(self, now) {
            describe::timed_out(&mut span);
            self.add(span, context.as_ref());
        }
        self.with_root(describe::timed_out);
        Datadog::flush_now(self);
    }

    /// The chunks to send, the first time that it is called; that of the invocation's own trace is the first,
    /// and its outermost span the first in it.
    pub(crate) fn close(&self, now: UnixNanos) -> Vec<Chunk> {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.closed, true) {
            return Vec::new();
        }
        if !state.handler_called && self.datadog.wraps_handler.load(Ordering::Relaxed) {
            describe::unreadable().apply(&mut state.root);
            if self.is_http {
                state.status = Some("502".to_owned());
            }
        }
        // What stays of it, for spans that end late, is little.
        let blank = Span::new("", self.context.trace_id, self.span_id, None);
        let root = std::mem::replace(&mut state.root, blank);
        let reading = std::mem::take(&mut state.reading);
        let inferred = std::mem::take(&mut state.inferred);
        let children = std::mem::take(&mut state.children);
        let others = std::mem::take(&mut state.others);
        let status = state.status.take();
        let end = state.end.unwrap_or(now);
        drop(state);
        enhanced::ended(self, root.error);
        if !self.datadog.settings.tracing {
            return Vec::new();
        }
        let mut own = self.assemble(root, &reading, &inferred, status.as_deref(), end);
        if let Some(outermost) = own.first_mut() {
            outermost.metrics.insert(trace::DD_TOP_LEVEL, 1.0);
        }
        own.extend(children);
        mark_first(&mut own, &self.context);
        if let Some((_, rest)) = own.split_first_mut().filter(|_| self.is_told) {
            // The extension takes the first span out.
            mark_first(rest, &self.context);
        }
        if let Some(first) = own.first_mut() {
            self.decision.tell(first);
        }
        let mut chunks = vec![Chunk { spans: own }];
        for (context, mut spans) in others {
            mark_first(&mut spans, &context);
            chunks.push(Chunk { spans });
        }
        self.datadog.dress(&mut chunks);
        chunks
    }

    /// The spans that are made here: those of the services the event came through, the root span, the start.
    fn assemble(
        &self,
        mut root: Span,
        reading: &Reading,
        inferred: &[SpanId],
        status: Option<&str>,
        end: UnixNanos,
    ) -> Vec<Span> {
        root.duration = end.since(root.start);
        if let Some(status) = status {
            root.meta.insert(trace::HTTP_STATUS_CODE, status.to_owned());
        }
        let dropped = self.datadog.take_dropped();
        if dropped > 0 {
            root.metrics.insert(lambda::DROPPED_SPANS, dropped as f64);
        }
        if self.is_told {
            root.resource = lambda::PLACEHOLDER_RESOURCE.into();
            return vec![root];
        }
        let facts = trigger::Invocation {
            trace_id: root.trace_id,
            parent_id: self.context.span_id,
            request_id: &self.request_id,
            service: &root.service,
            start: self.start,
            end,
            error: root.error,
            http_status_code: status,
        };
        let mut all = trigger::assemble(&reading.inferred, inferred, &facts);
        for span in &mut all {
            span.meta.insert(trace::ORIGIN, lambda::ORIGIN_LAMBDA);
        }
        let parent = inferred.last().copied().unwrap_or(root.span_id);
        let start = describe::start(&self.datadog, self.verdict, &root, parent);
        all.push(root);
        all.extend(start);
        all
    }
}

/// One that nobody sent, because the handler's future was dropped before it was done, say. Goes with the next.
impl Drop for Invocation {
    fn drop(&mut self) {
        for chunk in self.close(ids::now()) {
            self.datadog.spans.keep(&self.datadog, chunk);
        }
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

fn is_server_error(status: &str) -> bool {
    status.len() == 3 && status.starts_with('5')
}

/// What is known of a trace, or a context with its id alone.
pub(crate) fn context_of(trace_id: TraceId, known: Option<&TraceContext>) -> TraceContext {
    let known = known.filter(|context| context.trace_id == trace_id).cloned();
    known.unwrap_or_else(|| TraceContext::new(trace_id, None))
}

/// The function that was invoked, from its ARN, else from the environment.
fn function(datadog: &Datadog, lambda: &LambdaContext) -> trigger::Function {
    let settings = &datadog.settings;
    let arn = Arn::new(&lambda.invoked_function_arn);
    let of_arn = |part: fn(&Arn) -> &str| arn.as_ref().map(part).unwrap_or_default().to_owned();
    let first = |a: &str, b: String| if a.is_empty() { b } else { a.to_owned() };
    let named = first(&settings.function_name, lambda.env_config.function_name.clone());
    let in_arn = of_arn(Arn::resource).split(':').nth(1).unwrap_or_default().to_owned();
    trigger::Function {
        name: first(&named, in_arn),
        region: first(&of_arn(Arn::region), settings.region.clone()),
        account: of_arn(Arn::account),
    }
}
