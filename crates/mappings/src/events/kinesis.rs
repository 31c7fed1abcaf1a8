//! Records of Kinesis. <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html>

use aws_sdk_kinesis::types::Record;
use serde_json::{Value, json};

use super::{base64, object, region, seconds};

pub(crate) fn record(record: &Record, shard: &str, arn: &str) -> Value {
    let kinesis = object([
        ("kinesisSchemaVersion", Some("1.0".into())),
        ("partitionKey", Some(record.partition_key().into())),
        ("sequenceNumber", Some(record.sequence_number().into())),
        ("data", Some(base64(record.data().as_ref()))),
        ("approximateArrivalTimestamp", seconds(record.approximate_arrival_timestamp())),
    ]);
    json!({
        "kinesis": kinesis,
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("{shard}:{}", record.sequence_number()),
        "eventName": "aws:kinesis:record",
        "awsRegion": region(arn),
        "eventSourceARN": arn,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::{Blob, DateTime};

    use super::*;

    #[test]
    fn records_of_a_shard() {
        let given = Record::builder().partition_key("k").sequence_number("49").data(Blob::new("{}"));
        let given = given.approximate_arrival_timestamp(DateTime::from_secs_f64(1.5)).build().unwrap();
        let kinesis = json!({
            "kinesisSchemaVersion": "1.0", "partitionKey": "k", "sequenceNumber": "49", "data": "e30=",
            "approximateArrivalTimestamp": 1.5,
        });
        let arn = "arn:aws:kinesis:eu-west-1:1:stream/s";
        let expect = json!({
            "kinesis": kinesis, "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": "shard-0:49",
            "eventName": "aws:kinesis:record", "awsRegion": "eu-west-1", "eventSourceARN": arn,
        });
        assert_eq!(record(&given, "shard-0", arn), expect);
    }
}
