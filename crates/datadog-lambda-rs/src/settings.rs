//! What the user can set, read once from the environment at start: one row per setting. A value that cannot
//! be read is reported once, the default is used instead, and nothing fails.
//!
//! Not here: what the settings mean for events (`trigger::Settings`). Called by [`crate::datadog`].

use std::net::SocketAddr;
use std::time::Duration;

use propagation::Style;
use tracing::level_filters::LevelFilter;

use crate::datadog::{AFTER_RESPONSE, BEFORE_RESPONSE};
use crate::sampling::{self, Rule};

#[cfg(test)]
pub(crate) mod absent;
mod egress;
mod table;

use table::TABLE;

/// The longest `x-datadog-tags` that is written at all.
const MAX_TAGS: usize = 512;

/// The deepest that payloads are captured.
const MAX_DEPTH: usize = 10;

/// Where the extension, or the local agent of a developer, listens.
/// <https://docs.datadoghq.com/agent/configuration/network/>
const AGENT_HOST: &str = "127.0.0.1";
const TRACE_PORT: u16 = 8126;
const STATSD_PORT: u16 = 8125;
/// Datadog's first.
const SITE: &str = "datadoghq.com";
/// Where it is told of invocations.
const LIFECYCLE_PORT: u16 = 8124;

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
    read: fn(&mut Settings, &str) -> Read,
}

/// What becomes of a value that is read.
type Read = Result<(), Unread>;

/// Why a value is not used.
#[derive(Debug)]
struct Unread {
    reason: String,
    /// It is a list, and what else is in it is used.
    in_part: bool,
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self { reason, in_part: false }
    }
}

impl From<&str> for Unread {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
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
    /// Trace ids that begin here have 128 bits.
    pub(crate) long_ids: bool,
    /// Log lines have all of them.
    pub(crate) long_ids_logged: bool,
    /// Bytes that `x-datadog-tags` may have.
    pub(crate) max_tags: usize,
    /// Finished spans at which an invocation sends them before its end.
    pub(crate) partial_flush: bool,
    pub(crate) partial_flush_spans: usize,
    /// The least level of the library's own log lines.
    pub(crate) own_level: LevelFilter,
    /// The extension makes the span of the invocation.
    pub(crate) universal: bool,
    pub(crate) lifecycle_port: u16,
    /// Data Streams Monitoring, and the bus that events of EventBridge come by.
    pub(crate) data_streams: bool,
    pub(crate) exchange: Option<String>,
    /// Where the API key comes from.
    pub(crate) keys: secrets::Settings,
    pub(crate) site: String,
    /// Where metrics go; `None`: by the site.
    pub(crate) metrics_url: Option<secrets::Base>,
    pub(crate) tls_cert_file: Option<String>,
    /// What https connections to it go over, and what is reached without.
    pub(crate) proxy: Option<secrets::Proxy>,
    pub(crate) no_proxy: secrets::Exceptions,
    /// The longest that an answer, and that the next event, waits for telemetry. Tests have more patience.
    pub(crate) before_response: Duration,
    pub(crate) after_response: Duration,
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
            long_ids: true,
            long_ids_logged: true,
            max_tags: MAX_TAGS,
            partial_flush: true,
            partial_flush_spans: 300,
            own_level: LevelFilter::INFO,
            universal: false,
            lifecycle_port: LIFECYCLE_PORT,
            data_streams: false,
            exchange: None,
            keys: secrets::Settings::default(),
            site: SITE.to_owned(),
            metrics_url: None,
            tls_cert_file: None,
            proxy: None,
            no_proxy: secrets::Exceptions::default(),
            before_response: BEFORE_RESPONSE,
            after_response: AFTER_RESPONSE,
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
            if let Err(Unread { reason, in_part }) = (row.read)(&mut settings, value) {
                let used = if in_part { "the rest of it" } else { row.default };
                problems.push(Problem { key: row.key, reason, used });
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

    /// Whether metrics go straight to Datadog: there is no extension, a key is to be had, and neither log lines nor
    /// validated cryptography are asked for.
    pub(crate) fn api_metrics(&self) -> bool {
        let fips = self.keys.fips.unwrap_or_else(|| self.region.starts_with("us-gov-"));
        self.agent.is_none() && !self.flush_to_log && !fips && self.key_variable().is_some()
    }

    /// The first variable that says where the key is.
    fn key_variable(&self) -> Option<&'static str> {
        let way = self.keys.ways(secrets::LIBRARY_ORDER).next();
        way.map(|way| self.keys.variable(way))
    }

    /// A key is set, and this build cannot use it.
    #[cfg(any(not(feature = "api-metrics"), test))]
    pub(crate) fn lacks_feature(&self) -> Option<Problem> {
        let key = self.key_variable().filter(|_| self.api_metrics())?;
        let reason = "metrics are sent straight to Datadog only with the feature `api-metrics` of this crate";
        Some(Problem { key, reason: reason.to_owned(), used: "log lines for the Datadog Forwarder" })
    }

    /// Nobody is there to take what is counted.
    pub(crate) fn lacks_agent(&self) -> Option<Problem> {
        let reason = || "checkpoints go to the extension, and there is none".to_owned();
        let lacks = self.data_streams && self.agent.is_none();
        lacks.then(|| Problem { key: "DD_DATA_STREAMS_ENABLED", reason: reason(), used: "false" })
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
            ("DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED", "64"),
            ("DD_TRACE_128_BIT_TRACEID_LOGGING_ENABLED", "hex"),
            ("DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH", "513"),
            ("DD_TRACE_PARTIAL_FLUSH_ENABLED", "partly"),
            ("DD_TRACE_PARTIAL_FLUSH_MIN_SPANS", "0"),
            ("DD_UNIVERSAL_INSTRUMENTATION", "all"),
            ("DD_LAMBDA_LIFECYCLE_PORT", "0"),
            ("DD_LOG_LEVEL", "3"),
        ] {
            check(&[(key, bad)], &[key]);
        }
    }

    #[test]
    fn of_a_list_the_rest_counts() {
        let check = |key, value, reason: &str| {
            let lookup = |asked: &str| (asked == key).then(|| String::from(value));
            let (settings, problems) = Settings::read(false, lookup);
            let told: Vec<_> = problems.iter().map(|p| (p.key, p.reason.as_str(), p.used)).collect();
            assert_eq!(told, [(key, reason, "the rest of it")]);
            settings
        };
        let settings = check("DD_TAGS", "team:a, old,:x,k:v:w", "\"old\" is not key:value, and 1 more");
        assert_eq!(settings.tags, [("team", "a"), ("k", "v:w")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        let of = "gives no service a new name";
        let settings = check("DD_SERVICE_MAPPING", "a:b,c:c", &format!("\"c:c\" {of}"));
        assert_eq!(settings.trigger.service_mapping.get("a"), Some("b"));
        let style =
            check("DD_TRACE_PROPAGATION_STYLE_INJECT", "smoke,datadog", "\"smoke\" is no known style");
        assert_eq!(style.inject_styles, [Style::Datadog]);
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
        let (settings, problems) = read(
            false,
            &[
                ("DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED", "false"),
                ("DD_TRACE_128_BIT_TRACEID_LOGGING_ENABLED", "FALSE"),
                ("DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH", "0"),
                ("DD_TRACE_PARTIAL_FLUSH_ENABLED", "0"),
                ("DD_TRACE_PARTIAL_FLUSH_MIN_SPANS", "7"),
                ("DD_UNIVERSAL_INSTRUMENTATION", "1"),
                ("DD_LAMBDA_LIFECYCLE_PORT", "9124"),
                ("DD_LOG_LEVEL", "Critical"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert!(!settings.long_ids && !settings.long_ids_logged && !settings.partial_flush);
        assert_eq!((settings.max_tags, settings.partial_flush_spans), (0, 7));
        assert_eq!((settings.universal, settings.lifecycle_port), (true, 9124));
        assert_eq!(settings.own_level, LevelFilter::ERROR);
    }

    #[test]
    fn a_service_is_named_after_the_function() {
        let (settings, _) = read(false, &[]);
        assert_eq!((settings.service("f").as_str(), settings.service("").as_str()), ("f", "aws.lambda"));
        let (settings, _) = read(false, &[("DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED", "0")]);
        assert_eq!(settings.service("f"), "aws.lambda");
    }

    #[test]
    fn metrics_go_to_the_api_where_they_can() {
        let check = |extension, vars: &[(&str, &str)], expect: Option<&str>| {
            let (settings, problems) = read(extension, vars);
            assert_eq!(problems, [""; 0]);
            let lacks = settings.lacks_feature().map(|problem| problem.key);
            assert_eq!((settings.api_metrics(), lacks), (expect.is_some(), expect), "{vars:?}");
        };
        let key = ("DD_API_KEY", "0123456789abcdef0123456789abcdef");
        check(false, &[], None);
        check(false, &[key], Some("DD_API_KEY"));
        check(true, &[key], None);
        check(false, &[key, ("DD_TRACE_AGENT_PORT", "7")], None);
        check(true, &[key, ("DD_FLUSH_TO_LOG", "true")], None);
        check(false, &[key, ("DD_LAMBDA_FIPS_MODE", "true")], None);
        check(false, &[key, ("AWS_REGION", "us-gov-west-1")], None);
        check(
            false,
            &[key, ("AWS_REGION", "us-gov-west-1"), ("DD_LAMBDA_FIPS_MODE", "false")],
            Some("DD_API_KEY"),
        );
        check(false, &[("DATADOG_API_KEY", "abc")], Some("DD_API_KEY"));
        check(false, &[key, ("DD_KMS_API_KEY", "Y2k=")], Some("DD_KMS_API_KEY"));
        check(
            false,
            &[("DD_API_KEY_SSM_NAME", "/dd"), ("DD_KMS_API_KEY", "Y2k=")],
            Some("DD_API_KEY_SSM_NAME"),
        );
        check(
            false,
            &[("DD_API_KEY_SECRET_ARN", "dd"), ("DD_API_KEY_SSM_NAME", "/dd")],
            Some("DD_API_KEY_SECRET_ARN"),
        );
    }

    #[test]
    fn a_bad_key_is_reported_without_the_key() {
        let lookup = |key: &str| {
            let vars =
                [("DD_API_KEY", "hu\u{1}sh"), ("DD_KMS_API_KEY", "h*sh"), ("DD_URL", "http://u:hush@h")];
            vars.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned())
        };
        let (settings, problems) = Settings::read(false, lookup);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["DD_URL", "DD_API_KEY", "DD_KMS_API_KEY"]);
        assert!(!format!("{settings:?}{problems:?}").contains("sh\""));
        assert!(!settings.api_metrics());
    }

    #[test]
    fn every_setting_is_explained_once() {
        for (n, row) in TABLE.iter().enumerate() {
            assert!(!row.doc.is_empty(), "{}", row.key);
            assert!(TABLE.iter().skip(n + 1).all(|other| other.key != row.key), "{}", row.key);
        }
    }
}
