//! What else an invocation leaves: by settings, by what its event is, by what its handler does with it.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use model::Span;
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt, Tracer};
use serde_json::{Value, json};

use super::agent::Manner;
use super::world::{World, context};
use crate::parent::Extractor;
use crate::sampling::Rule;

fn tag<'a>(span: &'a Span, key: &str) -> &'a str {
    span.meta.get(key).map(AsRef::as_ref).unwrap_or_default()
}

fn root(spans: &[Span]) -> &Span {
    spans.iter().find(|span| span.name == "aws.lambda").unwrap()
}

fn answering(
    response: Value,
) -> impl lambda_runtime::Service<LambdaEvent<Value>, Response = Value, Error = Error> {
    service_fn(move |_: LambdaEvent<Value>| std::future::ready(Ok::<_, Error>(response.clone())))
}

fn receiver() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn received(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64 * 1024];
    let n = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

#[tokio::test]
async fn payloads_are_tags_when_wanted() {
    let world = World::with(Manner::Answers, |s| s.capture_payload = true).await;
    let response = json!({"statusCode": 200, "body": "{\"id\":7,\"token\":\"t\"}"});
    let answer = world.call(testkit::event("http-api"), answering(response.clone())).await.unwrap();
    assert_eq!(answer, response);
    let spans = world.chunk().spans;
    let root = root(&spans);
    assert_eq!(tag(root, "function.response.body.id"), "7");
    assert_eq!(tag(root, "function.response.body.token"), "redacted");
    assert_eq!(tag(root, "function.response.statusCode"), "200");
    assert_eq!(tag(root, "function.request.version"), "2.0");
    let world = World::new().await;
    world.call(testkit::event("http-api"), answering(response)).await.unwrap();
    let spans = world.chunk().spans;
    assert!(spans.iter().all(|s| s.meta.iter().all(|(key, _)| !key.starts_with("function."))));
}

#[tokio::test]
async fn failed_items_of_a_batch_are_a_metric() {
    let (socket, port) = receiver();
    let world = World::with(Manner::Answers, |s| s.statsd_port = port).await;
    // A response to no batch, which may say what it likes, and then one to a batch.
    let response = json!({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]});
    world.call(testkit::event("direct"), answering(response.clone())).await.unwrap();
    world.call(testkit::event("sqs-batch"), answering(response)).await.unwrap();
    let line = received(&socket);
    assert!(line.starts_with("aws.lambda.enhanced.batch_item_failures:2|d|#"), "{line}");
    assert!(line.contains("functionname:orders-api") && line.contains("cold_start:false"), "{line}");
    let world = World::with(Manner::Answers, |s| s.agent = None).await;
    world.call(testkit::event("sqs-batch"), answering(json!({"batchItemFailures": []}))).await.unwrap();
    let lines = world.lines();
    let failures = lines.iter().find(|l| l["m"] == "aws.lambda.enhanced.batch_item_failures").unwrap();
    assert_eq!(failures["v"], 0.0);
}

const XRAY: &str = "Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=1";

#[tokio::test]
async fn traces_are_put_together_with_those_of_xray() {
    let (socket, port) = receiver();
    let world = World::with(Manner::Answers, |s| {
        s.merge_xray = true;
        s.xray_daemon = Some(([127, 0, 0, 1], port).into());
    })
    .await;
    let call = async |event: &str, header: &str| {
        let mut context = context("req-x");
        context.xray_trace_id = Some(header.to_owned());
        world.call_as(context, testkit::event(event), answering(Value::Null)).await.unwrap();
        world.chunk().spans
    };
    // A trace that came with the event stays, under the span of X-Ray's.
    let spans = call("http-api", XRAY).await;
    assert_eq!(root(&spans).trace_id.low(), 1_234_567_890_123_456_789);
    assert_eq!(spans[0].parent_id.unwrap().get(), 797_643_193_680_388_254);
    assert_eq!(tag(root(&spans), "_dd.parent_source"), "xray");
    let told = received(&socket);
    assert!(told.contains(r#""trace-id":"1234567890123456789""#), "{told}");
    assert!(told.contains(r#""trace_id":"1-5ce31dc2-2c779014b90ce44db5e03875""#), "{told}");
    assert!(received(&socket).contains("lambda_function_tags"));
    // Without one, X-Ray's is continued.
    let spans = call("direct", XRAY).await;
    assert_eq!(root(&spans).trace_id.low(), 4_110_911_582_297_405_557);
    assert_eq!(root(&spans).parent_id.unwrap().get(), 797_643_193_680_388_254);
    // One that is not recorded is no trace.
    let spans = call("direct", &XRAY.replace("Sampled=1", "Sampled=0")).await;
    assert_eq!((root(&spans).parent_id, tag(root(&spans), "_dd.parent_source")), (None, ""));
    assert_eq!(spans[0].metrics.get("_sampling_priority_v1"), Some(&1.0));
}

#[tokio::test]
async fn without_merging_only_ids_of_datadog_are_taken_from_xrays_header() {
    let world = World::new().await;
    let call = async |header: &str| {
        let mut context = context("req-x");
        context.xray_trace_id = Some(header.to_owned());
        world.call_as(context, testkit::event("direct"), answering(Value::Null)).await.unwrap();
        world.chunk().spans
    };
    assert_eq!(root(&call(XRAY).await).parent_id, None);
    let spans = call("Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1").await;
    assert_eq!(root(&spans).trace_id.low(), 7_925_498_337_868_555_493);
    assert_eq!(root(&spans).parent_id.unwrap().get(), 5_245_570_649_555_658_903);
}

#[tokio::test]
async fn an_authorizers_policy_tells_the_function_behind_it() {
    let world = World::new().await;
    let policy =
        json!({"principalId": "u", "policyDocument": {"Version": "2012-10-17"}, "context": {"user": "17"}});
    let answer =
        world.call(testkit::event("api-authorizer-request"), answering(policy.clone())).await.unwrap();
    let spans = world.chunk().spans;
    let carrier = answer["context"]["_datadog"].as_str().unwrap();
    assert_eq!(answer["context"]["user"], "17");
    // Read as the function behind it would.
    let request: Value = serde_json::from_str(testkit::event("api-authorizer-request")).unwrap();
    let mut event: Value = serde_json::from_str(testkit::event("rest-api")).unwrap();
    event["requestContext"]["requestId"] = request["requestContext"]["requestId"].clone();
    event["requestContext"]["authorizer"] = json!({"_datadog": carrier});
    world.call(&event.to_string(), answering(Value::Null)).await.unwrap();
    let next = world.chunk().spans;
    assert_eq!(root(&next).trace_id, root(&spans).trace_id);
    assert_eq!(next[0].parent_id, Some(root(&spans).span_id));
    // Other answers, and other functions' answers, stay as they are.
    let simple = json!({"isAuthorized": true});
    assert_eq!(
        world.call(testkit::event("api-authorizer-request"), answering(simple.clone())).await.unwrap(),
        simple
    );
    assert_eq!(world.call(testkit::event("direct"), answering(policy.clone())).await.unwrap(), policy);
    let off = World::with(Manner::Answers, |s| s.encode_authorizer = false).await;
    assert_eq!(
        off.call(testkit::event("api-authorizer-request"), answering(policy.clone())).await.unwrap(),
        policy
    );
}

#[tokio::test]
async fn an_extractor_goes_before_the_event_and_may_pass() {
    let mut world = World::new().await;
    let extract = |event: &Value, _: &lambda_runtime::Context| {
        assert!(event["panic"].is_null(), "as told");
        serde_json::from_value::<HashMap<String, String>>(event.pointer("/meta/trace")?.clone()).ok()
    };
    world.change(|datadog| datadog.extractor = Some(Extractor(Arc::new(extract))));
    let trace_of = async |event: Value| {
        world.call(&event.to_string(), answering(Value::Null)).await.unwrap();
        let spans = world.chunk().spans;
        (root(&spans).trace_id.low(), root(&spans).parent_id.map(model::SpanId::get))
    };
    let own = json!({"x-datadog-trace-id": "5", "x-datadog-parent-id": "6"});
    let headers = json!({"x-datadog-trace-id": "7", "x-datadog-parent-id": "8"});
    assert_eq!(trace_of(json!({"meta": {"trace": own}, "_datadog": headers})).await, (5, Some(6)));
    assert_eq!(trace_of(json!({"_datadog": headers})).await, (7, Some(8)));
    assert_eq!(trace_of(json!({"meta": {"trace": {}}, "_datadog": headers})).await, (7, Some(8)));
    assert_eq!(trace_of(json!({"panic": true, "_datadog": headers})).await, (7, Some(8)));
}

#[tokio::test]
async fn sampling_decides_about_new_traces_only() {
    let rule = |text: &str| Rule::parse_list(text).unwrap();
    let rules = rule(r#"[{"resource":"orders-api","sample_rate":0}]"#);
    let world = World::with(Manner::Answers, |s| s.sampling_rules = rules).await;
    let handler = || {
        service_fn(|_: LambdaEvent<Value>| async {
            let told: HashMap<_, _> = world.injected();
            Ok::<_, Error>(json!(told.get("x-datadog-sampling-priority")))
        })
    };
    assert_eq!(world.call(testkit::event("direct"), handler()).await.unwrap(), "-1");
    let spans = world.chunk().spans;
    assert_eq!(spans[0].metrics.get("_sampling_priority_v1"), Some(&-1.0));
    assert_eq!(spans[0].metrics.get("_dd.rule_psr"), Some(&0.0));
    assert_eq!(world.call(testkit::event("http-api"), handler()).await.unwrap(), "1");
    let spans = world.chunk().spans;
    assert_eq!(
        (spans[0].metrics.get("_sampling_priority_v1"), spans[0].metrics.get("_dd.rule_psr")),
        (Some(&1.0), None)
    );
    let world = World::with(Manner::Answers, |s| s.sample_rate = Some(1.0)).await;
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    let spans = world.chunk().spans;
    assert_eq!(
        (spans[0].metrics.get("_sampling_priority_v1"), tag(&spans[0], "_dd.p.dm")),
        (Some(&2.0), "-3")
    );
}

#[tokio::test]
async fn baggage_travels_on_without_a_trace() {
    let world = World::new().await;
    let handler =
        service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(json!(world.injected().get("baggage"))) });
    let mut event: Value = serde_json::from_str(testkit::event("http-api")).unwrap();
    event["headers"] = json!({"baggage": "customer=gold"});
    assert_eq!(world.call(&event.to_string(), handler).await.unwrap(), "customer=gold");
    assert_eq!(world.chunk().spans[0].parent_id, None);
}

#[tokio::test]
async fn a_restored_process_is_another_one() {
    let world = World::with(Manner::Answers, |s| s.initialization_type = "snap-start".to_owned()).await;
    let before = world.datadog.runtime_id();
    let resource: Arc<dyn lambda_runtime::SnapStartResource> =
        Arc::new(crate::start::Restore(world.datadog.clone()));
    resource.after_restore().await.unwrap();
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    let spans = world.chunk().spans;
    assert_ne!(tag(root(&spans), "runtime-id"), before);
    assert_eq!(tag(root(&spans), "cold_start"), "true");
    // The extension has a span of the restore; what was loaded was loaded elsewhere.
    assert_eq!(spans.len(), 1);
}

#[tokio::test]
async fn spans_of_other_traces_go_in_chunks_of_their_own() {
    let world = World::new().await;
    let tracer = world.tracer.clone();
    let handler = service_fn(|event: LambdaEvent<Value>| {
        let tracer = tracer.clone();
        async move {
            for record in event.payload["Records"].as_array().unwrap() {
                let context = crate::record_context(record);
                let span = tracer.start_with_context("fulfil", &context);
                let context = context.with_span(span);
                let _in = context.attach();
                tracer.in_span("inner", |_| {});
            }
            Ok::<_, Error>(Value::Null)
        }
    });
    world.call(testkit::event("sqs-batch"), handler).await.unwrap();
    let chunks = world.agent.take();
    assert_eq!(chunks.len(), 2, "{chunks:?}");
    for chunk in &chunks {
        assert!(chunk.spans.iter().all(|s| s.trace_id.low() == chunk.spans[0].trace_id.low()));
        assert!(chunk.spans[0].metrics.get("_sampling_priority_v1").is_some());
    }
    let names = |n: usize| chunks[n].spans.iter().map(|s| s.name.as_ref()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(0),
        "aws.sqs aws.lambda aws.lambda.load inner fulfil inner fulfil inner fulfil inner fulfil"
    );
    assert_eq!(names(1), "inner fulfil inner fulfil");
    assert_eq!(chunks[1].spans[0].trace_id.low(), 8_234_567_890_123_456_789);
    let fulfil = &chunks[1].spans[1];
    assert!(fulfil.parent_id.is_some_and(|id| chunks[0].spans.iter().all(|s| s.span_id != id)));
    assert_eq!(chunks[1].spans[0].parent_id, Some(fulfil.span_id));
}

/// As when the user puts a timeout around the handler.
#[tokio::test]
async fn an_invocation_that_is_given_up_goes_with_the_next() {
    let world = World::new().await;
    let mut handler = |_: LambdaEvent<Value>| async {
        let _span = tracing::info_span!("endless").entered();
        std::future::pending::<Result<Value, Error>>().await
    };
    let raw = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
    let mut future = Box::pin(crate::handler::wrapped(
        &world.datadog,
        &mut handler,
        LambdaEvent::new(raw, context("lost")),
    ));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    drop(future);
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    let chunks = world.agent.take();
    let lost = chunks.iter().find(|c| tag(root(&c.spans), "request_id") == "lost").unwrap();
    assert!(lost.spans.iter().any(|s| s.name == "endless"), "{lost:?}");
    assert_eq!(chunks.len(), 2);
}

#[tokio::test]
async fn an_event_of_any_size_costs_a_bounded_look() {
    let world = World::new().await;
    let huge = format!("[{}1]", "1,".repeat(2_000_000));
    let handler = service_fn(|event: LambdaEvent<Box<serde_json::value::RawValue>>| async move {
        Ok::<_, Error>(json!(event.payload.get().len()))
    });
    assert_eq!(world.call(&huge, handler).await.unwrap(), json!(huge.len()));
    assert_eq!(world.agent.take().len(), 1);
}

#[tokio::test]
async fn tags_are_added_where_no_extension_does() {
    let tags = vec![("team".to_owned(), "orders".to_owned())];
    let with = tags.clone();
    let world = World::with(Manner::Answers, |s| (s.agent, s.tags) = (None, with)).await;
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    let traces: Vec<_> = world.lines().into_iter().filter(|line| line["traces"].is_array()).collect();
    assert_eq!(traces[0]["traces"][0][0]["meta"]["team"], "orders");
    let world = World::with(Manner::Answers, |s| s.tags = tags).await;
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    assert_eq!(tag(root(&world.chunk().spans), "team"), "");
}

#[tokio::test]
async fn marked_phases_are_spans_under_the_load_span() {
    let world = World::new().await;
    let began = world.datadog.start.began().unwrap();
    let ms = |n| began + Duration::from_millis(n);
    let phase = |name: &str, start, end| crate::cold_start::Phase { name: name.to_owned(), start, end };
    world.datadog.start.add_phase(phase("load config", began, ms(50)));
    world.datadog.start.add_phase(phase("blink", began, ms(1)));
    world.datadog.start.add_phase(phase("endless", ms(50), ms(1_000_000)));
    world.datadog.start.ready(ms(100));
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    let spans = world.chunk().spans;
    let load = spans.iter().find(|s| s.name == "aws.lambda.load").unwrap();
    let phases: Vec<_> = spans
        .iter()
        .filter(|s| s.parent_id == Some(load.span_id))
        .map(|s| (s.name.as_ref(), s.resource.as_ref(), s.duration.as_millis()))
        .collect();
    let name = "aws.lambda.load.phase";
    assert_eq!(phases, [(name, "load config", 50), (name, "endless", 50)]);
}

#[tokio::test]
async fn a_start_that_fails_is_a_span() {
    let world = World::new().await;
    world.tracer.start_with_context("connect", &Context::new()).record_error_here();
    let datadog = world.datadog.clone();
    let failure = crate::failure::Failure::of_error(&std::fmt::Error);
    tokio::task::spawn_blocking(move || crate::start::tell(&datadog, failure)).await.unwrap();
    let chunks = world.agent.take();
    let span = root(&chunks.last().unwrap().spans);
    assert!(span.error && span.parent_id.is_none());
    assert_eq!((tag(span, "error.type"), tag(span, "error.status")), ("core::fmt::Error", "500"));
    assert_eq!(span.resource, "orders-api");
    assert_eq!(chunks.len(), 2, "what was made before goes with it");
}

trait RecordHere {
    fn record_error_here(self);
}

impl RecordHere for opentelemetry_sdk::trace::Span {
    fn record_error_here(mut self) {
        use opentelemetry::trace::Span;

        self.record_error(&std::fmt::Error);
        self.end();
    }
}

#[tokio::test]
async fn what_is_open_when_time_runs_out_is_sent() {
    let world = World::new().await;
    let root_span = crate::Root::start(&world.datadog, &Value::Null, &context("req-t"));
    let in_root = root_span.context().attach();
    let outer = world.tracer.start("outer");
    world.tracer.start("done").record_error_here();
    drop(in_root);
    let invocation = root_span.invocation.clone();
    let of_it = invocation.clone();
    tokio::task::spawn_blocking(move || of_it.time_out(crate::ids::now())).await.unwrap();
    let spans = world.chunk().spans;
    let names: Vec<_> = spans.iter().map(|s| format!("{}:{}", s.name, s.error)).collect();
    assert_eq!(names, ["aws.lambda:true", "aws.lambda.load:false", "done:false", "outer:true"]);
    assert_eq!(tag(root(&spans), "error.type"), "Impending Timeout");
    assert_eq!(spans[3].parent_id, Some(root(&spans).span_id));
    // It ends after all, and so does the invocation: told is told.
    drop(outer);
    crate::end_root_span(root_span, &Ok::<_, Error>(Value::Null)).await;
    world.call(testkit::event("direct"), answering(Value::Null)).await.unwrap();
    assert_eq!(world.chunk().spans.len(), 1);
    assert_eq!(world.datadog.take_dropped(), 0);
}

/// The handler's answer is there, and only its sending takes long: no timeout of the handler.
#[tokio::test]
async fn who_has_answered_has_not_timed_out() {
    let world = World::new().await;
    let root_span = crate::Root::start(&world.datadog, &Value::Null, &context("req-t"));
    root_span.invocation.finished(crate::ids::now());
    let invocation = root_span.invocation.clone();
    tokio::task::spawn_blocking(move || invocation.time_out(crate::ids::now())).await.unwrap();
    assert_eq!(world.agent.take(), []);
    crate::end_root_span(root_span, &Ok::<_, Error>(Value::Null)).await;
}

/// To Lambda, a server's error in a response is a success: the extension has it from here alone. What it sees by
/// itself it is not told again.
#[tokio::test]
async fn an_extension_is_told_of_server_errors_alone() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let world = World::with(Manner::Answers, |s| s.statsd_port = port).await;
    let mut buffer = [0; 1024];
    let mut next = || {
        let length = receiver.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).split(':').next().unwrap_or_default().to_owned()
    };
    let failing = service_fn(|_: LambdaEvent<Value>| async { Err::<Value, Error>("no stock".into()) });
    world.call(testkit::event("http-api"), failing).await.unwrap_err();
    for status in [404, 503] {
        world.call(testkit::event("http-api"), answering(json!({"statusCode": status}))).await.unwrap();
        world.datadog.send_metric(model::Metric::distribution("end", 1.0));
    }
    assert_eq!([next(), next(), next()], ["end", "aws.lambda.enhanced.errors", "end"]);
}
