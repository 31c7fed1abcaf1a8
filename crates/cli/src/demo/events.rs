//! The events that the demo sends.

use std::time::Duration;

use model::UnixNanos;
use serde_json::{Value, json};

use crate::callers::Caller;

const QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:123456789012:orders-queue";

/// `POST /orders` through an API Gateway HTTP API, payload format 2.0.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
pub(crate) fn http(caller: &Caller, now: UnixNanos) -> String {
    let mut headers = json!({
        "accept": "application/json",
        "content-type": "application/json",
        "host": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
        "user-agent": "web-shop/2.4",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": "https",
    });
    merge(&mut headers, caller.carrier());
    json!({
        "version": "2.0",
        "routeKey": "POST /orders",
        "rawPath": "/orders",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "a1b2c3d4e5",
            "http": {
                "method": "POST",
                "path": "/orders",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "web-shop/2.4",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "POST /orders",
            "stage": "$default",
            "time": now.to_rfc3339_millis(),
            "timeEpoch": now.as_millis(),
        },
        "body": order(1001, "espresso machine").to_string(),
        "isBase64Encoded": false,
    })
    .to_string()
}

/// A batch of one message from each of these producers.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>
pub(crate) fn messages(producers: &[Caller], now: UnixNanos) -> String {
    let records = producers.iter().enumerate().map(|(n, producer)| {
        let sent = (now - message_age(n)).as_millis();
        json!({
            "messageId": format!("059f36b4-87a3-44ab-83d2-66197589700{n}"),
            "receiptHandle": format!("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a{n}"),
            "body": order(2001 + n as u64, "coffee beans").to_string(),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": sent.to_string(),
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": now.as_millis().to_string(),
            },
            "messageAttributes": {
                "_datadog": { "stringValue": producer.carrier().to_string(), "dataType": "String" },
            },
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": QUEUE_ARN,
            "awsRegion": "us-east-1",
        })
    });
    json!({ "Records": records.collect::<Vec<_>>() }).to_string()
}

/// How long the message of this number was in the queue.
pub(crate) fn message_age(n: usize) -> Duration {
    Duration::from_millis(15).saturating_sub(Duration::from_millis(5 * n as u64))
}

/// An order that orders-worker answers with an error.
pub(crate) fn bad_order() -> String {
    let mut bad = order(3001, "nothing");
    merge(&mut bad, json!({ "fail": true }));
    bad.to_string()
}

fn order(id: u64, item: &str) -> Value {
    json!({ "id": id, "item": item })
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
