//! What holds whatever a span or a line says. Called by the fuzz targets, which have these modules as their own, and
//! by the test that replays their corpus.

use model::{Span, SpanId, TraceId, UnixNanos};

use super::log_rules::{self, Fate, LogRule, LogRuleKind, LogRules};
use super::obfuscate::Obfuscation;
use super::rules::{ReplaceRule, Rules, TagRule, TagValue, TraceRules};
use super::{normalise, obfuscate};

const KINDS: [&str; 10] = [
    "sql",
    "cassandra",
    "redis",
    "valkey",
    "memcached",
    "mongodb",
    "elasticsearch",
    "opensearch",
    "http",
    "web",
];
const TAGS: [&str; 8] = [
    "db.statement",
    "redis.raw_command",
    "memcached.command",
    "mongodb.query",
    "elasticsearch.body",
    "opensearch.body",
    "http.url",
    "card",
];

/// A first byte that chooses, and a text that is everywhere where something is taken out.
pub(crate) fn spans(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let kind = KINDS[usize::from(*choice) % KINDS.len()];
    let mut span = span(kind, &text);
    let how = Obfuscation {
        url_query: choice & 0x10 != 0,
        url_digits: choice & 0x20 != 0,
        ..Obfuscation::default()
    };
    obfuscate::span(&mut span, &how);
    // A value becomes a mark of some bytes, never more text.
    let most = 4 * text.len() + 16;
    assert!(span.resource.len() <= most && span.meta.iter().all(|(_, value)| value.len() <= most));
    let now = UnixNanos::from_secs(1_800_000_000);
    normalise::span(&mut span, now);
    let once = span.clone();
    assert!(!span.service.is_empty() && !span.name.is_empty() && !span.resource.is_empty());
    normalise::span(&mut span, now);
    assert_eq!(span, once);
}

/// An expression, a line with what it is replaced by, and the text that it is looked for in.
pub(crate) fn rules(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let (pattern, with) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let text = lines.next().unwrap_or_default();
    let (pattern, with) = (pattern.to_owned(), with.to_owned());
    let replace = |name: &'static str| ReplaceRule {
        name: name.into(),
        pattern: pattern.clone().into(),
        with: with.clone().into(),
    };
    let set = TraceRules {
        reject: vec![TagRule { key: "resource".into(), value: TagValue::Matches(pattern.clone().into()) }],
        ignore_resources: vec![pattern.clone().into()],
        replace: vec![replace("*"), replace("resource.name")],
        ..TraceRules::default()
    };
    let mut span = span("web", text);
    let (is_usable, compiled) = (set.unusable().is_empty(), Rules::compile(&set));
    assert!(is_usable || compiled.keep(&span));
    compiled.rewrite(&mut span);
    let rule = |kind| LogRule { name: "r".into(), kind, pattern: pattern.clone().into() };
    let mask = LogRules { rules: vec![rule(LogRuleKind::Mask(with.clone().into()))], blocked: false };
    let fate = log_rules::Rules::compile(&mask).apply(&mut text.to_owned());
    assert_eq!(fate, if is_usable { Fate::Sent } else { Fate::Withheld });
    let exclude = LogRules { rules: vec![rule(LogRuleKind::Exclude)], blocked: false };
    let include = LogRules { rules: vec![rule(LogRuleKind::Include)], blocked: false };
    let left_out = [exclude, include]
        .map(|set| log_rules::Rules::compile(&set).apply(&mut text.to_owned()) == Fate::LeftOut);
    assert_eq!(left_out.iter().filter(|out| **out).count(), usize::from(is_usable));
}

fn span(kind: &'static str, text: &str) -> Span {
    let (trace, own) = (TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap());
    let mut span = Span::new(text.to_owned(), trace, own, None);
    (span.service, span.resource, span.kind) = (text.to_owned().into(), text.to_owned().into(), kind.into());
    for key in TAGS {
        span.meta.insert(key, text.to_owned());
    }
    span
}
