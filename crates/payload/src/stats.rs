//! `/api/v0.2/stats`: statistics that tracers computed themselves, as a msgpack map around what each of them
//! sent, or that was made here. What a tracer sent is not looked into.

mod made;

use std::borrow::Cow;

use model::ClientStats;

use crate::DecodeError;

/// More than stands around the statistics of a request.
pub(crate) const FRAME: usize = 128;
/// As the agent says that it did not compute them.
const CLIENT_COMPUTED: u8 = 0xc3;
const FALSE: u8 = 0xc2;

/// Writes the body of a request.
pub fn encode(all: &[ClientStats]) -> Vec<u8> {
    let mut body = Vec::with_capacity(FRAME + all.iter().map(ClientStats::weight).sum::<usize>());
    body.push(0x86);
    for key in ["AgentHostname", "AgentEnv", "AgentVersion"] {
        text(&mut body, key);
        text(&mut body, "");
    }
    text(&mut body, "ClientComputed");
    body.push(CLIENT_COMPUTED);
    text(&mut body, "SplitPayload");
    body.push(FALSE);
    text(&mut body, "Stats");
    body.push(0xdd);
    body.extend(u32::try_from(all.len()).unwrap_or(u32::MAX).to_be_bytes());
    for one in all {
        body.extend_from_slice(&encode_one(one));
    }
    body
}

/// The map of one sender.
pub(crate) fn encode_one(stats: &ClientStats) -> Cow<'_, [u8]> {
    match stats {
        ClientStats::Sent(body) => Cow::Borrowed(body),
        ClientStats::Made(stats) => Cow::Owned(made::encode(stats)),
    }
}

/// A text of any length.
fn text(body: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ ..32) => body.push(0xa0 | length),
        _ => {
            body.push(0xdb);
            body.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    body.extend_from_slice(text.as_bytes());
}

/// Reads the body of a request.
pub fn decode(body: &[u8]) -> Result<Vec<ClientStats>, DecodeError> {
    let mut rest = body;
    let Head { items: pairs, is_map: true, .. } = head(&mut rest)? else {
        return Err(DecodeError::Malformed);
    };
    let mut all = Vec::new();
    for _ in 0..pairs / 2 {
        let key = value(&mut rest)?;
        if !key.ends_with(b"Stats") || key.len() != 6 {
            value(&mut rest)?;
            continue;
        }
        let Head { items, is_map: false, .. } = head(&mut rest)? else { return Err(DecodeError::Malformed) };
        for _ in 0..items {
            all.push(ClientStats::Sent(value(&mut rest)?.to_vec()));
        }
    }
    Ok(all)
}

/// The next value with all that is in it.
fn value<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let before = *rest;
    let mut left: u64 = 1;
    while left > 0 {
        let head = head(rest)?;
        *rest = rest.get(head.bytes..).ok_or(DecodeError::Truncated)?;
        left = (left - 1).saturating_add(head.items);
    }
    before.get(..before.len() - rest.len()).ok_or(DecodeError::Truncated)
}

/// What stands behind a value's first bytes.
struct Head {
    /// Data, for a scalar.
    bytes: usize,
    /// Values, for a container; a pair is two.
    items: u64,
    is_map: bool,
}

/// Reads a value's first bytes. <https://github.com/msgpack/msgpack/blob/master/spec.md#formats>
fn head(rest: &mut &[u8]) -> Result<Head, DecodeError> {
    let marker = number(rest, 1)?;
    let scalar =
        |bytes: u64| Head { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), items: 0, is_map: false };
    Ok(match marker {
        0x80..=0x8f => Head { bytes: 0, items: (marker & 0xf) * 2, is_map: true },
        0x90..=0x9f => Head { bytes: 0, items: marker & 0xf, is_map: false },
        0xa0..=0xbf => scalar(marker & 0x1f),
        0xc4 | 0xd9 => scalar(number(rest, 1)?),
        0xc5 | 0xda => scalar(number(rest, 2)?),
        0xc6 | 0xdb => scalar(number(rest, 4)?),
        0xc7 => scalar(number(rest, 1)? + 1),
        0xc8 => scalar(number(rest, 2)? + 1),
        0xc9 => scalar(number(rest, 4)? + 1),
        0xcc | 0xd0 => scalar(1),
        0xcd | 0xd1 => scalar(2),
        0xca | 0xce | 0xd2 => scalar(4),
        0xcb | 0xcf | 0xd3 => scalar(8),
        0xd4..=0xd8 => scalar((1 << (marker - 0xd4)) + 1),
        0xdc => Head { bytes: 0, items: number(rest, 2)?, is_map: false },
        0xdd => Head { bytes: 0, items: number(rest, 4)?, is_map: false },
        0xde => Head { bytes: 0, items: number(rest, 2)? * 2, is_map: true },
        0xdf => Head { bytes: 0, items: number(rest, 4)? * 2, is_map: true },
        0xc1 => return Err(DecodeError::Malformed),
        _ => scalar(0),
    })
}

fn number(rest: &mut &[u8], bytes: usize) -> Result<u64, DecodeError> {
    let (taken, behind) = rest.split_at_checked(bytes).ok_or(DecodeError::Truncated)?;
    *rest = behind;
    Ok(taken.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn stats(body: &[u8]) -> ClientStats {
        ClientStats::Sent(body.to_vec())
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let check = |all: &[ClientStats]| {
            let body = encode(all);
            assert!(body.len() <= FRAME + all.iter().map(|one| encode_one(one).len()).sum::<usize>());
            assert_eq!(decode(&body).as_deref(), Ok(all));
        };
        check(&[]);
        check(&[stats(b"\x80")]);
        check(&[
            stats(b"\x81\xa3Env\xa4prod"),
            stats(b"\x81\xa5Stats\x91\x82\xa1a\xcb\0\0\0\0\0\0\0\0\xa1b\xc4\x02hi"),
        ]);
    }

    #[test]
    fn bodies() {
        assert_eq!(decode(b""), Err(DecodeError::Truncated));
        assert_eq!(decode(b"\x91\x80"), Err(DecodeError::Malformed));
        assert_eq!(decode(b"\x81\xa5Stats\xdd\xff\xff\xff\xff"), Err(DecodeError::Truncated));
        assert_eq!(decode(b"\x81\xa5Stats\x80"), Err(DecodeError::Malformed));
        assert_eq!(decode(b"\x81\xa1x\xdf\xff\xff\xff\xff"), Err(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..100)) {
            let _ = decode(&body);
            prop_assert!(decode(&[encode(&[stats(b"\x80")]), body].concat()).is_ok());
        }
    }
}
