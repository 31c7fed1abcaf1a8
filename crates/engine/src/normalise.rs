//! The backend's rules for spans, applied here so that what is shown is what was meant: names it would
//! refuse or rename, times and ids that cannot be. Called by the trace stage for every span.
//! <https://docs.datadoghq.com/getting_started/tagging/#define-tags>

use std::borrow::Cow;
use std::time::Duration;

use model::{Span, Text, UnixNanos, keys};

/// Spans that start before have no start: 2000-01-01.
const YEAR_2000: UnixNanos = UnixNanos::from_secs(946_684_800);
/// The last moment there is: the backend counts with a sign.
const LAST: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());
/// Characters of a service, a name or a type.
const MAX_NAME: usize = 100;
/// Characters of the value of a tag.
const MAX_TAG: usize = 200;

pub(crate) fn span(span: &mut Span, now: UnixNanos) {
    put(&mut span.service, |text| tag(text, MAX_NAME), "unnamed-service");
    put(&mut span.name, name, "unnamed_operation");
    if span.resource.is_empty() {
        span.resource = span.name.clone();
    }
    if let Some((end, _)) = span.kind.char_indices().nth(MAX_NAME) {
        span.kind = span.kind.get(..end).unwrap_or_default().to_owned().into();
    }
    if span.parent_id == Some(span.span_id) {
        span.parent_id = None;
    }
    // What ends after the year 2262 cannot be told to the backend.
    if Duration::from_nanos(span.start.as_nanos()).saturating_add(span.duration) > LAST {
        span.duration = Duration::ZERO;
    }
    if span.start < YEAR_2000 {
        let begun = now - span.duration;
        span.start = if begun < YEAR_2000 { now } else { begun };
    }
    let status = span.meta.get(keys::trace::HTTP_STATUS_CODE);
    if status.is_some_and(|s| s.parse::<u16>().map_or(true, |s| !(100..600).contains(&s))) {
        span.meta.remove(keys::trace::HTTP_STATUS_CODE);
    }
    let env = span.meta.get(keys::trace::ENV).map(|env| tag(env, MAX_TAG));
    if let Some(Cow::Owned(env)) = env {
        span.meta.insert(keys::trace::ENV, env);
    }
}

fn put(field: &mut Text, rule: impl Fn(&str) -> Cow<'_, str>, otherwise: &'static str) {
    if let Cow::Owned(text) = rule(field) {
        *field = text.into();
    }
    if field.is_empty() {
        *field = Text::Borrowed(otherwise);
    }
}

/// Lower case, of letters, digits and `_:./-`, beginning with a letter or `:`; borrowed when it is so.
fn tag(text: &str, max: usize) -> Cow<'_, str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b":./-".contains(&b);
    let begins_well = text.as_bytes().first().is_none_or(|b| b.is_ascii_lowercase() || *b == b':');
    if begins_well && text.len() <= max && text.bytes().all(fits) {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len());
    for c in text.chars().take(max).flat_map(char::to_lowercase) {
        let may_begin = c.is_alphabetic() || c == ':';
        match c {
            _ if made.is_empty() && !may_begin => {}
            c if c.is_alphanumeric() || ":./-".contains(c) => made.push(c),
            _ if made.ends_with('_') => {}
            _ => made.push('_'),
        }
    }
    made.truncate(made.trim_end_matches('_').len());
    Cow::Owned(made)
}

/// As a metric's name: letters, digits, `_` and `.`, beginning with a letter.
fn name(text: &str) -> Cow<'_, str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'.';
    if text.as_bytes().first().is_none_or(u8::is_ascii_alphabetic)
        && text.len() <= MAX_NAME
        && text.bytes().all(fits)
    {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len().min(MAX_NAME));
    for c in text.chars().take(MAX_NAME) {
        match c {
            _ if made.is_empty() && !c.is_ascii_alphabetic() => {}
            c if c.is_ascii_alphanumeric() => made.push(c),
            '.' => {
                made.truncate(made.trim_end_matches('_').len());
                made.push('.');
            }
            _ if made.ends_with(['_', '.']) => {}
            _ => made.push('_'),
        }
    }
    made.truncate(made.trim_end_matches('_').len());
    Cow::Owned(made)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn tags() {
        let check = |text: &str, want: &str| assert_eq!(tag(text, MAX_NAME), want, "{text:?}");
        check("shop", "shop");
        check("orders-api.v2/x:y", "orders-api.v2/x:y");
        check("my_service", "my_service");
        check("My Service", "my_service");
        check("a  --  b", "a_--_b");
        check("a__b!", "a_b");
        check("trailing___", "trailing");
        check("1st", "st");
        check("_x", "x");
        check("Ünïcode", "ünïcode");
        check("", "");
        check("!!!", "");
        check(&"x".repeat(300), &"x".repeat(100));
    }

    #[test]
    fn names() {
        let check = |text: &str, want: &str| assert_eq!(name(text), want, "{text:?}");
        check("aws.lambda", "aws.lambda");
        check("flask.request", "flask.request");
        check("GET /orders", "GET_orders");
        check("span_name", "span_name");
        check("a_.b", "a.b");
        check("a._b", "a.b");
        check("2x", "x");
        check("größe", "gr_e");
        check("--", "");
        check(&"x".repeat(300), &"x".repeat(100));
    }

    #[test]
    fn times() {
        let now = UnixNanos::from_secs(1_800_000_000);
        let check = |start: u64, duration: u64, want: (u64, u64)| {
            let ids = (model::TraceId::new(0, 1).unwrap(), model::SpanId::new(1).unwrap());
            let mut made = Span::new("work", ids.0, ids.1, None);
            (made.start, made.duration) = (UnixNanos(start), Duration::from_nanos(duration));
            span(&mut made, now);
            let times = (made.start.as_nanos(), u64::try_from(made.duration.as_nanos()).unwrap());
            assert_eq!(times, want, "{start} {duration}");
        };
        let (now, last) = (now.as_nanos(), i64::MAX.unsigned_abs());
        check(now - 5, 7, (now - 5, 7));
        check(now, last - now, (now, last - now));
        check(now, last - now + 1, (now, 0));
        check(now, u64::MAX, (now, 0));
        check(0, 7, (now - 7, 7));
        check(0, last, (now, last));
        check(u64::MAX, 7, (u64::MAX, 0));
    }

    proptest! {
        #[test]
        fn twice_is_once(text in any::<String>()) {
            let once = tag(&text, MAX_NAME).into_owned();
            prop_assert!(once.chars().count() <= 3 * MAX_NAME);
            prop_assert_eq!(tag(&once, 3 * MAX_NAME).into_owned(), once);
            let once = name(&text).into_owned();
            prop_assert!(once.len() <= MAX_NAME);
            prop_assert_eq!(name(&once).into_owned(), once);
        }
    }
}
