//! Event source mappings: what polls queues and streams for a function, as Lambda does, and gives it events. Here for the
//! functions of the local Lambda, from any endpoint: AWS itself, or an AWS API server on this machine.
//!
//! A mapping takes a batch, makes the event that Lambda would make, invokes, and goes on: from a queue it deletes what
//! was worked on, and what failed comes again when its visibility timeout is over; in a stream it goes past it, and what
//! failed is tried again. Which of a batch failed the function says by `batchItemFailures`.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html>
//!
//! ```no_run
//! # async fn example(lambda: std::sync::Arc<sandbox::Lambda>) -> Result<(), mappings::OpenError> {
//! let spec = "sqs:https://sqs.eu-west-1.amazonaws.com/123456789012/orders=worker".parse().unwrap();
//! let config = mappings::config().await;
//! let mapping = mappings::Mapping::open(spec, &config).await?;
//! mapping.run(lambda, |happened| eprintln!("{happened:?}")).await;
//! # Ok(())
//! # }
//! ```

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use sandbox::{InvokeOptions, Lambda};
use serde_json::Value;

mod answer;
mod events;
mod queue;
mod reader;
mod spec;
mod stream;

use answer::{Answer, Verdict};
pub use spec::{Kind, Spec, Start};

/// Longest that one request to AWS may take: a queue is asked for 20 seconds at a time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long is waited after an error of AWS, first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));

/// A source that is there, and the function that it is for.
#[derive(Debug)]
pub struct Mapping {
    spec: Spec,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Queue(queue::Queue),
    Stream(stream::Stream),
}

/// Why a source cannot be polled.
#[derive(Debug)]
pub struct OpenError {
    source: String,
    why: String,
}

/// What a mapping did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A function was given an event of so many records, and took all but so many of them.
    Delivered { records: usize, failed: usize },
    /// The function failed, or cannot be invoked: all of them come again.
    Failed { records: usize, why: String },
    /// Records of a stream were tried as often as they may be, and are passed over.
    GivenUp { records: usize },
    /// AWS answered with an error; it is asked again.
    Refused { why: String },
}

/// How AWS is found: the environment and the files that its command line reads as well.
pub async fn config() -> SdkConfig {
    use aws_smithy_http_client::Builder;
    use aws_smithy_http_client::tls::Provider;
    use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

    // ring compiles without cmake.
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).build();
    aws_config::from_env().http_client(https).timeout_config(timeouts).load().await
}

impl Mapping {
    /// Looks whether the source is there.
    pub async fn open(spec: Spec, config: &SdkConfig) -> Result<Self, OpenError> {
        let source = match spec.kind {
            Kind::Sqs | Kind::Sns | Kind::S3 | Kind::EventBridge => {
                queue::Queue::open(&spec, config).await.map(Source::Queue)
            }
            Kind::Kinesis | Kind::DynamoDb => stream::Stream::open(&spec, config).await.map(Source::Stream),
        };
        match source {
            Ok(source) => Ok(Self { spec, source }),
            Err(why) => Err(OpenError { source: spec.source, why }),
        }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Polls for as long as it is polled itself.
    pub async fn run(
        self,
        lambda: Arc<Lambda>,
        tell: impl Fn(Happened) + Send + Sync + 'static,
    ) -> Infallible {
        let to = Arc::new(Target { lambda, spec: self.spec, tell: Box::new(tell) });
        match self.source {
            Source::Queue(queue) => queue.run(&to).await,
            Source::Stream(stream) => stream.run(to).await,
        }
    }
}

/// Where events go.
struct Target {
    lambda: Arc<Lambda>,
    spec: Spec,
    tell: Box<dyn Fn(Happened) + Send + Sync>,
}

impl Target {
    /// Invokes with an event of these records, and says which of them are done.
    async fn deliver(&self, event: &Value, ids: &[String]) -> Verdict {
        let payload = event.to_string().into();
        let answer = self.lambda.invoke(&self.spec.function, payload, InvokeOptions::default()).await;
        let answer = match answer {
            Ok(answer) => match answer.function_error {
                Some(error) => {
                    Answer::Failed(format!("{error}: {}", String::from_utf8_lossy(&answer.payload)))
                }
                None => Answer::Response(answer.payload),
            },
            Err(error) => Answer::Failed(error.to_string()),
        };
        let verdict = answer.verdict(ids, self.spec.report_failures);
        let records = ids.len();
        (self.tell)(match &verdict {
            Verdict::Failed(why) => Happened::Failed { records, why: why.clone() },
            Verdict::Done(failed) => Happened::Delivered { records, failed: failed.len() },
        });
        verdict
    }

    /// Says that AWS did not do as asked, and waits before it is asked again.
    async fn refused(&self, why: String, backoff: &mut Backoff) {
        (self.tell)(Happened::Refused { why });
        backoff.wait().await;
    }
}

/// Waits that double.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(BACKOFF.0)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF.1);
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.why)
    }
}

impl std::error::Error for OpenError {}

/// An error of AWS with what it says.
fn explain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..4 {
        let Some(error) = cause else { break };
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
