//! What the records of an event were taken from, and the pathway that each carries: for Data Streams Monitoring. As
//! Datadog's library for Python has it, a message counts as taken from where the function took it, whoever sent it there.

use model::keys::headers;
use serde_json::Value;

use crate::read::{MAX_DEPTH, MAX_MESSAGES, MAX_RECORDS, records};
use crate::sources::{SOURCES, Shape, Source, Surroundings};
use crate::{Function, Kind, Settings, json};

/// A message that was taken from a queue, topic, stream or bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// `sqs`, `sns`, `kinesis` or `eventbridge`.
    pub kind: &'static str,
    /// The ARN of what it was taken from; of an event on a bus its type.
    pub topic: String,
    /// As the producer wrote it.
    pub pathway: Option<String>,
    /// Bytes of what the producer sent, without attributes.
    pub size: usize,
}

/// The messages of an event. None for events of other sources.
pub fn consumed(event: &Value) -> Vec<Consumed> {
    let mut budget = MAX_MESSAGES;
    records(event).take(MAX_RECORDS).filter_map(|record| consumed_within(record, &mut budget)).collect()
}

/// One record of a batch.
///
/// ```
/// let record = serde_json::json!({
///     "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:1:orders", "body": "{}",
///     "messageAttributes": {"_datadog": {"dataType": "String", "stringValue": "{\"dd-pathway-ctx-base64\":\"A=\"}"}},
/// });
/// let consumed = trigger::record_consumed(&record).unwrap();
/// assert_eq!((consumed.kind, consumed.pathway.as_deref()), ("sqs", Some("A=")));
/// ```
pub fn record_consumed(record: &Value) -> Option<Consumed> {
    consumed_within(record, &mut { MAX_MESSAGES })
}

fn consumed_within(record: &Value, budget: &mut usize) -> Option<Consumed> {
    let source = SOURCES.iter().find(|source| match source.kind {
        Kind::Sqs | Kind::Sns | Kind::Kinesis => source.shape == Shape::Records && (source.matches)(record),
        Kind::EventBridge => (source.matches)(record),
        _ => false,
    })?;
    let text = |path| json::text(record, path);
    let (kind, topic, size) = match source.kind {
        Kind::Sqs => ("sqs", text("eventSourceARN")?, text("body").map_or(0, str::len)),
        Kind::Sns => ("sns", text("Sns.TopicArn")?, text("Sns.Message").map_or(0, str::len)),
        Kind::Kinesis => {
            ("kinesis", text("eventSourceARN")?, text("kinesis.data").map_or(0, |data| data.len() / 4 * 3))
        }
        _ => ("eventbridge", text("detail-type")?, 0),
    };
    let pathway = pathway(source, record, MAX_DEPTH, budget);
    Some(Consumed { kind, topic: topic.to_owned(), pathway, size })
}

/// In the record's carrier, else in that of the message within it.
fn pathway(source: &Source, record: &Value, depth: usize, budget: &mut usize) -> Option<String> {
    let (function, settings) = (Function::default(), Settings::default());
    let around = Surroundings { event: record, function: &function, settings: &settings };
    let own =
        || (source.carrier)(record, &around)?.headers.get(headers::PATHWAY)?.as_str().map(str::to_owned);
    own().or_else(|| {
        let text = source.message.iter().find_map(|path| json::text(record, path))?;
        if depth == 0 || text.len() > *budget || !text.contains(headers::CARRIER) {
            return None;
        }
        *budget -= text.len();
        let message: Value = serde_json::from_str(text).ok()?;
        let first = json::first_record(&message).unwrap_or(&message);
        let inner =
            SOURCES.iter().filter(|source| source.is_message).find(|source| (source.matches)(first))?;
        pathway(inner, first, depth - 1, budget)
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::json;

    use super::*;

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:1:orders";
    const CARRIER: &str = r#"{"x-datadog-trace-id":"1","dd-pathway-ctx-base64":"here"}"#;

    fn check(event: &Value, expect: &[(&str, &str, Option<&str>)]) {
        let got = consumed(event);
        let got: Vec<_> =
            got.iter().map(|one| (one.kind, one.topic.as_str(), one.pathway.as_deref())).collect();
        assert_eq!(got, expect, "{event}");
    }

    fn message(body: &str, attributes: &Value) -> Value {
        json!({"eventSource": "aws:sqs", "eventSourceARN": QUEUE, "body": body, "messageAttributes": attributes})
    }

    #[test]
    fn messages_of_a_queue() {
        let own = json!({"_datadog": {"dataType": "String", "stringValue": CARRIER}});
        let other = json!({"_datadog": {"dataType": "String", "stringValue": "{}"}});
        let records = [message("x", &own), message("x", &other), message("x", &json!({}))];
        let none = ("sqs", QUEUE, None);
        check(&json!({"Records": records}), &[("sqs", QUEUE, Some("here")), none, none]);
        assert_eq!(record_consumed(&records[0]).map(|one| one.size), Some(1));
    }

    #[test]
    fn messages_that_other_services_sent_there() {
        let value = BASE64_STANDARD.encode(CARRIER);
        let notification = json!({
            "Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:orders", "Message": "x",
            "MessageAttributes": {"_datadog": {"Type": "Binary", "Value": value}},
        });
        let carrier: Value = serde_json::from_str(CARRIER).unwrap();
        let event = json!({"source": "shop", "detail-type": "order", "detail": {"_datadog": carrier}});
        for body in [&notification, &event] {
            let event = json!({"Records": [message(&body.to_string(), &json!({}))]});
            check(&event, &[("sqs", QUEUE, Some("here"))]);
        }
        check(&event, &[("eventbridge", "order", Some("here"))]);
        let record = json!({"EventSource": "aws:sns", "Sns": notification});
        check(&json!({"Records": [record]}), &[("sns", "arn:aws:sns:eu-west-1:1:orders", Some("here"))]);
    }

    #[test]
    fn records_of_a_stream() {
        let stream = "arn:aws:kinesis:eu-west-1:1:stream/orders";
        let record = |data: &str| {
            let kinesis = json!({"data": BASE64_STANDARD.encode(data)});
            json!({"eventSource": "aws:kinesis", "eventSourceARN": stream, "kinesis": kinesis})
        };
        let records = [record(&format!("{{\"_datadog\":{CARRIER}}}")), record("x")];
        check(&json!({"Records": records}), &[("kinesis", stream, Some("here")), ("kinesis", stream, None)]);
    }

    #[test]
    fn other_events_are_of_no_stream() {
        for other in
            [json!({}), json!(7), json!({"Records": []}), json!({"Records": [{"eventSource": "aws:s3"}]})]
        {
            check(&other, &[]);
        }
    }
}
