//! Requests that are not answered in time, and further intakes: nothing is sent twice, nobody waits, nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Batch, Signal};

use super::{Answer, T0, World, check_with, render, settings};
use crate::{FlushStrategy, Settings};

fn bare() -> Settings {
    Settings { enhanced_metrics: false, logs: false, ..settings() }
}

/// The request goes on, and what it carries is not sent again. The next flush is not waited for.
#[test]
fn what_is_late_goes_on_and_is_not_sent_again() {
    check_with(
        bare(),
        "0 start r1
         10 invoke r1
         20 metric a:1|c
         30 done r1 success 10
         2910 late #0
         3000 invoke r2
         3010 metric b:1|c
         3020 done r2 success 10
         3100 sent ok #0
         3200 sent ok #1
         4000 invoke r3
         4010 metric c:1|c
         4020 done r3 success 10
         4030 sent ok #2
         4100 shutdown spindown",
        "0 next
         30 send #0 series until 2910
         Count a 0 1 []
         2910 next
         3020 next
         3020 send #1 series until 3220
         Count b 0 1 []
         4020 send #2 series until 6900
         Count c 0 1 []
         4030 next",
    );
}

/// Its connection has proved dead: with the next flush it goes again.
#[test]
fn what_is_late_and_fails_at_last_is_sent_again() {
    check_with(
        bare(),
        "0 start r1
         10 invoke r1
         20 metric a:1|c
         30 done r1 success 10
         2910 late #0
         2911 late #0
         2920 sent retry #0
         3000 invoke r2
         3020 done r2 success 10
         3030 sent ok #1",
        "0 next
         30 send #0 series until 2910
         Count a 0 1 []
         2910 next
         3020 send #1 series until 3220
         Count a 0 1 []
         3030 next",
    );
}

/// There is no later time: it is waited for, and when it fails it goes again.
#[test]
fn what_is_late_is_waited_for_at_shutdown() {
    let before = "0 start r1
         10 invoke r1
         20 metric a:1|c
         30 done r1 success 10
         2910 late #0
         3000 shutdown spindown";
    let sent = "0 next
         30 send #0 series until 2910
         Count a 0 1 []
         2910 next";
    check_with(bare(), &format!("{before}\n4000 sent ok #0"), &format!("{sent}\n4000 exit"));
    check_with(
        bare(),
        &format!("{before}\n4000 sent retry #0\n4010 sent ok #1"),
        &format!("{sent}\n4000 send #1 series until 4900\nCount a 0 1 []\n4010 exit"),
    );
    check_with(bare(), &format!("{before}\n9000 tick"), &format!("{sent}\n4900 exit"));
}

/// What is late once is one failure of its intake, whatever becomes of it: after two, nothing more goes for a while, and
/// an answer ends that.
#[test]
fn what_is_late_is_a_failure_until_it_is_answered() {
    let mut world = World::new(bare());
    world.drain();
    world.line("0 start r0");
    let invocation = |world: &mut World, n: u64| {
        let at = n * 1000;
        world.line(&format!("{at} invoke r{n} deadline=60000"));
        world.line(&format!("{at} metric a:{n}|c"));
        world.line(&format!("{at} done r{n} success 1"));
    };
    invocation(&mut world, 1);
    world.line("1000 late #0");
    invocation(&mut world, 2);
    world.line("2000 late #1");
    invocation(&mut world, 3);
    assert_eq!(world.on_the_way.len(), 2, "{}", world.out);
    world.line("3100 sent retry #1");
    invocation(&mut world, 4);
    assert_eq!(world.on_the_way.len(), 1, "it was told once already: {}", world.out);
    world.line("4100 sent ok #0");
    invocation(&mut world, 5);
    assert_eq!(world.on_the_way.len(), 1, "{}", world.out);
    world.accept_all();
    assert_eq!(world.engine.held(Signal::Series), 0);
    let sum: f64 = world.delivered.iter().map(sum).sum();
    assert_eq!(sum, 15.0);
}

fn sum(batch: &Batch) -> f64 {
    let Batch::Series(all) = batch else { return 0.0 };
    all.iter().flat_map(|series| &series.points).map(|(_, value)| value).sum()
}

/// Requests without an answer are not what new data waits for, and what they carry is within the bound.
#[test]
fn what_is_late_keeps_no_room_from_others() {
    let bound = 100_000;
    let mut world = World::new(Settings { batch_bytes: bound, ..bare() });
    world.drain();
    world.line("0 start r0");
    for n in 1..2000_u64 {
        let at = n * 1000;
        world.line(&format!("{at} invoke r{n} deadline=60000"));
        world.line(&format!("{at} traces {n:x}/{n:x}:work:s:filler={}", "x".repeat(2000)));
        world.line(&format!("{at} done r{n} success 1"));
        for id in world.on_the_way.keys().copied().collect::<Vec<_>>() {
            world.handle(crate::Input::Late { id });
        }
        assert!(world.engine.weight(Signal::Traces) <= bound);
        assert!(world.engine.has_room(2000), "only what moves makes room");
        assert_eq!(world.nexts as u64, n + 1, "nobody waits");
    }
    let (held, dropped) = (world.engine.held(Signal::Traces), world.engine.dropped("traces"));
    assert_eq!(held + dropped, 1999, "{held} held, {dropped} dropped");
    assert!(dropped > 1000);
}

fn copied() -> Settings {
    Settings { copied: Signal::ALL.to_vec(), ..bare() }
}

/// What went where, and how often, by item.
fn items(batches: &[Batch]) -> BTreeMap<String, usize> {
    let mut items = BTreeMap::new();
    for line in batches.iter().flat_map(render::lines) {
        *items.entry(line).or_default() += 1;
    }
    items
}

/// The main intake fails in every way there is; the further ones get each item once, and soon.
#[test]
fn further_intakes_get_everything_once_while_the_main_one_is_down() {
    for answer in [Answer::Retry, Answer::Refused] {
        let mut world = World::new(copied());
        world.drain();
        world.line("0 start r0");
        for n in 1..=40_u64 {
            let at = n * 1000;
            for id in world.on_the_way.keys().copied().collect::<Vec<_>>() {
                world.handle(crate::Input::Late { id });
            }
            world.line(&format!("{at} invoke r{n} deadline=60000"));
            world.line(&format!("{at} traces a/{n:x}:work"));
            world.line(&format!("{at} metric a:{n}|g|#n:{n}"));
            world.line(&format!("{at} metric b:{n}|d|#n:{n}"));
            world.line(&format!("{at} done r{n} success 1"));
            let got = items(&world.copied);
            let news = got.keys().filter(|item| item.contains(&format!("n:{n}]"))).count();
            assert_eq!(news, 2, "{answer:?}, after invocation {n}: {got:#?}");
            if n % 3 == 0 {
                world.answer_all(answer);
            }
        }
        let got = items(&world.copied);
        assert!(got.values().all(|times| *times == 1), "{answer:?}: {got:#?}");
        assert_eq!(got.keys().filter(|item| item.contains("work")).count(), 40);
        world.line("100000 shutdown spindown");
        world.advance(T0 + Duration::from_secs(103));
        let after = items(&world.copied);
        assert!(after.values().all(|times| *times == 1), "{answer:?}: {after:#?}");
    }
}

/// While all is well one request is made of a batch, for all.
#[test]
fn a_batch_is_packed_once_for_all_intakes() {
    check_with(
        copied(),
        "0 start r1
         10 invoke r1
         20 metric a:1|c
         30 done r1 success 10
         40 sent retry #0
         100 invoke r2
         110 metric b:1|c
         120 done r2 success 10
         130 sent ok",
        "0 next
         30 send #0 to all series until 2910
         Count a 0 1 []
         40 next
         120 send #1 to others series until 3000
         Count b 0 1 []
         120 send #2 series until 320
         Count a 0 1 []
         Count b 0 1 []
         130 next",
    );
}

/// The first telemetry of all comes when SHUTDOWN has come already: it is waited for as reports are.
#[test]
fn telemetry_that_comes_with_the_end_of_the_sandbox_is_waited_for() {
    let mut world = World::new(Settings { enhanced_metrics: true, ..bare() });
    world.drain();
    world.line("10 invoke r1");
    world.line("11 shutdown failure");
    world.accept_all();
    assert!(!world.exited);
    for (at, record) in
        [(40, "init-start on-demand"), (40, "start r1"), (41, "done r1 success 5"), (42, "report r1 success")]
    {
        world.line(&format!("{at} {record}"));
        world.accept_all();
    }
    assert!(world.exited, "{}", world.out);
    assert_eq!(values(&world, "duration"), 1);
    assert_eq!(values(&world, "invocations"), 1);
}

/// It comes even later, while the last data is on its way: it joins what is known, each figure counts once, and what
/// follows from it goes too.
#[test]
fn telemetry_that_comes_while_the_last_data_leaves_counts_once() {
    let mut world = World::new(Settings { enhanced_metrics: true, logs: true, ..bare() });
    world.drain();
    world.line("10 invoke r1");
    world.line("20 start-call r1 trace=a");
    world.line("30 end-call r1 span=b");
    world.line("40 shutdown failure");
    world.advance(T0 + Duration::from_millis(150));
    assert!(!world.exited && !world.on_the_way.is_empty());
    for record in [
        "init-start on-demand",
        "start r1",
        "log hello",
        "done r1 success 5",
        "report r1 success billed=5 size=128",
    ] {
        world.line(&format!("160 {record}"));
    }
    world.accept_all();
    assert!(world.exited, "{}", world.out);
    for name in ["invocations", "duration", "runtime_duration", "billed_duration"] {
        assert_eq!(values(&world, name), 1, "{name}: {}", world.out);
    }
    let spans =
        world.delivered.iter().flat_map(render::lines).filter(|line| line.contains("aws.lambda")).count();
    assert_eq!(spans, 1, "{}", world.out);
    assert!(world.delivered.iter().flat_map(render::lines).any(|line| line.contains("hello")));
    for signal in [Signal::Traces, Signal::Logs, Signal::Sketches] {
        assert_eq!(world.engine.held(signal), 0, "{signal:?}");
    }
}

/// Values of an enhanced metric that were delivered.
fn values(world: &World, name: &str) -> u64 {
    let name = format!("aws.lambda.enhanced.{name}");
    let mut count = 0;
    for batch in &world.delivered {
        let Batch::Sketches(all) = batch else { continue };
        let points = all.iter().filter(|one| one.name == name).flat_map(|one| &one.points);
        count += points.map(|(_, sketch)| sketch.count()).sum::<u64>();
    }
    count
}

/// After the last fact there may never be another: what an intake did not take, and what had no turn, goes when its time
/// has come, however often that intake failed.
#[test]
fn what_is_left_goes_though_nothing_else_happens() {
    let every = Duration::from_secs(5);
    let strategies = [
        FlushStrategy::Adaptive,
        FlushStrategy::End,
        FlushStrategy::EndAnd(every),
        FlushStrategy::Periodically(every),
        FlushStrategy::Continuously(every),
    ];
    for (flush_strategy, failures) in strategies.into_iter().flat_map(|one| (0..6).map(move |n| (one, n))) {
        let mut world = World::new(Settings { flush_strategy, ..settings() });
        world.drain();
        world.line("0 invoke r1 deadline=60000");
        world.line("1 start r1");
        world.line("2 traces a/1");
        world.line("2 metric a:1|c");
        for _ in 0..2500 {
            world.line("3 log at work");
        }
        world.line("10 done r1 success 5");
        let mut failed = 0;
        let end = T0 + Duration::from_secs(1800);
        loop {
            if !world.on_the_way.is_empty() {
                let answer = if failed < failures { Answer::Retry } else { Answer::Ok };
                failed += 1;
                world.answer_all(answer);
            } else if let Some(deadline) = world.engine.deadline().filter(|deadline| *deadline < end) {
                world.advance(deadline);
            } else {
                break;
            }
        }
        let case = format!("{flush_strategy:?}, failed {failures} times");
        assert!(failed > failures, "{case}: nothing was accepted");
        for signal in Signal::ALL {
            assert_eq!((world.engine.held(signal), world.engine.dropped(signal.as_str())), (0, 0), "{case}");
        }
    }
}

/// One batch is tried in little time after a failure. When it is taken the rest has the time of any flush.
#[test]
fn what_follows_a_try_that_went_well_has_its_full_time() {
    let mut world = World::new(Settings { enhanced_metrics: false, ..settings() });
    world.drain();
    world.line("0 start r1");
    world.line("0 invoke r1 deadline=60000");
    world.line("0 metric a:1|c");
    world.line("0 log first");
    world.line("10 done r1 success 1");
    world.answer_all(Answer::Retry);
    world.line("1000 invoke r2 deadline=60000");
    for _ in 0..2500 {
        world.line("1000 log at work");
    }
    world.line("1010 done r2 success 1");
    world.out.clear();
    world.line("1150 sent ok");
    let sends: Vec<_> = world.out.lines().filter(|line| line.contains(" send ")).collect();
    assert_eq!(sends, ["1150 send #4 logs until 6010", "1150 send #5 logs until 6010"], "{}", world.out);
    let before = world.nexts;
    world.line("5000 tick");
    assert_eq!(world.nexts, before, "its end waits for them");
    world.accept_all();
    assert_eq!((world.nexts, world.engine.held(Signal::Logs)), (before + 1, 0));
}
