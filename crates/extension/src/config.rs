//! Everything that is read from the environment, parsed: no side effects, no defaults hidden elsewhere.
//! Which variables there are and what they mean is the table in `settings`.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{FlushStrategy, LogRules, TagChoice, TraceRules};
use model::{InitializationType, Signal, Text};
use secrets::{ApiKey, Exceptions, Proxy};

use crate::address::Address;
use crate::egress::Protocol;
use crate::log::Level;
use crate::settings;
use crate::settings::file::Entries;
use crate::tls::MinTls;

/// Bytes that the process may take unless told otherwise.
pub(crate) const MEMORY_LIMIT: usize = 64 << 20;

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
    pub skip_ssl_validation: bool,
    pub min_tls_version: MinTls,
    pub http_protocol: Protocol,
    /// What https connections go over, and which do not.
    pub proxy: Option<Proxy>,
    pub no_proxy: Exceptions,
    /// Where data goes too.
    pub additional: Additional,
    /// Logs go to a worker of Observability Pipelines, which is here.
    pub pipelines_enabled: bool,
    pub pipelines_url: Option<Address>,
    pub logs_compression: bool,
    pub compression: Compression,
    pub env: Option<String>,
    pub service: Option<String>,
    pub version: Option<String>,
    pub tags: Vec<(Text, Text)>,
    pub log_level: Level,
    pub flush_timeout: Duration,
    pub flush_strategy: FlushStrategy,
    /// The longest that connecting to an intake may take.
    pub connect_timeout: Duration,
    /// Bytes that the process may take.
    pub memory_limit: usize,
    pub compute_stats: bool,
    /// What is left out of log lines, and which are left out.
    pub log_rules: LogRules,
    /// Whether the lines that stand for records of the platform are sent.
    pub platform_logs: bool,
    /// Of so many invocations of a durable function lines wait until it is known whose part they are.
    pub durable_hold: usize,
    /// What stands before the names of the function's own metrics.
    pub metric_namespace: Option<String>,
    /// Which tags of the function the function's own metrics carry.
    pub metric_tags: TagChoice,
    /// The same of spans and of log lines.
    pub span_tags: TagChoice,
    pub log_tags: TagChoice,
    /// Whether the kernel is asked for what invocations use.
    pub proc_metrics: bool,
    pub enhanced_metrics: bool,
    pub traces_enabled: bool,
    /// How events are read.
    pub trigger: trigger::Settings,
    /// Which traces are left out, and what is replaced in them.
    pub trace_rules: TraceRules,
    /// What OpenTelemetry's exporters send.
    pub otlp: settings::Otlp,
    pub serverless_logs_enabled: Option<bool>,
    pub logs_enabled: Option<bool>,
    /// Whether the runtime's calls go through here.
    pub runtime_proxy: settings::RuntimeProxy,
    /// Whether events and responses become tags.
    pub capture_payload: bool,
    /// How deep.
    pub capture_depth: usize,
    /// 0: off. So for all ports.
    pub traces_port: u16,
    pub traces_socket: Option<PathBuf>,
    pub dogstatsd_port: u16,
    pub dogstatsd_socket: Option<PathBuf>,
    /// Bytes of datagrams that the kernel is asked to keep for us.
    pub dogstatsd_buffer: usize,
    pub lifecycle_port: u16,
    pub telemetry_port: u16,
    pub lambda: Lambda,
    /// What was set and could not be used.
    pub problems: Vec<Problem>,
}

/// How hard data is compressed: levels of zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Of signals that nothing else is said of.
    pub all: i32,
    pub traces: Option<i32>,
    pub metrics: Option<i32>,
    pub logs: Option<i32>,
}

impl Default for Compression {
    fn default() -> Self {
        Self { all: payload::FAST, traces: None, metrics: None, logs: None }
    }
}

impl Compression {
    /// The level that a signal is compressed at.
    pub(crate) fn of(self, signal: Signal) -> i32 {
        let own = match signal {
            Signal::Traces | Signal::Stats | Signal::Forwards => self.traces,
            Signal::Series | Signal::Sketches => self.metrics,
            Signal::Logs => self.logs,
        };
        own.unwrap_or(self.all)
    }
}

/// Further places that a signal goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additional {
    /// Series and sketches.
    pub metrics: Vec<Target>,
    /// Traces and statistics.
    pub traces: Vec<Target>,
    pub logs: Vec<Target>,
    pub profiling: Vec<Target>,
    /// What debuggers found, and what they say of themselves.
    pub debugger: Vec<Target>,
    pub debugger_diagnostics: Vec<Target>,
    pub telemetry: Vec<Target>,
    /// What comes through `/evp_proxy/`: whole addresses, and sites, before whose name the intake's is put.
    pub evp: Vec<Target>,
    pub evp_sites: Vec<Target>,
}

/// One further place, and the key that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: Address,
    pub key: ApiKey,
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
    /// Where the function's code is.
    pub task_root: PathBuf,
    pub initialization_type: String,
}

impl Lambda {
    /// Managed instances: many invocations at once, and no INVOKE.
    pub fn is_managed(&self) -> bool {
        self.initialization_type == InitializationType::ManagedInstances.as_str()
    }
}

/// A setting whose value, or part of it, could not be used, and what is used instead. One line when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable as it was found, such as `DATADOG_SITE`.
    pub name: String,
    /// `None` for secrets.
    pub value: Option<String>,
    /// What the value should have been; empty where no single value is to blame.
    pub expects: &'static str,
    pub instead: String,
}

impl Config {
    /// Reads the environment, the function's `datadog.yaml` if there is one, and from the command line the name of the
    /// program.
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let root = variable("LAMBDA_TASK_ROOT").filter(|root| !root.is_empty());
        let root = root.map_or_else(|| Self::default().lambda.task_root, PathBuf::from);
        let mut config = match settings::file::text(&root) {
            Ok(None) => Self::parse(variable),
            Ok(Some(text)) => Self::parse_with(variable, &text),
            Err(why) => {
                let mut config = Self::parse(variable);
                config.problems.push(Problem::of_file(&why));
                config
            }
        };
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
        Self::read(variable, &Entries::default())
    }

    /// The same, and what no variable says is looked for in the text of a `datadog.yaml`.
    pub fn parse_with(variable: impl Fn(&str) -> Option<String>, file: &str) -> Self {
        let entries = match Entries::parse(file) {
            Ok(entries) => entries,
            Err(why) => {
                let mut config = Self::parse(variable);
                config.problems.push(Problem::of_file(&why));
                // What the file wanted hidden is not sent because of its mistake.
                config.log_rules.blocked |= file.contains("mask_sequences");
                return config;
            }
        };
        let mut config = Self::read(variable, &entries);
        if let Some(unknown) = entries.unknown() {
            let instead = format!("not known here, and ignored: {unknown}");
            config.problems.push(Problem { instead, ..Problem::of_file("") });
        }
        config
    }

    fn read(variable: impl Fn(&str) -> Option<String>, file: &Entries) -> Self {
        let mut config = Self::default();
        for setting in settings::all() {
            let of_environment = setting.names().find_map(|name| {
                let value = variable(&name)?.trim().to_owned();
                (!value.is_empty()).then_some((name, value))
            });
            let of_file = || {
                let (path, value) = setting.names().find_map(|name| file.find(&name))?;
                let value = value.trim().to_owned();
                (!value.is_empty()).then(|| (format!("{path} in {}", settings::file::NAME), value))
            };
            if let Some((name, value)) = of_environment.or_else(of_file)
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
        config.check();
        config.problems.extend(settings::absent::told(variable));
        config
    }

    /// What no setting is to blame for alone.
    fn check(&mut self) {
        if self.pipelines_enabled && self.pipelines_url.is_none() {
            self.problems.push(Problem {
                name: "DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_URL".to_owned(),
                value: None,
                expects: "set, though DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED is on",
                instead: "logs go to Datadog".to_owned(),
            });
        }
    }

    /// The worker of Observability Pipelines that logs go to, if they do.
    pub fn pipelines(&self) -> Option<&Address> {
        self.pipelines_url.as_ref().filter(|_| self.pipelines_enabled)
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
            skip_ssl_validation: false,
            min_tls_version: MinTls::default(),
            http_protocol: Protocol::default(),
            proxy: None,
            no_proxy: Exceptions::default(),
            additional: Additional::default(),
            pipelines_enabled: false,
            pipelines_url: None,
            logs_compression: true,
            compression: Compression::default(),
            env: None,
            service: None,
            version: None,
            tags: Vec::new(),
            log_level: Level::Info,
            flush_timeout: Duration::from_secs(5),
            flush_strategy: FlushStrategy::Adaptive,
            connect_timeout: Duration::from_secs(1),
            memory_limit: MEMORY_LIMIT,
            compute_stats: false,
            log_rules: LogRules::default(),
            platform_logs: true,
            durable_hold: 0,
            metric_namespace: None,
            metric_tags: TagChoice::default(),
            span_tags: TagChoice::default(),
            log_tags: TagChoice::default(),
            proc_metrics: true,
            enhanced_metrics: true,
            traces_enabled: true,
            trigger: trigger::Settings::default(),
            trace_rules: TraceRules::default(),
            otlp: settings::Otlp::default(),
            serverless_logs_enabled: None,
            logs_enabled: None,
            runtime_proxy: settings::RuntimeProxy::default(),
            capture_payload: false,
            capture_depth: trigger::MAX_CAPTURE_DEPTH,
            traces_port: 8126,
            traces_socket: None,
            dogstatsd_port: 8125,
            dogstatsd_socket: None,
            dogstatsd_buffer: 4 << 20,
            lifecycle_port: 8124,
            telemetry_port: 8999,
            lambda: Lambda {
                extension_name: "datadog-agent".to_owned(),
                runtime_api: None,
                function_name: None,
                function_version: "$LATEST".to_owned(),
                memory_size_mb: None,
                region: "us-east-1".to_owned(),
                task_root: "/var/task".into(),
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

impl Problem {
    /// The whole file cannot be used.
    fn of_file(why: &str) -> Self {
        Self {
            name: settings::file::NAME.to_owned(),
            value: None,
            expects: "",
            instead: format!("{why}; nothing of it is used"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None if self.expects.is_empty() => write!(f, "{}: {}", self.name, self.instead),
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

    /// Variable before file, whatever names they use; a bad variable does not fall back to the file.
    #[test]
    fn the_environment_goes_before_the_file() {
        let parse = |variables: &[(&str, &str)], file: &str| {
            let variable =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            Config::parse_with(variable, file)
        };
        let file = "site: datadoghq.eu\ndd_url: http://file\nflush_timeout: 7\n";
        let config = parse(&[("DD_URL", "http://variable"), ("DATADOG_FLUSH_TIMEOUT", "3")], file);
        assert_eq!(config.problems, []);
        assert_eq!((config.site.as_str(), config.flush_timeout), ("datadoghq.eu", Duration::from_secs(3)));
        assert_eq!(config.metrics_url.map(|url| url.host).as_deref(), Some("variable"));
        assert_eq!(parse(&[("DD_SITE", "")], file).site, "datadoghq.eu");
        let bad = parse(&[("DD_SITE", "a b")], file);
        assert_eq!((bad.site.as_str(), bad.problems.len()), ("datadoghq.com", 1));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_told() {
        let check = |file: &str, lines: &[&str], is_blocked: bool| {
            let config = Config::parse_with(|_| None, file);
            let told: Vec<_> = config.problems.iter().map(ToString::to_string).collect();
            assert_eq!(told, lines, "{file}");
            assert_eq!(config.log_rules.blocked, is_blocked, "{file}");
        };
        check("", &[], false);
        check(
            "site: a b\nlog_level: debug\n",
            &["site in datadog.yaml: \"a b\" is not a domain; datadoghq.com is used"],
            false,
        );
        check(
            "api_key: \"\\x01secret\"\n",
            &["api_key in datadog.yaml: the value is not a key of printable characters; none is used"],
            false,
        );
        check(
            "hostname: x\nprocess_config:\n  enabled: true\n",
            &["datadog.yaml: not known here, and ignored: hostname, process_config.enabled"],
            false,
        );
        check("\tsite: a", &["datadog.yaml: line 1: a tab cannot indent; nothing of it is used"], false);
        check(
            "logs_config:\n  processing_rules:\n  - type: mask_sequences\n pattern: x",
            &[
                "datadog.yaml: line 4: this is indented in another way than what stands above; nothing of it is used",
            ],
            true,
        );
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

    /// Both names, and the file's, which has the agent's.
    #[test]
    fn traces_are_off_by_either_name() {
        let check = |variables: &[(&str, &str)], want| {
            assert_eq!(parse(variables).traces_enabled, want, "{variables:?}");
        };
        check(&[], true);
        check(&[("DD_TRACE_ENABLED", "false")], false);
        check(&[("DD_APM_ENABLED", "false")], false);
        check(&[("DD_TRACE_ENABLED", "true"), ("DD_APM_ENABLED", "false")], true);
        assert!(!Config::parse_with(|_| None, "apm_config:\n  enabled: false\n").traces_enabled);
        assert!(!Config::parse_with(|_| None, "trace_enabled: false\n").traces_enabled);
    }

    /// Made of digits alone they are still a key, a site and a version.
    #[test]
    fn texts_of_digits_are_texts() {
        let config = parse(&[("DD_API_KEY", "01234567890123456789012345678901"), ("DD_SERVICE", "42")]);
        assert_eq!(config.keys.api_key.as_deref(), Some("01234567890123456789012345678901"));
        assert_eq!((config.service.as_deref(), config.problems.len()), (Some("42"), 0));
        let config = Config::parse_with(|_| None, "api_key: 1234567890\nversion: 1.10\nsite: 4711\n");
        assert_eq!(config.keys.api_key.as_deref(), Some("1234567890"));
        assert_eq!((config.version.as_deref(), config.site.as_str()), (Some("1.10"), "4711"));
        assert_eq!(config.problems, []);
    }

    #[test]
    fn a_long_value_is_cut() {
        let config = parse(&[("DD_LOG_LEVEL", &"é".repeat(500))]);
        assert!(config.problems[0].to_string().len() < 250);
    }
}
