//! The event and the response as tags of the span, when the user wants it: `function.request.Records.0.body`.
//! Values under keys that name secrets are left out; depth, length and number are bounded. Not the place where
//! it is decided whether they are wanted.

use model::{Tags, Text};
use serde_json::Value;

/// The deepest that payloads are taken apart.
pub const MAX_CAPTURE_DEPTH: usize = 10;

/// The limit of Datadog's libraries for a value, in bytes.
const MAX_VALUE: usize = 4096;
/// Tags of one payload, and bytes of their values. Beyond, they tell nothing and cost much.
const MAX_TAGS: usize = 512;
const MAX_BYTES: usize = 64 * 1024;

/// Parts of what must not be kept, as Datadog's libraries and extension have them, in any case.
const SECRETS: &[&str] = &[
    "authorization",
    "x-authorization",
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "api_key",
    "x-api-key",
    "cookie",
];

/// What stands for a secret.
const REDACTED: &str = "redacted";

/// The tags `prefix.…` of a payload, down to a depth: what is below is one tag, as text. `parse` reads the
/// texts in it that look like JSON; what it gives `null` for stays text.
pub fn payload_tags(
    prefix: &str,
    payload: &Value,
    depth: usize,
    parse: impl Fn(&[u8]) -> Value,
) -> Tags<Text> {
    let mut capture = Capture { tags: Tags::new(), bytes: MAX_BYTES, parse: &parse };
    capture.add(prefix.to_owned(), payload, depth);
    capture.tags
}

struct Capture<'a> {
    tags: Tags<Text>,
    /// How much may still be set.
    bytes: usize,
    parse: &'a dyn Fn(&[u8]) -> Value,
}

impl Capture<'_> {
    fn add(&mut self, key: String, value: &Value, depth: usize) {
        if self.left() == 0 {
            return;
        }
        if let Value::String(text) = value
            && let Some(inner) = self.parsed(text)
        {
            return self.add(key, &inner, depth);
        }
        let children =
            |key: &str, name: &str| if name.is_empty() { key.to_owned() } else { format!("{key}.{name}") };
        match value {
            Value::Object(map) if depth > 0 && !map.is_empty() => {
                for (name, value) in map {
                    let key = children(&key, name);
                    match is_secret(name) {
                        true => self.put(key, REDACTED.to_owned()),
                        false => self.add(key, value, depth - 1),
                    }
                }
            }
            Value::Array(list) if depth > 0 && !list.is_empty() => {
                for (n, value) in list.iter().enumerate().take(self.left()) {
                    self.add(children(&key, &n.to_string()), value, depth - 1);
                }
            }
            Value::String(text) => {
                self.put(key, text.get(..text.floor_char_boundary(MAX_VALUE)).unwrap_or_default().to_owned());
            }
            other => {
                let mut text = self.redacted(other).to_string();
                text.truncate(text.floor_char_boundary(MAX_VALUE));
                self.put(key, text);
            }
        }
    }

    fn left(&self) -> usize {
        MAX_TAGS.saturating_sub(self.tags.len())
    }

    fn put(&mut self, key: String, value: String) {
        let bytes = key.len() + value.len();
        if self.left() > 0 && self.bytes >= bytes {
            self.bytes -= bytes;
            self.tags.insert(key, value);
        }
    }

    /// A text that holds an object or a list, as bodies do.
    fn parsed(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        if !text.starts_with(['{', '[']) || !text.ends_with(['}', ']']) {
            return None;
        }
        let value = (self.parse)(text.as_bytes());
        (!value.is_null()).then_some(value)
    }

    /// What is too deep for tags of its own still has its secrets taken out.
    fn redacted(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| {
                    let value = if is_secret(name) { REDACTED.into() } else { self.redacted(value) };
                    (name.clone(), value)
                })
                .collect(),
            Value::Array(list) => list.iter().map(|value| self.redacted(value)).collect(),
            // A body within a body.
            Value::String(text) => match self.parsed(text) {
                Some(inner) => self.redacted(&inner).to_string().into(),
                None => value.clone(),
            },
            other => other.clone(),
        }
    }
}

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &[u8]) -> Value {
        serde_json::from_slice(text).unwrap_or_default()
    }

    fn check(payload: Value, depth: usize, expect: &[(&str, &str)]) {
        let tags = payload_tags("p", &payload, depth, parse);
        let got: Vec<_> = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let expect: Vec<_> = expect.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(got, expect, "{payload}");
    }

    #[test]
    fn payloads_are_flattened() {
        check(
            json!({"a": 1, "b": [true, null, "x"], "c": {}}),
            10,
            &[("p.a", "1"), ("p.b.0", "true"), ("p.b.1", "null"), ("p.b.2", "x"), ("p.c", "{}")],
        );
        check(json!("text"), 10, &[("p", "text")]);
        check(json!({"body": "{\"id\": [7]}"}), 10, &[("p.body.id.0", "7")]);
        check(json!({"body": "{no json}"}), 10, &[("p.body", "{no json}")]);
    }

    #[test]
    fn what_is_deep_is_text() {
        check(json!({"a": {"b": {"c": 1}}, "d": 2}), 1, &[("p.a", r#"{"b":{"c":1}}"#), ("p.d", "2")]);
        check(json!({"a": [1, 2]}), 0, &[("p", r#"{"a":[1,2]}"#)]);
    }

    #[test]
    fn secrets_are_left_out_wherever_they_are() {
        check(
            json!({"headers": {"Authorization": "Bearer x", "a": "b"}, "password": {"x": 1}}),
            10,
            &[("p.headers.Authorization", "redacted"), ("p.headers.a", "b"), ("p.password", "redacted")],
        );
        check(
            json!({"a": {"token": "x", "b": [{"pwd": "y"}], "c": "{\"secret\":\"z\"}"}}),
            1,
            &[("p.a", r#"{"b":[{"pwd":"redacted"}],"c":"{\"secret\":\"redacted\"}","token":"redacted"}"#)],
        );
    }

    /// Whatever the secret is, and however its name is written.
    #[test]
    fn secrets_that_are_no_texts_are_left_out_too() {
        for secret in
            [json!("x"), json!(1234), json!(1.5), json!(true), json!(null), json!(["x", {"y": "z"}])]
        {
            for name in ["password", "PASSWORD", "Api_Key", "X-Api-Key", "Secret", "pwd", "token"] {
                check(json!({ "a": { name: secret } }), 10, &[(&format!("p.a.{name}"), "redacted")]);
                let text = format!(r#"{{"{name}":"redacted"}}"#);
                check(json!({ "a": { name: secret } }), 1, &[("p.a", &text)]);
            }
        }
    }

    #[test]
    fn all_is_bounded() {
        let many: Value = (0..10_000).map(|n| format!("{n}{}", "ä".repeat(5000))).collect();
        let tags = payload_tags("p", &json!({"list": many}), 10, parse);
        assert!(tags.iter().all(|(_, v)| v.len() <= MAX_VALUE));
        let bytes: usize = tags.iter().map(|(k, v)| k.len() + v.len()).sum();
        assert!((MAX_BYTES - 2 * MAX_VALUE..=MAX_BYTES).contains(&bytes), "{bytes}");
        let tags = payload_tags("p", &(0..10_000).collect::<Value>(), 10, parse);
        assert_eq!(tags.len(), MAX_TAGS);
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!({"a": deep.to_string(), "b": [deep]});
            if deep.to_string().len() > 1_000_000 {
                break;
            }
        }
        payload_tags("p", &deep, 10, parse);
    }
}
