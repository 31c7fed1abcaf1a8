//! An event in the local Lambda: given to a Rust function with our library, to a Python function with Datadog's, and to
//! a function whose invocation's span the extension makes. All three have to be in the sender's trace, below the call.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use intake::{Intake, Parent, SpanView, State, TraceView};
use model::{SpanId, TraceId};
use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::world::{Ids, binaries, python_program};

const PATIENCE: Duration = Duration::from_secs(120);
/// By who reads the context.
const FUNCTIONS: [&str; 3] = ["rust", "python", "extension"];

/// The functions, for all tests: they come in turn, so that there is one sandbox of each.
struct Chain {
    runtime: Runtime,
    intake: Intake,
    lambda: Arc<Lambda>,
    /// How often a trace came through.
    traces: Mutex<HashMap<TraceId, usize>>,
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        // On a thread of its own: tests are in runtimes of theirs.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.unwrap();
            let (intake, lambda) = runtime.block_on(async {
                let intake = Intake::start().await.unwrap();
                let functions = FUNCTIONS.map(|name| function(name, &intake)).into();
                (intake, Arc::new(Lambda::start(functions, LambdaConfig::default()).await.unwrap()))
            });
            Chain { runtime, intake, lambda, traces: Mutex::default() }
        })
        .join()
        .unwrap()
    })
}

fn function(name: &str, intake: &Intake) -> FunctionConfig {
    let rust = || vec![binaries().join("interop-universal").to_string_lossy().into_owned()];
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    let function = if name == "python" {
        let local = tests.join("../../../../examples/local.py");
        let command =
            [python_program(), local, "--function".into()].map(|word| word.to_string_lossy().into_owned());
        FunctionConfig::new(name, command).env("DD_LAMBDA_HANDLER", "taker.handler").working_dir(tests)
    } else {
        FunctionConfig::new(name, rust())
            .env("DD_UNIVERSAL_INSTRUMENTATION", (name == "extension").to_string())
    };
    beside_the_extension(function, intake)
}

/// A function with the extension, which sends to that intake.
pub(crate) fn beside_the_extension(function: FunctionConfig, intake: &Intake) -> FunctionConfig {
    let name = function.name.clone();
    let function = [
        ("DD_API_KEY", "0123456789abcdef0123456789abcdef"),
        ("DD_SERVICE", name.as_str()),
        ("DD_DATA_STREAMS_ENABLED", if name == "python" || name == "extension" { "false" } else { "true" }),
        ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
        ("DD_COLD_START_TRACING", "false"),
        ("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false"),
        ("DD_REMOTE_CONFIGURATION_ENABLED", "false"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    .into_iter()
    .fold(function, |function, (key, value)| function.env(key, value));
    let urls = ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"];
    let function = urls.into_iter().fold(function, |function, key| function.env(key, intake.url()));
    function
        .extension(binaries().join("datadog-agent"))
        .timeout(PATIENCE)
        .init_limit(PATIENCE)
        .max_sandboxes(1)
}

/// Gives an event, and perhaps a client context, to all three functions, and finds their roots in the sender's trace.
pub(crate) fn check(event: &Value, client_context: Option<&Value>, sent: Ids) {
    let Chain { runtime, intake, lambda, traces } = chain();
    let mut traces = traces.lock().unwrap_or_else(PoisonError::into_inner);
    let id = TraceId::from_u128(u128::from_be_bytes(sent.trace.to_bytes())).unwrap();
    let parent = SpanId::new(u64::from_be_bytes(sent.span.to_bytes())).unwrap();
    let lambda = lambda.clone();
    let times = *traces.entry(id).and_modify(|times| *times += 1).or_insert(1);
    let options =
        InvokeOptions { client_context: client_context.map(Value::to_string), ..InvokeOptions::default() };
    let (event, (done, wait)) = (event.to_string(), channel());
    runtime.spawn(async move {
        for name in FUNCTIONS {
            let answer = lambda.invoke(name, event.clone().into(), options.clone());
            let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
            assert_eq!((answer.status, &answer.function_error), (200, &None), "{name}: {answer:?}");
        }
        let arrived = |state: &State| state.trace(id).is_some_and(|trace| is_whole(&trace, parent, times));
        let arrived = intake.store().wait_until(arrived, Instant::now() + PATIENCE).await;
        done.send(arrived).unwrap();
    });
    let arrived = wait.recv().expect("an invocation failed: see above");
    assert!(arrived, "{sent:?} {:#?}", intake.store().read(|state| state.trace(id)));
}

/// What drives a function from a queue or a stream until it is dropped.
pub(crate) struct Driving(JoinHandle<()>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Drives one of the functions by a source, as told on the command line.
pub(crate) fn drive(spec: &str) -> Driving {
    let Chain { runtime, lambda, .. } = chain();
    let (spec, lambda) = (spec.parse().unwrap(), lambda.clone());
    let (opened, wait) = channel();
    let driving = runtime.spawn(async move {
        let mapping = mappings::Mapping::open(spec, &crate::world::sdk_config()).await.unwrap();
        opened.send(()).unwrap();
        match mapping.run(lambda, |_| ()).await {}
    });
    wait.recv().expect("the source is not there");
    Driving(driving)
}

/// The local Lambda's Invoke API.
pub(crate) fn endpoint() -> String {
    chain().lambda.endpoint()
}

/// Waits for a function's root in a trace.
pub(crate) fn has_root(trace: opentelemetry::trace::TraceId, function: &'static str) {
    let Chain { runtime, intake, .. } = chain();
    let id = TraceId::from_u128(u128::from_be_bytes(trace.to_bytes())).unwrap();
    let is_there = move |state: &State| {
        let is_root = |span: &SpanView| span.name == "aws.lambda" && span.service == function;
        state.trace(id).is_some_and(|trace| trace.spans.iter().any(is_root))
    };
    let (store, (done, wait)) = (intake.store().clone(), channel());
    runtime.spawn(
        async move { done.send(store.wait_until(is_there, Instant::now() + PATIENCE).await).unwrap() },
    );
    assert!(wait.recv().unwrap(), "{function} is not in {trace}");
}

/// The hashes of items and objects that the traces of a function point to, once all of these are among them.
pub(crate) fn pointed(function: &'static str, wanted: &BTreeSet<String>) -> BTreeSet<String> {
    let Chain { runtime, intake, .. } = chain();
    let found = move |state: &State| -> BTreeSet<String> {
        let is_root = |span: &SpanView| span.name == "aws.lambda" && span.service == function;
        let traces = state.traces().into_iter().filter(|trace| trace.spans.iter().any(is_root));
        traces.flat_map(|trace| trace.spans).flat_map(|span| hashes(&span)).collect()
    };
    let (store, wanted, (done, wait)) = (intake.store().clone(), wanted.clone(), channel());
    runtime.spawn(async move {
        store.wait_until(|state| wanted.is_subset(&found(state)), Instant::now() + PATIENCE).await;
        done.send(store.read(found)).unwrap();
    });
    wait.recv().unwrap()
}

/// Some tracers tell links in a tag.
fn hashes(span: &SpanView) -> Vec<String> {
    let own = span.links.iter().filter_map(|link| link.attributes.get("ptr.hash").map(ToString::to_string));
    let tag = span.meta.get("_dd.span_links").and_then(|text| serde_json::from_str::<Value>(text).ok());
    let tagged = tag.as_ref().and_then(Value::as_array).into_iter().flatten();
    let tagged = tagged.filter_map(|link| link.pointer("/attributes/ptr.hash")?.as_str().map(str::to_owned));
    own.chain(tagged).collect()
}

/// Waits for the roots of functions in a trace, each of them below one of these calls with nothing between that is
/// missing: so many of each.
pub(crate) fn arrived(sent: &[Ids], functions: &[(&'static str, usize)]) {
    let Chain { runtime, intake, .. } = chain();
    let id = TraceId::from_u128(u128::from_be_bytes(sent[0].trace.to_bytes())).unwrap();
    let calls: Vec<_> =
        sent.iter().map(|ids| SpanId::new(u64::from_be_bytes(ids.span.to_bytes())).unwrap()).collect();
    let functions = functions.to_vec();
    let whole = move |state: &State| {
        let Some(trace) = state.trace(id) else { return false };
        let roots = |name: &str| {
            trace.spans.iter().filter(|span| span.name == "aws.lambda" && span.service == name).count()
        };
        let mut tops = trace.spans.iter().filter(|span| span.depth <= 1 && span.parent != Parent::Present);
        let is_below = |span: &SpanView| span.parent_id.is_some_and(|parent| calls.contains(&parent));
        functions.iter().all(|(name, count)| roots(name) == *count) && tops.all(is_below)
    };
    let (store, (done, wait)) = (intake.store().clone(), channel());
    runtime
        .spawn(async move { done.send(store.wait_until(whole, Instant::now() + PATIENCE).await).unwrap() });
    assert!(wait.recv().unwrap(), "{sent:?} {:#?}", intake.store().read(|state| state.trace(id)));
}

/// The bodies of data streams that arrived, unpacked, once there is one that has something in it.
pub(crate) fn streams_with(what: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let Chain { runtime, intake, .. } = chain();
    let deadline = Instant::now() + PATIENCE;
    let mut seen = 0;
    loop {
        let all = intake.store().read(about_streams);
        for number in all.iter().skip(seen) {
            // One that came long ago is not held any more.
            match fetch(&intake.url(), &format!("/local/requests/{number}/body")) {
                Some(body) if what(&body) => return body,
                _ => {}
            }
        }
        seen = all.len();
        let (done, wait) = channel();
        let store = intake.store().clone();
        runtime.spawn(async move {
            let more = store.wait_until(|state| about_streams(state).len() > seen, deadline).await;
            done.send(more).unwrap();
        });
        assert!(wait.recv().unwrap(), "no such data streams among {seen}");
    }
}

/// The numbers of the requests that are about data streams.
pub(crate) fn about_streams(state: &State) -> Vec<u64> {
    let requests = state.requests(false).into_iter();
    let requests = requests.filter(|request| request.path == "/api/v0.1/pipeline_stats");
    requests.map(|request| request.number).collect()
}

/// What an address of the intake answers.
pub(crate) fn fetch(url: &str, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: intake\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    answer.starts_with(b"HTTP/1.1 200").then(|| answer.split_off(end + 4))
}

/// Whether each function's root came so often, and nothing but the call is missing above them.
fn is_whole(trace: &TraceView, parent: SpanId, times: usize) -> bool {
    let roots = |name: &str| {
        trace.spans.iter().filter(|span| span.name == "aws.lambda" && span.service == name).count()
    };
    let below = |span: &SpanView| span.parent_id == Some(parent) && span.parent == Parent::Missing;
    let mut tops = trace.spans.iter().filter(|span| span.depth <= 1 && span.parent != Parent::Present);
    FUNCTIONS.iter().all(|name| roots(name) == times) && tops.all(below)
}
