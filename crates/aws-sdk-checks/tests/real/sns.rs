//! SNS: to a function, and to a queue with and without its envelope.

use aws_sdk_sns::types::PublishBatchRequestEntry;
use datadog_aws_sdk::client;
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};

use crate::sqs::{check_first, first, messages, queue, queue_arn};
use crate::world::{Caller, boto, check, sdk_config, tags};

fn topic(name: &str) -> (String, String) {
    let url = queue(name);
    let topic = boto("sns", "create_topic", json!({"Name": name}))["TopicArn"].as_str().unwrap().to_owned();
    let to = json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue_arn(name)});
    boto("sns", "subscribe", to);
    (topic, url)
}

/// The event that Lambda makes of what SNS delivers.
fn event(message: &Value) -> Value {
    let notification: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    json!({"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": notification}]})
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sns_publish() {
    let (topic, url) = topic("publish");
    let caller = Caller::new();
    let sns = client!(aws_sdk_sns, &sdk_config());
    let publish = sns.publish().topic_arn(&topic).message("{\"price\": 1.00 & more}").subject("s");
    publish.send().with_context(caller.context.clone()).await.unwrap();
    let message = check_first(&url, caller.ids("SNS.Publish"));
    let event = event(&message);
    assert_eq!(event["Records"][0]["Sns"]["Message"], "{\"price\": 1.00 & more}");
    assert_eq!(event["Records"][0]["Sns"]["MessageAttributes"]["_datadog"]["Type"], "Binary");
    check(&event, caller.ids("SNS.Publish"));
    assert_eq!(tags(&caller.span("SNS.Publish"))["topicname"], "publish");
}

/// Raw delivery makes the topic's attributes those of the queue's message. moto cannot do it with bytes, so that step
/// is made here.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sns_publish_raw() {
    let (topic, url) = topic("raw");
    let caller = Caller::new();
    let sns = client!(aws_sdk_sns, &sdk_config());
    sns.publish().topic_arn(&topic).message("x").send().with_context(caller.context.clone()).await.unwrap();
    let notified = event(&first(&url));
    let attribute = &notified["Records"][0]["Sns"]["MessageAttributes"]["_datadog"];
    let raw = json!({"Records": [{
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn("raw"),
        "body": "x",
        "attributes": {},
        "messageAttributes": {"_datadog": {"dataType": attribute["Type"], "binaryValue": attribute["Value"]}},
    }]});
    check(&raw, caller.ids("SNS.Publish"));
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn sns_publish_batch() {
    let (topic, url) = topic("publish-batch");
    let caller = Caller::new();
    let sns = client!(aws_sdk_sns, &sdk_config());
    let own = aws_sdk_sns::types::MessageAttributeValue::builder()
        .data_type("String")
        .string_value("a b")
        .build()
        .unwrap();
    let entry = |n: u32| {
        let entry = PublishBatchRequestEntry::builder().id(n.to_string()).message(format!("{n}"));
        entry.message_attributes("own", own.clone()).build().unwrap()
    };
    let batch = sns
        .publish_batch()
        .topic_arn(&topic)
        .set_publish_batch_request_entries(Some((0..3).map(entry).collect()));
    let sent = batch.send().with_context(caller.context.clone()).await.unwrap();
    assert_eq!((sent.successful().len(), sent.failed().len()), (3, 0));
    let got = messages(&url);
    assert_eq!(got.len(), 3);
    for message in &got {
        let event = event(message);
        assert_eq!(event["Records"][0]["Sns"]["MessageAttributes"]["own"]["Value"], "a b");
        check(&event, caller.ids("SNS.PublishBatch"));
    }
}
