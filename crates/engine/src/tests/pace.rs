//! The flush strategies: what ends of invocations cost, and that nothing is held for longer than it should be.

use std::time::Duration;

use model::{Batch, Signal};

use super::{Answer, T0, World, check_with, facts, settings};
use crate::{Cost, FlushStrategy, Input, LogRule, LogRuleKind, LogRules, Outcome, Settings, TagChoice};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn bare(flush_strategy: FlushStrategy) -> Settings {
    Settings { enhanced_metrics: false, logs: false, flush_strategy, ..settings() }
}

/// How an intake answers: after so long, and how.
type Intake = (Duration, Answer);

const UP: Intake = (ms(2), Answer::Ok);

/// Invocations of a function whose library sends its spans before it answers, in a sandbox that freezes. Lambda
/// holds telemetry for 25 ms.
struct Run {
    settings: Settings,
    intake: Intake,
    /// From the end of one invocation to the next.
    gap: Duration,
    invocations: usize,
}

const HANDLER: Duration = ms(10);

/// After so long without an answer a connection is taken to be dead.
const PATIENCE: Duration = Duration::from_secs(30);

impl Run {
    fn new(flush_strategy: FlushStrategy, intake: Intake) -> Self {
        let settings = Settings { flush_strategy, ..settings() };
        Self { settings, intake, gap: ms(5), invocations: 200 }
    }

    /// What each invocation was longer than its handler, in milliseconds, and the world as it is left.
    fn costs(&self) -> (Vec<u128>, World) {
        let mut world = World::new(self.settings.clone());
        world.drain();
        world.line("0 init-start on-demand");
        world.line("0 init-report 50");
        let (mut costs, mut late) = (Vec::new(), String::new());
        for n in 0..self.invocations {
            let begin = world.now + self.gap;
            let at = |after: Duration| (begin + after).since(T0).as_millis();
            // Frozen until here: no timer ran.
            world.now = begin;
            world.handle(facts::parse(begin, &format!("invoke r{n} deadline=60000")));
            self.pass(&mut world, begin + ms(1));
            for record in late.lines() {
                world.line(&format!("{} {record}", at(ms(1))));
            }
            late.clear();
            self.pass(&mut world, begin + ms(9));
            world.line(&format!("{} traces {:x}/1:aws.lambda:orders:request_id=r{n}", at(ms(9)), n + 1));
            let over = begin + HANDLER;
            self.pass(&mut world, over);
            let records = format!(
                "start r{n} at={}\nlog working\ndone r{n} success 10 at={}\n",
                at(ms(0)),
                at(HANDLER)
            );
            if world.nexts < n + 2 {
                self.pass(&mut world, over + ms(25));
                if world.nexts < n + 2 {
                    for record in records.lines() {
                        world.line(&format!("{} {record}", world.now.since(T0).as_millis()));
                    }
                } else {
                    late = records;
                }
                let patience = over + Duration::from_secs(50);
                while world.nexts < n + 2 && world.now < patience {
                    let step = world.now + ms(1);
                    self.pass(&mut world, step);
                }
            } else {
                late = records;
            }
            let asked = world.out.lines().filter_map(|line| line.strip_suffix(" next")).nth(n + 1).unwrap();
            let asked = T0 + ms(asked.parse().unwrap());
            costs.push(asked.since(over).as_millis());
            world.now = asked.max(over);
        }
        (costs, world)
    }

    /// Lets time pass, in which the intake answers.
    fn pass(&self, world: &mut World, to: model::UnixNanos) {
        let (delay, answer) = self.intake;
        while world.now < to {
            let before = world.now;
            let next = (world.now + ms(1)).min(to);
            world.advance(next);
            // When it is answered, and when it is late.
            let times = |id: &crate::SendId| {
                let head = format!(" send #{} ", id.0);
                let line = world.out.lines().find(|line| line.contains(&head)).unwrap();
                let time = |word: &str| T0 + ms(word.parse().unwrap());
                let (sent, until) = (line.split(' ').next().unwrap(), line.rsplit(' ').next().unwrap());
                (time(sent) + delay.min(PATIENCE), time(until))
            };
            let on_the_way: Vec<_> = world.on_the_way.keys().map(|id| (*id, times(id))).collect();
            for (id, (answered, late)) in on_the_way {
                if world.now >= answered {
                    world.answer(id, answer);
                } else if world.now >= late && before < late {
                    world.handle(Input::Late { id });
                }
            }
        }
    }

    fn total(&self) -> u128 {
        self.costs().0.iter().sum()
    }
}

fn percentiles(mut costs: Vec<u128>) -> (u128, u128) {
    costs.sort_unstable();
    (costs[costs.len() / 2], costs[costs.len() * 99 / 100 - 1])
}

/// Everything of a run is there in the end, each once.
fn assert_whole(world: &mut World, invocations: usize) {
    let end = world.now.since(T0).as_millis();
    world.line(&format!("{end} shutdown spindown"));
    world.accept_all();
    let until = world.now + Duration::from_secs(2);
    world.advance(until);
    assert!(world.exited);
    let roots = world.delivered.iter().map(|batch| match batch {
        Batch::Traces(all) => all
            .iter()
            .flat_map(|p| &p.chunks)
            .flat_map(|c| &c.spans)
            .filter(|s| s.name == "aws.lambda")
            .count(),
        _ => 0,
    });
    assert_eq!(roots.sum::<usize>(), invocations);
}

#[test]
fn back_to_back_invocations_wait_for_nothing_by_default() {
    let (costs, mut world) = Run::new(FlushStrategy::Adaptive, UP).costs();
    let (p50, p99) = percentiles(costs.clone());
    assert!(p50 == 0 && p99 < 5, "p50 {p50}, p99 {p99}: {costs:?}");
    assert_whole(&mut world, 200);
}

#[test]
fn rare_invocations_leave_nothing_behind() {
    let run = Run { gap: Duration::from_secs(60), invocations: 30, ..Run::new(FlushStrategy::Adaptive, UP) };
    let (costs, mut world) = run.costs();
    assert!(costs.iter().all(|ms| *ms < 40), "{costs:?}");
    for signal in [Signal::Traces, Signal::Logs] {
        assert_eq!(world.engine.held(signal), 0, "{signal:?}");
    }
    assert_whole(&mut world, 30);
}

#[test]
fn an_end_costs_little_more_than_what_lambda_holds_telemetry_for() {
    let (costs, mut world) = Run::new(FlushStrategy::End, UP).costs();
    let (p50, _) = percentiles(costs.clone());
    assert!(p50 <= 25 + 3, "{costs:?}");
    assert_whole(&mut world, 200);
}

#[test]
fn nothing_is_waited_for_continuously() {
    let (costs, mut world) = Run::new(FlushStrategy::Continuously(ms(100)), UP).costs();
    assert_eq!(costs.iter().sum::<u128>(), 0);
    assert!(world.delivered.len() > 20, "it does not wait for the end either");
    assert_whole(&mut world, 200);
}

/// An intake that says no, or that cannot be reached: fifty invocations cost under 100 ms more than with one that
/// works.
#[test]
fn with_the_intake_down_fifty_invocations_cost_little() {
    for strategy in [FlushStrategy::Adaptive, FlushStrategy::End, FlushStrategy::Periodically(ms(20))] {
        let run = |intake| Run { invocations: 50, ..Run::new(strategy, intake) };
        let up = run(UP).total();
        for (delay, answer) in [(1, Answer::Retry), (40, Answer::Retry), (5, Answer::Refused)] {
            let down = run((ms(delay), answer)).total();
            assert!(
                down < up + 100,
                "{strategy:?}, {answer:?} after {delay} ms: {down} ms, with it up {up} ms"
            );
        }
    }
}

/// One that swallows connections costs one wait for a connection, one short try, and then nothing.
#[test]
fn an_intake_that_swallows_connections_costs_one_wait() {
    for strategy in [FlushStrategy::Adaptive, FlushStrategy::End] {
        let run = |intake| Run { invocations: 50, ..Run::new(strategy, intake) };
        let (up, down) = (run(UP).total(), run((Duration::from_secs(1), Answer::Retry)).total());
        assert!(down <= up + 1000 + 200 + 20, "{strategy:?}: {down} ms, with it up {up} ms");
    }
}

#[test]
fn sandboxes_come_back_to_an_intake_at_different_times() {
    let first_probe = |seed| {
        let settings = Settings { seed, ..bare(FlushStrategy::Continuously(ms(1))) };
        let mut world = World::new(settings);
        world.drain();
        world.line("1 invoke r0 deadline=800000");
        for n in 0..60_000 {
            if n % 100 == 0 {
                world.line(&format!("{} metric a:1|c", 10 + n));
                world.answer_all(Answer::Retry);
            }
        }
        world
            .out
            .lines()
            .filter(|line| line.contains(" send "))
            .nth(2)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(first_probe(1), first_probe(1));
    assert_ne!(first_probe(1), first_probe(2));
}

#[test]
fn next_is_asked_when_an_invocation_begins_and_data_leaves_while_it_runs() {
    check_with(
        bare(FlushStrategy::Continuously(ms(50))),
        "5 init-start on-demand
         10 invoke r1
         20 metric a:1|c
         30 metric a:1|c
         75 sent ok
         80 metric a:1|c
         100 done r1 success 90
         101 invoke r2
         131 tick
         132 sent ok
         140 metric a:5|c
         150 shutdown spindown
         152 sent ok
         260 tick",
        "0 next
         10 next
         70 send #0 series until 5070
         Count a 0 2 []
         101 next
         130 send #1 series until 5130
         Count a 1000 1 []
         150 send #2 series until 2050
         Count a 2000 5 []
         250 exit",
    );
}

#[test]
fn end_with_a_period_also_sends_while_an_invocation_runs() {
    check_with(
        bare(FlushStrategy::EndAnd(ms(50))),
        "5 init-start on-demand
         10 invoke r1
         20 metric a:1|c
         75 sent ok
         80 metric a:2|c
         100 done r1 success 90
         101 sent ok",
        "0 next
         70 send #0 series until 5070
         Count a 0 1 []
         100 send #1 series until 2910
         Count a 1000 2 []
         101 next",
    );
}

#[test]
fn periodically_waits_only_when_the_last_time_is_long_ago() {
    check_with(
        bare(FlushStrategy::Periodically(ms(100))),
        "5 init-start on-demand
         10 invoke r1
         20 metric a:1|c
         30 done r1 success 90
         110 invoke r2
         115 metric a:2|c
         118 done r2 success 90
         119 sent ok
         130 invoke r3
         140 done r3 success 90",
        "0 next
         10 next
         118 send #0 series until 3010
         Count a 0 3 []
         119 next
         130 next",
    );
}

#[test]
fn before_a_timeout_the_data_of_an_invocation_that_nobody_waits_for_goes() {
    check_with(
        bare(FlushStrategy::Continuously(ms(60_000))),
        "5 init-start on-demand
         10 invoke r1 deadline=3000
         20 metric a:1|c
         2770 sent ok
         3010 shutdown timeout
         3111 tick",
        "0 next
         10 next
         2760 send #0 series until 7760
         Count a 0 1 []
         3110 exit",
    );
}

/// Measured elsewhere: with one inferrer for all, 80 of 100 back-to-back invocations had wrong parents.
#[test]
fn start_calls_without_ids_find_their_invocation_when_next_was_asked_early() {
    let mut world = World::new(bare(FlushStrategy::Continuously(ms(1000))));
    world.drain();
    world.line("0 init-start on-demand");
    world.line("0 init-report 50");
    let mut at = 1;
    for n in 1..100 {
        let calls = [format!("start-call trace={n:x} parent={n:x}"), format!("invoke r{n}")];
        // The call can overtake INVOKE.
        let (first, second) = if n % 2 == 0 { (&calls[0], &calls[1]) } else { (&calls[1], &calls[0]) };
        world.line(&format!("{at} {first}"));
        world.line(&format!("{at} {second}"));
        world.line(&format!("{} end-call span={:x}", at + 1, 1000 + n));
        // What Lambda tells comes with the next one.
        world.line(&format!("{} start r{n}", at + 2));
        world.line(&format!("{} done r{n} success 1", at + 2));
        at += 3;
    }
    world.line(&format!("{at} shutdown spindown"));
    world.accept_all();
    let until = world.now + Duration::from_secs(2);
    world.advance(until);
    world.accept_all();
    let mut seen = 0;
    for batch in &world.delivered {
        let Batch::Traces(all) = batch else { continue };
        for span in
            all.iter().flat_map(|p| &p.chunks).flat_map(|c| &c.spans).filter(|s| s.name == "aws.lambda")
        {
            seen += 1;
            let id = span.meta.get("request_id").unwrap();
            assert_eq!(*id, format!("r{}", span.trace_id.low()));
            assert_eq!(span.parent_id.map(model::SpanId::get), Some(span.trace_id.low()));
        }
    }
    assert_eq!(seen, 99);
}

#[test]
fn much_data_does_not_wait_for_the_end() {
    let mut world = World::new(bare(FlushStrategy::End));
    world.drain();
    world.line("0 init-start on-demand");
    world.line("1 invoke r1 deadline=60000");
    world.line("2 metric a:1|c");
    let big = |n: usize| {
        let mut chunk = model::Chunk { spans: Vec::new() };
        let ids = (model::TraceId::new(0, 1).unwrap(), model::SpanId::new(n as u64).unwrap());
        let mut span = model::Span::new("big", ids.0, ids.1, None);
        span.meta.insert("filler", "x".repeat(300_000));
        chunk.spans.push(span);
        Input::Traces { tracer: model::TracerInfo::default(), chunks: vec![chunk] }
    };
    world.handle(big(1));
    world.handle(big(2));
    assert!(world.on_the_way.is_empty(), "no connection is there yet");
    world.line("10 done r1 success 5");
    world.accept_all();
    world.line("20 invoke r2 deadline=60000");
    world.handle(big(3));
    assert!(world.on_the_way.is_empty());
    world.handle(big(4));
    assert_eq!(world.on_the_way.len(), 1);
}

#[test]
fn a_library_can_ask_for_a_flush() {
    check_with(
        bare(FlushStrategy::End),
        "5 init-start on-demand
         10 invoke r1
         20 metric a:1|c
         21 flush
         22 sent ok
         30 done r1 success 1
         31 metric a:2|c
         32 flush",
        "0 next
         21 send #0 series until 5021
         Count a 0 1 []
         30 next
         32 send #1 series until 5032
         Count a 1000 2 []",
    );
}

#[test]
fn what_an_intake_refuses_or_finds_too_large_is_counted_and_the_rest_tried_again() {
    let mut world = World::new(bare(FlushStrategy::End));
    world.drain();
    world.line("0 init-start on-demand");
    world.line("1 invoke r1");
    world.line("2 traces a/1:a a/2:b a/3:c a/4:d a/5:e");
    world.line("3 done r1 success 1");
    let id = *world.on_the_way.keys().next().unwrap();
    let Some(Batch::Traces(mut all)) = world.on_the_way.remove(&id) else { panic!() };
    all[0].chunks[0].spans.truncate(1);
    let cost = Cost { requests: 3, bytes: 500 };
    let outcome = Outcome { refused: 2, too_large: 1, cost, ..Outcome::retry(Batch::Traces(all)) };
    world.handle(Input::Sent { id, outcome });
    assert_eq!(world.engine.dropped("traces"), 3);
    assert_eq!(world.engine.held(Signal::Traces), 1);
    world.out.clear();
    world.line("10 invoke r2");
    world.line("11 done r2 success 1");
    let told: Vec<_> = world.out.lines().filter(|line| line.contains("dropped")).collect();
    assert_eq!(
        told,
        [
            "Count datadog.serverless.extension.dropped 0 2 [reason:refused signal:traces]",
            "Count datadog.serverless.extension.dropped 0 1 [reason:too_large signal:traces]"
        ]
    );
}

/// One batch that no intake ever answers well must not keep all behind it for ever.
#[test]
fn what_was_sent_too_often_is_given_up_and_counted() {
    let mut world = World::new(bare(FlushStrategy::End));
    world.drain();
    world.line("0 init-start on-demand");
    world.line("1 traces a/1:a");
    for n in 0..12 {
        let at = 1_000_000 * (n + 1);
        world.line(&format!("{at} invoke r{n}"));
        world.line(&format!("{} done r{n} success 1", at + 1));
        world.answer_all(Answer::Retry);
    }
    assert_eq!((world.engine.dropped("traces"), world.engine.held(Signal::Traces)), (1, 0));
}

#[test]
fn the_extensions_own_cost_is_told_with_the_next_flush() {
    let mut world = World::new(Settings { logs: false, ..settings() });
    world.drain();
    world.line("0 init-start on-demand");
    world.line("1 invoke r1");
    world.line("2 traces a/1:a");
    world.line("3 done r1 success 1");
    world.advance(T0 + ms(7));
    for id in world.on_the_way.keys().copied().collect::<Vec<_>>() {
        world.on_the_way.remove(&id);
        let outcome = Outcome { cost: Cost { requests: 1, bytes: 100 }, ..Outcome::accepted() };
        world.handle(Input::Sent { id, outcome });
    }
    world.out.clear();
    world.line("10 invoke r2");
    world.line("11 traces a/2:b");
    world.line("12 done r2 success 1");
    let own: Vec<_> = world.out.lines().filter(|line| line.contains("datadog.serverless")).collect();
    assert_eq!(
        own,
        [
            "Count datadog.serverless.extension.bytes 0 100 [signal:traces]",
            "Count datadog.serverless.extension.requests 0 1 [signal:traces]",
            "datadog.serverless.extension.flush_duration 0 4 []"
        ]
    );
}

#[test]
fn log_rules_leave_out_mask_and_withhold() {
    let rule = |kind, pattern: &'static str| LogRule { name: "r".into(), kind, pattern: pattern.into() };
    let run = |rules: Vec<LogRule>, platform_logs| {
        let log_rules = LogRules { rules, blocked: false };
        let mut world =
            World::new(Settings { enhanced_metrics: false, log_rules, platform_logs, ..settings() });
        world.drain();
        for line in [
            "0 init-start on-demand",
            "1 invoke r1",
            "1 start r1",
            "2 log card 4111",
            "3 log noise",
            "4 done r1 success 1",
        ] {
            world.line(line);
        }
        let lines = world.out.lines().filter(|line| line.starts_with("log "));
        let text: Vec<_> = lines.map(|line| line.splitn(5, ' ').nth(4).unwrap().to_owned()).collect();
        (text.join(" | "), world.engine.dropped("logs"))
    };
    let mask = || rule(LogRuleKind::Mask("****".into()), r"\d{4}");
    let noise = || rule(LogRuleKind::Exclude, "noise");
    assert_eq!(run(vec![mask(), noise()], false), ("card ****".to_owned(), 0));
    assert_eq!(
        run(vec![], true).0,
        "INIT_START Runtime Version: provided:al2023 Runtime Version ARN: ? | START RequestId: r1 Version: $LATEST | \
         card 4111 | noise | END RequestId: r1"
    );
    assert_eq!(
        run(vec![rule(LogRuleKind::Exclude, "^(START|END|REPORT|INIT_START) ")], true).0,
        "card 4111 | noise"
    );
    // Nothing leaves that a broken rule was to mask, and that is counted.
    assert_eq!(run(vec![rule(LogRuleKind::Mask("x".into()), "("), noise()], true), (String::new(), 5));
}

#[test]
fn members_of_sets_are_counted() {
    check_with(
        bare(FlushStrategy::End),
        "0 metric users:1:2:1|s
         1 metric users:2:3|s
         2 metric users:2|s|#a
         3 shutdown spindown",
        "0 next
         3 send #0 series until 1903
         Gauge users 0 3 []
         Gauge users 0 1 [a]",
    );
}

#[test]
fn the_functions_own_metrics_have_a_namespace_and_fewer_tags() {
    let settings = Settings {
        metric_namespace: "shop.".into(),
        metric_tags: TagChoice { only: None, exclude: vec!["functionname".into()] },
        ..bare(FlushStrategy::End)
    };
    let mut world = World::new(settings);
    world.drain();
    for line in [
        "0 metric a:1|c|#x:1",
        "0 metric jvm.heap:1|c",
        "0 metric aws.lambda.enhanced.mine:1|c",
        "1 shutdown spindown",
    ] {
        world.line(line);
    }
    let Batch::Series(all) = world.on_the_way.values().next().unwrap() else { panic!() };
    let names: Vec<_> = all.iter().map(|s| format!("{} {}", s.name, s.tags.join(","))).collect();
    assert_eq!(
        names,
        ["aws.lambda.enhanced.mine functionname:orders", "jvm.heap functionname:orders", "shop.a x:1"]
    );
}
