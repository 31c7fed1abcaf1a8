//! The variables that processes see.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>

use platform::Mode;

use crate::config::{FunctionConfig, LambdaConfig};
use crate::ports;

/// Names whose values customers cannot set.
const RESERVED: [&str; 22] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
];

/// What the platform sets unless the customer does.
const DEFAULTS: [(&str, &str); 4] = [
    ("LANG", "en_US.UTF-8"),
    ("TZ", ":UTC"),
    ("PATH", "/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
    (
        "LD_LIBRARY_PATH",
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    ),
];

/// Where a function of a snapshot gets its credentials, with which word, and what they are. Nothing here asks for them.
pub(crate) const CREDENTIALS: &str = "/2021-04-23/credentials";
pub(crate) const TOKEN: &str = "local";
pub(crate) const ACCESS_KEY: &str = "ASIALOCALLOCALLOCAL0";
pub(crate) const SECRET: &str = "local";

/// Variables in order; a later value wins.
pub(crate) type Variables = Vec<(String, String)>;

/// Where the sandbox is found by its processes.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) function: &'a FunctionConfig,
    pub(crate) lambda: &'a LambdaConfig,
    /// Of this sandbox: one beyond those that are provisioned is on demand.
    pub(crate) mode: Mode,
    /// Of the Runtime API; the first of the sandbox's block.
    pub(crate) port: u16,
    /// The Invoke API.
    pub(crate) endpoint: &'a str,
    pub(crate) log_stream: &'a str,
}

impl Place<'_> {
    /// What an extension sees: nothing of the handler, of the log stream or of X-Ray.
    pub(crate) fn of_extension(&self) -> Variables {
        let mut vars: Variables = Vec::new();
        let mut set = |name: &str, value: &str| vars.push((name.to_owned(), value.to_owned()));
        for (name, value) in DEFAULTS {
            match self.function.opt.as_ref().filter(|_| self.function.private.is_none()) {
                Some(opt) => set(name, &value.replace("/opt", &opt.to_string_lossy())),
                None => set(name, value),
            }
        }
        for (name, offset) in ports::SETTINGS {
            // Two names for one port: given by one of them, it is meant by both.
            let same = ports::SETTINGS.iter().filter(|(_, o)| *o == offset).map(|(name, _)| *name);
            match same.filter_map(|name| self.given(name)).next_back() {
                Some(given) => set(name, given),
                // A library takes such a setting for a sign that there is an extension; where there is one and the
                // network is its own, the ports are those that everybody knows.
                None if !self.function.has_extension() || self.function.private.is_some() => {}
                None => set(name, &self.port.saturating_add(offset).to_string()),
            }
        }
        for (name, value) in &self.function.env {
            // Lambda takes names that begin with a letter only.
            if name.starts_with(|c: char| c.is_ascii_alphabetic()) && !RESERVED.contains(&name.as_str()) {
                set(name, value);
            }
        }
        if self.mode == Mode::SnapStart {
            // A snapshot must not hold credentials that are over when it is used.
            set(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                &format!("http://127.0.0.1:{}{CREDENTIALS}", self.port),
            );
            set("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN);
        } else {
            set("AWS_ACCESS_KEY_ID", ACCESS_KEY);
            set("AWS_SECRET_ACCESS_KEY", SECRET);
            set("AWS_SESSION_TOKEN", SECRET);
        }
        if let Mode::ManagedInstances { .. } = self.mode {
            set("AWS_LAMBDA_LOG_FORMAT", "JSON");
        }
        set("AWS_REGION", &self.lambda.region);
        set("AWS_DEFAULT_REGION", &self.lambda.region);
        set("AWS_LAMBDA_FUNCTION_NAME", &self.function.name);
        set("AWS_LAMBDA_FUNCTION_VERSION", &self.function.version);
        set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &self.function.memory_mb.to_string());
        set("AWS_LAMBDA_INITIALIZATION_TYPE", self.mode.initialization_type().as_str());
        set("AWS_LAMBDA_RUNTIME_API", &format!("127.0.0.1:{}", self.port));
        vars
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.function.env.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What the function sees.
    pub(crate) fn of_function(&self) -> Variables {
        let mut vars: Variables = Vec::new();
        let mut set = |name: &str, value: &str| vars.push((name.to_owned(), value.to_owned()));
        // So that the SDK invokes functions here; https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
        set("AWS_ENDPOINT_URL_LAMBDA", self.endpoint);
        set("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
        set("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000");
        set("AWS_LAMBDA_LOG_FORMAT", "Text");
        vars.extend(self.of_extension());
        let mut set = |name: &str, value: &str| vars.push((name.to_owned(), value.to_owned()));
        if self.mode != Mode::SnapStart {
            set("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", self.function.name));
            set("AWS_LAMBDA_LOG_STREAM_NAME", self.log_stream);
        }
        if let Some(concurrency) = self.mode.concurrency() {
            set("AWS_LAMBDA_MAX_CONCURRENCY", &concurrency.to_string());
        }
        if let Some(runtime) = &self.function.runtime {
            set("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{runtime}"));
        }
        set("_HANDLER", &self.function.handler);
        match self.function.private {
            Some(_) => set("LAMBDA_TASK_ROOT", "/var/task"),
            None => set("LAMBDA_TASK_ROOT", &self.function.task_root().to_string_lossy()),
        }
        set("LAMBDA_RUNTIME_DIR", "/var/runtime");
        set("_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1");
        set("_AWS_XRAY_DAEMON_PORT", "2000");
        vars
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Variables};
    use crate::config::{FunctionConfig, LambdaConfig};
    use platform::Mode;

    fn value<'a>(vars: &'a Variables, name: &str) -> Option<&'a str> {
        vars.iter().rfind(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    #[test]
    fn customers_can_set_some_and_extensions_see_less() {
        let function = FunctionConfig::new("orders", ["/srv/orders/bootstrap"])
            .extension("/opt/extensions/datadog-agent")
            .env("DD_ENV", "dev")
            .env("DD_DOGSTATSD_PORT", "7")
            .env("DD_APM_RECEIVER_PORT", "8")
            .env("TZ", "Europe/Paris")
            .env("AWS_REGION", "mars")
            .env("_HANDLER", "mine");
        let lambda = LambdaConfig::default();
        let place = Place {
            function: &function,
            lambda: &lambda,
            mode: Mode::OnDemand,
            port: 13_000,
            endpoint: "http://127.0.0.1:1",
            log_stream: "2026/11/21/[$LATEST]0",
        };
        let (function, extension) = (place.of_function(), place.of_extension());
        let check = |name: &str, in_function: Option<&str>, in_extension: Option<&str>| {
            assert_eq!(value(&function, name), in_function, "{name} in the function");
            assert_eq!(value(&extension, name), in_extension, "{name} in the extension");
        };
        check("DD_ENV", Some("dev"), Some("dev"));
        check("DD_DOGSTATSD_PORT", Some("7"), Some("7"));
        check("DD_APM_RECEIVER_PORT", Some("8"), Some("8"));
        check("DD_TRACE_AGENT_PORT", Some("8"), Some("8"));
        check("DD_LAMBDA_LIFECYCLE_PORT", Some("13003"), Some("13003"));
        check("TZ", Some("Europe/Paris"), Some("Europe/Paris"));
        check("AWS_REGION", Some("us-east-1"), Some("us-east-1"));
        check("_HANDLER", Some("bootstrap"), None);
        check("LAMBDA_TASK_ROOT", Some("/srv/orders"), None);
        check("AWS_LAMBDA_LOG_STREAM_NAME", Some("2026/11/21/[$LATEST]0"), None);
        check("AWS_ENDPOINT_URL_LAMBDA", Some("http://127.0.0.1:1"), None);
        check("AWS_EXECUTION_ENV", None, None);
        check("AWS_LAMBDA_RUNTIME_API", Some("127.0.0.1:13000"), Some("127.0.0.1:13000"));
    }

    #[test]
    fn each_mode_has_its_own() {
        let managed = Mode::ManagedInstances { concurrency: 7 };
        for (mode, name, in_function, in_extension) in [
            (
                Mode::ProvisionedConcurrency,
                "AWS_LAMBDA_INITIALIZATION_TYPE",
                Some("provisioned-concurrency"),
                true,
            ),
            (Mode::OnDemand, "AWS_LAMBDA_MAX_CONCURRENCY", None, false),
            (Mode::OnDemand, "AWS_LAMBDA_LOG_FORMAT", Some("Text"), false),
            (managed, "AWS_LAMBDA_MAX_CONCURRENCY", Some("7"), false),
            (managed, "AWS_LAMBDA_LOG_FORMAT", Some("JSON"), true),
            (managed, "AWS_LAMBDA_INITIALIZATION_TYPE", Some("lambda-managed-instances"), true),
            (Mode::SnapStart, "AWS_LAMBDA_INITIALIZATION_TYPE", Some("snap-start"), true),
            (Mode::SnapStart, "AWS_ACCESS_KEY_ID", None, false),
            (Mode::SnapStart, "AWS_LAMBDA_LOG_STREAM_NAME", None, false),
            (
                Mode::SnapStart,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                Some("http://127.0.0.1:13000/2021-04-23/credentials"),
                true,
            ),
            (Mode::OnDemand, "AWS_EXECUTION_ENV", Some("AWS_Lambda_python3.13"), false),
        ] {
            let function = FunctionConfig::new("f", ["/srv/f"]).runtime("python3.13");
            let (lambda, endpoint) = (LambdaConfig::default(), "http://127.0.0.1:1");
            let place =
                Place { function: &function, lambda: &lambda, mode, port: 13_000, endpoint, log_stream: "s" };
            assert_eq!(value(&place.of_function(), name), in_function, "{mode:?} {name}");
            let extension = in_function.filter(|_| in_extension);
            assert_eq!(value(&place.of_extension(), name), extension, "{mode:?} {name}");
        }
    }

    #[test]
    fn a_wrapper_starts_managed_runtimes_only() {
        let function =
            FunctionConfig::new("f", ["python3", "-m", "x"]).env("AWS_LAMBDA_EXEC_WRAPPER", "/opt/wrap");
        assert_eq!(function.whole_command(), ["python3", "-m", "x"]);
        let function = function.runtime("python3.13");
        assert_eq!(function.whole_command(), ["/opt/wrap", "python3", "-m", "x"]);
        let layered = function.clone().opt("/layers/one");
        assert_eq!(layered.whole_command(), ["/layers/one/wrap", "python3", "-m", "x"]);
        assert_eq!(layered.private(["x"]).whole_command(), ["/opt/wrap", "python3", "-m", "x"]);
    }

    #[test]
    fn without_an_extension_nothing_points_to_one() {
        let function =
            FunctionConfig::new("orders", ["/srv/orders/bootstrap"]).env("DD_TRACE_AGENT_PORT", "8");
        let lambda = LambdaConfig::default();
        let endpoint = "http://127.0.0.1:1";
        let mode = Mode::OnDemand;
        let place =
            Place { function: &function, lambda: &lambda, mode, port: 13_000, endpoint, log_stream: "" };
        let vars = place.of_function();
        for (name, expect) in [
            ("DD_TRACE_AGENT_PORT", Some("8")),
            ("DD_APM_RECEIVER_PORT", Some("8")),
            ("DD_DOGSTATSD_PORT", None),
            ("DD_LAMBDA_LIFECYCLE_PORT", None),
        ] {
            assert_eq!(value(&vars, name), expect, "{name}");
        }
    }
}
