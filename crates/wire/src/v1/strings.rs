//! The table of texts that grows while a body is read.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use model::Text;

use crate::msgpack::{Reader, Value};
use crate::texts::Texts;
use crate::v04::DecodeError;

/// Bytes of text that all spans of a body may name which is read as a whole: one long text that many spans name would
/// make a small body large.
const MAX_TEXT: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Strings {
    /// The first is the empty one.
    texts: Texts,
    /// Where a text is, by its hash; where that is taken by another text, by the next number.
    known: HashMap<u64, usize>,
    hash: RandomState,
    /// Bytes that may still be given out.
    left: usize,
    /// Something was not given out since [`Strings::take_shortage`] was last asked.
    is_short: bool,
}

impl Default for Strings {
    fn default() -> Self {
        let mut texts = Texts::default();
        texts.push("");
        let (known, hash) = (HashMap::new(), RandomState::new());
        Self { texts, known, hash, left: MAX_TEXT, is_short: false }
    }
}

impl Strings {
    /// Bytes that they take.
    pub(super) fn weight(&self) -> usize {
        self.texts.weight()
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Forgets all but the first so many.
    pub(super) fn truncate(&mut self, length: usize) {
        while self.texts.len() > length {
            let last = self.texts.len() - 1;
            let place = self.texts.get(last).map(|text| self.place(text, |at| at == last));
            place.and_then(|(place, _)| self.known.remove(&place));
            self.texts.truncate(last);
        }
    }

    /// So many bytes may be given out from now on.
    pub(super) fn allow(&mut self, bytes: usize) {
        (self.left, self.is_short) = (bytes, false);
    }

    pub(super) fn allowed(&self) -> usize {
        self.left
    }

    /// Where a text is in `known`, or has to go; whether it is there.
    fn place(&self, text: &str, is_it: impl Fn(usize) -> bool) -> (u64, bool) {
        let mut place = self.hash.hash_one(text);
        loop {
            match self.known.get(&place) {
                None => return (place, false),
                Some(at) if is_it(*at) => return (place, true),
                Some(_) => place = place.wrapping_add(1),
            }
        }
    }

    fn note(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let (place, is_known) = self.place(text, |at| self.texts.get(at) == Some(text));
        if !is_known {
            self.known.insert(place, self.texts.len());
            self.texts.push(text);
        }
    }

    /// The text that stands here or is named here; an index that is nowhere is the empty text.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<Text, DecodeError> {
        match reader.value()? {
            Value::Text(text) => {
                self.note(&text);
                Ok(if self.give(text.len()) { text.into_owned().into() } else { Text::default() })
            }
            index @ (Value::Uint(_) | Value::Int(_) | Value::Float(_)) => {
                let length = self.at(&index).len();
                Ok(if self.give(length) { self.at(&index).to_owned().into() } else { Text::default() })
            }
            other => self.skip_rest(reader, &other).map(|()| Text::default()),
        }
    }

    pub(super) fn at(&self, index: &Value<'_>) -> &str {
        let at = usize::try_from(index.to_count()).unwrap_or(usize::MAX);
        self.texts.get(at).unwrap_or_default()
    }

    fn give(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        self.is_short |= left.is_none();
        left.is_some()
    }

    /// Whether a text was held back since this was last asked.
    pub(super) fn take_shortage(&mut self) -> bool {
        std::mem::take(&mut self.is_short)
    }

    /// A text that is sent ahead.
    pub(super) fn read_ahead(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        if let Some(text) = reader.maybe_text()? {
            self.note(&text);
        }
        Ok(())
    }

    /// Steps over a value. Texts in it count as written out: later indices include them.
    pub(super) fn skip(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let value = reader.value()?;
        if let Value::Text(text) = &value {
            self.note(text);
        }
        self.skip_rest(reader, &value)
    }

    pub(super) fn skip_rest(
        &mut self,
        reader: &mut Reader<'_>,
        value: &Value<'_>,
    ) -> Result<(), DecodeError> {
        let mut left = value.elements();
        while left > 0 {
            let value = reader.value()?;
            if let Value::Text(text) = &value {
                self.note(text);
            }
            left = left.saturating_sub(1).saturating_add(value.elements());
        }
        Ok(())
    }

    /// Opens a map, or steps over what is none.
    pub(super) fn map(&mut self, reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
        match reader.value()? {
            Value::Map(pairs) => Ok(Some(pairs)),
            other => {
                if let Value::Text(text) = &other {
                    self.note(text);
                }
                self.skip_rest(reader, &other).map(|()| None)
            }
        }
    }

    /// Opens an array; what is none has no elements.
    pub(super) fn array(&mut self, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
        match reader.value()? {
            Value::Array(elements) => Ok(elements),
            other => {
                if let Value::Text(text) = &other {
                    self.note(text);
                }
                self.skip_rest(reader, &other).map(|()| 0)
            }
        }
    }

    /// A number, or another scalar; what is a container is stepped over.
    pub(super) fn scalar<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
        let value = reader.value()?;
        match value {
            Value::Array(_) | Value::Map(_) => self.skip_rest(reader, &value).map(|()| Value::Nil),
            scalar => Ok(scalar),
        }
    }
}
