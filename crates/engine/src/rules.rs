//! What the settings say of traces: which are left out, and what is replaced in their spans. Called by the
//! trace stage. What is done to every span whatever the settings is in `normalise`.
//!
//! Regular expressions are compiled when the first trace comes: not before the sandbox is ready, and not
//! for each trace.

use model::{Attribute, Span, Text};
use regex_lite::Regex;

use crate::obfuscate::{self, Obfuscation};

/// The rules as set. The expressions are text; one that cannot be compiled has no effect, see
/// [`TraceRules::unusable`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TraceRules {
    /// A trace is kept when its root span has all of these.
    pub require: Vec<TagRule>,
    /// A trace is left out when its root span has any of these.
    pub reject: Vec<TagRule>,
    /// A trace is left out when any of these expressions is found in the resource of its root span.
    pub ignore_resources: Vec<Text>,
    /// In order, each on what the one before it made.
    pub replace: Vec<ReplaceRule>,
    /// Comes before what is replaced.
    pub obfuscation: Obfuscation,
}

/// A tag, or a tag with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRule {
    pub key: Text,
    pub value: TagValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagValue {
    Any,
    Is(Text),
    /// An expression that is found in the value.
    Matches(Text),
}

/// Replaces what an expression finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRule {
    /// A tag, `resource.name`, or `*` for all tags and the resource.
    pub name: Text,
    pub pattern: Text,
    /// `$1` and `${1}` are what groups found.
    pub with: Text,
}

impl TraceRules {
    /// The expressions that cannot be compiled, each with why. Takes its time: not for the start.
    pub fn unusable(&self) -> Vec<(Text, String)> {
        let of_tags = self.require.iter().chain(&self.reject).filter_map(|rule| match &rule.value {
            TagValue::Matches(pattern) => Some(pattern),
            _ => None,
        });
        let all = of_tags.chain(&self.ignore_resources).chain(self.replace.iter().map(|rule| &rule.pattern));
        all.filter_map(|pattern| Some((pattern.clone(), Regex::new(pattern).err()?.to_string()))).collect()
    }
}

/// The rules, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    require: Vec<(Text, Test)>,
    reject: Vec<(Text, Test)>,
    ignore: Vec<Regex>,
    replace: Vec<(Text, Regex, Text)>,
    obfuscation: Obfuscation,
}

#[derive(Clone, Debug)]
enum Test {
    Any,
    Is(Text),
    Matches(Regex),
}

impl Rules {
    pub(crate) fn compile(rules: &TraceRules) -> Self {
        fn tests(rules: &[TagRule]) -> Vec<(Text, Test)> {
            let test = |rule: &TagRule| {
                let test = match &rule.value {
                    TagValue::Any => Test::Any,
                    TagValue::Is(value) => Test::Is(value.clone()),
                    TagValue::Matches(pattern) => Test::Matches(Regex::new(pattern).ok()?),
                };
                Some((rule.key.clone(), test))
            };
            rules.iter().filter_map(test).collect()
        }
        let replace = |rule: &ReplaceRule| {
            Some((rule.name.clone(), Regex::new(&rule.pattern).ok()?, rule.with.clone()))
        };
        Self {
            require: tests(&rules.require),
            reject: tests(&rules.reject),
            ignore: rules.ignore_resources.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect(),
            replace: rules.replace.iter().filter_map(replace).collect(),
            obfuscation: rules.obfuscation.clone(),
        }
    }

    /// Whether a trace with this root is kept.
    pub(crate) fn keep(&self, root: &Span) -> bool {
        self.require.iter().all(|(key, test)| test.holds(root, key))
            && !self.reject.iter().any(|(key, test)| test.holds(root, key))
            && !self.ignore.iter().any(|regex| regex.is_match(&root.resource))
    }

    /// Obfuscates and replaces in one span, what hangs on it included.
    pub(crate) fn rewrite(&self, span: &mut Span) {
        obfuscate::span(span, &self.obfuscation);
        for (name, regex, with) in &self.replace {
            let all = name == "*";
            let swap = |text: &mut Text| {
                if regex.is_match(text) {
                    *text = regex.replace_all(text, with.as_ref()).into_owned().into();
                }
            };
            if all || name == "resource.name" {
                swap(&mut span.resource);
            }
            // Names that begin so are Datadog's own.
            let is_meant = |key: &Text| if all { !key.starts_with('_') } else { key == name };
            let links = span.links.iter_mut().flat_map(|link| link.attributes.iter_mut());
            for (_, value) in span.meta.iter_mut().chain(links).filter(|(key, _)| is_meant(key)) {
                swap(value);
            }
            let events = span.events.iter_mut().flat_map(|event| event.attributes.iter_mut());
            for (_, value) in events.filter(|(key, _)| is_meant(key)) {
                swap_in(value, &swap);
            }
        }
    }
}

/// A number that an expression finds something in may be what was to be hidden: what it becomes is text.
fn swap_in(value: &mut Attribute, swap: &impl Fn(&mut Text)) {
    match value {
        Attribute::Text(text) => swap(text),
        Attribute::List(all) => all.iter_mut().for_each(|one| swap_in(one, swap)),
        Attribute::Bool(_) | Attribute::Int(_) | Attribute::Double(_) => {
            let mut text = Text::from(value.to_string());
            swap(&mut text);
            if *text != value.to_string() {
                *value = Attribute::Text(text);
            }
        }
    }
}

impl Test {
    fn holds(&self, span: &Span, key: &str) -> bool {
        let field = match key {
            "name" => &span.name,
            "service" => &span.service,
            "resource" => &span.resource,
            "type" => &span.kind,
            _ => "",
        };
        let Some(value) = span.meta.get(key).map(Text::as_ref).or((!field.is_empty()).then_some(field))
        else {
            return matches!(self, Self::Any) && span.metrics.contains(key);
        };
        match self {
            Self::Any => true,
            Self::Is(wanted) => value == wanted,
            Self::Matches(regex) => regex.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{SpanEvent, SpanId, Tags, TraceId, UnixNanos};

    use super::*;

    fn span() -> Span {
        let mut span = Span::new("web", TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap(), None);
        (span.service, span.resource) = ("shop".into(), "GET /health".into());
        span.meta.insert("env", "prod");
        span.meta.insert("url", "http://x/?token=abc&token=def");
        span.meta.insert("_dd.p.tid", "abc");
        span.metrics.insert("port", 80.0);
        let attributes: Tags<Attribute> = [("url", "token=xyz")].into_iter().collect();
        span.events = vec![SpanEvent { time: UnixNanos(0), name: "e".into(), attributes }];
        span
    }

    fn tag(key: &'static str, value: TagValue) -> TagRule {
        TagRule { key: key.into(), value }
    }

    #[test]
    fn filters() {
        let check = |require: Vec<TagRule>, reject: Vec<TagRule>, ignore: &[&'static str], want: bool| {
            let ignore_resources = ignore.iter().map(|pattern| Text::Borrowed(pattern)).collect();
            let rules = TraceRules { require, reject, ignore_resources, ..TraceRules::default() };
            assert_eq!(Rules::compile(&rules).keep(&span()), want, "{rules:?}");
        };
        let is = |key, value: &'static str| tag(key, TagValue::Is(value.into()));
        let matches = |key, value: &'static str| tag(key, TagValue::Matches(value.into()));
        let any = |key| tag(key, TagValue::Any);
        check(vec![], vec![], &[], true);
        check(vec![is("env", "prod"), any("url")], vec![], &[], true);
        check(vec![is("env", "prod"), any("nothing")], vec![], &[], false);
        check(vec![is("env", "test")], vec![], &[], false);
        check(vec![matches("env", "^pr")], vec![], &[], true);
        check(vec![matches("env", "^od")], vec![], &[], false);
        check(vec![any("port"), is("service", "shop"), is("name", "web")], vec![], &[], true);
        check(vec![], vec![is("env", "test"), is("env", "prod")], &[], false);
        check(vec![], vec![matches("resource", "health$")], &[], false);
        check(vec![], vec![any("type")], &[], true);
        check(vec![], vec![], &["^POST", "^GET /he.*"], false);
        check(vec![], vec![], &["^POST"], true);
        // What cannot be compiled has no effect.
        check(vec![matches("env", "(")], vec![matches("env", "(")], &["("], true);
    }

    #[test]
    fn replacements() {
        let check = |rules: &[(&'static str, &'static str, &'static str)], want: &str| {
            let rule = |(name, pattern, with): &(&'static str, &'static str, &'static str)| ReplaceRule {
                name: (*name).into(),
                pattern: (*pattern).into(),
                with: (*with).into(),
            };
            let rules = TraceRules { replace: rules.iter().map(rule).collect(), ..TraceRules::default() };
            let mut span = span();
            Rules::compile(&rules).rewrite(&mut span);
            let meta: Vec<_> = span.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let event = span.events[0].attributes.get("url").unwrap();
            assert_eq!(format!("{} {} {event}", span.resource, meta.join(" ")), want);
        };
        let rest = "env=prod url=http://x/?token=abc&token=def _dd.p.tid=abc token=xyz";
        check(&[], &format!("GET /health {rest}"));
        check(&[("resource.name", "^([A-Z]+) .*", "$1 ?")], &format!("GET ? {rest}"));
        check(&[("nothing", ".*", "x"), ("env", "(", "x")], &format!("GET /health {rest}"));
        check(
            &[("url", "token=([^&]*)", "token=?"), ("url", "http", "https")],
            "GET /health env=prod url=https://x/?token=?&token=? _dd.p.tid=abc token=?",
        );
        check(
            &[("*", "a|e", "_${0}_")],
            "GET /h_e__a_lth env=prod url=http://x/?tok_e_n=_a_bc&tok_e_n=d_e_f _dd.p.tid=abc tok_e_n=xyz",
        );
    }

    #[test]
    fn unusable_expressions_are_named() {
        let rules = TraceRules {
            ignore_resources: vec!["ok".into(), "(".into()],
            reject: vec![tag("a", TagValue::Matches("[".into()))],
            ..TraceRules::default()
        };
        let names: Vec<_> = rules.unusable().into_iter().map(|(pattern, _)| pattern).collect();
        assert_eq!(names, ["[", "("]);
    }
}
