//! An event in the local Lambda: given to a Rust function with our library, to a Python function with Datadog's, and to
//! a function whose invocation's span the extension makes. All three have to be in the sender's trace, below the call.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use intake::{Intake, Parent, State, TraceView};
use model::{SpanId, TraceId};
use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::world::{Ids, binaries, python_program};

const PATIENCE: Duration = Duration::from_secs(120);
/// By who reads the context.
const FUNCTIONS: [&str; 3] = ["rust", "python", "extension"];

/// The functions, for all tests: they come in turn, so that there is one sandbox of each.
struct Chain {
    runtime: Runtime,
    intake: Intake,
    lambda: Lambda,
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
                (intake, Lambda::start(functions, LambdaConfig::default()).await.unwrap())
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
    let function = [
        ("DD_API_KEY", "0123456789abcdef0123456789abcdef"),
        ("DD_SERVICE", name),
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

/// Whether each function's root came so often, and nothing but the call is missing above them.
fn is_whole(trace: &TraceView, parent: SpanId, times: usize) -> bool {
    let roots = |name: &str| {
        trace.spans.iter().filter(|span| span.name == "aws.lambda" && span.service == name).count()
    };
    let below = |span: &intake::SpanView| span.parent_id == Some(parent) && span.parent == Parent::Missing;
    let mut tops = trace.spans.iter().filter(|span| span.depth <= 1 && span.parent != Parent::Present);
    FUNCTIONS.iter().all(|name| roots(name) == times) && tops.all(below)
}
