//! The Runtime API proxy: what passes through it, and what it tells of invocations.

use std::process::{Command, Stdio};
use std::time::Duration;

use intake::{Snapshot, SpanView};
use model::SpanId;
use tokio::net::TcpListener;

use crate::agent::{Agent, http};
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::ports::Ports;
use crate::records::{TRACE, delivery, managed_report, report, runtime_done, start, traces};
use crate::runtime_api::{ACCEPTED, RuntimeApi, Side, event, most_memory};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);
const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n";
const ON: (&str, &str) = ("DD_EXPERIMENTAL_ENABLE_PROXY", "true");

/// The extension between a Runtime API and a runtime.
struct World {
    lambda: FakeLambda,
    intake: Intake,
    api: RuntimeApi,
    agent: Agent,
}

impl World {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let api = RuntimeApi::start(&lambda).await;
        let (url, address) = (intake.url(), api.address.clone());
        let mut all = to(&url).to_vec();
        all.extend([ON, ("AWS_LAMBDA_RUNTIME_API", address.as_str())]);
        all.extend(variables);
        let agent = Agent::start(&lambda, &all);
        lambda.asked(1).await;
        Self { lambda, intake, api, agent }
    }

    async fn runtime(&self) -> Side {
        Side::connect(self.agent.ports.runtime).await
    }

    /// An invocation from its event to the answer to it; gives both ends of the connection.
    async fn invocation(&mut self, id: &str, body: &[u8], answer: &str) -> (Side, Side) {
        let mut runtime = self.runtime().await;
        runtime.send(NEXT.as_bytes()).await;
        let mut api = self.api.called().await;
        api.head().await;
        self.lambda.invoke(id, MINUTE);
        let event = event(id, body);
        api.send(&event).await;
        assert!(runtime.bytes(event.len()).await == event);
        self.agent.telemetry(&delivery(&[start(id)])).await;
        runtime.send(answer.as_bytes()).await;
        api.head().await;
        api.send(ACCEPTED).await;
        assert_eq!(runtime.bytes(ACCEPTED.len()).await, ACCEPTED);
        (runtime, api)
    }

    /// The end of the invocation, and of the sandbox; gives all that has arrived.
    async fn end(mut self, id: &str) -> Snapshot {
        self.agent.telemetry(&delivery(&[runtime_done(id), report(id)])).await;
        self.lambda.asked(2).await;
        self.lambda.shutdown(Duration::from_secs(2));
        assert!(self.agent.ended().await.success());
        let printed = self.agent.printed();
        assert!(!printed.contains("ERROR") && !printed.contains("WARN"), "{printed}");
        self.intake.store().snapshot()
    }
}

fn post(id: &str, what: &str, headers: &str, body: &str) -> String {
    format!(
        "POST /2018-06-01/runtime/invocation/{id}/{what} HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn roots(state: &Snapshot) -> Vec<&SpanView> {
    named(state, "aws.lambda")
}

fn named<'s>(state: &'s Snapshot, name: &str) -> Vec<&'s SpanView> {
    state.traces.iter().flat_map(|trace| &trace.spans).filter(|span| span.name == name).collect()
}

/// A web request whose caller's trace goes on.
fn web_event() -> String {
    format!(
        r#"{{"version":"2.0","routeKey":"GET /orders/{{id}}","rawPath":"/orders/7","rawQueryString":"",
        "headers":{{"host":"api.example.com","x-datadog-trace-id":"{TRACE}","x-datadog-parent-id":"77",
        "x-datadog-sampling-priority":"2","x-datadog-tags":"_dd.p.tid=66a1b2c300000000"}},
        "requestContext":{{"accountId":"123456789012","apiId":"a1b2c3","domainName":"api.example.com","stage":"$default",
        "http":{{"method":"GET","path":"/orders/7","protocol":"HTTP/1.1","sourceIp":"1.2.3.4","userAgent":"x"}},
        "requestId":"q","routeKey":"GET /orders/{{id}}","timeEpoch":{}}},"body":"{{\"password\":\"x\"}}","isBase64Encoded":false}}"#,
        crate::fake_lambda::millis()
    )
}

#[tokio::test]
async fn calls_pass_as_they_are() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    let calls: &[(&str, &[u8])] = &[
        (
            "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: HOST\r\nUser-Agent: aws-lambda-python/3.12\r\naCCept: */*\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nLAMBDA-RUNTIME-DEADLINE-MS: 1\r\nX-Twice: a\r\nX-Twice: b\r\nX-Odd: \xff\xfe\r\nDate: Mon, 02 Feb 2026 00:00:00 GMT\r\nContent-Length: 4\r\n\r\n\xff\x00{x",
        ),
        (
            "POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: HOST\r\nLambda-Runtime-Invocation-Id: i-1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            ACCEPTED,
        ),
        (
            "POST /2018-06-01/runtime/invocation/r-2/error HTTP/1.1\r\nHost: HOST\r\nLambda-Runtime-Function-Error-Type: Function.X\r\nContent-Length: 8\r\n\r\n{garbage",
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        ),
        (
            "POST /2018-06-01/runtime/invocation/r-2/response HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\n1",
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: HOST\r\n\r\n",
            b"HTTP/1.1 500 Our Own Words\r\nContent-Length: 3\r\n\r\nabc",
        ),
        (
            "PUT /2030-01-01/runtime/something?new=%20a&b HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\n2",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3",
        ),
    ];
    let mut api = None;
    for (request, response) in calls {
        runtime.send(request.replace("HOST", "127.0.0.1:9000").as_bytes()).await;
        // One connection of the runtime is one to Lambda.
        if api.is_none() {
            api = Some(world.api.called().await);
        }
        let api = api.as_mut().unwrap();
        let want = request.replace("HOST", &world.api.address);
        assert_eq!(String::from_utf8(api.bytes(want.len()).await).unwrap(), want);
        api.send(response).await;
        let got = runtime.bytes(response.len()).await;
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(response));
    }
    // Neither side heard anything else.
    drop(runtime);
    assert_eq!(api.unwrap().hung_up().await, "");
}

#[tokio::test]
async fn what_is_said_of_one_connection_stays_there() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    // As Java's client asks for HTTP/2, and a client that wants to hear that a body is welcome.
    runtime
        .send(
            b"POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
              Upgrade: h2c\r\nHTTP2-Settings: AAE\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        )
        .await;
    assert_eq!(runtime.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    runtime.send(b"{}").await;
    let mut api = world.api.called().await;
    let head = api.head().await;
    let want = format!(
        "POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: {}\r\nContent-Length: 2\r\n\r\n",
        world.api.address
    );
    assert_eq!(head, want);
    assert_eq!(api.bytes(2).await, b"{}");
    api.send(
        b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(runtime.head().await, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    drop(api);
    // The runtime's connection is good for more.
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    let event = event("r-2", b"{}");
    api.send(&event).await;
    assert!(runtime.bytes(event.len()).await == event);
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    const PART: usize = 1 << 20;
    const PARTS: usize = 32;
    let mut world = World::start(&[]).await;
    let pid = world.agent.child.id().unwrap();
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    // The first part is here before the second is sent.
    api.send(b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[\"ab\r\n").await;
    runtime.head().await;
    assert_eq!(runtime.until("\r\n").await, "4\r\n");
    assert_eq!(runtime.until("\r\n").await, "[\"ab\r\n");
    api.send(b"2\r\n\"]\r\n0\r\n\r\n").await;
    assert_eq!(runtime.until("0\r\n\r\n").await, "2\r\n\"]\r\n0\r\n\r\n");
    runtime
        .send(b"POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: x\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    let head = api.head().await;
    assert!(head.contains("Lambda-Runtime-Function-Response-Mode: streaming\r\n"), "{head}");
    assert_eq!(api.until("abc\r\n").await, "3\r\nabc\r\n");

    // Far more than is kept of it, with every byte in its place.
    let before = most_memory(pid);
    let part: Vec<u8> = (0..PART).map(|n| (n % 251) as u8).collect();
    let expected = part.clone();
    let sent = tokio::spawn(async move {
        for _ in 0..PARTS {
            runtime.send(format!("{PART:x}\r\n").as_bytes()).await;
            runtime.send(&part).await;
            runtime.send(b"\r\n").await;
        }
        runtime.send(b"0\r\n\r\n").await;
        runtime
    });
    let (body, trailers) = api.chunks().await;
    assert_eq!((body.len(), trailers.as_str()), (PARTS * PART, ""));
    assert!(body.chunks(PART).all(|part| part == expected));
    api.send(ACCEPTED).await;
    let mut runtime = sent.await.unwrap();
    assert_eq!(runtime.bytes(ACCEPTED.len()).await, ACCEPTED);
    let grown = most_memory(pid) - before;
    assert!(grown < 10 * 1024, "{grown} kB more memory for a body of {PARTS} MiB");

    // And the other way, an event of a length that is told.
    runtime.send(NEXT.as_bytes()).await;
    api.head().await;
    let event = event("r-2", &body);
    let length = event.len();
    let sent = tokio::spawn(async move {
        api.send(&event).await;
        event
    });
    let got = runtime.bytes(length).await;
    assert!(got == sent.await.unwrap());
    let grown = most_memory(pid) - before;
    assert!(grown < 10 * 1024, "{grown} kB more memory for an event of {PARTS} MiB");
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_in_its_trailers() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    world.lambda.invoke("r-1", MINUTE);
    api.send(&event("r-1", b"{}")).await;
    runtime.head().await;
    runtime.bytes(2).await;
    world.agent.telemetry(&delivery(&[start("r-1")])).await;
    // {"errorMessage":"half way","errorType":"Broken"}
    let trailers = "Lambda-Runtime-Function-Error-Type: Runtime.X\r\n\
                    Lambda-Runtime-Function-Error-Body: eyJlcnJvck1lc3NhZ2UiOiJoYWxmIHdheSIsImVycm9yVHlwZSI6IkJyb2tlbiJ9\r\n";
    let request = format!(
        "POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: x\r\n\
         Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\
         Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    );
    runtime.send(request.as_bytes()).await;
    let head = api.head().await;
    assert!(head.to_lowercase().contains("\r\ntrailer: lambda-runtime-function-error-type"), "{head}");
    assert_eq!(api.bytes(13).await, b"5\r\nhello\r\n0\r\n");
    let passed = api.head().await.to_lowercase();
    for line in trailers.to_lowercase().lines() {
        assert!(passed.contains(line), "{passed}");
    }
    api.send(ACCEPTED).await;
    runtime.bytes(ACCEPTED.len()).await;
    let state = world.end("r-1").await;
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    assert_eq!(
        (root.error, root.tag("error.message"), root.tag("error.type")),
        (true, Some("half way"), Some("Broken"))
    );
}

#[tokio::test]
async fn a_long_poll_holds_up_nobody() {
    let mut world = World::start(&[]).await;
    let mut workers = Vec::new();
    for n in 0..3 {
        let mut runtime = world.runtime().await;
        runtime.send(NEXT.as_bytes()).await;
        let mut api = world.api.called().await;
        api.head().await;
        workers.push((format!("r-{n}"), runtime, api));
    }
    // The last is answered first, and all of them after the extension has done a whole invocation.
    let (mut other, mut api) = world.invocation("r-9", b"{}", &post("r-9", "response", "", "")).await;
    for (id, runtime, api) in workers.iter_mut().rev() {
        let event = event(id, b"{}");
        api.send(&event).await;
        assert!(runtime.bytes(event.len()).await == event);
    }
    // A runtime that leaves does not go on to take events.
    other.send(NEXT.as_bytes()).await;
    api.head().await;
    drop(other);
    assert_eq!(api.hung_up().await, "");
}

#[tokio::test]
async fn a_function_without_a_library_has_its_spans_in_the_callers_trace() {
    let mut world = World::start(&[("DD_CAPTURE_LAMBDA_PAYLOAD", "true"), ("DD_SERVICE", "shop")]).await;
    let body = r#"{"statusCode":502,"body":"{\"id\":7}"}"#;
    let answer = post("r-1", "response", "Content-Type: application/json\r\n", body);
    world.invocation("r-1", web_event().as_bytes(), &answer).await;
    let state = world.end("r-1").await;
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    let [inferred] = named(&state, "aws.httpapi")[..] else { panic!("{:#?}", state.traces) };
    let trace = state.traces.iter().find(|trace| trace.trace_id.low() == TRACE).unwrap();
    assert_eq!(trace.trace_id.high(), 0x66a1_b2c3_0000_0000);
    assert_eq!(trace.spans.len(), 2);
    assert_eq!(inferred.parent_id.map(SpanId::get), Some(77));
    assert_eq!(root.parent_id, Some(inferred.span_id));
    assert_eq!((root.service.as_str(), root.resource.as_str(), root.priority), ("shop", "orders", Some(2)));
    assert!(root.error && inferred.error);
    for (key, value) in [
        ("request_id", "r-1"),
        ("http.status_code", "502"),
        ("function_trigger.event_source", "api-gateway"),
        ("http.method", "GET"),
        ("function.request.rawPath", "/orders/7"),
        ("function.request.body.password", "redacted"),
        ("function.response.body.id", "7"),
    ] {
        assert_eq!(root.tag(key), Some(value), "{key}");
    }
    let errors = state.metrics.iter().find(|metric| metric.name == "aws.lambda.enhanced.errors").unwrap();
    assert_eq!(errors.total.count(), 1);
}

/// A web server behind an adapter has a tracer that sees the caller's headers and no Lambda.
#[tokio::test]
async fn a_tracers_spans_that_continue_the_caller_hang_below_the_invocation() {
    let mut world = World::start(&[]).await;
    let answer = post("r-1", "response", "", r#"{"statusCode":200}"#);
    world.invocation("r-1", web_event().as_bytes(), &answer).await;
    assert_eq!(world.agent.put_traces(&traces(5)).await.status, 200);
    let state = world.end("r-1").await;
    let ([root], [work]) = (&roots(&state)[..], &named(&state, "work")[..]) else {
        panic!("{:#?}", state.traces)
    };
    assert_eq!((work.span_id.get(), work.parent_id), (5, Some(root.span_id)));
}

#[tokio::test]
async fn an_error_is_told_in_the_runtimes_words() {
    let mut world = World::start(&[]).await;
    let body = r#"{"errorMessage":"no such order","errorType":"KeyError","requestId":"r-1","stackTrace":["  File \"app.py\", line 3\n","    raise\n"]}"#;
    let answer = post("r-1", "error", "Lambda-Runtime-Function-Error-Type: Unhandled\r\n", body);
    world.invocation("r-1", b"garbage that is no event", &answer).await;
    let state = world.end("r-1").await;
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    assert_eq!((root.error, root.parent_id), (true, None));
    let stack = "  File \"app.py\", line 3\n    raise";
    for (key, value) in
        [("error.message", "no such order"), ("error.type", "KeyError"), ("error.stack", stack)]
    {
        assert_eq!(root.tag(key), Some(value), "{key}");
    }
}

/// A caller that is no service of AWS puts its context beside the event.
#[tokio::test]
async fn a_direct_callers_context_and_a_large_event_are_read() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    world.lambda.invoke("r-1", MINUTE);
    let context = format!(r#"{{"custom":{{"x-datadog-trace-id":"{TRACE}","x-datadog-parent-id":"78"}}}}"#);
    let head = format!(
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nLambda-Runtime-Client-Context: {context}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    api.send(head.as_bytes()).await;
    runtime.bytes(head.len()).await;
    world.agent.telemetry(&delivery(&[start("r-1")])).await;
    runtime.send(post("r-1", "response", "", "{}").as_bytes()).await;
    api.head().await;
    api.send(ACCEPTED).await;
    runtime.bytes(ACCEPTED.len()).await;
    world.agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    world.lambda.asked(2).await;
    arrives(&world.intake, "the first", |s| s.counts().spans >= 1).await;

    // The context stands before a body that is far too large to be kept.
    world.lambda.invoke("r-2", MINUTE);
    let large = web_event().replace("\\\"password", &"x".repeat(3 << 20));
    runtime.send(NEXT.as_bytes()).await;
    api.head().await;
    let event = event("r-2", large.as_bytes());
    let (sent, got) = tokio::join!(api.send(&event), runtime.bytes(event.len()));
    assert!(got == event, "{sent:?}");
    world.agent.telemetry(&delivery(&[start("r-2")])).await;
    runtime.send(post("r-2", "response", "", r#"{"statusCode":200}"#).as_bytes()).await;
    api.head().await;
    api.send(ACCEPTED).await;
    runtime.bytes(ACCEPTED.len()).await;
    world.agent.telemetry(&delivery(&[runtime_done("r-2")])).await;
    world.lambda.asked(3).await;
    arrives(&world.intake, "the second", |s| s.counts().spans >= 3).await;
    let state = world.intake.store().snapshot();
    let spans = &state.traces.iter().find(|trace| trace.trace_id.low() == TRACE).unwrap().spans;
    let told =
        |id: &str| spans.iter().find(|span| span.tag("request_id") == Some(id) && span.name == "aws.lambda");
    assert_eq!(told("r-1").unwrap().parent_id.map(SpanId::get), Some(78));
    let inferred = spans.iter().find(|span| span.name == "aws.httpapi").unwrap();
    assert_eq!(inferred.parent_id.map(SpanId::get), Some(77));
    assert_eq!(told("r-2").unwrap().parent_id, Some(inferred.span_id));
    assert_eq!(told("r-2").unwrap().tag("http.status_code"), Some("200"));
}

/// Java's and .NET's libraries call the extension too: theirs is the span.
#[tokio::test]
async fn what_a_library_tells_counts_for_more_and_nothing_is_there_twice() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    world.lambda.invoke("r-1", MINUTE);
    let event = event("r-1", web_event().as_bytes());
    api.send(&event).await;
    runtime.bytes(event.len()).await;
    world.agent.telemetry(&delivery(&[start("r-1")])).await;
    let id = ("lambda-runtime-aws-request-id", "r-1");
    let lifecycle = world.agent.ports.lifecycle;
    let answer = http(lifecycle, "POST", "/lambda/start-invocation", &[id], web_event().as_bytes()).await;
    assert_eq!(answer.status, 200);
    let trace = TRACE.to_string();
    let headers = [
        id,
        ("x-datadog-trace-id", trace.as_str()),
        ("x-datadog-span-id", "99"),
        ("x-datadog-invocation-error", "true"),
        ("x-datadog-invocation-error-msg", "in the library's words"),
    ];
    let answer = http(lifecycle, "POST", "/lambda/end-invocation", &headers, b"{}").await;
    assert_eq!(answer.status, 200);
    let body = r#"{"errorMessage":"in the runtime's words"}"#;
    runtime.send(post("r-1", "error", "", body).as_bytes()).await;
    api.head().await;
    api.send(ACCEPTED).await;
    runtime.bytes(ACCEPTED.len()).await;
    let state = world.end("r-1").await;
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    assert_eq!((root.span_id.get(), root.copies), (99, 1));
    assert_eq!(root.tag("error.message"), Some("in the library's words"));
    assert_eq!(named(&state, "aws.httpapi").len(), 1);
    let count = |name: &str| state.metrics.iter().find(|m| m.name == name).unwrap().total.count();
    assert_eq!(count("aws.lambda.enhanced.errors"), 1);
    assert_eq!(count("aws.lambda.enhanced.invocations"), 1);
}

/// Python's and Node's libraries send the span themselves.
#[tokio::test]
async fn a_tracers_own_span_is_the_only_one() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    world.lambda.invoke("r-1", MINUTE);
    let event = event("r-1", web_event().as_bytes());
    api.send(&event).await;
    runtime.bytes(event.len()).await;
    world.agent.telemetry(&delivery(&[start("r-1")])).await;
    let mut span = model::Span::new(
        "aws.lambda",
        model::TraceId::new(0, TRACE).unwrap(),
        SpanId::new(55).unwrap(),
        SpanId::new(77),
    );
    span.start = model::UnixNanos::from_millis(u64::try_from(crate::fake_lambda::millis()).unwrap());
    span.meta.insert("request_id", "r-1");
    span.metrics.insert("_sampling_priority_v1", 1.0);
    let body = wire::v04::encode(&[model::Chunk { spans: vec![span] }]);
    assert_eq!(world.agent.put_traces(&body).await.status, 200);
    runtime.send(post("r-1", "response", "", "{}").as_bytes()).await;
    api.head().await;
    api.send(ACCEPTED).await;
    runtime.bytes(ACCEPTED.len()).await;
    let state = world.end("r-1").await;
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    assert_eq!(root.span_id.get(), 55);
    assert_eq!(state.counts.spans, 1, "{:#?}", state.traces);
}

/// A handler that never answers: what the event said is in the span all the same.
#[tokio::test]
async fn an_invocation_without_an_answer_has_its_span_too() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    world.lambda.invoke("r-1", MINUTE);
    let event = event("r-1", web_event().as_bytes());
    api.send(&event).await;
    runtime.bytes(event.len()).await;
    world.agent.telemetry(&delivery(&[start("r-1")])).await;
    drop(runtime);
    let done = runtime_done("r-1").replace(r#""status":"success""#, r#""status":"timeout""#);
    world.agent.telemetry(&delivery(&[done])).await;
    arrives(&world.intake, "two spans", |s| s.counts().spans >= 2).await;
    let state = world.intake.store().snapshot();
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    assert_eq!((root.error, root.tag("error.type")), (true, Some("Timeout")));
    assert_eq!(named(&state, "aws.httpapi")[0].parent_id.map(SpanId::get), Some(77));
}

#[tokio::test]
async fn what_the_other_side_breaks_is_broken_and_nothing_else() {
    let mut world = World::start(&[]).await;
    // Lambda hangs up in the middle: so do we, and no answer is made up.
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    drop(api);
    assert_eq!(runtime.hung_up().await, "");
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    api.send(b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: r-1\r\nContent-Length: 10\r\n\r\n{\"a\"")
        .await;
    drop(api);
    assert!(runtime.hung_up().await.ends_with("{\"a\""));
    // What is no HTTP, from either side.
    let mut runtime = world.runtime().await;
    runtime.send(b"\x16\x03\x01 garbage\r\n\r\n").await;
    assert!(runtime.hung_up().await.starts_with("HTTP/1.1 400"));
    let mut runtime = world.runtime().await;
    runtime.send(NEXT.as_bytes()).await;
    let mut api = world.api.called().await;
    api.head().await;
    api.send(b"garbage\r\n\r\n").await;
    assert_eq!(runtime.hung_up().await, "");
    // A runtime that leaves in the middle of its answer: Lambda sees that it is cut off.
    let mut runtime = world.runtime().await;
    runtime
        .send(b"POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"a\"")
        .await;
    let mut api = world.api.called().await;
    api.head().await;
    drop(runtime);
    assert_eq!(api.hung_up().await, "{\"a\"");
    // All is well for the next.
    world.invocation("r-2", b"{}", &post("r-2", "response", "", "")).await;
    assert_eq!(roots(&world.end("r-2").await).len(), 1);
}

#[tokio::test]
async fn a_runtime_api_that_is_not_there_is_told_of() {
    let lambda = FakeLambda::start().await;
    // No port that anyone else is given.
    let listener = TcpListener::bind(("127.0.0.1", Ports::free().traces)).await.unwrap();
    let mut api = RuntimeApi::on(listener, Some(lambda.address.clone()));
    let address = api.address.clone();
    let mut agent = Agent::start(&lambda, &[ON, ("AWS_LAMBDA_RUNTIME_API", &address)]);
    lambda.asked(1).await;
    api.stop().await;
    let mut runtime = Side::connect(agent.ports.runtime).await;
    runtime.send(NEXT.as_bytes()).await;
    let head = runtime.head().await;
    assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
    let body = runtime.until("}").await;
    assert!(body.contains("Extension.RuntimeApiUnreachable") && body.contains(&address), "{body}");
    assert!(agent.is_alive());
}

/// The Lambda Web Adapter is an extension too: it registers by way of the address that it was given.
#[tokio::test]
async fn it_passes_on_before_the_extension_is_registered() {
    let lambda = FakeLambda::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Registration gets no answer here.
    let mut api = RuntimeApi::on(listener, None);
    let address = api.address.clone();
    let ports = Ports::free();
    let adapter = format!("127.0.0.1:{}", ports.runtime);
    let variables =
        [("AWS_LWA_LAMBDA_RUNTIME_API_PROXY", adapter.as_str()), ("AWS_LAMBDA_RUNTIME_API", &address)];
    let _agent = Agent::start_on(&lambda, ports, &variables);
    // Nothing says when it listens but that it does.
    let listens = async {
        while tokio::net::TcpStream::connect(&adapter).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, listens).await.unwrap();
    let mut runtime = Side::connect(ports.runtime).await;
    runtime.send(NEXT.as_bytes()).await;
    let mut side = api.called().await;
    side.head().await;
    let event = event("r-1", b"{}");
    side.send(&event).await;
    assert!(runtime.bytes(event.len()).await == event);
}

fn wrapped(api: &str, script: &str) -> String {
    let wrapper = concat!(env!("CARGO_MANIFEST_DIR"), "/layer/datadog_wrapper");
    let mut command = Command::new(wrapper);
    command.args(["sh", "-c", script, "sh", "two words", ""]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("AWS_LAMBDA_RUNTIME_API", api);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

/// The script finds the extension that listens for this function, and no other.
#[tokio::test]
async fn the_wrapper_leads_to_the_proxy_while_it_is_there() {
    let print = r#"printf '%s|%s|%s|%s' "$AWS_LAMBDA_RUNTIME_API" $# "$1" "$2""#;
    let mut world = World::start(&[]).await;
    let proxy = format!("127.0.0.1:{}", world.agent.ports.runtime);
    let api = world.api.address.clone();
    assert_eq!(wrapped(&api, print), format!("{proxy}|2|two words|"));
    assert_eq!(wrapped("169.254.100.1:9001", print), "169.254.100.1:9001|2|two words|");
    world.lambda.shutdown(Duration::from_secs(2));
    assert!(world.agent.ended().await.success());
    assert_eq!(wrapped(&api, print), format!("{api}|2|two words|"));
}

#[tokio::test]
async fn it_is_off_unless_it_is_wanted() {
    for variables in
        [&[("DD_EXPERIMENTAL_ENABLE_PROXY", "false")][..], &[("AWS_LAMBDA_EXEC_WRAPPER", "/opt/mine")]]
    {
        let lambda = FakeLambda::start().await;
        let agent = Agent::start(&lambda, variables);
        lambda.asked(1).await;
        let refused = tokio::net::TcpStream::connect(("127.0.0.1", agent.ports.runtime)).await;
        assert!(refused.is_err(), "{variables:?}");
        assert_eq!(wrapped(&lambda.address, "printf %s \"$AWS_LAMBDA_RUNTIME_API\""), lambda.address);
    }
    let lambda = FakeLambda::start().await;
    let agent = Agent::start(&lambda, &[("AWS_LAMBDA_EXEC_WRAPPER", "/opt/datadog_wrapper")]);
    lambda.asked(1).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", agent.ports.runtime)).await.is_ok());
}

/// The runtime gives up before it has asked for an event: the invocation that fails for it says why.
#[tokio::test]
async fn an_initialisation_that_failed_is_told_with_its_invocation() {
    let mut world = World::start(&[]).await;
    let mut runtime = world.runtime().await;
    let body = r#"{"errorMessage":"no module named app","errorType":"Runtime.ImportModuleError","stackTrace":["a","b"]}"#;
    let call = format!(
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    runtime.send(call.as_bytes()).await;
    let mut api = world.api.called().await;
    assert!(api.head().await.starts_with("POST /2018-06-01/runtime/init/error "));
    assert_eq!(api.bytes(body.len()).await, body.as_bytes());
    api.send(ACCEPTED).await;
    assert_eq!(runtime.bytes(ACCEPTED.len()).await, ACCEPTED);
    drop(runtime);
    world.lambda.invoke("r-1", MINUTE);
    let done = runtime_done("r-1").replace(r#""status":"success""#, r#""status":"error""#);
    world.agent.telemetry(&delivery(&[start("r-1"), done])).await;
    arrives(&world.intake, "the span", |s| s.counts().spans >= 1).await;
    let state = world.intake.store().snapshot();
    let [root] = roots(&state)[..] else { panic!("{:#?}", state.traces) };
    assert_eq!((root.error, root.tag("request_id")), (true, Some("r-1")));
    for (key, value) in [
        ("error.message", "no module named app"),
        ("error.type", "Runtime.ImportModuleError"),
        ("error.stack", "a\nb"),
    ] {
        assert_eq!(root.tag(key), Some(value), "{key}");
    }
    arrives(&world.intake, "the error", |s| {
        let name = "aws.lambda.enhanced.errors";
        s.metrics(name).iter().filter(|m| m.name == name).map(|m| m.total.count()).sum::<u64>() == 1
    })
    .await;
}

/// Two invocations at once, on managed instances: each is in its own caller's trace, whichever ends first.
#[tokio::test]
async fn invocations_at_once_are_kept_apart() {
    let mut world = World::start(&[
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances"),
        ("DD_SERVERLESS_FLUSH_STRATEGY", "continuously,20"),
    ])
    .await;
    let mut open = Vec::new();
    for (id, trace) in [("r-1", "101"), ("r-2", "102")] {
        let mut runtime = world.runtime().await;
        runtime.send(NEXT.as_bytes()).await;
        let mut api = world.api.called().await;
        api.head().await;
        let caller = format!(r#"{{"headers":{{"x-datadog-trace-id":"{trace}","x-datadog-parent-id":"7"}}}}"#);
        let event = event(id, caller.as_bytes());
        api.send(&event).await;
        assert!(runtime.bytes(event.len()).await == event);
        world.agent.telemetry(&delivery(&[start(id)])).await;
        open.push((id, trace, runtime, api));
    }
    for (id, _, runtime, api) in open.iter_mut().rev() {
        let answer = if *id == "r-1" {
            post(id, "error", "", r#"{"errorMessage":"only the first","errorType":"E"}"#)
        } else {
            post(id, "response", "", r#"{"statusCode":201}"#)
        };
        runtime.send(answer.as_bytes()).await;
        api.head().await;
        api.send(ACCEPTED).await;
        assert_eq!(runtime.bytes(ACCEPTED.len()).await, ACCEPTED);
    }
    world.agent.telemetry(&delivery(&[managed_report("r-2"), managed_report("r-1")])).await;
    arrives(&world.intake, "two spans", |s| s.counts().spans >= 2).await;
    let state = world.intake.store().snapshot();
    assert_eq!(roots(&state).len(), 2);
    for (id, trace, ..) in open {
        let of_trace = |t: &&intake::TraceView| t.trace_id.low().to_string() == trace;
        let trace = state.traces.iter().find(of_trace).unwrap_or_else(|| panic!("{id}: {:#?}", state.traces));
        let [root] = &trace.spans[..] else { panic!("{:#?}", trace.spans) };
        assert_eq!((root.tag("request_id"), root.parent_id.map(SpanId::get)), (Some(id), Some(7)));
        let told = (root.error, root.tag("error.message"));
        assert_eq!(told, if id == "r-1" { (true, Some("only the first")) } else { (false, None) });
    }
}
