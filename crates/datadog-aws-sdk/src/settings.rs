//! What can be set from the environment: a table, read once. A value that cannot be used is reported and is none.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use propagation::Style;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) enabled: bool,
    /// Services whose calls are left alone, in lower case and without spaces.
    pub(crate) disabled: Vec<String>,
    pub(crate) inject: bool,
    pub(crate) inject_styles: Vec<Style>,
    pub(crate) extract: trigger::Settings,
    pub(crate) span_pointers: bool,
    pub(crate) table_keys: BTreeMap<String, Vec<String>>,
    pub(crate) describe_tables: bool,
    pub(crate) data_streams: bool,
    pub(crate) service: String,
    pub(crate) env: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) agent: Agent,
    /// Whether this runs as a Lambda function.
    pub(crate) in_lambda: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            disabled: Vec::new(),
            inject: true,
            inject_styles: propagation::DEFAULT_STYLES.to_vec(),
            extract: trigger::Settings::default(),
            span_pointers: true,
            table_keys: BTreeMap::new(),
            describe_tables: true,
            data_streams: false,
            service: "unnamed-rust-service".to_owned(),
            env: None,
            version: None,
            agent: Agent::Tcp("localhost".to_owned(), 8126),
            in_lambda: false,
        }
    }
}

/// Where checkpoints of data streams go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    Tcp(String, u16),
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

/// A variable, what it means, and what reads its value. Another name counts when the first is not set.
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) other: Option<&'static str>,
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) default: &'static str,
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) doc: &'static str,
    read: fn(&mut Settings, &str) -> Result<(), String>,
}

/// Ordered such that of two settings of one thing the later wins.
pub(crate) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_TRACE_AWS_SDK_ENABLED",
        other: None,
        default: "true",
        doc: "Whether calls of the AWS SDK have spans, and tell of them. For the clients of one service: `DD_TRACE_AWS_SDK_SQS_ENABLED`, with the service's name in the SDK in capitals and without spaces.",
        read: |s, v| flag(&mut s.enabled, v),
    },
    Setting {
        key: "DD_TRACE_AWS_SDK_DISTRIBUTED_TRACING",
        other: Some("DD_BOTOCORE_DISTRIBUTED_TRACING"),
        default: "true",
        doc: "Whether the trace context goes into what calls send.",
        read: |s, v| flag(&mut s.inject, v),
    },
    Setting {
        key: "DD_TRACE_PROPAGATION_STYLE",
        other: None,
        default: "datadog,tracecontext,baggage",
        doc: "Header styles read and written, where no global propagator of OpenTelemetry writes Datadog's.",
        read: |s, v| {
            let styles = styles(v)?;
            s.inject_styles.clone_from(&styles);
            s.extract.extract_styles = styles;
            Ok(())
        },
    },
    Setting {
        key: "DD_TRACE_PROPAGATION_STYLE_INJECT",
        other: None,
        default: "",
        doc: "Header styles written.",
        read: |s, v| {
            s.inject_styles = styles(v)?;
            Ok(())
        },
    },
    Setting {
        key: "DD_TRACE_PROPAGATION_STYLE_EXTRACT",
        other: None,
        default: "",
        doc: "Header styles read, of messages received.",
        read: |s, v| {
            s.extract.extract_styles = styles(v)?;
            Ok(())
        },
    },
    Setting {
        key: "DD_TRACE_AWS_ADD_SPAN_POINTERS",
        other: Some("DD_BOTOCORE_ADD_SPAN_POINTERS"),
        default: "true",
        doc: "Whether a call's span links to the S3 object or the DynamoDB items that it wrote.",
        read: |s, v| flag(&mut s.span_pointers, v),
    },
    Setting {
        key: "DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS",
        other: Some("DD_BOTOCORE_DYNAMODB_TABLE_PRIMARY_KEYS"),
        default: "",
        doc: "The key attributes of tables, for links to items that are put: `{\"orders\":[\"customer\",\"number\"]}`. Those of other tables are learnt from calls that name a key or describe the table.",
        read: |s, v| {
            s.table_keys = table_keys(v)?;
            Ok(())
        },
    },
    Setting {
        key: "DD_TRACE_DYNAMODB_DESCRIBE_TABLES",
        other: None,
        default: "true",
        doc: "Whether tables may be described for that, where the program has given a way to: `DatadogInterceptor::learn_table_keys`.",
        read: |s, v| flag(&mut s.describe_tables, v),
    },
    Setting {
        key: "DD_DATA_STREAMS_ENABLED",
        other: None,
        default: "false",
        doc: "Whether checkpoints of Data Streams Monitoring are set for messages sent and received. In a function with `datadog-lambda-rs` that one sends them; elsewhere they go to the agent, and the settings below are read.",
        read: |s, v| flag(&mut s.data_streams, v),
    },
    Setting {
        key: "DD_SERVICE",
        other: Some("AWS_LAMBDA_FUNCTION_NAME"),
        default: "unnamed-rust-service",
        doc: "The service that checkpoints are of.",
        read: |s, v| {
            v.clone_into(&mut s.service);
            Ok(())
        },
    },
    Setting {
        key: "DD_ENV",
        other: None,
        default: "",
        doc: "Its environment.",
        read: |s, v| {
            s.env = Some(v.to_owned());
            Ok(())
        },
    },
    Setting {
        key: "DD_VERSION",
        other: None,
        default: "",
        doc: "Its version.",
        read: |s, v| {
            s.version = Some(v.to_owned());
            Ok(())
        },
    },
    Setting {
        key: "DD_AGENT_HOST",
        other: Some("DD_TRACE_AGENT_HOSTNAME"),
        default: "localhost",
        doc: "The agent's host.",
        read: |s, v| {
            s.agent = Agent::Tcp(v.to_owned(), 8126);
            Ok(())
        },
    },
    Setting {
        key: "DD_TRACE_AGENT_PORT",
        other: None,
        default: "8126",
        doc: "The agent's port.",
        read: |s, v| {
            if let Agent::Tcp(_, port) = &mut s.agent {
                *port = v.trim().parse().map_err(|_| "it is no port".to_owned())?;
            }
            Ok(())
        },
    },
    Setting {
        key: "DD_TRACE_AGENT_URL",
        other: None,
        default: "",
        doc: "`http://host:port` or `unix:///path`; goes before both.",
        read: |s, v| {
            s.agent = agent(v).ok_or("it is neither http://host:port nor unix:///path")?;
            Ok(())
        },
    },
];

impl Settings {
    /// Those of this process's environment.
    pub(crate) fn of_process() -> &'static Self {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        SETTINGS.get_or_init(|| {
            let all = std::env::vars_os();
            let all =
                all.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
            let (settings, problems) = Self::read(&all.collect());
            for problem in problems {
                tracing::warn!("{problem}");
            }
            settings
        })
    }

    /// The settings of an environment, and what is wrong with it.
    pub(crate) fn read(variables: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let mut settings =
            Self { in_lambda: variables.contains_key("AWS_LAMBDA_FUNCTION_NAME"), ..Self::default() };
        let mut problems = Vec::new();
        let given = |key: &str| variables.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let not_used = |key: &str, value: &str, problem: &str| {
            format!("{key}={value:?} is not used, the default is: {problem}")
        };
        for setting in TABLE {
            let names = [Some(setting.key), setting.other];
            let Some((key, value)) = names.into_iter().flatten().find_map(|key| Some((key, given(key)?)))
            else {
                continue;
            };
            if let Err(problem) = (setting.read)(&mut settings, value) {
                problems.push(not_used(key, value, &problem));
            }
        }
        for (key, value) in variables {
            let service =
                key.strip_prefix("DD_TRACE_AWS_SDK_").and_then(|rest| rest.strip_suffix("_ENABLED"));
            let Some(service) = service.filter(|_| !value.is_empty()) else { continue };
            let mut enabled = true;
            if let Err(problem) = flag(&mut enabled, value) {
                problems.push(not_used(key, value, &problem));
            }
            if !enabled {
                settings.disabled.push(plain(service));
            }
        }
        (settings, problems)
    }

    pub(crate) fn traces(&self, service: &str) -> bool {
        self.enabled && (self.disabled.is_empty() || !self.disabled.contains(&plain(service)))
    }
}

fn plain(service: &str) -> String {
    service.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

fn flag(field: &mut bool, value: &str) -> Result<(), String> {
    *field = match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => true,
        "false" | "0" => false,
        _ => return Err("it is neither true nor false".to_owned()),
    };
    Ok(())
}

fn styles(value: &str) -> Result<Vec<Style>, String> {
    let styles = Style::parse_list(value);
    let is_none = value.trim().eq_ignore_ascii_case("none");
    if styles.is_empty() && !is_none { Err("no style in it is known".to_owned()) } else { Ok(styles) }
}

fn agent(url: &str) -> Option<Agent> {
    #[cfg(unix)]
    if let Some(path) = url.strip_prefix("unix://") {
        return path.starts_with('/').then(|| Agent::Unix(path.into()));
    }
    let authority = url.strip_prefix("http://")?.trim_end_matches('/');
    if authority.is_empty() || authority.contains('/') {
        return None;
    }
    match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => Some(Agent::Tcp(host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
            .filter(|_| !host.is_empty()),
        None => Some(Agent::Tcp(authority.trim_matches(['[', ']']).to_owned(), 8126)),
    }
}

fn table_keys(value: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let shape = || "it is no JSON object of one or two attribute names by table".to_owned();
    let tables: BTreeMap<String, Vec<String>> =
        serde_json::from_str::<Value>(value).and_then(serde_json::from_value).map_err(|_| shape())?;
    if tables.values().all(|keys| (1..=2).contains(&keys.len())) { Ok(tables) } else { Err(shape()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
        Settings::read(&variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn every_setting_is_read() {
        let (settings, problems) = read(&[
            ("DD_TRACE_AWS_SDK_ENABLED", "0"),
            ("DD_TRACE_AWS_SDK_CLOUDWATCHLOGS_ENABLED", "false"),
            ("DD_TRACE_AWS_SDK_SQS_ENABLED", "true"),
            ("DD_BOTOCORE_DISTRIBUTED_TRACING", "False"),
            ("DD_TRACE_PROPAGATION_STYLE", "tracecontext"),
            ("DD_TRACE_PROPAGATION_STYLE_INJECT", "datadog,b3"),
            ("DD_TRACE_AWS_ADD_SPAN_POINTERS", ""),
            ("DD_BOTOCORE_ADD_SPAN_POINTERS", "false"),
            ("DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS", r#"{"orders":["id"]}"#),
            ("AWS_LAMBDA_FUNCTION_NAME", "f"),
            ("DD_TRACE_DYNAMODB_DESCRIBE_TABLES", "false"),
            ("DD_DATA_STREAMS_ENABLED", "true"),
            ("DD_ENV", "prod"),
            ("DD_VERSION", "1"),
            ("DD_AGENT_HOST", "agent"),
            ("DD_TRACE_AGENT_PORT", "7"),
        ]);
        assert_eq!(problems, [""; 0]);
        let expect = Settings {
            enabled: false,
            disabled: vec!["cloudwatchlogs".to_owned()],
            inject: false,
            inject_styles: vec![Style::Datadog, Style::B3],
            extract: trigger::Settings {
                extract_styles: vec![Style::TraceContext],
                ..trigger::Settings::default()
            },
            span_pointers: false,
            table_keys: [("orders".to_owned(), vec!["id".to_owned()])].into(),
            in_lambda: true,
            describe_tables: false,
            data_streams: true,
            service: "f".to_owned(),
            env: Some("prod".to_owned()),
            version: Some("1".to_owned()),
            agent: Agent::Tcp("agent".to_owned(), 7),
        };
        assert_eq!(settings, expect);
        let (settings, _) = read(&[("DD_TRACE_AWS_SDK_CLOUDWATCHLOGS_ENABLED", "0")]);
        assert!(!settings.traces("CloudWatch Logs") && settings.traces("SQS"));
    }

    #[test]
    fn agents_by_url() {
        let check = |url: &str, expect: Option<Agent>| {
            let (settings, problems) = read(&[("DD_AGENT_HOST", "other"), ("DD_TRACE_AGENT_URL", url)]);
            let given = expect.clone().unwrap_or(Agent::Tcp("other".to_owned(), 8126));
            assert_eq!((settings.agent, problems.is_empty()), (given, expect.is_some()), "{url}");
        };
        let tcp = |host: &str, port| Some(Agent::Tcp(host.to_owned(), port));
        check("http://agent:7", tcp("agent", 7));
        check("http://agent/", tcp("agent", 8126));
        check("http://[::1]:7/", tcp("::1", 7));
        check("http://[::1]", tcp("::1", 8126));
        check("unix:///run/a.socket", Some(Agent::Unix("/run/a.socket".into())));
        for odd in ["agent:7", "http://", "http://a:b", "http://:7", "http://a/b", "unix://a", "https://a"] {
            check(odd, None);
        }
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let (settings, problems) = read(&[
            ("DD_TRACE_AWS_ADD_SPAN_POINTERS", "perhaps"),
            ("DD_TRACE_AWS_SDK_SQS_ENABLED", "off"),
            ("DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS", r#"{"orders":"id"}"#),
            ("DD_TRACE_PROPAGATION_STYLE", "jaeger"),
        ]);
        assert_eq!(settings, Settings::default());
        for (key, value) in [
            ("DD_TRACE_AWS_ADD_SPAN_POINTERS", "perhaps"),
            ("DD_TRACE_AWS_SDK_SQS_ENABLED", "off"),
            ("DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS", "orders"),
            ("DD_TRACE_PROPAGATION_STYLE", "jaeger"),
        ] {
            assert_eq!(
                problems.iter().filter(|p| p.starts_with(key) && p.contains(value)).count(),
                1,
                "{problems:?}"
            );
        }
        assert_eq!(problems.len(), 4);
        let three = r#"{"orders":["a","b","c"]}"#;
        assert_eq!(read(&[("DD_BOTOCORE_DYNAMODB_TABLE_PRIMARY_KEYS", three)]).1.len(), 1);
    }

    #[test]
    fn the_table_of_settings_is_fresh() {
        const BEGIN: &str = "<!-- aws-sdk:begin -->\n";
        const END: &str = "<!-- aws-sdk:end -->\n";
        const HEADING: &str = "
## The AWS SDK interceptor

`datadog-aws-sdk` reads its settings from the environment of its process, once. A value that it cannot use is one warning
of `tracing`.

";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        // The published crate comes without it.
        let Ok(before) = std::fs::read_to_string(&path) else { return };
        let mut table = "| Variable | Other names | Default | Meaning |\n|---|---|---|---|\n".to_owned();
        for Setting { key, other, default, doc, .. } in TABLE {
            let other = other.map_or(String::new(), |other| format!("`{other}`"));
            let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
            table.push_str(&format!("| `{key}` | {other} | {default} | {} |\n", doc.replace('|', "\\|")));
        }
        let parts = before.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
        let after = match parts {
            Some((head, tail)) => format!("{head}{BEGIN}{table}{END}{tail}"),
            None => format!("{}\n{HEADING}{BEGIN}{table}{END}", before.trim_end()),
        };
        if before != after {
            assert!(
                std::env::var_os("UPDATE_DOCS").is_some(),
                "stale: UPDATE_DOCS=1 cargo test -p datadog-aws-sdk"
            );
            std::fs::write(&path, after).unwrap();
        }
    }
}
