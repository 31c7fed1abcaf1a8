//! The two closed enums at the edges of the engine: all that it can be told and all that it can ask for.

use std::time::Duration;

use model::{
    Arn, Batch, Chunk, ClientStats, Forward, LogLine, Metric, RequestId, Signal, SketchSeries, SpanId, Tags,
    TelemetryRecord, Text, TracerInfo, UnixNanos,
};
use propagation::TraceContext;
use trigger::Reading;

use crate::labels::TagChoice;
use crate::log_rules::LogRules;
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
    /// The Runtime API proxy: the event that the runtime was given. Said of every function behind it; what a
    /// library tells of the same invocation counts for more.
    EventSeen(Box<StartCall>),
    /// The Runtime API proxy: what the runtime answered, and Lambda took.
    AnswerSeen(Box<EndCall>),
    /// What the kernel told of the time of an invocation: metrics and their values. Before the record of its end.
    /// `None`: of the whole life of the sandbox, before SHUTDOWN.
    Usage { request_id: Option<RequestId>, figures: Vec<(&'static str, f64)> },
    /// Traces from a tracer.
    Traces { tracer: TracerInfo, chunks: Vec<Chunk> },
    /// Statistics from a tracer that computes them itself.
    Stats(ClientStats),
    /// A tracer's request to pass on.
    Forward(Box<Forward>),
    /// Metrics from a DogStatsD client.
    Metrics(Vec<Metric>),
    /// Distributions that the function's own meters put together.
    Sketches(Vec<SketchSeries>),
    /// Log lines that the function sends rather than prints, with when that was (`None`: as they come).
    Lines(Vec<(Option<UnixNanos>, LogLine)>),
    /// `/lambda/flush`: a library wants what is there to leave now.
    Flush,
    /// What became of an [`Effect::Send`].
    Sent { id: SendId, outcome: Outcome },
    /// An [`Effect::Send`] has no answer at its deadline. The request goes on; what became of it is told when it is
    /// known.
    Late { id: SendId },
    /// A source dropped data before it got here.
    Dropped { what: Dropped, count: u64 },
}

/// Something for the shell to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the Extensions API for the next event: until then Lambda does not freeze the sandbox.
    Next,
    /// Encode and send; answer with [`Input::Sent`], with the batch when it has to be tried again. After `deadline`
    /// nobody waits: what has not begun by then comes back, and for what has, [`Input::Late`] is told. It may have
    /// been taken, so it is not made again before its connection has proved dead.
    Send { id: SendId, batch: Batch, deadline: UnixNanos, to: Receivers },
    /// Leave: all is sent or the time is up.
    Exit,
}

/// Who gets a batch: the main intake, or the further ones that are set for the signal, whose own failures are not
/// told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receivers {
    Main,
    /// Nobody has had any of it.
    All,
    /// The main intake gets it another time.
    Others,
}

/// Names one [`Effect::Send`] until its outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendId(pub u64);

/// What the intake made of a batch: what is in none of these was accepted. Counts are of spans, log entries,
/// points, values, as [`Batch::count`] has them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Outcome {
    /// Not accepted, and worth another try: unreachable, too slow, 5xx, 429.
    pub retry: Option<Batch>,
    /// Not accepted, and never will be: 4xx.
    pub refused: u64,
    /// Larger than the intake takes, each alone.
    pub too_large: u64,
    /// What it took.
    pub cost: Cost,
}

/// What sending took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cost {
    /// Requests that were sent, also those that failed.
    pub requests: u64,
    /// Their bodies as sent.
    pub bytes: u64,
}

impl Cost {
    /// One more request.
    pub fn add(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl Outcome {
    /// All was accepted.
    pub fn accepted() -> Self {
        Self::default()
    }

    /// All has to be tried again.
    pub fn retry(batch: Batch) -> Self {
        Self { retry: Some(batch), ..Self::default() }
    }

    /// All was refused for good.
    pub fn refused(batch: &Batch) -> Self {
        Self { refused: batch.count(), ..Self::default() }
    }
}

/// `DD_SERVERLESS_FLUSH_STRATEGY`: when data leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FlushStrategy {
    /// By how often invocations come.
    #[default]
    Adaptive,
    /// At the end of every invocation.
    End,
    /// The same, and so often while one runs.
    EndAnd(Duration),
    /// At the end of an invocation, but not more often than this; and so often while one runs.
    Periodically(Duration),
    /// So often while invocations run, whose ends never wait.
    Continuously(Duration),
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
    /// `Status` of the response: what became of a durable execution, if the invocation is a part of one.
    pub execution_status: Option<&'static str>,
    /// Of the response, when payloads are wanted as tags.
    pub tags: Tags<Text>,
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
    /// Log records that could not be read or found the inbox full.
    Logs,
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
    /// Statistics of traces are made here, and then those that were sampled out are not sent.
    pub compute_stats: bool,
    pub enhanced_metrics: bool,
    /// Whether traces and their statistics are sent at all.
    pub traces: bool,
    pub logs: bool,
    /// What is done with each log line.
    pub log_rules: LogRules,
    /// Whether lines are made of what the platform tells: `START`, `END`, `REPORT`.
    pub platform_logs: bool,
    /// Of so many invocations of a durable function log lines wait until it is known whose part they are.
    pub durable_hold: usize,
    /// Stands before the names of the function's own metrics, dot included.
    pub metric_namespace: Text,
    /// Which tags of the function go on its own metrics, on spans and on log lines.
    pub metric_tags: TagChoice,
    pub span_tags: TagChoice,
    pub log_tags: TagChoice,
    /// Signals that further intakes get too.
    pub copied: Vec<Signal>,
    /// Bytes held per signal before the oldest are dropped.
    pub batch_bytes: usize,
    /// The longest that one send is waited for, and the longest that a flush may hold back `Next`.
    pub flush_timeout: Duration,
    pub flush_strategy: FlushStrategy,
    /// Seeds the ids of spans made here. Different in every sandbox.
    pub seed: u64,
    /// Managed instances: many invocations at once, and no INVOKE.
    pub managed_instances: bool,
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
            compute_stats: false,
            enhanced_metrics: true,
            traces: true,
            logs: true,
            log_rules: LogRules::default(),
            platform_logs: true,
            durable_hold: 0,
            metric_namespace: Text::default(),
            metric_tags: TagChoice::default(),
            span_tags: TagChoice::default(),
            log_tags: TagChoice::default(),
            copied: Vec::new(),
            batch_bytes: 10 << 20,
            flush_timeout: Duration::from_secs(5),
            flush_strategy: FlushStrategy::Adaptive,
            seed: 0,
            managed_instances: false,
        }
    }
}
