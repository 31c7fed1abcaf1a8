//! What holds whatever a file or a body says. Called by the fuzz targets, which have these modules as their own, and
//! by the test that replays their corpus.

use serde_json::Value;

use super::mend::mend;
use super::yaml;

/// A `datadog.yaml`: it is read as JSON has it, or the line is named that cannot be read.
pub(crate) fn yaml(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match yaml::parse(text) {
        Ok(value) => {
            assert!(is_text(&value));
            // JSON is YAML: what was read is read again.
            let json = value.to_string();
            let is_odd = |c: char| c.is_control() || "\u{feff}\u{2028}\u{2029}".contains(c);
            if !json.contains(is_odd) {
                assert_eq!(yaml::parse(&json).as_ref(), Ok(&value), "{json}");
            }
        }
        Err(trouble) => {
            let lines = text.split(['\n', '\r']).count();
            assert!((1..=lines + 1).contains(&trouble.line), "{trouble} of {lines}");
        }
    }
}

fn is_text(value: &Value) -> bool {
    match value {
        Value::Null | Value::String(_) => true,
        Value::Array(all) => all.iter().all(is_text),
        Value::Object(all) => all.values().all(is_text),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An event that passes through the Runtime API proxy, of which the beginning is kept: wherever it is cut, there is
/// JSON.
pub(crate) fn mended(event: &[u8]) {
    let _ = mend(event);
    let is_json =
        serde_json::from_slice::<Value>(event).is_ok_and(|value| value.is_object() || value.is_array());
    let begin = event.iter().position(|byte| b"{[".contains(byte)).unwrap_or(0);
    let step = event.len() / 50 + 1;
    for end in (begin + 1..event.trim_ascii_end().len()).step_by(step).filter(|_| is_json) {
        let whole = mend(&event[..end]).expect("a beginning");
        // Cut within a letter, a text is left out with what is in it.
        serde_json::from_slice::<Value>(&whole).expect("JSON");
    }
}
