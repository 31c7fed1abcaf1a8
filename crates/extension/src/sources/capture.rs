//! Events and responses as tags of the invocation's span, where that is set. What the tags are is `trigger`'s.

use model::{Tags, Text};
use serde_json::Value;
use trigger::Reading;

/// How deep payloads are taken apart; `None`: they are not looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capture(pub(crate) Option<usize>);

impl Capture {
    /// Adds an event to what it means.
    pub(crate) fn event(self, reading: &mut Reading, event: &Value) {
        for (key, value) in self.tags("function.request", event).own() {
            reading.tags.insert(key.clone(), value.clone());
        }
    }

    /// The tags of a response, as it was sent. One that is no JSON has none.
    pub(crate) fn response(self, body: &[u8]) -> Tags<Text> {
        match self.0 {
            Some(_) => self.tags("function.response", &parse(body)),
            None => Tags::new(),
        }
    }

    fn tags(self, prefix: &str, payload: &Value) -> Tags<Text> {
        match self.0 {
            Some(depth) if !payload.is_null() => trigger::payload_tags(prefix, payload, depth, parse),
            _ => Tags::new(),
        }
    }
}

/// JSON, `null` for what is none.
pub(crate) fn parse(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}
