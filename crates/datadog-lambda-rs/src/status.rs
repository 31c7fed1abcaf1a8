//! What a response says of itself, read from any type that can be serialised without serialising it: only
//! the top-level keys `statusCode`, `batchItemFailures` and `Status` are looked at, bodies are passed by.
//!
//! As Lambda's HTTP front ends see it: an object with `statusCode` has that, no response at all is a 502,
//! anything else is sent as a 200.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::ser::{self, Impossible, Serialize};
use serde_json::Value;

const KEY: &str = "statusCode";
/// The messages of a batch that have to be delivered again.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
const FAILURES: &str = "batchItemFailures";
/// What became of a durable execution, as the answer of each of its invocations says.
/// <https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html>
const EXECUTION: &str = "Status";
const EXECUTIONS: [&str; 3] = ["SUCCEEDED", "FAILED", "PENDING"];
/// The field of `serde_json::value::RawValue`, which holds the text of a JSON value.
const RAW: &str = "$serde_json::private::RawValue";

/// What is known of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The HTTP status as a tag's value.
    pub(crate) status: String,
    /// How many messages of its batch failed, when it says so.
    pub(crate) failed_items: Option<usize>,
    /// What became of the durable execution, when it says so.
    pub(crate) execution: Option<String>,
}

/// Never fails: what cannot be read is a 200.
pub(crate) fn of(response: &impl Serialize) -> Facts {
    // The user's own `Serialize` may not be made for being called twice.
    let shape = catch_unwind(AssertUnwindSafe(|| response.serialize(Top))).unwrap_or(Err(Unread));
    let (status, object) = match shape {
        Ok(Shape::Nothing) => (Some("502".to_owned()), Object::default()),
        Ok(Shape::Object(mut object)) => (object.status.take(), object),
        Ok(Shape::Other) | Err(Unread) => (None, Object::default()),
    };
    let Object { failed_items, execution, .. } = object;
    let execution = execution.filter(|status| EXECUTIONS.contains(&status.as_str()));
    Facts { status: status.unwrap_or_else(|| "200".to_owned()), failed_items, execution }
}

enum Shape {
    Nothing,
    Object(Object),
    Other,
}

/// What an object says.
#[derive(Default)]
struct Object {
    status: Option<String>,
    failed_items: Option<usize>,
    execution: Option<String>,
}

/// Serialising went where no status is, or the response's own `Serialize` failed.
#[derive(Debug)]
struct Unread;

impl Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no status")
    }
}

impl std::error::Error for Unread {}

impl ser::Error for Unread {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

/// What some text of JSON says.
fn in_text(text: &str) -> Shape {
    #[derive(serde::Deserialize)]
    struct Response {
        #[serde(rename = "statusCode")]
        status: Option<Value>,
        #[serde(rename = "batchItemFailures")]
        failures: Option<Value>,
        #[serde(rename = "Status")]
        execution: Option<Value>,
    }
    if text.trim() == "null" {
        return Shape::Nothing;
    }
    let Ok(Response { status, failures, execution }) = serde_json::from_str(text) else {
        return Shape::Other;
    };
    let leaf = |value: Option<Value>| value?.serialize(Leaf).ok();
    Shape::Object(Object {
        status: leaf(status),
        failed_items: failures.as_ref().and_then(length),
        execution: leaf(execution),
    })
}

fn length(list: &Value) -> Option<usize> {
    list.as_array().map(Vec::len)
}

/// The length of what is a list once it is serialised: ids of messages, so it is short.
fn serialised_length(list: &(impl Serialize + ?Sized)) -> Option<usize> {
    length(&serde_json::to_value(list).ok()?)
}

macro_rules! scalars {
    ($result:expr; $($name:ident: $type:ty),*) => {
        $(fn $name(self, _: $type) -> Result<Self::Ok, Unread> { $result })*
    };
}

/// Looks at the response itself.
struct Top;

impl ser::Serializer for Top {
    type Ok = Shape;
    type Error = Unread;
    type SerializeSeq = Impossible<Shape, Unread>;
    type SerializeTuple = Impossible<Shape, Unread>;
    type SerializeTupleStruct = Impossible<Shape, Unread>;
    type SerializeTupleVariant = Impossible<Shape, Unread>;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Impossible<Shape, Unread>;

    scalars!(Ok(Shape::Other); serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8]);

    fn serialize_none(self) -> Result<Shape, Unread> {
        Ok(Shape::Nothing)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Shape, Unread> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Shape, Unread> {
        Ok(Shape::Nothing)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Shape, Unread> {
        Ok(Shape::Nothing)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Shape, Unread> {
        Ok(Shape::Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Shape, Unread> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Shape, Unread> {
        Ok(Shape::Other)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Unread> {
        Err(Unread)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unread> {
        Err(Unread)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unread> {
        Err(Unread)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unread> {
        Err(Unread)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries, Unread> {
        Ok(Entries::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries, Unread> {
        Ok(Entries::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unread> {
        Err(Unread)
    }
}

/// The entries of an object.
#[derive(Default)]
struct Entries {
    at: String,
    object: Object,
    raw: Option<String>,
}

impl Entries {
    fn shape(self) -> Shape {
        match self.raw {
            Some(text) => in_text(&text),
            None => Shape::Object(self.object),
        }
    }

    fn take<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        match key {
            KEY => self.object.status = value.serialize(Leaf).ok(),
            FAILURES => self.object.failed_items = serialised_length(value),
            EXECUTION => self.object.execution = value.serialize(Leaf).ok(),
            _ => {}
        }
    }
}

impl ser::SerializeMap for Entries {
    type Ok = Shape;
    type Error = Unread;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unread> {
        self.at = key.serialize(Leaf).unwrap_or_default();
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unread> {
        let key = std::mem::take(&mut self.at);
        self.take(&key, value);
        Ok(())
    }

    fn end(self) -> Result<Shape, Unread> {
        Ok(self.shape())
    }
}

impl ser::SerializeStruct for Entries {
    type Ok = Shape;
    type Error = Unread;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unread> {
        match key {
            RAW => self.raw = value.serialize(Leaf).ok(),
            key => self.take(key, value),
        }
        Ok(())
    }

    fn end(self) -> Result<Shape, Unread> {
        Ok(self.shape())
    }
}

/// Takes the text of a number or a string.
struct Leaf;

macro_rules! shown {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, value: $type) -> Result<String, Unread> { Ok(value.to_string()) })*
    };
}

impl ser::Serializer for Leaf {
    type Ok = String;
    type Error = Unread;
    type SerializeSeq = Impossible<String, Unread>;
    type SerializeTuple = Impossible<String, Unread>;
    type SerializeTupleStruct = Impossible<String, Unread>;
    type SerializeTupleVariant = Impossible<String, Unread>;
    type SerializeMap = Impossible<String, Unread>;
    type SerializeStruct = Impossible<String, Unread>;
    type SerializeStructVariant = Impossible<String, Unread>;

    shown!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_u8: u8,
        serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32, serialize_f64: f64,
        serialize_str: &str);

    scalars!(Err(Unread); serialize_bool: bool, serialize_char: char, serialize_bytes: &[u8]);

    fn serialize_none(self) -> Result<String, Unread> {
        Err(Unread)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, Unread> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<String, Unread> {
        Err(Unread)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<String, Unread> {
        Err(Unread)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<String, Unread> {
        Ok(name.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<String, Unread> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, Unread> {
        Err(Unread)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Unread> {
        Err(Unread)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unread> {
        Err(Unread)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unread> {
        Err(Unread)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unread> {
        Err(Unread)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unread> {
        Err(Unread)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Unread> {
        Err(Unread)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unread> {
        Err(Unread)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        status_code: u16,
        body: Unserialisable,
    }

    struct Unserialisable;

    impl Serialize for Unserialisable {
        fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            unreachable!("bodies are passed by")
        }
    }

    #[test]
    fn status_of_what_a_handler_returns() {
        let check = |got: Facts, expect: &str| assert_eq!(got.status, expect);
        check(of(&Response { status_code: 404, body: Unserialisable }), "404");
        check(of(&Some(Response { status_code: 500, body: Unserialisable })), "500");
        check(of(&json!({"statusCode": 201, "body": "{}"})), "201");
        check(of(&json!({"body": {"statusCode": 500}, "statusCode": "503"})), "503");
        check(of(&json!({"statusCode": null})), "200");
        check(of(&json!({"statusCode": [500]})), "200");
        check(of(&json!({"ok": true})), "200");
        check(of(&json!("text")), "200");
        check(of(&json!([500])), "200");
        check(of(&json!(null)), "502");
        check(of(&()), "502");
        check(of(&None::<Response>), "502");
        check(of(&RawValue::from_string(r#"{"body":"","statusCode":418}"#.to_owned()).unwrap()), "418");
        check(of(&RawValue::from_string("null".to_owned()).unwrap()), "502");
        check(of(&std::collections::HashMap::from([("statusCode", 302)])), "302");
    }

    #[test]
    fn failed_items_of_a_batch() {
        let check = |got: Facts, expect| assert_eq!(got.failed_items, expect);
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Batch {
            batch_item_failures: Vec<Item>,
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Item {
            item_identifier: String,
        }
        let item = |id: &str| Item { item_identifier: id.to_owned() };
        check(of(&Batch { batch_item_failures: vec![item("a"), item("b")] }), Some(2));
        check(of(&Batch { batch_item_failures: vec![] }), Some(0));
        check(of(&json!({"batchItemFailures": [{"itemIdentifier": "a"}]})), Some(1));
        check(of(&json!({"batchItemFailures": null})), None);
        check(of(&json!({"body": {"batchItemFailures": [1]}})), None);
        check(of(&RawValue::from_string(r#"{"batchItemFailures":[{},{},{}]}"#.to_owned()).unwrap()), Some(3));
        check(of(&()), None);
    }

    #[test]
    fn a_response_that_panics_here_is_the_runtimes_to_serialise() {
        struct Once;
        impl Serialize for Once {
            fn serialize<S: ser::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                panic!("not here")
            }
        }
        assert_eq!(of(&Once), Facts { status: "200".to_owned(), failed_items: None, execution: None });
    }

    #[test]
    fn what_became_of_a_durable_execution() {
        let check = |got: Facts, expect: Option<&str>| assert_eq!(got.execution.as_deref(), expect);
        check(of(&json!({"Status": "SUCCEEDED", "Result": "{}"})), Some("SUCCEEDED"));
        check(of(&RawValue::from_string(r#"{"Status":"PENDING"}"#.to_owned()).unwrap()), Some("PENDING"));
        check(of(&json!({"Status": "perhaps"})), None);
        check(of(&json!({"Status": 7, "status": "FAILED"})), None);
        check(of(&()), None);
    }
}
