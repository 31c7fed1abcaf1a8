//! What a function and a local Lambda are made of: plain values, no side effects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::Mode;

use crate::api::StreamLimit;
use crate::faults::Faults;

/// One function: what to run, beside which extensions, with which settings.
///
/// ```
/// use sandbox::FunctionConfig;
/// use std::time::Duration;
///
/// let config = FunctionConfig::new("orders", ["target/debug/orders"])
///     .extension("target/debug/datadog-agent")
///     .env("DD_ENV", "dev")
///     .timeout(Duration::from_secs(5));
/// assert_eq!(config.memory_mb, 128);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionConfig {
    pub name: String,
    /// On demand, provisioned, from a snapshot, or on managed instances.
    pub mode: Mode,
    /// Sandboxes that are made before anybody invokes, except on demand; at least one.
    pub ahead: usize,
    /// The managed runtime, such as `python3.13`; a custom one (`provided.al2023`) when not given. Of managed ones
    /// Lambda tells the name, and starts them by `AWS_LAMBDA_EXEC_WRAPPER` when that is set.
    pub runtime: Option<String>,
    /// The bootstrap and its arguments.
    pub command: Vec<String>,
    /// Executables, or folders whose files are taken in name order as Lambda does with `/opt/extensions`. The
    /// file name is the extension's name.
    pub extensions: Vec<PathBuf>,
    /// What Lambda makes of the layers: the folder that plays `/opt`. The extensions in it start after those above.
    pub opt: Option<PathBuf>,
    /// The customer's variables: seen by the function and by the extensions. Names that Lambda reserves are
    /// ignored.
    pub env: Vec<(String, String)>,
    /// Longest time of one invocation, handler and extensions together.
    pub timeout: Duration,
    pub memory_mb: u32,
    /// All processes together may not have more than `memory_mb`: the function is killed, as Lambda kills it. When
    /// not set the size is only reported, since a debug build needs more than what it is a build of.
    pub memory_limit: bool,
    /// Where the function runs, and `LAMBDA_TASK_ROOT`; the folder of the bootstrap when not given.
    pub working_dir: Option<PathBuf>,
    /// `_HANDLER`.
    pub handler: String,
    pub version: String,
    /// Longest time of an initialisation outside an invocation, if it is not Lambda's: see [`Mode::init_limit`].
    pub init_limit: Option<Duration>,
    /// Sandboxes at a time, at least one; invocations beyond wait. One if the variables give fixed ports.
    pub max_sandboxes: usize,
    /// A sandbox that had nothing to do for this long is ended (SPINDOWN).
    pub idle_limit: Duration,
    /// How often an [`InvocationType::Event`](crate::InvocationType::Event) that failed is tried again.
    pub retries: u32,
    /// Wait before the first of them; twice as long before the second.
    pub retry_delay: Duration,
    /// Who is told of an event that failed every time.
    pub on_failure: Option<Destination>,
    /// Who is told of an event that succeeded.
    pub on_success: Option<Destination>,
    /// How fast a streamed response goes out; as fast as it comes when not given.
    pub stream_limit: Option<StreamLimit>,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Each sandbox has a network, `/opt`, `/var/task` and `/tmp` of its own, as in Lambda, where the ports are those
    /// that everybody knows. The command that becomes the inside of one: it has to call [`inside`](crate::inside).
    pub private: Option<Vec<String>>,
}

/// Who is told what became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Another function of the same Lambda, by name.
    Function(String),
    /// [`Lambda::event_records`](crate::Lambda::event_records).
    Kept,
}

impl FunctionConfig {
    /// A function with Lambda's defaults: 3 s, 128 MB, 10 s for its initialisation. At most 20 sandboxes, each for
    /// ten minutes after its last invocation.
    pub fn new<C: Into<String>>(name: impl Into<String>, command: impl IntoIterator<Item = C>) -> Self {
        Self {
            name: name.into(),
            mode: Mode::OnDemand,
            ahead: 1,
            runtime: None,
            command: command.into_iter().map(Into::into).collect(),
            extensions: Vec::new(),
            opt: None,
            env: Vec::new(),
            timeout: Duration::from_secs(3),
            memory_mb: 128,
            memory_limit: false,
            working_dir: None,
            handler: "bootstrap".to_owned(),
            version: "$LATEST".to_owned(),
            init_limit: None,
            max_sandboxes: 20,
            idle_limit: Duration::from_secs(600),
            retries: 2,
            retry_delay: Duration::from_secs(60),
            on_failure: None,
            on_success: None,
            stream_limit: None,
            faults: Faults::default(),
            private: None,
        }
    }

    pub fn extension(mut self, path: impl Into<PathBuf>) -> Self {
        self.extensions.push(path.into());
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn memory_mb(mut self, memory_mb: u32) -> Self {
        self.memory_mb = memory_mb;
        self
    }

    /// What the function and its extensions may use, as a limit that kills.
    pub fn memory_limit(mut self, memory_mb: u32) -> Self {
        (self.memory_mb, self.memory_limit) = (memory_mb, true);
        self
    }

    pub fn opt(mut self, dir: impl Into<PathBuf>) -> Self {
        self.opt = Some(dir.into());
        self
    }

    /// As [`StreamLimit::LAMBDA`], or another.
    pub fn stream_limit(mut self, limit: StreamLimit) -> Self {
        self.stream_limit = Some(limit);
        self
    }

    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    pub fn private<C: Into<String>>(mut self, command: impl IntoIterator<Item = C>) -> Self {
        self.private = Some(command.into_iter().map(Into::into).collect());
        self
    }

    pub fn working_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(dir.into());
        self
    }

    pub fn handler(mut self, handler: impl Into<String>) -> Self {
        self.handler = handler.into();
        self
    }

    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// How many sandboxes are made before anybody invokes.
    pub fn ahead(mut self, sandboxes: usize) -> Self {
        self.ahead = sandboxes;
        self
    }

    pub fn runtime(mut self, name: impl Into<String>) -> Self {
        self.runtime = Some(name.into());
        self
    }

    pub fn init_limit(mut self, limit: Duration) -> Self {
        self.init_limit = Some(limit);
        self
    }

    pub fn max_sandboxes(mut self, limit: usize) -> Self {
        self.max_sandboxes = limit;
        self
    }

    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle_limit = limit;
        self
    }

    /// How often an event that failed is tried again, and the wait before the first time.
    pub fn retries(mut self, retries: u32, delay: Duration) -> Self {
        (self.retries, self.retry_delay) = (retries, delay);
        self
    }

    pub fn on_failure(mut self, destination: Destination) -> Self {
        self.on_failure = Some(destination);
        self
    }

    pub fn on_success(mut self, destination: Destination) -> Self {
        self.on_success = Some(destination);
        self
    }

    /// What the customer's variables say; of several the last.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.env.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// The bootstrap, behind the wrapper of a managed runtime.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper>
    pub(crate) fn whole_command(&self) -> Vec<String> {
        let wrapper = self.runtime.as_ref().and_then(|_| self.setting("AWS_LAMBDA_EXEC_WRAPPER"));
        let wrapper = wrapper.map(|wrapper| match (&self.opt, wrapper.strip_prefix("/opt/")) {
            (Some(opt), Some(rest)) if self.private.is_none() => {
                opt.join(rest).to_string_lossy().into_owned()
            }
            _ => wrapper.to_owned(),
        });
        wrapper.into_iter().chain(self.command.iter().cloned()).collect()
    }

    /// One that was named, or one in a layer.
    pub(crate) fn has_extension(&self) -> bool {
        let in_layers = || self.opt.as_ref().and_then(|opt| opt.join("extensions").read_dir().ok()?.next());
        !self.extensions.is_empty() || in_layers().is_some()
    }

    /// The folder that plays `/var/task`.
    pub(crate) fn task_root(&self) -> PathBuf {
        let beside = || self.command.first().map(Path::new).and_then(Path::parent);
        match &self.working_dir {
            Some(dir) => dir.clone(),
            None => match beside() {
                Some(dir) if !dir.as_os_str().is_empty() => dir.to_path_buf(),
                _ => PathBuf::from("."),
            },
        }
    }
}

/// What all functions of one local Lambda share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LambdaConfig {
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// The port of the Invoke API on 127.0.0.1; 0 for any free one.
    pub port: u16,
}

impl Default for LambdaConfig {
    fn default() -> Self {
        Self { region: "us-east-1".to_owned(), account: "123456789012".to_owned(), port: 0 }
    }
}

impl LambdaConfig {
    pub(crate) fn arn(&self, function: &str) -> String {
        let partition = model::Arn::partition_of(&self.region);
        format!("arn:{partition}:lambda:{}:{}:function:{function}", self.region, self.account)
    }
}
