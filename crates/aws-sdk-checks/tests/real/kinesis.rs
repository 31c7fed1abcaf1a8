//! Kinesis.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use datadog_aws_sdk::{Received, client};
use opentelemetry::trace::{FutureExt, TraceContextExt};
use serde_json::{Value, json};

use crate::world::{Caller, boto, check, sdk_config, tags};

fn stream(name: &str) {
    boto("kinesis", "create_stream", json!({"StreamName": name, "ShardCount": 1}));
}

/// The records of a stream's only shard, each with the event that Lambda makes of it.
pub(crate) fn records(stream: &str) -> Vec<(Vec<u8>, Value)> {
    let shards = boto("kinesis", "list_shards", json!({"StreamName": stream}));
    let from = json!({"StreamName": stream, "ShardId": shards["Shards"][0]["ShardId"], "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = boto("kinesis", "get_shard_iterator", from)["ShardIterator"].clone();
    let got = boto("kinesis", "get_records", json!({"ShardIterator": iterator}));
    let event = |record: &Value| {
        let data = record["Data"]["base64"].as_str().unwrap();
        let kinesis = json!({"data": data, "partitionKey": record["PartitionKey"], "sequenceNumber": record["SequenceNumber"]});
        let record = json!({
            "eventSource": "aws:kinesis",
            "eventID": "shardId-000000000000:1",
            "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
            "kinesis": kinesis,
        });
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, data).unwrap();
        (bytes, json!({"Records": [record]}))
    };
    got["Records"].as_array().unwrap().iter().map(event).collect()
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn kinesis_put_record() {
    stream("one");
    let caller = Caller::new();
    let kinesis = client!(aws_sdk_kinesis, &sdk_config());
    for data in ["{\"n\": 1.00}\n", "no JSON"] {
        let put = kinesis.put_record().stream_name("one").partition_key("k").data(Blob::new(data));
        put.send().with_context(caller.context.clone()).await.unwrap();
    }
    let got = records("one");
    let spans = caller.spans();
    let sent = crate::world::Ids { trace: caller.trace(), span: spans[0].span_context.span_id() };
    assert!(got[0].0.ends_with(b",\"n\": 1.00}\n"), "{:?}", got[0].0);
    check(&got[0].1, sent);
    assert_eq!(got[1].0, b"no JSON");
    assert_eq!(tags(&spans[0])["streamname"], "one");
    // A service that reads the stream on its own.
    let context = Received::data(&got[0].0).context();
    assert_eq!(context.span().span_context().span_id(), sent.span);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn kinesis_put_records() {
    stream("many");
    let caller = Caller::new();
    let kinesis = client!(aws_sdk_kinesis, &sdk_config());
    let entry = |n: u32| {
        let entry = PutRecordsRequestEntry::builder().partition_key("k");
        entry.data(Blob::new(format!("{{\"n\":{n}}}"))).build().unwrap()
    };
    let put = kinesis.put_records().stream_name("many").set_records(Some((0..3).map(entry).collect()));
    let sent = put.send().with_context(caller.context.clone()).await.unwrap();
    assert_eq!(sent.failed_record_count(), Some(0));
    let got = records("many");
    assert_eq!(got.len(), 3);
    for (_, event) in &got {
        check(event, caller.ids("Kinesis.PutRecords"));
    }
}
