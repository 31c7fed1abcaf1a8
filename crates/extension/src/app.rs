//! The order of a start: sockets, registration, subscription, the first `/event/next`. Nothing slow stands
//! before that: no TLS, no name lookups, no secrets.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::rc::Rc;

use engine::{Engine, LogRules, TraceRules, Unusable};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::config::{Config, shorten};
use crate::driver::{Driver, now};
use crate::egress::Egress;
use crate::extensions_api::{self, ExtensionsApi};
use crate::function::Function;
use crate::inbox::Inbox;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::log;
use crate::proc::Probe;
use crate::sinks::Sinks;
use crate::sources::capture::Capture;
use crate::sources::http::{Listener, serve};
use crate::sources::runtime_proxy::{self, Reader};
use crate::sources::{dogstatsd, lifecycle, otlp, telemetry, traces};

const BACKLOG: u32 = 256;
const OTLP_HTTP: &str = "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT";
const OTLP_GRPC: &str = "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_ENDPOINT";

/// The process with its sockets bound. A socket that could not be bound is missing, and what it is for is
/// off.
#[derive(Debug)]
pub struct App {
    config: Config,
    lifecycle: Option<TcpListener>,
    traces: Option<TcpListener>,
    traces_unix: Option<UnixListener>,
    dogstatsd: Option<dogstatsd::Socket>,
    dogstatsd_unix: Option<dogstatsd::Socket>,
    telemetry: Option<TcpListener>,
    otlp_http: Option<TcpListener>,
    otlp_grpc: Option<TcpListener>,
    runtime_calls: Vec<TcpListener>,
}

/// Why the process cannot do its work at all.
#[derive(Debug)]
pub enum Fatal {
    /// `AWS_LAMBDA_RUNTIME_API` is not set: this is no Lambda.
    NoLambda,
    /// Lambda did not take the registration.
    Register(String),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLambda => {
                write!(
                    f,
                    "AWS_LAMBDA_RUNTIME_API is not set; this program is started by AWS Lambda as an extension"
                )
            }
            Self::Register(why) => write!(f, "the Extensions API does not take the registration: {why}"),
        }
    }
}

impl std::error::Error for Fatal {}

impl App {
    /// Binds the sockets. Has to be called within a tokio runtime.
    pub fn bind(config: Config) -> Self {
        let local = |port| (port != 0).then_some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        // Lambda delivers telemetry to the host `sandbox`, which is not 127.0.0.1.
        let any = |port| (port != 0).then_some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        Self {
            lifecycle: bound(
                "lifecycle calls",
                "DD_LAMBDA_LIFECYCLE_PORT",
                local(config.lifecycle_port),
                tcp,
            ),
            traces: bound("traces", "DD_APM_RECEIVER_PORT", local(config.traces_port), tcp),
            traces_unix: bound("traces", "DD_APM_RECEIVER_SOCKET", config.traces_socket.as_deref(), unix),
            dogstatsd: bound("metrics", "DD_DOGSTATSD_PORT", local(config.dogstatsd_port), |address| {
                dogstatsd::Socket::udp(address, config.dogstatsd_buffer)
            }),
            dogstatsd_unix: bound(
                "metrics",
                "DD_DOGSTATSD_SOCKET",
                config.dogstatsd_socket.as_deref(),
                |path| dogstatsd::Socket::unix(path, config.dogstatsd_buffer),
            ),
            telemetry: bound("telemetry", "DD_LAMBDA_TELEMETRY_PORT", any(config.telemetry_port), tcp),
            otlp_http: bound("OTLP", OTLP_HTTP, config.otlp.http_port.and_then(local), tcp),
            otlp_grpc: bound("OTLP", OTLP_GRPC, config.otlp.grpc_port.and_then(local), tcp),
            runtime_calls: runtime_calls(&config),
            config,
        }
    }

    /// Registers and works until the sandbox ends. Has to be awaited on a `LocalRuntime`.
    ///
    /// # Errors
    /// Only before the registration; after it nothing ends the process but Lambda.
    pub async fn run(self) -> Result<(), Fatal> {
        let Self {
            config,
            lifecycle,
            traces,
            traces_unix,
            dogstatsd,
            dogstatsd_unix,
            telemetry,
            otlp_http,
            otlp_grpc,
            runtime_calls,
        } = self;
        let address = config.lambda.runtime_api.clone().ok_or(Fatal::NoLambda)?;
        let inbox = Rc::new(Inbox::new(config.memory_limit));
        runtime_proxy::begin(runtime_calls, &address, &inbox);
        let mut api = ExtensionsApi::new(address, config.lambda.is_managed());
        let registration = api.register(&config.lambda.extension_name).await.map_err(Fatal::Register)?;
        let function = Function::new(&config, registration.function_name, registration.account_id);
        let seed = getrandom::u64().unwrap_or_else(|_| now().as_nanos());
        let engine = Engine::new(function.settings(&config, seed), now());

        let traces_source = Rc::new(traces::Traces::new(inbox.clone(), &config, &function.name));
        for listener in traces.map(Listener::Tcp).into_iter().chain(traces_unix.map(Listener::Unix)) {
            spawn_local(serve(listener, traces_source.clone()));
        }
        if let Some(listener) = lifecycle {
            let source = lifecycle::Lifecycle::new(
                inbox.clone(),
                function.for_trigger(),
                config.trigger.clone(),
                capture(&config),
            );
            spawn_local(serve(Listener::Tcp(listener), Rc::new(source)));
        }
        let labels = function.statsd_labels(&config);
        for socket in dogstatsd.into_iter().chain(dogstatsd_unix) {
            spawn_local(dogstatsd::serve(socket, inbox.clone()));
        }
        if let Some(listener) = telemetry {
            spawn_local(serve(Listener::Tcp(listener), Rc::new(telemetry::Telemetry::new(inbox.clone()))));
            if let Err(why) = api.subscribe(config.telemetry_port, config.logs()).await {
                log::error(format_args!(
                    "no telemetry: {why}. Logs and most of the enhanced metrics will be missing"
                ));
            }
        }
        let otlp = serve_otlp(&config, &function, &inbox, otlp_http, otlp_grpc);
        let (next, asked) = mpsc::unbounded_channel();
        let egress = Egress::new(&config);
        let keys = Keys::new(&config, &function.name, Egress::checked(&config, &egress));
        spawn_local(extensions_api::events(api, asked, inbox.clone(), keys.clone()));
        let sinks = Sinks::new(&config, keys, egress, inbox.clone());
        let reader = Reader {
            function: function.for_trigger(),
            settings: config.trigger.clone(),
            capture: capture(&config),
        };
        spawn_local(report_unusable(config.trace_rules, config.log_rules));
        let probe = Probe::new(config.enhanced_metrics && config.proc_metrics, config.lambda.is_managed());
        let ledger = Ledger::default();
        Driver { engine, inbox, sinks, otlp, labels, reader, probe, ledger, next }.run().await;
        Ok(())
    }
}

/// Listens for the runtime, when that is set: before Lambda hears of us, since other extensions may call too.
fn runtime_calls(config: &Config) -> Vec<TcpListener> {
    let addresses = config.runtime_proxy.addresses().into_iter();
    addresses
        .filter_map(|(setting, address)| bound("calls of the runtime", setting, Some(address), tcp))
        .collect()
}

fn capture(config: &Config) -> Capture {
    Capture(config.capture_payload.then_some(config.capture_depth))
}

/// Listens for OpenTelemetry's exporters, when that is set.
fn serve_otlp(
    config: &Config,
    function: &Function,
    inbox: &Rc<Inbox>,
    http: Option<TcpListener>,
    grpc: Option<TcpListener>,
) -> Option<otlp::State> {
    if !config.otlp.is_listened_for() {
        return None;
    }
    let mut settings = config.otlp.clone();
    settings.traces.default_service = config.service.clone().unwrap_or_else(|| function.name.clone()).into();
    if let Some(listener) = http {
        let source = otlp::Http::new(inbox.clone(), settings.clone());
        spawn_local(serve(Listener::Tcp(listener), Rc::new(source)));
    }
    #[cfg(feature = "grpc")]
    if let Some(listener) = grpc {
        let source = otlp::grpc::Grpc::new(inbox.clone(), settings.clone());
        spawn_local(serve(Listener::Tcp(listener), Rc::new(source)));
    }
    #[cfg(not(feature = "grpc"))]
    if grpc.is_some() {
        log::error(format_args!("{OTLP_GRPC}: this build takes no gRPC; OTLP over HTTP works"));
    }
    Some(otlp::State::new(settings, now()))
}

/// Tells of expressions that cannot be used: once the driver has asked for the first event and waits for it.
async fn report_unusable(rules: TraceRules, log_rules: LogRules) {
    tokio::task::yield_now().await;
    for Unusable { pattern, hidden, why } in rules.unusable() {
        let pattern = shorten(&pattern);
        match hidden {
            None => log::error(format_args!(
                "a setting DD_APM_… has the regular expression {pattern:?}, which has no effect: {why}"
            )),
            Some(name) => log::error(format_args!(
                "DD_APM_REPLACE_TAGS: the rule of {:?} has the pattern {pattern:?}; ALL THAT IT NAMES IS HIDDEN, as \
                 it may hold what this rule was to replace: {why}",
                shorten(&name)
            )),
        }
    }
    for (rule, why) in log_rules.unusable() {
        let (pattern, name) = (shorten(&rule.pattern), shorten(&rule.name));
        let effect = match rule.is_mask() {
            true => "NO LOG LINE IS SENT, as it may hold what this rule was to mask",
            false => "it has no effect",
        };
        log::error(format_args!(
            "DD_LOGS_CONFIG_PROCESSING_RULES: the rule {name:?} has the pattern {pattern:?}; {effect}: {why}"
        ));
    }
}

/// Binds one socket; a failure is reported and leaves the source off.
fn bound<A: fmt::Debug + Copy, S>(
    what: &str,
    setting: &str,
    address: Option<A>,
    bind: impl FnOnce(A) -> io::Result<S>,
) -> Option<S> {
    let address = address?;
    bind(address)
        .inspect_err(|error| {
            log::error(format_args!(
                "cannot listen for {what} on {address:?}: {error}. They are not taken; see {setting}"
            ));
        })
        .ok()
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A socket file that a process left behind is replaced, one that is answered is not.
fn unix(path: &Path) -> io::Result<UnixListener> {
    let is_left_behind = || {
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        is_socket && std::os::unix::net::UnixStream::connect(path).is_err()
    };
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind() => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}
