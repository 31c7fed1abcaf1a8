//! Amazon EventBridge: a custom event or one of an AWS service, direct, or as the text of an SQS or SNS
//! message.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html>

use model::keys::headers;
use model::{Tags, Text, UnixNanos};
use serde_json::Value;

use super::{Carried, Surroundings, datadog_object, message_span, put, put_arn};
use crate::{InferredSpan, json};

pub(super) fn matches(event: &Value) -> bool {
    json::text(event, "detail-type").is_some() && json::text(event, "source").is_some()
}

/// What the extension and the Node library give as the ARN is the event's `source`.
pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(event, "source"));
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    datadog_object(event, "detail._datadog")
}

pub(super) fn inferred(event: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let carrier = carrier(event, around);
    let said = |key| carrier.as_ref().and_then(|c| c.headers.get(key));
    // The bus, when the producer named it.
    let bus = said(headers::RESOURCE_NAME).and_then(Value::as_str).filter(|bus| !bus.is_empty());
    let Some(instance) = bus.or_else(|| json::text(event, "source")) else { return Vec::new() };
    // `time` has a resolution of a second: the producer's own word is better.
    let sent = said(headers::START_TIME).and_then(json::as_millis);
    let entered =
        || said("State").and_then(|s| json::text(s, "EnteredTime")).and_then(UnixNanos::parse_rfc3339);
    let start = sent.or_else(entered).or_else(|| UnixNanos::parse_rfc3339(json::text(event, "time")?));
    let mut span =
        message_span("aws.eventbridge", (instance, "lambda_eventbridge", "eventbridge"), start, around);
    put(&mut span.tags, "detail_type", json::text(event, "detail-type"));
    vec![span]
}
