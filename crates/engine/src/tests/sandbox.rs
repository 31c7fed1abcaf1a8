//! What Lambda tells of a sandbox and what its data says of it: restores, runtimes, sizes, costs.

use super::{World, check_with, settings};
use crate::{Settings, TagChoice};

fn quiet() -> Settings {
    Settings { logs: false, ..settings() }
}

/// A snapshot is restored days after its initialisation: what the first invocation waited for is the restore.
#[test]
fn a_restored_snapshot() {
    check_with(
        quiet(),
        "0 init-start snap-start
         100 init-report 90 snap-start
         90000000 restore-start at=89999500
         90000000 restore-report 400 at=89999900
         90000001 invoke r1
         90000002 start r1
         90000003 start-call r1 trace=a parent=b priority=1
         90000030 end-call r1
         90000040 done r1 success 25",
        "0 next
         90000040 send #0 traces until 90002901
         span a/51469e6d9994df1<b aws.lambda orders resource=orders 90000002+25 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true request_id=r1]
         span a/208502f662697bb2<b aws.lambda.snapstart_restore orders resource=orders 89999500+400 p1 [_sampling_priority_v1=1 _top_level=1]
         90000040 send #1 sketches until 90002901
         enhanced.init_duration 89990000 0.09 [cold_start:true init_type:snap-start]
         enhanced.invocations 90000000 1 [cold_start:true]
         enhanced.runtime_duration 90000000 25 [cold_start:true]
         enhanced.snapstart_restore_duration 89990000 0.4 [cold_start:true]",
    );
}

/// Without metrics in its report, and the sandbox made long before its first invocation.
#[test]
fn a_restore_without_figures() {
    check_with(
        quiet(),
        "0 init-start snap-start
         100 restore-start
         350 restore-report
         20000 invoke r1
         20002 start r1
         20040 done r1 success 25",
        "0 next
         20040 send #0 sketches until 22900
         enhanced.invocations 20000 1 [cold_start:false proactive_initialization:true]
         enhanced.runtime_duration 20000 25 [cold_start:false proactive_initialization:true]
         enhanced.snapstart_restore_duration 0 0.25 [cold_start:false proactive_initialization:true]",
    );
}

/// Sandboxes that are made of one snapshot have one seed and must not share ids.
#[test]
fn two_restores_of_one_snapshot_have_different_ids() {
    let ids = |request: &str| {
        let mut world = World::new(quiet());
        world.drain();
        for line in [
            "0 init-start snap-start".to_owned(),
            "1000 restore-start".to_owned(),
            "1200 restore-report 200".to_owned(),
            format!("1201 invoke {request}"),
            format!("1202 start {request}"),
            format!("1203 start-call {request}"),
            format!("1230 end-call {request}"),
            format!("1240 done {request} success 25"),
        ] {
            world.line(&line);
        }
        let spans: Vec<_> = world.out.lines().filter(|line| line.starts_with("span ")).collect();
        let names = spans.iter().filter_map(|span| span.split(' ').nth(2)).collect::<Vec<_>>().join(" ");
        assert_eq!(names, "aws.lambda aws.lambda.snapstart_restore", "{}", world.out);
        spans.iter().filter_map(|span| span.split(' ').nth(1).map(str::to_owned)).collect::<Vec<_>>()
    };
    let (one, other) = (ids("r1"), ids("r2"));
    assert!(one.iter().all(|id| !other.contains(id)), "{one:?} {other:?}");
    assert_eq!(one, ids("r1"));
}

#[test]
fn what_lambda_measured_of_the_answer() {
    check_with(
        quiet(),
        "0 init-start on-demand
         1 invoke r1
         2 start r1
         40 done r1 success 25 latency=20 response=3.5
         50 report r1 success duration=26 latency=99",
        "0 next
         40 send #0 sketches until 2901
         enhanced.invocations 0 1 [cold_start:true]
         enhanced.response_duration 0 3.5 [cold_start:true]
         enhanced.response_latency 0 20 [cold_start:true]
         enhanced.runtime_duration 0 25 [cold_start:true]",
    );
}

/// The report is all that was told of it, as when a sandbox is torn down: it counts, once.
#[test]
fn a_timeout_that_only_the_report_tells() {
    check_with(
        quiet(),
        "0 init-start on-demand
         1 invoke r1
         2 start r1
         3000 report r1 timeout duration=3000
         3001 report r1 timeout duration=3000
         3002 done r1 timeout 3000
         3003 shutdown timeout",
        "0 next
         2751 send #0 sketches until 2901
         enhanced.invocations 0 1 [cold_start:true]
         2901 next
         3003 send #1 sketches until 4903
         enhanced.duration 0 3 [cold_start:true]
         enhanced.errors 0 1 [cold_start:true]
         enhanced.post_runtime_duration 0 0 [cold_start:true]
         enhanced.runtime_duration 0 3000 [cold_start:true]
         enhanced.shutdowns 0 1 []
         enhanced.timeouts 0 1 [cold_start:true]",
    );
}

/// Memory that is used up is found under whatever name Lambda gives the end, and counted once.
#[test]
fn out_of_memory_by_every_sign() {
    let count = |facts: &[&str]| {
        let mut world = World::new(quiet());
        world.drain();
        for line in ["0 init-start on-demand", "1 invoke r1", "2 start r1"].iter().chain(facts) {
            world.line(line);
        }
        world.line("3000 shutdown failure");
        world.advance(super::T0 + std::time::Duration::from_secs(9));
        world
            .out
            .lines()
            .filter(|line| line.contains("enhanced.out_of_memory"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let one = "enhanced.out_of_memory 0 1 [cold_start:true]";
    for facts in [
        &["9 done r1 error type=Runtime.OutOfMemory"][..],
        &["9 done r1 timeout type=Runtime.OutOfMemory"],
        &["9 done r1 error type=Runtime.ExitError", "10 report r1 error duration=9 size=128 max=128"],
        &["9 done r1 timeout", "10 report r1 timeout duration=9 size=128 max=129"],
        &["9 done r1 failure", "10 report r1 failure duration=9 size=128 max=128"],
        &["5 log fatal error: runtime: out of memory", "9 done r1 error type=Runtime.OutOfMemory"],
        &["5 log java.lang.OutOfMemoryError: Java heap space"],
        &["5 log FATAL ERROR: JavaScript heap out of memory"],
        &["5 log [ERROR] MemoryError"],
        &["5 log failed to allocate memory (NoMemoryError)"],
        &["5 log Unhandled OutOfMemoryException"],
        &["5 ext Runtime exited with error: signal: killed"],
    ] {
        let facts: Vec<&str> = facts.to_vec();
        let logs = count(&facts);
        assert_eq!(logs, one, "{facts:?}");
    }
    for facts in [
        &["9 done r1 success 5", "10 report r1 success duration=9 size=128 max=128"][..],
        &["5 log caught a MemoryError and went on", "9 done r1 success 5"],
        &["9 done r1 error type=Runtime.ExitError", "10 report r1 error duration=9 size=128 max=64"],
    ] {
        assert_eq!(count(facts), "", "{facts:?}");
    }
}

#[test]
fn the_runtime_is_on_what_lambda_measures() {
    let mut world = World::new(Settings { enhanced_metrics: true, ..quiet() });
    world.drain();
    for line in [
        "0 init-start on-demand version=python:3.13.DurableFunction.v6",
        "1 init-report 1",
        "2 invoke r1",
        "3 start r1",
        "4 done r1 success 1",
    ] {
        world.line(line);
    }
    for name in ["init_duration", "invocations", "runtime_duration"] {
        let line = world.out.lines().find(|line| line.starts_with(&format!("enhanced.{name} "))).unwrap();
        assert!(line.contains("runtime:python3.13") && line.contains("durable_function:true"), "{line}");
    }
}

/// Each signal has its own choice of the function's tags; enhanced metrics have them all.
#[test]
fn tags_of_the_function_can_be_left_out() {
    let of = |name: &'static str| (name.into(), "x".into());
    let without = |name: &'static str| TagChoice { only: None, exclude: vec![name.into()] };
    let mut world = World::new(Settings {
        function_tags: vec![of("a"), of("b"), of("c")],
        metric_tags: TagChoice { only: Some(vec!["b".into()]), exclude: Vec::new() },
        span_tags: without("a"),
        log_tags: without("c"),
        ..settings()
    });
    world.drain();
    for line in [
        "0 init-start on-demand",
        "1 invoke r1",
        "2 start r1",
        "3 traces a/1",
        "3 metric own:1|c",
        "3 log hello",
        "4 done r1 success 1",
    ] {
        world.line(line);
    }
    let find = |start: &str| world.out.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let tags = |line: String| {
        let has = |tag: &str| line.contains(&format!("{tag}=x")) || line.contains(&format!("{tag}:x"));
        ["a", "b", "c"].into_iter().filter(|tag| has(tag)).collect::<String>()
    };
    assert_eq!(tags(find("Count own")), "b");
    assert_eq!(tags(find("span a/1")), "bc");
    assert_eq!(tags(world.out.lines().find(|line| line.contains("hello")).unwrap().to_owned()), "ab");
    assert_eq!(tags(find("enhanced.invocations")), "abc");
}

/// A sandbox lives for hours: after some invocations all lists have their length, and keep it.
#[test]
fn memory_does_not_grow_with_invocations() {
    let mut world = World::new(Settings { flush_strategy: crate::FlushStrategy::Adaptive, ..settings() });
    world.drain();
    world.line("0 init-start on-demand");
    let mut lengths = Vec::new();
    for number in 1..=1200_u64 {
        // All of one width, so that the state is as long as what it holds.
        let (at, id) = (100_000 + number * 100, format!("r{number:06}"));
        for line in [
            format!("{at} invoke {id}"),
            format!("{} start {id}", at + 1),
            format!("{} start-call {id} trace={:x} parent=b", at + 1, 0x1000_0000 + number),
            format!("{} traces {:x}/{:x}<b:work", at + 2, 0x1000_0000 + number, 0x2000_0000 + number),
            format!("{} metric size:1|d|#kind:a", at + 2),
            format!("{} log at work", at + 3),
            format!("{} end-call {id}", at + 4),
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
    // Ids of spans are remembered up to a number of their own, which this is below: they count alone.
    let grown = |from: usize, to: usize| lengths[to].abs_diff(lengths[from]);
    let a_hundred = grown(3, 4);
    assert!(grown(10, 11) <= a_hundred + a_hundred / 10 + 200, "{lengths:?}");
    assert!(a_hundred < 100 * 200, "{lengths:?}");
}

/// While an intake is left alone metrics are put together, however often something is flushed: what is held of them
/// does not grow with invocations.
#[test]
fn metrics_are_put_together_while_their_intake_is_left_alone() {
    let mut world = World::new(Settings { batch_bytes: 64 << 10, ..quiet() });
    world.drain();
    world.line("0 init-start on-demand");
    for number in 1..=900 {
        let at = number * 10;
        for line in [
            format!("{at} invoke r{number}"),
            format!("{at} start r{number}"),
            format!("{} done r{number} success 3", at + 5),
        ] {
            world.line(&line);
        }
        world.answer_all(super::Answer::Retry);
    }
    world.line("9990 shutdown spindown");
    world.accept_all();
    assert_eq!(world.engine.dropped("sketches"), 0);
    let values = |batch: &model::Batch| match batch {
        model::Batch::Sketches(all) => {
            let all = all.iter().filter(|one| one.name == "aws.lambda.enhanced.invocations");
            all.flat_map(|one| &one.points).map(|(_, sketch)| sketch.count()).sum()
        }
        _ => 0,
    };
    assert_eq!(world.delivered.iter().map(values).sum::<u64>(), 900);
}

/// An intake that fails twice in a row and is well again costs no data: what fills up makes it be tried sooner.
#[test]
fn an_intake_that_failed_is_tried_sooner_when_data_would_be_lost() {
    let bytes = 64 << 10;
    let check = |lines: usize, want: bool| {
        let mut world = World::new(Settings { enhanced_metrics: false, batch_bytes: bytes, ..settings() });
        world.drain();
        for at in [1000, 2000] {
            for line in [
                format!("{at} invoke r{at}"),
                format!("{at} start r{at}"),
                format!("{at} log one"),
                format!("{at} done r{at} success 1"),
            ] {
                world.line(&line);
            }
            world.answer_all(super::Answer::Retry);
        }
        world.line("3990 invoke r5");
        world.line("3990 start r5");
        for _ in 0..lines {
            world.line(&format!("3990 log {}", "x".repeat(1000)));
        }
        world.line("4000 done r5 success 1");
        assert_eq!(!world.on_the_way.is_empty(), want, "{lines} lines");
        assert_eq!(world.engine.dropped("logs"), 0);
    };
    check(5, false);
    check(40, true);
}
