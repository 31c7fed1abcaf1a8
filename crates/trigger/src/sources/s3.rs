//! Amazon S3 notifications, in an event of their own or as the text of an SQS or SNS message. No context: a
//! span pointer says which object it was.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use model::{Tags, Text, UnixNanos};
use serde_json::Value;

use super::{Surroundings, message_span, put, put_arn};
use crate::{InferredSpan, json};

pub(super) use super::no_carrier as carrier;

pub(super) fn matches(record: &Value) -> bool {
    json::text(record, "s3.bucket.name").is_some()
}

pub(super) fn tags(record: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(record, "s3.bucket.arn"));
}

pub(super) fn inferred(record: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let Some(bucket) = json::text(record, "s3.bucket.name") else { return Vec::new() };
    let start = json::text(record, "eventTime").and_then(UnixNanos::parse_rfc3339);
    let mut span = message_span("aws.s3", (bucket, "lambda_s3", "s3"), start, around);
    put(&mut span.tags, "bucketname", Some(bucket));
    put(&mut span.tags, "bucket_arn", json::text(record, "s3.bucket.arn"));
    put(&mut span.tags, "dd_resource_key", json::text(record, "s3.bucket.arn"));
    put(&mut span.tags, "event_name", json::text(record, "eventName"));
    put(&mut span.tags, "object_key", json::text(record, "s3.object.key"));
    put(&mut span.tags, "object_size", json::scalar(record, "s3.object.size"));
    put(&mut span.tags, "object_etag", json::text(record, "s3.object.eTag"));
    vec![span]
}
