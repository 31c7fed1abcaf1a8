//! A cursor over msgpack that takes whatever number or text it finds where one is expected, and steps over
//! anything else whole: for the protocols of tracers. It never allocates by a length that a header claims,
//! and never recurses.
//! <https://github.com/msgpack/msgpack/blob/master/spec.md>

use std::borrow::Cow;

use rmp::Marker;

use crate::v04::DecodeError;

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// The next value: a scalar as it is, or how many elements (pairs) of a container follow.
pub(crate) enum Value<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
    Array(u32),
    Map(u32),
    /// An extension type; its data is already stepped over.
    Other,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads a scalar whole, or a container's head.
    pub(crate) fn value(&mut self) -> Result<Value<'a>, DecodeError> {
        Ok(match Marker::from_u8(self.be()?) {
            Marker::Null => Value::Nil,
            Marker::False => Value::Bool(false),
            Marker::True => Value::Bool(true),
            Marker::FixPos(n) => Value::Uint(n.into()),
            Marker::FixNeg(n) => Value::Int(n.into()),
            Marker::U8 => Value::Uint(self.be::<u8>()?.into()),
            Marker::U16 => Value::Uint(self.be::<u16>()?.into()),
            Marker::U32 => Value::Uint(self.be::<u32>()?.into()),
            Marker::U64 => Value::Uint(self.be()?),
            Marker::I8 => Value::Int(self.be::<i8>()?.into()),
            Marker::I16 => Value::Int(self.be::<i16>()?.into()),
            Marker::I32 => Value::Int(self.be::<i32>()?.into()),
            Marker::I64 => Value::Int(self.be()?),
            Marker::F32 => Value::Float(self.be::<f32>()?.into()),
            Marker::F64 => Value::Float(self.be()?),
            Marker::FixStr(n) => self.text(n.into())?,
            Marker::Str8 => self.text_of::<u8>()?,
            Marker::Str16 => self.text_of::<u16>()?,
            Marker::Str32 => self.text_of::<u32>()?,
            Marker::Bin8 => Value::Binary(self.sized::<u8>()?),
            Marker::Bin16 => Value::Binary(self.sized::<u16>()?),
            Marker::Bin32 => Value::Binary(self.sized::<u32>()?),
            Marker::FixArray(n) => Value::Array(n.into()),
            Marker::Array16 => Value::Array(self.be::<u16>()?.into()),
            Marker::Array32 => Value::Array(self.be()?),
            Marker::FixMap(n) => Value::Map(n.into()),
            Marker::Map16 => Value::Map(self.be::<u16>()?.into()),
            Marker::Map32 => Value::Map(self.be()?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.extension_of::<u8>()?,
            Marker::Ext16 => self.extension_of::<u16>()?,
            Marker::Ext32 => self.extension_of::<u32>()?,
            Marker::Reserved => return Err(DecodeError::Reserved),
        })
    }

    /// Steps over the next value with all that is in it.
    pub(crate) fn skip(&mut self) -> Result<(), DecodeError> {
        let value = self.value()?;
        self.skip_rest(&value)
    }

    /// Steps over what is in `value`, which was just read: nothing unless it is a container.
    pub(crate) fn skip_rest(&mut self, value: &Value<'_>) -> Result<(), DecodeError> {
        let mut left = value.elements();
        while left > 0 {
            left = left.saturating_sub(1).saturating_add(self.value()?.elements());
        }
        Ok(())
    }

    /// The bytes of the next value, whatever it is.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], DecodeError> {
        let before = self.rest;
        self.skip()?;
        before
            .split_at_checked(before.len() - self.rest.len())
            .map(|(raw, _)| raw)
            .ok_or(DecodeError::Truncated)
    }

    /// Opens a map. Anything else is stepped over and has no pairs.
    pub(crate) fn map(&mut self) -> Result<u32, DecodeError> {
        match self.value()? {
            Value::Map(pairs) => Ok(pairs),
            other => self.skip_rest(&other).map(|()| 0),
        }
    }

    /// Opens an array. Anything else is stepped over and has no elements.
    pub(crate) fn array(&mut self) -> Result<u32, DecodeError> {
        match self.value()? {
            Value::Array(elements) => Ok(elements),
            other => self.skip_rest(&other).map(|()| 0),
        }
    }

    /// A map's key. `None` for a key that is no text: its value is stepped over too.
    pub(crate) fn key(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let key = self.value()?;
        match key.into_text() {
            Ok(text) => Ok(Some(text)),
            Err(other) => {
                self.skip_rest(&other)?;
                self.skip().map(|()| None)
            }
        }
    }

    /// Text, also when sent as binary. `None` for anything else.
    pub(crate) fn maybe_text(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        match self.value()?.into_text() {
            Ok(text) => Ok(Some(text)),
            Err(other) => self.skip_rest(&other).map(|()| None),
        }
    }

    /// A scalar. A container is stepped over and gives nil.
    pub(crate) fn scalar(&mut self) -> Result<Value<'a>, DecodeError> {
        let value = self.value()?;
        match value {
            Value::Array(_) | Value::Map(_) => self.skip_rest(&value).map(|()| Value::Nil),
            scalar => Ok(scalar),
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn be<T: Bytes>(&mut self) -> Result<T, DecodeError> {
        self.take(size_of::<T>()).and_then(|bytes| T::from_be(bytes).ok_or(DecodeError::Truncated))
    }

    fn sized<T: Bytes + Into<u64>>(&mut self) -> Result<&'a [u8], DecodeError> {
        let n: u64 = self.be::<T>()?.into();
        self.take(usize::try_from(n).map_err(|_| DecodeError::Truncated)?)
    }

    fn text(&mut self, n: usize) -> Result<Value<'a>, DecodeError> {
        self.take(n).map(|bytes| Value::Text(lossy(bytes)))
    }

    fn text_of<T: Bytes + Into<u64>>(&mut self) -> Result<Value<'a>, DecodeError> {
        self.sized::<T>().map(|bytes| Value::Text(lossy(bytes)))
    }

    fn extension(&mut self, n: usize) -> Result<Value<'a>, DecodeError> {
        self.take(n + 1).map(|_| Value::Other)
    }

    fn extension_of<T: Bytes + Into<u64>>(&mut self) -> Result<Value<'a>, DecodeError> {
        let n: u64 = self.be::<T>()?.into();
        self.extension(usize::try_from(n).map_err(|_| DecodeError::Truncated)?)
    }
}

impl<'a> Value<'a> {
    /// How many values stand behind this one as its content.
    pub(crate) fn elements(&self) -> u64 {
        match self {
            Self::Array(n) => u64::from(*n),
            Self::Map(n) => u64::from(*n) * 2,
            _ => 0,
        }
    }

    fn into_text(self) -> Result<Cow<'a, str>, Self> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(bytes) => Ok(lossy(bytes)),
            other => Err(other),
        }
    }

    /// 64 bits of an id: a negative number is what a tracer made of an id above 2^63, so its bits are the
    /// id's. A float has lost the low bits but may still be whole.
    pub(crate) fn to_id(&self) -> u64 {
        match self {
            Self::Uint(n) => *n,
            Self::Int(n) => n.cast_unsigned(),
            Self::Float(n) => *n as u64,
            Self::Text(text) => text.parse().unwrap_or(0),
            _ => 0,
        }
    }

    /// A count of nanoseconds, a status, flags: never negative.
    pub(crate) fn to_count(&self) -> u64 {
        match self {
            Self::Int(n) => u64::try_from(*n).unwrap_or(0),
            Self::Bool(yes) => u64::from(*yes),
            other => other.to_id(),
        }
    }

    /// `None` for what is no number.
    pub(crate) fn to_float(&self) -> Option<f64> {
        match self {
            Self::Uint(n) => Some(*n as f64),
            Self::Int(n) => Some(*n as f64),
            Self::Float(n) => Some(*n),
            Self::Bool(yes) => Some(f64::from(u8::from(*yes))),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Any scalar as text. `None` for nil and for containers.
    pub(crate) fn into_scalar_text(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Bool(yes) => Cow::from(if yes { "true" } else { "false" }),
            Self::Uint(n) => n.to_string().into(),
            Self::Int(n) => n.to_string().into(),
            Self::Float(n) => n.to_string().into(),
            other => return other.into_text().ok(),
        })
    }
}

/// Numbers as msgpack writes them: big endian.
trait Bytes: Sized {
    fn from_be(bytes: &[u8]) -> Option<Self>;
}

macro_rules! bytes {
    ($($t:ty)*) => {$(
        impl Bytes for $t {
            fn from_be(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_be_bytes)
            }
        }
    )*};
}

bytes!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

/// As `String::from_utf8_lossy` gives it, which looks at each byte; nearly all texts are right, and most of them ASCII.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
