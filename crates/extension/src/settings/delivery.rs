//! The settings of what leaves of logs and metrics, and when. One row each, as in the table of `settings`.

use std::time::Duration;

use engine::{FlushStrategy, LogRule, LogRuleKind, LogRules};
use model::Text;
use serde_json::Value;

use super::{BOOL, Setting, boolean, maybe, set};
use crate::config::{Config, Problem, shorten};

pub(super) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_SERVERLESS_FLUSH_STRATEGY",
        aliases: &[],
        default: "default",
        expects: "one of default, end, end,<ms>, periodically,<ms>, continuously,<ms>",
        doc: "When data leaves. `end`: at the end of every invocation, which waits for it. `end,<ms>`: the same, and so often \
              while one runs. `periodically,<ms>`: at the end of an invocation, but not more often than this, and so often \
              while one runs; what is not due goes with a later one. `continuously,<ms>`: so often while invocations run, \
              and no end waits. `default`: as `end` while invocations are rare; when they come within seconds, ends \
              wait for less and then for nothing, and data goes about every 10 seconds while they run. Whatever is \
              held goes when the sandbox ends.",
        secret: false,
        read: |config, value| set(&mut config.flush_strategy, strategy(value)),
    },
    Setting {
        key: "DD_LAMBDA_EXTENSION_MEMORY",
        aliases: &[],
        default: "64",
        expects: "a number of megabytes, 32 to 1024",
        doc: "Megabytes that the extension may take. What comes when they are full waits a moment, then it is turned away; \
              what cannot be sent pushes out the oldest. Both are counted in `datadog.serverless.extension.dropped`.",
        secret: false,
        read: |config, value| {
            let megabytes = value.parse::<usize>().ok().filter(|mb| (32..=1024).contains(mb));
            set(&mut config.memory_limit, megabytes.map(|mb| mb << 20))
        },
    },
    Setting {
        key: "DD_LAMBDA_CONNECT_TIMEOUT",
        aliases: &[],
        default: "1",
        expects: "a number of seconds, above 0 to 60",
        doc: "Seconds that connecting to an intake may take, within `DD_FLUSH_TIMEOUT`: what an intake costs that cannot be \
              reached.",
        secret: false,
        read: |config, value| {
            let secs = value.parse().ok().filter(|secs| *secs > 0.0 && *secs <= 60.0);
            set(&mut config.connect_timeout, secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok()))
        },
    },
    Setting {
        key: "DD_LOGS_CONFIG_PROCESSING_RULES",
        aliases: &[],
        default: "none",
        expects: "a JSON array of rules, each with type, name and pattern",
        doc: "What is done with each log line, in this order: `exclude_at_match` and `include_at_match` leave lines out, \
              `mask_sequences` puts `replace_placeholder` where its `pattern` matches. While a `mask_sequences` rule cannot be \
              used, no log line is sent: it may hold what the rule is there to hide.",
        secret: false,
        read: rules,
    },
    Setting {
        key: "DD_LAMBDA_PLATFORM_LOGS",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether Lambda's own lines are sent with the function's: `INIT_START`, `START`, `END`, `REPORT`.",
        secret: false,
        read: |config, value| set(&mut config.platform_logs, boolean(value)),
    },
    Setting {
        key: "DD_LAMBDA_DURABLE_FUNCTION_LOG_BUFFER_SIZE",
        aliases: &[],
        default: "0",
        expects: "a number of invocations, 0 to 1000",
        doc: "Of so many invocations of a durable function the log lines wait until it is known which execution they are a \
              part of, which they then say. 0: none waits; those that come after it is known say it all the same.",
        secret: false,
        read: |config, value| set(&mut config.durable_hold, value.parse().ok().filter(|held| *held <= 1000)),
    },
    Setting {
        key: "DD_STATSD_METRIC_NAMESPACE",
        aliases: &[],
        default: "none",
        expects: "letters, digits, _ and ., beginning with a letter",
        doc: "What stands before the names of the metrics that come over DogStatsD, with a dot between.",
        secret: false,
        read: |config, value| {
            let name = value.trim_end_matches('.');
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            maybe(&mut config.metric_namespace, is_name.then(|| format!("{name}.")))
        },
    },
    Setting {
        key: "DD_LAMBDA_CUSTOMER_METRICS_EXCLUDE_TAGS",
        aliases: &[],
        default: "none",
        expects: "names of tags, separated by commas",
        doc: "Tags of the function that the metrics that come over DogStatsD do not get. The tags that they come with stay, \
              and so do all tags of `aws.lambda.enhanced.*`.",
        secret: false,
        read: |config, value| set(&mut config.metric_tags.exclude, names(value)),
    },
    Setting {
        key: "DD_LAMBDA_CUSTOMER_METRICS_INCLUDE_TAGS",
        aliases: &[],
        default: "none",
        expects: "names of tags, separated by commas",
        doc: "The only tags of the function that the metrics that come over DogStatsD get, but for the excluded ones: \
              fewer tags are fewer metrics to pay for. Not set: all.",
        secret: false,
        read: |config, value| maybe(&mut config.metric_tags.only, names(value)),
    },
    Setting {
        key: "DD_LAMBDA_TRACES_EXCLUDE_TAGS",
        aliases: &[],
        default: "none",
        expects: "names of tags, separated by commas",
        doc: "Tags of the function that spans do not get. Datadog finds the function of a span by its tags: without \
              `function_arn`, `functionname` or `region` a trace is not shown with it.",
        secret: false,
        read: |config, value| set(&mut config.span_tags.exclude, names(value)),
    },
    Setting {
        key: "DD_LAMBDA_TRACES_INCLUDE_TAGS",
        aliases: &[],
        default: "none",
        expects: "names of tags, separated by commas",
        doc: "The only tags of the function that spans get, but for the excluded ones. Not set: all.",
        secret: false,
        read: |config, value| maybe(&mut config.span_tags.only, names(value)),
    },
    Setting {
        key: "DD_LAMBDA_LOGS_EXCLUDE_TAGS",
        aliases: &[],
        default: "none",
        expects: "names of tags, separated by commas",
        doc: "Tags of the function that log lines do not get.",
        secret: false,
        read: |config, value| set(&mut config.log_tags.exclude, names(value)),
    },
    Setting {
        key: "DD_LAMBDA_LOGS_INCLUDE_TAGS",
        aliases: &[],
        default: "none",
        expects: "names of tags, separated by commas",
        doc: "The only tags of the function that log lines get, but for the excluded ones. Not set: all.",
        secret: false,
        read: |config, value| maybe(&mut config.log_tags.only, names(value)),
    },
    Setting {
        key: "DD_LAMBDA_PROC_ENHANCED_METRICS",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether the kernel is asked at the begin and the end of each invocation for what was used: network, processors, \
              open files, threads, `/tmp`.",
        secret: false,
        read: |config, value| set(&mut config.proc_metrics, boolean(value)),
    },
    Setting {
        key: "DD_DOGSTATSD_SO_RCVBUF",
        aliases: &[],
        default: "4194304",
        expects: "a number of bytes, 4096 to 67108864",
        doc: "Bytes of DogStatsD datagrams that the kernel is asked to keep until they are read. It gives no more than it \
              allows; datagrams that it had no room for are counted in `datadog.serverless.extension.dropped`.",
        secret: false,
        read: |config, value| {
            let bytes = value.parse().ok().filter(|bytes| (4096..=64 << 20).contains(bytes));
            set(&mut config.dogstatsd_buffer, bytes)
        },
    },
    Setting {
        key: "DD_DOGSTATSD_SOCKET",
        aliases: &[],
        default: "none",
        expects: "an absolute path",
        doc: "A Unix datagram socket that takes DogStatsD metrics too.",
        secret: false,
        read: |config, value| {
            maybe(&mut config.dogstatsd_socket, value.starts_with('/').then(|| value.into()))
        },
    },
];

fn strategy(value: &str) -> Option<FlushStrategy> {
    let (name, ms) = match value.split_once(',') {
        Some((name, ms)) => {
            (name.trim(), Some(ms.trim().parse().ok().filter(|ms| (1..=900_000).contains(ms))?))
        }
        None => (value, None),
    };
    Some(match (name.to_ascii_lowercase().as_str(), ms.map(Duration::from_millis)) {
        ("default", None) => FlushStrategy::Adaptive,
        ("end", None) => FlushStrategy::End,
        ("end", Some(every)) => FlushStrategy::EndAnd(every),
        ("periodically", Some(every)) => FlushStrategy::Periodically(every),
        ("continuously", Some(every)) => FlushStrategy::Continuously(every),
        _ => return None,
    })
}

fn names(value: &str) -> Option<Vec<Text>> {
    let all = value.split(',').map(str::trim).filter(|name| !name.is_empty());
    Some(all.map(|name| name.to_owned().into()).collect())
}

const MASK: &str = "mask_sequences";

/// Whether a rule that cannot be used was to mask something, however its type is written.
fn may_mask(rule: &Value, text: &str) -> bool {
    let kind = rule.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    kind.contains("mask") || rule.get("replace_placeholder").is_some() || text.contains(MASK)
}

/// Keeps the rules that are well formed and tells of each that is not. One that was to mask something and cannot
/// be read stands for all that it might have masked.
fn rules(config: &mut Config, value: &str) -> bool {
    let Ok(all) = serde_json::from_str::<Vec<Value>>(value) else {
        config.log_rules = LogRules { rules: Vec::new(), blocked: value.contains(MASK) };
        return false;
    };
    for one in all {
        let text = one.to_string();
        match rule(&one) {
            Some(rule) => config.log_rules.rules.push(rule),
            None => {
                let masks = may_mask(&one, &text);
                config.log_rules.blocked |= masks;
                config.problems.push(Problem {
                    name: "DD_LOGS_CONFIG_PROCESSING_RULES".to_owned(),
                    value: Some(shorten(&text)),
                    expects: "a rule with a known type and a pattern",
                    instead: match masks {
                        true => "no log line is sent, as it may hold what this rule was to mask".to_owned(),
                        false => "the other rules are used".to_owned(),
                    },
                });
            }
        }
    }
    true
}

fn rule(one: &Value) -> Option<LogRule> {
    let text = |key: &str| one.get(key).and_then(Value::as_str).map(|text| Text::Owned(text.to_owned()));
    let kind = match &*text("type")? {
        "exclude_at_match" => LogRuleKind::Exclude,
        "include_at_match" => LogRuleKind::Include,
        MASK => LogRuleKind::Mask(text("replace_placeholder").unwrap_or_default()),
        _ => return None,
    };
    Some(LogRule { name: text("name").unwrap_or_default(), kind, pattern: text("pattern")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Config {
        Config::parse(|n| (n == name).then(|| value.to_owned()))
    }

    #[test]
    fn strategies() {
        let check = |value: &str, want: FlushStrategy, problems: usize| {
            let config = parse("DD_SERVERLESS_FLUSH_STRATEGY", value);
            assert_eq!((config.flush_strategy, config.problems.len()), (want, problems), "{value}");
        };
        let ms = Duration::from_millis;
        check("end", FlushStrategy::End, 0);
        check("END, 500", FlushStrategy::EndAnd(ms(500)), 0);
        check("periodically,60000", FlushStrategy::Periodically(ms(60_000)), 0);
        check("continuously,1", FlushStrategy::Continuously(ms(1)), 0);
        check("default", FlushStrategy::Adaptive, 0);
        for bad in [
            "periodically",
            "continuously,0",
            "end,-1",
            "end,1.5",
            "sometimes",
            "default,5",
            "end,9000000",
            ",",
        ] {
            check(bad, FlushStrategy::Adaptive, 1);
        }
    }

    #[test]
    fn rules_that_are_well_formed_are_kept() {
        let config = parse(
            "DD_LOGS_CONFIG_PROCESSING_RULES",
            r#"[{"type":"exclude_at_match","name":"a","pattern":"^START"},{"type":"nonsense","pattern":"x"},
                {"type":"mask_sequences","name":"b","replace_placeholder":"***","pattern":"\\d{16}"},{"type":"include_at_match"}]"#,
        );
        let rules: Vec<_> =
            config.log_rules.rules.iter().map(|r| format!("{:?} {}", r.kind, r.pattern)).collect();
        assert_eq!(rules, ["Exclude ^START", r#"Mask("***") \d{16}"#]);
        assert_eq!((config.log_rules.blocked, config.problems.len()), (false, 2), "{:?}", config.problems);
    }

    /// What a rule was to hide is not sent because the rule is broken.
    #[test]
    fn a_mask_that_cannot_be_read_blocks_all() {
        let check = |value: &str, want: bool| {
            let config = parse("DD_LOGS_CONFIG_PROCESSING_RULES", value);
            assert_eq!((config.log_rules.blocked, config.problems.len()), (want, 1), "{value}");
        };
        check(r#"[{"type":"mask_sequences","name":"b"}]"#, true);
        check(r#"{"type":"mask_sequences","pattern":"a"}"#, true);
        check(r#"[{"type":"mask_sequences","name":"b","pattern":"a""#, true);
        check(r#"[{"type":"Mask-Sequence","name":"b","pattern":"a"}]"#, true);
        check(r#"[{"name":"b","replace_placeholder":"*","pattern":"a"}]"#, true);
        check(r#"[{"type":"exclude_at_match","pattern":5}]"#, false);
        check("nonsense", false);
    }

    #[test]
    fn bounds_of_what_waits() {
        let held = |value| parse("DD_LAMBDA_DURABLE_FUNCTION_LOG_BUFFER_SIZE", value);
        assert_eq!((held("50").durable_hold, held("50").problems.len()), (50, 0));
        assert_eq!((held("-1").durable_hold, held("5000").problems.len()), (0, 1));
        let room = |value| parse("DD_DOGSTATSD_SO_RCVBUF", value);
        assert_eq!((room("65536").dogstatsd_buffer, room("65536").problems.len()), (65_536, 0));
        assert_eq!((room("1").dogstatsd_buffer, room("much").problems.len()), (4 << 20, 1));
    }

    #[test]
    fn namespaces_and_names() {
        assert_eq!(parse("DD_STATSD_METRIC_NAMESPACE", "shop").metric_namespace.as_deref(), Some("shop."));
        assert_eq!(parse("DD_STATSD_METRIC_NAMESPACE", "a.b.").metric_namespace.as_deref(), Some("a.b."));
        assert_eq!(parse("DD_STATSD_METRIC_NAMESPACE", "1a").problems.len(), 1);
        let tags = parse("DD_LAMBDA_CUSTOMER_METRICS_EXCLUDE_TAGS", "a, b,,c").metric_tags;
        assert_eq!((tags.exclude.join(" "), tags.only), ("a b c".to_owned(), None));
        let tags = parse("DD_LAMBDA_CUSTOMER_METRICS_INCLUDE_TAGS", "region").metric_tags;
        assert_eq!(tags.only.map(|only| only.join(" ")).as_deref(), Some("region"));
    }
}
