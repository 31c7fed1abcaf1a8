//! What the user can set, read once from the environment at start: one row per setting. A value that cannot
//! be read is reported once, the default is used instead, and nothing fails.
//!
//! Not here: what the settings mean for events (`trigger::Settings`). Called by [`crate::datadog`].

use std::net::SocketAddr;
use std::time::Duration;

use propagation::Style;

use crate::sampling::{self, Rule};

mod table;

use table::TABLE;

/// The deepest that payloads are captured.
const MAX_DEPTH: usize = 10;

/// Where the extension, or the local agent of a developer, listens.
/// <https://docs.datadoghq.com/agent/configuration/network/>
const AGENT_HOST: &str = "127.0.0.1";
const TRACE_PORT: u16 = 8126;
const STATSD_PORT: u16 = 8125;

/// The file that a layer with the extension puts into the sandbox.
pub(crate) const EXTENSION_FILE: &str = "/opt/extensions/datadog-agent";

/// One setting, an environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What holds when it is absent or cannot be read; empty for nothing.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    read: fn(&mut Settings, &str) -> Result<(), String>,
}

/// Every setting that is read, once, when the first function of this crate is called.
///
/// ```
/// assert!(datadog_lambda_rs::settings().iter().any(|setting| setting.key == "DD_SERVICE"));
/// ```
pub fn settings() -> &'static [Setting] {
    TABLE
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) tracing: bool,
    pub(crate) service: Option<String>,
    pub(crate) env: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) logs_injection: bool,
    /// As `RUST_LOG` has them.
    pub(crate) log_levels: Option<String>,
    pub(crate) inject_styles: Vec<Style>,
    pub(crate) trigger: trigger::Settings,
    pub(crate) cold_start_tracing: bool,
    pub(crate) enhanced_metrics: bool,
    /// `None` when neither the extension is there nor an address of it is set: telemetry is then logged.
    pub(crate) agent: Option<Address>,
    pub(crate) statsd_port: u16,
    pub(crate) function_name: String,
    pub(crate) function_version: String,
    pub(crate) memory_size: String,
    pub(crate) initialization_type: String,
    pub(crate) region: String,
    pub(crate) runtime_api: String,
    pub(crate) flush_to_log: bool,
    pub(crate) sample_rate: Option<f64>,
    pub(crate) sampling_rules: Vec<Rule>,
    pub(crate) rate_limit: f64,
    pub(crate) merge_xray: bool,
    pub(crate) xray_daemon: Option<SocketAddr>,
    pub(crate) encode_authorizer: bool,
    pub(crate) capture_payload: bool,
    pub(crate) capture_depth: usize,
    pub(crate) flush_deadline: Duration,
    pub(crate) min_phase: Duration,
    pub(crate) tags: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

impl Address {
    /// Where the extension listens, and a developer's agent mostly.
    pub(crate) fn local(port: u16) -> Self {
        Self::Tcp { host: AGENT_HOST.to_owned(), port }
    }

    /// Whether a URL's `host:port` is this one.
    pub(crate) fn is(&self, authority: &str) -> bool {
        match self {
            Self::Tcp { host, port } => authority.rsplit_once(':') == Some((host, &port.to_string())),
            #[cfg(unix)]
            Self::Unix(_) => false,
        }
    }
}

/// A setting whose value was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) key: &'static str,
    pub(crate) reason: String,
    pub(crate) used: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tracing: true,
            service: None,
            env: None,
            version: None,
            logs_injection: true,
            log_levels: None,
            inject_styles: propagation::DEFAULT_STYLES.to_vec(),
            trigger: trigger::Settings::default(),
            cold_start_tracing: true,
            enhanced_metrics: true,
            agent: None,
            statsd_port: STATSD_PORT,
            function_name: String::new(),
            function_version: String::new(),
            memory_size: String::new(),
            initialization_type: String::new(),
            region: String::new(),
            runtime_api: String::new(),
            flush_to_log: false,
            sample_rate: None,
            sampling_rules: Vec::new(),
            rate_limit: sampling::DEFAULT_LIMIT,
            merge_xray: false,
            xray_daemon: None,
            encode_authorizer: true,
            capture_payload: false,
            capture_depth: MAX_DEPTH,
            flush_deadline: Duration::from_millis(100),
            min_phase: Duration::from_millis(3),
            tags: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads every row. `extension` says whether the sandbox has [`EXTENSION_FILE`].
    pub(crate) fn read(extension: bool, lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Problem>) {
        let mut settings = Self::default();
        if extension {
            settings.agent = Some(Address::local(TRACE_PORT));
        }
        let mut problems = Vec::new();
        for row in TABLE {
            let Some(value) = lookup(row.key) else { continue };
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            if let Err(reason) = (row.read)(&mut settings, value) {
                problems.push(Problem { key: row.key, reason, used: row.default });
            }
        }
        if settings.flush_to_log {
            settings.agent = None;
        }
        (settings, problems)
    }

    /// What `set` gives goes before the environment.
    pub(crate) fn from_env(set: impl Fn(&str) -> Option<String>) -> (Self, Vec<Problem>) {
        let extension = std::path::Path::new(EXTENSION_FILE).exists();
        Self::read(extension, |key| set(key).or_else(|| std::env::var(key).ok()))
    }

    /// Rules and rate as one list.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        self.sampling_rules.iter().cloned().chain(self.sample_rate.map(Rule::all)).collect()
    }

    /// The service of the function's own spans.
    pub(crate) fn service(&self, function_name: &str) -> String {
        match &self.service {
            Some(service) => service.clone(),
            None if self.trigger.service_representation && !function_name.is_empty() => {
                function_name.to_owned()
            }
            None => "aws.lambda".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(extension: bool, vars: &[(&str, &str)]) -> (Settings, Vec<&'static str>) {
        let lookup = |key: &str| vars.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
        let (settings, problems) = Settings::read(extension, lookup);
        (settings, problems.into_iter().map(|p| p.key).collect())
    }

    #[test]
    fn the_agent_is_where_the_most_specific_setting_says() {
        let check = |extension, vars: &[(&str, &str)], expect: Option<(&str, u16)>| {
            let (settings, _) = read(extension, vars);
            let expect = expect.map(|(host, port)| Address::Tcp { host: host.to_owned(), port });
            assert_eq!(settings.agent, expect, "{vars:?}");
        };
        check(false, &[], None);
        check(true, &[], Some(("127.0.0.1", 8126)));
        check(false, &[("DD_APM_RECEIVER_PORT", "9126")], Some(("127.0.0.1", 9126)));
        check(
            false,
            &[("DD_TRACE_AGENT_PORT", "7"), ("DD_APM_RECEIVER_PORT", "9126")],
            Some(("127.0.0.1", 7)),
        );
        check(
            true,
            &[("DD_TRACE_AGENT_URL", "http://agent:1/"), ("DD_TRACE_AGENT_PORT", "7")],
            Some(("agent", 1)),
        );
        check(true, &[("DD_TRACE_AGENT_URL", "http://agent")], Some(("agent", 8126)));
        check(true, &[("DD_TRACE_AGENT_URL", "ftp://agent")], Some(("127.0.0.1", 8126)));
        check(true, &[("DD_APM_RECEIVER_SOCKET", "dd.sock")], Some(("127.0.0.1", 8126)));
        check(
            true,
            &[("DD_APM_RECEIVER_SOCKET", "/dd.sock"), ("DD_TRACE_AGENT_PORT", "7")],
            Some(("127.0.0.1", 7)),
        );
        for vars in [
            ("DD_TRACE_AGENT_URL", "unix:///var/run/dd.sock"),
            ("DD_APM_RECEIVER_SOCKET", "/var/run/dd.sock"),
        ] {
            let (settings, problems) = read(true, &[vars]);
            assert_eq!(settings.agent, Some(Address::Unix("/var/run/dd.sock".into())), "{problems:?}");
        }
        check(true, &[("DD_TRACE_AGENT_PORT", "0")], Some(("127.0.0.1", 8126)));
        check(false, &[("DD_TRACE_AGENT_URL", "http://a b\r\nc:1")], None);
    }

    #[test]
    fn a_bad_value_is_reported_and_the_default_used() {
        let check = |vars: &[(&str, &str)], expect: &[&str]| {
            let (settings, problems) = read(false, vars);
            assert_eq!(problems, expect, "{vars:?}");
            assert_eq!(settings, Settings::default(), "{vars:?}");
        };
        check(&[], &[]);
        check(&[("DD_SERVICE", "  ")], &[]);
        check(
            &[("DD_TRACE_ENABLED", "yes"), ("DD_DOGSTATSD_PORT", "many")],
            &["DD_TRACE_ENABLED", "DD_DOGSTATSD_PORT"],
        );
        check(&[("DD_TRACE_PROPAGATION_STYLE", "smoke")], &["DD_TRACE_PROPAGATION_STYLE"]);
        check(&[("AWS_LAMBDA_LOG_LEVEL", "loud")], &["AWS_LAMBDA_LOG_LEVEL"]);
        check(&[("RUST_LOG", "a=b=c")], &["RUST_LOG"]);
        for (key, bad) in [
            ("DD_TRACE_SAMPLE_RATE", "1.5"),
            ("DD_TRACE_SAMPLING_RULES", "[{}]"),
            ("DD_TRACE_RATE_LIMIT", "-1"),
            ("DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT", "perhaps"),
            ("DD_CAPTURE_LAMBDA_PAYLOAD_MAX_DEPTH", "11"),
            ("DD_APM_FLUSH_DEADLINE_MILLISECONDS", "-5"),
            ("DD_MIN_COLD_START_DURATION", "x"),
            ("AWS_XRAY_DAEMON_ADDRESS", "x:y"),
        ] {
            check(&[(key, bad)], &[key]);
        }
    }

    #[test]
    fn values_are_read() {
        let (settings, problems) = read(
            false,
            &[
                ("DD_TRACE_ENABLED", "False"),
                ("DD_LOGS_INJECTION", "0"),
                ("DD_SERVICE", " orders "),
                ("AWS_LAMBDA_LOG_LEVEL", "FATAL"),
                ("DD_TRACE_PROPAGATION_STYLE", "tracecontext, Datadog,baggage"),
                ("DD_TRACE_PROPAGATION_STYLE_INJECT", "datadog"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert!(!settings.tracing && !settings.logs_injection);
        assert_eq!(settings.service("f"), "orders");
        assert_eq!(settings.log_levels.as_deref(), Some("error"));
        assert_eq!(settings.trigger.extract_styles, [Style::TraceContext, Style::Datadog, Style::Baggage]);
        assert_eq!(settings.inject_styles, [Style::Datadog]);
    }

    #[test]
    fn a_service_is_named_after_the_function() {
        let (settings, _) = read(false, &[]);
        assert_eq!((settings.service("f").as_str(), settings.service("").as_str()), ("f", "aws.lambda"));
        let (settings, _) = read(false, &[("DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED", "0")]);
        assert_eq!(settings.service("f"), "aws.lambda");
    }

    #[test]
    fn every_setting_is_explained_once() {
        for (n, row) in TABLE.iter().enumerate() {
            assert!(!row.doc.is_empty(), "{}", row.key);
            assert!(TABLE.iter().skip(n + 1).all(|other| other.key != row.key), "{}", row.key);
        }
    }
}
