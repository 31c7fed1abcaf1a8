//! Amazon DocumentDB change streams.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-documentdb.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{Surroundings, put_arn};
use crate::json;

pub(super) use super::{no_carrier as carrier, no_spans as inferred};

pub(super) fn matches(event: &Value) -> bool {
    json::is(event, "eventSource", "aws:docdb")
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(event, "eventSourceArn"));
}
