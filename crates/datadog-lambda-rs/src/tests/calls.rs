//! What one invocation leaves: its tree of spans, its tags, its errors, its log lines.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use model::Span;
use opentelemetry::trace::{FutureExt, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use serde_json::{Value, json};

use super::agent::tree;
use super::world::{World, context};

fn tag<'a>(span: &'a Span, key: &str) -> &'a str {
    span.meta.get(key).map(AsRef::as_ref).unwrap_or_default()
}

fn root(spans: &[Span]) -> &Span {
    spans.iter().find(|span| span.name == "aws.lambda").unwrap()
}

fn errors(span: &Span) -> String {
    if !span.error {
        return String::new();
    }
    format!("ERROR {}: {}", tag(span, "error.type"), tag(span, "error.message"))
}

#[tracing::instrument(skip_all)]
async fn validate_order() {
    tracing::info_span!("check_stock").in_scope(|| tracing::info!(items = 2, "in stock"));
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn spans_of_both_apis_form_one_tree() {
    let world = World::new().await;
    let tracer = world.tracer.clone();
    let handler = service_fn(|_: LambdaEvent<Value>| {
        // Work done before the future is made belongs to the invocation as well.
        tracer.in_span("parse", |_| {});
        async {
            validate_order().await;
            let price = tracer.start("price_order");
            let cx = Context::current_with_span(price);
            async {
                tracing::info_span!("discount").in_scope(|| {});
                tokio::task::yield_now().await;
            }
            .with_context(cx)
            .await;
            Context::current().span().set_attribute(KeyValue::new("order.id", "17"));
            Ok::<_, Error>(json!({"statusCode": 200}))
        }
    });
    let answer = world.call(testkit::event("http-api"), handler).await.unwrap();
    assert_eq!(answer, json!({"statusCode": 200}));
    let spans = world.chunk().spans;
    let expect = "\
aws.httpapi
  aws.lambda
    parse
    validate_order
      check_stock
    price_order
      discount
";
    let of_function: Vec<_> = spans.iter().filter(|s| s.name != "aws.lambda.load").cloned().collect();
    assert_eq!(tree(&of_function, errors), expect);
    let first = &spans[0];
    assert_eq!(first.parent_id.unwrap().get(), 987_654_321);
    assert_eq!((tag(first, "_dd.p.tid"), tag(first, "_dd.p.dm")), ("66a1b2c300000000", "-1"));
    assert_eq!(first.metrics.get("_sampling_priority_v1"), Some(&1.0));
    assert!(
        spans
            .iter()
            .all(|s| s.trace_id.low() == 1_234_567_890_123_456_789 && tag(s, "_dd.origin") == "lambda")
    );
    let root = root(&spans);
    assert!(
        spans.iter().all(|s| s.name == "aws.lambda.load" || s.end() <= first.end().max(root.end())),
        "{spans:?}"
    );
    assert_eq!(tag(root, "order.id"), "17");
}

#[tokio::test]
async fn the_root_span_tells_of_the_function_and_its_trigger() {
    let world = World::with(super::agent::Manner::Answers, |s| {
        s.env = Some("dev".to_owned());
        s.service = Some("orders".to_owned());
    })
    .await;
    let mut context = context("req-9");
    context.invoked_function_arn.push_str(":Live");
    let handler = || service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(json!({"statusCode": 404})) });
    world.call_as(context, testkit::event("http-api"), handler()).await.unwrap();
    let spans = world.chunk().spans;
    let span = root(&spans);
    assert_eq!((&*span.service, &*span.resource, &*span.kind), ("orders", "orders-api", "serverless"));
    let expect = [
        ("request_id", "req-9"),
        ("function_arn", "arn:aws:lambda:eu-west-1:123456789012:function:orders-api"),
        ("function_version", "Live"),
        ("functionname", "orders-api"),
        ("resource_names", "orders-api"),
        ("operation_name", "aws.lambda"),
        ("span.kind", "server"),
        ("cold_start", "true"),
        ("env", "dev"),
        ("language", "rust"),
        ("datadog_lambda", env!("CARGO_PKG_VERSION")),
        ("function_trigger.event_source", "api-gateway"),
        ("http.status_code", "404"),
        ("http.method", "GET"),
    ];
    for (key, value) in expect {
        assert_eq!(tag(span, key), value, "{key}");
    }
    assert!(!span.error);
    let inferred = &spans[0];
    assert_eq!((tag(inferred, "http.status_code"), tag(inferred, "peer.service")), ("404", "orders"));
    // The load span is there once, of a process that is older than its first event.
    let load: Vec<_> = spans.iter().filter(|s| s.name == "aws.lambda.load").collect();
    assert_eq!(load.len(), 1);
    assert_eq!((&*load[0].service, load[0].parent_id), ("aws.lambda", Some(inferred.span_id)));
    assert!(load[0].end() <= span.start && !load[0].duration.is_zero());
    world.call(testkit::event("direct"), handler()).await.unwrap();
    let spans = world.chunk().spans;
    assert_eq!((tag(&spans[0], "cold_start"), spans.len()), ("false", 1));
    assert_eq!(tag(&spans[0], "http.status_code"), "");
}

#[tokio::test]
async fn a_batch_continues_one_trace_and_links_the_others() {
    let world = World::new().await;
    let handler = service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(Value::Null) });
    world.call(testkit::event("sqs-batch"), handler).await.unwrap();
    let spans = world.chunk().spans;
    let root = root(&spans);
    assert_eq!(spans[0].name, "aws.sqs");
    assert_eq!(root.parent_id, Some(spans[0].span_id));
    assert_eq!(root.trace_id.low(), 1_234_567_890_123_456_789);
    let links: Vec<_> = root.links.iter().map(|link| link.trace_id.unwrap().low()).collect();
    assert_eq!(links, [8_234_567_890_123_456_789]);
}

#[tokio::test]
async fn the_client_context_is_continued() {
    let world = World::new().await;
    let mut context = context("req-2");
    let custom = json!({"custom": {"x-datadog-trace-id": "77", "x-datadog-parent-id": "88", "x-datadog-sampling-priority": "-1"}});
    context.client_context = Some(serde_json::from_value(custom).unwrap());
    let tracer = world.tracer.clone();
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        tracer.in_span("child", |_| {});
        assert!(!Context::current().span().span_context().is_sampled());
        Ok::<_, Error>(Value::Null)
    });
    world.call_as(context, testkit::event("direct"), handler).await.unwrap();
    let spans = world.chunk().spans;
    let root = root(&spans);
    assert_eq!((root.trace_id.low(), root.parent_id.unwrap().get()), (77, 88));
    assert_eq!(spans[0].metrics.get("_sampling_priority_v1"), Some(&-1.0));
    assert_eq!(tag(&spans[0], "_dd.p.dm"), "");
}

#[tokio::test]
async fn errors_reach_the_span_and_the_runtime() {
    let world = World::new().await;
    let failing = service_fn(|_: LambdaEvent<Value>| async { Err::<Value, Error>("no stock".into()) });
    let error = world.call(testkit::event("http-api"), failing).await.unwrap_err();
    let plain: lambda_runtime::Diagnostic = Error::from("no stock").into();
    assert_eq!(error, plain);
    let spans = world.chunk().spans;
    assert_eq!(errors(root(&spans)), "ERROR Error: no stock");
    assert_eq!(tag(root(&spans), "http.status_code"), "502");
    assert!(spans[0].error);
    let failing = service_fn(|_: LambdaEvent<Value>| async { Ok::<_, Error>(json!({"statusCode": 503})) });
    world.call(testkit::event("http-api"), failing).await.unwrap();
    let spans = world.chunk().spans;
    assert!(root(&spans).error && spans[0].error);
    let set = service_fn(|_: LambdaEvent<Value>| async {
        Context::current().span().set_status(Status::error("half done"));
        Ok::<_, Error>(Value::Null)
    });
    world.call(testkit::event("direct"), set).await.unwrap();
    assert_eq!(errors(root(&world.chunk().spans)), "ERROR : half done");
}

#[tokio::test]
async fn an_event_that_the_handler_cannot_take_is_an_error() {
    let world = World::new().await;
    let handler = service_fn(|_: LambdaEvent<Vec<u8>>| async { Ok::<_, Error>(Value::Null) });
    let error = world.call(testkit::event("direct"), handler).await.unwrap_err();
    assert_eq!(error.error_type, "bad event");
    let spans = world.chunk().spans;
    assert!(errors(root(&spans)).starts_with("ERROR PayloadError: "), "{}", errors(root(&spans)));
}

#[tokio::test]
async fn a_panic_is_recorded_and_goes_on() {
    crate::panics::watch();
    let world = World::new().await;
    for at_once in [true, false] {
        let handler = service_fn(|_: LambdaEvent<Value>| {
            assert!(!at_once, "at once");
            async {
                tokio::task::yield_now().await;
                tracing::info_span!("deep").in_scope(|| panic!("later {}", 5));
                Ok::<_, Error>(Value::Null)
            }
        });
        let mut handler = crate::TracedHandler::with(world.datadog.clone(), handler);
        let future =
            lambda_runtime::Service::call(&mut handler, LambdaEvent::new(Value::Null, context("req-p")));
        let local = tokio::task::LocalSet::new();
        let task = local.spawn_local(async move { future.await.map(super::world::body).is_ok() });
        let panic = local.run_until(task).await.unwrap_err().into_panic();
        let text = if at_once { "at once" } else { "later 5" };
        let message = panic
            .downcast_ref::<String>()
            .map_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or_default(), String::as_str);
        assert_eq!(message, text);
        let spans = wait_for_chunk(&world).await;
        assert_eq!(errors(root(&spans)), format!("ERROR panic: {text}"));
        assert!(tag(root(&spans), "error.stack").starts_with("panicked at "), "{spans:?}");
    }
}

/// Without the layer the bytes are with the kernel when the handler's future is done: the agent's task still
/// has to be run.
async fn wait_for_chunk(world: &World) -> Vec<Span> {
    let arrival = async {
        loop {
            if let Some(chunk) = world.agent.take().pop() {
                return chunk.spans;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), arrival).await.unwrap()
}

#[tokio::test]
async fn a_wrapped_function_needs_no_layer() {
    let world = World::new().await;
    #[derive(serde::Deserialize)]
    struct Order {
        name: String,
    }
    let mut handler = |event: LambdaEvent<Order>| async move {
        tracing::info_span!("work").in_scope(|| {});
        Ok::<_, Error>(json!({"hello": event.payload.name}))
    };
    let raw = |text: &str| {
        LambdaEvent::new(serde_json::value::RawValue::from_string(text.to_owned()).unwrap(), context("req-3"))
    };
    let answer =
        crate::handler::wrapped(&world.datadog, &mut handler, raw(r#"{"name":"you"}"#)).await.unwrap();
    assert_eq!(super::world::body(answer), json!({"hello": "you"}));
    let spans = wait_for_chunk(&world).await;
    let names: Vec<_> = spans.iter().map(|s| s.name.as_ref()).collect();
    assert_eq!(names, ["aws.lambda", "aws.lambda.load", "work"]);

    let bad = crate::handler::wrapped(&world.datadog, &mut handler, raw(r#"{"name":7}"#)).await;
    let Err(bad) = bad.map(super::world::body) else { panic!("a number is no name") };
    let diagnostic: lambda_runtime::Diagnostic = bad.into();
    assert_eq!(diagnostic.error_type, "&lambda_runtime::deserializer::DeserializeError");
    assert_eq!(
        diagnostic.error_message,
        "failed to deserialize the incoming data into the function's payload type: [name] name: invalid type: \
         integer `7`, expected a string at line 1 column 9\n"
    );
    assert!(
        errors(root(&wait_for_chunk(&world).await)).starts_with("ERROR PayloadError: failed to deserialize")
    );
}

/// The event as it came, down to its spaces, and an answer that is text of JSON.
#[tokio::test]
async fn an_event_may_stay_text() {
    let world = World::new().await;
    let text = r#"{ "requestContext": {"http": {"method": "GET", "path": "/"}, "domainName": "x", "stage": "s"},
        "version": "2.0", "routeKey": "GET /", "n": 1.50 }"#;
    let raw = || serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
    let answer = || serde_json::value::RawValue::from_string(r#"{"statusCode": 404}"#.to_owned()).unwrap();
    let mut handler = |event: LambdaEvent<Box<serde_json::value::RawValue>>| async move {
        assert_eq!(event.payload.get(), text);
        Ok::<_, Error>(answer())
    };
    let event = LambdaEvent::new(raw(), context("req-1"));
    let wrapped = crate::handler::wrapped(&world.datadog, &mut handler, event).await.unwrap();
    assert_eq!(super::world::body(wrapped), json!({"statusCode": 404}));
    assert_eq!(tag(root(&wait_for_chunk(&world).await), "http.status_code"), "404");
    let answer = world.call(text, service_fn(handler)).await.unwrap();
    assert_eq!(answer, json!({"statusCode": 404}));
    assert_eq!(tag(root(&world.chunk().spans), "http.status_code"), "404");
}

#[tokio::test]
async fn log_lines_carry_the_ids_of_the_span_that_they_are_written_in() {
    let world = World::new().await;
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        tracing::info!("at the root");
        validate_order().await;
        Ok::<_, Error>(Value::Null)
    });
    world.call(testkit::event("http-api"), handler).await.unwrap();
    let spans = world.chunk().spans;
    let lines = world.lines();
    for (line, name) in lines.iter().zip(["aws.lambda", "check_stock"]) {
        let span = spans.iter().find(|s| s.name == name).unwrap();
        assert_eq!(line["dd.trace_id"], "66a1b2c300000000112210f47de98115");
        assert_eq!(line["dd.span_id"], span.span_id.get().to_string(), "{name}");
        assert_eq!(line["requestId"], "req-1");
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test]
async fn any_event_of_the_corpus_is_answered() {
    let world = World::new().await;
    for (name, event) in testkit::events() {
        let handler = service_fn(|event: LambdaEvent<Value>| async move { Ok::<_, Error>(event.payload) });
        let answer = world.call(event, handler).await.unwrap();
        assert_eq!(answer, serde_json::from_str::<Value>(event).unwrap(), "{name}");
        assert!(!root(&world.chunk().spans).error, "{name}");
    }
}

#[tokio::test]
async fn switched_off_nothing_is_made_or_sent() {
    let world = World::with(super::agent::Manner::Answers, |s| s.tracing = false).await;
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        assert!(!Context::current().has_active_span());
        tracing::info!("up");
        Ok::<_, Error>(Value::Null)
    });
    world.call(testkit::event("http-api"), handler).await.unwrap();
    assert_eq!(world.agent.take(), []);
    let lines = world.lines();
    assert_eq!(lines[0]["requestId"], "req-1");
    assert!(lines[0].get("dd.trace_id").is_none());
}

#[tokio::test]
async fn a_root_span_made_by_hand() {
    let world = World::new().await;
    let event: Value = serde_json::from_str(testkit::event("http-api")).unwrap();
    let check = async |result: Result<Value, std::fmt::Error>, expect: &str| {
        let root_span = crate::Root::start(&world.datadog, &event, &context("req-h"));
        async { tracing::info_span!("work").in_scope(|| {}) }.with_context(root_span.context()).await;
        crate::end_root_span(root_span, &result).await;
        let spans = wait_for_chunk(&world).await;
        let spans: Vec<_> = spans.into_iter().filter(|s| s.name != "aws.lambda.load").collect();
        let note = |s: &Span| {
            if s.name == "aws.lambda" { errors(s) + tag(s, "http.status_code") } else { String::new() }
        };
        assert_eq!(tree(&spans, note), expect);
    };
    check(Ok(json!({"statusCode": 201})), "aws.httpapi\n  aws.lambda 201\n    work\n").await;
    let failed = "aws.httpapi\n  aws.lambda ERROR core::fmt::Error: an error occurred when formatting an \
                  argument502\n    work\n";
    check(Err(std::fmt::Error), failed).await;
}

/// In a function that aborts on a panic, nothing after it is run.
#[tokio::test]
async fn last_words() {
    let world = World::new().await;
    let root_span = crate::Root::start(&world.datadog, &Value::Null, &context("req-x"));
    tracing::info_span!("before").in_scope(|| {});
    let failure = crate::failure::Failure::of_panic(&"no stock");
    let invocation = root_span.invocation.clone();
    tokio::task::spawn_blocking(move || crate::panics::last_words(&invocation, failure)).await.unwrap();
    assert_eq!(errors(root(&world.chunk().spans)), "ERROR panic: no stock");
}

/// What `run_concurrent` asks of a service.
#[test]
fn the_layers_service_can_be_shared() {
    fn asks<S: lambda_runtime::Service<lambda_runtime::LambdaInvocation> + Clone + Send + 'static>(_: &S)
    where
        S::Future: Send,
    {
    }
    async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
        Ok(event.payload)
    }
    fn check<H, F>(handler: H)
    where
        H: lambda_runtime::Service<LambdaEvent<Value>, Future = F> + Clone + Send + 'static,
        F: Send,
    {
        let inner = service_fn(move |invocation: lambda_runtime::LambdaInvocation| {
            let _future = handler.clone().call(LambdaEvent::new(Value::Null, invocation.context));
            async { Ok::<(), Error>(()) }
        });
        asks(&tower::Layer::layer(&crate::DatadogLayer::new(), inner));
    }
    check(crate::TracedHandler::<_, Value, lambda_runtime::streaming::Body>::new(service_fn(handler)));
}
