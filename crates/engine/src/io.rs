//! The two closed enums at the edges of the engine: all that it can be told and all that it can ask for.

use std::time::Duration;

use model::{
    Arn, Batch, Chunk, ClientStats, Forward, Metric, RequestId, SpanId, TelemetryRecord, Text, TracerInfo,
    UnixNanos,
};
use propagation::TraceContext;
use trigger::Reading;

use crate::rules::TraceRules;

/// A fact. Facts of one source arrive in the order they happened; facts of different sources in any.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Extensions API: an invocation begins.
    Invoke { request_id: RequestId, arn: Option<Arn>, deadline: UnixNanos },
    /// Extensions API: this sandbox ends.
    Shutdown { reason: Text, deadline: UnixNanos },
    /// A delivery of the Telemetry API.
    Telemetry(Vec<TelemetryRecord>),
    /// `POST /lambda/start-invocation`: a library tells the event's meaning.
    StartCall(Box<StartCall>),
    /// `POST /lambda/end-invocation`: a library tells how the handler ended.
    EndCall(Box<EndCall>),
    /// Traces from a tracer.
    Traces { tracer: TracerInfo, chunks: Vec<Chunk> },
    /// Statistics from a tracer that computes them itself.
    Stats(ClientStats),
    /// A tracer's request to pass on.
    Forward(Box<Forward>),
    /// Metrics from a DogStatsD client.
    Metrics(Vec<Metric>),
    /// What became of an [`Effect::Send`].
    Sent { id: SendId, outcome: Outcome },
    /// A source dropped data before it got here.
    Dropped { what: Dropped, count: u64 },
}

/// Something for the shell to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the Extensions API for the next event: until then Lambda does not freeze the sandbox.
    Next,
    /// Encode and send; answer with [`Input::Sent`] not later than `deadline`, with the batch when it has to
    /// be tried again.
    Send { id: SendId, batch: Batch, deadline: UnixNanos },
    /// Leave: all is sent or the time is up.
    Exit,
}

/// Names one [`Effect::Send`] until its outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendId(pub u64);

/// What the intake made of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Accepted,
    /// Not accepted, and worth another try: unreachable, too slow, 5xx, 429.
    Retry(Batch),
    /// Not accepted, and never will be: 4xx.
    Refused {
        weight: usize,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct StartCall {
    /// From the header `lambda-runtime-aws-request-id`; `None` from libraries that do not send it.
    pub request_id: Option<RequestId>,
    pub reading: Reading,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct EndCall {
    pub request_id: Option<RequestId>,
    /// Trace id, parent, priority and tags from the headers.
    pub context: Option<TraceContext>,
    /// The id that the library gave the invocation's span, from `x-datadog-span-id`.
    pub span_id: Option<SpanId>,
    /// `statusCode` of the response.
    pub http_status_code: Option<u16>,
    pub error: Option<InvocationError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InvocationError {
    pub message: Text,
    pub kind: Text,
    pub stack: Text,
}

/// Data that was lost before the engine saw it, by source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// Spans without ids, or in a body that could not be read.
    Spans,
    /// Statistics that could not be read or found the inbox full.
    Stats,
    /// Requests to pass on that found the inbox full or are too large.
    Forwards,
    /// DogStatsD lines that could not be read.
    Metrics,
    /// Telemetry records that could not be read.
    Records,
    /// Datagrams that found the inbox full.
    Datagrams,
}

/// What the engine has to know before anything happens. Built once from the settings and the environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub function_name: Text,
    /// Lower case; the host name of logs, the tag `function_arn`.
    pub function_arn: Text,
    /// `DD_SERVICE`.
    pub service: Option<Text>,
    pub env: Option<Text>,
    pub version: Option<Text>,
    /// Tags of every metric, span and log: region, account, functionname, …, `DD_TAGS`. They are cloned for
    /// each span, which is free for borrowed texts: leak them once at start.
    pub function_tags: Vec<(Text, Text)>,
    /// Which traces are left out, and what is replaced in them.
    pub trace_rules: TraceRules,
    pub enhanced_metrics: bool,
    pub logs: bool,
    /// Bytes held per signal before the oldest are dropped.
    pub batch_bytes: usize,
    /// The longest that one send may take, and the longest that a flush may hold back `Next`.
    pub flush_timeout: Duration,
    /// Seeds the ids of spans made here. Different in every sandbox.
    pub seed: u64,
}

/// A function without a name, everything on, 10 MB per signal, 5 s to send.
impl Default for Settings {
    fn default() -> Self {
        Self {
            function_name: Text::default(),
            function_arn: Text::default(),
            service: None,
            env: None,
            version: None,
            function_tags: Vec::new(),
            trace_rules: TraceRules::default(),
            enhanced_metrics: true,
            logs: true,
            batch_bytes: 10 << 20,
            flush_timeout: Duration::from_secs(5),
            seed: 0,
        }
    }
}
