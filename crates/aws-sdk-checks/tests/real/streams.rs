//! Pathways of messages, for Data Streams Monitoring: what our interceptor sends, Datadog's library for Python counts as
//! we would, and the other way round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datadog_aws_sdk::client;
use intake::Intake;
use model::{LatencySketch, PipelineStats, UnixNanos};
use opentelemetry::Context;
use opentelemetry::trace::FutureExt;
use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig};
use serde_json::{Value, json};
use streams::{Edge, Node, Pathway, Scope, Streams};
use tokio::sync::Mutex;

use crate::chain::{about_streams, fetch};
use crate::sqs::{event, first, queue, queue_arn};
use crate::world::{Caller, PYTHON_SERVICE, binaries, boto, endpoint, sdk_config, streams as python};

const PATIENCE: Duration = Duration::from_secs(120);

/// Python counts for all: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Somebody who sends.
struct Sender {
    caller: Caller,
    context: Context,
    scope: Scope,
}

impl Sender {
    fn new() -> Self {
        let about = PipelineStats { service: "rust-service".into(), ..PipelineStats::default() };
        let scope = Scope::new(Arc::new(Streams::new(about)), Pathway::new(UnixNanos(1)));
        let caller = Caller::new();
        let context = caller.context.with_value(scope.clone());
        Self { caller, context, scope }
    }

    /// The only point that was passed: its tags and its hash.
    fn sent(&self) -> (String, u64) {
        let mut all = self.scope.streams().take(UnixNanos(u64::MAX));
        assert_eq!((all.len(), all[0].buckets.len()), (1, 1), "{all:?}");
        let points = all.remove(0).buckets.remove(0).points;
        let [point] = &points[..] else { panic!("{points:?}") };
        assert_eq!(point.parent_hash, 0);
        (point.edge_tags.join(","), point.hash)
    }
}

/// What is counted of an event by Python is what we would count, of a service of its name: one record, sent by `parent`.
fn check_consumed(event: &Value, tags: &str, parent: u64) {
    let consumed = trigger::consumed(event);
    let [one] = &consumed[..] else { panic!("{consumed:?}") };
    let mut pathway = Pathway::received(one.pathway.as_deref(), UnixNanos(1));
    assert_eq!(pathway.hash(), parent, "{event}");
    let edge = Edge::consume(one.kind, &one.topic);
    let node = Node::new(PYTHON_SERVICE, Some("test"));
    let checkpoint = pathway.pass(&node, edge, 0, UnixNanos(1));
    assert_eq!(checkpoint.edge.tags().join(","), tags);
    let expect = json!([{"tags": tags, "hash": checkpoint.hash.to_string(), "parent": parent.to_string()}]);
    assert_eq!(python(&json!({"do": "consumed", "event": event})), expect, "{event}");
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn streams_sqs() {
    let _alone = ALONE.lock().await;
    let url = queue("streams");
    let sender = Sender::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    sqs.send_message()
        .queue_url(&url)
        .message_body("x")
        .send()
        .with_context(sender.context.clone())
        .await
        .unwrap();
    let (tags, hash) = sender.sent();
    assert_eq!(tags, "direction:out,topic:streams,type:sqs");
    assert_eq!(crate::world::tags(&sender.caller.span("SQS.SendMessage"))["pathway.hash"], hash.to_string());
    let event = event(&[first(&url)]);
    check_consumed(&event, &format!("direction:in,topic:{},type:sqs", queue_arn("orders")), hash);
    // In the local Lambda, whose extension passes on what the function counts.
    crate::world::check(&event, sender.caller.ids("SQS.SendMessage"));
    let of_function = |body: &[u8]| {
        let stats = rmpv::decode::read_value(&mut &body[..]).unwrap();
        assert_eq!((text(&stats, "Service"), text(&stats, "Lang")), ("rust".to_owned(), "rust".to_owned()));
        let points: Vec<_> = points(&stats).collect();
        points.iter().any(|point| get(point, "ParentHash").as_u64() == Some(hash))
    };
    crate::chain::streams_with(of_function);
}

/// A function with both libraries: what it is invoked by is counted by one, and what it sends goes on from there by the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn streams_through_a_function() {
    let url = queue("streams-through");
    let intake = Intake::start().await.unwrap();
    let program = binaries().join("rust-sqs-producer").to_string_lossy().into_owned();
    let function = FunctionConfig::new("producer", [program]).env("QUEUE_URL", &url);
    let function = crate::chain::beside_the_extension(function.env("AWS_ENDPOINT_URL", endpoint()), &intake);
    let lambda = Lambda::start(
        vec![function],
        LambdaConfig { region: "eu-west-1".to_owned(), ..LambdaConfig::default() },
    )
    .await
    .unwrap();
    let mut before = Pathway::new(UnixNanos::from_secs(1_700_000_000));
    let sent = before.pass(&Node::new("before", None), Edge::produce("sqs", "orders"), 1, UnixNanos(1));
    let carrier = json!({"dd-pathway-ctx-base64": before.encode()}).to_string();
    let attribute = json!({"dataType": "String", "stringValue": carrier});
    let record = json!({
        "eventSource": "aws:sqs", "eventSourceARN": queue_arn("orders"), "body": "x",
        "messageAttributes": {"_datadog": attribute},
    });
    let event = json!({"Records": [record]}).to_string();
    let answer = lambda.invoke("producer", event.into(), InvokeOptions::default()).await.unwrap();
    assert_eq!(answer.function_error, None, "{answer:?}");

    let node = Node::new("producer", None);
    let taken = before.pass(&node, Edge::consume("sqs", &queue_arn("orders")), 1, UnixNanos(1));
    let goes_on = before.pass(&node, Edge::produce("sqs", "streams-through"), 1, UnixNanos(1));
    assert_eq!((taken.parent_hash, goes_on.parent_hash), (sent.hash, taken.hash));
    assert_eq!(self::taken(&crate::sqs::event(&[first(&url)])), goes_on.hash);
    let deadline = Instant::now() + PATIENCE;
    assert!(intake.store().wait_until(|state| !about_streams(state).is_empty(), deadline).await);
    let number = intake.store().read(about_streams)[0];
    let body = fetch(&intake.url(), &format!("/local/requests/{number}/body")).unwrap();
    let stats = rmpv::decode::read_value(&mut &body[..]).unwrap();
    let mut hashes: Vec<_> = points(&stats).map(|point| get(point, "Hash").as_u64().unwrap()).collect();
    hashes.sort_unstable();
    let mut expect = [taken.hash, goes_on.hash];
    expect.sort_unstable();
    assert_eq!(hashes, expect);
}

fn get<'a>(map: &'a rmpv::Value, key: &str) -> &'a rmpv::Value {
    &map[key]
}

fn text(map: &rmpv::Value, key: &str) -> String {
    get(map, key).as_str().unwrap().to_owned()
}

fn points(stats: &rmpv::Value) -> impl Iterator<Item = &rmpv::Value> {
    let buckets = get(stats, "Stats").as_array().unwrap().iter();
    buckets.flat_map(|bucket| get(bucket, "Stats").as_array().unwrap())
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn streams_sns() {
    let _alone = ALONE.lock().await;
    let url = queue("streams-sns");
    let topic =
        boto("sns", "create_topic", json!({"Name": "streams"}))["TopicArn"].as_str().unwrap().to_owned();
    boto(
        "sns",
        "subscribe",
        json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue_arn("streams-sns")}),
    );
    let sender = Sender::new();
    let sns = client!(aws_sdk_sns, &sdk_config());
    sns.publish().topic_arn(&topic).message("x").send().with_context(sender.context.clone()).await.unwrap();
    let (tags, hash) = sender.sent();
    assert_eq!(tags, format!("direction:out,topic:{topic},type:sns"));
    let message = first(&url);
    let notification: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    check_consumed(&event(&[message]), &format!("direction:in,topic:{},type:sqs", queue_arn("orders")), hash);
    let to_function = json!({"Records": [{"EventSource": "aws:sns", "Sns": notification}]});
    check_consumed(&to_function, &format!("direction:in,topic:{topic},type:sns"), hash);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn streams_kinesis() {
    let _alone = ALONE.lock().await;
    boto("kinesis", "create_stream", json!({"StreamName": "streams", "ShardCount": 1}));
    let sender = Sender::new();
    let kinesis = client!(aws_sdk_kinesis, &sdk_config());
    let data = aws_sdk_kinesis::primitives::Blob::new("{}");
    let put = kinesis.put_record().stream_name("streams").partition_key("k").data(data);
    put.send().with_context(sender.context.clone()).await.unwrap();
    let (tags, hash) = sender.sent();
    assert_eq!(tags, "direction:out,topic:streams,type:kinesis");
    let (_, event) = crate::kinesis::records("streams").remove(0);
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    check_consumed(&event, &format!("direction:in,topic:{arn},type:kinesis"), hash);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn streams_eventbridge() {
    let _alone = ALONE.lock().await;
    let url = queue("streams-events");
    boto("events", "put_rule", json!({"Name": "streams", "EventPattern": "{\"source\":[\"streams\"]}"}));
    let target = json!({"Id": "1", "Arn": queue_arn("streams-events")});
    boto("events", "put_targets", json!({"Rule": "streams", "Targets": [target]}));
    let sender = Sender::new();
    let events = client!(aws_sdk_eventbridge, &sdk_config());
    let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder();
    let entry = entry.source("streams").detail_type("order created").detail("{}").build();
    events.put_events().entries(entry).send().with_context(sender.context.clone()).await.unwrap();
    let (tags, hash) = sender.sent();
    assert_eq!(tags, "direction:out,exchange:default,topic:order created,type:eventbridge");
    let message = first(&url);
    let to_function: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    check_consumed(&event(&[message]), &format!("direction:in,topic:{},type:sqs", queue_arn("orders")), hash);
    check_consumed(&to_function, "direction:in,topic:order created,type:eventbridge", hash);
}

/// What Python's tracer counts of a send, which we compute alike, and what is in the message.
fn sent_by_python(service: &str, method: &str, arguments: Value, edge: Edge) -> u64 {
    python(&json!({"do": "counted"}));
    let of = json!({"do": "traced", "endpoint": endpoint(), "service": service, "method": method, "arguments": arguments});
    python(&of);
    let node = Node::new(PYTHON_SERVICE, Some("test"));
    let sent = Pathway::new(UnixNanos(1)).pass(&node, edge, 0, UnixNanos(1));
    let expect = json!([{"tags": sent.edge.tags().join(","), "hash": sent.hash.to_string(), "parent": "0"}]);
    assert_eq!(python(&json!({"do": "counted"})), expect);
    sent.hash
}

fn taken(event: &Value) -> u64 {
    let consumed = trigger::consumed(event);
    Pathway::decode(consumed[0].pathway.as_deref().unwrap()).unwrap().hash()
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn streams_of_python() {
    let _alone = ALONE.blocking_lock();
    let url = queue("streams-of-python");
    let edge = Edge::produce("sqs", "streams-of-python");
    let sent = sent_by_python("sqs", "send_message", json!({"QueueUrl": url, "MessageBody": "x"}), edge);
    assert_eq!(taken(&event(&[first(&url)])), sent);

    boto("kinesis", "create_stream", json!({"StreamName": "streams-of-python", "ShardCount": 1}));
    let data = json!({"base64": "e30="});
    let put = json!({"StreamName": "streams-of-python", "PartitionKey": "k", "Data": data});
    let sent = sent_by_python("kinesis", "put_record", put, Edge::produce("kinesis", "streams-of-python"));
    assert_eq!(taken(&crate::kinesis::records("streams-of-python").remove(0).1), sent);

    let url = queue("streams-of-python-sns");
    let topic = boto("sns", "create_topic", json!({"Name": "streams-of-python"}))["TopicArn"].clone();
    let endpoint = queue_arn("streams-of-python-sns");
    boto("sns", "subscribe", json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": endpoint}));
    let edge = Edge::produce("sns", topic.as_str().unwrap());
    let sent = sent_by_python("sns", "publish", json!({"TopicArn": topic, "Message": "x"}), edge);
    assert_eq!(taken(&event(&[first(&url)])), sent);

    let url = queue("streams-of-python-events");
    boto(
        "events",
        "put_rule",
        json!({"Name": "streams-py", "EventPattern": "{\"source\":[\"streams-py\"]}"}),
    );
    let target = json!({"Id": "1", "Arn": queue_arn("streams-of-python-events")});
    boto("events", "put_targets", json!({"Rule": "streams-py", "Targets": [target]}));
    let entry = json!({"Source": "streams-py", "DetailType": "t", "Detail": "{\"order\":17}"});
    let edge = Edge::produce("eventbridge", "t").through("default");
    let sent = sent_by_python("events", "put_events", json!({"Entries": [entry]}), edge);
    assert_eq!(taken(&event(&[first(&url)])), sent);
}

/// Latencies are told in the bytes that Python's tracer tells them in.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn streams_sketches() {
    let _alone = ALONE.blocking_lock();
    for seconds in [0.0, 1e-9, 0.000_123, 0.25, 1.0, 7.5, 3600.0, 604_800.0] {
        let mut sketch = LatencySketch::default();
        sketch.insert(Duration::from_secs_f64(seconds));
        let ours: String =
            wire::pipeline_stats::sketch(&sketch).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(python(&json!({"do": "sketch", "seconds": seconds})), ours, "{seconds}");
    }
}
