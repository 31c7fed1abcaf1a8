//! Invocations with more spans than one message should hold.

use std::collections::HashSet;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use model::Chunk;
use model::keys::{lambda, trace};
use serde_json::Value;

use super::agent::Manner;
use super::world::World;

const SPANS: u64 = 10_000;

/// Makes that many spans, and lets others run after every `rest` of them.
async fn work(rest: u64) -> Result<(), Error> {
    for n in 0..SPANS {
        tracing::info_span!("work", n, item = "book").in_scope(|| {});
        if n % rest == rest - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

fn is_whole(chunk: &Chunk) {
    let first = &chunk.spans[0];
    assert!(first.metrics.contains(trace::SAMPLING_PRIORITY) && first.meta.contains(trace::TID), "{first:?}");
}

/// A machine that is busy with other things may need the time that a part has for itself: what is wrong is wrong
/// each time.
const ATTEMPTS: usize = 5;

#[tokio::test]
async fn thousands_of_spans_leave_in_parts() {
    for rest in [50, SPANS] {
        for attempt in 1..=ATTEMPTS {
            let world = World::with(Manner::Answers, |settings| {
                settings.after_response = Duration::from_secs(20);
            })
            .await;
            world.call("{}", service_fn(|_: LambdaEvent<Value>| work(rest))).await.unwrap();
            let chunks = world.agent.take();
            let spans: usize = chunks.iter().map(|chunk| chunk.spans.len()).sum();
            if spans == 10_002 || attempt == ATTEMPTS {
                all_are_there_once(&chunks);
                break;
            }
        }
    }
}

fn all_are_there_once(chunks: &[Chunk]) {
    chunks.iter().for_each(is_whole);
    let most = chunks.iter().map(|chunk| chunk.spans.len()).max();
    assert!(most <= Some(302), "{most:?}");
    let spans: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.spans).collect();
    let root = spans.iter().find(|span| span.name == "aws.lambda").unwrap();
    let work: Vec<_> = spans.iter().filter(|span| span.name == "work").collect();
    let ids: HashSet<_> = work.iter().map(|span| span.span_id).collect();
    assert_eq!((work.len(), ids.len()), (10_000, 10_000));
    for span in work {
        assert_eq!((span.trace_id.low(), span.parent_id), (root.trace_id.low(), Some(root.span_id)));
        // Statistics are kept of top-level spans: a parent that left in another part must not make one.
        assert!(!span.metrics.contains(trace::DD_TOP_LEVEL));
    }
    assert!(root.metrics.contains(trace::DD_TOP_LEVEL));
    assert!(!root.metrics.contains(lambda::DROPPED_SPANS), "{root:?}");
}

#[tokio::test]
async fn without_parts_what_is_too_much_is_dropped_and_counted() {
    let world = World::with(Manner::Answers, |settings| {
        settings.partial_flush = false;
        settings.after_response = Duration::from_secs(20);
    })
    .await;
    let many = service_fn(|_: LambdaEvent<Value>| async {
        for n in 0..200 {
            tracing::info_span!("work", n, text = "x".repeat(20_000)).in_scope(|| {});
        }
        work(SPANS).await
    });
    world.call("{}", many).await.unwrap();
    let chunk = world.chunk();
    let root = chunk.spans.iter().find(|span| span.name == "aws.lambda").unwrap();
    let dropped = root.metrics.get(lambda::DROPPED_SPANS).copied().unwrap_or_default();
    assert!(dropped > 0.0 && chunk.weight() < 5 << 20, "{dropped} {}", chunk.weight());
    assert_eq!(chunk.spans.len() as f64 + dropped, 10_202.0);
}

#[tokio::test]
async fn without_an_extension_parts_are_lines_at_once() {
    let world = World::with(Manner::Answers, |settings| {
        settings.agent = None;
        settings.enhanced_metrics = false;
        settings.partial_flush_spans = 3;
        settings.tags = vec![("team".to_owned(), "shop".to_owned())];
    })
    .await;
    let datadog = world.datadog.clone();
    let lines = || match &datadog.out {
        crate::out::Out::Memory(lines) => crate::agent::lock(lines).len(),
        crate::out::Out::Stdout => 0,
    };
    let handler = service_fn(|_: LambdaEvent<Value>| async {
        for n in 0..7 {
            tracing::info_span!("work", n).in_scope(|| {});
        }
        Ok::<_, Error>(lines())
    });
    assert_eq!(world.call("{}", handler).await.unwrap(), 2);
    let lines = world.lines();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let first = &line["traces"][0][0];
        assert_eq!(
            (&first["metrics"]["_sampling_priority_v1"], &first["meta"]["team"]),
            (&1.0.into(), &"shop".into())
        );
    }
}
