//! Checkpoints of Data Streams Monitoring: what an event was taken from, and what is sent on.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use model::UnixNanos;
use opentelemetry::Context;
use serde_json::{Value, json};
use streams::{Edge, Pathway, Scope};

use super::agent::{Manner, Request};
use super::world::{World, context};
use crate::agent::lock;
use crate::settings::Settings;
use crate::{data_streams, ids};

const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:orders";
/// The pathway that a producer `my-svc` writes who sends to `my-queue`.
const SENT: &str = "zUpYRZpkOBTE58Cfj2LI2cOfj2I=";

fn monitored(settings: &mut Settings) {
    settings.data_streams = true;
    settings.service = Some("other-svc".to_owned());
    settings.env = Some("prod".to_owned());
}

fn message(queue: &str, pathway: Option<&str>) -> Value {
    let carrier = json!({"dd-pathway-ctx-base64": pathway}).to_string();
    json!({
        "eventSource": "aws:sqs", "eventSourceARN": queue, "body": "x",
        "messageAttributes": {"_datadog": {"dataType": "String", "stringValue": carrier}},
    })
}

/// Sends as the interceptor does: the pathway that goes with what is sent.
fn send() -> Pathway {
    let scope = Scope::of(&Context::current()).unwrap();
    let (checkpoint, text) = scope.pass(Edge::produce("sqs", "next"), 1, ids::now());
    scope.streams().count(&checkpoint);
    Pathway::decode(&text).unwrap()
}

fn says(requests: &[Request], what: &str) -> usize {
    // What is in it is stored, not compressed.
    requests.iter().map(|request| String::from_utf8_lossy(&request.body).matches(what).count()).sum()
}

#[tokio::test]
async fn what_an_event_was_taken_from_is_counted_and_goes_on() {
    let world = World::with(Manner::Answers, monitored).await;
    let handler = service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(send().hash().to_string()) });
    let queue = "arn:aws:sqs:us-east-1:123456789012:my-queue";
    let event = json!({"Records": [message(queue, Some(SENT)), message(QUEUE, None)]}).to_string();
    let sent = world.call(&event, handler).await.unwrap();
    // The hash that Datadog's tracer for Python gives to the same.
    let root = world.chunk().spans.into_iter().find(|span| span.name == "aws.lambda").unwrap();
    assert_eq!(root.meta.get("pathway.hash").map(AsRef::as_ref), Some("4287093726462857044"));
    let mut expect = Pathway::decode(SENT).unwrap();
    let node = streams::Node::new("other-svc", Some("prod"));
    expect.pass(&node, Edge::consume("sqs", queue), 1, UnixNanos(0));
    expect.pass(&node, Edge::produce("sqs", "next"), 1, UnixNanos(0));
    assert_eq!(sent, expect.hash().to_string());
    let requests = std::mem::take(&mut *lock(&world.agent.streams));
    assert!(requests[0].head.contains("\r\nContent-Encoding: gzip"), "{}", requests[0].head);
    let counts = ["direction:in", "direction:out", "other-svc", QUEUE, queue, "topic:next"];
    assert_eq!(counts.map(|what| says(&requests, what)), [2, 1, 1, 1, 1, 1]);
    // Nothing is told twice.
    world.call("{}", service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(()) })).await.unwrap();
    assert!(lock(&world.agent.streams).is_empty());
}

#[tokio::test]
async fn each_record_has_a_pathway_of_its_own() {
    let world = World::with(Manner::Answers, monitored).await;
    let hash = |record: Value| {
        let context = data_streams::with_record(&world.datadog, Context::new(), &record);
        let scope = Scope::of(&context).unwrap();
        scope.pass(Edge::produce("sqs", "next"), 1, ids::now()).0.parent_hash
    };
    let from = |topic: &str, text: Option<&str>| {
        let mut pathway = Pathway::received(text, UnixNanos(0));
        let node = world.datadog.streams.as_ref().unwrap().node();
        pathway.pass(node, Edge::consume("sqs", topic), 1, UnixNanos(0)).hash
    };
    assert_eq!(hash(message(QUEUE, Some(SENT))), from(QUEUE, Some(SENT)));
    assert_eq!(hash(message(QUEUE, None)), from(QUEUE, None));
    let none = data_streams::with_record(&world.datadog, Context::new(), &json!({"eventSource": "aws:s3"}));
    assert!(Scope::of(&none).is_none());
}

#[tokio::test]
async fn the_bus_of_events_is_what_is_set() {
    let world = World::with(Manner::Answers, |settings| {
        monitored(settings);
        settings.exchange = Some("shop-bus".to_owned());
    })
    .await;
    let event = json!({"source": "shop", "detail-type": "order created", "detail": {}}).to_string();
    let handler = service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(()) });
    world.call(&event, handler).await.unwrap();
    let requests = lock(&world.agent.streams);
    let counts = ["exchange:shop-bus", "topic:order created", "type:eventbridge"];
    assert_eq!(counts.map(|what| says(&requests, what)), [1, 1, 1]);
}

/// What finds no time is told with the next.
#[tokio::test]
async fn what_is_not_sent_is_kept() {
    let world = World::with(Manner::Answers, monitored).await;
    let event = json!({"Records": [message(QUEUE, Some(SENT))]}).to_string();
    let handler = || service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(()) });
    let mut late = context("late");
    late.deadline = 1;
    world.call_as(late, &event, handler()).await.unwrap();
    assert!(lock(&world.agent.streams).is_empty());
    world.call("{}", handler()).await.unwrap();
    assert_eq!(says(&lock(&world.agent.streams), QUEUE), 1);
    let dead = World::with(Manner::Dies, monitored).await;
    dead.call(&event, handler()).await.unwrap();
    assert_eq!(dead.datadog.streams.as_ref().unwrap().take_kept().len(), 1);
}

#[tokio::test]
async fn without_the_setting_nothing_is_counted() {
    let world = World::new().await;
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        Ok::<_, Error>(Scope::of(&Context::current()).is_some())
    });
    let event = json!({"Records": [message(QUEUE, Some(SENT))]}).to_string();
    assert_eq!(world.call(&event, handler).await.unwrap(), json!(false));
    assert!(lock(&world.agent.streams).is_empty());
    let lacking = Settings { data_streams: true, ..Settings::default() };
    assert!(data_streams::of(&lacking).is_none());
    assert_eq!(lacking.lacks_agent().unwrap().key, "DD_DATA_STREAMS_ENABLED");
}
