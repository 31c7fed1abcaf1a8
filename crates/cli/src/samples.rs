//! Built-in events by source: those of the test corpus, dated now, with the context of a caller where their source
//! carries one. What an event means is not known here: contexts are found by their header names and dates by the
//! names of their fields, wherever they stand, also in JSON text and in base64 of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::UnixNanos;
use model::keys::headers;
use serde_json::{Map, Value};

use crate::callers::Caller;

/// Names of sources that people look for, and the events that they mean.
const ALIASES: &[(&str, &str)] = &[("http", "http-api"), ("rest", "rest-api"), ("url", "function-url")];
/// Milliseconds since 1970, as numbers or as text.
const MILLIS: &[&str] =
    &["SentTimestamp", "ApproximateFirstReceiveTimestamp", "timeEpoch", "requestTimeEpoch", "connectedAt"];
/// Seconds since 1970.
const SECONDS: &[&str] = &["approximateArrivalTimestamp", "ApproximateCreationDateTime"];
/// RFC 3339.
const DATES: &[&str] = &["Timestamp", "time", "eventTime"];
/// JSON in JSON in base64 in JSON is as deep as events go.
const MAX_DEPTH: u32 = 24;

/// Names of all samples.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALIASES.iter().map(|(name, _)| *name).chain(testkit::events().iter().map(|(name, _)| *name))
}

/// The sample whose name is nearly this.
pub(crate) fn closest(name: &str) -> Option<&'static str> {
    names()
        .map(|known| (distance(known, name), known))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, known)| known)
}

/// How many characters have to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (n, x) in a.bytes().enumerate() {
        let (mut corner, mut left) = (n, n + 1);
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            left = (corner + usize::from(x != y)).min(left + 1).min(*above + 1);
            corner = std::mem::replace(above, left);
        }
    }
    row.last().copied().filter(|_| !a.is_empty()).unwrap_or(b.len())
}

/// The event of this source, as if `caller` had caused it just now; `None` when there is none of this name.
pub(crate) fn event(name: &str, caller: &Caller, now: UnixNanos) -> Option<String> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    let (_, text) = testkit::events().iter().find(|(n, _)| *n == name)?;
    let mut event = serde_json::from_str(text).ok()?;
    Edit { caller, now }.value(&mut event, MAX_DEPTH);
    Some(event.to_string())
}

struct Edit<'a> {
    caller: &'a Caller,
    now: UnixNanos,
}

impl Edit<'_> {
    fn value(&self, value: &mut Value, depth: u32) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match value {
            Value::Object(fields) => self.object(fields, depth),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value, depth)),
            Value::String(text) => {
                if let Some(edited) = self.text(text, depth) {
                    *text = edited;
                }
            }
            _ => {}
        }
    }

    fn object(&self, fields: &mut Map<String, Value>, depth: u32) {
        for (name, value) in fields.iter_mut() {
            if let Some(context) = self.context(name) {
                put(value, &context);
            } else if !self.date(name, value) {
                self.value(value, depth);
            }
        }
    }

    /// Text that is JSON, or base64 of JSON, with a context in it; `None` when it stays as it is.
    fn text(&self, text: &str, depth: u32) -> Option<String> {
        if text.starts_with(['{', '[']) {
            let before: Value = serde_json::from_str(text).ok()?;
            let mut after = before.clone();
            self.value(&mut after, depth);
            return (after != before).then(|| after.to_string());
        }
        let decoded = STANDARD.decode(text).ok().filter(|bytes| bytes.starts_with(b"{"))?;
        let edited = self.text(std::str::from_utf8(&decoded).ok()?, depth)?;
        Some(STANDARD.encode(edited))
    }

    /// What the header of this name has to be.
    fn context(&self, name: &str) -> Option<String> {
        let caller = self.caller;
        let name = name.to_ascii_lowercase();
        if name == headers::TRACEPARENT {
            return Some(format!("00-{}-{:016x}-01", caller.trace_id, caller.span_id.get()));
        }
        if name == headers::TRACESTATE {
            return Some(format!("dd=s:1;p:{:016x};t.dm:-1", caller.span_id.get()));
        }
        caller.headers().into_iter().find(|(header, _)| *header == name).map(|(_, value)| value)
    }

    /// Dates a field that is a date.
    fn date(&self, name: &str, value: &mut Value) -> bool {
        let dated = match value {
            Value::String(text) if MILLIS.contains(&name) && text.parse::<u64>().is_ok() => {
                Value::from(self.now.as_millis().to_string())
            }
            Value::Number(_) if MILLIS.contains(&name) => Value::from(self.now.as_millis()),
            Value::Number(_) if SECONDS.contains(&name) => Value::from(self.now.as_millis() as f64 / 1e3),
            Value::String(text) if DATES.contains(&name) && is_date(text) => {
                Value::from(self.now.to_rfc3339_millis())
            }
            _ => return false,
        };
        *value = dated;
        true
    }
}

/// A header is text, or a list of one.
fn put(value: &mut Value, text: &str) {
    match value {
        Value::Array(values) => *values = vec![Value::from(text)],
        other => *other = Value::from(text),
    }
}

fn is_date(text: &str) -> bool {
    let shape = text.bytes().take(11).enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        _ => byte.is_ascii_digit(),
    });
    shape && text.len() > 18
}

#[cfg(test)]
mod tests {
    use super::{ALIASES, event, names};
    use crate::callers::Caller;
    use model::UnixNanos;

    fn sample(name: &str) -> (Caller, String) {
        let now = UnixNanos::from_millis(1_800_000_000_123);
        let caller = Caller::of_sample(now);
        let event = event(name, &caller, now).unwrap();
        (caller, event)
    }

    #[test]
    fn a_sample_carries_the_context_of_its_caller_and_is_of_now() {
        for name in ["sqs", "sns", "http", "rest", "alb", "sqs-sns", "eventbridge", "rest-api-multi-value"] {
            let (caller, event) = sample(name);
            assert!(event.contains(&caller.trace_id.low().to_string()), "{name}: {event}");
            assert!(event.contains(&caller.span_id.get().to_string()), "{name}: {event}");
            assert!(!event.contains("1721873123456"), "{name} is of the past: {event}");
        }
        let (caller, event) = sample("kinesis");
        assert!(!event.contains(&caller.trace_id.low().to_string()), "base64 hides it");
        let data = event.split("\"data\":\"").nth(1).unwrap().split('"').next().unwrap();
        let data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).unwrap();
        let data = String::from_utf8(data).unwrap();
        assert!(data.contains(&caller.trace_id.low().to_string()), "{data}");
        let (_, event) = sample("sqs");
        assert!(event.contains("\"SentTimestamp\":\"1800000000123\""), "{event}");
        let (_, event) = sample("http");
        assert!(event.contains("\"timeEpoch\":1800000000123"), "{event}");
    }

    #[test]
    fn every_sample_is_json_and_every_alias_is_known() {
        for name in names() {
            let (_, event) = sample(name);
            serde_json::from_str::<serde_json::Value>(&event).unwrap();
        }
        assert!(ALIASES.iter().all(|(_, name)| testkit::events().iter().any(|(n, _)| n == name)));
        assert!(event("no-such", &Caller::of_sample(UnixNanos::default()), UnixNanos::default()).is_none());
    }
}
