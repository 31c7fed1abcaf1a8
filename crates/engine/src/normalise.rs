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
/// Bytes of a service, a name or a type.
const MAX_NAME: usize = 100;
/// Characters of the value of a tag, and half the bytes.
const MAX_TAG: usize = 200;

pub(crate) fn span(span: &mut Span, now: UnixNanos) {
    put(&mut span.service, service, "unnamed-service");
    put(&mut span.name, name, "unnamed_operation");
    if span.resource.is_empty() {
        span.resource = span.name.clone();
    }
    if span.kind.len() > MAX_NAME {
        span.kind = cut(&span.kind).to_owned().into();
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
    let env = span.meta.get(keys::trace::ENV).map(|env| tag(env));
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

/// As many bytes as a name may have; a letter stays whole or goes.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_NAME)).unwrap_or_default()
}

fn service(text: &str) -> Cow<'_, str> {
    match cut(text) {
        short if short.len() == text.len() => tag(text),
        short => Cow::Owned(tag(short).into_owned()),
    }
}

/// Lower case, of letters, digits and `_:./-`, beginning with a letter or `:`; borrowed when it is so.
fn tag(text: &str) -> Cow<'_, str> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b":./-".contains(&b);
    let begins_well = text.as_bytes().first().is_none_or(|b| b.is_ascii_lowercase() || *b == b':');
    if begins_well && text.len() <= MAX_TAG && text.bytes().all(fits) {
        return Cow::Borrowed(text);
    }
    let (mut made, mut written) = (String::with_capacity(text.len()), 0);
    for c in text.chars() {
        if written == MAX_TAG || made.len() >= 2 * MAX_TAG {
            break;
        }
        // What is not longer in lower case; the first letter where it becomes several.
        let lower =
            c.to_lowercase().next().filter(|lower| c.is_uppercase() && lower.len_utf8() <= c.len_utf8());
        let c = match lower.unwrap_or(c) {
            c if c.is_alphabetic() || c.is_lowercase() || c == ':' => c,
            _ if made.is_empty() => continue,
            c if c.is_numeric() || "./-".contains(c) => c,
            _ if made.ends_with('_') => continue,
            _ => '_',
        };
        made.push(c);
        written += 1;
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
    for c in cut(text).chars() {
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
        let check = |text: &str, want: &str| assert_eq!(service(text), want, "{text:?}");
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
        check("a..b", "a..b");
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
            let once = tag(&text).into_owned();
            prop_assert!(once.chars().count() <= MAX_TAG && once.len() <= 2 * MAX_TAG + 4);
            prop_assert_eq!(tag(&once).into_owned(), once);
            let once = name(&text).into_owned();
            prop_assert!(once.len() <= MAX_NAME);
            prop_assert_eq!(name(&once).into_owned(), once);
        }

        /// Datadog's own library makes the same of any text.
        #[test]
        fn services_and_tags_are_those_of_datadogs_library(
            text in any::<String>(),
            mixed in "[a-zA-Z0-9_:./ !\\-äÄßẞİªⓐⅧ²ǅ日]{0,250}",
        ) {
            for text in [text, mixed] {
                let (mut theirs, mut ours) = (text.clone(), Text::from(text.clone()));
                libdd_trace_normalization::normalize_utils::normalize_service(&mut theirs);
                put(&mut ours, service, "unnamed-service");
                prop_assert_eq!(&*ours, theirs, "{:?}", text);
                let theirs = libdd_trace_normalization::normalize_utils::normalize_tag_cloned(&text);
                prop_assert_eq!(tag(&text), theirs, "{:?}", text);
            }
        }

        /// The same, of what has no two signs in a row: of those its copy of the bytes goes wrong.
        #[test]
        fn names_are_those_of_datadogs_library(text in "[-0-9_.!]{0,3}[A-Za-z]{1,5}([-_. /!]?[A-Za-z0-9]{1,40}){0,5}[-_/ ]?|[-0-9]{0,3}") {
            let (mut theirs, mut ours) = (text.clone(), Text::from(text.clone()));
            libdd_trace_normalization::normalize_utils::normalize_name(&mut theirs);
            put(&mut ours, name, "unnamed_operation");
            prop_assert_eq!(&*ours, theirs, "{:?}", text);
        }
    }
}
