//! What the settings say of log lines: which are left out, and what is masked in them. Called by the log stage.
//!
//! Regular expressions are compiled when the first line comes: not before the sandbox is ready, and not for each
//! line.

use model::Text;
use regex_lite::Regex;

/// The rules as set, in order. The expressions are text; for what becomes of one that cannot be compiled see
/// [`LogRules::unusable`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LogRules {
    pub rules: Vec<LogRule>,
    /// A rule that was to mask something could not be read: no line may leave.
    pub blocked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRule {
    /// For messages about it.
    pub name: Text,
    pub kind: LogRuleKind,
    pub pattern: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRuleKind {
    /// A line that matches is left out.
    Exclude,
    /// A line that does not match is left out.
    Include,
    /// What matches is replaced; `$1` and `${1}` are what groups found.
    Mask(Text),
}

impl LogRules {
    /// The rules whose expressions cannot be compiled, each with why. A masking one of them blocks all lines; the
    /// others have no effect. Takes its time: not for the start.
    pub fn unusable(&self) -> Vec<(&LogRule, String)> {
        let failed = |rule: &LogRule| Regex::new(&rule.pattern).err().map(|why| why.to_string());
        self.rules.iter().filter_map(|rule| Some((rule, failed(rule)?))).collect()
    }
}

impl LogRule {
    pub fn is_mask(&self) -> bool {
        matches!(self.kind, LogRuleKind::Mask(_))
    }
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    /// As the rules say.
    LeftOut,
    /// It may hold what a rule was to mask that cannot be used.
    Withheld,
}

/// The rules, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    rules: Vec<(LogRuleKind, Regex)>,
    blocked: bool,
}

impl Rules {
    pub(crate) fn compile(set: &LogRules) -> Self {
        let mut compiled = Self { rules: Vec::new(), blocked: set.blocked };
        for rule in &set.rules {
            match Regex::new(&rule.pattern) {
                Ok(regex) => compiled.rules.push((rule.kind.clone(), regex)),
                Err(_) => compiled.blocked |= rule.is_mask(),
            }
        }
        compiled
    }

    /// Masks a line, and says what becomes of it. What one rule leaves out, later ones do not see.
    pub(crate) fn apply(&self, message: &mut String) -> Fate {
        if self.blocked {
            return Fate::Withheld;
        }
        for (kind, regex) in &self.rules {
            let is_match = regex.is_match(message);
            match kind {
                LogRuleKind::Exclude if is_match => return Fate::LeftOut,
                LogRuleKind::Include if !is_match => return Fate::LeftOut,
                LogRuleKind::Mask(with) if is_match => {
                    *message = regex.replace_all(message, with.as_ref()).into_owned();
                }
                LogRuleKind::Exclude | LogRuleKind::Include | LogRuleKind::Mask(_) => {}
            }
        }
        Fate::Sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(all: &[(LogRuleKind, &'static str)]) -> LogRules {
        let rule = |(kind, pattern): &(LogRuleKind, &'static str)| LogRule {
            name: "r".into(),
            kind: kind.clone(),
            pattern: (*pattern).into(),
        };
        LogRules { rules: all.iter().map(rule).collect(), blocked: false }
    }

    #[test]
    fn lines() {
        let check = |all: &[(LogRuleKind, &'static str)], line: &str, want: Option<&str>| {
            let mut message = line.to_owned();
            let fate = Rules::compile(&rules(all)).apply(&mut message);
            assert_eq!((fate == Fate::Sent).then_some(message.as_str()), want, "{all:?} {line}");
        };
        let (exclude, include) = (LogRuleKind::Exclude, LogRuleKind::Include);
        let mask = |with: &'static str| LogRuleKind::Mask(with.into());
        check(&[], "a", Some("a"));
        check(&[(exclude.clone(), "^START")], "START RequestId", None);
        check(&[(exclude.clone(), "^START")], "no START", Some("no START"));
        check(&[(include.clone(), "ERROR|WARN")], "an ERROR", Some("an ERROR"));
        check(&[(include.clone(), "ERROR|WARN")], "fine", None);
        check(&[(mask("$1=***"), r"(token|key)=\w+")], "token=abc key=1", Some("token=*** key=***"));
        // In order: what is masked is not seen by what comes behind it.
        check(&[(mask("x"), "secret"), (exclude.clone(), "secret")], "a secret", Some("a x"));
        check(&[(exclude.clone(), "secret"), (mask("x"), "secret")], "a secret", None);
        check(&[(exclude.clone(), "("), (include, "["), (exclude, "b")], "a", Some("a"));
        check(&[(mask("x"), "(")], "a", None);
        check(&[(mask("x"), "a"), (mask("x"), r"(?=b)")], "a", None);
    }

    #[test]
    fn rules_that_cannot_be_used_are_named() {
        let all =
            [(LogRuleKind::Exclude, "("), (LogRuleKind::Exclude, "a"), (LogRuleKind::Mask("".into()), "[")];
        let rules = rules(&all);
        let unusable: Vec<_> =
            rules.unusable().iter().map(|(rule, _)| (&*rule.pattern, rule.is_mask())).collect();
        assert_eq!(unusable, [("(", false), ("[", true)]);
    }
}
