//! Requests that are not answered in time, and further intakes: nothing is sent twice, nobody waits, nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Batch, Signal};

use super::{Answer, T0, World, check_with, render, settings};
use crate::Settings;

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
