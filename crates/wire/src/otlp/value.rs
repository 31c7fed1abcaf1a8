//! Attributes: keys with values of types that nest.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::{Attribute, Text};
use protobuf::{Reader, Value as Field};
use serde_json::{Map, Value as Json};

/// Lists and maps in each other that are read; what is deeper is left out.
const MAX_DEPTH: u32 = 8;

/// `AnyValue`. Maps and lists are JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(Text),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Json(Json),
}

impl Value {
    /// `None` when there is nothing in it.
    pub(super) fn read(message: Reader<'_>) -> Option<Self> {
        Self::read_at(message, 0)
    }

    fn read_at(mut message: Reader<'_>, depth: u32) -> Option<Self> {
        let mut found = None;
        while let Ok(Some((number, field))) = message.field() {
            found = match number {
                1 => Some(Self::Text(field.text())),
                2 => Some(Self::Bool(field.uint() != 0)),
                3 => Some(Self::Int(field.int())),
                4 => Some(Self::Double(field.double())),
                5 if depth < MAX_DEPTH => Some(Self::Json(list(field.message(), depth))),
                6 if depth < MAX_DEPTH => Some(Self::Json(map(field.message(), depth))),
                7 => Some(Self::Bytes(field.bytes().to_vec())),
                _ => found,
            };
        }
        found
    }

    pub(super) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(yes) => Cow::Borrowed(if *yes { "true" } else { "false" }),
            Self::Int(n) => n.to_string().into(),
            Self::Double(n) => n.to_string().into(),
            Self::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
            Self::Json(json) => json.to_string().into(),
        }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Double(n) => Some(*n as i64),
            Self::Text(text) => text.parse().ok(),
            Self::Bool(_) | Self::Bytes(_) | Self::Json(_) => None,
        }
    }

    pub(super) fn into_json(self) -> Json {
        match self {
            Self::Text(text) => text.into_owned().into(),
            Self::Bool(yes) => yes.into(),
            Self::Int(n) => n.into(),
            Self::Double(n) => n.into(),
            Self::Bytes(_) => self.to_text().into_owned().into(),
            Self::Json(json) => json,
        }
    }

    pub(super) fn into_attribute(self) -> Attribute {
        match self {
            Self::Text(text) => Attribute::Text(text),
            Self::Bool(yes) => Attribute::Bool(yes),
            Self::Int(n) => Attribute::Int(n),
            Self::Double(n) => Attribute::Double(n),
            Self::Bytes(_) => Attribute::Text(self.to_text().into_owned().into()),
            Self::Json(json) => {
                let scalars = json.as_array().and_then(|all| all.iter().map(scalar).collect());
                scalars.map_or_else(|| Attribute::Text(json.to_string().into()), Attribute::List)
            }
        }
    }
}

fn scalar(json: &Json) -> Option<Attribute> {
    Some(match json {
        Json::String(text) => Attribute::Text(text.clone().into()),
        Json::Bool(yes) => Attribute::Bool(*yes),
        Json::Number(n) => match n.as_i64() {
            Some(n) => Attribute::Int(n),
            None => Attribute::Double(n.as_f64()?),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    })
}

fn list(mut message: Reader<'_>, depth: u32) -> Json {
    let mut all = Vec::new();
    while let Ok(Some((number, field))) = message.field() {
        if number == 1 {
            all.push(Value::read_at(field.message(), depth + 1).map_or(Json::Null, Value::into_json));
        }
    }
    Json::Array(all)
}

fn map(mut message: Reader<'_>, depth: u32) -> Json {
    let mut all = Map::new();
    while let Ok(Some((number, field))) = message.field() {
        if number == 1
            && let Some((key, value)) = pair(field, depth + 1)
        {
            all.insert(key.into_owned(), value.into_json());
        }
    }
    Json::Object(all)
}

/// `KeyValue`
fn pair(field: Field<'_>, depth: u32) -> Option<(Text, Value)> {
    let (mut key, mut value, mut message) = (Text::default(), None, field.message());
    while let Ok(Some((number, field))) = message.field() {
        match number {
            1 => key = field.text(),
            2 => value = Value::read_at(field.message(), depth),
            _ => {}
        }
    }
    Some((key, value?)).filter(|(key, _)| !key.is_empty())
}

/// The attributes of one thing, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<(Text, Value)>);

impl Attributes {
    /// Takes a `KeyValue`; one without a value is left out.
    pub(super) fn read(&mut self, field: Field<'_>) {
        self.0.extend(pair(field, 0));
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The text of the first of these keys that is there and not empty.
    pub(super) fn text(&self, keys: &[&str]) -> Option<Cow<'_, str>> {
        keys.iter().filter_map(|key| self.get(key)).map(Value::to_text).find(|text| !text.is_empty())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Text, Value)> {
        self.0.into_iter()
    }
}
