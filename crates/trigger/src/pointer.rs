//! Span pointers: links to an S3 object or a DynamoDB item instead of to a span. Who writes it and who is
//! invoked by it compute the same hash, and Datadog shows the one beside the other.
//! <https://docs.datadoghq.com/serverless/aws_lambda/distributed_tracing/>
//!
//! Called for events here, and for calls of the AWS SDK by whoever made them.

use base64::Engine as _;
use model::{SpanLink, Tags, Text};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::carrier::BASE64;
use crate::json;

/// Which side of the object or item a span is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The span was caused by it.
    Upstream,
    /// The span wrote it.
    Downstream,
}

/// The value of a key attribute of DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValue<'a> {
    S(&'a str),
    /// A number as DynamoDB writes it.
    N(&'a str),
    B(&'a [u8]),
}

/// A pointer to an S3 object. `key` as it is, not URL-encoded; quotes around the ETag do not matter.
pub fn s3_pointer(bucket: &str, key: &str, etag: &str, direction: Direction) -> SpanLink {
    let etag = etag.trim_matches('"');
    link("aws.s3.object", &[bucket.as_bytes(), key.as_bytes(), etag.as_bytes()], direction)
}

/// A pointer to a DynamoDB item by its one or two key attributes, in any order. The table may be given as an
/// ARN. `None` for any other number of attributes.
pub fn dynamodb_pointer(
    table: &str,
    keys: &[(&str, KeyValue<'_>)],
    direction: Direction,
) -> Option<SpanLink> {
    let mut keys: Vec<_> = keys.iter().map(|(name, value)| (name.as_bytes(), value.bytes())).collect();
    keys.sort_by_key(|(name, _)| *name);
    let (first, second) = match keys[..] {
        [first] => (first, (&[][..], &[][..])),
        [first, second] => (first, second),
        _ => return None,
    };
    let table = table_name(table).as_bytes();
    Some(link("aws.dynamodb.item", &[table, first.0, first.1, second.0, second.1], direction))
}

/// The table's name in its ARN, in that of its stream or index, or as it is.
pub(crate) fn table_name(table: &str) -> &str {
    let resource = table.strip_prefix("arn:").and_then(|arn| arn.splitn(5, ':').nth(4));
    resource.and_then(|resource| resource.strip_prefix("table/")?.split('/').next()).unwrap_or(table)
}

/// The pointer of an S3 notification's record: only what was created has an ETag to go by. Keys are
/// URL-encoded in notifications, and only there.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>
pub(crate) fn of_s3_record(record: &Value) -> Option<SpanLink> {
    if !json::text(record, "eventName")?.trim_start_matches("s3:").starts_with("ObjectCreated") {
        return None;
    }
    let (bucket, etag) = (json::text(record, "s3.bucket.name")?, json::text(record, "s3.object.eTag")?);
    let key = url_decoded(json::text(record, "s3.object.key")?)?;
    Some(s3_pointer(bucket, &key, etag, Direction::Upstream))
}

/// The same through EventBridge, where the key is not encoded.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>
pub(crate) fn of_s3_event(event: &Value) -> Option<SpanLink> {
    if !json::is(event, "source", "aws.s3") || !json::is(event, "detail-type", "Object Created") {
        return None;
    }
    let (bucket, etag) = (json::text(event, "detail.bucket.name")?, json::text(event, "detail.object.etag")?);
    Some(s3_pointer(bucket, json::text(event, "detail.object.key")?, etag, Direction::Upstream))
}

pub(crate) fn of_dynamodb_record(record: &Value) -> Option<SpanLink> {
    if !matches!(json::text(record, "eventName"), Some("INSERT" | "MODIFY" | "REMOVE")) {
        return None;
    }
    let keys = json::object(record, "dynamodb.Keys")?;
    dynamodb_item_pointer(json::text(record, "eventSourceARN")?, keys, Direction::Upstream)
}

/// A pointer to a DynamoDB item by its key attributes in DynamoDB's JSON, `{"id": {"S": "17"}}`, as they are in
/// stream records and in serialised requests. Binary ones are base64 there, and bytes to the writer.
pub fn dynamodb_item_pointer(
    table: &str,
    keys: &Map<String, Value>,
    direction: Direction,
) -> Option<SpanLink> {
    let bytes = |value: &Value| {
        let text = |kind| value.get(kind).and_then(Value::as_str);
        match (text("S").or_else(|| text("N")), text("B")) {
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (None, Some(binary)) => BASE64.decode(binary).ok(),
            (None, None) => None,
        }
    };
    // One more than can be, so that too many are seen.
    let keys: Option<Vec<_>> =
        keys.iter().take(3).map(|(name, v)| Some((name.as_str(), bytes(v)?))).collect();
    let keys = keys?;
    let keys: Vec<_> = keys.iter().map(|(name, bytes)| (*name, KeyValue::B(bytes))).collect();
    dynamodb_pointer(table, &keys, direction)
}

impl<'a> KeyValue<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::S(text) | Self::N(text) => text.as_bytes(),
            Self::B(bytes) => bytes,
        }
    }
}

fn link(kind: &'static str, components: &[&[u8]], direction: Direction) -> SpanLink {
    let mut sha = Sha256::new();
    for (n, component) in components.iter().enumerate() {
        if n > 0 {
            sha.update(b"|");
        }
        sha.update(component);
    }
    let digest: [u8; 32] = sha.finalize().into();
    let hash: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let side = match direction {
        Direction::Upstream => "u",
        Direction::Downstream => "d",
    };
    let mut attributes = Tags::with_capacity(4);
    attributes.insert("link.kind", "span-pointer");
    attributes.insert("ptr.kind", kind);
    attributes.insert("ptr.dir", side);
    attributes.insert("ptr.hash", hash);
    SpanLink { trace_id: None, span_id: None, attributes, tracestate: Text::default(), flags: 0 }
}

/// `+` is a space and `%XX` a byte. `None` when the bytes are not UTF-8: then the writer's key is unknown.
fn url_decoded(text: &str) -> Option<String> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                digit(*high).zip(digit(*low)).map(|(h, l)| (h * 16 + l, after))
            }
            (b'+', after) => Some((b' ', after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(link: &SpanLink) -> &str {
        link.attributes.get("ptr.hash").unwrap()
    }

    #[test]
    fn objects() {
        let check = |bucket: &str, key: &str, etag: &str, expect: &str| {
            assert_eq!(hash(&s3_pointer(bucket, key, etag, Direction::Downstream)), expect, "{key}");
        };
        check("some-bucket", "some-key.data", "ab12ef34", "e721375466d4116ab551213fdea08413");
        check("some-bucket", "some-key.data", "\"ab12ef34\"", "e721375466d4116ab551213fdea08413");
        check("some-bucket", "some-key.你好", "ab12ef34", "d1333a04b9928ab462b5c6cadfa401f4");
        check("some-bucket", "some-key.data", "ab12ef34-5", "2b90dffc37ebc7bc610152c3dc72af9f");
        let etag = "d41d8cd98f00b204e9800998ecf8427e";
        check("my-bucket", "reports/2024 Q1+final.csv", etag, "c3560e5225e8ee06d60f055ebfcda408");
    }

    #[test]
    fn items() {
        let check = |table: &str, keys: &[(&str, KeyValue<'_>)], expect: &str| {
            let link = dynamodb_pointer(table, keys, Direction::Upstream).unwrap();
            assert_eq!(hash(&link), expect, "{keys:?}");
        };
        let one = "7f1aee721472bcb48701d45c7c7f7821";
        check("some-table", &[("some-key", KeyValue::S("some-value"))], one);
        check(
            "arn:aws:dynamodb:eu-west-1:1:table/some-table",
            &[("some-key", KeyValue::S("some-value"))],
            one,
        );
        check("some-table", &[("some-key", KeyValue::N("123.456"))], "434a6dba3997ce4dbbadc98d87a0cc24");
        check(
            "some-table",
            &[("some-key", KeyValue::B(b"c29tZS12YWx1ZQo="))],
            "cc789e5ea89c317ac58af92d7a1ba2c2",
        );
        check(
            "some-table",
            &[("some-key", KeyValue::B(b"some-value\n"))],
            "f03a7e69e4cc7cdc57fb3b1fe476a8fe",
        );
        let (a, b) = (("other-key", KeyValue::N("123")), ("some-key", KeyValue::S("some-value")));
        check("some-table", &[a, b], "7aa1b80b0e49bd2078a5453399f4dd67");
        check("some-table", &[b, a], "7aa1b80b0e49bd2078a5453399f4dd67");
        assert_eq!(dynamodb_pointer("t", &[], Direction::Upstream), None);
        assert_eq!(dynamodb_pointer("t", &[a, b, a], Direction::Upstream), None);
    }

    #[test]
    fn keys_of_notifications_are_decoded() {
        let record = |name: &str, key: &str| {
            json!({"eventName": name, "s3": {"bucket": {"name": "my-bucket"},
                "object": {"key": key, "eTag": "d41d8cd98f00b204e9800998ecf8427e"}}})
        };
        let link = of_s3_record(&record("ObjectCreated:Put", "reports/2024+Q1%2Bfinal.csv")).unwrap();
        assert_eq!(hash(&link), "c3560e5225e8ee06d60f055ebfcda408");
        assert_eq!(of_s3_record(&record("ObjectRemoved:Delete", "x")), None);
        assert_eq!(of_s3_record(&record("ObjectCreated:Put", "%ff")), None);
        assert_eq!(of_s3_record(&json!({"eventName": "ObjectCreated:Put", "s3": {}})), None);
    }

    #[test]
    fn keys_through_eventbridge_are_not() {
        let event = |kind: &str| {
            json!({"source": "aws.s3", "detail-type": kind, "detail": {"bucket": {"name": "my-bucket"},
                "object": {"key": "reports/2024 Q1+final.csv", "etag": "d41d8cd98f00b204e9800998ecf8427e"}}})
        };
        assert_eq!(hash(&of_s3_event(&event("Object Created")).unwrap()), "c3560e5225e8ee06d60f055ebfcda408");
        assert_eq!(of_s3_event(&event("Object Deleted")), None);
    }

    #[test]
    fn binary_keys_of_streams_are_decoded() {
        let record = |name: &str, keys: Value| {
            json!({"eventName": name, "eventSourceARN": "arn:aws:dynamodb:r:1:table/some-table/stream/2024",
                "dynamodb": {"Keys": keys}})
        };
        let link =
            of_dynamodb_record(&record("INSERT", json!({"some-key": {"B": "c29tZS12YWx1ZQo="}}))).unwrap();
        assert_eq!(hash(&link), "f03a7e69e4cc7cdc57fb3b1fe476a8fe");
        let two = json!({"some-key": {"S": "some-value"}, "other-key": {"N": "123"}});
        let link = of_dynamodb_record(&record("REMOVE", two)).unwrap();
        assert_eq!(hash(&link), "7aa1b80b0e49bd2078a5453399f4dd67");
        assert_eq!(link.attributes.get("ptr.dir").unwrap(), "u");
        for bad in [json!({}), json!({"a": {}}), json!({"a": {"B": "?"}}), json!({"a": {"L": []}})] {
            assert_eq!(of_dynamodb_record(&record("INSERT", bad)), None);
        }
        assert_eq!(of_dynamodb_record(&record("OTHER", json!({"a": {"S": "b"}}))), None);
    }
}
