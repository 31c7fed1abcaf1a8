//! Whole ways through the local Lambda, with event source mappings and no event made by hand: what the interceptor sent
//! or wrote comes to a Rust function with our library and to a Python function with Datadog's, and both are in its trace
//! or point to what it wrote.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::primitives::ByteStream;
use datadog_aws_sdk::{DatadogInterceptor, client};
use opentelemetry::trace::FutureExt;
use serde_json::json;

use crate::chain::{arrived, drive, pointed};
use crate::sqs::{queue, queue_arn};
use crate::world::{Caller, boto, pointers, sdk_config};

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn way_of_sqs() {
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let mut driving = Vec::new();
    for function in ["rust", "python"] {
        let url = queue(&format!("way-sqs-{function}"));
        driving.push(drive(&format!("sqs:{url}={function}")));
        sqs.send_message()
            .queue_url(url)
            .message_body("x")
            .send()
            .with_context(caller.context.clone())
            .await
            .unwrap();
    }
    let calls: Vec<_> = caller.spans().iter().map(|span| caller.ids_of(span)).collect();
    arrived(&calls, &[("rust", 1), ("python", 1)]);
}

/// A topic with four queues: two for functions that read queues, two for those that SNS would invoke.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn way_of_sns() {
    let topic =
        boto("sns", "create_topic", json!({"Name": "way-sns"}))["TopicArn"].as_str().unwrap().to_owned();
    let mut driving = Vec::new();
    for kind in ["sqs", "sns"] {
        for function in ["rust", "python"] {
            let name = format!("way-sns-{kind}-{function}");
            let url = queue(&name);
            boto(
                "sns",
                "subscribe",
                json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue_arn(&name)}),
            );
            driving.push(drive(&format!("{kind}:{url}={function}")));
        }
    }
    let caller = Caller::new();
    let sns = client!(aws_sdk_sns, &sdk_config());
    sns.publish().topic_arn(&topic).message("x").send().with_context(caller.context.clone()).await.unwrap();
    arrived(&[caller.ids("SNS.Publish")], &[("rust", 2), ("python", 2)]);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn way_of_eventbridge() {
    boto("events", "put_rule", json!({"Name": "way", "EventPattern": "{\"source\":[\"way\"]}"}));
    let (mut driving, mut targets) = (Vec::new(), Vec::new());
    for kind in ["sqs", "eventbridge"] {
        for function in ["rust", "python"] {
            let name = format!("way-events-{kind}-{function}");
            let url = queue(&name);
            targets.push(json!({"Id": name, "Arn": queue_arn(&name)}));
            driving.push(drive(&format!("{kind}:{url}={function}")));
        }
    }
    boto("events", "put_targets", json!({"Rule": "way", "Targets": targets}));
    let caller = Caller::new();
    let events = client!(aws_sdk_eventbridge, &sdk_config());
    let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder();
    let entry = entry.source("way").detail_type("t").detail("{\"order\":17}").build();
    events.put_events().entries(entry).send().with_context(caller.context.clone()).await.unwrap();
    arrived(&[caller.ids("EventBridge.PutEvents")], &[("rust", 2), ("python", 2)]);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn way_of_kinesis() {
    boto("kinesis", "create_stream", json!({"StreamName": "way", "ShardCount": 2}));
    let caller = Caller::new();
    let kinesis = client!(aws_sdk_kinesis, &sdk_config());
    let data = aws_sdk_kinesis::primitives::Blob::new("{\"order\":17}");
    let put = kinesis.put_record().stream_name("way").partition_key("k").data(data);
    put.send().with_context(caller.context.clone()).await.unwrap();
    let _driving =
        ["rust", "python"].map(|function| drive(&format!("kinesis:way={function},from=trim-horizon")));
    arrived(&[caller.ids("Kinesis.PutRecord")], &[("rust", 1), ("python", 1)]);
}

/// Both functions point to what the caller's calls wrote.
fn check_pointers(caller: &Caller, expect: usize) {
    let written: BTreeSet<_> = caller.spans().iter().flat_map(pointers).collect();
    assert_eq!(written.len(), expect, "{written:?}");
    for function in ["rust", "python"] {
        let pointed = pointed(function, &written);
        assert!(written.is_subset(&pointed), "{function}: {written:?} {pointed:?}");
    }
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn way_of_dynamodb() {
    let table = json!({
        "TableName": "way",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "at", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    });
    boto("dynamodb", "create_table", table);
    let caller = Caller::new();
    let interceptor = DatadogInterceptor::new().table_keys("way", ["id", "at"]);
    let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config()).interceptor(interceptor).build();
    let db = aws_sdk_dynamodb::Client::from_conf(config);
    for id in ["a", "b\u{e9}"] {
        let put = db.put_item().table_name("way").item("id", AttributeValue::S(id.to_owned()));
        let put = put.item("at", AttributeValue::N("17".to_owned())).item("more", AttributeValue::Bool(true));
        put.send().with_context(caller.context.clone()).await.unwrap();
    }
    let _driving =
        ["rust", "python"].map(|function| drive(&format!("dynamodb:way={function},from=trim-horizon")));
    check_pointers(&caller, 2);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn way_of_s3() {
    let place = json!({"LocationConstraint": "eu-west-1"});
    boto("s3", "create_bucket", json!({"Bucket": "way-bucket", "CreateBucketConfiguration": place}));
    let (mut urls, mut queues) = (Vec::new(), Vec::new());
    for function in ["rust", "python"] {
        let name = format!("way-s3-{function}");
        urls.push((queue(&name), function));
        queues.push(json!({"Id": name, "QueueArn": queue_arn(&name), "Events": ["s3:ObjectCreated:*"]}));
    }
    let told = json!({"Bucket": "way-bucket", "NotificationConfiguration": {"QueueConfigurations": queues}});
    boto("s3", "put_bucket_notification_configuration", told);
    // What S3 sends first, to see whether it may.
    for (url, _) in &urls {
        assert!(crate::sqs::first(url)["Body"].as_str().unwrap().contains("s3:TestEvent"));
        boto("sqs", "purge_queue", json!({"QueueUrl": url}));
    }
    let caller = Caller::new();
    let s3 = client!(aws_sdk_s3, &sdk_config());
    let put = s3.put_object().bucket("way-bucket").key("key.txt").body(ByteStream::from_static(b"hello"));
    put.send().with_context(caller.context.clone()).await.unwrap();
    let driving: Vec<_> = urls.iter().map(|(url, function)| drive(&format!("s3:{url}={function}"))).collect();
    check_pointers(&caller, 1);
    drop(driving);
}
