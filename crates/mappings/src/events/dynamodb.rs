//! Changes of DynamoDB items. <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html>

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::types::{AttributeValue, OperationType, Record, StreamRecord};
use serde_json::{Map, Value, json};

use super::{base64, object, seconds};

pub(crate) fn record(record: &Record, arn: &str) -> Value {
    let text = |text: Option<&str>| text.map(Value::from);
    let who =
        record.user_identity().map(|who| json!({"type": who.r#type(), "principalId": who.principal_id()}));
    object([
        ("eventID", text(record.event_id())),
        ("eventName", text(record.event_name().map(OperationType::as_str))),
        ("eventVersion", text(record.event_version())),
        ("eventSource", Some("aws:dynamodb".into())),
        ("awsRegion", text(record.aws_region())),
        ("dynamodb", record.dynamodb().map(change)),
        ("userIdentity", who),
        ("eventSourceARN", Some(arn.into())),
    ])
}

fn change(change: &StreamRecord) -> Value {
    object([
        ("ApproximateCreationDateTime", seconds(change.approximate_creation_date_time())),
        ("Keys", change.keys().map(item)),
        ("NewImage", change.new_image().map(item)),
        ("OldImage", change.old_image().map(item)),
        ("SequenceNumber", change.sequence_number().map(Value::from)),
        ("SizeBytes", change.size_bytes().map(Value::from)),
        ("StreamViewType", change.stream_view_type().map(|view| view.as_str().into())),
    ])
}

fn item(item: &HashMap<String, AttributeValue>) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), attribute(value))).collect::<Map<_, _>>())
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::B(bytes) => json!({"B": base64(bytes.as_ref())}),
        AttributeValue::Bool(it) => json!({"BOOL": it}),
        AttributeValue::Bs(all) => {
            json!({"BS": all.iter().map(|bytes| base64(bytes.as_ref())).collect::<Vec<_>>()})
        }
        AttributeValue::L(all) => json!({"L": all.iter().map(attribute).collect::<Vec<_>>()}),
        AttributeValue::M(all) => json!({"M": item(all)}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Ns(all) => json!({"NS": all}),
        AttributeValue::Null(it) => json!({"NULL": it}),
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::Ss(all) => json!({"SS": all}),
        // What DynamoDB may have one day.
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::primitives::Blob;
    use aws_sdk_dynamodbstreams::types::StreamViewType;

    use super::*;

    #[test]
    fn changes_of_items() {
        let list = AttributeValue::L(vec![AttributeValue::Null(true), AttributeValue::Bool(false)]);
        let image = AttributeValue::M([("n".to_owned(), AttributeValue::N("1.50".to_owned()))].into());
        let change = StreamRecord::builder()
            .keys("id", AttributeValue::B(Blob::new("a")))
            .new_image("l", list)
            .old_image("m", image)
            .sequence_number("7")
            .size_bytes(3)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build();
        let given = Record::builder().event_id("e").event_name(OperationType::Modify).event_version("1.1");
        let given = given.aws_region("eu-west-1").dynamodb(change).build();
        let expect = json!({
            "eventID": "e", "eventName": "MODIFY", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1", "eventSourceARN": "arn",
            "dynamodb": {
                "Keys": {"id": {"B": "YQ=="}}, "NewImage": {"l": {"L": [{"NULL": true}, {"BOOL": false}]}},
                "OldImage": {"m": {"M": {"n": {"N": "1.50"}}}}, "SequenceNumber": "7", "SizeBytes": 3,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        });
        assert_eq!(record(&given, "arn"), expect);
    }
}
