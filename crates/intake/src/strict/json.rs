//! What the JSON checks share: reading, and the rules for times, metric names and tags.

use std::collections::HashSet;
use std::fmt::Display;

use model::UnixNanos;
use serde_json::Value;

use super::{Found, rules};

const HOUR: u64 = 3600;

pub(super) fn read(plain: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(plain).map_err(|why| why.to_string())
}

pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// As it stands in the JSON; `missing` where there is nothing.
pub(super) fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), ToString::to_string)
}

pub(super) fn metric_name(name: &str, at: impl Display, found: &mut Found) {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    let begins = name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    let holds = begins && name.len() <= 200 && name.bytes().all(fits);
    found.want(holds, &rules::METRIC_NAME, at, name);
}

/// Seconds.
pub(super) fn metric_time(
    time: Option<u64>,
    value: impl Display,
    at: impl Display,
    now: UnixNanos,
    found: &mut Found,
) {
    let now = now.as_secs();
    let holds = time.is_some_and(|time| time + HOUR >= now && time <= now + 600);
    found.want(holds, &rules::METRIC_TIME, at, value);
}

pub(super) fn metric_tags<'a>(tags: impl Iterator<Item = &'a str>, at: impl Display, found: &mut Found) {
    let mut seen = HashSet::new();
    for (n, tag) in tags.enumerate() {
        let fits = |c: char| c.is_alphanumeric() || "_-:./".contains(c);
        let holds = tag.chars().next().is_some_and(char::is_alphabetic)
            && tag.chars().count() <= 200
            && tag.chars().all(fits)
            && !tag.ends_with(':');
        found.want(holds, &rules::TAG, format_args!("{at}.tags[{n}]"), tag);
        found.want(seen.insert(tag), &rules::TAG_TWICE, format_args!("{at}.tags[{n}]"), tag);
    }
}
