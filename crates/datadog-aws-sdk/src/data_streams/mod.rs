//! Data Streams Monitoring: what calls send and receive is counted, and carries its pathway. In a function with
//! `datadog-lambda-rs` that one counts and sends; elsewhere it is done here.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use model::{PipelineStats, UnixNanos};
use opentelemetry::Context;
use streams::{Checkpoint, Edge, Pathway, Scope, Streams};

use crate::resource::json;
use crate::settings::Settings;

mod received;
mod sender;

pub(crate) use received::{Source, with_received};

/// Those of this process, unless a Lambda function's own library counts for it.
fn of_process() -> Option<&'static Arc<Streams>> {
    static STREAMS: OnceLock<Option<Arc<Streams>>> = OnceLock::new();
    let make = || {
        let settings = Settings::of_process();
        settings.data_streams.then(|| {
            let streams = Arc::new(Streams::new(about(settings)));
            sender::start(&streams, &settings.agent);
            streams
        })
    };
    STREAMS.get_or_init(make).as_ref()
}

fn about(settings: &Settings) -> PipelineStats {
    PipelineStats {
        service: settings.service.clone().into(),
        env: settings.env.clone().map(Into::into),
        version: settings.version.clone().map(Into::into),
        hostname: if settings.in_lambda { "".into() } else { hostname().into() },
        language: "rust".into(),
        tracer_version: env!("CARGO_PKG_VERSION").into(),
        buckets: Vec::new(),
    }
}

fn hostname() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname");
    told.map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Sends what is counted so far, blocking for a few seconds at most: for the end of a program that does not run for long.
/// Nothing else has to be done for it, since it is sent every ten seconds anyway; and in a Lambda function with
/// `datadog-lambda-rs` with each invocation.
pub fn flush_data_streams() {
    if let Some(streams) = of_process() {
        sender::send(streams, &Settings::of_process().agent, UnixNanos(u64::MAX));
    }
}

/// Who counts for what is done in a context, and on which pathway it is: that of a message that is worked on, or one that
/// begins here.
pub(crate) fn scope(context: &Context) -> Option<Scope> {
    let of_process = || Some(Scope::new(of_process()?.clone(), Pathway::new(now())));
    Scope::of(context).or_else(of_process)
}

pub(crate) fn now() -> UnixNanos {
    UnixNanos::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// What one call sends along a pathway. It is counted once the call has succeeded.
#[derive(Debug)]
pub(crate) struct Flow {
    scope: Scope,
    checkpoints: RefCell<Vec<Checkpoint>>,
}

/// The same, of a call on its way.
#[derive(Debug)]
pub(crate) struct Passed {
    streams: Arc<Streams>,
    checkpoints: Vec<Checkpoint>,
}

impl Flow {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, checkpoints: RefCell::default() }
    }

    /// Has a message of so many bytes go over an edge: what it is to carry.
    pub(crate) fn pass(&self, edge: Edge, size: usize) -> String {
        let (checkpoint, text) = self.scope.pass(edge, size, now());
        self.checkpoints.borrow_mut().push(checkpoint);
        text
    }

    pub(crate) fn passed(self) -> Passed {
        Passed { streams: self.scope.streams().clone(), checkpoints: self.checkpoints.into_inner() }
    }
}

impl Passed {
    /// The last point, in decimal.
    pub(crate) fn hash(&self) -> Option<String> {
        self.checkpoints.last().map(|checkpoint| checkpoint.hash.to_string())
    }

    pub(crate) fn count(&self) {
        self.checkpoints.iter().for_each(|checkpoint| self.streams.count(checkpoint));
    }
}

/// `orders` of `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`.
pub(crate) fn queue_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// What a request receives from.
fn topic(request: &HttpRequest, service: &str, operation: &str) -> Option<(&'static str, String)> {
    let body = json(request)?;
    match (service, operation) {
        ("SQS", "ReceiveMessage") => Some(("sqs", queue_name(&body.string("QueueUrl")?).to_owned())),
        // Its iterator does not tell the stream, so it is known only to those who name it.
        ("Kinesis", "GetRecords") => Some(("kinesis", body.string("StreamARN")?.into_owned())),
        _ => None,
    }
}
