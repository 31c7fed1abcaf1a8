//! Invocations that run at once, as on managed instances: none sees anything of another.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::trace::Tracer;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::agent::Manner;
use super::world::{World, context};
use crate::settings::Settings;

#[tokio::test]
async fn each_invocation_keeps_its_own() {
    const AT_ONCE: usize = 50;
    // They wait for one another, and for the one thread that the agent is on too.
    let patience = |settings: &mut Settings| settings.after_response = Duration::from_secs(20);
    let world = World::with(Manner::Answers, patience).await;
    let meet = Arc::new(Barrier::new(AT_ONCE));
    let call = |n: usize| {
        let (world, meet) = (&world, meet.clone());
        async move {
            let meet = &meet;
            let handler = service_fn(|event: LambdaEvent<Value>| async move {
                let span = world.tracer.start(format!("before {}", event.payload["n"]));
                meet.wait().await;
                drop(span);
                let inner = format!("after {}", event.payload["n"]);
                tracing::info_span!("work").in_scope(|| {
                    world
                        .tracer
                        .in_span(inner, |_| tracing::info!(n = event.payload["n"].as_u64(), "worked"));
                });
                meet.wait().await;
                if n.is_multiple_of(2) { Ok(json!({})) } else { Err::<_, Error>("odd".into()) }
            });
            // All in one trace: the trace id alone does not tell invocations apart.
            let event = json!({"headers": {"x-datadog-trace-id": "5", "x-datadog-parent-id": "6",
                "x-datadog-sampling-priority": "1"}, "n": n, "requestContext": {"http": {"method": "GET",
                "path": "/"}, "domainName": "x", "stage": "s"}, "version": "2.0", "routeKey": "GET /"});
            let answer = world.call_as(context(&format!("req-{n}")), &event.to_string(), handler).await;
            assert_eq!(answer.is_ok(), n.is_multiple_of(2));
        }
    };
    let mut calls: Vec<_> = (0..AT_ONCE).map(|n| Box::pin(call(n))).collect();
    std::future::poll_fn(|cx| {
        calls.retain_mut(|call| call.as_mut().poll(cx).is_pending());
        if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let chunks = world.agent.take();
    assert_eq!(chunks.len(), AT_ONCE);
    let mut cold = 0;
    for chunk in chunks {
        let root = chunk.spans.iter().find(|s| s.name == "aws.lambda").unwrap();
        let n = root.meta.get("request_id").unwrap().strip_prefix("req-").unwrap();
        cold += usize::from(root.meta.get("cold_start").unwrap() == "true");
        assert_eq!(root.error, n.parse::<usize>().unwrap() % 2 == 1, "{n}");
        assert_eq!(root.trace_id.low(), 5);
        let mut own: Vec<_> = chunk.spans.iter().map(|s| s.name.to_string()).collect();
        own.retain(|name| !name.starts_with("aws."));
        own.sort();
        assert_eq!(own, [format!("after {n}"), format!("before {n}"), "work".to_owned()]);
        let id_of = |name: &str| chunk.spans.iter().find(|s| s.name == name).unwrap();
        assert_eq!(id_of(&format!("after {n}")).parent_id, Some(id_of("work").span_id));
        assert_eq!(id_of("work").parent_id, Some(root.span_id));
    }
    assert_eq!(cold, 1);
    for line in world.lines() {
        assert_eq!(line["requestId"], format!("req-{}", line["fields"]["n"]));
    }
}
