//! Small JSON pieces: an object writer that keeps the order of fields and leaves out what is absent, and
//! tolerant readers of an object's fields.

use model::{Millis, Text};
use serde_json::Value;

/// Writes one JSON object field by field.
pub(crate) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Writes an object whose fields are what `fields` writes.
    pub(crate) fn write(out: &'o mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        let mut object = Object { out, empty: true };
        fields(&mut object);
        object.out.push(b'}');
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        string(self.key(key), value);
    }

    pub(crate) fn maybe_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(crate) fn uint(&mut self, key: &str, value: u64) {
        self.key(key).extend_from_slice(value.to_string().as_bytes());
    }

    pub(crate) fn maybe_uint(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.uint(key, value);
        }
    }

    pub(crate) fn millis(&mut self, key: &str, value: Millis) {
        self.key(key).extend_from_slice(Value::from(value.get()).to_string().as_bytes());
    }

    pub(crate) fn maybe_millis(&mut self, key: &str, value: Option<Millis>) {
        if let Some(value) = value {
            self.millis(key, value);
        }
    }

    pub(crate) fn texts<'t>(&mut self, key: &str, values: impl IntoIterator<Item = &'t Text>) {
        self.list(key, values, |out, text| string(out, text));
    }

    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
        element: impl Fn(&mut Vec<u8>, T),
    ) {
        array(self.key(key), values, element);
    }

    pub(crate) fn object(&mut self, key: &str, fields: impl FnOnce(&mut Object<'_>)) {
        Object::write(self.key(key), fields);
    }

    /// Starts a field; the caller writes its value.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        string(self.out, key);
        self.out.push(b':');
        self.out
    }
}

pub(crate) fn array<T>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = T>,
    element: impl Fn(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (n, value) in values.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        element(out, value);
    }
    out.push(b']');
}

pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into a vector cannot fail.
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok());
}

/// A text field. `None` when it is missing or is no text.
pub(crate) fn text(object: &Value, key: &str) -> Option<Text> {
    object.get(key)?.as_str().map(|text| Text::Owned(text.to_owned()))
}

/// A whole number that is not negative, also when written as a float.
pub(crate) fn uint(object: &Value, key: &str) -> Option<u64> {
    let number = object.get(key)?;
    number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0 && *n < 1e19).map(|n| n as u64))
}

pub(crate) fn millis(object: &Value, key: &str) -> Option<Millis> {
    object.get(key)?.as_f64().and_then(Millis::new)
}

/// The texts in a list; elements that are no texts are left out, as is a list that is none.
pub(crate) fn texts(object: &Value, key: &str) -> Vec<Text> {
    let all = object.get(key).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|value| value.as_str().map(|text| Text::Owned(text.to_owned()))).collect()
}
