//! Amazon SES: a received mail.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-ses.html>

use model::{Tags, Text};
use serde_json::Value;

use super::Surroundings;
use crate::json;

pub(super) use super::{no_carrier as carrier, no_spans as inferred};

pub(super) fn matches(record: &Value) -> bool {
    json::is(record, "eventSource", "aws:ses") || json::has(record, "ses.mail")
}

/// A mail has no ARN.
pub(super) fn tags(_: &Value, _: &Surroundings<'_>, _: &mut Tags<Text>) {}
