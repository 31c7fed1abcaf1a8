//! SQS: an attribute of each message, and the wish to be given it back.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::keys::headers::CARRIER;

use streams::Edge;

use super::{Told, room};
use crate::data_streams::queue_name;
use crate::json_text::{Edit, Object, quoted, string};

/// Bytes of a message, and of all messages of a batch together: bodies, and attributes with their names and types.
const LIMIT: usize = 1024 * 1024;
const MAX_ATTRIBUTES: usize = 10;
const TYPE: &str = "String";

pub(super) fn message<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let mut room = room(LIMIT, body.text().len(), || size(body))?;
    Some(attribute(body, body, told, &mut room))
}

/// Each entry for itself, as long as there is room for all.
pub(super) fn batch<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let entries: Option<Vec<_>> = body.list("Entries")?.into_iter().map(Object::parse).collect();
    let entries = entries?;
    let all = || entries.iter().map(size).sum();
    let mut room = room(LIMIT, body.text().len(), all)?;
    Some(entries.iter().flat_map(|entry| attribute(body, entry, told, &mut room)).collect())
}

/// Without being asked for, no attribute comes back.
pub(super) fn receive<'a>(body: &Object<'a>, _: &Told) -> Option<Vec<Edit<'a>>> {
    let Some(names) = body.get("MessageAttributeNames").filter(|names| *names != "null") else {
        return Some(body.set("MessageAttributeNames", format!("[\"{CARRIER}\"]")));
    };
    let given: Vec<String> = serde_json::from_str(names).ok()?;
    if given.iter().any(|name| matches!(name.as_str(), "All" | ".*" | CARRIER)) {
        return None;
    }
    let given = given.iter().map(String::as_str).chain([CARRIER]).map(quoted).collect::<Vec<_>>();
    Some(body.set("MessageAttributeNames", format!("[{}]", given.join(","))))
}

fn attribute<'a>(request: &Object<'a>, message: &Object<'a>, told: &Told, room: &mut usize) -> Vec<Edit<'a>> {
    let pathway = told.pathway(|| {
        let url = request.string("QueueUrl").unwrap_or_default();
        (Edge::produce("sqs", queue_name(&url)), size(message).unwrap_or_default())
    });
    let attributes = match message.get("MessageAttributes").filter(|given| *given != "null") {
        Some(given) => match Object::parse(given) {
            Some(given) => Some(given),
            None => return Vec::new(),
        },
        None => None,
    };
    let is_full = |given: &Object<'_>| given.get(CARRIER).is_none() && given.len() >= MAX_ATTRIBUTES;
    if attributes.as_ref().is_some_and(is_full) {
        return Vec::new();
    }
    let added = |text: &str| CARRIER.len() + TYPE.len() + text.len();
    let texts = told.texts(pathway.as_deref());
    let Some(text) = texts.iter().find(|text| added(text) <= *room) else { return Vec::new() };
    *room = room.saturating_sub(added(text));
    let value = format!("{{\"DataType\":\"{TYPE}\",\"StringValue\":{}}}", quoted(text));
    match attributes {
        Some(given) => given.set(CARRIER, value),
        None => message.set("MessageAttributes", format!("{{\"{CARRIER}\":{value}}}")),
    }
}

fn size(message: &Object<'_>) -> Option<usize> {
    let body = message.string("MessageBody")?.len();
    let Some(attributes) = message.object("MessageAttributes") else { return Some(body) };
    attributes.iter().try_fold(body, |sum, (name, attribute)| {
        let attribute = Object::parse(attribute)?;
        let text = |key| attribute.get(key).and_then(string).unwrap_or_default();
        let binary = BASE64_STANDARD.decode(text("BinaryValue").as_bytes()).ok()?.len();
        Some(sum + name.len() + text("DataType").len() + text("StringValue").len() + binary)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{json, told_more};
    use super::*;
    use crate::json_text::edited;

    const ATTRIBUTE: &str =
        r#""_datadog":{"DataType":"String","StringValue":"{\"baggage\":\"\",\"x-datadog-trace-id\":\"1\"}"}"#;

    #[test]
    fn a_message_gets_an_attribute() {
        let check = |body: &str, expect: &str| {
            assert_eq!(json(message, body), expect.replace("@", ATTRIBUTE), "{body}");
        };
        check(r#"{"MessageBody":"x"}"#, r#"{"MessageAttributes":{@},"MessageBody":"x"}"#);
        check(r#"{"MessageAttributes":null}"#, r#"{"MessageAttributes":{@}}"#);
        check(r#"{"MessageAttributes":{}}"#, r#"{"MessageAttributes":{@}}"#);
        check(
            r#"{"MessageAttributes":{"n":{"DataType":"Number","StringValue":"1.0"}},"MessageBody":"\u00e9"}"#,
            r#"{"MessageAttributes":{@,"n":{"DataType":"Number","StringValue":"1.0"}},"MessageBody":"\u00e9"}"#,
        );
        // What a forwarder copied: this hop is told of.
        check(
            r#"{"MessageAttributes":{"a":1,"_datadog":{"DataType":"String","StringValue":"{}"}}}"#,
            r#"{"MessageAttributes":{"a":1,@}}"#,
        );
    }

    fn attributes(n: usize, also: &str) -> String {
        let each: Vec<_> =
            (0..n).map(|n| format!(r#""a{n}":{{"DataType":"String","StringValue":"x"}}"#)).collect();
        format!(r#"{{"MessageBody":"x","MessageAttributes":{{{also}{}}}}}"#, each.join(","))
    }

    #[test]
    fn ten_attributes_are_the_most() {
        assert!(json(message, &attributes(9, "")).contains(ATTRIBUTE));
        let full = attributes(10, "");
        assert_eq!(json(message, &full), full);
        let replaced =
            json(message, &attributes(9, r#""_datadog":{"DataType":"Binary","BinaryValue":"e30="},"#));
        assert!(replaced.contains(ATTRIBUTE) && !replaced.contains("Binary"), "{replaced}");
    }

    #[test]
    fn each_entry_of_a_batch() {
        let body = format!(
            r#"{{"QueueUrl":"q","Entries":[{{"Id":"1","MessageBody":"a"}}, {{"Id":"2","MessageAttributes":{{}}}},{}]}}"#,
            attributes(10, "")
        );
        let expect = format!(
            r#"{{"QueueUrl":"q","Entries":[{{"MessageAttributes":{{{ATTRIBUTE}}},"Id":"1","MessageBody":"a"}}, {{"Id":"2","MessageAttributes":{{{ATTRIBUTE}}}}},{}]}}"#,
            attributes(10, "")
        );
        assert_eq!(json(batch, &body), expect);
        assert_eq!(json(batch, r#"{"Entries":[7]}"#), "untouched");
        assert_eq!(json(batch, r#"{"Entries":[]}"#), r#"{"Entries":[]}"#);
    }

    /// The carrier's texts weigh 39 and 26 bytes, name and type 14.
    #[test]
    fn a_message_stays_within_its_limit() {
        let added = |length: usize, escaped: &str| {
            let body = format!(r#"{{"MessageBody":"{}{escaped}"}}"#, "x".repeat(length));
            json(message, &body).len() - body.len()
        };
        let (all, ids, none) = (added(10, ""), added(LIMIT - 14 - 30, ""), 0);
        assert!(all > ids && ids > none, "{all} {ids}");
        assert_eq!(added(LIMIT - 14 - 39, ""), all);
        assert_eq!(added(LIMIT - 14 - 38, ""), ids);
        assert_eq!(added(LIMIT - 14 - 26, ""), ids);
        assert_eq!(added(LIMIT - 14 - 25, ""), none);
        // Ten bytes as the service counts, 30 in the request.
        assert_eq!(added(LIMIT - 14 - 39 - 10, r"\u00e9\u00e9\u00e9\u00e9\u00e9"), all);
        // What is over the limit by itself is none of ours.
        let over = format!(r#"{{"MessageBody":"{}"}}"#, "x".repeat(LIMIT + 1));
        assert_eq!(json(message, &over), "untouched");
    }

    #[test]
    fn attributes_weigh_too() {
        let added = |length: usize| {
            let body = format!(
                r#"{{"MessageBody":"{}","MessageAttributes":{{"name":{{"DataType":"Binary","BinaryValue":"AAAA"}}}}}}"#,
                "x".repeat(length)
            );
            json(message, &body).len() - body.len()
        };
        // Name 4, type 6, bytes 3.
        assert!(added(LIMIT - 14 - 26 - 13) > 0);
        assert_eq!(added(LIMIT - 14 - 26 - 12), 0);
    }

    #[test]
    fn a_batch_stays_within_the_limit_of_all() {
        let body = |length: usize| {
            let big = "x".repeat(length);
            format!(
                r#"{{"Entries":[{{"MessageBody":"{big}"}},{{"MessageBody":"y"}},{{"MessageBody":"z"}}]}}"#
            )
        };
        let told = told_more(0);
        let added = |length: usize| {
            let body = body(length);
            let edits = batch(&Object::parse(&body).unwrap(), &told).unwrap();
            edited(&body, edits).unwrap().matches(CARRIER).count()
        };
        assert_eq!(added(LIMIT - 2 - 3 * 53), 3);
        assert_eq!(added(LIMIT - 2 - 2 * 53 - 40), 3);
        // The last entry's ids have no room any more.
        assert_eq!(added(LIMIT - 2 - 2 * 53 - 39), 2);
        assert_eq!(added(LIMIT - 2 - 39), 0);
    }

    #[test]
    fn the_attribute_is_asked_for_once() {
        let check = |body: &str, expect: &str| assert_eq!(json(receive, body), expect, "{body}");
        check("{}", r#"{"MessageAttributeNames":["_datadog"]}"#);
        check(r#"{"QueueUrl":"q"}"#, r#"{"MessageAttributeNames":["_datadog"],"QueueUrl":"q"}"#);
        check(r#"{"MessageAttributeNames":[]}"#, r#"{"MessageAttributeNames":["_datadog"]}"#);
        check(r#"{"MessageAttributeNames":null}"#, r#"{"MessageAttributeNames":["_datadog"]}"#);
        check(r#"{"MessageAttributeNames":["a"]}"#, r#"{"MessageAttributeNames":["a","_datadog"]}"#);
        for all in ["All", ".*", "_datadog"] {
            check(&format!(r#"{{"MessageAttributeNames":["a","{all}"]}}"#), "untouched");
        }
        check(r#"{"MessageAttributeNames":"All"}"#, "untouched");
    }
}
