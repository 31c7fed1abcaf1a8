//! What goes wrong in extensions and is seen only over several invocations, or in what is not there. The page
//! `docs/traps-lifecycle.md` names these.

use std::time::Duration;

use model::{Batch, Signal, SpanId, SpanLink, Tags, Text};

use super::{Answer, T0, World, check_with, facts, settings};
use crate::{FlushStrategy, Input, Settings};

const LATER: Duration = Duration::from_secs(20);

fn quiet() -> Settings {
    Settings { logs: false, ..settings() }
}

fn spans_only() -> Settings {
    Settings { enhanced_metrics: false, ..quiet() }
}

fn run(world: &mut World, lines: &str) {
    for line in lines.lines().map(str::trim) {
        world.line(line);
    }
}

/// Managed instances announce no invocation by INVOKE. Should one come, it is no reason to end.
#[test]
fn an_event_that_managed_instances_never_give_ends_nothing() {
    let mut world = World::new(Settings { managed_instances: true, ..settings() });
    world.drain();
    run(
        &mut world,
        "10 invoke r1 deadline=900000
         11 start r1
         12 log at work
         30 report r1 success duration=19
         30000 log later",
    );
    world.accept_all();
    assert!(!world.exited);
    assert_eq!(world.nexts, 2, "the next event is asked for at once:\n{}", world.out);
    assert!(world.out.contains("at work") && world.out.contains("enhanced.duration"), "{}", world.out);
}

/// Each invocation has its own event, also while another one runs.
#[test]
fn events_of_invocations_that_overlap_are_kept_apart() {
    check_with(
        Settings { managed_instances: true, ..spans_only() },
        "10 start r1
         11 start r2
         12 start-call r1 trace=a parent=b priority=1 source=sqs inferred=aws.sqs:queue:5
         13 start-call r2 trace=c parent=d priority=1 source=sns
         20 end-call r2 span=2
         21 end-call r1 span=1
         30 report r2 success duration=19
         31 report r1 success duration=21
         500 shutdown spindown",
        "0 next
         500 send #0 traces until 2400
         span c/2<d aws.lambda orders resource=orders 11+19 p1 [_sampling_priority_v1=1 _top_level=1 function_trigger.event_source=sns request_id=r2]
         span a/b75195a559f8343<b aws.sqs queue resource=queue 5+5 p1 [_dd._inferred_span=1 _inferred_span.synchronicity=async _inferred_span.tag_source=self _sampling_priority_v1=1 _top_level=1 operation_name=aws.sqs peer.service=orders request_id=r1 resource_names=queue]
         span a/1<b75195a559f8343 aws.lambda orders resource=orders 10+21 p1 [_sampling_priority_v1=1 _top_level=1 function_trigger.event_source=sqs request_id=r1]",
    );
}

/// All is known of the first invocation, its report too, when the next one comes within ten seconds or after.
#[test]
fn there_is_one_first_invocation_whatever_is_known_of_it() {
    for (second, strategy) in [
        (2000, FlushStrategy::End),
        (2000, FlushStrategy::Continuously(LATER)),
        (60_000, FlushStrategy::Adaptive),
    ] {
        let mut world = World::new(Settings { flush_strategy: strategy, ..quiet() });
        world.drain();
        run(
            &mut world,
            "0 init-start on-demand
             100 init-report 100
             110 invoke r1
             111 start r1
             140 done r1 success 25
             141 sent ok
             150 report r1 success duration=26",
        );
        world.accept_all();
        for line in [
            format!("{second} invoke r2"),
            format!("{second} start r2"),
            format!("{second} start-call r2 trace=a parent=b priority=1"),
            format!("{} end-call r2 span=1", second + 4),
            format!("{} done r2 success 5", second + 5),
            format!("{} shutdown spindown", second + 9000),
        ] {
            world.line(&line);
        }
        let colds = world.out.matches("cold_start:true]").count();
        let of_second = world.out.lines().find(|line| line.contains("request_id=r2")).unwrap();
        assert!(of_second.contains("cold_start=false") && !of_second.contains("proactive"), "{of_second}");
        let invocations: Vec<_> =
            world.out.lines().filter(|line| line.starts_with("enhanced.invocations ")).collect();
        assert_eq!(invocations.len(), 2, "{strategy:?}\n{}", world.out);
        assert!(invocations[0].ends_with("[cold_start:true]"), "{strategy:?} {invocations:?}");
        assert!(invocations[1].ends_with("[cold_start:false]"), "{strategy:?} {invocations:?}");
        assert!(colds >= 3 && !world.out.contains("proactive"), "{}", world.out);
    }
}

/// The second event is of no source that is known: nothing of the first one is said of it.
#[test]
fn what_one_event_said_is_not_said_of_the_next() {
    let mut world = World::new(spans_only());
    world.drain();
    run(
        &mut world,
        "0 init-start provisioned-concurrency
         1 invoke r1
         2 start r1
         4 end-call r1 span=1",
    );
    let call =
        facts::parse(T0, "start-call r1 trace=a parent=b priority=1 source=s3 inferred=aws.s3:bucket:1");
    let Input::StartCall(mut call) = call else { panic!("a call") };
    call.reading.links.push(SpanLink {
        trace_id: None,
        span_id: SpanId::new(9),
        attributes: Tags::new(),
        tracestate: Text::default(),
        flags: 0,
    });
    world.handle(Input::StartCall(call));
    run(
        &mut world,
        "5 done r1 success 2
         6 sent ok
         10 invoke r2
         11 start r2
         12 start-call r2
         13 end-call r2 span=2 trace=c
         14 done r2 success 2",
    );
    world.accept_all();
    let payloads =
        world.delivered.iter().filter_map(|b| if let Batch::Traces(p) = b { Some(p) } else { None });
    let chunks = payloads.flatten().flat_map(|payload| &payload.chunks);
    let spans = chunks.flat_map(|chunk| &chunk.spans).filter(|span| span.name == "aws.lambda");
    assert_eq!(spans.map(|span| span.links.len()).collect::<Vec<_>>(), [1, 0]);
    let second: Vec<_> = world.out.lines().filter(|line| line.contains("request_id=r2")).collect();
    assert_eq!(
        second,
        [
            "span c/2 aws.lambda orders resource=orders 11+2 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=false request_id=r2]"
        ]
    );
}

/// `platform.runtimeDone` without figures, as for an invocation that was cut off.
#[test]
fn an_end_without_figures_is_an_end() {
    check_with(
        quiet(),
        "0 init-start on-demand
         1 invoke r1 deadline=900000
         2 start r1
         40 done r1 success
         41 sent ok",
        "0 next
         40 send #0 sketches until 5040
         enhanced.invocations 0 1 [cold_start:true]
         41 next",
    );
}

/// Where begins are told and ends are not, one invocation waits until shortly before its deadline, and no other.
#[test]
fn ends_that_are_never_told_cost_one_invocation() {
    let mut world = World::new(settings());
    world.drain();
    run(
        &mut world,
        "0 init-start on-demand
         1 invoke r1 deadline=60000
         2 start r1
         59800 sent ok
         60100 invoke r2 deadline=60000
         60101 start r2
         60200 tick",
    );
    assert_eq!(world.nexts, 3, "{}", world.out);
    // The record of an end that comes at last: from there on they are waited for again.
    run(
        &mut world,
        "70000 invoke r3 deadline=60000
         70001 start r3
         70005 done r3 success 4
         70006 report r3 success duration=5
         72000 sent ok",
    );
    assert_eq!(world.nexts, 4, "{}", world.out);
    run(&mut world, "80000 invoke r4 deadline=60000\n80001 start r4\n85000 tick");
    assert_eq!(world.nexts, 4, "{}", world.out);
    run(&mut world, "85001 done r4 success 5000");
    world.accept_all();
    assert_eq!(world.nexts, 5, "{}", world.out);
}

/// A handler that used all of its time but a little is no missing end.
#[test]
fn an_end_just_before_the_deadline_is_not_a_missing_one() {
    let mut world = World::new(settings());
    world.drain();
    run(
        &mut world,
        "0 init-start on-demand
         1 invoke r1
         2 start r1
         2800 sent ok
         2850 done r1 success 2848
         3100 invoke r2
         3101 start r2
         3200 tick",
    );
    assert_eq!(world.nexts, 2, "{}", world.out);
}

/// What Lambda tells once the next event was asked for leaves by itself, whatever the strategy.
#[test]
fn what_comes_behind_the_end_leaves_by_itself() {
    for strategy in [FlushStrategy::Adaptive, FlushStrategy::End] {
        let mut world = World::new(Settings { flush_strategy: strategy, ..quiet() });
        world.drain();
        run(
            &mut world,
            "0 init-start on-demand
             1 invoke r1
             2 start r1
             40 done r1 success 25
             41 sent ok
             60 report r1 success duration=26
             3000 tick",
        );
        assert!(world.out.contains("enhanced.duration 0 0.026"), "{strategy:?}:\n{}", world.out);
    }
}

/// What failed while instances live on is tried again while they do, not at their end.
#[test]
fn what_failed_is_tried_again_long_before_the_end() {
    let mut world = World::new(Settings { managed_instances: true, enhanced_metrics: false, ..settings() });
    world.drain();
    run(&mut world, "10 start r1\n20 log first\n30 report r1 success duration=19\n20000 tick");
    world.answer_all(Answer::Retry);
    run(&mut world, "20001 log second\n60000 tick");
    world.accept_all();
    let logs = world.delivered.iter().filter_map(|b| if let Batch::Logs(all) = b { Some(all) } else { None });
    let lines: Vec<_> = logs.flatten().map(|log| log.message.as_str()).collect();
    assert!(lines.contains(&"first") && lines.contains(&"second"), "{lines:?}\n{}", world.out);
    assert_eq!((world.exited, world.engine.held(Signal::Logs)), (false, 0));
}

/// Tags that are new with every invocation, and a library that makes no calls.
#[test]
fn names_and_tags_are_forgotten_once_they_are_sent() {
    let mut world = World::new(settings());
    world.drain();
    world.line("0 init-start on-demand");
    let mut lengths = Vec::new();
    for number in 1..=600_u64 {
        let (at, id) = (100_000 + number * 100, format!("r{number:06}"));
        for line in [
            format!("{at} invoke {id}"),
            format!("{} start {id}", at + 1),
            format!("{} metric size:1|d|#user:{number:06}", at + 2),
            format!("{} metric count.{number:06}:1|g|#user:{number:06}", at + 2),
            format!("{} done {id} success 3", at + 5),
            format!("{} report {id} success duration=4 billed=4 size=128 max=64", at + 6),
        ] {
            world.line(&line);
            world.accept_all();
        }
        world.delivered.clear();
        world.out.clear();
        if number % 100 == 0 {
            lengths.push(world.engine.fingerprint().0.len());
        }
    }
    assert!(lengths[5] <= lengths[2] + 200, "{lengths:?}");
}

/// Lower case, as Datadog has it, wherever it stands.
#[test]
fn the_service_is_the_same_on_all_signals() {
    let mut world = World::new(Settings { service: Some("Shop-API".into()), ..settings() });
    world.drain();
    run(
        &mut world,
        "1 invoke r1
         2 start r1
         3 start-call r1 trace=a parent=b priority=1
         3 metric own:1|c
         4 traces a/2<1:work:Shop-API
         5 end-call r1 span=1
         6 done r1 success 4",
    );
    world.accept_all();
    let mut services = Vec::new();
    for batch in &world.delivered {
        match batch {
            Batch::Traces(all) => {
                let spans = all.iter().flat_map(|one| &one.chunks).flat_map(|chunk| &chunk.spans);
                services.extend(spans.map(|span| span.service.to_string()));
            }
            Batch::Logs(all) => services.extend(all.iter().map(|log| log.service.to_string())),
            Batch::Series(all) => services.extend(all.iter().flat_map(|one| tagged(&one.tags))),
            Batch::Sketches(all) => services.extend(all.iter().flat_map(|one| tagged(&one.tags))),
            Batch::Stats(_) | Batch::Forwards(_) => {}
        }
    }
    assert!(services.len() >= 6, "{services:?}");
    assert!(services.iter().all(|service| service == "shop-api"), "{services:?}");
}

fn tagged(tags: &[Text]) -> impl Iterator<Item = String> {
    tags.iter().filter_map(|tag| tag.strip_prefix("service:").map(str::to_owned))
}

/// Nothing of a trace leaves and nothing of it counts as lost; all else is as ever.
#[test]
fn without_traces_all_else_is_there() {
    let mut world = World::new(Settings { traces: false, ..settings() });
    world.drain();
    run(
        &mut world,
        "0 init-start on-demand
         1 init-report 1
         2 invoke r1
         3 start r1
         4 start-call r1 trace=a parent=b priority=1
         5 traces a/2<1:aws.lambda.load a/3<2:work
         6 stats 12345
         7 metric own:1|c
         8 end-call r1 span=1 error=Boom
         9 done r1 success 4
         10 sent ok
         50 shutdown spindown",
    );
    world.accept_all();
    assert_eq!(world.nexts, 2, "{}", world.out);
    for signal in [Signal::Traces, Signal::Stats] {
        let signal_name = signal.as_str();
        assert_eq!((world.engine.lost(signal), world.engine.delivered(signal)), (0, 0), "{signal_name}");
    }
    for part in ["enhanced.errors 0 1", "Count own 0 1", "END RequestId: r1"] {
        assert!(world.out.contains(part), "{part} in\n{}", world.out);
    }
}

/// Of all that came in it is known what became of it, and why what was lost was lost.
#[test]
fn what_became_of_all_is_in_the_books() {
    let mut world = World::new(Settings { enhanced_metrics: false, logs: false, ..settings() });
    world.drain();
    run(
        &mut world,
        "0 dropped spans 3
         1 invoke r1
         2 traces a/1:work a/2<1:more
         3 metric m:1:2:3|d
         4 done r1 success 1",
    );
    let sent = |world: &World, wanted: Signal| {
        *world.on_the_way.iter().find(|(_, batch)| batch.signal() == wanted).unwrap().0
    };
    let (traces, sketches) = (sent(&world, Signal::Traces), sent(&world, Signal::Sketches));
    world.answer(traces, Answer::Ok);
    world.answer(sketches, Answer::Refused);
    run(&mut world, "20 traces a/3<1:later");
    assert_eq!(world.engine.delivered(Signal::Traces), 2);
    assert_eq!(world.engine.held(Signal::Traces), 1);
    assert_eq!(world.engine.delivered(Signal::Sketches), 0);
    let drops: Vec<_> = world.engine.drops().collect();
    assert_eq!(drops, [("sketches", "refused", 3), ("traces", "malformed", 3)]);
    assert_eq!(world.engine.lost(Signal::Traces), 4);
    assert!(world.now > T0);
}
