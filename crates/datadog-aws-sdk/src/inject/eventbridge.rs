//! EventBridge: a member of each event's detail.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>

use std::collections::BTreeMap;

use model::keys::headers::{CARRIER, RESOURCE_NAME, START_TIME};

use streams::Edge;

use super::{Told, room};
use crate::carrier::Headers;
use crate::json_text::{Edit, Object, edited, quoted, string};

/// Bytes of all entries of a request together.
const LIMIT: usize = 1024 * 1024;
/// What an entry's time weighs, whatever it is.
const TIME: usize = 14;

pub(super) fn put_events<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let entries: Option<Vec<_>> = body.list("Entries")?.into_iter().map(Object::parse).collect();
    let entries = entries?;
    let all = || entries.iter().map(size).sum();
    let mut room = room(LIMIT, body.text().len(), all)?;
    Some(entries.iter().filter_map(|entry| detail(entry, told, &mut room)).collect())
}

fn detail<'a>(entry: &Object<'a>, told: &Told, room: &mut usize) -> Option<Edit<'a>> {
    let pathway = told.pathway(|| {
        let bus = entry.string("EventBusName").filter(|bus| !bus.is_empty());
        let kind = entry.string("DetailType").unwrap_or_default();
        let edge = Edge::produce("eventbridge", &kind).through(bus.as_deref().unwrap_or("default"));
        (edge, size(entry).unwrap_or_default())
    });
    let old = entry.get("Detail")?;
    let detail = string(old)?;
    let members = Object::parse(&detail)?;
    // A member of that name that holds something else is the user's own.
    if members.get(CARRIER).is_some_and(|own| Object::parse(own).is_none()) {
        return None;
    }
    let bus = entry.string("EventBusName");
    let bus = bus.as_deref().map(|bus| bus.rsplit_once("event-bus/").map_or(bus, |(_, name)| name));
    let with = |headers: &Headers| edited(&detail, members.set(CARRIER, carrier(headers, bus, told.now)?));
    let new = told
        .carriers(pathway.as_deref())
        .iter()
        .filter_map(|headers| with(headers))
        .find(|new| new.len() <= detail.len().saturating_add(*room))?;
    *room = room.saturating_sub(new.len().saturating_sub(detail.len()));
    Some(Edit { old, new: quoted(&new) })
}

/// The context, when it was sent (`time` of the event has seconds only), and to which bus.
fn carrier(headers: &Headers, bus: Option<&str>, now: u128) -> Option<String> {
    let now = now.to_string();
    let mut all: BTreeMap<&str, &str> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    all.insert(START_TIME, &now);
    if let Some(bus) = bus.filter(|bus| !bus.is_empty()) {
        all.insert(RESOURCE_NAME, bus);
    }
    serde_json::to_string(&all).ok()
}

/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-calculate-putevents-entry-size>
fn size(entry: &Object<'_>) -> Option<usize> {
    let length = |name| entry.string(name).map_or(0, |text| text.len());
    let time = if entry.get("Time").is_some_and(|time| time != "null") { TIME } else { 0 };
    let resources = entry.list("Resources").unwrap_or_default();
    let resources: usize = resources.into_iter().filter_map(string).map(|arn| arn.len()).sum();
    Some(time + length("Source") + length("DetailType") + length("Detail") + resources)
}

#[cfg(test)]
mod tests {
    use super::super::tests::json;
    use super::*;

    const OWN: &str =
        r#""_datadog":{"baggage":"","x-datadog-start-time":"1700000000000","x-datadog-trace-id":"1"}"#;

    fn entry(detail: &str) -> String {
        format!(r#"{{"Entries":[{{"Source":"shop","Detail":{},"DetailType":"t"}}]}}"#, quoted(detail))
    }

    fn check(detail: &str, expect: &str) {
        assert_eq!(json(put_events, &entry(detail)), entry(&expect.replace('@', OWN)), "{detail}");
    }

    #[test]
    fn the_detail_keeps_its_text() {
        check("{}", "{@}");
        check("{ }\n", "{@ }\n");
        check(
            r#"{"price": 1.00, "n":12345678901234567890123}"#,
            r#"{@,"price": 1.00, "n":12345678901234567890123}"#,
        );
        check("{\"a\":\"\\u00e9\u{e9}\\n\"} \t", "{@,\"a\":\"\\u00e9\u{e9}\\n\"} \t");
        // What a forwarder copied.
        check(r#"{"_datadog":{"x-datadog-trace-id":"9"}}"#, "{@}");
    }

    #[test]
    fn what_is_no_object_stays() {
        for odd in ["[1]", "7", "\"x\"", "null", "", "{", r#"{"_datadog":"mine"}"#, r#"{"_datadog":[1]}"#] {
            check(odd, odd);
        }
        for odd in [r#"{"Entries":[{"Detail":7}]}"#, r#"{"Entries":[{}]}"#, r#"{"Entries":[]}"#] {
            assert_eq!(json(put_events, odd), odd);
        }
        assert_eq!(json(put_events, r#"{"Entries":7}"#), "untouched");
    }

    #[test]
    fn the_bus_is_told() {
        for bus in ["orders", "arn:aws:events:eu-west-1:1:event-bus/orders"] {
            let got =
                json(put_events, &format!(r#"{{"Entries":[{{"EventBusName":"{bus}","Detail":"{{}}"}}]}}"#));
            assert!(got.contains(r#"\"x-datadog-resource-name\":\"orders\""#), "{got}");
        }
    }

    #[test]
    fn each_entry_as_long_as_there_is_room_for_all() {
        let (all, ids) = (OWN.len(), OWN.len() - r#""baggage":"","#.len());
        let added = |length: usize| {
            let long = format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
            let body = format!(
                r#"{{"Entries":[{{"Time":1.5,"Source":"shop","DetailType":"type","Resources":["arn"],"Detail":{}}},{{"Detail":"{{}}"}}]}}"#,
                quoted(&long)
            );
            let got = json(put_events, &body);
            (got.matches(CARRIER).count(), got.matches("baggage").count())
        };
        let rest = LIMIT - 14 - 4 - 4 - 3 - 2;
        assert_eq!(added(rest - 2 * all - 1), (2, 2));
        assert_eq!(added(rest - 2 * all), (2, 1));
        assert_eq!(added(rest - all - 1 - ids), (2, 1));
        assert_eq!(added(rest - all - ids), (1, 1));
        assert_eq!(added(rest - ids), (1, 0));
        assert_eq!(added(rest - ids + 1), (0, 0));
        assert_eq!(added(rest + 1), (0, 0));
    }
}
