//! AWS IoT: custom authentication and buttons. What an IoT rule forwards has no shape of its own: a message
//! with a `_datadog` of its producer's is read like any unknown event with one.
//! <https://docs.aws.amazon.com/iot/latest/developerguide/config-custom-auth.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{CARRIER_KEY, Carried, Surroundings, datadog_object, put_arn};
use crate::json;

pub(super) use super::no_spans as inferred;

pub(super) fn matches(event: &Value) -> bool {
    let is_auth = json::has(event, "protocolData") && json::has(event, "connectionMetadata");
    let is_button = json::has(event, "serialNumber") && json::has(event, "clickType");
    let is_one_click = json::has(event, "deviceEvent") && json::has(event, "deviceInfo");
    is_auth || is_button || is_one_click
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(event, "deviceInfo.arn"));
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    datadog_object(event, CARRIER_KEY)
}
