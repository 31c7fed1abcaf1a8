//! Looking into parsed JSON that may have any shape. Paths are keys joined by dots.

use model::UnixNanos;
use serde_json::{Map, Value};

pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let (mut value, mut rest) = (value, path);
    // Keys are short: a plain loop finds the dot sooner than a search made for long texts.
    while let Some(dot) = rest.bytes().position(|b| b == b'.') {
        let (key, behind) = rest.split_at_checked(dot)?;
        value = value.as_object()?.get(key)?;
        rest = behind.get(1..)?;
    }
    value.as_object()?.get(rest)
}

/// The value at a path, or null.
pub(crate) fn at_or_null<'a>(value: &'a Value, path: &str) -> &'a Value {
    at(value, path).unwrap_or(&Value::Null)
}

/// A string that is not empty.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path)?.as_str().filter(|s| !s.is_empty())
}

pub(crate) fn object<'a>(value: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
    at(value, path)?.as_object()
}

pub(crate) fn has(value: &Value, path: &str) -> bool {
    at(value, path).is_some_and(|v| !v.is_null())
}

pub(crate) fn is(value: &Value, path: &str, expect: &str) -> bool {
    text(value, path) == Some(expect)
}

/// A string, or a number or truth value as JSON writes it.
pub(crate) fn scalar(value: &Value, path: &str) -> Option<String> {
    match at(value, path)? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        v @ (Value::Number(_) | Value::Bool(_)) => Some(v.to_string()),
        _ => None,
    }
}

/// A string that is not empty, of a map.
pub(crate) fn text_in<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str().filter(|s| !s.is_empty())
}

/// Milliseconds since 1970, as a number or as a string of one.
pub(crate) fn millis(value: &Value, path: &str) -> Option<UnixNanos> {
    as_millis(at(value, path)?)
}

pub(crate) fn as_millis(value: &Value) -> Option<UnixNanos> {
    let whole = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    whole.filter(|ms| *ms > 0).map(UnixNanos::from_millis)
}

/// Seconds since 1970, with a fraction.
pub(crate) fn seconds(value: &Value, path: &str) -> Option<UnixNanos> {
    let value = at(value, path)?;
    let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    // To the microsecond, which is what a float holds of today's times.
    (seconds > 0.0 && seconds < 1e10).then(|| UnixNanos((seconds * 1e6).round() as u64 * 1000))
}

/// The first of `Records`, or of a list that is the event.
pub(crate) fn first_record(event: &Value) -> Option<&Value> {
    event.get("Records").unwrap_or(event).as_array()?.first()
}

/// The elements of a list, or of an object whose keys are indices, in their order.
pub(crate) fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => {
            let mut all: Vec<_> = map.iter().map(|(k, v)| (k.parse::<u64>().ok(), v)).collect();
            all.sort_by_key(|(index, _)| *index);
            all.into_iter().map(|(_, v)| v).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments() {
        let check = |value: Value, ms, s| {
            let event = json!({"at": value});
            assert_eq!(
                (millis(&event, "at").map(|t| t.0), seconds(&event, "at").map(|t| t.0)),
                (ms, s),
                "{event}"
            );
        };
        check(json!(1_545_084_650), Some(1_545_084_650_000_000), Some(1_545_084_650_000_000_000));
        check(json!(1_545_084_650.987), None, Some(1_545_084_650_987_000_000));
        check(json!("15"), Some(15_000_000), Some(15_000_000_000));
        for none in [json!(0), json!(-5), json!("x"), json!(null), json!(1e300), json!([1])] {
            check(none, None, None);
        }
    }

    #[test]
    fn lists_by_index() {
        let map: Map<_, _> = (0..12).map(|n| (n.to_string(), json!(n))).collect();
        let list: Vec<_> = (0..12).map(|n| json!(n)).collect();
        assert_eq!(elements(&Value::Object(map)), elements(&Value::Array(list)));
        assert!(elements(&json!("x")).is_empty());
    }

    #[test]
    fn paths_into_anything() {
        let event = json!({"a": {"b": "", "c": 5, "d": null}, "Records": 5});
        assert_eq!((text(&event, "a.b"), text(&event, "a.c"), text(&event, "a.b.c")), (None, None, None));
        assert_eq!((has(&event, "a.d"), has(&event, "a.c")), (false, true));
        assert_eq!(scalar(&event, "a.c").as_deref(), Some("5"));
        assert_eq!(first_record(&event), None);
        assert_eq!(first_record(&json!([7])), Some(&json!(7)));
    }
}
