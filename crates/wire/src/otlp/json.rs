//! OTLP's JSON to its protobuf, by the tables of `schema`. 64-bit numbers may be numbers, texts, or pairs
//! of halves (as JavaScript clients send them); names may be written with underscores.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use protobuf::{Value as Field, Writer};
use serde_json::Value as Json;

use super::schema::{self, Message, Type};
use super::{DecodeError, Signal};

/// Gives the protobuf of a request in JSON. Fields that are not known, or have another type, are left out.
///
/// # Errors
/// When it is no JSON object.
pub fn to_protobuf(signal: Signal, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let json: Json = serde_json::from_slice(body).map_err(|_| DecodeError::Json)?;
    if !json.is_object() {
        return Err(DecodeError::Json);
    }
    let message = match signal {
        Signal::Traces => schema::traces(),
        Signal::Metrics => schema::metrics(),
        Signal::Logs => schema::logs(),
    };
    let mut out = Writer::with_capacity(body.len() / 2);
    write_message(&mut out, message, &json);
    Ok(out.into_bytes())
}

/// The depth is bounded: `serde_json` reads 128 levels.
fn write_message(out: &mut Writer, message: Message, json: &Json) {
    let Some(object) = json.as_object() else { return };
    for (name, number, kind) in message {
        let value = object.get(*name).or_else(|| object.get(&underscored(name)));
        match value {
            None | Some(Json::Null) => {}
            Some(Json::Array(all)) => all.iter().for_each(|one| write_field(out, *number, *kind, one)),
            Some(one) => write_field(out, *number, *kind, one),
        }
    }
}

fn write_field(out: &mut Writer, number: u32, kind: Type, json: &Json) {
    let int = |json: &Json| integer(json).map(i64::cast_unsigned);
    let scalar = match kind {
        Type::Message(message) => {
            return out.message(number, |out| write_message(out, message(), json));
        }
        Type::Text => {
            let Some(text) = json.as_str() else { return };
            return out.present(number, Field::Bytes(text.as_bytes()));
        }
        Type::Hex => {
            let Some(bytes) = json.as_str().and_then(unhex) else { return };
            return out.present(number, Field::Bytes(&bytes));
        }
        Type::Base64 => {
            let Some(bytes) = json.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok()) else {
                return;
            };
            return out.present(number, Field::Bytes(&bytes));
        }
        Type::Bool => json.as_bool().map(|yes| Field::Varint(yes.into())),
        Type::Int(names) => {
            let named = json.as_str().and_then(|name| names.iter().position(|known| *known == name));
            named.map(|n| n as u64).or_else(|| int(json)).map(Field::Varint)
        }
        Type::Signed => {
            let n = integer(json).and_then(|n| i32::try_from(n).ok());
            n.map(|n| Field::Varint(u64::from(((n << 1) ^ (n >> 31)).cast_unsigned())))
        }
        Type::Fixed64 | Type::SignedFixed64 => int(json).map(Field::Fixed64),
        Type::Fixed32 => int(json).map(|n| Field::Fixed32(n as u32)),
        Type::Double => double(json).map(|n| Field::Fixed64(n.to_bits())),
    };
    if let Some(scalar) = scalar {
        out.present(number, scalar);
    }
}

/// An integer as a number, a text, or `{low, high}`. The bits of one above 2^63 are kept.
fn integer(json: &Json) -> Option<i64> {
    let half = |name: &str| json.get(name)?.as_i64().map(|n| n as u32);
    match json {
        Json::Number(n) => n.as_i64().or_else(|| n.as_u64().map(u64::cast_signed)).or_else(|| {
            let n = n.as_f64()?;
            (n.fract() == 0.0).then_some(n as i64)
        }),
        Json::String(text) => text.parse().ok().or_else(|| text.parse().ok().map(u64::cast_signed)),
        Json::Object(_) => Some((i64::from(half("high")?) << 32) | i64::from(half("low")?)),
        Json::Null | Json::Bool(_) | Json::Array(_) => None,
    }
}

fn double(json: &Json) -> Option<f64> {
    match json {
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        other => other.as_f64(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|two| two.iter().fold(0, |n, digit| n << 4 | digit) as u8).collect())
}

/// `traceId` as `trace_id`.
fn underscored(name: &str) -> String {
    let mut made = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            made.push('_');
        }
        made.push(c.to_ascii_lowercase());
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let check =
            |json: &str, want| assert_eq!(integer(&serde_json::from_str(json).unwrap()), want, "{json}");
        check("5", Some(5));
        check("-5", Some(-5));
        check("5.0", Some(5));
        check("5.5", None);
        check("\"1722369353018000000\"", Some(1_722_369_353_018_000_000));
        check("18446744073709551615", Some(-1));
        check("\"18446744073709551615\"", Some(-1));
        check(r#"{"low":-1,"high":1}"#, Some(0x1_ffff_ffff));
        check(r#"{"low":1}"#, None);
        check("true", None);
        check("\"x\"", None);
    }

    #[test]
    fn names_and_ids() {
        assert_eq!(underscored("startTimeUnixNano"), "start_time_unix_nano");
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
        assert_eq!((unhex("0"), unhex("xx"), unhex("")), (None, None, Some(vec![])));
    }
}
