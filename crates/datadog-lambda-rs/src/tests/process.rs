//! The real thing: `lambda_runtime`'s loop in a process of its own, whose Runtime API and agent are ours.
//! Checked is what only the real loop shows: what happens before, and what after, the response.

use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, Service, StreamResponse, service_fn};
use opentelemetry::trace::Tracer;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tower::Layer;

use super::agent::{FakeAgent, Manner, answer, read_request, tree};

const CHILD: &str = "tests::process::function";
const WORKERS: usize = 10;
const FORM: &str = "DATADOG_LAMBDA_TEST_FORM";

/// The function: this test binary again, told by a variable which form of the library to use.
#[test]
#[ignore = "the function that the other tests run"]
fn function() {
    let Ok(form) = std::env::var(FORM) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    crate::init();
    let ended = runtime.block_on(async {
        match form.as_str() {
            "run" => crate::run(service_fn(handler)).await,
            "concurrent" => crate::run_concurrent(service_fn(at_once)).await,
            "stream" => crate::run(service_fn(streaming)).await,
            "wrap-stream" => lambda_runtime::run(service_fn(crate::wrap_handler(streaming))).await,
            "init-failed" => {
                Err::<(), _>(std::fmt::Error).inspect_err(crate::init_failed).map_err(Error::from)
            }
            "init-panics" => {
                // The harness has its own main thread.
                let main = std::thread::Builder::new().name("main".to_owned());
                drop(main.spawn(|| panic!("no database")).unwrap().join());
                Ok(())
            }
            _ => lambda_runtime::run(service_fn(crate::wrap_handler(handler))).await,
        }
    });
    ended.unwrap();
}

/// As many as there are workers meet, so that they are in it at once; each makes a span before and after.
async fn at_once(event: LambdaEvent<Value>) -> Result<Value, Error> {
    static MEET: std::sync::LazyLock<tokio::sync::Barrier> =
        std::sync::LazyLock::new(|| tokio::sync::Barrier::new(WORKERS));
    let n = event.payload["n"].as_u64().unwrap();
    let tracer = opentelemetry::global::tracer("test");
    tracer.in_span(format!("before {n}"), |_| {});
    MEET.wait().await;
    tracing::info_span!("work").in_scope(|| tracer.in_span(format!("after {n}"), |_| {}));
    Ok(json!({"echo": n}))
}

/// Gives two pieces, between which its span is made.
async fn streaming(_: LambdaEvent<Value>) -> Result<StreamResponse<Pieces>, Error> {
    tracing::info_span!("begin").in_scope(|| {});
    Ok(StreamResponse::from(Pieces(vec!["two", "one"])))
}

struct Pieces(Vec<&'static str>);

impl futures_core::Stream for Pieces {
    type Item = Result<bytes::Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.0.pop();
        if let Some(piece) = piece {
            tracing::info_span!("piece", piece).in_scope(|| {});
        }
        Poll::Ready(piece.map(|piece| Ok(piece.into())))
    }
}

#[tracing::instrument(skip_all)]
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    opentelemetry::global::tracer("test").in_span("price_order", |_| tracing::info!("priced"));
    crate::metric("orders.received", 1.0).send();
    if event.payload["panic"] == true {
        panic!("as told");
    }
    if event.payload["block"] == true {
        // No await: the runtime's own timers do not run.
        loop {
            std::thread::park();
        }
    }
    if event.payload["call"] == true {
        return call_others().await;
    }
    if event.payload["fail"] == true {
        return Err("no stock".into());
    }
    Ok(json!({"statusCode": 200, "echo": event.payload["n"]}))
}

/// What a handler may use on its way: a client, records of a batch, the `log` crate, the context as a map.
async fn call_others() -> Result<Value, Error> {
    let client = service_fn(|request: http::Request<()>| async move {
        let status = if request.uri().path() == "/lost" { 404 } else { 200 };
        let mut response = http::Response::builder().status(status);
        response.headers_mut().unwrap().clone_from(request.headers());
        response.body(())
    });
    let mut client = crate::HttpLayer::new().layer(client);
    let mut seen = Vec::new();
    for (path, authorization) in [("/a?secret=1", "Bearer x"), ("/lost", "AWS4-HMAC-SHA256 x")] {
        let request = http::Request::get(format!("https://user:pw@example.com{path}"));
        let response = client.call(request.header("authorization", authorization).body(())?).await?;
        seen.push(response.headers().get("x-datadog-parent-id").map(|id| id.to_str().unwrap().to_owned()));
    }
    let runtime = http::Request::get(format!("http://{}/x", std::env::var("AWS_LAMBDA_RUNTIME_API")?));
    client.call(runtime.body(())?).await?;
    let carrier = json!({"x-datadog-trace-id": "5", "x-datadog-parent-id": "6"});
    let record = json!({"eventSource": "aws:sqs", "messageAttributes":
        {"_datadog": {"dataType": "String", "stringValue": carrier.to_string()}}});
    let fulfilled = crate::trace_record("fulfil", &record, async {
        log::warn!("by the log crate");
        tracing::info_span!("inner").in_scope(|| Err::<(), _>("no stock"))
    });
    let failed = fulfilled.await.is_err();
    Ok(json!({"seen": seen, "failed": failed, "context": crate::current_trace_context()}))
}

/// Runs the function over some events; gives all that was seen, in order, and what it printed.
async fn run(form: &str, manner: Option<Manner>, events: &[Value]) -> (Vec<String>, String, FakeAgent) {
    run_until(End::Idle(1), form, manner, events).await
}

/// When a function has done what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// So many workers have asked for another event in vain.
    Idle(usize),
    /// It has sent its first trace.
    Traces,
}

async fn run_until(
    end: End,
    form: &str,
    manner: Option<Manner>,
    events: &[Value],
) -> (Vec<String>, String, FakeAgent) {
    let (see, mut seen) = mpsc::unbounded_channel();
    let (saw, told) = (see.clone(), Arc::new(Notify::new()));
    let tell = told.clone();
    let agent = FakeAgent::start(manner.unwrap_or(Manner::Answers), move |_| {
        saw.send("traces".to_owned()).unwrap();
        tell.notify_one();
    })
    .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap();
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", CHILD, "--ignored", "--nocapture"]).env_clear();
    let env = [
        (FORM, form),
        ("AWS_LAMBDA_RUNTIME_API", &api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "orders-api"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("DD_SERVICE", "orders"),
        ("DD_ENV", "dev"),
        ("DD_LOGS_INJECTION", "perhaps"),
    ];
    command.envs(env).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if manner.is_some() {
        command.env("DD_TRACE_AGENT_PORT", agent.port.to_string());
    }
    let workers = if let End::Idle(workers) = end { workers } else { 1 };
    if workers > 1 {
        command.env("AWS_LAMBDA_MAX_CONCURRENCY", workers.to_string());
    }
    let mut child = command.spawn().unwrap();
    let api = async {
        tokio::select! {
            () = serve(listener, events.to_vec(), workers, see) => {}
            () = told.notified(), if end == End::Traces => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), api).await.expect("the function does what it is there for");
    child.start_kill().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).await.unwrap();
    child.wait().await.unwrap();
    let mut all = Vec::new();
    while let Ok(one) = seen.try_recv() {
        all.push(one);
    }
    (all, printed, agent)
}

/// The Runtime API: gives the events, notes what comes back, ends when the next one is asked for in vain.
async fn serve(
    listener: TcpListener,
    events: Vec<Value>,
    workers: usize,
    see: mpsc::UnboundedSender<String>,
) {
    let (ended, mut end) = mpsc::unbounded_channel();
    let mut idle = 0;
    let mut events = events.into_iter().enumerate();
    let (requests, mut asked) = mpsc::unbounded_channel();
    let accept = async {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, requests.clone()));
        }
    };
    let api = async {
        let mut waiting = Vec::new();
        while let Some((line, body, reply)) = asked.recv().await {
            if line.ends_with("/invocation/next HTTP/1.1") {
                see.send("next".to_owned()).unwrap();
                let Some((n, event)) = events.next() else {
                    idle += 1;
                    if idle == workers {
                        ended.send(()).unwrap();
                    }
                    // Lambda lets it wait.
                    waiting.push(reply);
                    continue;
                };
                let left = event["left"].as_u64().unwrap_or(60_000);
                let head = format!(
                    "200 OK\r\nLambda-Runtime-Aws-Request-Id: req-{n}\r\nLambda-Runtime-Deadline-Ms: {}\r\n\
                     Lambda-Runtime-Invoked-Function-Arn: {}",
                    crate::ids::now().as_millis() + left,
                    super::world::ARN
                );
                let _: Result<_, _> = reply.send((head, event.to_string()));
            } else {
                let what = line.split(['/', ' ']).rev().nth(2).unwrap_or_default();
                see.send(format!("{what} {}", String::from_utf8_lossy(&body))).unwrap();
                let _: Result<_, _> = reply.send(("202 Accepted".to_owned(), String::new()));
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = api => {}
        _ = end.recv() => {}
    }
}

type Asked = (String, Vec<u8>, tokio::sync::oneshot::Sender<(String, String)>);

async fn connection(mut stream: tokio::net::TcpStream, requests: mpsc::UnboundedSender<Asked>) {
    while let Some(request) = read_request(&mut stream).await {
        assert!(request.head.starts_with(&request.line));
        let (reply, replied) = tokio::sync::oneshot::channel();
        if requests.send((request.line, request.body, reply)).is_err() {
            return;
        }
        let Ok((head, body)) = replied.await else { return };
        answer(&mut stream, &head, &body).await;
    }
}

/// What was printed as JSON; the test harness may have begun the line.
fn json_lines(printed: &str) -> Vec<Value> {
    let json = printed.lines().filter_map(|line| line.get(line.find('{')?..));
    json.filter_map(|json| serde_json::from_str(json).ok()).collect()
}

fn short(seen: &[String]) -> Vec<&str> {
    seen.iter().map(|one| one.split(' ').next().unwrap()).collect()
}

#[tokio::test]
async fn traces_follow_the_response_and_precede_the_next_event() {
    let events =
        [json!({"n": 1}), json!({"n": 2, "fail": true}), json!({"n": 3, "panic": true}), json!({"n": 4})];
    let (seen, printed, agent) = run("run", Some(Manner::Answers), &events).await;
    let expect = "next response traces next error traces next error traces next response traces next";
    assert_eq!(short(&seen).join(" "), expect, "{seen:?}\n{printed}");
    assert_eq!(seen[1], r#"response {"echo":1,"statusCode":200}"#);
    assert_eq!(
        seen[4],
        format!(r#"error {{"errorType":"&{}","errorMessage":"no stock"}}"#, std::any::type_name::<Error>()),
    );
    assert!(seen[7].contains("Lambda panicked: as told"), "{}", seen[7]);
    let chunks = agent.take();
    let of_first: Vec<_> = chunks[0].spans.iter().filter(|s| s.name != "aws.lambda.load").cloned().collect();
    assert_eq!(tree(&of_first, |_| String::new()), "aws.lambda\n  handler\n    price_order\n");
    let failures: Vec<_> = chunks
        .iter()
        .map(|c| {
            c.spans[0]
                .meta
                .get("error.type")
                .map(|kind| format!("{kind}: {}", c.spans[0].meta.get("error.message").unwrap()))
        })
        .collect();
    assert_eq!(failures, [None, Some("Error: no stock".into()), Some("panic: as told".into()), None]);
    // The log line, and the one about the setting, are JSON with what they need at the root.
    let lines: Vec<Value> = json_lines(&printed);
    let of = |text: &str| lines.iter().find(|l| l["message"].as_str().is_some_and(|m| m.contains(text)));
    let priced = of("priced").unwrap_or_else(|| panic!("{printed}"));
    let span = chunks[0].spans.iter().find(|s| s.name == "price_order").unwrap();
    assert_eq!(priced["dd.span_id"], span.span_id.get().to_string());
    assert_eq!((&priced["requestId"], &priced["dd.service"]), (&json!("req-0"), &json!("orders")));
    assert_eq!(of("DD_LOGS_INJECTION").unwrap()["level"], "WARN");
}

#[tokio::test]
async fn a_wrapped_function_has_sent_before_it_answers() {
    let events =
        [json!({"n": 1}), json!({"n": 2, "fail": true}), json!({"n": 3, "panic": true}), json!({"n": 4})];
    let (seen, printed, agent) = run("wrap", Some(Manner::Answers), &events).await;
    // The bytes are written before the response, but the two servers here may read them in either order.
    let responses: Vec<_> = short(&seen).into_iter().filter(|one| *one != "traces").collect();
    assert_eq!(responses.join(" "), "next response next error next error next response next", "{printed}");
    assert_eq!(seen.iter().filter(|one| *one == "traces").count(), 4, "{seen:?}");
    assert!(seen.contains(&r#"response {"echo":4,"statusCode":200}"#.to_owned()), "{seen:?}");
    let first = &agent.take()[0];
    let of_first: Vec<_> = first.spans.iter().filter(|s| s.name != "aws.lambda.load").cloned().collect();
    assert_eq!(tree(&of_first, |_| String::new()), "aws.lambda\n  handler\n    price_order\n");
}

#[tokio::test]
async fn no_agent_changes_an_answer() {
    let events: Vec<_> = (0..10).map(|n| json!({"n": n})).collect();
    for manner in [Manner::Hangs, Manner::Fails, Manner::Dies] {
        for form in ["run", "wrap"] {
            let (seen, ..) = run(form, Some(manner), &events).await;
            let answers: Vec<_> = seen.iter().filter(|one| one.starts_with("response")).collect();
            let expect: Vec<_> =
                (0..10).map(|n| format!(r#"response {{"echo":{n},"statusCode":200}}"#)).collect();
            assert_eq!(answers, expect.iter().collect::<Vec<_>>(), "{form} {manner:?}");
        }
    }
}

#[tokio::test]
async fn without_an_agent_all_is_printed() {
    let (_, printed, agent) = run("run", None, &[json!({"n": 1})]).await;
    let lines: Vec<Value> = json_lines(&printed);
    let traces: Vec<_> = lines.iter().filter_map(|l| l["traces"][0][0]["name"].as_str()).collect();
    assert_eq!(traces, ["aws.lambda"]);
    let metrics: Vec<_> = lines.iter().filter_map(|l| l["m"].as_str()).collect();
    assert_eq!(metrics, ["aws.lambda.enhanced.invocations", "orders.received"]);
    assert_eq!(agent.take(), []);
}

#[tokio::test]
async fn a_handler_that_blocks_until_its_deadline_is_told() {
    for form in ["run", "wrap"] {
        let (_, printed, agent) =
            run_until(End::Traces, form, Some(Manner::Answers), &[json!({"block": true, "left": 1500})])
                .await;
        let chunk = agent.take().remove(0);
        let show = |s: &model::Span| s.meta.get("error.type").map(ToString::to_string).unwrap_or_default();
        let spans: Vec<_> = chunk.spans.into_iter().filter(|s| s.name != "aws.lambda.load").collect();
        let expect = "aws.lambda Impending Timeout\n  handler Impending Timeout\n    price_order\n";
        assert_eq!(tree(&spans, show), expect, "{form} {printed}");
        let left = 1500 - spans[0].duration.as_millis();
        assert!((1..=600).contains(&left), "{left} ms before the deadline");
    }
}

#[tokio::test]
async fn a_start_that_fails_is_told() {
    for (form, expect) in
        [("init-failed", "core::fmt::Error: an error occurred"), ("init-panics", "panic: no database")]
    {
        let (_, printed, agent) = run_until(End::Traces, form, Some(Manner::Answers), &[]).await;
        let span = agent.take().remove(0).spans.remove(0);
        let tag = |key| span.meta.get(key).map(ToString::to_string).unwrap_or_default();
        let error = format!("{}: {}", tag("error.type"), tag("error.message"));
        assert!(error.starts_with(expect), "{error} {printed}");
        assert_eq!((span.name.as_ref(), span.service.as_ref(), span.error), ("aws.lambda", "orders", true));
    }
}

#[tokio::test]
async fn many_invocations_at_once_keep_their_spans_apart() {
    let events: Vec<_> = (0..50).map(|n| json!({"n": n})).collect();
    let (seen, printed, agent) =
        run_until(End::Idle(WORKERS), "concurrent", Some(Manner::Answers), &events).await;
    let chunks = agent.take();
    assert_eq!(chunks.len(), events.len(), "{seen:?} {printed}");
    assert_eq!(seen.iter().filter(|one| one.starts_with("response")).count(), events.len());
    let mut traces = std::collections::BTreeSet::new();
    for chunk in chunks {
        let spans: Vec<_> = chunk.spans.into_iter().filter(|s| s.name != "aws.lambda.load").collect();
        traces.insert(spans[0].trace_id);
        let n = spans[0].meta.get("request_id").unwrap().strip_prefix("req-").unwrap();
        let expect = format!("aws.lambda\n  before {n}\n  work\n    after {n}\n");
        assert_eq!(tree(&spans, |_| String::new()), expect);
    }
    assert_eq!(traces.len(), events.len());
}

#[tokio::test]
async fn a_stream_is_part_of_its_invocation() {
    for form in ["stream", "wrap-stream"] {
        let (seen, printed, agent) = run(form, Some(Manner::Answers), &[json!({})]).await;
        let chunk = agent.take().remove(0);
        let spans: Vec<_> = chunk.spans.into_iter().filter(|s| s.name != "aws.lambda.load").collect();
        let expect = "aws.lambda\n  begin\n  piece\n  piece\n";
        assert_eq!(tree(&spans, |_| String::new()), expect, "{form} {seen:?} {printed}");
        assert!(seen.iter().any(|one| one.starts_with("response")), "{seen:?}");
        let (_, printed, _) = run(form, None, &[json!({})]).await;
        assert!(printed.contains(r#""m":"aws.lambda.enhanced.time_to_first_byte""#), "{printed}");
    }
}

#[tokio::test]
async fn what_a_handler_calls_is_traced() {
    let (seen, printed, agent) = run("run", Some(Manner::Answers), &[json!({"call": true})]).await;
    let chunks = agent.take();
    let answer: Value = serde_json::from_str(seen[1].strip_prefix("response ").unwrap()).unwrap();
    let spans: Vec<_> = chunks[0].spans.iter().filter(|s| s.name != "aws.lambda.load").cloned().collect();
    let note = |s: &model::Span| s.meta.get("http.url").map(ToString::to_string).unwrap_or_default();
    let expect = "\
aws.lambda
  handler
    price_order
    http.request https://example.com/a
    http.request https://example.com/lost
";
    assert_eq!(tree(&spans, note), expect, "{printed}");
    let calls: Vec<_> = spans.iter().filter(|s| s.name == "http.request").collect();
    // The signed one is as it was.
    assert_eq!(answer["seen"], json!([calls[0].span_id.get().to_string(), null]));
    let facts: Vec<_> =
        calls.iter().map(|s| (s.meta.get("http.status_code").unwrap().as_ref(), s.error)).collect();
    assert_eq!(facts, [("200", false), ("404", true)]);
    let handler = spans.iter().find(|s| s.name == "handler").unwrap();
    assert_eq!(answer["context"]["x-datadog-parent-id"], handler.span_id.get().to_string());
    assert_eq!(answer["failed"], true);
    // The record's own trace.
    let show = |s: &model::Span| s.meta.get("error.message").map(ToString::to_string).unwrap_or_default();
    assert_eq!(tree(&chunks[1].spans, show), "fulfil no stock\n  inner\n");
    let fulfil = chunks[1].spans.iter().find(|s| s.name == "fulfil").unwrap();
    assert_eq!((fulfil.trace_id.low(), fulfil.parent_id.unwrap().get()), (5, 6));
    assert_eq!(fulfil.links[0].span_id, Some(spans[0].span_id));
    let lines: Vec<Value> = json_lines(&printed);
    let line = lines.iter().find(|line| line["message"] == "by the log crate").unwrap();
    assert_eq!(
        (&line["level"], &line["dd.span_id"]),
        (&json!("WARN"), &json!(fulfil.span_id.get().to_string()))
    );
}
