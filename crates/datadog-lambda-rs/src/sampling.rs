//! Which traces are kept, of those that begin here: what a caller has decided stays.
//!
//! Rules and rate are those of Datadog's tracers, and so is the arithmetic: all of them keep the same traces
//! at the same rate. <https://docs.datadoghq.com/tracing/trace_pipeline/ingestion_mechanisms/>

use std::sync::Mutex;
use std::time::Instant;

use model::keys::trace;
use model::{SamplingPriority, Span, TraceId};
use propagation::TraceContext;

use crate::agent::lock;

/// Traces per second that rules may keep, when nothing is set.
pub(crate) const DEFAULT_LIMIT: f64 = 100.0;

/// Knuth's factor, by which tracers spread trace ids.
const FACTOR: u64 = 1_111_111_111_111_111_111;

/// The decision of a rule or rate that a user has set in the function.
const BY_RULE: &str = "-3";

/// One rule of `DD_TRACE_SAMPLING_RULES`. Patterns know `*` and `?`; those that are absent fit all.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub(crate) struct Rule {
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, String>,
    sample_rate: f64,
}

impl Rule {
    /// The rule that fits every trace.
    pub(crate) fn all(rate: f64) -> Self {
        Self { service: None, name: None, resource: None, tags: Default::default(), sample_rate: rate }
    }

    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let rules: Vec<Self> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match rules.iter().find(|rule| !(0.0..=1.0).contains(&rule.sample_rate)) {
            Some(rule) => Err(format!("a rate of {} is not between 0 and 1", rule.sample_rate)),
            None => Ok(rules),
        }
    }

    fn fits(&self, span: &Span) -> bool {
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|p| glob(p, text));
        let tag =
            |(key, pattern): (&String, &String)| span.meta.get(key).is_some_and(|tag| glob(pattern, tag));
        fits(&self.service, &span.service)
            && fits(&self.name, &span.name)
            && fits(&self.resource, &span.resource)
            && self.tags.iter().all(tag)
    }
}

/// The rules in force, and how much of the limit is used.
#[derive(Debug)]
pub(crate) struct Sampler {
    rules: Vec<Rule>,
    limit: f64,
    bucket: Mutex<Bucket>,
}

/// Fills by the limit each second. A second's worth of it is there at once.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
    asked: f64,
    kept: f64,
}

/// How a trace came to be kept or not, for its first span.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Decision {
    rule_rate: Option<f64>,
    limit_rate: Option<f64>,
}

impl Sampler {
    pub(crate) fn new(rules: Vec<Rule>, limit: f64) -> Self {
        let bucket = Bucket { tokens: limit.max(0.0), filled: None, asked: 0.0, kept: 0.0 };
        Self { rules, limit: limit.max(0.0), bucket: Mutex::new(bucket) }
    }

    /// Decides about the trace of a context, unless somebody has. `spans` are those that begin it here; a rule
    /// that fits one of them holds.
    pub(crate) fn decide(&self, context: &mut TraceContext, spans: &[&Span]) -> Decision {
        if context.priority.is_some() {
            return Decision::default();
        }
        let Some(rule) = self.rules.iter().find(|rule| spans.iter().any(|span| rule.fits(span))) else {
            context.priority = Some(SamplingPriority::AutoKeep);
            return Decision::default();
        };
        let mut decision = Decision { rule_rate: Some(rule.sample_rate), limit_rate: None };
        let mut keep = is_kept(context.trace_id, rule.sample_rate);
        if keep {
            let (admitted, rate) = self.admit(Instant::now());
            keep = admitted;
            decision.limit_rate = Some(rate);
        }
        context.priority = Some(if keep { SamplingPriority::UserKeep } else { SamplingPriority::UserReject });
        if keep {
            context.tags.insert(trace::DECISION_MAKER, BY_RULE);
        }
        decision
    }

    /// Whether one more trace is within the limit, and the share that was of late.
    fn admit(&self, now: Instant) -> (bool, f64) {
        let mut bucket = lock(&self.bucket);
        let since = bucket.filled.map_or(0.0, |filled| now.saturating_duration_since(filled).as_secs_f64());
        if since >= 1.0 {
            (bucket.asked, bucket.kept) = (0.0, 0.0);
        }
        bucket.tokens = self.limit.min(bucket.tokens + since * self.limit);
        bucket.filled = Some(now);
        bucket.asked += 1.0;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
            bucket.kept += 1.0;
        }
        (admitted, bucket.kept / bucket.asked)
    }
}

impl Decision {
    pub(crate) fn tell(self, first: &mut Span) {
        let told = [(trace::RULE_RATE, self.rule_rate), (trace::LIMIT_RATE, self.limit_rate)];
        for (key, rate) in told {
            if let Some(rate) = rate {
                first.metrics.insert(key, rate);
            }
        }
    }
}

fn is_kept(trace_id: TraceId, rate: f64) -> bool {
    // A float of 2^64 is that: the cast saturates, and so 1.0 keeps every id.
    rate >= 1.0 || trace_id.low().wrapping_mul(FACTOR) < (rate * 18_446_744_073_709_551_616.0) as u64
}

/// `*` is any text, `?` any character; in any case.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    // Where the last star was, and where what it stands for ends: moved on when what follows does not fit.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, end)) = star else { return false };
                star = Some((at, end + 1));
                p = at + 1;
                t = end + 1;
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::SpanId;

    use super::*;

    fn id(low: u64) -> TraceId {
        TraceId::new(0, low).unwrap()
    }

    fn span() -> Span {
        let mut span = Span::new("aws.lambda", id(1), SpanId::new(2).unwrap(), None);
        span.service = "orders".into();
        span.resource = "orders-api".into();
        span.meta.insert("env", "dev");
        span
    }

    fn decide(rules: &str, limit: f64, low: u64) -> (Option<SamplingPriority>, Option<String>, Decision) {
        let sampler = Sampler::new(Rule::parse_list(rules).unwrap(), limit);
        let mut context = TraceContext::new(id(low), None);
        let decision = sampler.decide(&mut context, &[&span()]);
        (context.priority, context.tags.get(trace::DECISION_MAKER).map(ToString::to_string), decision)
    }

    #[test]
    fn rules_decide() {
        let check = |rules: &str, expect: SamplingPriority, by: Option<&str>| {
            let (priority, maker, _) = decide(rules, 100.0, 5);
            assert_eq!((priority, maker.as_deref()), (Some(expect), by), "{rules}");
        };
        use SamplingPriority::{AutoKeep, UserKeep, UserReject};
        check("[]", AutoKeep, None);
        check(r#"[{"sample_rate":1}]"#, UserKeep, Some("-3"));
        check(r#"[{"sample_rate":0}]"#, UserReject, None);
        check(r#"[{"service":"ORD*","sample_rate":0},{"sample_rate":1}]"#, UserReject, None);
        check(r#"[{"service":"other","sample_rate":0},{"sample_rate":1}]"#, UserKeep, Some("-3"));
        check(
            r#"[{"name":"aws.l?mbda","resource":"*-api","tags":{"env":"d*"},"sample_rate":0}]"#,
            UserReject,
            None,
        );
        check(r#"[{"tags":{"env":"prod"},"sample_rate":0}]"#, AutoKeep, None);
        check(r#"[{"tags":{"none":"*"},"sample_rate":0}]"#, AutoKeep, None);
    }

    #[test]
    fn rules_that_are_none() {
        for bad in
            ["", "{}", "[1]", r#"[{"service":"a"}]"#, r#"[{"sample_rate":2}]"#, r#"[{"sample_rate":-1}]"#]
        {
            assert!(Rule::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_caller_decided_stays() {
        let sampler = Sampler::new(vec![Rule::all(0.0)], 100.0);
        let mut context = TraceContext::new(id(5), None);
        context.priority = Some(SamplingPriority::AutoKeep);
        assert_eq!(sampler.decide(&mut context, &[&span()]), Decision::default());
        assert_eq!(context.priority, Some(SamplingPriority::AutoKeep));
    }

    /// The same ids as other tracers keep, and their share.
    #[test]
    fn a_rate_is_kept_to() {
        let kept = (1..=100_000u64).filter(|n| is_kept(id(*n), 0.25)).count();
        assert!((24_500..25_500).contains(&kept), "{kept}");
        for low in [1, 10, 100, u64::MAX] {
            assert!(is_kept(id(low), 1.0) && !is_kept(id(low), 0.0), "{low}");
        }
        // 1 * 1111111111111111111 is 6.02% of 2^64, 10 of them 60.2%.
        assert!(is_kept(id(1), 0.061) && !is_kept(id(1), 0.060));
        assert!(is_kept(id(10), 0.603) && !is_kept(id(10), 0.602));
    }

    #[test]
    fn a_limit_is_kept_to() {
        let sampler = Sampler::new(vec![Rule::all(1.0)], 2.0);
        let now = Instant::now();
        let kept: Vec<_> = (0..4).map(|_| sampler.admit(now)).collect();
        assert_eq!(kept, [(true, 1.0), (true, 1.0), (false, 2.0 / 3.0), (false, 0.5)]);
        assert!(sampler.admit(now + Duration::from_millis(600)).0);
        assert!(!sampler.admit(now + Duration::from_millis(601)).0);
        assert_eq!(sampler.admit(now + Duration::from_secs(5)), (true, 1.0));
    }

    #[test]
    fn globs() {
        let check = |pattern, text, expect| assert_eq!(glob(pattern, text), expect, "{pattern} {text}");
        for (pattern, text) in
            [("", ""), ("*", ""), ("**", "ab"), ("a*c", "abbc"), ("a*b*c", "aXbYbc"), ("?", "ä"), ("A", "a")]
        {
            check(pattern, text, true);
        }
        for (pattern, text) in
            [("", "a"), ("a", ""), ("?", ""), ("a*c", "abb"), ("a?", "a"), ("a*b*c", "acb")]
        {
            check(pattern, text, false);
        }
    }
}
