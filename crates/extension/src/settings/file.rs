//! `datadog.yaml` beside the function's code: what it says, by the names of the variables that say the same. Read only
//! where it is there; a variable of the environment goes before it.
//!
//! A name in the file is that of the variable without `DD_`, in lower case. What is nested is joined by `_`, so that the
//! file of Datadog's agent can be used: `logs_config:` with `processing_rules:` below it is
//! `DD_LOGS_CONFIG_PROCESSING_RULES`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::Value;

use super::all;
use crate::yaml;

pub(crate) const NAME: &str = "datadog.yaml";
/// A file that is larger is not read.
const MAX_BYTES: u64 = 256 << 10;
/// So many names that nobody knows are told.
const MAX_TOLD: usize = 10;
/// What the agent has below a name of its own, and its variables not.
const TRACES: &str = "apm_config";

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct Entries(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// Variables that say the same.
    names: Vec<String>,
    /// Names joined by dots, as people look for it.
    path: String,
    value: String,
}

/// The text of the file. `Ok(None)`: there is none, as usual.
pub(crate) fn text(folder: &Path) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    let read =
        File::open(folder.join(NAME)).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(_) if bytes.len() as u64 > MAX_BYTES => Err(format!("it has more than {MAX_BYTES} bytes")),
        Ok(_) => String::from_utf8(bytes).map(Some).map_err(|_| "it is not UTF-8".to_owned()),
    }
}

impl Entries {
    /// Reads the file's text. An error says what is wrong with all of it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known: BTreeSet<_> = all().flat_map(|setting| setting.names().collect::<Vec<_>>()).collect();
        let mut entries = Vec::new();
        match yaml::parse(text).map_err(|trouble| trouble.to_string())? {
            Value::Null => {}
            value @ Value::Object(_) => walk(&mut Vec::new(), value, &known, &mut entries),
            _ => return Err("it has no names".to_owned()),
        }
        Ok(Self(entries))
    }

    /// The path and the value of a variable.
    pub(crate) fn find(&self, name: &str) -> Option<(&str, &str)> {
        let entry = self.0.iter().find(|entry| entry.names.iter().any(|own| own == name))?;
        Some((&entry.path, &entry.value))
    }

    /// Names that stand for no setting, in one line.
    pub(crate) fn unknown(&self) -> Option<String> {
        let known: BTreeSet<_> = all().flat_map(|setting| setting.names().collect::<Vec<_>>()).collect();
        let unknown = self.0.iter().filter(|entry| !entry.names.iter().any(|name| known.contains(name)));
        let mut paths: Vec<_> = unknown.map(|entry| entry.path.as_str()).collect();
        paths.sort_unstable();
        let told = paths.iter().take(MAX_TOLD).map(|path| path.chars().take(60).collect::<String>());
        let mut line = told.collect::<Vec<_>>().join(", ");
        if paths.len() > MAX_TOLD {
            line.push_str(", …");
        }
        (!paths.is_empty()).then_some(line)
    }
}

fn walk(path: &mut Vec<String>, value: Value, known: &BTreeSet<String>, entries: &mut Vec<Entry>) {
    let names = names(path);
    match value {
        Value::Object(map) if !names.iter().any(|name| known.contains(name)) => {
            for (name, value) in map {
                path.push(name);
                walk(path, value, known, entries);
                path.pop();
            }
        }
        value => {
            if let Some(value) = flat(&names, value) {
                entries.push(Entry { names, path: path.join("."), value });
            }
        }
    }
}

/// The variables that a path stands for.
fn names(path: &[String]) -> Vec<String> {
    let mut names = vec![format!("DD_{}", joined(path))];
    if let Some((first, rest)) = path.split_first()
        && let Some(next) = rest.first()
        && first == TRACES
    {
        let own = if next.starts_with("apm_") { "DD_" } else { "DD_APM_" };
        names.push(format!("{own}{}", joined(rest)));
    }
    names
}

fn joined(path: &[String]) -> String {
    path.join("_").to_ascii_uppercase()
}

/// A value as the variable would have it. `None`: null, as if it were not there.
fn flat(names: &[String], value: Value) -> Option<String> {
    let is = |part: &str| names.iter().any(|name| name.contains(part));
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let texts = items.iter().filter_map(Value::as_str);
            Some(match () {
                // Blanks separate these in a variable.
                () if names.iter().any(|name| name == "DD_TAGS") => {
                    texts.map(|tag| tag.replace([' ', ','], "_")).collect::<Vec<_>>().join(",")
                }
                () if is("FILTER_TAGS") => texts.collect::<Vec<_>>().join(" "),
                () => texts.collect::<Vec<_>>().join(","),
            })
        }
        value => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, name: &str) -> Option<String> {
        Entries::parse(text).unwrap().find(name).map(|(_, value)| value.to_owned())
    }

    /// The names that Datadog's agent has for them.
    #[test]
    fn names_of_the_agents_file() {
        let check = |path: &str, name: &str| {
            let mut text = String::new();
            for (depth, part) in path.split('.').enumerate() {
                text.push_str(&format!("\n{}{part}:", "  ".repeat(depth)));
            }
            text.push_str(" x");
            let entries = Entries::parse(&text).unwrap();
            assert_eq!(entries.find(name), Some((path, "x")), "{path}");
            assert_eq!(entries.unknown(), None, "{path}");
        };
        check("site", "DD_SITE");
        check("api_key", "DD_API_KEY");
        check("dd_url", "DD_DD_URL");
        check("api_key_secret_arn", "DD_API_KEY_SECRET_ARN");
        check("proxy.https", "DD_PROXY_HTTPS");
        check("proxy.no_proxy", "DD_PROXY_NO_PROXY");
        check("skip_ssl_validation", "DD_SKIP_SSL_VALIDATION");
        check("tls_cert_file", "DD_TLS_CERT_FILE");
        check("logs_enabled", "DD_LOGS_ENABLED");
        check("logs_config.logs_dd_url", "DD_LOGS_CONFIG_LOGS_DD_URL");
        check("logs_config.processing_rules", "DD_LOGS_CONFIG_PROCESSING_RULES");
        check("logs_config.use_compression", "DD_LOGS_CONFIG_USE_COMPRESSION");
        check("logs_config.additional_endpoints", "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS");
        check("apm_config.apm_dd_url", "DD_APM_DD_URL");
        check("apm_config.additional_endpoints", "DD_APM_ADDITIONAL_ENDPOINTS");
        check("apm_config.replace_tags", "DD_APM_REPLACE_TAGS");
        check("apm_config.receiver_port", "DD_APM_RECEIVER_PORT");
        check("additional_endpoints", "DD_ADDITIONAL_ENDPOINTS");
        check("serverless_flush_strategy", "DD_SERVERLESS_FLUSH_STRATEGY");
        check(
            "otlp_config.receiver.protocols.http.endpoint",
            "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT",
        );
        check("evp_proxy_config.dd_url", "DD_EVP_PROXY_CONFIG_DD_URL");
    }

    #[test]
    fn values_as_variables_have_them() {
        let check = |text: &str, name: &str, want: Option<&str>| {
            assert_eq!(found(text, name).as_deref(), want, "{text}");
        };
        check("api_key: 0123\n", "DD_API_KEY", Some("0123"));
        check("site:\n", "DD_SITE", None);
        check("tags: [\"team:web shop\", 'a:b,c']", "DD_TAGS", Some("team:web_shop,a:b_c"));
        check("tags: a:b c:d", "DD_TAGS", Some("a:b c:d"));
        check("proxy:\n  no_proxy:\n  - a.b\n  - c.d", "DD_PROXY_NO_PROXY", Some("a.b,c.d"));
        check(
            "additional_endpoints:\n  https://a.eu:\n  - k1\n",
            "DD_ADDITIONAL_ENDPOINTS",
            Some(r#"{"https://a.eu":["k1"]}"#),
        );
        check(
            "logs_config:\n  processing_rules:\n  - pattern: 'x'\n",
            "DD_LOGS_CONFIG_PROCESSING_RULES",
            Some(r#"[{"pattern":"x"}]"#),
        );
    }

    #[test]
    fn what_nobody_knows_is_told_once() {
        let entries = Entries::parse("process_config:\n  enabled: true\nsite: a\nnetwork: [b]\n").unwrap();
        assert_eq!(entries.unknown().as_deref(), Some("network, process_config.enabled"));
        assert_eq!(Entries::parse("- a").unwrap_err(), "it has no names");
        assert_eq!(Entries::parse("a: [").unwrap_err(), "line 1: a bracket is not closed");
    }
}
