//! The event as JSON, for looking at it: what a huge event takes as values is bounded, since it is many times
//! its own size, and the memory is the function's. What does not fit is left out; the handler gets its event
//! whole from the runtime.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values kept of one event, some 10 MiB of them.
const MAX_VALUES: usize = 100_000;

/// How serde_json hands over a number when some crate has asked it to keep numbers as text.
const NUMBER: &str = "$serde_json::private::Number";

/// What an event is when it is no JSON: the runtime refuses it then.
const NOTHING: Value = Value::Null;

/// Reads an event.
pub(crate) fn parse(bytes: &[u8]) -> Value {
    parse_within(bytes, MAX_VALUES)
}

fn parse_within(bytes: &[u8], values: usize) -> Value {
    let left = Cell::new(values);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Bounded { left: &left }.deserialize(&mut json);
    value.ok().filter(|_| json.end().is_ok()).unwrap_or(NOTHING)
}

#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl Bounded<'_> {
    /// Whether one more value may be kept.
    fn take(self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while self.take() {
            let Some(value) = list.next_element_seed(self)? else { return Ok(Value::Array(kept)) };
            kept.push(value);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == NUMBER {
                let text = map.next_value::<String>()?;
                return text.parse::<Number>().map(Value::Number).map_err(A::Error::custom);
            }
            if self.take() {
                let key = key.into_owned();
                kept.insert(key, map.next_value_seed(self)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_events_are_whole() {
        for (name, text) in testkit::events() {
            assert_eq!(parse(text.as_bytes()), serde_json::from_str::<Value>(text).unwrap(), "{name}");
        }
        let odd = r#" {"a":[1,-2,1.5e300,true,null,"\u00e4"],"b":{},"b":{"c":18446744073709551615}} "#;
        assert_eq!(parse(odd.as_bytes()), serde_json::from_str::<Value>(odd).unwrap());
    }

    #[test]
    fn what_is_no_json_is_nothing() {
        for bad in ["", "{", "{} x", "nul", "[1,]", "\u{0}", &"[".repeat(100_000)] {
            assert_eq!(parse(bad.as_bytes()), NOTHING, "{:.20}", bad);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let check = |text: &str, values, expect: Value| {
            assert_eq!(parse_within(text.as_bytes(), values), expect, "{text} {values}");
        };
        check("[1,2,3,4]", 2, json!([1, 2]));
        check(r#"{"a":[1,2,3],"b":{"c":4}}"#, 3, json!({"a": [1, 2]}));
        check(r#"{"a":{"b":1},"c":2}"#, 1, json!({"a": {}}));
        check("7", 0, json!(7));
        let huge = format!("[{}1]", "1,".repeat(3_000_000));
        let Value::Array(kept) = parse(huge.as_bytes()) else { unreachable!() };
        assert_eq!(kept.len(), MAX_VALUES);
    }
}
