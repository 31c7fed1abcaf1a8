//! The span of a call, of whichever service: its tags are those that dashboards know.

use datadog_aws_sdk::client;
use opentelemetry::trace::{FutureExt, SpanKind, TraceContextExt};

use crate::sqs::queue;
use crate::world::{Caller, endpoint, sdk_config, tags};

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn spans_have_their_tags() {
    let url = queue("tags");
    let caller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let purge = sqs.get_queue_attributes().queue_url(&url).send();
    purge.with_context(caller.context.clone()).await.unwrap();
    let span = caller.span("SQS.GetQueueAttributes");
    assert_eq!(span.parent_span_id, caller.context.span().span_context().span_id());
    assert_eq!(span.span_kind, SpanKind::Client);
    let tags = tags(&span);
    let expect = [
        ("operation.name", "aws.request"),
        ("service.name", "aws.SQS"),
        ("resource.name", "SQS.GetQueueAttributes"),
        ("span.type", "http"),
        ("component", "aws-sdk-rust"),
        ("aws.service", "SQS"),
        ("aws_service", "SQS"),
        ("aws.operation", "GetQueueAttributes"),
        ("aws.region", "eu-west-1"),
        ("region", "eu-west-1"),
        ("aws.partition", "aws"),
        ("http.method", "POST"),
        ("http.status_code", "200"),
        ("aws.retry_count", "0"),
        ("queuename", "tags"),
        ("aws.sqs.queue_name", "tags"),
        ("cloud.resource_id", "arn:aws:sqs:eu-west-1:123456789012:tags"),
    ];
    for (key, value) in expect {
        assert_eq!(tags.get(key).map(String::as_str), Some(value), "{key}: {tags:?}");
    }
    assert!(tags["http.url"].starts_with(endpoint()), "{tags:?}");
    assert!(tags["aws.agent"].contains("aws-sdk-rust"), "{tags:?}");
    assert!(!tags["aws.request_id"].is_empty());
    // Elsewhere than in a function a service has its own agent, which knows its peers.
    assert_eq!(tags.get("peer.service"), None);
}
