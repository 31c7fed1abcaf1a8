//! The event and the response as tags of the span, when the user wants it. What the tags are is `trigger`'s, so
//! that library and extension say the same.

use model::Span;
use serde_json::Value;

/// Sets the tags `prefix.…` of a payload, down to a depth: what is below is one tag, as text.
pub(crate) fn set_tags(span: &mut Span, prefix: &str, payload: &Value, depth: usize) {
    for (key, value) in trigger::payload_tags(prefix, payload, depth, crate::event::parse).own() {
        span.meta.insert(key.clone(), value.clone());
    }
}
