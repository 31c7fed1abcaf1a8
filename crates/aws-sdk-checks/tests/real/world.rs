//! What the tests stand on: the AWS API server, the Python on the other side, and the spans that were made.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_types::SdkConfig;
use opentelemetry::trace::{SpanId, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::SpanData;
use serde_json::{Value, json};

use crate::kept::kept;

/// For a machine that does six other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Of which Datadog's tracer counts data streams.
pub(crate) const PYTHON_SERVICE: &str = "python-service";

/// The Python that has all that the other side needs.
pub(crate) fn python_program() -> PathBuf {
    let python = std::env::var_os("REAL_PYTHON").map(PathBuf::from);
    python.expect("REAL_PYTHON: run `cargo xtask test --only real`")
}

/// Where all programs of the workspace are: built as they are before the tests, so that there is nothing to do.
pub(crate) fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        let built = cargo.args(["build", "--workspace", "--bins", "--quiet"]).status();
        assert!(built.unwrap().success(), "the workspace does not build");
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("../debug").canonicalize().unwrap()
    })
}

/// A Python that answers lines with lines. It ends when its input does, at the latest with this process.
struct Python {
    #[expect(dead_code, reason = "its input is what keeps it running")]
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Python {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script);
        // Data streams are counted, and stay where they are.
        let streams = [
            ("DD_DATA_STREAMS_ENABLED", "true"),
            ("DD_SERVICE", PYTHON_SERVICE),
            ("DD_ENV", "test"),
            ("DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED", "false"),
            ("_DD_TRACE_STATS_WRITER_INTERVAL", "100000"),
        ];
        let streams = streams.into_iter().filter(|_| arguments == ["streams"]);
        let mut child = Command::new(python_program())
            .arg(script)
            .args(arguments)
            .envs([
                ("DD_TRACE_STARTUP_LOGS", "false"),
                ("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false"),
                ("DD_REMOTE_CONFIGURATION_ENABLED", "false"),
                // Nobody is there to take its spans.
                ("DD_TRACE_AGENT_URL", "http://127.0.0.1:1"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
                ("PYTHONDONTWRITEBYTECODE", "1"),
            ])
            .envs(streams)
            .env_remove("AWS_ENDPOINT_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (send, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)).ok();
        });
        let input = child.stdin.take();
        Self { child, input, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the Python on the other side says nothing")
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{question}").unwrap();
        let answer: Value = serde_json::from_str(&self.line()).unwrap();
        assert!(answer.get("error").is_none(), "{question}: {answer}");
        answer["ok"].clone()
    }
}

/// The address of the AWS API server.
pub(crate) fn endpoint() -> &'static str {
    static SERVER: OnceLock<(Mutex<Python>, String)> = OnceLock::new();
    let (_, address) = SERVER.get_or_init(|| {
        let server = Python::start("moto_server.py", &[]);
        let address = server.line();
        (Mutex::new(server), address)
    });
    address
}

/// One process for all tests: they ask in turn.
fn ask(peer: &'static OnceLock<Mutex<Python>>, mode: &str, question: &Value) -> Value {
    let peer = peer.get_or_init(|| Mutex::new(Python::start("peer.py", &[mode])));
    peer.lock().unwrap_or_else(PoisonError::into_inner).ask(question)
}

fn plain(question: &Value) -> Value {
    static PEER: OnceLock<Mutex<Python>> = OnceLock::new();
    ask(&PEER, "plain", question)
}

/// A call of AWS's own client for Python.
pub(crate) fn boto(service: &str, method: &str, arguments: Value) -> Value {
    let of = json!({"endpoint": endpoint(), "service": service, "method": method, "arguments": arguments});
    plain(&with(of, "call"))
}

/// The same call with Datadog's tracer in it, and the trace that it was made in.
pub(crate) fn traced_boto(service: &str, method: &str, arguments: Value) -> TraceId {
    traced_boto_at(endpoint(), service, method, arguments)
}

pub(crate) fn traced_boto_at(endpoint: &str, service: &str, method: &str, arguments: Value) -> TraceId {
    static PEER: OnceLock<Mutex<Python>> = OnceLock::new();
    let of = json!({"endpoint": endpoint, "service": service, "method": method, "arguments": arguments});
    let made = ask(&PEER, "traced", &with(of, "traced"));
    TraceId::from_hex(made["trace_id"].as_str().unwrap()).unwrap()
}

/// A question to a Python in which Datadog's tracer counts data streams. Its counts are those of the one who has it.
pub(crate) fn streams(question: &Value) -> Value {
    static PEER: OnceLock<Mutex<Python>> = OnceLock::new();
    ask(&PEER, "streams", question)
}

/// The hashes of the span pointers that Datadog's library for Python makes of an event.
pub(crate) fn python_pointers(event: &Value) -> Vec<String> {
    let hashes = plain(&json!({"do": "pointers", "event": event}));
    hashes.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().to_owned()).collect()
}

/// Those that our own library makes.
pub(crate) fn rust_pointers(event: &Value) -> Vec<String> {
    let reading = trigger::read(event, &trigger::Function::default(), &trigger::Settings::default());
    let hashes = reading.links.iter().filter_map(|link| link.attributes.get("ptr.hash"));
    hashes.map(ToString::to_string).collect()
}

fn with(mut question: Value, what: &str) -> Value {
    question["do"] = what.into();
    question
}

/// The ids of a context: what a message is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
}

/// What Datadog's library for Python takes from an event.
pub(crate) fn python(event: &Value) -> Option<Ids> {
    python_with(event, &Value::Null)
}

pub(crate) fn python_with(event: &Value, client_context: &Value) -> Option<Ids> {
    let found = plain(&json!({"do": "extract", "event": event, "client_context": client_context}));
    let text = |key: &str| found.get(key)?.as_str();
    assert!(found.is_null() || found["priority"] == 1, "{found}");
    Some(Ids {
        trace: TraceId::from_hex(text("trace_id")?).unwrap(),
        span: SpanId::from_hex(text("span_id")?).unwrap(),
    })
}

/// What our own library takes from it.
pub(crate) fn rust(event: &Value) -> Option<Ids> {
    let reading = trigger::read(event, &trigger::Function::default(), &trigger::Settings::default());
    reading.parent.and_then(ids)
}

pub(crate) fn ids(context: propagation::TraceContext) -> Option<Ids> {
    Some(Ids { trace: TraceId::from(context.trace_id.to_u128()), span: SpanId::from(context.span_id?.get()) })
}

/// The event is read alike by both libraries, as that of the call; and functions with them, and the extension, that get
/// it continue the call's trace.
pub(crate) fn check(event: &Value, sent: Ids) {
    assert_eq!(rust(event), Some(sent), "our own library: {event}");
    assert_eq!(python(event), Some(sent), "Datadog's library for Python: {event}");
    crate::chain::check(event, None, sent);
}

/// Configuration as `aws_config` would load it. Clients are made with it as users make them.
pub(crate) fn sdk_config() -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "id", "secret", None, None, "test",
        )))
        .http_client(HttpBuilder::new().build_http())
        .build()
}

/// A context with an active span, under which a test makes its calls.
pub(crate) struct Caller {
    pub(crate) context: Context,
}

impl Caller {
    pub(crate) fn new() -> Self {
        kept();
        Self { context: Context::new().with_span(global::tracer("test").start("caller")) }
    }

    pub(crate) fn trace(&self) -> TraceId {
        self.context.span().span_context().trace_id()
    }

    /// The spans of its calls so far.
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        let all = kept().lock();
        all.iter()
            .filter(|s| s.span_context.trace_id() == self.trace() && s.name != "caller")
            .cloned()
            .collect()
    }

    pub(crate) fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let mut named = spans.iter().filter(|span| span.name == name);
        let span = named.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
        assert!(named.next().is_none(), "more than one {name}");
        span.clone()
    }

    /// Of the one call of an operation.
    pub(crate) fn ids(&self, name: &str) -> Ids {
        self.ids_of(&self.span(name))
    }

    pub(crate) fn ids_of(&self, span: &SpanData) -> Ids {
        Ids { trace: self.trace(), span: span.span_context.span_id() }
    }
}

pub(crate) fn tags(span: &SpanData) -> HashMap<String, String> {
    span.attributes.iter().map(|kv| (kv.key.to_string(), kv.value.to_string())).collect()
}

/// The hashes of the pointers among a span's links.
pub(crate) fn pointers(span: &SpanData) -> Vec<String> {
    let attributes = span.links.links.iter().flat_map(|link| &link.attributes);
    attributes.filter(|kv| kv.key.as_str() == "ptr.hash").map(|kv| kv.value.to_string()).collect()
}
