//! The table of texts that grows while a body is read.

use std::borrow::Cow;
use std::collections::HashSet;

use model::Text;

use crate::msgpack::{Reader, Value};
use crate::v04::{DecodeError, owned};

/// Bytes of text that all spans of one request may hold. One long text that many spans name would make a
/// small body large.
const MAX_TEXT: usize = 64 << 20;

pub(super) struct Strings<'a> {
    /// The first is the empty one.
    texts: Vec<Cow<'a, str>>,
    known: HashSet<Cow<'a, str>>,
    /// Bytes that may still be given out.
    left: usize,
    /// Something was not given out since [`Strings::take_shortage`] was last asked.
    is_short: bool,
}

impl<'a> Strings<'a> {
    pub(super) fn new() -> Self {
        Self { texts: vec![Cow::Borrowed("")], known: HashSet::new(), left: MAX_TEXT, is_short: false }
    }

    fn note(&mut self, text: Cow<'a, str>) {
        if !text.is_empty() && self.known.insert(text.clone()) {
            self.texts.push(text);
        }
    }

    /// The text that stands here or is named here; an index that is nowhere is the empty text.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<Text, DecodeError> {
        let text = match reader.value()? {
            Value::Text(text) => {
                self.note(text.clone());
                text
            }
            index @ (Value::Uint(_) | Value::Int(_) | Value::Float(_)) => self.at(&index),
            other => {
                self.skip_rest(reader, &other)?;
                Cow::Borrowed("")
            }
        };
        Ok(self.give(text))
    }

    pub(super) fn at(&self, index: &Value<'_>) -> Cow<'a, str> {
        let at = usize::try_from(index.to_count()).unwrap_or(usize::MAX);
        self.texts.get(at).cloned().unwrap_or_default()
    }

    fn give(&mut self, text: Cow<'a, str>) -> Text {
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                owned(text)
            }
            None => {
                self.is_short = true;
                Text::default()
            }
        }
    }

    /// Whether a text was held back since this was last asked.
    pub(super) fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.is_short)
    }

    /// Texts that are sent ahead.
    pub(super) fn read_table(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        for _ in 0..reader.array()? {
            if let Some(text) = reader.maybe_text()? {
                self.note(text);
            }
        }
        Ok(())
    }

    /// Steps over a value. Texts in it count as written out: later indices include them.
    pub(super) fn skip(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let value = reader.value()?;
        if let Value::Text(text) = &value {
            self.note(text.clone());
        }
        self.skip_rest(reader, &value)
    }

    pub(super) fn skip_rest(
        &mut self,
        reader: &mut Reader<'a>,
        value: &Value<'a>,
    ) -> Result<(), DecodeError> {
        let mut left = value.elements();
        while left > 0 {
            let value = reader.value()?;
            if let Value::Text(text) = &value {
                self.note(text.clone());
            }
            left = left.saturating_sub(1).saturating_add(value.elements());
        }
        Ok(())
    }

    /// Opens a map, or steps over what is none.
    pub(super) fn map(&mut self, reader: &mut Reader<'a>) -> Result<Option<u32>, DecodeError> {
        match reader.value()? {
            Value::Map(pairs) => Ok(Some(pairs)),
            other => {
                if let Value::Text(text) = &other {
                    self.note(text.clone());
                }
                self.skip_rest(reader, &other).map(|()| None)
            }
        }
    }

    /// Opens an array; what is none has no elements.
    pub(super) fn array(&mut self, reader: &mut Reader<'a>) -> Result<u32, DecodeError> {
        match reader.value()? {
            Value::Array(elements) => Ok(elements),
            other => {
                if let Value::Text(text) = &other {
                    self.note(text.clone());
                }
                self.skip_rest(reader, &other).map(|()| 0)
            }
        }
    }

    /// A number, or another scalar; what is a container is stepped over.
    pub(super) fn scalar(&mut self, reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
        let value = reader.value()?;
        match value {
            Value::Array(_) | Value::Map(_) => self.skip_rest(reader, &value).map(|()| Value::Nil),
            scalar => Ok(scalar),
        }
    }
}
