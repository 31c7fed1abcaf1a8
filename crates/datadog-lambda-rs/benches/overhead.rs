//! What tracing adds to an invocation, in CPU time of the function's thread: a handler with ten child spans,
//! bare and traced, with an HTTP event and an agent on loopback that answers at once.
//!
//! `cargo bench -p datadog-lambda-rs`. Fails when it adds more than the budget.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench"
)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use datadog_lambda_rs::{DatadogLayer, TracedHandler};
use lambda_runtime::{Context, Error, LambdaEvent, LambdaInvocation, Service, service_fn};
use serde_json::{Value, json};
use tower::Layer;

const EVENT: &str = include_str!("../../testkit/events/http-api.json");
const SPANS: usize = 10;
const ROUNDS: usize = 2000;
const BUDGET: Duration = Duration::from_micros(150);

fn main() {
    let port = agent();
    let before = cpu();
    datadog_lambda_rs::builder().service("bench").set("DD_TRACE_AGENT_PORT", port.to_string()).init();
    println!("CPU of init: {:.1?}", cpu().saturating_sub(before));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bare = measure(&mut runtime_of(service_fn(without_spans))).await;
        let handler = TracedHandler::<_, Value, lambda_runtime::streaming::Body>::new(service_fn(with_spans));
        let mut traced = DatadogLayer::new().layer(runtime_of(handler));
        let traced = measure(&mut traced).await;
        let added = traced.saturating_sub(bare);
        println!(
            "CPU per invocation: bare {bare:.1?}, traced with {SPANS} spans {traced:.1?}: {added:.1?} added"
        );
        assert!(added < BUDGET, "more than {BUDGET:?}");
    });
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

async fn measure(service: &mut impl Service<LambdaInvocation, Response = (), Error = Error>) -> Duration {
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

/// CPU time of this thread.
fn cpu() -> Duration {
    // The kernel counts a thread that runs at its next switch.
    std::thread::sleep(Duration::from_millis(1));
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Answers whatever comes on each connection.
fn agent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
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
    });
    port
}
