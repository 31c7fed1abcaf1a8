//! Amazon SNS: a notification, in a record of its own or as the body of an SQS message. Its text may be what
//! EventBridge or S3 sent.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html>

use model::{Tags, Text, UnixNanos};
use serde_json::Value;

use super::{CARRIER_KEY, Carried, Surroundings, attribute, carried, last_part, message_span, put, put_arn};
use crate::{InferredSpan, json};

/// Some producers of test events leave `EventSource` out. Within SQS there is only the notification, and its
/// `MessageAttributes` only when it has some.
pub(super) fn matches(record: &Value) -> bool {
    let sns = notification(record);
    json::text(sns, "TopicArn").is_some()
        && (json::has(record, "Sns") || json::is(sns, "Type", "Notification") && json::has(sns, "Message"))
}

pub(super) fn tags(record: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(notification(record), "TopicArn"));
}

pub(super) fn carrier<'a>(record: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let found = json::at(notification(record), "MessageAttributes")?.get(CARRIER_KEY)?;
    Some(carried("MessageAttributes._datadog", attribute(found, "Type", "Value", "Value")?))
}

pub(super) fn inferred(record: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let sns = notification(record);
    let Some(arn) = json::text(sns, "TopicArn") else { return Vec::new() };
    let topic = last_part(arn, ':');
    let start = json::text(sns, "Timestamp").and_then(UnixNanos::parse_rfc3339);
    let mut span = message_span("aws.sns", (topic, "lambda_sns", "sns"), start, around);
    put(&mut span.tags, "topicname", Some(topic));
    put(&mut span.tags, "topic_arn", Some(arn));
    put(&mut span.tags, "dd_resource_key", Some(arn));
    put(&mut span.tags, "message_id", json::text(sns, "MessageId"));
    put(&mut span.tags, "type", json::text(sns, "Type"));
    put(&mut span.tags, "subject", json::text(sns, "Subject"));
    put(&mut span.tags, "event_subscription_arn", json::text(record, "EventSubscriptionArn"));
    vec![span]
}

fn notification(record: &Value) -> &Value {
    record.get("Sns").unwrap_or(record)
}
