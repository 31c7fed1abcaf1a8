//! The JSON objects in which events keep trace context, and what they are wrapped in.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use model::keys::headers;
use propagation::{Behavior, Carrier, TraceContext, extract, extract_first};
use serde_json::{Map, Value};

use crate::Settings;
use crate::sources::step_functions_context;

/// A carrier is some hundred bytes; what is longer than this is not one.
const MAX_CARRIER: usize = 64 * 1024;
/// The largest record of a stream whose data is looked into, in base64.
const MAX_DATA: usize = 256 * 1024;

/// A JSON object as a carrier. Values may be strings, numbers, or lists of which the first counts.
#[derive(Clone, Copy, Debug)]
pub struct JsonCarrier<'a>(pub &'a Map<String, Value>);

impl Carrier for JsonCarrier<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let other_case = || self.0.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let value = self.0.get(name).or_else(other_case)?;
        match value {
            // What the W3C headers say may be spread over several of the same name.
            Value::Array(list) if matches!(name, headers::TRACESTATE | headers::BAGGAGE) => {
                Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",").into())
            }
            Value::Array(list) => list.first().and_then(plain),
            Value::Object(_) => None,
            value => plain(value),
        }
    }
}

fn plain(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(s) => Some(Cow::Borrowed(s)),
        Value::Number(n) => Some(Cow::Owned(n.to_string())),
        // As CloudFront writes a header.
        Value::Object(map) => map.get("value")?.as_str().map(Cow::Borrowed),
        _ => None,
    }
}

/// The carrier in a `_datadog` value, whatever its form: an object, the text of one, or the text in base64.
pub fn carrier_of(value: &Value) -> Option<Cow<'_, Map<String, Value>>> {
    match value {
        Value::Object(map) => Some(Cow::Borrowed(map)),
        Value::String(text) if text.trim_start().starts_with('{') => from_text(text).map(Cow::Owned),
        Value::String(text) => from_base64(text).map(Cow::Owned),
        _ => None,
    }
}

/// The context that a caller of the Invoke API gave in its client context: the object `custom` of it, or
/// the whole of it. Keys are flat, or, by older callers, within `_datadog`. `None` when callers' traces are
/// not to be continued: see [`Reading::adopt`](crate::Reading::adopt), which makes a link of them then.
pub fn client_context(custom: &Value, settings: &Settings) -> Option<TraceContext> {
    (settings.extract_behavior == Behavior::Continue).then(|| client_context_found(custom, settings))?
}

/// The same, whatever is to become of it.
pub fn client_context_found(custom: &Value, settings: &Settings) -> Option<TraceContext> {
    let custom = custom.get("custom").or_else(|| custom.get("Custom")).unwrap_or(custom);
    let flat = custom.as_object().and_then(|map| context_of(map, settings));
    flat.or_else(|| context_of(&*carrier_of(custom.get(headers::CARRIER)?)?, settings))
}

/// The context in a carrier. That of a state machine is made from its names.
pub(crate) fn context_of(map: &Map<String, Value>, settings: &Settings) -> Option<TraceContext> {
    if let Some(context) = step_functions_context(map) {
        return Some(context);
    }
    context_in(&JsonCarrier(map), settings)
}

/// The context in headers that came beside an event, by the styles that are set. Whoever asks gives it to
/// [`Reading::adopt`](crate::Reading::adopt).
pub fn context_in<C: Carrier + ?Sized>(carrier: &C, settings: &Settings) -> Option<TraceContext> {
    match settings.extract_first {
        true => extract_first(carrier, &settings.extract_styles),
        false => extract(carrier, &settings.extract_styles),
    }
}

/// A JSON object written as text.
pub(crate) fn from_text(text: &str) -> Option<Map<String, Value>> {
    if text.len() > MAX_CARRIER {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A JSON object written as text in base64.
pub(crate) fn from_base64(text: &str) -> Option<Map<String, Value>> {
    if text.len() > MAX_CARRIER {
        return None;
    }
    serde_json::from_slice(&BASE64.decode(text.trim()).ok()?).ok()
}

/// A JSON object in base64 data, when it says `_datadog`: most data does not, and is not worth parsing.
pub(crate) fn decoded_if_datadog(data: &str) -> Option<Map<String, Value>> {
    if data.len() > MAX_DATA {
        return None;
    }
    let bytes = BASE64.decode(data).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    text.contains(headers::CARRIER).then(|| serde_json::from_str(text).ok())?
}

/// Some producers leave the padding out.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids(context: Option<TraceContext>) -> Option<(u64, Option<u64>)> {
        context.map(|c| (c.trace_id.low(), c.span_id.map(model::SpanId::get)))
    }

    #[test]
    fn a_direct_caller_is_found_in_the_client_context() {
        let check = |value: Value, expect| {
            assert_eq!(ids(client_context(&value, &Settings::default())), expect, "{value}");
        };
        let flat = json!({"x-datadog-trace-id": "5", "x-datadog-parent-id": "6", "other": {"nested": 1}});
        let found = Some((5, Some(6)));
        check(flat.clone(), found);
        check(json!({"custom": flat, "env": {}}), found);
        check(json!({"Custom": flat}), found);
        check(json!({"_datadog": flat}), found);
        check(json!({"custom": {"_datadog": flat}}), found);
        check(json!({"custom": {"_datadog": flat.to_string()}}), found);
        check(json!({"traceparent": "00-00000000000000010000000000000005-0000000000000006-01"}), found);
        for none in
            [json!(null), json!({}), json!({"custom": null}), json!([1]), json!({"_datadog": 5}), json!("x")]
        {
            check(none, None);
        }
    }

    #[test]
    fn values_may_be_numbers_and_lists() {
        let check = |value: Value, expect| {
            let carrier = carrier_of(&value);
            let context = carrier.and_then(|c| context_of(&c, &Settings::default()));
            assert_eq!(ids(context), expect, "{value}");
        };
        check(json!({"x-datadog-trace-id": 18446744073709551615u64}), Some((u64::MAX, None)));
        check(json!({"x-datadog-trace-id": ["5", "7"], "X-Datadog-Parent-Id": ["6"]}), Some((5, Some(6))));
        check(json!({"x-datadog-trace-id": 1.5}), None);
        check(json!({"x-datadog-trace-id": -5}), None);
        check(json!({"x-datadog-trace-id": []}), None);
        // base64 of {"x-datadog-trace-id":"5"}, with and without padding.
        check(json!("eyJ4LWRhdGFkb2ctdHJhY2UtaWQiOiI1In0="), Some((5, None)));
        check(json!("eyJ4LWRhdGFkb2ctdHJhY2UtaWQiOiI1In0"), Some((5, None)));
        check(json!("nonsense"), None);
        check(json!(format!("{{\"x-datadog-trace-id\":\"5\"{}}}", " ".repeat(MAX_CARRIER))), None);
    }
}
