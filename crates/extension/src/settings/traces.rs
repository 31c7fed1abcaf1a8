//! The settings of traces: how their context is read, which are left out, what is taken out of them.

use engine::{ReplaceRule, TagRule, TagValue};
use model::Text;
use propagation::{Behavior, Style};
use serde_json::Value;
use trigger::ServiceMapping;

use super::{BOOL, Setting, boolean, set};
use crate::config::{Config, Problem, shorten};

const KEYS: &str = "a list of keys";

/// In the order of the page.
pub(super) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_TRACE_ENABLED",
        aliases: &["DD_APM_ENABLED"],
        default: "true",
        expects: BOOL,
        doc: "Whether traces and their statistics are made and sent at all. Tracers are answered as ever.",
        secret: false,
        read: |config, value| set(&mut config.traces_enabled, boolean(value)),
    },
    Setting {
        key: "DD_TRACE_PROPAGATION_STYLE_EXTRACT",
        aliases: &["DD_TRACE_PROPAGATION_STYLE"],
        default: "datadog,tracecontext,baggage",
        expects: "a list of header formats",
        doc: "The header formats in which an event's trace context is looked for, in this order.",
        secret: false,
        read: styles,
    },
    Setting {
        key: "DD_TRACE_PROPAGATION_EXTRACT_FIRST",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether the first format that gives a context is the only one that is read.",
        secret: false,
        read: |config, value| set(&mut config.trigger.extract_first, boolean(value)),
    },
    Setting {
        key: "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT",
        aliases: &[],
        default: "continue",
        expects: "continue, restart or ignore",
        doc: "What becomes of a caller's trace: it goes on (`continue`), a new one begins with a link to it (`restart`), or it is not looked at (`ignore`).",
        secret: false,
        read: |config, value| set(&mut config.trigger.extract_behavior, Behavior::parse(value)),
    },
    Setting {
        key: "DD_DECODE_AUTHORIZER_CONTEXT",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether the trace context that a Lambda authorizer left in the event is used.",
        secret: false,
        read: |config, value| set(&mut config.trigger.decode_authorizer, boolean(value)),
    },
    Setting {
        key: "DD_TRACE_AWS_ADD_SPAN_POINTERS",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether links say which S3 object or DynamoDB item an event is about.",
        secret: false,
        read: |config, value| set(&mut config.trigger.span_pointers, boolean(value)),
    },
    Setting {
        key: "DD_SERVICE_MAPPING",
        aliases: &[],
        default: "none",
        expects: "pairs, key:value, separated by commas",
        doc: "Other names for the services of spans made from events: `key:value`, separated by commas.",
        secret: false,
        read: |config, value| set(&mut config.trigger.service_mapping, Some(ServiceMapping::parse(value))),
    },
    Setting {
        key: "DD_TRACE_MANAGED_SERVICES",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether an event gives spans of the services that it came through.",
        secret: false,
        read: |config, value| set(&mut config.trigger.managed_services, boolean(value)),
    },
    Setting {
        key: "DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether the service of such a span is the queue, API or table itself; else it is what it is one of, as in `sqs`.",
        secret: false,
        read: |config, value| set(&mut config.trigger.service_representation, boolean(value)),
    },
    Setting {
        key: "DD_LAMBDA_EXTENSION_COMPUTE_STATS",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether the extension makes the statistics of traces (hits, errors, latencies), where the tracer does not. Traces that were sampled out are counted in them and then left out. Otherwise Datadog makes them of all traces.",
        secret: false,
        read: |config, value| set(&mut config.compute_stats, boolean(value)),
    },
    Setting {
        key: "DD_APM_FILTER_TAGS_REQUIRE",
        aliases: &[],
        default: "none",
        expects: "tags, key or key:value, separated by spaces",
        doc: "Traces are kept only when their root span has all of these tags: `key` or `key:value`, separated by spaces.",
        secret: false,
        read: |config, value| tag_rules(&mut config.trace_rules.require, value, is),
    },
    Setting {
        key: "DD_APM_FILTER_TAGS_REJECT",
        aliases: &[],
        default: "none",
        expects: "tags, key or key:value, separated by spaces",
        doc: "Traces whose root span has any of these tags are left out: `key` or `key:value`, separated by spaces.",
        secret: false,
        read: |config, value| tag_rules(&mut config.trace_rules.reject, value, is),
    },
    Setting {
        key: "DD_APM_FILTER_TAGS_REGEX_REQUIRE",
        aliases: &[],
        default: "none",
        expects: "tags, key or key:value, separated by spaces",
        doc: "As `DD_APM_FILTER_TAGS_REQUIRE`; values are regular expressions.",
        secret: false,
        read: |config, value| tag_rules(&mut config.trace_rules.require, value, matches),
    },
    Setting {
        key: "DD_APM_FILTER_TAGS_REGEX_REJECT",
        aliases: &[],
        default: "none",
        expects: "tags, key or key:value, separated by spaces",
        doc: "As `DD_APM_FILTER_TAGS_REJECT`; values are regular expressions.",
        secret: false,
        read: |config, value| tag_rules(&mut config.trace_rules.reject, value, matches),
    },
    Setting {
        key: "DD_APM_IGNORE_RESOURCES",
        aliases: &[],
        default: "none",
        expects: "regular expressions, separated by commas",
        doc: "Traces are left out when one of these regular expressions is found in the resource of their root span; separated by commas, one with a comma in it in double quotes.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.ignore_resources, Some(listed(value))),
    },
    Setting {
        key: "DD_APM_REPLACE_TAGS",
        aliases: &[],
        default: "none",
        expects: "a JSON list of rules",
        doc: "What is replaced in spans: `[{\"name\":TAG,\"pattern\":REGEX,\"repl\":TEXT}]`. The tag `resource.name` is the resource, `*` all tags and the resource. A rule whose expression cannot be used hides all that it names.",
        secret: false,
        read: replace_rules,
    },
    Setting {
        key: "DD_APM_OBFUSCATION_HTTP_REMOVE_QUERY_STRING",
        aliases: &["DD_APM_CONFIG_OBFUSCATION_HTTP_REMOVE_QUERY_STRING"],
        default: "false",
        expects: BOOL,
        doc: "Whether `http.url` loses its query.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.url_query, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_HTTP_REMOVE_PATHS_WITH_DIGITS",
        aliases: &["DD_APM_CONFIG_OBFUSCATION_HTTP_REMOVE_PATHS_WITH_DIGITS"],
        default: "false",
        expects: BOOL,
        doc: "Whether parts of the path of `http.url` that have digits become `?`.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.url_digits, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_REDIS_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether values in `redis.raw_command` become `?`.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.redis, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_REDIS_REMOVE_ALL_ARGS",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether keys in `redis.raw_command` become `?` as well.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.redis_all, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_MEMCACHED_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether `memcached.command` loses its values.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.memcached, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_MEMCACHED_KEEP_COMMAND",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether `memcached.command` keeps the command and its key.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.memcached_keep, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_CREDIT_CARDS_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether tags that are the number of a credit card become `?`.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.cards, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_CREDIT_CARDS_LUHN",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether a number has to have the check digit of a card to be taken for one.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.cards_luhn, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_CREDIT_CARDS_KEEP_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Tags that stay though their value looks like the number of a credit card.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.cards_keep, keys(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_MONGODB_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether values in queries of MongoDB become `?`.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.mongodb.hide, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_MONGODB_KEEP_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Keys whose values stay in queries of MongoDB: a JSON list, or separated by commas or spaces.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.mongodb.keep, keys(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_MONGODB_OBFUSCATE_SQL_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Keys whose values in queries of MongoDB are SQL, in which only values become `?`: a JSON list, or separated by commas or spaces.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.mongodb.sql, keys(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_ELASTICSEARCH_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether values in queries of Elasticsearch become `?`.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.elasticsearch.hide, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_ELASTICSEARCH_KEEP_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Keys whose values stay in queries of Elasticsearch: a JSON list, or separated by commas or spaces.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.elasticsearch.keep, keys(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_ELASTICSEARCH_OBFUSCATE_SQL_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Keys whose values in queries of Elasticsearch are SQL, in which only values become `?`: a JSON list, or separated by commas or spaces.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.elasticsearch.sql, keys(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_OPENSEARCH_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether values in queries of OpenSearch become `?`.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.opensearch.hide, boolean(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_OPENSEARCH_KEEP_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Keys whose values stay in queries of OpenSearch: a JSON list, or separated by commas or spaces.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.opensearch.keep, keys(value)),
    },
    Setting {
        key: "DD_APM_OBFUSCATION_OPENSEARCH_OBFUSCATE_SQL_VALUES",
        aliases: &[],
        default: "none",
        expects: KEYS,
        doc: "Keys whose values in queries of OpenSearch are SQL, in which only values become `?`: a JSON list, or separated by commas or spaces.",
        secret: false,
        read: |config, value| set(&mut config.trace_rules.obfuscation.opensearch.sql, keys(value)),
    },
];

/// Keeps the styles that are known and tells of each that is not. `none` is the empty list.
fn styles(config: &mut Config, value: &str) -> bool {
    let mut known = Vec::new();
    for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match Style::parse(word) {
            Some(style) => known.push(style),
            None if word.eq_ignore_ascii_case("none") => {}
            None => config.problems.push(Problem {
                name: "DD_TRACE_PROPAGATION_STYLE_EXTRACT".to_owned(),
                value: Some(shorten(word)),
                expects: "a header format known here",
                instead: "the other formats are used".to_owned(),
            }),
        }
    }
    let is_meant = !known.is_empty() || value.eq_ignore_ascii_case("none");
    is_meant.then(|| config.trigger.extract_styles = known).is_some()
}

fn is(value: String) -> TagValue {
    TagValue::Is(value.into())
}

fn matches(value: String) -> TagValue {
    TagValue::Matches(value.into())
}

/// Adds rules; the value of one begins behind its first colon.
fn tag_rules(rules: &mut Vec<TagRule>, value: &str, test: fn(String) -> TagValue) -> bool {
    rules.extend(value.split_whitespace().map(|rule| match rule.split_once(':') {
        Some((key, value)) => TagRule { key: key.to_owned().into(), value: test(value.to_owned()) },
        None => TagRule { key: rule.to_owned().into(), value: TagValue::Any },
    }));
    true
}

/// Texts between commas; within double quotes a comma is one of the text.
fn listed(value: &str) -> Vec<Text> {
    let (mut all, mut one, mut quoted) = (Vec::new(), String::new(), false);
    for c in value.chars().chain([',']) {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                let text = one.trim().to_owned();
                if !text.is_empty() {
                    all.push(text.into());
                }
                one.clear();
            }
            c => one.push(c),
        }
    }
    all
}

/// A JSON list of texts, or texts between commas and spaces.
fn keys(value: &str) -> Option<Vec<Text>> {
    if value.starts_with('[') {
        let all: Vec<String> = serde_json::from_str(value).ok()?;
        return Some(all.into_iter().map(Into::into).collect());
    }
    let words = value.split([',', ' ']).filter(|key| !key.is_empty());
    Some(words.map(|key| Text::Owned(key.to_owned())).collect())
}

/// Keeps the rules that are whole, and tells of each that is not: what it was to replace is not known, so that all of
/// what it names is hidden.
fn replace_rules(config: &mut Config, value: &str) -> bool {
    let Ok(all) = serde_json::from_str::<Vec<Value>>(value) else { return false };
    for one in all {
        let text = |key: &str| one.get(key).and_then(Value::as_str).map(|text| Text::Owned(text.to_owned()));
        let (name, pattern, with) = (text("name"), text("pattern"), text("repl").unwrap_or_default());
        let rule = match (name, pattern) {
            (Some(name), Some(pattern)) => Some(ReplaceRule { name, pattern, with }),
            (name, _) => {
                config.problems.push(Problem {
                    name: "DD_APM_REPLACE_TAGS".to_owned(),
                    value: Some(shorten(&one.to_string())),
                    expects: "a rule with a name and a pattern",
                    instead: match name {
                        Some(_) => {
                            "all that it names is hidden, as it may hold what this rule was to replace"
                        }
                        None => "the other rules are used",
                    }
                    .to_owned(),
                });
                name.map(|name| ReplaceRule { name, pattern: ALL.into(), with: "?".into() })
            }
        };
        config.trace_rules.replace.extend(rule);
    }
    true
}

/// Finds the whole of any text.
const ALL: &str = "(?s)^.*$";

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: &str = "TraceRules { require: [], reject: [], ignore_resources: [], replace: [], obfuscation: Obfuscation { url_query: false, url_digits: false, redis: true, redis_all: false, memcached: true, memcached_keep: true, cards: true, cards_luhn: true, cards_keep: [], mongodb: Documents { hide: true, keep: [], sql: [] }, elasticsearch: Documents { hide: true, keep: [], sql: [] }, opensearch: Documents { hide: true, keep: [], sql: [] } } }";

    fn check(name: &str, value: &str, want: &str) {
        let config = Config::parse(|n| (n == name).then(|| value.to_owned()));
        assert_eq!(format!("{:?} {}", config.trace_rules, config.problems.len()), want, "{name}={value}");
    }

    fn with(from: &str, to: &str) -> String {
        format!("{} 0", NOTHING.replacen(from, to, 1))
    }

    #[test]
    fn rules() {
        check(
            "DD_APM_FILTER_TAGS_REQUIRE",
            "env:prod url",
            &with(
                "require: []",
                r#"require: [TagRule { key: "env", value: Is("prod") }, TagRule { key: "url", value: Any }]"#,
            ),
        );
        check(
            "DD_APM_FILTER_TAGS_REGEX_REJECT",
            "url:^http://.*",
            &with("reject: []", r#"reject: [TagRule { key: "url", value: Matches("^http://.*") }]"#),
        );
        check(
            "DD_APM_IGNORE_RESOURCES",
            r#"GET /health, "a{1,2}" ,"#,
            &with("ignore_resources: []", r#"ignore_resources: ["GET /health", "a{1,2}"]"#),
        );
        check(
            "DD_APM_REPLACE_TAGS",
            r#"[{"name":"*","pattern":"a","repl":"b"},{"name":"c","pattern":"d"}]"#,
            &with(
                "replace: []",
                r#"replace: [ReplaceRule { name: "*", pattern: "a", with: "b" }, ReplaceRule { name: "c", pattern: "d", with: "" }]"#,
            ),
        );
        let told = |to: &str| format!("{} 1", NOTHING.replacen("replace: []", to, 1));
        check(
            "DD_APM_REPLACE_TAGS",
            r#"[{"name":"*"},{"name":"c","pattern":"d"},{"name":"e","pattern":"f","repl":5}]"#,
            &told(
                r#"replace: [ReplaceRule { name: "*", pattern: "(?s)^.*$", with: "?" }, ReplaceRule { name: "c", pattern: "d", with: "" }, ReplaceRule { name: "e", pattern: "f", with: "" }]"#,
            ),
        );
        check(
            "DD_APM_REPLACE_TAGS",
            r#"[{"pattern":"a"},{"name":"c","pattern":"d"}]"#,
            &told(r#"replace: [ReplaceRule { name: "c", pattern: "d", with: "" }]"#),
        );
        check("DD_APM_REPLACE_TAGS", "nonsense", &format!("{NOTHING} 1"));
    }

    #[test]
    fn obfuscation() {
        check(
            "DD_APM_OBFUSCATION_MONGODB_KEEP_VALUES",
            r#"["a", "b c"]"#,
            &with(
                "mongodb: Documents { hide: true, keep: []",
                r#"mongodb: Documents { hide: true, keep: ["a", "b c"]"#,
            ),
        );
        check(
            "DD_APM_OBFUSCATION_OPENSEARCH_OBFUSCATE_SQL_VALUES",
            "query, x",
            &with(
                "opensearch: Documents { hide: true, keep: [], sql: []",
                r#"opensearch: Documents { hide: true, keep: [], sql: ["query", "x"]"#,
            ),
        );
        check(
            "DD_APM_OBFUSCATION_REDIS_REMOVE_ALL_ARGS",
            "true",
            &with("redis_all: false", "redis_all: true"),
        );
        check(
            "DD_APM_OBFUSCATION_MEMCACHED_KEEP_COMMAND",
            "false",
            &with("memcached_keep: true", "memcached_keep: false"),
        );
        check(
            "DD_APM_OBFUSCATION_CREDIT_CARDS_LUHN",
            "false",
            &with("cards_luhn: true", "cards_luhn: false"),
        );
        check(
            "DD_APM_OBFUSCATION_CREDIT_CARDS_KEEP_VALUES",
            "order, no",
            &with("cards_keep: []", r#"cards_keep: ["order", "no"]"#),
        );
        check("DD_APM_OBFUSCATION_MONGODB_KEEP_VALUES", "[1]", &format!("{NOTHING} 1"));
        check(
            "DD_APM_CONFIG_OBFUSCATION_HTTP_REMOVE_QUERY_STRING",
            "true",
            &with("url_query: false", "url_query: true"),
        );
    }
}
