//! When `Next` is asked, when data is sent, when the engine leaves.

use std::fmt::Write;
use std::time::Duration;

use model::Signal;

use super::{Answer, T0, World, check, check_with, facts, settings};
use crate::{Engine, Settings};

/// Only the lifecycle: no metrics of its own, no logs.
fn bare() -> Settings {
    Settings { enhanced_metrics: false, logs: false, ..settings() }
}

#[test]
fn an_invocation_without_data_costs_nothing() {
    check_with(
        bare(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         40 done r1 success 25
         50 invoke r2
         51 start r2
         90 done r2 success 20",
        "0 next
         40 next
         90 next",
    );
}

#[test]
fn next_waits_for_the_answers() {
    check_with(
        bare(),
        "10 invoke r1
         11 start r1
         20 metric a:1|c
         21 metric b:1|d
         40 done r1 success 25
         60 sent ok #0
         70 sent ok #1
         80 invoke r2",
        "0 next
         40 send #0 series until 2910
         Count a 0 1 []
         40 send #1 sketches until 2910
         b 0 1 []
         70 next",
    );
}

#[test]
fn next_waits_no_longer_than_the_flush_may_take() {
    check_with(
        Settings { flush_timeout: Duration::from_millis(500), ..bare() },
        "10 invoke r1 deadline=60000
         20 metric a:1|c
         40 done r1 success 25
         1000 tick",
        "0 next
         40 send #0 series until 540
         Count a 0 1 []
         540 next",
    );
}

#[test]
fn next_waits_no_longer_than_the_invocation_may_take() {
    check_with(
        bare(),
        "10 invoke r1 deadline=1000
         11 start r1
         20 metric a:1|c
         700 done r1 success 25
         5000 tick",
        "0 next
         700 send #0 series until 910
         Count a 0 1 []
         910 next",
    );
}

#[test]
fn the_end_call_is_enough_to_end_an_invocation() {
    check_with(
        bare(),
        "5 init-start on-demand
         10 invoke r1
         20 start-call r1 trace=a
         30 metric a:1|c
         40 end-call r1 span=b
         1000 tick",
        "0 next
         140 send #0 series until 2910
         Count a 0 1 []",
    );
}

#[test]
fn the_tracers_own_root_span_is_enough_to_end_an_invocation() {
    check_with(
        bare(),
        "5 init-start on-demand
         10 invoke r1
         20 traces a/b:aws.lambda:orders:request_id=r1
         1000 tick",
        "0 next
         120 send #0 traces until 2910
         span a/b aws.lambda orders 20+1 [_top_level=1 request_id=r1]",
    );
}

#[test]
fn an_end_call_that_does_not_come_is_waited_for_briefly() {
    check_with(
        bare(),
        "5 init-start on-demand
         10 invoke r1
         11 start r1
         20 start-call r1 trace=a
         40 done r1 error type=Runtime.ExitError
         1000 tick",
        "0 next
         60 send #0 traces until 2910
         span a/588ecf902b298d8f aws.lambda orders resource=orders 11+29 ERROR p1 [_sampling_priority_v1=1 _top_level=1 cold_start=true error.type=Runtime.ExitError request_id=r1]",
    );
}

#[test]
fn before_the_deadline_the_data_goes() {
    check_with(
        bare(),
        "5 init-start on-demand
         10 invoke r1 deadline=3000
         11 start r1
         20 metric a:1|c
         3050 shutdown timeout
         3060 sent ok",
        "0 next
         2760 send #0 series until 2910
         Count a 0 1 []
         2910 next",
    );
}

/// Lambda's runtime interface emulator and others have no Telemetry API.
#[test]
fn without_telemetry_next_is_asked_all_the_same() {
    check_with(
        bare(),
        "10 invoke r1 deadline=60000
         20 metric a:1|c
         600 sent ok
         700 invoke r2 deadline=60000
         710 metric a:1|c
         800 start-call r2 trace=a
         900 end-call r2 span=b
         2500 sent ok",
        "0 next
         510 send #0 series until 5510
         Count a 0 1 []
         600 next
         700 next
         1710 send #1 traces until 6710
         span a/b aws.lambda orders resource=orders 700+200 p1 [_sampling_priority_v1=1 _top_level=1 cold_start=false request_id=r2]
         1710 send #2 series until 6710
         Count a 1000 1 []",
    );
}

/// cargo-lambda tells a deadline of zero.
/// Half a second without a word is taken for silence for ever; then telemetry comes, and what it ends must not
/// wait for another invocation, which there may never be.
#[test]
fn telemetry_that_was_taken_for_silent_and_comes_late_loses_nothing() {
    check_with(
        bare(),
        "10 invoke r1
         700 traces a/b:work:thing
         710 start r1
         720 done r1 success 25
         5000 tick",
        "0 next
         510 next
         1700 send #0 traces until 6700
         span a/b work thing 700+1 [_top_level=1]",
    );
}

#[test]
fn a_deadline_of_the_past_is_none() {
    let mut world = World::new(bare());
    world.drain();
    let invoke = crate::Input::Invoke {
        request_id: model::RequestId::new("r1").unwrap(),
        arn: None,
        deadline: model::UnixNanos(0),
    };
    world.handle(facts::parse(T0, "init-start on-demand"));
    world.handle(invoke);
    world.line("10 metric a:1|c");
    world.line("20 done r1 success 10");
    assert_eq!(world.out, "0 next\n20 send #0 series until 5020\nCount a 0 1 []\n");
    world.answer_all(Answer::Ok);
    world.handle(crate::Input::Shutdown { reason: "x".into(), deadline: model::UnixNanos(0) });
    assert!(!world.exited, "the report may come");
    world.advance(T0 + Duration::from_millis(120));
    assert!(world.exited);
}

#[test]
fn shutdown_before_any_invocation_ends_at_once() {
    check_with(
        bare(),
        "0 init-start on-demand\n500 shutdown spindown",
        "0 next
         500 exit",
    );
}

#[test]
fn shutdown_before_any_invocation_sends_what_is_there() {
    check(
        "1 init-start on-demand
         2 log hello
         500 shutdown spindown
         510 sent ok",
        "0 next
         500 send #0 sketches until 2400
         enhanced.shutdowns 0 1 []
         enhanced.unused_init 0 1 []
         500 send #1 logs until 2400
         log - 1 info INIT_START Runtime Version: provided:al2023 Runtime Version ARN: ?
         log - 2 info hello
         510 exit",
    );
}

#[test]
fn shutdown_waits_briefly_for_a_report() {
    check_with(
        bare(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         40 done r1 success 25
         500 shutdown spindown
         510 metric late:1|c
         1000 tick
         1001 sent ok",
        "0 next
         40 next
         600 send #0 series until 2400
         Count late 0 1 []
         1001 exit",
    );
}

#[test]
fn shutdown_does_not_wait_when_the_report_is_there() {
    check_with(
        bare(),
        "0 init-start on-demand
         10 invoke r1
         11 start r1
         40 done r1 success 25
         500 shutdown spindown
         520 report r1 success",
        "0 next
         40 next
         520 exit",
    );
}

#[test]
fn shutdown_ends_before_its_deadline() {
    check_with(
        bare(),
        "10 metric a:1|c
         500 shutdown spindown deadline=300
         1000 tick",
        "0 next
         500 send #0 series until 700
         Count a 0 1 []
         700 exit",
    );
}

#[test]
fn what_fails_at_shutdown_is_tried_once_more() {
    check_with(
        bare(),
        "10 metric a:1|c
         500 shutdown spindown
         510 sent retry
         520 sent retry
         3000 tick",
        "0 next
         500 send #0 series until 2400
         Count a 0 1 []
         510 send #1 series until 2400
         Count a 0 1 []
         520 exit",
    );
}

#[test]
fn a_failed_batch_goes_first_with_the_next_flush() {
    check_with(
        bare(),
        "0 start r1
         10 invoke r1
         20 metric a:1|c
         30 done r1 success 10
         40 sent retry
         100 invoke r2
         110 metric b:1|c
         120 done r2 success 10
         130 sent ok
         200 shutdown spindown",
        "0 next
         30 send #0 series until 2910
         Count a 0 1 []
         40 next
         120 send #1 series until 320
         Count a 0 1 []
         Count b 0 1 []
         130 next",
    );
}

/// One timeout, one short try of one batch, then tries that nobody waits for.
#[test]
fn a_dead_intake_costs_little_and_then_nothing() {
    let mut world = World::new(bare());
    world.drain();
    let mut costs = String::new();
    for n in 0..16 {
        let begin = 1000 + n * 6000;
        world.line(&format!("{begin} invoke r{n} deadline=60000"));
        world.line(&format!("{begin} metric a:1|c|T{begin}"));
        let before = world.nexts;
        world.line(&format!("{begin} done r{n} success 1"));
        let mut ms = 0;
        while world.nexts == before && ms < 60_000 {
            ms += 100;
            world.advance(T0 + Duration::from_millis(begin + ms));
        }
        world.answer_all(Answer::Retry);
        write!(costs, "{ms} ").unwrap();
    }
    assert_eq!(costs.trim(), "5000 200 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
}

#[test]
fn an_intake_that_is_back_gets_all_that_was_held() {
    let mut world = World::new(Settings { batch_bytes: 64 << 20, ..bare() });
    world.drain();
    // More than one request's worth, so that the first is a probe.
    let span = |n: usize| {
        let mut chunk = match facts::parse(T0, &format!("traces a/{:x}:x", n + 1)) {
            crate::Input::Traces { chunks, .. } => chunks,
            _ => unreachable!(),
        };
        chunk[0].spans[0].meta.insert("big", "x".repeat(1_500_000));
        crate::Input::Traces { tracer: model::TracerInfo::default(), chunks: chunk }
    };
    for n in 0..8 {
        world.handle(span(n));
    }
    for n in 0..2 {
        world.line(&format!("{} invoke r{n} deadline=60000", 1000 + n * 20_000));
        world.line(&format!("{} done r{n} success 1", 1001 + n * 20_000));
        world.answer_all(Answer::Retry);
    }
    let sent_before = world.out.matches(" send ").count();
    world.line("31000 invoke r3 deadline=60000");
    world.line("31001 done r3 success 1");
    assert_eq!(world.on_the_way.len(), 0, "it is left alone");
    world.line("50000 tick");
    assert_eq!(world.on_the_way.len(), 1, "one batch tries the intake");
    world.answer_all(Answer::Ok);
    assert!(world.on_the_way.len() > 1, "the rest follows");
    world.accept_all();
    assert_eq!(world.engine.held(Signal::Traces), 0);
    assert!(world.out.matches(" send ").count() > sent_before + 2);
}

/// Every kind of fact in every phase, through the whole engine: what it does then, and what phase follows.
#[test]
fn every_fact_in_every_phase() {
    let phases: [(&str, &[&str]); 7] = [
        ("waiting", &["0 start r1"]),
        ("running", &["0 start r1", "10 invoke r1"]),
        ("running, start call made", &["0 start r1", "10 invoke r1", "11 start-call trace=a"]),
        ("flushing", &["0 start r1", "10 invoke r1", "11 metric a:1|c", "12 done r1 success 1"]),
        (
            "draining",
            &[
                "0 start r1",
                "10 invoke r1",
                "11 metric a:1|c",
                "12 done r1 success 1",
                "13 shutdown spindown",
            ],
        ),
        ("leaving", &["10 metric a:1|c", "13 shutdown spindown"]),
        ("gone", &["13 shutdown spindown"]),
    ];
    let inputs = [
        "invoke r2",
        "shutdown spindown",
        "start r2",
        "done r1 success 5",
        "report r1 success",
        "log hello",
        "unknown",
        "start-call trace=a",
        "end-call span=b",
        "traces a/b:x",
        "metric b:1|c",
        "sent ok",
        "sent retry",
        "sent refused",
        "dropped spans 1",
        "tick",
    ];
    let mut table = String::new();
    for (name, before) in phases {
        writeln!(table, "{name}").unwrap();
        for input in inputs {
            let mut world = World::new(bare());
            world.drain();
            for line in before {
                world.line(line);
            }
            world.out.clear();
            world.line(&format!("14 {input}"));
            let phase = format!("{:?}", world.engine.phase());
            let phase = phase.split(' ').next().unwrap_or_default();
            let effects: Vec<_> = world.out.lines().filter_map(|line| line.strip_prefix("14 ")).collect();
            writeln!(table, "  {input} -> {phase} {}", effects.join(", ")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// The record of the end may be there before the invocation itself: two connections bring them. It is of this
/// sandbox also when its time, which is in milliseconds, seems to lie before that of our start.
#[test]
fn the_end_that_is_told_before_the_beginning() {
    let mut world = World::new(bare());
    world.now = T0 + Duration::from_micros(900);
    world.engine = Engine::new(bare(), world.now);
    world.drain();
    world.handle(facts::parse(T0, "start r1"));
    world.handle(facts::parse(T0, "done r1 success 25"));
    world.handle(facts::parse(T0, "invoke r1 deadline=60000"));
    assert_eq!(world.nexts, 2, "{}", world.out);
}

#[test]
fn what_comes_while_the_last_flush_is_on_its_way_goes_too() {
    check_with(
        bare(),
        "10 metric a:1|c
         500 shutdown spindown
         520 metric b:1|c
         530 sent ok
         540 sent ok",
        "0 next
         500 send #0 series until 2400
         Count a 0 1 []
         530 send #1 series until 2400
         Count b 0 1 []
         540 exit",
    );
}

/// Lambda's clock is an hour behind ours: its records are still of our invocations, and its deadlines are not over.
#[test]
fn a_clock_that_is_ahead_of_lambdas_changes_nothing() {
    let behind = Duration::from_secs(3600);
    let mut world = World::new(bare());
    world.now = T0 + behind;
    world.engine = Engine::new(bare(), world.now);
    world.drain();
    for (id, ended) in [("r1", 2), ("r2", 3)] {
        world.handle(facts::parse(T0, &format!("invoke {id} deadline=3000")));
        world.handle(facts::parse(T0, &format!("start {id}")));
        world.handle(facts::parse(T0, "metric a:1|c"));
        world.handle(facts::parse(T0, &format!("done {id} success 25")));
        world.accept_all();
        assert_eq!(world.nexts, ended, "{}", world.out);
    }
}
