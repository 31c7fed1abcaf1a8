//! The small alphabets of header values.

use std::borrow::Cow;

/// Reads exactly `digits` lower-case hex digits.
pub(crate) fn hex(text: &str, digits: usize) -> Option<u64> {
    let lower = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    (text.len() == digits && text.bytes().all(lower)).then(|| u64::from_str_radix(text, 16).ok())?
}

/// The text with each character that `allowed` refuses replaced by `_`.
pub(crate) fn cleaned(text: &str, allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&allowed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if allowed(c) { c } else { '_' }).collect())
}

/// What an HTTP header value may hold without being refused or quoted on the way.
pub(crate) fn printable(c: char) -> bool {
    matches!(c, ' '..='~')
}
