//! Universal instrumentation, with a server that plays the extension's part of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use model::{Chunk, SamplingPriority, Span, TraceId};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wire::lifecycle::{EndHeaders, StartAnswer};

use super::agent::{Manner, read_request};
use super::world::{World, context};
use crate::agent::lock;
use crate::datadog::BEFORE_RESPONSE;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the extension is told: path, head, body.
type Told = (String, String, Vec<u8>);

#[derive(Clone)]
struct Extension {
    port: u16,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Extension {
    /// Answers every call with a status line and headers; `None` leaves them without an answer.
    async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let extension = Self { port: listener.local_addr().unwrap().port(), told: Arc::default() };
        let told = extension.told.clone();
        // The start is told by a thread that waits: the server needs one of its own.
        let listener = listener.into_std().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let (told, answer) = (told.clone(), answer.clone());
                    tokio::spawn(async move {
                        while let Some(request) = read_request(&mut stream).await {
                            let path = request.line.split(' ').nth(1).unwrap().to_owned();
                            lock(&told).push((path, request.head, request.body));
                            if let Some(head) = &answer {
                                super::agent::answer(&mut stream, head, "{}").await;
                            }
                        }
                    });
                }
            });
        });
        extension
    }

    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut lock(&self.told))
    }
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines().skip(1).filter_map(|line| line.split_once(':'))
}

fn naming(trace_id: TraceId, priority: Option<SamplingPriority>) -> Option<String> {
    let headers = StartAnswer { trace_id, priority }.write();
    let lines = headers.iter().map(|(name, value)| format!("\r\n{name}: {value}"));
    Some(format!("200 OK{}", lines.collect::<String>()))
}

async fn world(extension: &Extension) -> World {
    let port = extension.port;
    World::with(Manner::Answers, |settings| {
        settings.universal = true;
        settings.lifecycle_port = port;
        // A busy machine must not look like an extension that does not answer.
        settings.before_response = PATIENCE;
        settings.after_response = PATIENCE;
    })
    .await
}

async fn handler(_: LambdaEvent<Value>) -> Result<Value, Error> {
    opentelemetry::Context::map_current(|context| {
        use opentelemetry::trace::TraceContextExt;
        context.span().set_attribute(opentelemetry::KeyValue::new("order", "17"));
    });
    tracing::info_span!("work").in_scope(|| {});
    Ok(json!({"statusCode": 503, "body": "later"}))
}

fn split(chunk: &Chunk) -> (&Span, &Span) {
    let [first, second] = &chunk.spans[..] else { panic!("{:?}", chunk.spans) };
    (first, second)
}

const EVENT: &str = r#"{"headers":{"x-datadog-trace-id":"7","x-datadog-parent-id":"8","baggage":"user=5"}}"#;

#[tokio::test]
async fn the_extension_tells_the_trace_and_is_told_the_end() {
    let trace_id = TraceId::new(0xab, 7).unwrap();
    let extension = Extension::start(naming(trace_id, Some(SamplingPriority::UserKeep))).await;
    let world = world(&extension).await;
    let answer = world.call(EVENT, service_fn(handler)).await.unwrap();
    assert_eq!(answer, json!({"statusCode": 503, "body": "later"}));
    let chunk = world.chunk();
    let (root, work) = split(&chunk);
    assert_eq!((&*root.name, &*root.resource), ("aws.lambda", "dd-tracer-serverless-span"));
    assert_eq!(root.meta.get("order").map(|text| &**text), Some("17"));
    assert_eq!(root.meta.get("request_id").map(|text| &**text), Some("req-1"));
    assert_eq!((&*work.name, work.parent_id), ("work", Some(root.span_id)));
    // The first span is taken out: what holds for the trace is on the next one too.
    for span in [root, work] {
        assert_eq!(span.trace_id.low(), 7);
        assert_eq!(span.meta.get("_dd.p.tid").map(|text| &**text), Some("00000000000000ab"));
        assert_eq!(span.metrics.get("_sampling_priority_v1"), Some(&2.0));
    }
    let told = extension.take();
    let paths: Vec<_> = told.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["/lambda/start-invocation", "/lambda/end-invocation"]);
    assert_eq!(told[0].2, EVENT.as_bytes());
    assert!(told[0].1.contains("\r\nlambda-runtime-aws-request-id: req-1"), "{}", told[0].1);
    let (_, head, body) = &told[1];
    assert_eq!(serde_json::from_slice::<Value>(body).unwrap(), answer);
    let end = EndHeaders::read(fields(head));
    assert_eq!((end.span_id, end.error), (Some(root.span_id), None));
    assert_eq!(StartAnswer::read(fields(head)).unwrap().trace_id, trace_id);
}

#[tokio::test]
async fn a_failure_is_told_with_the_end() {
    // The answer names no trace: it begins here.
    let extension = Extension::start(Some("200 OK".to_owned())).await;
    let world = world(&extension).await;
    let failing =
        service_fn(|_: LambdaEvent<Value>| async { Err::<Value, Error>("no stock\r\nx: injected".into()) });
    assert!(world.call("{}", failing).await.is_err());
    let chunk = world.chunk();
    let root = &chunk.spans[0];
    assert_eq!((&*root.resource, root.error), ("dd-tracer-serverless-span", true));
    let told = extension.take();
    let (_, head, body) = &told[1];
    let end = EndHeaders::read(fields(head));
    assert_eq!(&*end.error.unwrap().message, "no stock\r\nx: injected");
    assert!(body.is_empty() && !head.contains("injected"), "{head}");
    assert_eq!(StartAnswer::read(fields(head)).unwrap().trace_id.low(), root.trace_id.low());
}

#[tokio::test]
async fn each_form_of_the_library_tells() {
    let extension = Extension::start(Some("200 OK".to_owned())).await;
    let world = world(&extension).await;
    let event =
        LambdaEvent::new(serde_json::value::to_raw_value(&json!({"n": 1})).unwrap(), context("req-1"));
    let mut wrapped = handler;
    crate::handler::wrapped(&world.datadog, &mut wrapped, event).await.unwrap();
    let root = crate::Root::start(&world.datadog, &json!({"n": 1}), &context("req-2"));
    crate::end_root_span(root, &Ok::<_, std::fmt::Error>(json!({"statusCode": 200}))).await;
    let told = extension.take();
    let bodies: Vec<_> = told.iter().map(|(_, _, body)| String::from_utf8_lossy(body)).collect();
    let answer = r#"{"body":"later","statusCode":503}"#;
    assert_eq!(bodies, [r#"{"n":1}"#, answer, r#"{"n":1}"#, r#"{"statusCode":200}"#]);
    assert_eq!(world.agent.take().len(), 2);
}

/// What is seen of an extension that does not play its part: the library makes the span as it always does.
async fn makes_its_own(extension: Extension) {
    let mut world = world(&extension).await;
    world.change_settings(|settings| settings.before_response = BEFORE_RESPONSE);
    for _ in 0..3 {
        world.call(EVENT, service_fn(handler)).await.unwrap();
        let chunk = world.chunk();
        let root = chunk.spans.iter().find(|span| span.name == "aws.lambda").unwrap();
        assert_eq!((&*root.resource, root.parent_id.unwrap().get()), ("orders-api", 8));
    }
    let told = extension.take();
    assert!(told.len() <= 1 && told.iter().all(|(path, ..)| path.ends_with("start-invocation")), "{told:?}");
}

#[tokio::test]
async fn an_extension_that_refuses_is_left_alone() {
    makes_its_own(Extension::start(Some("500 Error".to_owned())).await).await;
}

#[tokio::test]
async fn an_extension_that_hangs_is_left_alone() {
    makes_its_own(Extension::start(None).await).await;
}

#[tokio::test]
async fn an_extension_that_is_not_there_is_left_alone() {
    // Nobody listens at port 1, and nobody can be given it.
    makes_its_own(Extension { port: 1, told: Arc::default() }).await;
}

#[tokio::test]
async fn it_is_off_unless_asked_for() {
    let extension = Extension::start(Some("200 OK".to_owned())).await;
    let port = extension.port;
    let world = World::with(Manner::Answers, |settings| settings.lifecycle_port = port).await;
    world.call(EVENT, service_fn(handler)).await.unwrap();
    assert_eq!(extension.take(), []);
    assert_eq!(world.chunk().spans.len(), 3);
}
