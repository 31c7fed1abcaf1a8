//! The little of protobuf that the trace and sketch intakes need, by hand: their messages are few and
//! fixed, and a generator would cost more start-up and size than the whole of this.
//! <https://protobuf.dev/programming-guides/encoding/>

use std::borrow::Cow;

use model::Text;

use crate::DecodeError;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Writes fields one after the other. Scalars that have their default are left out, as proto3 has it; in
/// repeated fields and maps they are written.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn clear(&mut self) {
        self.out.clear();
    }

    #[cfg(test)]
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    /// `int32` and `int64`: negative numbers take ten bytes.
    pub(crate) fn int(&mut self, field: u32, value: i64) {
        self.uint(field, value.cast_unsigned());
    }

    pub(crate) fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, FIXED64);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(crate) fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    pub(crate) fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.repeated_bytes(field, value.as_bytes());
        }
    }

    /// An element of a repeated string or bytes field.
    pub(crate) fn repeated_bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, BYTES);
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// A nested message, whose length is known only once it is written: one byte is set aside for it, and
    /// the message moved up when that is too little.
    pub(crate) fn message(&mut self, field: u32, fields: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        let at = self.out.len();
        self.out.push(0);
        fields(self);
        let written = self.out.len() - at - 1;
        if let (true, Some(length)) = (written < 128, self.out.get_mut(at)) {
            *length = written as u8;
        } else {
            let (mut length, mut used) = ([0; 10], 0);
            for (byte, slot) in varint(written as u64).zip(&mut length) {
                *slot = byte;
                used += 1;
            }
            self.out.splice(at..=at, length.into_iter().take(used));
        }
    }

    /// An entry of a map from string to string, bytes or message.
    pub(crate) fn entry(&mut self, field: u32, key: &str, value: &[u8]) {
        self.message(field, |w| {
            w.text(1, key);
            w.repeated_bytes(2, value);
        });
    }

    /// An entry of a map from string to double.
    pub(crate) fn double_entry(&mut self, field: u32, key: &str, value: f64) {
        self.message(field, |w| {
            w.text(1, key);
            w.tag(2, FIXED64);
            w.out.extend_from_slice(&value.to_bits().to_le_bytes());
        });
    }

    /// `repeated sint32`, packed.
    pub(crate) fn packed_sint(&mut self, field: u32, values: impl Iterator<Item = i32>) {
        self.packed(field, values.map(|n| u64::from(((n << 1) ^ (n >> 31)).cast_unsigned())));
    }

    /// `repeated uint32`, packed.
    pub(crate) fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.message(field, |w| values.for_each(|n| w.varint(n)));
        }
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, value: u64) {
        self.out.extend(varint(value));
    }
}

fn varint(value: u64) -> impl Iterator<Item = u8> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let now = rest?;
        rest = (now >= 128).then_some(now >> 7);
        Some(now as u8 & 127 | if rest.is_some() { 128 } else { 0 })
    })
}

/// Reads fields in whatever order they come.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's content. Which of them a field may have is for the caller to know; what does not fit reads as
/// the default.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and content; `None` at the end.
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| DecodeError::Malformed)?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            FIXED32 => self.array::<4>().map(|_| Value::Fixed32)?,
            BYTES => {
                let len = self.varint()?;
                Value::Bytes(self.take(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)?)
            }
            // Groups, which no message here has.
            _ => return Err(DecodeError::Malformed),
        };
        match tag >> 3 {
            0 => Err(DecodeError::Malformed),
            number => Ok(Some((number, value))),
        }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 127).checked_shl(shift).unwrap_or(0);
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(DecodeError::Malformed)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }
}

impl<'a> Value<'a> {
    pub(crate) fn uint(self) -> u64 {
        match self {
            Self::Varint(n) | Self::Fixed64(n) => n,
            _ => 0,
        }
    }

    pub(crate) fn int(self) -> i64 {
        self.uint().cast_signed()
    }

    pub(crate) fn double(self) -> f64 {
        match self {
            Self::Fixed64(bits) => f64::from_bits(bits),
            _ => 0.0,
        }
    }

    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// Bytes that are no UTF-8 are replaced, not refused.
    pub(crate) fn text(self) -> Text {
        match String::from_utf8_lossy(self.bytes()) {
            Cow::Borrowed("") => Text::default(),
            text => Text::Owned(text.into_owned()),
        }
    }

    pub(crate) fn message(self) -> Reader<'a> {
        Reader::new(self.bytes())
    }

    /// An entry of a map with string keys.
    pub(crate) fn entry(self) -> Result<(Text, Value<'a>), DecodeError> {
        let (mut key, mut value) = (Text::default(), Value::Bytes(&[]));
        let mut reader = self.message();
        while let Some((number, field)) = reader.field()? {
            match number {
                1 => key = field.text(),
                2 => value = field,
                _ => {}
            }
        }
        Ok((key, value))
    }

    /// The elements of a repeated number: packed ones, or this single one.
    pub(crate) fn numbers(self, mut each: impl FnMut(u64)) -> Result<(), DecodeError> {
        match self {
            Self::Bytes(bytes) => {
                let mut packed = Reader::new(bytes);
                while !packed.rest.is_empty() {
                    each(packed.varint()?);
                }
            }
            single => each(single.uint()),
        }
        Ok(())
    }
}

/// Undoes the zigzag of `sint32`.
pub(crate) fn sint(n: u64) -> i32 {
    let n = n as u32;
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}
