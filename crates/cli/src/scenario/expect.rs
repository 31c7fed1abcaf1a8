//! What a scenario expects, as it is written. Judged in [`super::check`].

use std::collections::BTreeMap;
use std::fmt;

use anyhow::bail;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    #[serde(default)]
    pub(super) spans: Vec<SpanExpectation>,
    #[serde(default)]
    pub(super) logs: Vec<LogExpectation>,
    #[serde(default)]
    pub(super) metrics: Vec<MetricExpectation>,
    /// Numbers by name.
    #[serde(default)]
    pub(super) counts: Counts,
}

/// Of the answer that the caller of an event gets.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerExpectation {
    pub(super) status: Option<u16>,
    /// The answer has at least this in it.
    pub(super) answer: Option<Value>,
    /// The type of the error, or `false` for none.
    pub(super) error: Option<ErrorExpectation>,
    /// In the error's message.
    pub(super) message: Option<Pattern>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "the type of an error, true for any or false for none")]
pub(super) enum ErrorExpectation {
    Any(bool),
    Type(Pattern),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpanExpectation {
    pub(super) name: Option<Pattern>,
    /// Of the span above it; `""` for none.
    pub(super) parent: Option<Pattern>,
    /// Names from any span down to this one, each below the one before: `a > b > c`.
    pub(super) path: Option<String>,
    pub(super) service: Option<Pattern>,
    pub(super) resource: Option<Pattern>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Pattern>,
    pub(super) error: Option<bool>,
    /// Tags and numbers, as text.
    #[serde(default)]
    pub(super) tags: BTreeMap<String, Pattern>,
    /// Tags that must not be there.
    #[serde(default)]
    pub(super) without: Vec<String>,
    #[serde(default)]
    pub(super) count: Count,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogExpectation {
    pub(super) message: Pattern,
    pub(super) function: Option<Pattern>,
    pub(super) status: Option<Pattern>,
    pub(super) service: Option<Pattern>,
    #[serde(default)]
    pub(super) tags: Vec<Pattern>,
    /// It names a trace that arrived, and a span in it.
    pub(super) in_trace: Option<bool>,
    #[serde(default)]
    pub(super) count: Count,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricExpectation {
    pub(super) name: Pattern,
    #[serde(default)]
    pub(super) tags: Vec<Pattern>,
    /// How many values there are, over all its points and tags.
    #[serde(default)]
    pub(super) count: Count,
    /// Their sum.
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    pub(super) traces: Option<Count>,
    pub(super) spans: Option<Count>,
    pub(super) logs: Option<Count>,
    pub(super) points: Option<Count>,
    pub(super) requests: Option<Count>,
    pub(super) failed_requests: Option<Count>,
    /// Ways in which requests are not as Datadog wants them.
    pub(super) violations: Option<Count>,
    /// Spans whose parent did not arrive.
    pub(super) orphans: Option<Count>,
    /// Spans that arrived more than once.
    pub(super) duplicates: Option<Count>,
    /// Sandboxes that were made.
    pub(super) sandboxes: Option<Count>,
    pub(super) cold_starts: Option<Count>,
    pub(super) timeouts: Option<Count>,
    /// Batches of telemetry that an extension did not get.
    pub(super) undelivered: Option<Count>,
}

/// How many: a number, or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a number, or { min = N, max = N }")]
pub(super) enum Count {
    Exactly(u64),
    Between(Range),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    #[serde(default)]
    pub(super) min: u64,
    pub(super) max: Option<u64>,
}

impl Default for Count {
    /// At least one.
    fn default() -> Self {
        Self::Between(Range { min: 1, max: None })
    }
}

impl Count {
    pub(super) fn holds(self, found: u64) -> bool {
        match self {
            Self::Exactly(wanted) => found == wanted,
            Self::Between(Range { min, max }) => found >= min && max.is_none_or(|max| found <= max),
        }
    }

    /// More may still come without harm.
    pub(super) fn has_too_many(self, found: u64) -> bool {
        match self {
            Self::Exactly(wanted) => found > wanted,
            Self::Between(Range { max, .. }) => max.is_some_and(|max| found > max),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(n) => n.fmt(f),
            Self::Between(Range { min, max: None }) => write!(f, "at least {min}"),
            Self::Between(Range { min, max: Some(max) }) => write!(f, "{min} to {max}"),
        }
    }
}

/// Text in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "text, a number, true or false")]
        enum Given {
            Text(String),
            Flag(bool),
            Whole(i64),
            Number(f64),
        }
        Ok(Self(match Given::deserialize(from)? {
            Given::Text(text) => text,
            Given::Flag(flag) => flag.to_string(),
            Given::Whole(number) => number.to_string(),
            Given::Number(number) => number.to_string(),
        }))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Pattern {
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(mut left) = text.strip_prefix(head) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            // The first place is as good as any later one.
            let Some((_, behind)) = left.split_once(part) else { return false };
            left = behind;
        }
        left.ends_with(last)
    }
}

impl Expect {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for span in &self.spans {
            if span.name.is_some() == span.path.is_some() {
                bail!("[[expect.spans]]: give either name or path");
            }
            if span.path.is_some() && span.parent.is_some() {
                bail!("[[expect.spans]]: a path says already what is above, so parent cannot be given");
            }
        }
        Ok(())
    }
}

impl AnswerExpectation {
    pub(super) fn is_given(&self) -> bool {
        self.status.is_some() || self.answer.is_some() || self.error.is_some() || self.message.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Pattern, Range};

    #[test]
    fn a_star_is_any_text() {
        let check = |pattern: &str, text: &str, want: bool| {
            assert_eq!(Pattern::from(pattern).matches(text), want, "{pattern} {text}");
        };
        check("a", "a", true);
        check("a", "ab", false);
        check("a*", "ab", true);
        check("*b", "ab", true);
        check("a*a", "a", false);
        check("a*b*c", "aXbYc", true);
        check("a*b*c", "aXcYb", false);
        check("*order*", "an order came", true);
        check("*", "", true);
        check("", "", true);
        check("ab*ba", "aba", false);
        check("*aa*a", "aaa", true);
    }

    #[test]
    fn counts_are_numbers_or_ranges() {
        let range = |min, max| Count::Between(Range { min, max });
        let check = |count: Count, found, holds, too_many| {
            assert_eq!((count.holds(found), count.has_too_many(found)), (holds, too_many), "{count} {found}");
        };
        check(Count::default(), 0, false, false);
        check(Count::default(), 5, true, false);
        check(Count::Exactly(2), 3, false, true);
        check(Count::Exactly(2), 1, false, false);
        check(range(1, Some(2)), 2, true, false);
        check(range(1, Some(2)), 3, false, true);
        assert_eq!(range(1, Some(2)).to_string(), "1 to 2");
    }
}
