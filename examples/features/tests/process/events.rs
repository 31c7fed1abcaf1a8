//! Who calls, and who is called.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use sandbox::{FunctionConfig, InvokeOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::agent::{Request, serve};
use crate::seen::{Seen, Span};
use crate::world::{NAME, PATIENCE, World, json as body, with_env};

const TRACE: &str = "66a1b2c300000000112210f47de98115";
const OTHER: &str = "66a1b2c40000000072470fde11a58115";

fn nothing(_: &Span) -> String {
    String::new()
}

#[tokio::test]
async fn each_record_of_a_batch_continues_its_senders_trace() {
    let mut event: Value = serde_json::from_str(testkit::event("sqs-batch")).unwrap();
    event["Records"][2]["body"] = "no JSON".into();
    let bad = event["Records"][2]["messageId"].clone();
    for world in World::both(env!("CARGO_BIN_EXE_batch"), &[]).await {
        let answer = world.invoke(event.to_string()).await;
        assert_eq!(body(&answer), json!({"batchItemFailures": [{"itemIdentifier": bad}]}));
        let failed = "aws.lambda.enhanced.batch_item_failures";
        let records = event["Records"].as_array().unwrap().len();
        let seen = world.end(|s| s.count("fulfil_order") == records && s.total(failed).0 > 0).await;
        assert_eq!(seen.total(failed), (1, 1.0));

        let root = seen.root(answer.request_id.as_str());
        assert_eq!(root.trace, TRACE, "that of the first that has one");
        assert!(root.links.contains(&(OTHER.to_owned(), 187_654_321)), "{root:?}");
        let there: Vec<_> = seen.all("fulfil_order").into_iter().filter(|s| s.trace == OTHER).collect();
        assert!(!there.is_empty());
        for span in &there {
            assert_eq!(span.parent, Some(187_654_321));
            // And the way back to the invocation that did it.
            assert_eq!(span.links, [(root.trace.clone(), root.id)]);
            assert_eq!(span.tag("span.kind"), "consumer");
        }
        let failed: Vec<_> = seen.all("fulfil_order").into_iter().filter(|s| s.error).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].trace, OTHER);
        assert!(failed[0].tag("error.message").starts_with("expected ident"), "{:?}", failed[0]);
        for span in seen.all("fulfil_order").into_iter().filter(|span| !span.error) {
            assert_eq!(seen.tree(span, nothing), "fulfil_order\n  pack\n");
        }
        let warned = seen.log("to be tried again").map(|line| line["dd.span_id"].clone());
        if !world.has_extension() {
            assert_eq!(warned, Some(root.id.to_string().into()));
        }
    }
}

#[tokio::test]
async fn http_in_and_out() {
    let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
    let kept = asked.clone();
    let stock = serve(move |request| {
        kept.lock().unwrap().push(request);
        Some("404 Not Found")
    })
    .await;
    let url = format!("http://127.0.0.1:{}", stock.port);
    for world in World::both(env!("CARGO_BIN_EXE_web"), &[("STOCK_URL", &url)]).await {
        let mut event: Value = serde_json::from_str(testkit::event("http-api")).unwrap();
        event["headers"]["authorization"] = "Bearer s3cret".into();
        let answer = world.invoke(event.to_string()).await;
        assert_eq!(body(&answer)["statusCode"], 200, "{answer:?}");
        event["rawPath"] = "/health".into();
        event["requestContext"]["http"]["path"] = "/health".into();
        let broken = world.invoke(event.to_string()).await;
        assert_eq!(body(&broken)["statusCode"], 503, "{broken:?}");
        let errors = "aws.lambda.enhanced.errors";
        let seen = world.end(|s| s.count("aws.lambda") == 2 && s.total(errors).0 > 0).await;

        let root = seen.root(answer.request_id.as_str());
        let gateway = seen.spans.iter().find(|span| Some(span.id) == root.parent).unwrap();
        let note = |span: &Span| span.tag("http.status_code").to_owned();
        let expect = "aws.httpapi 200\n  aws.lambda 200\n    order\n      http.request 404\n";
        assert_eq!(seen.tree(gateway, note), expect);
        assert_eq!((gateway.trace.as_str(), gateway.parent), (TRACE, Some(987_654_321)));
        assert_eq!((root.tag("http.method"), root.tag("http.route")), ("GET", "/orders/{id}"));
        assert_eq!(root.tag("function_trigger.event_source"), "api-gateway");
        // Event and response, without secrets, in which form ever they stand.
        assert_eq!(root.tag("function.request.rawPath"), "/orders/17");
        assert_eq!(root.tag("function.request.headers.authorization"), "redacted");
        assert_eq!(root.tag("function.response.body.stock"), "404");
        assert_eq!(root.tag("function.response.body.token"), "redacted");
        let said = format!("{seen:?}");
        assert!(!said.contains("s3cret") && !said.contains("t0p"), "a secret is in {said}");

        // The other service was told of the span of the request.
        let request = seen.one("http.request");
        assert_eq!(request.tag("http.url"), format!("{url}/stock/17"));
        assert_eq!((request.error, request.tag("span.kind")), (true, "client"));
        let told = asked.lock().unwrap().pop().unwrap();
        assert_eq!(told.header("x-datadog-trace-id"), Some("1234567890123456789"));
        assert_eq!(told.header("x-datadog-parent-id"), Some(request.id.to_string().as_str()));
        assert_eq!(told.header("traceparent"), Some(format!("00-{TRACE}-{:016x}-01", request.id).as_str()));

        // A server's error is the function's.
        let root = seen.root(broken.request_id.as_str());
        assert!(root.error && root.tag("http.status_code") == "503", "{root:?}");
        assert_eq!(seen.total(errors).1, 1.0);
    }
}

#[tokio::test]
async fn a_streamed_response() {
    for world in World::both(env!("CARGO_BIN_EXE_streaming"), &[]).await {
        let (sender, mut parts) = mpsc::channel(1);
        let event = r#"{"parts": 3}"#.into();
        let invoked = world.lambda.invoke_streaming(NAME, event, InvokeOptions::default(), sender);
        let read = async {
            let mut all = Vec::new();
            while let Some(part) = parts.recv().await {
                all.extend_from_slice(&part);
            }
            String::from_utf8(all).unwrap()
        };
        let both = async { tokio::join!(invoked, read) };
        let (answer, read) = tokio::time::timeout(PATIENCE, both).await.unwrap();
        let answer = answer.unwrap();
        // In front of it, and set apart, what the parts are, for the HTTP front end.
        let (about, read) = read.split_once("\0\0\0\0\0\0\0\0").unwrap();
        assert!(about.starts_with(r#"{"statusCode":200"#), "{about}");
        assert_eq!((read, &answer.function_error), ("part 1\npart 2\npart 3\n", &None));
        let first = "aws.lambda.enhanced.time_to_first_byte";
        let seen = world.end(|s| s.count("render") == 3 && s.total(first).0 > 0).await;
        let root = seen.root(answer.request_id.as_str());
        let note = |span: &Span| span.field("part");
        assert_eq!(seen.tree(root, note), "aws.lambda\n  render 1\n  render 2\n  render 3\n");
        // The function was not done before its last part was.
        assert!(seen.all("render").iter().all(|part| part.end() <= root.end()), "{seen:#?}");
        let (count, millis) = seen.total(first);
        assert_eq!(count, 1);
        assert!(millis > 0.0 && millis * 1e6 <= root.duration as f64, "{millis} ms of {root:?}");
    }
}

#[tokio::test]
async fn a_task_of_a_workflow_passes_its_trace_on() {
    for world in World::both(env!("CARGO_BIN_EXE_workflow"), &[]).await {
        let answer = world.invoke(testkit::event("step-functions")).await;
        let seen = world.end(|seen| seen.count("handler") == 1).await;
        let root = seen.root(answer.request_id.as_str());
        // Of the execution's ARN, and of that of the state: the same that Datadog computes for the workflow.
        assert_eq!(root.trace, format!("1914fe7789eb32be{:016x}", 5_744_042_798_732_701_615_u64));
        assert_eq!(root.parent, Some(2_902_498_116_043_018_663));
        assert_eq!(root.tag("function_trigger.event_source"), "states");
        let message = body(&answer);
        let told: BTreeMap<String, String> = serde_json::from_value(message["_datadog"].clone()).unwrap();
        assert_eq!(message["order"], 17);
        assert_eq!(told["x-datadog-trace-id"], "5744042798732701615");
        assert_eq!(told["x-datadog-parent-id"], seen.one("handler").id.to_string());
        assert!(told["x-datadog-tags"].contains("_dd.p.tid=1914fe7789eb32be"), "{told:?}");
        assert_eq!(told["x-datadog-sampling-priority"], "1");
    }
}

#[tokio::test]
async fn a_trace_put_together_with_that_of_xray() {
    const HEADER: &str = "Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=1";
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = daemon.local_addr().unwrap().to_string();
    let env = [("DD_MERGE_XRAY_TRACES", "true"), ("AWS_XRAY_DAEMON_ADDRESS", &address)];
    for world in World::both(env!("CARGO_BIN_EXE_workflow"), &env).await {
        let options = || InvokeOptions { trace_header: Some(HEADER.to_owned()), ..InvokeOptions::default() };
        let of_event = world.invoke_with(testkit::event("step-functions"), options()).await;
        let alone = world.invoke_with("{}", options()).await;
        let seen = world.end(|seen| seen.count("aws.lambda") == 2).await;
        let root = seen.root(of_event.request_id.as_str());
        let xray = Some(0x0b11_cc42_30d3_e09e);
        assert_eq!((root.trace.split_at(16).0, root.parent), ("1914fe7789eb32be", xray));
        assert_eq!(root.tag("_dd.parent_source"), "xray");
        let root = seen.root(alone.request_id.as_str());
        assert_eq!(u64::from_str_radix(root.trace.split_at(16).1, 16).unwrap(), 4_110_911_582_297_405_557);
        assert_eq!((root.parent, root.tag("_dd.parent_source")), (xray, "xray"));
        // X-Ray's daemon was told which trace the first one belongs to.
        let mut buffer = [0; 64 * 1024];
        let mut told = |part: &str| {
            let length = daemon.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(text.contains(part), "{part} in {text}");
            assert!(text.contains(r#""trace_id":"1-5ce31dc2-2c779014b90ce44db5e03875""#), "{text}");
        };
        told(r#""trace-id":"5744042798732701615""#);
        told("lambda_function_tags");
    }
}

#[tokio::test]
async fn an_authorizer_and_the_function_behind_it() {
    let request: Value = serde_json::from_str(testkit::event("api-authorizer-request")).unwrap();
    for extension in [true, false] {
        let world = async |program: &str| {
            let same = |config: FunctionConfig| with_env(config, &[]);
            match extension {
                true => World::beside(program, same).await,
                false => World::alone(program, same).await,
            }
        };
        let authorizer = world(env!("CARGO_BIN_EXE_authorizer")).await;
        let answer = authorizer.invoke(request.to_string()).await;
        let policy = body(&answer);
        assert_eq!((&policy["principalId"], &policy["context"]["plan"]), (&json!("user-17"), &json!("gold")));
        // As API Gateway has it for the function.
        let mut event: Value = serde_json::from_str(testkit::event("rest-api")).unwrap();
        event["headers"] = json!({});
        event["requestContext"]["requestId"] = request["requestContext"]["requestId"].clone();
        event["requestContext"]["authorizer"] = policy["context"].clone();
        let behind = world(env!("CARGO_BIN_EXE_workflow")).await;
        let answered = behind.invoke(event.to_string()).await;

        let seen = authorizer.end(|seen| seen.count("aws.lambda") == 1).await;
        let root = seen.root(answer.request_id.as_str());
        assert_eq!(root.trace, TRACE);
        let seen = behind.end(|seen| seen.count("aws.lambda") == 1).await;
        let function = seen.root(answered.request_id.as_str());
        assert_eq!(function.trace, TRACE);
        // Gateway's time with the authorizer, and then its own.
        let waited = seen.one("aws.apigateway.authorizer");
        assert_eq!(waited.parent, Some(root.id));
        assert_eq!(
            seen.tree(waited, nothing),
            "aws.apigateway.authorizer\n  aws.apigateway\n    aws.lambda\n      handler\n"
        );
    }
}

/// The extension is told of begin and end, and makes the spans that the library makes otherwise.
#[tokio::test]
async fn http_with_the_extensions_own_spans() {
    let stock = serve(|_| Some("200 OK")).await;
    let url = format!("http://127.0.0.1:{}", stock.port);
    let env = [("STOCK_URL", url.as_str()), ("DD_UNIVERSAL_INSTRUMENTATION", "true")];
    let world = World::beside(env!("CARGO_BIN_EXE_web"), |config| with_env(config, &env)).await;
    let mut event: Value = serde_json::from_str(testkit::event("http-api")).unwrap();
    let answer = world.invoke(event.to_string()).await;
    assert_eq!(body(&answer)["statusCode"], 200, "{answer:?}");
    event["rawPath"] = "/health".into();
    let broken = world.invoke(event.to_string()).await;
    assert_eq!(body(&broken)["statusCode"], 503, "{broken:?}");
    let errors = "aws.lambda.enhanced.errors";
    let there = |seen: &Seen| {
        seen.count("aws.lambda") == 2 && seen.count("http.request") == 1 && seen.total(errors).0 > 0
    };
    let seen = world.end(there).await;
    assert_eq!(seen.total(errors), (1, 1.0));
    let root = seen.root(answer.request_id.as_str());
    let gateway = seen.spans.iter().find(|span| Some(span.id) == root.parent).unwrap();
    assert_eq!((gateway.trace.as_str(), gateway.parent), (TRACE, Some(987_654_321)));
    let note = |span: &Span| span.tag("http.status_code").to_owned();
    let expect = "aws.httpapi 200\n  aws.lambda 200\n    order\n      http.request 200\n";
    assert_eq!(seen.tree(gateway, note), expect);
    assert!(seen.root(broken.request_id.as_str()).error);
}
