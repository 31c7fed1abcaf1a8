//! What the settings say of traces: which are left out, and what is replaced in their spans. Called by the
//! trace stage. What is done to every span whatever the settings is in `normalise`.
//!
//! Regular expressions are compiled when the first trace comes: not before the sandbox is ready, and not
//! for each trace.

use model::{Attribute, Span, Text};
use regex_lite::Regex;

use crate::obfuscate::{self, Obfuscation};

/// Stands for what must not be seen.
const HIDDEN: &str = "?";

/// The rules as set. The expressions are text; of those that cannot be compiled see [`TraceRules::unusable`].
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

/// Replaces what an expression finds. With one that cannot be compiled, all of the text is hidden: what the
/// rule was to find in it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaceRule {
    /// A tag, `resource.name`, or `*` for all tags and the resource.
    pub name: Text,
    pub pattern: Text,
    /// `$1` and `${1}` are what groups found.
    pub with: Text,
}

impl TraceRules {
    /// The expressions that cannot be compiled, each with why. Takes its time: not for the start. Those of `replace`
    /// hide all that they were to search, others have no effect.
    pub fn unusable(&self) -> Vec<Unusable> {
        let of_tags = self.require.iter().chain(&self.reject).filter_map(|rule| match &rule.value {
            TagValue::Matches(pattern) => Some(pattern),
            _ => None,
        });
        let filters = of_tags.chain(&self.ignore_resources).map(|pattern| (pattern, None));
        let all = filters.chain(self.replace.iter().map(|rule| (&rule.pattern, Some(&rule.name))));
        let unusable = |(pattern, hidden): (&Text, Option<&Text>)| {
            let why = Regex::new(pattern).err()?.to_string();
            Some(Unusable { pattern: pattern.clone(), hidden: hidden.cloned(), why })
        };
        all.filter_map(unusable).collect()
    }
}

/// An expression that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    pub pattern: Text,
    /// The name of the replace rule that hides all instead.
    pub hidden: Option<Text>,
    pub why: String,
}

/// The rules, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    require: Vec<(Text, Test)>,
    reject: Vec<(Text, Test)>,
    ignore: Vec<Regex>,
    replace: Vec<Replace>,
    obfuscation: Obfuscation,
}

#[derive(Clone, Debug)]
struct Replace {
    name: Text,
    /// `None`: it cannot be searched.
    pattern: Option<Regex>,
    with: Text,
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
        let replace = |rule: &ReplaceRule| Replace {
            name: rule.name.clone(),
            pattern: Regex::new(&rule.pattern).ok(),
            with: rule.with.clone(),
        };
        Self {
            require: tests(&rules.require),
            reject: tests(&rules.reject),
            ignore: rules.ignore_resources.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect(),
            replace: rules.replace.iter().map(replace).collect(),
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
        self.replace.iter().for_each(|rule| rule.rewrite(span));
    }
}

impl Replace {
    fn rewrite(&self, span: &mut Span) {
        let all = self.name == "*";
        let swap = |text: &mut Text| {
            if let Some(swapped) = self.swapped(text) {
                *text = swapped.into();
            }
        };
        if all || self.name == "resource.name" {
            swap(&mut span.resource);
        }
        // Names that begin so are Datadog's own.
        let is_meant = |key: &Text| if all { !key.starts_with('_') } else { *key == self.name };
        let links = span.links.iter_mut().flat_map(|link| link.attributes.iter_mut());
        for (_, value) in span.meta.iter_mut().chain(links).filter(|(key, _)| is_meant(key)) {
            swap(value);
        }
        let events = span.events.iter_mut().flat_map(|event| event.attributes.iter_mut());
        for (_, value) in events.filter(|(key, _)| is_meant(key)) {
            swap_in(value, &swap);
        }
        let numbers = span.metrics.iter().filter(|(key, _)| is_meant(key));
        let swapped: Vec<(Text, String)> = numbers
            .filter_map(|(key, number)| Some((key.clone(), self.swapped(&number.to_string())?)))
            .collect();
        for (key, text) in swapped {
            span.metrics.remove(&key);
            match text.parse::<f64>().ok().filter(|number| number.is_finite()) {
                Some(number) => span.metrics.insert(key, number),
                None => span.meta.insert(key, text),
            }
        }
    }

    /// What becomes of a text; `None`: it stays.
    fn swapped(&self, text: &str) -> Option<String> {
        let Some(pattern) = &self.pattern else { return Some(HIDDEN.to_owned()) };
        pattern.is_match(text).then(|| pattern.replace_all(text, self.with.as_ref()).into_owned())
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
    use model::{SpanEvent, SpanId, SpanLink, Tags, TraceId, UnixNanos};

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
        check(&[("nothing", ".*", "x")], &format!("GET /health {rest}"));
        check(
            &[("url", "token=([^&]*)", "token=?"), ("url", "http", "https")],
            "GET /health env=prod url=https://x/?token=?&token=? _dd.p.tid=abc token=?",
        );
        check(
            &[("*", "a|e", "_${0}_")],
            "GET /h_e__a_lth env=prod url=http://x/?tok_e_n=_a_bc&tok_e_n=d_e_f _dd.p.tid=abc tok_e_n=xyz",
        );
    }

    fn replaced(rules: &[(&'static str, &'static str, &'static str)]) -> Span {
        let rule = |(name, pattern, with): &(&'static str, &'static str, &'static str)| ReplaceRule {
            name: (*name).into(),
            pattern: (*pattern).into(),
            with: (*with).into(),
        };
        let rules = TraceRules { replace: rules.iter().map(rule).collect(), ..TraceRules::default() };
        let mut span = span();
        Rules::compile(&rules).rewrite(&mut span);
        span
    }

    /// What is to be hidden may be a number, which tracers send as one.
    #[test]
    fn numbers_are_replaced_too() {
        let check = |rule: (&'static str, &'static str, &'static str), want: (Option<f64>, Option<&str>)| {
            let span = replaced(&[rule]);
            let got = (span.metrics.get("port").copied(), span.meta.get("port").map(ToString::to_string));
            assert_eq!(got, (want.0, want.1.map(str::to_owned)), "{rule:?}");
        };
        check(("port", "8", "9"), (Some(90.0), None));
        check(("port", ".*", "?"), (None, Some("?")));
        check(("*", "80", "http"), (None, Some("http")));
        check(("*", "81", "x"), (Some(80.0), None));
        check(("other", "80", "x"), (Some(80.0), None));
        check(("resource.name", "80", "x"), (Some(80.0), None));
        check(("port", "80", "inf"), (None, Some("inf")));
        // Later rules see what earlier ones made.
        let span = replaced(&[("port", "80", "http"), ("*", "http", "web")]);
        assert_eq!(span.meta.get("port").map(AsRef::as_ref), Some("web"));
    }

    #[test]
    fn what_hangs_on_a_span_is_replaced_too() {
        for name in ["url", "*"] {
            let rule = ReplaceRule { name: name.into(), pattern: "xyz|7".into(), with: "?".into() };
            let rules = TraceRules { replace: vec![rule], ..TraceRules::default() };
            let mut span = span();
            let attributes = [("url", "token=xyz"), ("_own", "xyz")].into_iter().collect();
            span.links = vec![SpanLink {
                trace_id: None,
                span_id: None,
                attributes,
                tracestate: Text::default(),
                flags: 0,
            }];
            let numbers = Attribute::List(vec![Attribute::Int(7), Attribute::Int(8)]);
            span.events[0].attributes.insert("url", numbers);
            Rules::compile(&rules).rewrite(&mut span);
            let link = &span.links[0].attributes;
            assert_eq!(link.get("url").map(AsRef::as_ref), Some("token=?"), "{name}");
            assert_eq!(link.get("_own").map(AsRef::as_ref), Some("xyz"), "{name}");
            let told = Attribute::List(vec![Attribute::Text("?".into()), Attribute::Int(8)]);
            assert_eq!(span.events[0].attributes.get("url"), Some(&told), "{name}");
        }
    }

    /// The name of a span's operation is what dashboards and statistics go by, and no data.
    #[test]
    fn the_name_of_an_operation_stays() {
        let mut span = replaced(&[("*", ".+", "?"), ("name", ".+", "?"), ("service", ".+", "?")]);
        assert_eq!((&*span.name, &*span.service, &*span.resource), ("web", "shop", "?"));
        let all = span.meta.iter_mut().map(|(key, value)| format!("{key}={value}"));
        assert_eq!(all.collect::<Vec<_>>(), ["env=?", "url=?", "_dd.p.tid=abc", "port=?"]);
    }

    /// What the rule was to find is not known, so nothing of it may be seen.
    #[test]
    fn what_cannot_be_searched_is_hidden_whole() {
        let span = replaced(&[("url", "token=(", "?"), ("port", "[", "?")]);
        let tag = |key: &str| span.meta.get(key).map(AsRef::as_ref);
        assert_eq!((tag("url"), tag("port"), tag("env")), (Some("?"), Some("?"), Some("prod")));
        assert_eq!(span.metrics.get("port"), None);
        assert_eq!(span.events[0].attributes.get("url").unwrap().to_string(), "?");
        assert_eq!(span.resource, "GET /health");
    }

    #[test]
    fn unusable_expressions_are_named() {
        let rules = TraceRules {
            ignore_resources: vec!["ok".into(), "(".into()],
            reject: vec![tag("a", TagValue::Matches("[".into()))],
            replace: vec![ReplaceRule { name: "url".into(), pattern: "+".into(), with: "".into() }],
            ..TraceRules::default()
        };
        let told = rules.unusable();
        let names: Vec<_> = told.iter().map(|one| (&*one.pattern, one.hidden.as_deref())).collect();
        assert_eq!(names, [("[", None), ("(", None), ("+", Some("url"))]);
    }
}
