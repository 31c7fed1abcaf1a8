//! Apache Kafka, managed by Amazon or by the user.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html>

use std::borrow::Cow;

use model::keys::headers;
use model::{Tags, Text};
use serde_json::{Map, Value};

use super::{Carried, Surroundings, bounded, carried, message_span, put, put_arn};
use crate::{InferredSpan, json};

/// A header that is longer is not trace context.
const MAX_HEADER: usize = 8192;
const MAX_HEADERS: usize = 256;

pub(super) fn matches(event: &Value) -> bool {
    json::is(event, "eventSource", "aws:kafka") && json::object(event, "records").is_some()
}

pub(super) fn matches_self_managed(event: &Value) -> bool {
    let source = json::text(event, "eventSource");
    matches!(source, Some("SelfManagedKafka" | "aws:SelfManagedKafka"))
        && json::object(event, "records").is_some()
}

pub(super) fn tags(_: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(around.event, "eventSourceArn"));
}

/// A list (or a map by index) of one-entry objects, name to bytes.
pub(super) fn carrier<'a>(record: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let mut found = Map::new();
    for header in json::elements(record.get("headers")?).into_iter().take(MAX_HEADERS) {
        for (name, value) in header.as_object().into_iter().flatten() {
            if let Some(text) = bytes(value).and_then(|bytes| String::from_utf8(bytes).ok()) {
                // Of several headers of a name the last one counts in Kafka, as it is the newest.
                found.insert(name.to_lowercase(), Value::String(text));
            }
        }
    }
    let known = [headers::TRACE_ID, headers::TRACEPARENT, headers::BAGGAGE, "b3", "x-b3-traceid"];
    known.iter().any(|name| found.contains_key(*name)).then(|| carried("headers", Cow::Owned(found)))
}

pub(super) fn inferred(record: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let Some(topic) = json::text(record, "topic") else { return Vec::new() };
    let arn = json::text(around.event, "eventSourceArn");
    let cluster = arn.and_then(|arn| arn.split('/').nth(1)).unwrap_or_default();
    let start = json::millis(record, "timestamp");
    let mut span = message_span("aws.msk", (cluster, "lambda_msk", "msk"), start, around);
    span.resource = Text::Owned(bounded(topic.to_owned()));
    put(&mut span.tags, "topic", Some(topic));
    put(&mut span.tags, "partition", json::scalar(record, "partition"));
    put(&mut span.tags, "event_source", json::text(around.event, "eventSource"));
    put(&mut span.tags, "event_source_arn", arn);
    put(&mut span.tags, "dd_resource_key", arn);
    vec![span]
}

/// Bytes as a list of numbers (or of their texts), or as a map from index to them. Java writes those above
/// 127 as negative.
pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    let byte = |value: &Value| {
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
        match number {
            -128..=-1 => u8::try_from(number + 256).ok(),
            number => u8::try_from(number).ok(),
        }
    };
    let mut out = Vec::new();
    for value in json::elements(value) {
        out.push(byte(value)?);
        if out.len() > MAX_HEADER {
            return None;
        }
    }
    (!out.is_empty()).then_some(out)
}
