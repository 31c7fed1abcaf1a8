//! What the interceptor costs a call, in CPU time: the same call of a real client with and without it, over a connector
//! that answers at once. The difference is what is ours, its span included.
//!
//! `cargo bench -p datadog-aws-sdk --bench call`

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{Builder, Credentials, Region};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use datadog_aws_sdk::DatadogInterceptor;
use opentelemetry::trace::{FutureExt, TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::SdkTracerProvider;

/// What a call may take longer with the interceptor. Beyond it the benchmark fails.
const BUDGET: Duration = Duration::from_micros(20);

fn main() -> ExitCode {
    global::set_tracer_provider(SdkTracerProvider::builder().build());
    divan::main();
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let added = SIZES.iter().map(|size| (size, added(*size)));
    let added: Vec<_> = added.inspect(|(size, added)| eprintln!("{size} bytes: {added:?} added")).collect();
    if added.iter().all(|(_, added)| *added < BUDGET) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// By the fastest of many rounds of each kind in turn, which is what other programs disturb least.
fn added(size: usize) -> Duration {
    const ROUNDS: u32 = 400;
    const CALLS: u32 = 20;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let context = Context::new().with_span(global::tracer("bench").start("caller"));
    let body = "x".repeat(size);
    let clients = [client(false), client(true)];
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (client, fastest) in clients.iter().zip(&mut fastest) {
            let begin = Instant::now();
            for _ in 0..CALLS {
                let send =
                    client.send_message().queue_url("http://x/123456789012/orders").message_body(&body);
                runtime.block_on(send.send().with_context(context.clone())).unwrap();
            }
            *fastest = begin.elapsed().min(*fastest);
        }
    }
    let [without, with] = fastest;
    with.saturating_sub(without) / CALLS
}

/// Answers at once.
#[derive(Clone, Debug)]
struct AtOnce;

impl HttpConnector for AtOnce {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let body = SdkBody::from(r#"{"MessageId":"m"}"#);
        HttpConnectorFuture::ready(Ok(HttpResponse::new(StatusCode::try_from(200).unwrap(), body)))
    }
}

fn client(traced: bool) -> Client {
    let connector = |_: &HttpConnectorSettings, _: &RuntimeComponents| SharedHttpConnector::new(AtOnce);
    let mut config = Builder::new()
        .behavior_version_latest()
        .endpoint_url("http://127.0.0.1:1")
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .http_client(http_client_fn(connector));
    if traced {
        config.push_interceptor(aws_sdk_sqs::config::SharedInterceptor::new(DatadogInterceptor::new()));
    }
    Client::from_conf(config.build())
}

/// Bytes of the message.
const SIZES: &[usize] = &[100, 10_000];

fn send(bencher: divan::Bencher<'_, '_>, traced: bool, size: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = client(traced);
    let body = "x".repeat(size);
    let context = Context::new().with_span(global::tracer("bench").start("caller"));
    bencher.bench_local(|| {
        let send = client.send_message().queue_url("http://x/123456789012/orders").message_body(&body);
        runtime.block_on(send.send().with_context(context.clone())).unwrap()
    });
}

#[divan::bench(args = SIZES, sample_count = 200, sample_size = 20)]
fn without(bencher: divan::Bencher<'_, '_>, size: usize) {
    send(bencher, false, size);
}

#[divan::bench(args = SIZES, sample_count = 200, sample_size = 20)]
fn with(bencher: divan::Bencher<'_, '_>, size: usize) {
    send(bencher, true, size);
}
