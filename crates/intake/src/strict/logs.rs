//! Logs of both versions. A log line of Lambda may stand one level down, in `message`.

use std::fmt::Display;

use model::UnixNanos;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::{shown, text};
use super::{Found, bytes, rules};

const HOUR_MS: u64 = 3_600_000;

pub(super) fn check(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    if plain.first() != Some(&b'[') {
        return entry(plain, "entry", now, found);
    }
    let all: Vec<&RawValue> = serde_json::from_slice(plain).map_err(|why| why.to_string())?;
    found.want(!all.is_empty(), &rules::EMPTY, "body", "empty");
    found.want(all.len() <= 1000, &rules::LOG_ENTRIES, "body", format_args!("{} entries", all.len()));
    for (n, one) in all.iter().enumerate() {
        entry(one.get().as_bytes(), format_args!("[{n}]"), now, found)?;
    }
    Ok(())
}

fn entry(written: &[u8], at: impl Display, now: UnixNanos, found: &mut Found) -> Result<(), String> {
    let entry: Value = serde_json::from_slice(written).map_err(|why| why.to_string())?;
    if !entry.is_object() {
        found.add(&rules::LOG_SHAPE, at, entry);
        return Ok(());
    }
    found.want(written.len() <= 1_000_000, &rules::LOG_SIZE, &at, bytes(written.len()));
    let message = entry.get("message");
    let line = message.map(|message| message.get("message").unwrap_or(message));
    let is_there = line.is_some_and(|line| !line.is_null() && line.as_str() != Some(""));
    found.want(is_there, &rules::LOG_MESSAGE, format_args!("{at}.message"), shown(message));
    let is_there = |key| !text(&entry, key).is_empty();
    found.want(
        is_there("ddsource"),
        &rules::LOG_SOURCE,
        format_args!("{at}.ddsource"),
        shown(entry.get("ddsource")),
    );
    found.want(
        is_there("service"),
        &rules::LOG_SERVICE,
        format_args!("{at}.service"),
        shown(entry.get("service")),
    );
    let time = entry.pointer("/message/timestamp").or_else(|| entry.get("timestamp"));
    // Texts are read as dates there, and without a time it is the arrival's.
    if let Some(time) = time.filter(|time| !time.is_string()) {
        let now = now.as_millis();
        let holds = time.as_u64().is_some_and(|ms| ms + 18 * HOUR_MS >= now && ms <= now + 2 * HOUR_MS);
        found.want(holds, &rules::LOG_TIME, format_args!("{at}.timestamp"), time);
    }
    let tags = text(&entry, "ddtags");
    let (mut count, mut short) = (0, true);
    for tag in tags.split(',') {
        count += 1;
        short &= tag.chars().count() <= 256;
    }
    let is_text = entry.get("ddtags").is_none_or(Value::is_string);
    found.want(count <= 100 && short && is_text, &rules::LOG_TAGS, format_args!("{at}.ddtags"), tags);
    Ok(())
}
