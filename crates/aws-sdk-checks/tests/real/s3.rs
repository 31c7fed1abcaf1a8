//! S3: a call that writes an object links to what the notification of it says.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use datadog_aws_sdk::client;
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};

use crate::sqs::{first, queue, queue_arn};
use crate::world::{Caller, boto, pointers, python_pointers, rust_pointers, sdk_config, tags};

/// A bucket, and the queue that is told of objects in it.
fn bucket(name: &str) -> String {
    let url = queue(name);
    let place = json!({"LocationConstraint": "eu-west-1"});
    boto("s3", "create_bucket", json!({"Bucket": name, "CreateBucketConfiguration": place}));
    let told =
        json!({"QueueConfigurations": [{"QueueArn": queue_arn(name), "Events": ["s3:ObjectCreated:*"]}]});
    boto(
        "s3",
        "put_bucket_notification_configuration",
        json!({"Bucket": name, "NotificationConfiguration": told}),
    );
    // What S3 sends first, to see whether it may.
    let test = first(&url);
    assert!(test["Body"].as_str().unwrap().contains("s3:TestEvent"), "{test}");
    boto("sqs", "purge_queue", json!({"QueueUrl": url}));
    url
}

/// The event of the next object. Its key is escaped, as S3 does.
fn event(url: &str) -> Value {
    serde_json::from_str(first(url)["Body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn s3_put_object() {
    let url = bucket("put-bucket");
    let caller = Caller::new();
    let s3 = client!(aws_sdk_s3, &sdk_config());
    let put = s3.put_object().bucket("put-bucket").key("key.txt").body(ByteStream::from_static(b"hello"));
    put.send().with_context(caller.context.clone()).await.unwrap();
    let event = event(&url);
    let span = caller.span("S3.PutObject");
    assert_eq!(pointers(&span), rust_pointers(&event), "{event}");
    assert_eq!(pointers(&span), python_pointers(&event), "{event}");
    assert_eq!(pointers(&span).len(), 1);
    assert_eq!(tags(&span)["bucketname"], "put-bucket");
}

/// Datadog's library for Python does not decode keys of notifications, so only ours finds this one.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn s3_put_object_escaped_key() {
    let url = bucket("escape-bucket");
    let caller = Caller::new();
    let s3 = client!(aws_sdk_s3, &sdk_config());
    let key = "reports/2024 Q1+final \u{4f60}.csv";
    let put = s3.put_object().bucket("escape-bucket").key(key).body(ByteStream::from_static(b"hello"));
    put.send().with_context(caller.context.clone()).await.unwrap();
    let event = event(&url);
    assert_eq!(pointers(&caller.span("S3.PutObject")), rust_pointers(&event), "{event}");
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn s3_copy_object() {
    let url = bucket("copy-bucket");
    let body = json!({"base64": "aGVsbG8="});
    boto(
        "s3",
        "create_bucket",
        json!({"Bucket": "source-bucket", "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}),
    );
    boto("s3", "put_object", json!({"Bucket": "source-bucket", "Key": "from", "Body": body}));
    let caller = Caller::new();
    let s3 = client!(aws_sdk_s3, &sdk_config());
    let copy = s3.copy_object().bucket("copy-bucket").key("to").copy_source("source-bucket/from");
    copy.send().with_context(caller.context.clone()).await.unwrap();
    let event = event(&url);
    let got = pointers(&caller.span("S3.CopyObject"));
    assert_eq!((got.len(), &got), (1, &rust_pointers(&event)), "{event}");
    assert_eq!(got, python_pointers(&event));
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn s3_complete_multipart_upload() {
    let url = bucket("parts-bucket");
    let caller = Caller::new();
    let s3 = client!(aws_sdk_s3, &sdk_config());
    let upload = s3.create_multipart_upload().bucket("parts-bucket").key("big").send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let part = s3.upload_part().bucket("parts-bucket").key("big").upload_id(id).part_number(1);
    let part = part.body(ByteStream::from_static(b"hello")).send().await.unwrap();
    let part = CompletedPart::builder().part_number(1).e_tag(part.e_tag().unwrap()).build();
    let done = s3.complete_multipart_upload().bucket("parts-bucket").key("big").upload_id(id);
    let done = done.multipart_upload(CompletedMultipartUpload::builder().parts(part).build());
    let done = done.send().with_context(caller.context.clone()).await.unwrap();
    assert!(done.e_tag().unwrap().contains("-1"));
    let event = event(&url);
    let got = pointers(&caller.span("S3.CompleteMultipartUpload"));
    assert_eq!((got.len(), &got), (1, &rust_pointers(&event)), "{event}");
    assert_eq!(got, python_pointers(&event));
}

/// Signing a URL sends nothing: there is no call to have a span.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn s3_presigned_requests_have_no_span() {
    let caller = Caller::new();
    let s3 = client!(aws_sdk_s3, &sdk_config());
    let config =
        aws_sdk_s3::presigning::PresigningConfig::expires_in(std::time::Duration::from_secs(60)).unwrap();
    let signed = s3.put_object().bucket("b").key("k").presigned(config).with_context(caller.context.clone());
    assert!(!signed.await.unwrap().uri().contains("datadog"));
    assert_eq!(caller.spans().len(), 0);
}
