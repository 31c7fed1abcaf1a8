//! Every setting: one row each. The parser, the page `docs/configuration.md` and the messages about bad
//! values come from this table.

pub(crate) mod absent;
mod delivery;
mod egress;
pub(crate) mod file;
mod keys;
mod otlp;
mod runtime_proxy;
mod traces;

use std::time::Duration;

use crate::address::Address;
use crate::config::{Config, Problem, shorten};
use crate::log::Level;

pub use otlp::Otlp;
pub use runtime_proxy::RuntimeProxy;

/// One setting.
pub struct Setting {
    /// The environment variable. Each that begins with `DD_` can also be given with `DATADOG_`, which is
    /// looked at second.
    pub key: &'static str,
    /// Further names, looked at in this order when the key is not set.
    pub aliases: &'static [&'static str],
    /// What holds when it is not set, or not well: as it is printed.
    pub default: &'static str,
    /// What a value must be: completes "… is not ….".
    pub expects: &'static str,
    pub doc: &'static str,
    /// Its value is never printed.
    pub secret: bool,
    /// Sets what the value says; `false` when it cannot be used.
    pub(crate) read: fn(&mut Config, &str) -> bool,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Setting {
    /// Whether this value must not be printed: it is, or may hold, a secret.
    pub(crate) fn hides(&self, value: &str) -> bool {
        self.secret || ([ADDRESS, PROXY].contains(&self.expects) && value.contains('@'))
    }

    /// All names in the order in which they are looked at.
    pub fn names(&self) -> impl Iterator<Item = String> {
        std::iter::once(&self.key).chain(self.aliases).flat_map(|name| {
            let long = name.strip_prefix("DD_").map(|rest| format!("DATADOG_{rest}"));
            std::iter::once((*name).to_owned()).chain(long)
        })
    }
}

const ADDRESS: &str = "an http or https address";
const PROXY: &str = "the address of an HTTP proxy";
const BY_SITE: &str = "by the site";
const BY_REGION: &str = "by the region";
/// The level of a signal, when that of all data holds.
const AS_ALL: &str = "DD_COMPRESSION_LEVEL";
const BOOL: &str = "true or false";
const PORT: &str = "a port, 0 to 65535";
const PORT_OF: &str = "an address with a port";
const ANY: &str = "a text";

/// All settings, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    [
        GENERAL,
        keys::TABLE,
        egress::TABLE,
        delivery::TABLE,
        traces::TABLE,
        otlp::TABLE,
        runtime_proxy::TABLE,
        PLACE,
    ]
    .into_iter()
    .flatten()
}

/// Where data goes, and what all of it has in common.
const GENERAL: &[Setting] = &[
    Setting {
        key: "DD_API_KEY",
        aliases: &[],
        default: "none",
        expects: "a key of printable characters",
        doc: "The key that all data is sent with, unless one of the settings below says where it is. Without any nothing is sent.",
        secret: true,
        read: |config, value| {
            let valid = secrets::ApiKey::new(value).is_some();
            config.keys.api_key = valid.then(|| value.to_owned());
            valid
        },
    },
    Setting {
        key: "DD_SITE",
        aliases: &[],
        default: "datadoghq.com",
        expects: "a domain",
        doc: "The Datadog site that data goes to: `datadoghq.eu`, `us5.datadoghq.com`, …",
        secret: false,
        read: |config, value| {
            let valid = value.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
            valid.then(|| config.site = value.to_owned()).is_some()
        },
    },
    Setting {
        key: "DD_DD_URL",
        aliases: &["DD_URL"],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where metrics go instead of `https://api.SITE`. A path is put before those of the API.",
        secret: false,
        read: |config, value| address(&mut config.metrics_url, value),
    },
    Setting {
        key: "DD_APM_DD_URL",
        aliases: &[],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where traces and their statistics go instead of `https://trace.agent.SITE`.",
        secret: false,
        read: |config, value| address(&mut config.traces_url, value),
    },
    Setting {
        key: "DD_LOGS_CONFIG_LOGS_DD_URL",
        aliases: &[],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where logs go instead of `https://http-intake.logs.SITE`.",
        secret: false,
        read: |config, value| address(&mut config.logs_url, value),
    },
    Setting {
        key: "DD_APM_PROFILING_DD_URL",
        aliases: &[],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where profiles go instead of `https://intake.profile.SITE`.",
        secret: false,
        read: |config, value| address(&mut config.profiling_url, value),
    },
    Setting {
        key: "DD_APM_DEBUGGER_DD_URL",
        aliases: &[],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where the debugger's data goes instead of `https://http-intake.logs.SITE` and `https://debugger-intake.SITE`.",
        secret: false,
        read: |config, value| address(&mut config.debugger_url, value),
    },
    Setting {
        key: "DD_APM_TELEMETRY_DD_URL",
        aliases: &[],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where tracers' telemetry of themselves goes instead of `https://instrumentation-telemetry-intake.SITE`.",
        secret: false,
        read: |config, value| address(&mut config.telemetry_url, value),
    },
    Setting {
        key: "DD_EVP_PROXY_CONFIG_DD_URL",
        aliases: &[],
        default: BY_SITE,
        expects: ADDRESS,
        doc: "Where what tracers send to `/evp_proxy/` goes (LLM observability and others), instead of the intakes that they name.",
        secret: false,
        read: |config, value| address(&mut config.evp_url, value),
    },
    Setting {
        key: "DD_ENV",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "The tag `env` of all data.",
        secret: false,
        read: |config, value| text(&mut config.env, value),
    },
    Setting {
        key: "DD_SERVICE",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "The tag `service` of all data, and the service of the invocation's span.",
        secret: false,
        read: |config, value| text(&mut config.service, value),
    },
    Setting {
        key: "DD_VERSION",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "The tag `version` of all data.",
        secret: false,
        read: |config, value| text(&mut config.version, value),
    },
    Setting {
        key: "DD_TAGS",
        aliases: &[],
        default: "none",
        expects: "tags, key:value, separated by commas or spaces",
        doc: "Further tags of all data: `key:value`, separated by commas or spaces.",
        secret: false,
        read: tags,
    },
    Setting {
        key: "DD_LOG_LEVEL",
        aliases: &[],
        default: "info",
        expects: "one of error, warn, info, debug",
        doc: "What the extension prints about itself: `error`, `warn`, `info` or `debug`.",
        secret: false,
        read: |config, value| set(&mut config.log_level, Level::parse(value)),
    },
    Setting {
        key: "DD_FLUSH_TIMEOUT",
        aliases: &[],
        default: "5",
        expects: "a number of seconds, above 0 to 900",
        doc: "Seconds that sending may hold back the end of an invocation at most; its own deadline cuts that further. A \
              request without an answer goes on beside later invocations, for up to 30 seconds, and is not made twice.",
        secret: false,
        read: |config, value| {
            let secs = value.parse().ok().filter(|secs| *secs > 0.0 && *secs <= 900.0);
            set(&mut config.flush_timeout, secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok()))
        },
    },
    Setting {
        key: "DD_ENHANCED_METRICS",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether the metrics `aws.lambda.enhanced.*` are made.",
        secret: false,
        read: |config, value| set(&mut config.enhanced_metrics, boolean(value)),
    },
    Setting {
        key: "DD_SERVERLESS_LOGS_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether the function's log lines are sent. With `DD_LOGS_ENABLED` set too, one that is on is enough.",
        secret: false,
        read: |config, value| maybe(&mut config.serverless_logs_enabled, boolean(value)),
    },
    Setting {
        key: "DD_LOGS_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "The same as `DD_SERVERLESS_LOGS_ENABLED`.",
        secret: false,
        read: |config, value| maybe(&mut config.logs_enabled, boolean(value)),
    },
];

/// Sockets, and what Lambda itself says.
const PLACE: &[Setting] = &[
    Setting {
        key: "DD_APM_RECEIVER_PORT",
        aliases: &[],
        default: "8126",
        expects: PORT,
        doc: "The TCP port on 127.0.0.1 that takes traces. 0 turns it off.",
        secret: false,
        read: |config, value| set(&mut config.traces_port, value.parse().ok()),
    },
    Setting {
        key: "DD_APM_RECEIVER_SOCKET",
        aliases: &[],
        default: "none",
        expects: "an absolute path",
        doc: "A Unix socket that takes traces too.",
        secret: false,
        read: |config, value| maybe(&mut config.traces_socket, value.starts_with('/').then(|| value.into())),
    },
    Setting {
        key: "DD_DOGSTATSD_PORT",
        aliases: &[],
        default: "8125",
        expects: PORT,
        doc: "The UDP port on 127.0.0.1 that takes DogStatsD metrics. 0 turns it off.",
        secret: false,
        read: |config, value| set(&mut config.dogstatsd_port, value.parse().ok()),
    },
    Setting {
        key: "DD_LAMBDA_LIFECYCLE_PORT",
        aliases: &[],
        default: "8124",
        expects: PORT,
        doc: "The TCP port on 127.0.0.1 on which libraries tell how an invocation begins and ends. 0 turns it off.",
        secret: false,
        read: |config, value| set(&mut config.lifecycle_port, value.parse().ok()),
    },
    Setting {
        key: "DD_LAMBDA_TELEMETRY_PORT",
        aliases: &[],
        default: "8999",
        expects: PORT,
        doc: "The TCP port that Lambda delivers telemetry to. 0 turns it off, and with it logs and most metrics.",
        secret: false,
        read: |config, value| set(&mut config.telemetry_port, value.parse().ok()),
    },
    Setting {
        key: "AWS_LAMBDA_RUNTIME_API",
        aliases: &[],
        default: "none",
        expects: "a host and port",
        doc: "Set by Lambda: where the Extensions API is.",
        secret: false,
        read: |config, value| address(&mut config.lambda.runtime_api, &format!("http://{value}")),
    },
    Setting {
        key: "AWS_LAMBDA_FUNCTION_NAME",
        aliases: &[],
        default: "none",
        expects: ANY,
        doc: "Set by Lambda: the function's name.",
        secret: false,
        read: |config, value| text(&mut config.lambda.function_name, value),
    },
    Setting {
        key: "AWS_LAMBDA_FUNCTION_VERSION",
        aliases: &[],
        default: "$LATEST",
        expects: ANY,
        doc: "Set by Lambda: the version of the function that runs.",
        secret: false,
        read: |config, value| set(&mut config.lambda.function_version, Some(value.to_owned())),
    },
    Setting {
        key: "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        aliases: &[],
        default: "none",
        expects: "a number of megabytes",
        doc: "Set by Lambda: the memory of the sandbox, in megabytes.",
        secret: false,
        read: |config, value| {
            maybe(&mut config.lambda.memory_size_mb, value.parse().ok().filter(|mb| *mb > 0))
        },
    },
    Setting {
        key: "AWS_REGION",
        aliases: &["AWS_DEFAULT_REGION"],
        default: "us-east-1",
        expects: ANY,
        doc: "Set by Lambda: the region that the function runs in.",
        secret: false,
        read: |config, value| set(&mut config.lambda.region, Some(value.to_owned())),
    },
    Setting {
        key: "LAMBDA_TASK_ROOT",
        aliases: &[],
        default: "/var/task",
        expects: "a folder",
        doc: "Set by Lambda: where the function's code is, and `datadog.yaml`, if there is one.",
        secret: false,
        read: |config, value| set(&mut config.lambda.task_root, Some(value.into())),
    },
    Setting {
        key: "AWS_LAMBDA_INITIALIZATION_TYPE",
        aliases: &[],
        default: "on-demand",
        expects: ANY,
        doc: "Set by Lambda: why the sandbox was made.",
        secret: false,
        read: |config, value| set(&mut config.lambda.initialization_type, Some(value.to_owned())),
    },
];

/// The table as Markdown, as it stands in `docs/configuration.md`.
pub fn to_markdown() -> String {
    let mut page = String::from("| Variable | Other names | Default | Meaning |\n|---|---|---|---|\n");
    for setting in all() {
        let others: Vec<_> = setting.aliases.iter().map(|name| format!("`{name}`")).collect();
        let default = match setting.default {
            BY_SITE | BY_REGION | "none" => setting.default.to_owned(),
            value => format!("`{value}`"),
        };
        page.push_str(&format!(
            "| `{}` | {} | {default} | {} |\n",
            setting.key,
            others.join(", "),
            setting.doc
        ));
    }
    page
}

fn set<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

fn maybe<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    value.map(|value| *field = Some(value)).is_some()
}

fn text(field: &mut Option<String>, value: &str) -> bool {
    set(field, Some(Some(value.to_owned())))
}

fn address(field: &mut Option<Address>, value: &str) -> bool {
    maybe(field, Address::parse(value))
}

fn boolean(value: &str) -> Option<bool> {
    const WORDS: [(&str, bool); 8] = [
        ("true", true),
        ("1", true),
        ("t", true),
        ("yes", true),
        ("false", false),
        ("0", false),
        ("f", false),
        ("no", false),
    ];
    WORDS.iter().find(|(word, _)| value.eq_ignore_ascii_case(word)).map(|(_, on)| *on)
}

/// Keeps the tags that are well formed and tells of each that is not.
fn tags(config: &mut Config, value: &str) -> bool {
    for tag in value.split([',', ' ']).map(str::trim).filter(|tag| !tag.is_empty()) {
        match tag.split_once(':') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                config.tags.push((key.to_owned().into(), value.to_owned().into()));
            }
            _ => config.problems.push(Problem {
                name: "DD_TAGS".to_owned(),
                value: Some(shorten(tag)),
                expects: "key:value",
                instead: "the other tags are used".to_owned(),
            }),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_there_once() {
        let names: Vec<_> = all().flat_map(Setting::names).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn the_default_that_is_told_is_the_one_that_holds() {
        for setting in all().filter(|s| !["none", BY_SITE, BY_REGION, AS_ALL].contains(&s.default)) {
            let mut config = Config::default();
            assert!((setting.read)(&mut config, setting.default), "{}", setting.key);
            let optional = [&mut config.serverless_logs_enabled, &mut config.logs_enabled];
            for on in optional.into_iter().filter(|on| **on == Some(true)) {
                *on = None;
            }
            assert_eq!(config, Config::default(), "{}", setting.key);
        }
    }

    /// The page is this table and a few words: `UPDATE_DOCS=1 cargo test -p extension` writes it anew.
    #[test]
    fn the_page_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        let mut fresh = page.clone();
        for (name, table) in [("settings", to_markdown()), ("absent", absent::to_markdown())] {
            let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
            let (head, rest) = fresh.split_once(&begin).expect("the mark of a table's begin");
            let (_, tail) = rest.split_once(&end).expect("the mark of a table's end");
            fresh = format!("{head}{begin}{table}{end}{tail}");
        }
        if fresh == page {
            return;
        }
        assert!(std::env::var_os("UPDATE_DOCS").is_some(), "stale: UPDATE_DOCS=1 cargo test -p extension");
        std::fs::write(&path, fresh).unwrap();
    }
}
