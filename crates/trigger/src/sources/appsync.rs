//! AWS AppSync: resolvers, direct or with templates, batches of them, and Event API handlers. The caller's
//! headers are in `request.headers`, of all that AppSync's docs call the context.
//! <https://docs.aws.amazon.com/appsync/latest/devguide/resolver-context-reference.html>

use model::{Tags, Text};
use serde_json::Value;

use super::{Carried, Surroundings, carried};
use crate::json;

pub(super) use super::no_spans as inferred;

pub(super) fn matches(event: &Value) -> bool {
    let event = first(event);
    let is_resolver = json::has(event, "info.fieldName") && json::has(event, "info.parentTypeName");
    let is_template =
        json::has(event, "fieldName") && (json::has(event, "typeName") || json::has(event, "identity"));
    let is_channel = json::has(event, "info.channelNamespace") && json::has(event, "info.operation");
    let is_authorizer =
        json::has(event, "authorizationToken") && json::has(event, "requestContext.queryString");
    is_resolver || is_template || is_channel || is_authorizer
}

pub(super) fn tags(_: &Value, _: &Surroundings<'_>, _: &mut Tags<Text>) {}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let event = first(event);
    let found =
        |place| json::object(event, place).map(|headers| carried(place, std::borrow::Cow::Borrowed(headers)));
    found("request.headers").or_else(|| found("requestHeaders"))
}

/// A batch resolver's event is a list of contexts of one request.
fn first(event: &Value) -> &Value {
    event.get(0).unwrap_or(event)
}
