//! Messages of SQS. <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>

use aws_sdk_sqs::types::{Message, MessageAttributeValue};
use serde_json::{Map, Value, json};

use super::{base64, object, region};

pub(crate) fn event(messages: &[Message], arn: &str) -> Value {
    json!({"Records": messages.iter().map(|message| record(message, arn)).collect::<Vec<_>>()})
}

/// What another service sent, which is an event already.
pub(crate) fn body(message: &Message) -> Option<Value> {
    serde_json::from_str(message.body()?).ok()
}

fn record(message: &Message, arn: &str) -> Value {
    let system = message.attributes().into_iter().flatten();
    let system: Map<_, _> =
        system.map(|(name, value)| (name.as_str().to_owned(), value.as_str().into())).collect();
    let own = message.message_attributes().into_iter().flatten();
    let own: Map<_, _> = own.map(|(name, value)| (name.clone(), attribute(value))).collect();
    let text = |text: Option<&str>| text.map(Value::from);
    object([
        ("messageId", text(message.message_id())),
        ("receiptHandle", text(message.receipt_handle())),
        ("body", text(message.body())),
        ("attributes", Some(system.into())),
        ("messageAttributes", Some(own.into())),
        ("md5OfBody", text(message.md5_of_body())),
        ("md5OfMessageAttributes", text(message.md5_of_message_attributes())),
        ("eventSource", Some("aws:sqs".into())),
        ("eventSourceARN", Some(arn.into())),
        ("awsRegion", Some(region(arn).into())),
    ])
}

fn attribute(value: &MessageAttributeValue) -> Value {
    object([
        ("stringValue", value.string_value().map(Value::from)),
        ("binaryValue", value.binary_value().map(|bytes| base64(bytes.as_ref()))),
        ("stringListValues", Some(json!([]))),
        ("binaryListValues", Some(json!([]))),
        ("dataType", Some(value.data_type().into())),
    ])
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;
    use aws_sdk_sqs::types::MessageSystemAttributeName;

    use super::*;

    #[test]
    fn messages_become_records() {
        let text = MessageAttributeValue::builder().data_type("String").string_value("a").build().unwrap();
        let bytes = MessageAttributeValue::builder()
            .data_type("Binary")
            .binary_value(Blob::new("a"))
            .build()
            .unwrap();
        let message = Message::builder()
            .message_id("m")
            .receipt_handle("r")
            .body("{}")
            .attributes(MessageSystemAttributeName::SentTimestamp, "7")
            .message_attributes("text", text)
            .message_attributes("bytes", bytes)
            .build();
        let expect = json!({"Records": [{
            "messageId": "m", "receiptHandle": "r", "body": "{}", "attributes": {"SentTimestamp": "7"},
            "messageAttributes": {
                "text": {"stringValue": "a", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "bytes": {"binaryValue": "YQ==", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
            },
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:1:q", "awsRegion": "eu-west-1",
        }]});
        assert_eq!(event(std::slice::from_ref(&message), "arn:aws:sqs:eu-west-1:1:q"), expect);
        assert_eq!(body(&message), Some(json!({})));
        assert_eq!(body(&Message::builder().body("x").build()), None);
    }
}
