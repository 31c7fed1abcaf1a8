//! What becomes of tracers' spans: sent twice, left out, counted, and passed on without a copy.

use std::fmt::Write;

use model::{Batch, ClientStats, Forward, Signal, Span, SpanId, Text, TraceId, TracerInfo, TracerPayload};

use super::{T0, World, facts, settings};
use crate::{Input, ReplaceRule, Settings, TagRule, TagValue, TraceRules};

fn bare() -> Settings {
    Settings { enhanced_metrics: false, logs: false, ..settings() }
}

fn trace(spans: u64) -> Input {
    let mut line = "traces".to_owned();
    for id in 1..=spans {
        let parent = if id == 1 { String::new() } else { "<1".to_owned() };
        write!(line, " a/{id:x}{parent}:n{id}:s").unwrap();
    }
    facts::parse(T0, &line)
}

fn payloads(world: &World) -> Vec<&TracerPayload> {
    let batches = world.delivered.iter().chain(world.on_the_way.values());
    batches.filter_map(|b| if let Batch::Traces(all) = b { Some(all) } else { None }).flatten().collect()
}

/// A tracer whose request was frozen on its way sends all of it again, however large the trace is.
#[test]
fn a_trace_of_thousands_of_spans_that_comes_again_is_known() {
    const SPANS: u64 = 8000;
    let mut world = World::new(bare());
    for _ in 0..3 {
        world.handle(trace(SPANS));
    }
    world.line("1 shutdown spindown");
    world.accept_all();
    let mut ids: Vec<u64> = payloads(&world)
        .iter()
        .flat_map(|payload| payload.chunks.iter().flat_map(|chunk| &chunk.spans))
        .map(|span| span.span_id.get())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=SPANS).collect::<Vec<_>>());
}

/// Not even an empty chunk.
#[test]
fn a_trace_that_is_left_out_leaves_nothing_behind() {
    let reject = TagRule { key: "outcome".into(), value: TagValue::Is("boring".into()) };
    let rules = TraceRules { reject: vec![reject], ..TraceRules::default() };
    let set = Settings { trace_rules: rules, ..bare() };
    let mut world = World::new(set.clone());
    world.line("0 traces a/1:web:s:outcome=boring a/2<1:part | b/3:web:s:outcome=boring");
    world.line("1 shutdown spindown");
    assert!(payloads(&world).is_empty() && world.on_the_way.is_empty(), "{}", world.out);
    let mut world = World::new(set);
    world.line("0 traces a/1:web:s:outcome=boring a/2<1:part | b/3:web");
    world.line("1 shutdown spindown");
    let all = payloads(&world);
    let chunks: Vec<_> = all.iter().flat_map(|payload| &payload.chunks).map(|c| c.spans.len()).collect();
    assert_eq!(chunks, [1]);
}

/// An expression that cannot be used leaves out no trace, and hides what it was to search.
#[test]
fn an_expression_that_cannot_be_used_loses_no_trace_and_shows_no_secret() {
    let broken = |key: &'static str| TagRule { key: key.into(), value: TagValue::Matches("(".into()) };
    let replace = ReplaceRule { name: "url".into(), pattern: "token=(".into(), with: "?".into() };
    let rules = TraceRules {
        require: vec![broken("env")],
        reject: vec![broken("url")],
        ignore_resources: vec!["(".into()],
        replace: vec![replace],
        ..TraceRules::default()
    };
    let mut world = World::new(Settings { trace_rules: rules, ..bare() });
    world.line("0 traces a/1:web:s:url=/?token=secret,env=prod");
    world.line("1 shutdown spindown");
    let all = payloads(&world);
    let span = &all[0].chunks[0].spans[0];
    let tag = |key: &str| span.meta.get(key).map(AsRef::as_ref);
    assert_eq!((tag("url"), tag("env")), (Some("?"), Some("prod")));
}

/// What is sent lies where it lay when it came, whether it is counted here or not.
#[test]
fn spans_are_counted_where_they_lie_and_only_when_that_is_set() {
    for compute_stats in [false, true] {
        let mut world = World::new(Settings { compute_stats, ..bare() });
        let (trace, own) = (TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap());
        let mut span = Span::new("web", trace, own, None);
        span.start = T0;
        span.meta.insert("large", "x".repeat(1 << 20));
        let place = |span: &Span| span.meta.get("large").map(|text: &Text| text.as_ptr());
        let came = place(&span);
        let chunks = vec![model::Chunk { spans: vec![span] }];
        world.handle(Input::Traces { tracer: TracerInfo::default(), chunks });
        world.line("1 shutdown spindown");
        let all = payloads(&world);
        assert_eq!(place(&all[0].chunks[0].spans[0]), came);
        let counts = world.on_the_way.values().filter(|batch| batch.signal() == Signal::Stats).count();
        assert_eq!(counts, usize::from(compute_stats));
    }
}

/// Statistics of many groups, whose names and durations make them larger than a request may be.
#[test]
fn large_statistics_leave_in_several_requests() {
    const GROUPS: u64 = 2000;
    let mut world = World::new(Settings { compute_stats: true, batch_bytes: 4 << 20, ..bare() });
    for id in 1..=GROUPS {
        let (trace, own) = (TraceId::new(0, id).unwrap(), SpanId::new(id).unwrap());
        let mut span = Span::new("web", trace, own, None);
        span.resource = format!("GET /{id}/{}", "x".repeat(4000)).into();
        span.start = T0;
        // The trace itself is not sent, and so no reason to send the counts early.
        span.metrics.insert("_sampling_priority_v1", 0.0);
        let chunks = vec![model::Chunk { spans: vec![span] }];
        world.handle(Input::Traces { tracer: TracerInfo::default(), chunks });
    }
    world.line("1 shutdown spindown");
    world.accept_all();
    let all: Vec<&Vec<ClientStats>> = world
        .delivered
        .iter()
        .filter_map(|batch| if let Batch::Stats(all) = batch { Some(all) } else { None })
        .collect();
    assert!(all.len() >= 3, "{} requests", all.len());
    let mut hits = 0;
    for request in all {
        assert!(request.iter().map(ClientStats::weight).sum::<usize>() <= 3 << 20);
        for one in request {
            let ClientStats::Made(stats) = one else { panic!("{one:?}") };
            hits += stats.hits();
        }
    }
    assert_eq!(hits, GROUPS);
    assert!(!world.out.contains("signal:stats"));
}

/// A profile that is larger than all that may wait usually, and what comes behind it.
#[test]
fn a_request_that_was_taken_is_not_dropped_for_being_large() {
    let mut world = World::new(Settings { batch_bytes: 1000, ..bare() });
    let forward = |bytes: usize| {
        let (subdomain, path) = ("intake.profile".into(), "/api/v2/profile".into());
        Input::Forward(Box::new(Forward { subdomain, path, headers: Vec::new(), body: vec![0; bytes] }))
    };
    world.handle(forward(5000));
    assert!(!world.out.contains("dropped"));
    world.handle(forward(600));
    world.handle(forward(6000));
    world.line("1 shutdown spindown");
    world.accept_all();
    let sent = world.delivered.iter().filter_map(|b| if let Batch::Forwards(f) = b { Some(f) } else { None });
    let sizes: Vec<_> = sent.flatten().map(|one| one.body.len()).collect();
    // The newest has room, and what had to go for it is told.
    assert_eq!(sizes, [6000]);
    assert!(world.out.contains("dropped 0 2 [reason:overflow signal:forwards]"), "{}", world.out);
}

/// A runtime's calls of Lambda are no work of the function, wherever Lambda listens.
#[test]
fn calls_of_the_runtime_api_are_left_out() {
    let mut world = World::new(bare());
    world.line(
        "0 traces a/1:root a/2<1:http:s:http.url=http://169.254.100.1:9001/2018-06-01/runtime/invocation/next \
         a/3<1:http:s:http.url=http://127.0.0.1:9001/2018-06-01/runtime/invocation/next \
         a/4<1:tcp:s:tcp.remote.host=169.254.100.1,tcp.remote.port=9001 \
         a/5<1:http:s:http.url=http://169.254.100.1:90010/ a/6<1:http:s:http.url=http://169.254.100.2:9001/",
    );
    world.line("1 shutdown spindown");
    let all = payloads(&world);
    let ids: Vec<_> = all[0].chunks[0].spans.iter().map(|span| span.span_id.get()).collect();
    assert_eq!(ids, [1, 5, 6]);
}
