//! The CPU time of an invocation: a handler with ten child spans and an HTTP event, called as `lambda_runtime` calls
//! it, beside an agent on loopback that answers at once.
//!
//! `lambda_runtime`'s own layer makes a span of the invocation, and leaves it and those under it to a provider of
//! OpenTelemetry's. That one's exporter takes the spans and does nothing: no encoding, no sending, no trace context,
//! nothing of the event. So it is the least that any exporter behind that layer costs.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use datadog_lambda_rs::{DatadogLayer, TracedHandler};
use lambda_runtime::layers::OpenTelemetryLayer;
use lambda_runtime::{Context, Error, LambdaEvent, LambdaInvocation, Service, service_fn};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::{Value, json};
use tower::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const EVENT: &str = include_str!("../../../testkit/events/http-api.json");
pub(crate) const SPANS: usize = 10;
const ROUNDS: usize = 2000;
/// The thread that is not the function's.
const AGENT: &str = "bench-agent";

/// What sits around the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stack {
    /// Nothing, and the handler makes no spans.
    Bare,
    OpenTelemetry,
    Ours,
}

impl Stack {
    pub(crate) const ALL: [Self; 3] = [Self::Bare, Self::OpenTelemetry, Self::Ours];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::OpenTelemetry => "opentelemetry",
            Self::Ours => "ours",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|stack| stack.name() == name).unwrap()
    }
}

pub(crate) fn measure(stack: Stack) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match stack {
            Stack::Bare => rounds(&mut runtime_of(service_fn(without_spans))).await,
            Stack::OpenTelemetry => {
                let provider = SdkTracerProvider::builder().with_simple_exporter(Nowhere).build();
                let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
                tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();
                let layer = OpenTelemetryLayer::new(move || drop(provider.force_flush()));
                rounds(&mut layer.layer(runtime_of(service_fn(with_spans)))).await
            }
            Stack::Ours => {
                let port = agent().to_string();
                datadog_lambda_rs::builder().service("bench").set("DD_TRACE_AGENT_PORT", port).init();
                let handler =
                    TracedHandler::<_, Value, lambda_runtime::streaming::Body>::new(service_fn(with_spans));
                rounds(&mut DatadogLayer::new().layer(runtime_of(handler))).await
            }
        }
    })
}

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        std::hint::black_box(spans);
        Ok(())
    }
}

async fn without_spans(_: LambdaEvent<Value>) -> Result<Value, Error> {
    Ok(json!({"statusCode": 200}))
}

async fn with_spans(_: LambdaEvent<Value>) -> Result<Value, Error> {
    for n in 0..SPANS {
        tracing::info_span!("work", n, item = "book").in_scope(|| {});
    }
    Ok(json!({"statusCode": 200}))
}

/// As `lambda_runtime` does: deserialises the event, calls the handler.
fn runtime_of<H, R>(handler: H) -> impl Service<LambdaInvocation, Response = (), Error = Error>
where
    H: Service<LambdaEvent<Value>, Response = R> + Clone,
{
    service_fn(move |invocation: LambdaInvocation| {
        let payload: Value = serde_json::from_slice(&invocation.body).unwrap();
        let mut handler = handler.clone();
        let future = handler.call(LambdaEvent::new(payload, invocation.context));
        async move {
            assert!(future.await.is_ok());
            Ok::<(), Error>(())
        }
    })
}

async fn rounds(service: &mut impl Service<LambdaInvocation, Response = (), Error = Error>) -> Duration {
    let mut before = Duration::ZERO;
    for n in 0..ROUNDS * 2 {
        // The first half warms up.
        if n == ROUNDS {
            before = cpu();
        }
        let (parts, ()) = http::Response::new(()).into_parts();
        let mut context = Context::default();
        context.request_id = format!("req-{n}");
        context.invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:bench".to_owned();
        context.deadline = u64::MAX / 2_000_000;
        let invocation = LambdaInvocation { parts, body: Bytes::from_static(EVENT.as_bytes()), context };
        service.call(invocation).await.unwrap();
    }
    (cpu() - before) / u32::try_from(ROUNDS).unwrap()
}

/// CPU time of this process, without the agent.
fn cpu() -> Duration {
    // The kernel counts a thread that runs at its next switch.
    std::thread::sleep(Duration::from_millis(1));
    let mut all = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let read = |name| std::fs::read_to_string(path.join(name)).unwrap();
        if read("comm").trim() != AGENT {
            all += Duration::from_nanos(read("schedstat").split(' ').next().unwrap().parse().unwrap());
        }
    }
    all
}

/// Answers whatever comes, one connection after the other.
fn agent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::Builder::new().name(AGENT.to_owned());
    let serve = move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
            loop {
                let n = stream.read(&mut buffer).unwrap_or(0);
                if n == 0 {
                    break;
                }
                bytes.extend_from_slice(&buffer[..n]);
                let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
                if bytes.len() >= end + 4 + length.parse::<usize>().unwrap() {
                    bytes.clear();
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                }
            }
        }
    };
    thread.spawn(serve).unwrap();
    port
}
