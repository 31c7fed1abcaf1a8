//! SNS: an attribute of each message. Binary, since filter policies of subscriptions stumble over texts that are
//! not what they expect.
//! <https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html>

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::keys::headers::CARRIER;

use streams::Edge;

use super::form::{decoded, decoded_len, encoded, pairs};
use super::{Told, room};

/// Bytes of a message, and of all messages of a batch together, with attributes.
const LIMIT: usize = 256 * 1024;
/// SNS takes more, but raw delivery to SQS then loses the message.
const MAX_ATTRIBUTES: usize = 10;
const MAX_ENTRIES: usize = 10;
const TYPE: &str = "Binary";

pub(super) fn publish(form: &str, told: &Told) -> Option<String> {
    // A phone or an app gets no attributes.
    let to_device = |(name, value): (&str, &str)| match name {
        "PhoneNumber" => true,
        "TargetArn" => decoded(value).is_none_or(|arn| arn.contains(":endpoint/")),
        _ => false,
    };
    if pairs(form).any(to_device) {
        return None;
    }
    let mut room = room(LIMIT, form.len(), || Some(size(form, "")))?;
    let new = attribute(form, "", told, &mut room)?;
    Some(with(form, &[new]))
}

/// Each entry for itself, as long as there is room for all.
pub(super) fn batch(form: &str, told: &Told) -> Option<String> {
    let prefixes: Vec<_> = (1..=MAX_ENTRIES)
        .map(|n| format!("PublishBatchRequestEntries.member.{n}."))
        .take_while(|prefix| pairs(form).any(|(name, _)| name.starts_with(prefix)))
        .collect();
    let all = || Some(prefixes.iter().map(|prefix| size(form, prefix)).sum());
    let mut room = room(LIMIT, form.len(), all)?;
    let new: Vec<_> = prefixes.iter().filter_map(|prefix| attribute(form, prefix, told, &mut room)).collect();
    (!new.is_empty()).then(|| with(form, &new))
}

/// An attribute for a message: the beginning of all its names, and what it consists of.
struct Attribute {
    entry: String,
    pairs: String,
}

fn attribute(form: &str, prefix: &str, told: &Told, room: &mut usize) -> Option<Attribute> {
    let pathway = told.pathway(|| (Edge::produce("sns", &topic(form)), size(form, prefix)));
    let entries = format!("{prefix}MessageAttributes.entry.");
    let (mut count, mut last, mut own) = (0, 0, None);
    for (name, value) in pairs(form) {
        let Some(number) = name.strip_prefix(&entries).and_then(|rest| rest.strip_suffix(".Name")) else {
            continue;
        };
        let number: usize = number.parse().ok()?;
        count += 1;
        last = last.max(number);
        if decoded(value)? == CARRIER {
            own = Some(number);
        }
    }
    if own.is_none() && count >= MAX_ATTRIBUTES {
        return None;
    }
    let added = |text: &str| CARRIER.len() + TYPE.len() + text.len();
    let texts = told.texts(pathway.as_deref());
    let text = texts.iter().find(|text| added(text) <= *room)?;
    *room = room.saturating_sub(added(text));
    let entry = format!("{entries}{}.", own.unwrap_or(last + 1));
    let value = encoded(&BASE64_STANDARD.encode(text));
    let pairs =
        format!("&{entry}Name={CARRIER}&{entry}Value.DataType={TYPE}&{entry}Value.BinaryValue={value}");
    Some(Attribute { entry, pairs })
}

/// The form with attributes at its end, each in place of what its entry was.
fn with(form: &str, new: &[Attribute]) -> String {
    let stays = |pair: &&str| !new.iter().any(|attribute| pair.starts_with(&attribute.entry));
    let mut out = form.split('&').filter(stays).collect::<Vec<_>>().join("&");
    out.extend(new.iter().map(|attribute| attribute.pairs.as_str()));
    out
}

fn topic(form: &str) -> Cow<'_, str> {
    let named = pairs(form).find(|(name, _)| matches!(*name, "TopicArn" | "TargetArn"));
    named.and_then(|(_, arn)| decoded(arn)).unwrap_or_default()
}

fn size(form: &str, prefix: &str) -> usize {
    let weight = |(name, value): (&str, &str)| {
        let name = name.strip_prefix(prefix)?;
        let counts = matches!(name, "Message" | "Subject") || name.starts_with("MessageAttributes.");
        let length = decoded_len(value);
        counts.then(|| if name.ends_with(".BinaryValue") { length.div_ceil(4) * 3 } else { length })
    };
    pairs(form).filter_map(weight).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::*;

    /// `{"baggage":"","x-datadog-trace-id":"1"}`
    const VALUE: &str = "eyJiYWdnYWdlIjoiIiwieC1kYXRhZG9nLXRyYWNlLWlkIjoiMSJ9";

    fn attribute_text(entry: &str) -> String {
        let value = encoded(VALUE);
        format!("&{entry}Name=_datadog&{entry}Value.DataType=Binary&{entry}Value.BinaryValue={value}")
    }

    fn check(form: &str, expect: Option<String>) {
        let edit = if form.contains("Action=PublishBatch") { batch } else { publish };
        assert_eq!(edit(form, &told()), expect, "{form}");
    }

    #[test]
    fn a_message_gets_an_attribute() {
        let form = "Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns&Message=%7B%7D";
        check(form, Some(format!("{form}{}", attribute_text("MessageAttributes.entry.1."))));
        let form = format!(
            "{form}&MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1.Value.StringValue=x+y"
        );
        check(&form, Some(format!("{form}{}", attribute_text("MessageAttributes.entry.2."))));
    }

    #[test]
    fn an_attribute_that_is_there_makes_room() {
        let form = "Action=Publish&MessageAttributes.entry.1.Name=_datadog&MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1.Value.StringValue=x&MessageAttributes.entry.10.Name=b&Message=m";
        let expect = "Action=Publish&MessageAttributes.entry.10.Name=b&Message=m";
        check(form, Some(format!("{expect}{}", attribute_text("MessageAttributes.entry.1."))));
    }

    #[test]
    fn ten_attributes_are_the_most() {
        let form = |n: usize, first: &str| {
            let all: Vec<_> = (1..=n)
                .map(|n| {
                    let name = if n == 1 { first.to_owned() } else { format!("a{n}") };
                    format!("&MessageAttributes.entry.{n}.Name={name}")
                })
                .collect();
            format!("Action=Publish&Message=m{}", all.join(""))
        };
        check(&form(10, "a"), None);
        assert!(publish(&form(9, "a"), &told()).is_some());
        assert!(publish(&form(10, "_datadog"), &told()).is_some());
    }

    #[test]
    fn each_entry_of_a_batch() {
        let form = "Action=PublishBatch&PublishBatchRequestEntries.member.1.Id=1&PublishBatchRequestEntries.member.1.Message=m&PublishBatchRequestEntries.member.2.Id=2&PublishBatchRequestEntries.member.2.Message=m&PublishBatchRequestEntries.member.2.MessageAttributes.entry.1.Name=a";
        let one = attribute_text("PublishBatchRequestEntries.member.1.MessageAttributes.entry.1.");
        let two = attribute_text("PublishBatchRequestEntries.member.2.MessageAttributes.entry.2.");
        check(form, Some(format!("{form}{one}{two}")));
        check("Action=PublishBatch&TopicArn=x", None);
    }

    #[test]
    fn devices_and_oddities_stay() {
        check("Action=Publish&PhoneNumber=%2B1&Message=m", None);
        check("Action=Publish&TargetArn=arn%3Aaws%3Asns%3Aeu%3A1%3Aendpoint%2FAPNS%2Fx&Message=m", None);
        check("Action=Publish&MessageAttributes.entry.x.Name=a&Message=m", None);
        check("Action=Publish&MessageAttributes.entry.1.Name=%f&Message=m", None);
        let topic = "Action=Publish&TargetArn=arn%3Aaws%3Asns%3Aeu%3A1%3Aorders&Message=m";
        assert!(publish(topic, &told()).is_some());
    }

    /// Name and type 14, the carrier's texts 39 and 26 bytes.
    #[test]
    fn messages_stay_within_their_limit() {
        let fits = |length: usize| {
            let form = format!("Action=Publish&Message={}%C3%A9", "x".repeat(length));
            publish(&form, &told()).map(|form| form.contains(VALUE))
        };
        assert_eq!(fits(LIMIT - 2 - 53), Some(true));
        assert_eq!(fits(LIMIT - 2 - 52), Some(false));
        assert_eq!(fits(LIMIT - 2 - 40), Some(false));
        assert_eq!(fits(LIMIT - 2 - 39), None);
        let both = |length: usize| {
            let long = "x".repeat(length);
            let form = format!(
                "Action=PublishBatch&PublishBatchRequestEntries.member.1.Message={long}&PublishBatchRequestEntries.member.2.Message=m"
            );
            batch(&form, &told()).map(|form| form.matches("Name=_datadog").count())
        };
        assert_eq!(both(LIMIT - 1 - 53 - 40), Some(2));
        assert_eq!(both(LIMIT - 1 - 53 - 39), Some(1));
        assert_eq!(both(LIMIT - 1 - 39), None);
    }
}
