//! SQS, with the queues that SNS and EventBridge deliver to.

use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use datadog_aws_sdk::{client, received, trace_message, trace_messages};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, TraceContextExt};
use serde_json::{Map, Value, json};

use crate::world::{Caller, Ids, boto, check, sdk_config, tags};

/// Makes a queue and gives its URL.
pub(crate) fn queue(name: &str) -> String {
    boto("sqs", "create_queue", json!({"QueueName": name}))["QueueUrl"].as_str().unwrap().to_owned()
}

pub(crate) fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:eu-west-1:123456789012:{name}")
}

/// What is in a queue, by AWS's client for Python.
pub(crate) fn messages(url: &str) -> Vec<Value> {
    let all = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]});
    boto("sqs", "receive_message", all)["Messages"].as_array().cloned().unwrap_or_default()
}

/// The event that Lambda makes of messages.
pub(crate) fn event(messages: &[Value]) -> Value {
    let attribute = |value: &Value| {
        json!({
            "dataType": value["DataType"],
            "stringValue": value["StringValue"],
            "binaryValue": value["BinaryValue"]["base64"],
            "stringListValues": [],
            "binaryListValues": [],
        })
    };
    let record = |message: &Value| {
        let given = message["MessageAttributes"].as_object().cloned().unwrap_or_default();
        let attributes: Map<_, _> =
            given.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn("orders"),
            "awsRegion": "eu-west-1",
        })
    };
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sqs_send_message() {
    let url = queue("send");
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let own = MessageAttributeValue::builder().data_type("Number").string_value("1.0").build().unwrap();
    let send =
        sqs.send_message().queue_url(&url).message_body("{\"n\": 1.00}").message_attributes("own", own);
    let sent = send.send().with_context(caller.context.clone()).await.unwrap();
    assert!(sent.md5_of_message_attributes().is_some());
    let got = messages(&url);
    assert_eq!(got[0]["Body"], "{\"n\": 1.00}");
    assert_eq!(got[0]["MessageAttributes"]["own"], json!({"StringValue": "1.0", "DataType": "Number"}));
    // What the sender is told of the attributes is what the receiver is told: ours is one of them.
    assert_eq!(sent.md5_of_message_attributes(), got[0]["MD5OfMessageAttributes"].as_str());
    assert_eq!(got[0]["MessageAttributes"]["_datadog"]["DataType"], "String");
    check(&event(&got), caller.ids("SQS.SendMessage"));
    let tags = tags(&caller.span("SQS.SendMessage"));
    assert_eq!(tags["queuename"], "send");
    assert_eq!(tags["aws_account"], "123456789012");
    assert_eq!(tags["http.status_code"], "200");
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sqs_send_message_batch() {
    let url = queue("batch");
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let entry = |n: u32| {
        SendMessageBatchRequestEntry::builder()
            .id(n.to_string())
            .message_body(format!("{n}"))
            .build()
            .unwrap()
    };
    let send = sqs.send_message_batch().queue_url(&url).set_entries(Some((0..10).map(entry).collect()));
    let sent = send.send().with_context(caller.context.clone()).await.unwrap();
    assert_eq!((sent.successful().len(), sent.failed().len()), (10, 0));
    let got = messages(&url);
    assert_eq!(got.len(), 10);
    for message in &got {
        check(&event(std::slice::from_ref(message)), caller.ids("SQS.SendMessageBatch"));
    }
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sqs_ten_attributes_are_left_alone() {
    let url = queue("full");
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let mut send = sqs.send_message().queue_url(&url).message_body("x");
    for n in 0..10 {
        let own = MessageAttributeValue::builder().data_type("String").string_value("x").build().unwrap();
        send = send.message_attributes(format!("a{n}"), own);
    }
    send.send().with_context(caller.context.clone()).await.unwrap();
    let got = messages(&url);
    assert_eq!(got[0]["MessageAttributes"].as_object().unwrap().len(), 10);
    assert_eq!(got[0]["MessageAttributes"].get("_datadog"), None);
}

/// A service that polls: the attribute is asked for, the poll links to the messages, and the work on a message goes
/// on in its sender's trace.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sqs_receive_message() {
    let url = queue("receive");
    let sender = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    for n in ["1", "2"] {
        let send = sqs.send_message().queue_url(&url).message_body(n);
        send.send().with_context(sender.context.clone()).await.unwrap();
    }
    let sent: Vec<_> = sender.spans().iter().map(|span| span.span_context.span_id()).collect();
    let poller = Caller::new();
    let poll = sqs.receive_message().queue_url(&url).max_number_of_messages(10);
    let got = poll.send().with_context(poller.context.clone()).await.unwrap();
    assert_eq!(got.messages().len(), 2);
    let linked: Vec<_> =
        poller.span("SQS.ReceiveMessage").links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(linked, sent);

    let work = async { Ok::<_, std::fmt::Error>(Context::current().span().span_context().clone()) };
    let message = &got.messages()[0];
    let read = received!(message);
    let inside = trace_message("fulfil", &read, work);
    let inside = inside.with_context(poller.context.clone()).await.unwrap();
    assert_eq!(inside.trace_id(), sender.trace());
    let span = sender.span("fulfil");
    assert_eq!(span.parent_span_id, sent[0]);
    assert_eq!(span.links.links[0].span_context.trace_id(), poller.trace());

    let received: Vec<_> = got.messages().iter().map(|message| received!(message)).collect();
    let work = async { Err::<(), _>(std::fmt::Error) };
    trace_messages("fulfil_all", &received, work).with_context(poller.context.clone()).await.unwrap_err();
    let span = sender.span("fulfil_all");
    assert_eq!(span.parent_span_id, sent[0]);
    let linked: Vec<_> = span.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(linked, [poller.context.span().span_context().span_id(), sent[1]]);
    assert_eq!(tags(&span)["error.type"], std::any::type_name::<std::fmt::Error>());
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sqs_errors_have_code_and_message() {
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let url = format!("{}/123456789012/missing", crate::world::endpoint());
    let send = sqs.send_message().queue_url(url).message_body("x");
    send.send().with_context(caller.context.clone()).await.unwrap_err();
    let span = caller.span("SQS.SendMessage");
    assert!(tags(&span)["error.type"].contains("QueueDoesNotExist"), "{:?}", tags(&span));
    let opentelemetry::trace::Status::Error { description } = &span.status else { panic!("{span:?}") };
    assert!(description.contains("queue"), "{description}");
}

/// What is sent without a trace is sent as it is.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sqs_suppressed_calls_tell_nothing() {
    let url = queue("suppressed");
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let send = sqs.send_message().queue_url(&url).message_body("x").send();
    send.with_context(caller.context.with_telemetry_suppressed()).await.unwrap();
    assert_eq!(messages(&url)[0].get("MessageAttributes"), None);
    assert_eq!(caller.spans().len(), 0);
}

/// The first message of a queue, once SNS or EventBridge has delivered it.
pub(crate) fn first(url: &str) -> Value {
    let wait = json!({"QueueUrl": url, "WaitTimeSeconds": 20, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]});
    boto("sqs", "receive_message", wait)["Messages"][0].clone()
}

/// A message as its body was delivered by another service.
pub(crate) fn check_first(url: &str, sent: Ids) -> Value {
    let message = first(url);
    check(&event(std::slice::from_ref(&message)), sent);
    message
}
