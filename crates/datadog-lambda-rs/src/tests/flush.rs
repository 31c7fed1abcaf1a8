//! What sending costs, and what becomes of that which cannot be sent.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::Context;
use opentelemetry::trace::{Span as _, Tracer};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use serde_json::{Value, json};

use super::agent::Manner;
use super::world::{World, context};

/// Far more than any budget, far less than a test may take.
const MOST: Duration = Duration::from_secs(10);

fn echo() -> impl lambda_runtime::Service<LambdaEvent<Value>, Response = Value, Error = Error> {
    service_fn(|event: LambdaEvent<Value>| async move { Ok::<_, Error>(event.payload) })
}

#[tokio::test]
async fn an_agent_that_hangs_costs_one_budget_and_no_answer() {
    let world = World::with(Manner::Hangs, |_| {}).await;
    let start = Instant::now();
    for n in 0..50 {
        let answer = world.call(&json!({"n": n}).to_string(), echo()).await.unwrap();
        assert_eq!(answer, json!({"n": n}));
    }
    assert!(start.elapsed() < MOST, "{:?}", start.elapsed());
    assert_eq!(world.agent.take().len(), 1);
}

#[tokio::test]
async fn without_time_left_nothing_is_waited_for() {
    let world = World::with(Manner::Hangs, |_| {}).await;
    let mut late = context("late");
    late.deadline = 1;
    let answer = world.call_as(late, "7", echo()).await.unwrap();
    assert_eq!(answer, json!(7));
    assert_eq!(world.agent.take(), []);
    assert_eq!(world.datadog.take_dropped(), 0);
}

#[tokio::test]
async fn what_could_not_be_sent_goes_with_the_next() {
    let world = World::new().await;
    let mut late = context("late");
    late.deadline = 1;
    world.call_as(late, "7", echo()).await.unwrap();
    world.call("7", echo()).await.unwrap();
    let chunks = world.agent.take();
    let of = |n: usize| chunks[n].spans[0].meta.get("request_id").unwrap().as_ref();
    assert_eq!((chunks.len(), of(0), of(1)), (2, "req-1", "late"));
    assert_eq!(chunks[0].spans[0].metrics.get("datadog_lambda.dropped_spans"), None);
}

#[tokio::test]
async fn what_was_lost_is_told_with_the_next_trace() {
    let world = World::new().await;
    let tracer = world.tracer.clone();
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        for _ in 0..80 {
            let mut span = tracer.start("big");
            span.set_attribute(opentelemetry::KeyValue::new("text", "x".repeat(20_000)));
        }
        Ok::<_, Error>(Value::Null)
    });
    let mut late = context("late");
    late.deadline = 1;
    // More than is kept.
    world.call_as(late, "7", handler).await.unwrap();
    world.call("7", echo()).await.unwrap();
    let dropped = world.chunk().spans[0].metrics.get("datadog_lambda.dropped_spans").copied();
    assert_eq!(dropped, Some(82.0));
    world.call("7", echo()).await.unwrap();
    assert_eq!(world.chunk().spans[0].metrics.get("datadog_lambda.dropped_spans"), None);
}

/// Its memory is bounded, and so is its time: nothing is encoded for an agent that is left alone.
#[tokio::test]
async fn an_agent_that_is_gone_costs_a_bounded_memory() {
    let world = World::with(Manner::Dies, |_| {}).await;
    let tracer = world.tracer.clone();
    let handler = || {
        service_fn(|_: LambdaEvent<Value>| async {
            let mut span = tracer.start("big");
            span.set_attribute(opentelemetry::KeyValue::new("text", "x".repeat(20_000)));
            Ok::<_, Error>(Value::Null)
        })
    };
    for _ in 0..200 {
        world.call("7", handler()).await.unwrap();
    }
    let kept = world.datadog.spans.take_loose();
    let weight: usize = kept.iter().map(model::Chunk::weight).sum();
    assert!((500_000..=1024 * 1024).contains(&weight), "{weight}");
    // Each invocation has two spans, the first one more; what reached the agent before it died counts as kept.
    let kept: usize = kept.iter().map(|chunk| chunk.spans.len()).sum();
    assert_eq!(world.datadog.take_dropped() as usize + kept, 401);
}

#[tokio::test]
async fn without_an_extension_traces_are_lines() {
    let world = World::with(Manner::Answers, |s| s.agent = None).await;
    let handler = service_fn(|_: LambdaEvent<Value>| async { Err::<Value, Error>("no stock".into()) });
    world.call(testkit::event("http-api"), handler).await.unwrap_err();
    let lines = world.lines();
    let metrics: Vec<_> = lines.iter().filter_map(|line| line["m"].as_str()).collect();
    assert_eq!(metrics, ["aws.lambda.enhanced.invocations", "aws.lambda.enhanced.errors"]);
    let tags = lines[0]["t"].as_array().unwrap();
    for tag in ["functionname:orders-api", "region:eu-west-1", "account_id:123456789012", "cold_start:true"] {
        assert!(tags.contains(&json!(tag)), "{tag} in {tags:?}");
    }
    let spans: Vec<_> = lines.iter().filter_map(|line| line["traces"][0].as_array()).flatten().collect();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["aws.httpapi", "aws.lambda", "aws.lambda.cold_start", "aws.lambda.load"]);
    let id = |n: usize, key: &str| spans[n][key].as_str().unwrap().to_owned();
    assert_eq!((id(2, "parent_id"), id(3, "parent_id")), (id(0, "span_id"), id(2, "span_id")));
    assert_eq!(spans[0]["trace_id"], "112210f47de98115");
    assert_eq!(world.agent.take(), []);
}

#[tokio::test]
async fn a_span_that_ends_late_goes_with_the_next_invocation() {
    let world = World::new().await;
    let late = Arc::new(Mutex::new(None));
    let keep = late.clone();
    let tracer = world.tracer.clone();
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        *keep.lock().unwrap() = Some(tracer.start("late"));
        Ok::<_, Error>(Value::Null)
    });
    world.call(testkit::event("http-api"), handler).await.unwrap();
    let first = world.chunk();
    late.lock().unwrap().take().unwrap().end();
    tracer.start_with_context("outside", &Context::new()).end();
    world.call(testkit::event("direct"), echo()).await.unwrap();
    let chunks = world.agent.take();
    let names: Vec<Vec<_>> =
        chunks.iter().map(|c| c.spans.iter().map(|s| s.name.as_ref()).collect()).collect();
    assert_eq!(names, [vec!["aws.lambda"], vec!["late"], vec!["outside"]]);
    let late = &chunks[1].spans[0];
    assert_eq!(late.trace_id, first.spans[0].trace_id);
    assert_eq!(late.meta.get("_dd.p.tid").unwrap(), "66a1b2c300000000");
    assert_eq!(late.metrics.get("_sampling_priority_v1"), Some(&1.0));
}

#[tokio::test]
async fn spans_beyond_the_bound_are_dropped_and_counted() {
    let world = World::new().await;
    let tracer = world.tracer.clone();
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        for _ in 0..300 {
            let mut span = tracer.start("big");
            span.set_attribute(opentelemetry::KeyValue::new("text", "x".repeat(20_000)));
        }
        Ok::<_, Error>(Value::Null)
    });
    world.call(testkit::event("direct"), handler).await.unwrap();
    let spans = world.chunk().spans;
    let kept = spans.iter().filter(|s| s.name == "big").count();
    assert!((100..300).contains(&kept), "{kept}");
    let dropped = spans[0].metrics.get("datadog_lambda.dropped_spans").copied();
    assert_eq!(dropped, Some((300 - kept) as f64));
}

/// Blocks in its flush until it is let go.
#[derive(Debug)]
struct Stuck {
    flushes: mpsc::Sender<()>,
    release: Mutex<mpsc::Receiver<()>>,
}

impl SpanProcessor for Stuck {
    fn on_start(&self, _: &mut Span, _: &Context) {}
    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        let _ = self.flushes.send(());
        let _ = self.release.lock().unwrap().recv();
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_provider_that_hangs_is_left_behind() {
    let world = World::new().await;
    let ((flushes, flushed), (release, released)) = (mpsc::channel(), mpsc::channel());
    let stuck = Stuck { flushes, release: Mutex::new(released) };
    world.datadog.set_provider(SdkTracerProvider::builder().with_span_processor(stuck).build());
    let start = Instant::now();
    for _ in 0..50 {
        world.call("{}", echo()).await.unwrap();
    }
    assert!(start.elapsed() < MOST, "{:?}", start.elapsed());
    assert_eq!(world.agent.take().len(), 50);
    assert_eq!(flushed.try_iter().count(), 1);
    // Once it is through, it is flushed again.
    release.send(()).unwrap();
    drop(release);
    while flushed.try_recv().is_err() {
        world.call("{}", echo()).await.unwrap();
        std::thread::yield_now();
    }
}
