//! The events that Lambda makes of what it takes from a source.

pub(crate) mod dynamodb;
pub(crate) mod kinesis;
pub(crate) mod sns;
pub(crate) mod sqs;

use aws_smithy_types::DateTime;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// Without what is not there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn base64(bytes: &[u8]) -> Value {
    BASE64_STANDARD.encode(bytes).into()
}

/// `eu-west-1` of an ARN.
fn region(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// Seconds with a fraction.
fn seconds(time: Option<&DateTime>) -> Option<Value> {
    Some(time?.as_secs_f64().into())
}
