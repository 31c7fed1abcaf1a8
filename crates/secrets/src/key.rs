//! An API key, cleaned of what gets into it on its way, and never printed.

use std::fmt;

/// What Datadog's keys are.
const LENGTH: usize = 32;
/// An application key is longer, and is the usual mistake.
const APPLICATION_LENGTH: usize = 40;

/// A key that can stand in a header.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes blanks and line breaks out, which secrets get from editors and shells. `None` when nothing is left or
    /// what is left cannot stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches('"');
        let key: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let is_usable = !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic());
        is_usable.then_some(Self(key))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is strange about it, in words that do not tell it. `None` for a key that may be one of Datadog's.
    pub fn oddity(&self) -> Option<String> {
        let is_hex = self.0.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match self.0.len() {
            LENGTH if is_hex => None,
            APPLICATION_LENGTH if is_hex => {
                Some("it looks like an application key, and an API key is needed".to_owned())
            }
            n => Some(format!("it has {n} characters; an API key has {LENGTH}, 0 to 9 and a to f")),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cleaned() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(ApiKey::new(text).as_ref().map(ApiKey::as_str), want, "{text:?}");
        };
        check("abc", Some("abc"));
        check(" a b\tc\r\n", Some("abc"));
        check("\"abc\"\n", Some("abc"));
        check("1234", Some("1234"));
        check(" \n", None);
        check("", None);
        check("a\u{7f}c", None);
        check("äöü", None);
    }

    #[test]
    fn strange_keys_are_told_without_telling_them() {
        let check = |text: &str, want: Option<&str>| {
            let oddity = ApiKey::new(text).unwrap().oddity();
            assert_eq!(oddity.is_some(), want.is_some(), "{oddity:?}");
            assert!(oddity.unwrap_or_default().contains(want.unwrap_or_default()));
        };
        check("0123456789abcdef0123456789abcdef", None);
        check("0123456789abcdef", Some("it has 16 characters"));
        check("0123456789ABCDEF0123456789ABCDEF", Some("it has 32 characters"));
        check("0123456789abcdef0123456789abcdef01234567", Some("application key"));
        assert_eq!(format!("{:?}", ApiKey::new("secret").unwrap()), "ApiKey(***)");
    }
}
