//! W3C Baggage: `baggage: user=17,region=north%20west`. <https://www.w3.org/TR/baggage/>

use std::fmt::Write;

use model::keys::headers;
use model::{Tags, Text};

use crate::{Carrier, CarrierMut};

/// Limits of Datadog's tracers, and the least that W3C asks for.
const MAX_ITEMS: usize = 64;
const MAX_BYTES: usize = 8192;

/// What a carrier holds for all services to see. It needs no trace. Like Datadog's tracers, trusts all of a
/// header or nothing: empty when an item is malformed.
pub fn baggage<C: Carrier + ?Sized>(carrier: &C) -> Tags<Text> {
    carrier.get(headers::BAGGAGE).and_then(|header| read(&header)).unwrap_or_default()
}

fn read(header: &str) -> Option<Tags<Text>> {
    let mut tags = Tags::new();
    let mut bytes = 0;
    for item in header.split(',').take(MAX_ITEMS) {
        bytes += item.len() + 1;
        if bytes > MAX_BYTES + 1 {
            break;
        }
        // Properties, behind a semicolon, are for the transport and not for us.
        let member = item.split_once(';').map_or(item, |(member, _)| member);
        let (key, value) = member.split_once('=')?;
        let (key, value) = (decoded(key.trim())?, decoded(value.trim())?);
        if key.is_empty() || value.is_empty() {
            return None;
        }
        tags.insert(key, value);
    }
    Some(tags)
}

pub(crate) fn write<C: CarrierMut + ?Sized>(tags: &Tags<Text>, carrier: &mut C) {
    let mut out = String::new();
    for (key, value) in tags.iter().filter(|(k, v)| !k.is_empty() && !v.is_empty()).take(MAX_ITEMS) {
        let comma = if out.is_empty() { "" } else { "," };
        let item = format!("{comma}{}={}", encoded(key, is_token), encoded(value, is_octet));
        if out.len() + item.len() > MAX_BYTES {
            break;
        }
        out.push_str(&item);
    }
    if !out.is_empty() {
        carrier.set(headers::BAGGAGE, out);
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b)
}

fn is_octet(b: u8) -> bool {
    b.is_ascii_graphic() && !b"\",;\\%".contains(&b)
}

fn encoded(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if plain(b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// `None` when what is encoded is not UTF-8. A `%` that encodes nothing stands for itself.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let encoded = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                digit(*high).zip(digit(*low)).map(|(h, l)| (h * 16 + l, after))
            }
            _ => None,
        };
        let (byte, after) = encoded.unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).ok()
}

fn digit(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())
}
