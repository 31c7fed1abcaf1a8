//! Kinesis: a member of each record's data, where that is a JSON object.
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::keys::headers::CARRIER;

use streams::Edge;

use super::{Told, room};
use crate::json_text::{Edit, Object, edited, string};

/// Bytes of a record, data and partition key, unless its stream is set to take more.
const RECORD_LIMIT: usize = 1024 * 1024;
/// Bytes of all records of a request.
const LIMIT: usize = 10 * 1024 * 1024;

pub(super) fn record<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let mut room = RECORD_LIMIT;
    data(body, body, told, &mut room).map(|edit| vec![edit])
}

pub(super) fn records<'a>(body: &Object<'a>, told: &Told) -> Option<Vec<Edit<'a>>> {
    let records: Option<Vec<_>> = body.list("Records")?.into_iter().map(Object::parse).collect();
    let records = records?;
    let mut room = room(LIMIT, body.text().len(), || records.iter().map(size).sum())?;
    Some(records.iter().filter_map(|record| data(body, record, told, &mut room)).collect())
}

fn data<'a>(request: &Object<'a>, record: &Object<'a>, told: &Told, room: &mut usize) -> Option<Edit<'a>> {
    let old = record.get("Data")?;
    let bytes = decoded(record)?;
    let pathway = told.pathway(|| {
        let stream = request.string("StreamARN").or_else(|| request.string("StreamName"));
        (Edge::produce("kinesis", &stream.unwrap_or_default()), size(record).unwrap_or_default())
    });
    let data = std::str::from_utf8(&bytes).ok()?;
    let members = Object::parse(data)?;
    // A member of that name that holds something else is the user's own.
    if members.get(CARRIER).is_some_and(|own| Object::parse(own).is_none()) {
        return None;
    }
    let key = record.string("PartitionKey").map_or(0, |key| key.len());
    let new = told
        .texts(pathway.as_deref())
        .iter()
        .filter_map(|text| edited(data, members.set(CARRIER, text.clone())))
        .find(|new| new.len() <= data.len().saturating_add(*room) && new.len() + key <= RECORD_LIMIT)?;
    *room = room.saturating_sub(new.len().saturating_sub(data.len()));
    Some(Edit { old, new: format!("\"{}\"", BASE64_STANDARD.encode(new)) })
}

fn decoded(record: &Object<'_>) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(string(record.get("Data")?)?.as_bytes()).ok()
}

fn size(record: &Object<'_>) -> Option<usize> {
    Some(decoded(record)?.len() + record.string("PartitionKey").map_or(0, |key| key.len()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::json;
    use super::*;

    const OWN: &str = r#""_datadog":{"baggage":"","x-datadog-trace-id":"1"}"#;

    fn body(data: &[u8]) -> String {
        format!(r#"{{"StreamName":"s","Data":"{}","PartitionKey":"key"}}"#, BASE64_STANDARD.encode(data))
    }

    fn check(data: &str, expect: &str) {
        assert_eq!(json(record, &body(data.as_bytes())), body(expect.replace('@', OWN).as_bytes()), "{data}");
    }

    #[test]
    fn the_data_keeps_its_text() {
        check("{}", "{@}");
        check("{\"n\": 1.00}\n", "{@,\"n\": 1.00}\n");
        check("\n {\"e\":\"\\u00e9\"} ", "\n {@,\"e\":\"\\u00e9\"} ");
        check(r#"{"_datadog":{}}"#, "{@}");
    }

    #[test]
    fn what_is_no_object_stays() {
        for odd in ["", "[1]", "7", "null", "{", "{}{}", "plain", r#"{"_datadog":"mine"}"#] {
            assert_eq!(json(record, &body(odd.as_bytes())), "untouched", "{odd}");
        }
        assert_eq!(json(record, &body(b"\xff\x00")), "untouched");
        for odd in [r#"{"Data":7}"#, r#"{"Data":"no base64!"}"#, "{}"] {
            assert_eq!(json(record, odd), "untouched");
        }
    }

    #[test]
    fn each_record_of_a_request() {
        let each =
            |data: &str| format!(r#"{{"Data":"{}","PartitionKey":"k"}}"#, BASE64_STANDARD.encode(data));
        let all =
            |first: &str| format!(r#"{{"Records":[{}, {},{}]}}"#, each(first), each("plain"), each("[]"));
        assert_eq!(json(records, &all(r#"{"a":1}"#)), all(&format!("{{{OWN},\"a\":1}}")));
        assert_eq!(json(records, r#"{"Records":[7]}"#), "untouched");
    }

    #[test]
    fn a_record_stays_within_its_limit() {
        let added = |length: usize| {
            let data = format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
            let old = body(data.as_bytes());
            match json(record, &old) {
                untouched if untouched == "untouched" => 0,
                new => new.len() - old.len(),
            }
        };
        let all = OWN.len() + 1;
        let ids = all - r#""baggage":"","#.len();
        assert!(added(RECORD_LIMIT - 3 - all) > added(RECORD_LIMIT - 3 - all + 1));
        assert!(added(RECORD_LIMIT - 3 - ids) > 0);
        assert_eq!(added(RECORD_LIMIT - 3 - ids + 1), 0);
        // A stream that takes more may not take much more.
        assert_eq!(added(RECORD_LIMIT + 1), 0);
    }
}
