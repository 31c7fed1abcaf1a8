//! Who has sent the event: every kind of it that says so, to a function in a local Lambda.

use std::fmt::Write;

use sandbox::InvokeOptions;
use serde_json::{Value, json};

use crate::seen::{Seen, Span};
use crate::world::World;

/// One of each, and what an invocation by it is.
const EVENTS: &[&str] = &[
    "alb",
    "appsync-resolver",
    "direct-headers",
    "durable",
    "dynamodb",
    "eventbridge",
    "function-url",
    "http-api",
    "http-api-w3c",
    "kinesis",
    "lattice-v2",
    "msk",
    "rest-api",
    "s3",
    "self-managed-kafka",
    "sns",
    "sns-eventbridge",
    "sqs",
    "sqs-aws-trace-header",
    "sqs-binary",
    "sqs-eventbridge",
    "sqs-none",
    "sqs-s3",
    "sqs-sns",
    "sqs-sns-eventbridge",
    "sqs-sns-raw",
    "step-functions-lambda-root",
    "websocket-connect",
];

const CALLERS: &str = "66a1b2c300000000112210f47de98115";

/// The event, what made it, the spans in front of `aws.lambda`, and the trace that it is a part of: of the caller, of
/// its own, or as computed.
const EXPECT: &str = "\
alb: application-load-balancer [] the caller's
appsync-resolver: appsync [] the caller's
direct-headers: nothing known [] the caller's
durable: nothing known [] the caller's
dynamodb: dynamodb [aws.dynamodb] its own trace, links
eventbridge: eventbridge [aws.eventbridge] the caller's
function-url: lambda-function-url [aws.lambda.url] the caller's
http-api: api-gateway [aws.httpapi] the caller's
http-api-w3c: api-gateway [aws.httpapi] the caller's trace under 170
kinesis: kinesis [aws.kinesis] the caller's, links
lattice-v2: vpc-lattice [] the caller's
msk: msk [aws.msk] the caller's, links
rest-api: api-gateway [aws.apigateway] the caller's
s3: s3 [aws.s3] its own trace, links
self-managed-kafka: msk [aws.msk] the caller's
sns: sns [aws.sns] the caller's
sns-eventbridge: sns [aws.eventbridge aws.sns] the caller's
sqs: sqs [aws.sqs] the caller's
sqs-aws-trace-header: sqs [aws.sqs] the caller's
sqs-binary: sqs [aws.sqs] the caller's
sqs-eventbridge: sqs [aws.eventbridge aws.sqs] the caller's
sqs-none: sqs [aws.sqs] its own trace
sqs-s3: sqs [aws.s3 aws.sqs] its own trace, links
sqs-sns: sqs [aws.sns aws.sqs] the caller's
sqs-sns-eventbridge: sqs [aws.eventbridge aws.sns aws.sqs] the caller's
sqs-sns-raw: sqs [aws.sqs] the caller's
step-functions-lambda-root: states [] 672a7cb10000000050cb33b3c06ae95c under 8947638978974359093
websocket-connect: api-gateway [aws.apigateway] the caller's
";

#[tokio::test]
async fn every_source_of_events() {
    for world in World::both(env!("CARGO_BIN_EXE_workflow"), &[]).await {
        let mut ids = Vec::new();
        for event in EVENTS {
            ids.push(world.invoke(testkit::event(event)).await.request_id);
        }
        let seen = world.end(|seen| seen.count("aws.lambda") == EVENTS.len()).await;
        let mut found = String::new();
        for (event, id) in EVENTS.iter().zip(&ids) {
            writeln!(found, "{event}: {}", about(&seen, seen.root(id.as_str()))).unwrap();
        }
        assert_eq!(found, EXPECT);
    }
}

fn about(seen: &Seen, root: &Span) -> String {
    let (mut chain, mut parent) = (Vec::new(), root.parent);
    while let Some(span) = seen.spans.iter().find(|span| Some(span.id) == parent) {
        assert_eq!(span.trace, root.trace);
        chain.insert(0, span.name.as_str());
        parent = span.parent;
    }
    let trace = if root.trace == CALLERS { "the caller's trace" } else { root.trace.as_str() };
    let of = match parent {
        None => "its own trace".to_owned(),
        Some(987_654_321) if root.trace == CALLERS => "the caller's".to_owned(),
        Some(id) => format!("{trace} under {id}"),
    };
    let links = if root.links.is_empty() { "" } else { ", links" };
    let source = match root.tag("function_trigger.event_source") {
        "" => "nothing known",
        source => source,
    };
    format!("{source} [{}] {of}{links}", chain.join(" "))
}

/// Callers that say so beside the event.
#[tokio::test]
async fn a_caller_beside_the_event() {
    const XRAY: &str = "Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1";
    for world in World::both(env!("CARGO_BIN_EXE_workflow"), &[]).await {
        let custom = json!({"custom": {"x-datadog-trace-id": "77", "x-datadog-parent-id": "88",
            "x-datadog-sampling-priority": "-1"}});
        let options = InvokeOptions { client_context: Some(custom.to_string()), ..InvokeOptions::default() };
        let by_context = world.invoke_with("{}", options).await;
        // A tracer of Datadog's wrote its own ids there; those of X-Ray itself are X-Ray's alone.
        let header = |header: &str| InvokeOptions {
            trace_header: Some(header.to_owned()),
            ..InvokeOptions::default()
        };
        let by_header = world.invoke_with("{}", header(XRAY)).await;
        let of_xray = XRAY.replace("000000006dfd06bf", "112fbf17b90ce44d");
        let by_xray = world.invoke_with("{}", header(&of_xray)).await;
        let seen = world.end(|seen| seen.count("aws.lambda") == 3).await;
        let root = seen.root(by_context.request_id.as_str());
        assert_eq!((root.trace.as_str(), root.parent), ("0000000000000000000000000000004d", Some(88)));
        assert_eq!(root.priority, Some(-1));
        let root = seen.root(by_header.request_id.as_str());
        assert!(root.trace.ends_with(&format!("{:016x}", 7_925_498_337_868_555_493_u64)), "{root:?}");
        assert_eq!(root.parent, Some(5_245_570_649_555_658_903));
        assert_eq!(seen.root(by_xray.request_id.as_str()).parent, None);
    }
}

/// The answer says what became of it, and the event who began it.
#[tokio::test]
async fn an_execution_that_survives_its_sandboxes() {
    let mut event: Value = serde_json::from_str(testkit::event("durable")).unwrap();
    // The function gives its event back.
    event["Status"] = "PENDING".into();
    for world in World::both(env!("CARGO_BIN_EXE_own-provider"), &[]).await {
        let answer = world.invoke(event.to_string()).await;
        let seen = world.end(|seen| seen.count("aws.lambda") == 1).await;
        let root = seen.root(answer.request_id.as_str());
        let tag = |name: &str| root.tag(&format!("aws.durable.{name}")).to_owned();
        let tags = ["execution_name", "first_invocation", "execution_status"].map(tag);
        assert_eq!(tags, ["order-17", "false", "PENDING"]);
    }
}
