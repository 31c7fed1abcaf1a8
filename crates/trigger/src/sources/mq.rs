//! Amazon MQ: ActiveMQ and RabbitMQ. RabbitMQ's message headers are in the event, so a producer's context is
//! too.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-mq.html>

use std::borrow::Cow;

use model::{Tags, Text};
use serde_json::{Map, Value};

use super::kafka::bytes;
use super::{Carried, Surroundings, carried, put_arn};
use crate::json;

pub(super) use super::no_spans as inferred;

pub(super) fn matches(event: &Value) -> bool {
    matches!(json::text(event, "eventSource"), Some("aws:amq" | "aws:mq" | "aws:rmq"))
}

pub(super) fn tags(_: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(around.event, "eventSourceArn"));
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let messages = json::object(event, "rmqMessagesByQueue")?.values().next()?.get(0)?;
    let mut found = Map::new();
    for (name, value) in json::object(messages, "basicProperties.headers")?.iter().take(64) {
        let text = value.get("bytes").and_then(bytes).and_then(|bytes| String::from_utf8(bytes).ok());
        found.insert(name.clone(), text.map_or_else(|| value.clone(), Value::String));
    }
    Some(carried("basicProperties.headers", Cow::Owned(found)))
}
