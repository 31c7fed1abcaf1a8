//! Amazon DynamoDB streams. No context: a span pointer says which item it was.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{Surroundings, bounded, message_span, put, put_arn};
use crate::{InferredSpan, json, pointer};

pub(super) use super::no_carrier as carrier;

pub(super) fn matches(record: &Value) -> bool {
    json::is(record, "eventSource", "aws:dynamodb") && json::object(record, "dynamodb").is_some()
}

pub(super) fn tags(record: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(record, "eventSourceARN"));
}

pub(super) fn inferred(record: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let Some(arn) = json::text(record, "eventSourceARN") else { return Vec::new() };
    let table = pointer::table_name(arn);
    let event_name = json::text(record, "eventName");
    let start = json::seconds(record, "dynamodb.ApproximateCreationDateTime");
    let mut span = message_span("aws.dynamodb", (table, "lambda_dynamodb", "dynamodb"), start, around);
    let resource = event_name.map_or(table.to_owned(), |event| format!("{event} {table}"));
    span.resource = bounded(resource).into();
    put(&mut span.tags, "table_name", Some(table));
    put(&mut span.tags, "tablename", Some(table));
    put(&mut span.tags, "event_source_arn", Some(arn));
    put(&mut span.tags, "dd_resource_key", Some(arn));
    put(&mut span.tags, "event_id", json::text(record, "eventID"));
    put(&mut span.tags, "event_name", event_name);
    put(&mut span.tags, "event_version", json::text(record, "eventVersion"));
    put(&mut span.tags, "stream_view_type", json::text(record, "dynamodb.StreamViewType"));
    put(&mut span.tags, "size_bytes", json::scalar(record, "dynamodb.SizeBytes"));
    vec![span]
}
