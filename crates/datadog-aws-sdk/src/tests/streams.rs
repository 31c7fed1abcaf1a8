//! Pathways of messages: what each operation sends along them, what is counted of it, and what goes on from a message
//! that was received.

use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::{PipelinePoint, PipelineStats, UnixNanos};
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};
use streams::{Edge, Pathway, Scope, Streams};

use super::messages::client;
use super::{answer, caller, spans, whole_server};
use crate::carrier::Carrier;
use crate::data_streams::{Flow, now};
use crate::inject::{Injection, Told};
use crate::{received, trace_message};

fn scope() -> Scope {
    let about = PipelineStats { service: "shop".into(), ..PipelineStats::default() };
    Scope::new(Arc::new(Streams::new(about)), Pathway::new(now()))
}

fn points(scope: &Scope) -> Vec<PipelinePoint> {
    let all = scope.streams().take(UnixNanos(u64::MAX)).into_iter().flat_map(|stats| stats.buckets);
    all.flat_map(|bucket| bucket.points).collect()
}

/// The hash of a service that sends to something and has received nothing.
fn first(edge: Edge) -> u64 {
    let node = streams::Node::new("shop", None);
    Pathway::new(UnixNanos(1)).pass(&node, edge, 0, UnixNanos(1)).hash
}

/// Has an operation send a request along a pathway: the request's body, and the tags of what is counted.
fn sent(
    service: &str,
    operation: &str,
    headers: &[(&'static str, &'static str)],
    body: &str,
) -> (String, Vec<String>) {
    let scope = scope();
    let mut request = HttpRequest::new(SdkBody::from(body));
    for (name, value) in headers {
        request.headers_mut().insert(*name, *value);
    }
    let told = Told::new(Carrier::default(), 0).along(Some(Flow::new(scope.clone())));
    Injection::of(service, operation).unwrap().apply(&mut request, &told);
    told.passed().unwrap().count();
    let tags = points(&scope).iter().map(|point| point.edge_tags.join(",")).collect();
    (String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap(), tags)
}

const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The pathway in a carrier.
fn pathway(carrier: &str) -> u64 {
    let carrier: Value = serde_json::from_str(carrier).unwrap();
    Pathway::decode(carrier["dd-pathway-ctx-base64"].as_str().unwrap()).unwrap().hash()
}

#[test]
fn messages_of_sqs_and_sns() {
    let body = r#"{"QueueUrl":"http://x/1/orders","Entries":[{"Id":"1","MessageBody":"x"},{"Id":"2","MessageBody":"y"}]}"#;
    let target = ("x-amz-target", "AmazonSQS.SendMessageBatch");
    let (body, tags) = sent("SQS", "SendMessageBatch", &[JSON, target], body);
    assert_eq!(tags, ["direction:out,topic:orders,type:sqs"]);
    let body: Value = serde_json::from_str(&body).unwrap();
    for entry in body["Entries"].as_array().unwrap() {
        let carrier = entry["MessageAttributes"]["_datadog"]["StringValue"].as_str().unwrap();
        assert_eq!(pathway(carrier), first(Edge::produce("sqs", "orders")));
    }
    let topic = "arn:aws:sns:eu-west-1:1:orders";
    let form = "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A1%3Aorders&Message=x";
    let (form, tags) = sent("SNS", "Publish", &[FORM], form);
    assert_eq!(tags, [format!("direction:out,topic:{topic},type:sns")]);
    let value = form.rsplit_once('=').unwrap().1.replace("%3D", "=").replace("%2B", "+").replace("%2F", "/");
    let carrier = String::from_utf8(BASE64_STANDARD.decode(value).unwrap()).unwrap();
    assert_eq!(pathway(&carrier), first(Edge::produce("sns", topic)));
}

#[test]
fn records_of_streams_and_events() {
    let target = ("x-amz-target", "Kinesis_20131202.PutRecords");
    let data = BASE64_STANDARD.encode("{\"n\": 1.0}");
    let body = format!(r#"{{"StreamName":"orders","Records":[{{"Data":"{data}","PartitionKey":"k"}}]}}"#);
    let (body, tags) = sent("Kinesis", "PutRecords", &[JSON, target], &body);
    assert_eq!(tags, ["direction:out,topic:orders,type:kinesis"]);
    let body: Value = serde_json::from_str(&body).unwrap();
    let data = BASE64_STANDARD.decode(body["Records"][0]["Data"].as_str().unwrap()).unwrap();
    let data: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(pathway(&data["_datadog"].to_string()), first(Edge::produce("kinesis", "orders")));

    let entry = |bus: Value| json!({"Source": "s", "DetailType": "t", "Detail": "{}", "EventBusName": bus});
    let body = json!({"Entries": [entry("shop".into()), entry(Value::Null)]}).to_string();
    let target = ("x-amz-target", "AWSEvents.PutEvents");
    let (body, mut tags) = sent("EventBridge", "PutEvents", &[JSON, target], &body);
    tags.sort();
    let expect =
        ["default", "shop"].map(|bus| format!("direction:out,exchange:{bus},topic:t,type:eventbridge"));
    assert_eq!(tags, expect);
    let body: Value = serde_json::from_str(&body).unwrap();
    for (n, bus) in ["shop", "default"].iter().enumerate() {
        let detail: Value = serde_json::from_str(body["Entries"][n]["Detail"].as_str().unwrap()).unwrap();
        let expect = first(Edge::produce("eventbridge", "t").through(bus));
        assert_eq!(pathway(&detail["_datadog"].to_string()), expect);
    }
}

/// A message with no room for a pathway is told the ids, and one with no room for any attribute is counted as well.
#[test]
fn without_room_a_message_is_counted() {
    let body = |length: usize| format!(r#"{{"QueueUrl":"u/orders","MessageBody":"{}"}}"#, "x".repeat(length));
    let target = ("x-amz-target", "AmazonSQS.SendMessage");
    let told = |length: usize| {
        let ids = [("x-datadog-trace-id".to_owned(), "1".to_owned())];
        let carrier = Carrier { all: ids.clone().into(), ids: ids.into() };
        let told = Told::new(carrier, 0).along(Some(Flow::new(scope())));
        let mut request = HttpRequest::new(SdkBody::from(body(length)));
        for (name, value) in [JSON, target] {
            request.headers_mut().insert(name, value);
        }
        Injection::of("SQS", "SendMessage").unwrap().apply(&mut request, &told);
        let text = String::from_utf8_lossy(request.body().bytes().unwrap()).into_owned();
        assert!(told.passed().unwrap().hash().is_some());
        (text.contains("x-datadog-trace-id"), text.contains("dd-pathway-ctx-base64"))
    };
    const LIMIT: usize = 1024 * 1024;
    assert_eq!(told(10), (true, true));
    assert_eq!(told(LIMIT - 60), (true, false));
    assert_eq!(told(LIMIT - 10), (false, false));
}

#[tokio::test]
async fn what_a_call_sends_is_counted_once_it_has_succeeded() {
    let kind = "content-type: application/x-amz-json-1.0\r\n";
    let refused = answer("400 Bad", kind, r#"{"__type":"QueueDoesNotExist"}"#);
    let (port, served) = whole_server(vec![refused, answer("200 OK", kind, r#"{"MessageId":"m"}"#)]).await;
    let (context, trace) = caller();
    let scope = scope();
    let context = context.with_value(scope.clone());
    let send =
        || client(port).send_message().queue_url("http://x/123456789012/orders").message_body("x").send();
    send().with_context(context.clone()).await.unwrap_err();
    assert_eq!(points(&scope), []);
    send().with_context(context).await.unwrap();
    let [point] = &points(&scope)[..] else { panic!("one point") };
    assert_eq!((point.hash, point.parent_hash), (first(Edge::produce("sqs", "orders")), 0));
    assert_eq!(point.payload_size.contiguous().1, [1]);
    assert!(spans(trace).iter().all(|(_, tags)| tags["pathway.hash"] == point.hash.to_string()));
    assert!(served.await.unwrap().iter().all(|request| request.contains("dd-pathway-ctx-base64")));
}

/// A service that polls: each message is counted as it arrives, and what is sent while it is worked on goes on from it.
#[tokio::test]
async fn what_is_received_goes_on() {
    let other = streams::Node::new("other", None);
    let mut pathway = Pathway::new(now());
    pathway.pass(&other, Edge::produce("sqs", "orders"), 1, now());
    let carrier = json!({"dd-pathway-ctx-base64": pathway.encode()}).to_string();
    let attribute = json!({"_datadog": {"DataType": "String", "StringValue": carrier}});
    let message = |body: &str| json!({"MessageId": body, "ReceiptHandle": "r", "Body": body, "MessageAttributes": attribute});
    let messages = json!({"Messages": [message("one"), message("two")]}).to_string();
    let kind = "content-type: application/x-amz-json-1.0\r\n";
    let (port, served) =
        whole_server(vec![answer("200 OK", kind, &messages), answer("200 OK", kind, r#"{"MessageId":"m"}"#)])
            .await;
    let (context, _) = caller();
    let scope = scope();
    let context = context.with_value(scope.clone());
    let sqs = client(port);
    let got =
        sqs.receive_message().queue_url("http://x/123456789012/orders").send().with_context(context.clone());
    let got = got.await.unwrap();
    let taken = points(&scope);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].parent_hash, pathway.hash());
    assert_eq!(taken[0].edge_tags, ["direction:in", "topic:orders", "type:sqs"]);
    assert_eq!(taken[0].payload_size.contiguous().1, [2]);
    let work = sqs.send_message().queue_url("http://x/123456789012/next").message_body("x").send();
    trace_message("fulfil", &received!(got.messages()[1]), work).with_context(context).await.unwrap();
    let passed = points(&scope);
    assert_eq!((passed.len(), passed[0].parent_hash), (1, taken[0].hash));
    drop(sqs);
    served.await.unwrap();
}

/// The stream is known where the call names it.
#[test]
fn records_that_a_service_reads() {
    let scope = scope();
    let context = opentelemetry::Context::new().with_value(scope.clone());
    let source = |body: &'static str| {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.headers_mut().insert(JSON.0, JSON.1);
        crate::data_streams::Source::of("Kinesis", "GetRecords", &request, &context)
    };
    assert!(source(r#"{"ShardIterator":"i"}"#).is_none());
    let source =
        source(r#"{"ShardIterator":"i","StreamARN":"arn:aws:kinesis:eu-west-1:1:stream/orders"}"#).unwrap();
    let data = BASE64_STANDARD.encode("plain");
    source.received(&json!({"Records": [{"Data": data}, 7, {}]}).to_string());
    let all = points(&scope);
    assert_eq!(all[0].edge_tags[1], "topic:arn:aws:kinesis:eu-west-1:1:stream/orders");
    let received = crate::Received::data(b"plain").context();
    let (checkpoint, _) = Scope::of(&received).unwrap().pass(Edge::produce("sqs", "next"), 1, now());
    assert_eq!(checkpoint.parent_hash, all[0].hash);
    source.received("no JSON");
    assert_eq!(points(&scope), []);
}
