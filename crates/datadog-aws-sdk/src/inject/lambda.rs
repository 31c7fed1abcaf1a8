//! Lambda's client context: base64 of JSON in the header `X-Amz-Client-Context`, whose object `custom` the
//! invoked function is given. <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::collections::BTreeMap;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::{RawValue, to_raw_value};

use super::Told;
use crate::carrier::Headers;

const HEADER: &str = "x-amz-client-context";

/// What Lambda takes, in characters of base64.
const MAX_LENGTH: usize = 3583;

pub(super) fn invoke(request: &mut HttpRequest, told: &Told) {
    let existing = request.headers().get(HEADER);
    let value = [&told.carrier.all, &told.carrier.ids].into_iter().find_map(|c| with_context(existing, c));
    if let Some(value) = value {
        // Base64 is always a header value.
        let _ = request.headers_mut().try_insert(HEADER, value);
    }
}

/// The value of the header with the trace context in it. `None` when the value has to stay as it is: it is
/// not what Lambda says it is, or would become too long.
///
/// Texts only: a number or an object in `custom` makes other runtimes fail. All else that is in it keeps its
/// very text.
fn with_context(existing: Option<&str>, context: &Headers) -> Option<String> {
    type Object = BTreeMap<String, Box<RawValue>>;
    if context.is_empty() {
        return None;
    }
    let mut whole = match existing {
        Some(value) if !value.is_empty() => {
            serde_json::from_slice::<Object>(&BASE64_STANDARD.decode(value).ok()?).ok()?
        }
        _ => Object::new(),
    };
    let mut custom = match whole.get("custom") {
        Some(custom) if custom.get() != "null" => serde_json::from_str::<Object>(custom.get()).ok()?,
        _ => Object::new(),
    };
    for (key, value) in context {
        custom.insert(key.clone(), to_raw_value(value).ok()?);
    }
    whole.insert("custom".to_owned(), to_raw_value(&custom).ok()?);
    let value = BASE64_STANDARD.encode(serde_json::to_vec(&whole).ok()?);
    (value.len() <= MAX_LENGTH).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(existing: Option<&str>, expect: Option<&str>) {
        let context = [("x-datadog-trace-id", "1"), ("traceparent", "00-1")];
        let context = context.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let existing_header = existing.map(|json| BASE64_STANDARD.encode(json));
        let got = with_context(existing_header.as_deref(), &context);
        let got = got.map(|value| String::from_utf8(BASE64_STANDARD.decode(value).unwrap()).unwrap());
        assert_eq!(got.as_deref(), expect, "{existing:?}");
    }

    #[test]
    fn the_context_is_added_and_nothing_else_changed() {
        let fresh = r#"{"custom":{"traceparent":"00-1","x-datadog-trace-id":"1"}}"#;
        check(None, Some(fresh));
        check(Some(""), Some(fresh));
        check(Some("{}"), Some(fresh));
        check(Some(r#"{"custom":null}"#), Some(fresh));
        check(Some(r#"{"custom": {"x-datadog-trace-id": "old"} }"#), Some(fresh));
        check(
            Some(r#"{"env":{"n": 1.00, "big":12345678901234567890123},"custom":{"user":{"a" : []}}}"#),
            Some(
                r#"{"custom":{"traceparent":"00-1","user":{"a" : []},"x-datadog-trace-id":"1"},"env":{"n": 1.00, "big":12345678901234567890123}}"#,
            ),
        );
    }

    #[test]
    fn what_is_no_client_context_stays() {
        for odd in ["[]", "7", "{", "\"custom\"", r#"{"custom":[]}"#, r#"{"custom":"x"}"#, "\u{0}"] {
            check(Some(odd), None);
        }
        assert_eq!(with_context(Some("no base64!"), &[("a".to_owned(), "b".to_owned())].into()), None);
        assert_eq!(with_context(None, &BTreeMap::new()), None);
    }

    #[test]
    fn the_limit_counts_base64() {
        let context: BTreeMap<_, _> = [("k".to_owned(), "v".to_owned())].into();
        let with = |n: usize| {
            let existing = BASE64_STANDARD.encode(format!(r#"{{"custom":{{"a":"{}"}}}}"#, "x".repeat(n)));
            with_context(Some(&existing), &context)
        };
        // 2685 bytes of JSON are 3580 characters of base64, 2688 would be 3584.
        let around = r#"{"custom":{"a":"","k":"v"}}"#.len();
        assert_eq!(with(2685 - around).unwrap().len(), 3580);
        assert_eq!(with(2686 - around), None);
    }
}
