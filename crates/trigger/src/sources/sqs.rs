//! Amazon SQS: a batch of messages. The body may be what SNS, EventBridge or S3 sent.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{CARRIER_KEY, Carried, Surroundings, attribute, carried, last_part, message_span, put, put_arn};
use crate::{InferredSpan, json};

pub(super) fn matches(message: &Value) -> bool {
    json::is(message, "eventSource", "aws:sqs")
}

pub(super) fn tags(message: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(message, "eventSourceARN"));
    message_tags(message, tags);
}

/// The attribute that a producer wrote; SNS with raw delivery copies its own there. The other place,
/// `AWSTraceHeader`, is looked at last: AWS itself writes it.
pub(super) fn carrier<'a>(message: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let found = json::at(message, "messageAttributes")?.get(CARRIER_KEY)?;
    let headers = attribute(found, "dataType", "stringValue", "binaryValue")?;
    Some(carried("messageAttributes._datadog", headers))
}

pub(super) fn inferred(message: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let Some(arn) = json::text(message, "eventSourceARN") else { return Vec::new() };
    let queue = last_part(arn, ':');
    let start = json::millis(message, "attributes.SentTimestamp");
    let mut span = message_span("aws.sqs", (queue, "lambda_sqs", "sqs"), start, around);
    put(&mut span.tags, "queuename", Some(queue));
    put(&mut span.tags, "event_source_arn", Some(arn));
    put(&mut span.tags, "dd_resource_key", Some(arn));
    put(&mut span.tags, "receipt_handle", json::text(message, "receiptHandle"));
    message_tags(message, &mut span.tags);
    vec![span]
}

fn message_tags(message: &Value, tags: &mut Tags<Text>) {
    put(tags, "retry_count", json::scalar(message, "attributes.ApproximateReceiveCount"));
    put(tags, "sender_id", json::text(message, "attributes.SenderId"));
    put(tags, "source_arn", json::text(message, "eventSourceARN"));
    put(tags, "aws_region", json::text(message, "awsRegion"));
}
