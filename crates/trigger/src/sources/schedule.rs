//! Events that a clock makes: EventBridge rules with a schedule, EventBridge Scheduler.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{Surroundings, put_arn};
use crate::json;

pub(super) use super::{no_carrier as carrier, no_spans as inferred};

pub(super) fn matches(event: &Value) -> bool {
    let source = json::text(event, "source");
    matches!(source, Some("aws.events" | "aws.scheduler")) && json::text(event, "detail-type").is_some()
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::at(event, "resources").and_then(|list| list.get(0)?.as_str()));
}
