//! Everything that is read from the environment, parsed: no side effects, no defaults hidden elsewhere.
//! Which variables there are and what they mean is the table in `settings`.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{FlushStrategy, LogRules, TagChoice, TraceRules};
use model::Text;

use crate::address::Address;
use crate::log::Level;
use crate::settings;

/// The settings of one process. [`Config::default`] is what holds when nothing is set.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Where the API key comes from.
    pub keys: secrets::Settings,
    /// How old the key may be; `None`: any age.
    pub key_reload: Option<Duration>,
    pub site: String,
    /// Where series and sketches go; `None`: by the site.
    pub metrics_url: Option<Address>,
    /// Where traces go; `None`: by the site.
    pub traces_url: Option<Address>,
    /// Where logs go; `None`: by the site.
    pub logs_url: Option<Address>,
    /// Where profiles go; `None`: by the site.
    pub profiling_url: Option<Address>,
    /// Where the debugger's data goes; `None`: by the site.
    pub debugger_url: Option<Address>,
    /// Where tracers' telemetry of themselves goes; `None`: by the site.
    pub telemetry_url: Option<Address>,
    /// Where the rest of what tracers have passed on goes; `None`: by the site.
    pub evp_url: Option<Address>,
    pub tls_cert_file: Option<PathBuf>,
    pub env: Option<String>,
    pub service: Option<String>,
    pub version: Option<String>,
    pub tags: Vec<(Text, Text)>,
    pub log_level: Level,
    pub flush_timeout: Duration,
    pub flush_strategy: FlushStrategy,
    /// The longest that connecting to an intake may take.
    pub connect_timeout: Duration,
    /// What is left out of log lines, and which are left out.
    pub log_rules: LogRules,
    /// Whether the lines that stand for records of the platform are sent.
    pub platform_logs: bool,
    /// What stands before the names of the function's own metrics.
    pub metric_namespace: Option<String>,
    /// Which tags of the function the function's own metrics carry.
    pub metric_tags: TagChoice,
    pub enhanced_metrics: bool,
    /// How events are read.
    pub trigger: trigger::Settings,
    /// Which traces are left out, and what is replaced in them.
    pub trace_rules: TraceRules,
    /// What OpenTelemetry's exporters send.
    pub otlp: settings::Otlp,
    pub serverless_logs_enabled: Option<bool>,
    pub logs_enabled: Option<bool>,
    /// 0: off. So for all ports.
    pub traces_port: u16,
    pub traces_socket: Option<PathBuf>,
    pub dogstatsd_port: u16,
    pub dogstatsd_socket: Option<PathBuf>,
    pub lifecycle_port: u16,
    pub telemetry_port: u16,
    pub lambda: Lambda,
    /// What was set and could not be used.
    pub problems: Vec<Problem>,
}

/// What Lambda itself says of the function by its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lambda {
    /// The name of the file in `/opt/extensions`: Lambda takes no other for the registration.
    pub extension_name: String,
    pub runtime_api: Option<Address>,
    pub function_name: Option<String>,
    pub function_version: String,
    pub memory_size_mb: Option<u32>,
    pub region: String,
    pub initialization_type: String,
}

/// A setting whose value, or part of it, could not be used, and what is used instead. One line when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable as it was found, such as `DATADOG_SITE`.
    pub name: String,
    /// `None` for secrets.
    pub value: Option<String>,
    /// What the value should have been.
    pub expects: &'static str,
    pub instead: String,
}

impl Config {
    /// Reads the environment, and from the command line the name of the program.
    pub fn from_env() -> Self {
        let mut config =
            Self::parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()));
        let program = std::env::args_os().next();
        if let Some(name) =
            program.as_deref().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str)
        {
            config.lambda.extension_name = name.to_owned();
        }
        config
    }

    /// Reads every setting of the table. `variable` gives the value of an environment variable.
    pub fn parse(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut config = Self::default();
        for setting in settings::all() {
            let found = setting.names().find_map(|name| {
                let value = variable(&name)?.trim().to_owned();
                (!value.is_empty()).then_some((name, value))
            });
            if let Some((name, value)) = found
                && !(setting.read)(&mut config, &value)
            {
                config.problems.push(Problem {
                    name,
                    value: (!setting.hides(&value)).then(|| shorten(&value)),
                    expects: setting.expects,
                    instead: format!("{} is used", setting.default),
                });
            }
        }
        config
    }

    /// Whether the function's log lines are collected: on unless what is set of both settings is off.
    pub fn logs(&self) -> bool {
        match (self.serverless_logs_enabled, self.logs_enabled) {
            (None, None) => true,
            (a, b) => a.unwrap_or(false) || b.unwrap_or(false),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: secrets::Settings::default(),
            key_reload: None,
            site: "datadoghq.com".to_owned(),
            metrics_url: None,
            traces_url: None,
            logs_url: None,
            profiling_url: None,
            debugger_url: None,
            telemetry_url: None,
            evp_url: None,
            tls_cert_file: None,
            env: None,
            service: None,
            version: None,
            tags: Vec::new(),
            log_level: Level::Info,
            flush_timeout: Duration::from_secs(5),
            flush_strategy: FlushStrategy::Adaptive,
            connect_timeout: Duration::from_secs(1),
            log_rules: LogRules::default(),
            platform_logs: true,
            metric_namespace: None,
            metric_tags: TagChoice::default(),
            enhanced_metrics: true,
            trigger: trigger::Settings::default(),
            trace_rules: TraceRules::default(),
            otlp: settings::Otlp::default(),
            serverless_logs_enabled: None,
            logs_enabled: None,
            traces_port: 8126,
            traces_socket: None,
            dogstatsd_port: 8125,
            dogstatsd_socket: None,
            lifecycle_port: 8124,
            telemetry_port: 8999,
            lambda: Lambda {
                extension_name: "datadog-agent".to_owned(),
                runtime_api: None,
                function_name: None,
                function_version: "$LATEST".to_owned(),
                memory_size_mb: None,
                region: "us-east-1".to_owned(),
                initialization_type: "on-demand".to_owned(),
            },
            problems: Vec::new(),
        }
    }
}

/// Without the key, so that no log line or panic message can hold it.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("keys", &self.keys)
            .field("site", &self.site)
            .field("lambda", &self.lambda)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}: {value:?} is not {}; {}", self.name, self.expects, self.instead),
            None => write!(f, "{}: the value is not {}; {}", self.name, self.expects, self.instead),
        }
    }
}

/// The start of a value, short enough for a log line.
pub(crate) fn shorten(value: &str) -> String {
    let mut short: String = value.chars().take(60).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Config {
        Config::parse(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(parse(&[]), Config::default());
        assert_eq!(parse(&[("DD_SITE", ""), ("DD_APM_RECEIVER_PORT", " ")]), Config::default());
    }

    #[test]
    fn names_and_their_order() {
        let check =
            |variables: &[(&str, &str)], want| assert_eq!(parse(variables).site, want, "{variables:?}");
        check(&[("DD_SITE", "datadoghq.eu")], "datadoghq.eu");
        check(&[("DATADOG_SITE", "datadoghq.eu")], "datadoghq.eu");
        check(&[("DATADOG_SITE", "a.b"), ("DD_SITE", "c.d")], "c.d");
        let metrics = |variables: &[(&str, &str)]| parse(variables).metrics_url.map(|a| a.host);
        assert_eq!(metrics(&[("DD_URL", "http://a")]).as_deref(), Some("a"));
        assert_eq!(metrics(&[("DD_URL", "http://a"), ("DD_DD_URL", "http://b")]).as_deref(), Some("b"));
        let region = |variables: &[(&str, &str)]| parse(variables).lambda.region;
        assert_eq!(region(&[("AWS_DEFAULT_REGION", "eu-west-1")]), "eu-west-1");
        assert_eq!(region(&[("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_REGION", "eu-west-3")]), "eu-west-3");
    }

    #[test]
    fn values() {
        let config = parse(&[
            ("DD_API_KEY", " 0123456789\n"),
            ("DD_TAGS", "team:shop,cost-center:a:b region:x"),
            ("DD_FLUSH_TIMEOUT", "0.5"),
            ("DD_ENHANCED_METRICS", "False"),
            ("DD_DOGSTATSD_PORT", "0"),
            ("DD_LOGS_CONFIG_LOGS_DD_URL", "logs.example.com:443"),
            ("DD_APM_RECEIVER_SOCKET", "/tmp/apm.sock"),
            ("AWS_LAMBDA_RUNTIME_API", "169.254.100.1:9001"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ]);
        assert_eq!(config.problems, []);
        assert_eq!(config.keys.api_key.as_deref(), Some("0123456789"));
        let tags: Vec<_> = config.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(tags, ["team=shop", "cost-center=a:b", "region=x"]);
        assert_eq!(config.flush_timeout, Duration::from_millis(500));
        assert!(!config.enhanced_metrics);
        assert_eq!(config.dogstatsd_port, 0);
        assert_eq!(config.logs_url.map(|a| (a.tls, a.host)), Some((true, "logs.example.com".to_owned())));
        assert_eq!(config.traces_socket, Some("/tmp/apm.sock".into()));
        assert_eq!(config.lambda.runtime_api.map(|a| a.authority()).as_deref(), Some("169.254.100.1:9001"));
        assert_eq!(config.lambda.memory_size_mb, Some(512));
    }

    #[test]
    fn bad_values_are_told_all_at_once_and_the_default_stays() {
        let config = parse(&[
            ("DD_API_KEY", "se\u{1}cret"),
            ("DD_SITE", "not a site"),
            ("DATADOG_URL", "ftp://x"),
            ("DD_APM_DD_URL", "http://me:secret@x"),
            ("DD_TRACE_PROPAGATION_STYLE", "b4"),
            ("DD_LOG_LEVEL", "loud"),
            ("DD_FLUSH_TIMEOUT", "-1"),
            ("DD_ENHANCED_METRICS", "maybe"),
            ("DD_APM_RECEIVER_PORT", "81260"),
            ("DD_TAGS", "a:b,nonsense,c:d"),
        ]);
        let lines: Vec<_> = config.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "DD_API_KEY: the value is not a key of printable characters; none is used",
                "DD_SITE: \"not a site\" is not a domain; datadoghq.com is used",
                "DATADOG_URL: \"ftp://x\" is not an http or https address; by the site is used",
                "DD_APM_DD_URL: the value is not an http or https address; by the site is used",
                "DD_TAGS: \"nonsense\" is not key:value; the other tags are used",
                "DD_LOG_LEVEL: \"loud\" is not one of error, warn, info, debug; info is used",
                "DD_FLUSH_TIMEOUT: \"-1\" is not a number of seconds, above 0 to 900; 5 is used",
                "DD_ENHANCED_METRICS: \"maybe\" is not true or false; true is used",
                "DD_TRACE_PROPAGATION_STYLE_EXTRACT: \"b4\" is not a header format known here; the other formats are used",
                "DD_TRACE_PROPAGATION_STYLE: \"b4\" is not a list of header formats; datadog,tracecontext,baggage is used",
                "DD_APM_RECEIVER_PORT: \"81260\" is not a port, 0 to 65535; 8126 is used",
            ]
        );
        let rest = Config { problems: Vec::new(), tags: Vec::new(), ..config.clone() };
        assert_eq!(rest, Config::default());
        assert_eq!(config.tags.len(), 2);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn logs_are_on_when_either_setting_says_so() {
        let check = |a: Option<&str>, b: Option<&str>, want| {
            let variables = [("DD_SERVERLESS_LOGS_ENABLED", a), ("DD_LOGS_ENABLED", b)];
            let variables: Vec<_> = variables.iter().filter_map(|(n, v)| Some((*n, (*v)?))).collect();
            assert_eq!(parse(&variables).logs(), want, "{variables:?}");
        };
        check(None, None, true);
        check(Some("false"), None, false);
        check(None, Some("0"), false);
        check(Some("false"), Some("true"), true);
        check(Some("true"), Some("false"), true);
        check(Some("false"), Some("false"), false);
    }

    #[test]
    fn a_long_value_is_cut() {
        let config = parse(&[("DD_LOG_LEVEL", &"é".repeat(500))]);
        assert!(config.problems[0].to_string().len() < 250);
    }
}
