//! Amazon Kinesis data streams. The context is in the data, where a producer that writes JSON put it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>

use std::borrow::Cow;

use model::{Tags, Text};
use serde_json::Value;

use super::{CARRIER_KEY, Carried, Surroundings, carried, last_part, message_span, put, put_arn};
use crate::carrier::{carrier_of, decoded_if_datadog};
use crate::{InferredSpan, json};

pub(super) fn matches(record: &Value) -> bool {
    json::is(record, "eventSource", "aws:kinesis") && json::object(record, "kinesis").is_some()
}

pub(super) fn tags(record: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(record, "eventSourceARN"));
}

pub(super) fn carrier<'a>(record: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let data = decoded_if_datadog(json::text(record, "kinesis.data")?)?;
    let headers = carrier_of(data.get(CARRIER_KEY)?)?.into_owned();
    Some(carried("kinesis.data._datadog", Cow::Owned(headers)))
}

pub(super) fn inferred(record: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let Some(arn) = json::text(record, "eventSourceARN") else { return Vec::new() };
    let stream = last_part(arn, '/');
    let start = json::seconds(record, "kinesis.approximateArrivalTimestamp");
    let mut span = message_span("aws.kinesis", (stream, "lambda_kinesis", "kinesis"), start, around);
    let event_id = json::text(record, "eventID");
    let shard = event_id.and_then(|id| id.split(':').next());
    // By the extension's names, and by those of the libraries, which dashboards use.
    for (ours, theirs, value) in [("stream_name", "streamname", Some(stream)), ("shard_id", "shardid", shard)]
    {
        put(&mut span.tags, ours, value);
        put(&mut span.tags, theirs, value);
    }
    put(&mut span.tags, "event_source_arn", Some(arn));
    put(&mut span.tags, "dd_resource_key", Some(arn));
    put(&mut span.tags, "event_id", event_id);
    put(&mut span.tags, "event_name", json::text(record, "eventName"));
    put(&mut span.tags, "event_version", json::text(record, "eventVersion"));
    put(&mut span.tags, "partition_key", json::text(record, "kinesis.partitionKey"));
    vec![span]
}
