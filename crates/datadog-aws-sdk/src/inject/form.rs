//! A form's text, as the query protocol has it: names and values, still encoded.

use std::borrow::Cow;

/// Each `name=value` of a form.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter_map(|pair| pair.split_once('='))
}

/// What a name or value says. `None` when it is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => (digit(*high)? * 16 + digit(*low)?, after),
            (b'%', _) => return None,
            (b'+', after) => (b' ', after),
            (byte, after) => (*byte, after),
        };
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Bytes of [`decoded`].
pub(super) fn decoded_len(text: &str) -> usize {
    text.len() - 2 * text.bytes().filter(|b| *b == b'%').count().min(text.len() / 3)
}

/// Base64 in a form.
pub(super) fn encoded(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forms_say() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(decoded(text).as_deref(), expect, "{text}");
            if let Some(expect) = expect {
                assert_eq!(decoded_len(text), expect.len(), "{text}");
            }
        };
        check("", Some(""));
        check("a.b-1", Some("a.b-1"));
        check("a+b%20c%C3%A9", Some("a b c\u{e9}"));
        check("%7B%7D", Some("{}"));
        check("%", None);
        check("%4", None);
        check("%zz", None);
        check("%ff", None);
        assert_eq!(decoded(&encoded("a+b/c==")).as_deref(), Some("a+b/c=="));
        assert_eq!(pairs("a=1&b&c=2=3").collect::<Vec<_>>(), [("a", "1"), ("c", "2=3")]);
    }
}
