//! Amazon CloudFront: Lambda@Edge.
//! <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/lambda-event-structure.html>

use std::borrow::Cow;

use model::{Tags, Text};
use serde_json::Value;

use super::{Carried, Surroundings, carried, put_arn};
use crate::json;

pub(super) use super::no_spans as inferred;

pub(super) fn matches(record: &Value) -> bool {
    json::text(record, "cf.config.distributionId").is_some()
}

pub(super) fn tags(record: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    let account = &around.function.account;
    let id = json::text(record, "cf.config.distributionId");
    put_arn(tags, id.map(|id| format!("arn:aws:cloudfront::{account}:distribution/{id}")));
}

/// By name a list of objects with `key` and `value`.
pub(super) fn carrier<'a>(record: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let headers = json::object(record, "cf.request.headers")?;
    Some(carried("cf.request.headers", Cow::Borrowed(headers)))
}
