//! Amazon Data Firehose: records to transform.
//! <https://docs.aws.amazon.com/firehose/latest/dev/data-transformation.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{Surroundings, put_arn};
use crate::json;

pub(super) use super::{no_carrier as carrier, no_spans as inferred};

pub(super) fn matches(event: &Value) -> bool {
    json::text(event, "deliveryStreamArn").is_some() && json::has(event, "records")
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(event, "deliveryStreamArn"));
}
