//! The little of protobuf that the trace and sketch intakes and OpenTelemetry's protocol need, by hand: their
//! messages are few and fixed, and a generator would cost more start-up and size than the whole of this.
//! Fields only: which message has which is for `payload` and `wire` to know.
//! <https://protobuf.dev/programming-guides/encoding/>

use std::borrow::Cow;
use std::fmt;

use model::Text;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Writes fields one after the other. Scalars that have their default are left out, as proto3 has it; in
/// repeated fields and maps they are written.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// Bytes that are fields already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    /// `int32` and `int64`: negative numbers take ten bytes.
    pub fn int(&mut self, field: u32, value: i64) {
        self.uint(field, value.cast_unsigned());
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, FIXED64);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.tag(field, FIXED32);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A field of a `oneof`, whose default is written too.
    pub fn present(&mut self, field: u32, value: Value<'_>) {
        match value {
            Value::Varint(n) => {
                self.tag(field, VARINT);
                self.varint(n);
            }
            Value::Fixed64(n) => {
                self.tag(field, FIXED64);
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            Value::Fixed32(n) => {
                self.tag(field, FIXED32);
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            Value::Bytes(bytes) => self.repeated_bytes(field, bytes),
        }
    }

    pub fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    pub fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.repeated_bytes(field, value.as_bytes());
        }
    }

    /// An element of a repeated string or bytes field.
    pub fn repeated_bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, BYTES);
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    /// A nested message, whose length is known only once it is written: one byte is set aside for it, and
    /// the message moved up when that is too little.
    pub fn message(&mut self, field: u32, fields: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        let at = self.out.len();
        self.out.push(0);
        fields(self);
        let end = self.out.len();
        let written = (end - at - 1) as u64;
        let more = varint_len(written) - 1;
        if more > 0 {
            self.out.resize(end + more, 0);
            self.out.copy_within(at + 1..end, at + 1 + more);
        }
        for (slot, byte) in self.out.iter_mut().skip(at).zip(varint(written)) {
            *slot = byte;
        }
    }

    /// An entry of a map from string to string, bytes or message.
    pub fn entry(&mut self, field: u32, key: &str, value: &[u8]) {
        let length = text_len(key) + 1 + varint_len(value.len() as u64) + value.len();
        self.tag(field, BYTES);
        self.varint(length as u64);
        self.text(1, key);
        self.repeated_bytes(2, value);
    }

    /// An entry of a map from string to double.
    pub fn double_entry(&mut self, field: u32, key: &str, value: f64) {
        self.tag(field, BYTES);
        self.varint((text_len(key) + 1 + size_of::<u64>()) as u64);
        self.text(1, key);
        self.tag(2, FIXED64);
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// `repeated sint32`, packed.
    pub fn packed_sint(&mut self, field: u32, values: impl Iterator<Item = i32>) {
        self.packed(field, values.map(|n| u64::from(((n << 1) ^ (n >> 31)).cast_unsigned())));
    }

    /// `repeated fixed64` and `repeated double`, packed.
    pub fn packed_fixed64(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.message(field, |w| values.for_each(|n| w.out.extend_from_slice(&n.to_le_bytes())));
        }
    }

    /// `repeated uint32`, packed.
    pub fn packed(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut values = values.peekable();
        if values.peek().is_some() {
            self.message(field, |w| values.for_each(|n| w.varint(n)));
        }
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 128 {
            self.out.push(value as u8 | 128);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

/// How many bytes a varint takes.
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// How many bytes the field of an entry's key takes.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + varint_len(text.len() as u64) + text.len() }
}

fn varint(value: u64) -> impl Iterator<Item = u8> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let now = rest?;
        rest = (now >= 128).then_some(now >> 7);
        Some(now as u8 & 127 | if rest.is_some() { 128 } else { 0 })
    })
}

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before what they announce.
    Truncated,
    /// They are not protobuf.
    Malformed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the body ends too early",
            Self::Malformed => "the body is not protobuf",
        })
    }
}

impl std::error::Error for Error {}

/// Reads fields in whatever order they come.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// A field's content. Which of them a field may have is for the caller to know; what does not fit reads as
/// the default.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and content; `None` at the end.
    pub fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Error::Malformed)?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            FIXED32 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            BYTES => {
                let len = self.varint()?;
                Value::Bytes(self.take(usize::try_from(len).map_err(|_| Error::Truncated)?)?)
            }
            // Groups, which no message here has.
            _ => return Err(Error::Malformed),
        };
        match tag >> 3 {
            0 => Err(Error::Malformed),
            number => Ok(Some((number, value))),
        }
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 127).checked_shl(shift).unwrap_or(0);
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Error::Malformed)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Truncated)
    }
}

impl<'a> Value<'a> {
    pub fn uint(self) -> u64 {
        match self {
            Self::Varint(n) | Self::Fixed64(n) => n,
            Self::Fixed32(n) => n.into(),
            Self::Bytes(_) => 0,
        }
    }

    pub fn int(self) -> i64 {
        self.uint().cast_signed()
    }

    pub fn double(self) -> f64 {
        match self {
            Self::Fixed64(bits) => f64::from_bits(bits),
            _ => 0.0,
        }
    }

    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// Bytes that are no UTF-8 are replaced, not refused.
    pub fn text(self) -> Text {
        match String::from_utf8_lossy(self.bytes()) {
            Cow::Borrowed("") => Text::default(),
            text => Text::Owned(text.into_owned()),
        }
    }

    pub fn message(self) -> Reader<'a> {
        Reader::new(self.bytes())
    }

    /// An entry of a map with string keys.
    pub fn entry(self) -> Result<(Text, Value<'a>), Error> {
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

    /// The elements of a repeated `fixed64` or `double`: packed ones, or this single one.
    pub fn fixed64s(self, mut each: impl FnMut(u64)) -> Result<(), Error> {
        match self {
            Self::Bytes(bytes) => {
                let mut packed = Reader::new(bytes);
                while !packed.rest.is_empty() {
                    each(u64::from_le_bytes(packed.array()?));
                }
            }
            single => each(single.uint()),
        }
        Ok(())
    }

    /// The elements of a repeated number: packed ones, or this single one.
    pub fn numbers(self, mut each: impl FnMut(u64)) -> Result<(), Error> {
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
pub fn sint(n: u64) -> i32 {
    let n = n as u32;
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}
