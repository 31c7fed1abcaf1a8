//! The same facts in every order that their sources allow give the same output.
//!
//! A source hands over its facts in their order; between sources there is none, but for what is causally
//! so: an invocation begins after `Next` was asked for it. All orders are walked breadth first; engines that
//! cannot be told apart are walked on as one, which is why billions of orders take seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use model::{Batch, SketchSeries, UnixNanos};

use super::{T0, facts, render, settings};
use crate::{Effect, Engine, FlushStrategy, Input, Outcome, SendId, Settings};

/// When all facts come, unless a `pass` lets time go by: after all times that records tell.
const NOW: UnixNanos = UnixNanos(T0.0 + 10_000_000_000);

/// Facts by source, one a line: `source: fact`, with conditions behind `!`: `asked=2` (so often was `Next`
/// asked), `calls=1` (so many facts of that source came before). `pass 30` lets milliseconds go by.
struct Scenario {
    name: &'static str,
    facts: &'static str,
    /// Answers to sends are a source of their own, and are no as often as this at first.
    failures: Option<usize>,
}

struct Fact {
    what: What,
    conditions: Vec<(String, usize)>,
}

enum What {
    Input(Input),
    Pass(Duration),
}

#[derive(Clone)]
struct Node {
    engine: Engine,
    now: UnixNanos,
    nexts: usize,
    /// How many facts each source has handed over.
    positions: Vec<usize>,
    flying: VecDeque<(SendId, Batch)>,
    failures: usize,
    delivered: Vec<Batch>,
    exited: bool,
    /// One of the ways here, by source.
    path: Vec<usize>,
    ways: u128,
}

impl Node {
    fn handle(&mut self, input: Input, instant: bool) {
        self.engine.handle(self.now, input);
        self.drain(instant);
    }

    /// `instant`: sends are answered at once.
    fn drain(&mut self, instant: bool) {
        while let Some(effect) = self.engine.poll() {
            match effect {
                Effect::Next => self.nexts += 1,
                Effect::Exit => self.exited = true,
                Effect::Send { id, batch, .. } => {
                    self.flying.push_back((id, batch));
                    if instant {
                        self.answer();
                    }
                }
            }
        }
    }

    fn answer(&mut self) {
        let Some((id, batch)) = self.flying.pop_front() else { return };
        let outcome = if self.failures > 0 {
            self.failures -= 1;
            Outcome::retry(batch)
        } else {
            self.delivered.push(batch);
            Outcome::accepted()
        };
        self.engine.handle(self.now, Input::Sent { id, outcome });
    }

    fn fingerprint(&self) -> u64 {
        let (state, held) = self.engine.fingerprint();
        let mut hasher = DefaultHasher::new();
        let mut delivered: Vec<u64> =
            self.delivered.iter().flat_map(render::lines).map(|line| hash(&line)).collect();
        delivered.sort_unstable();
        let flying: Vec<_> = self.flying.iter().map(|(_, batch)| format!("{batch:?}")).collect();
        (&self.positions, self.nexts, self.failures, state, held, delivered, flying).hash(&mut hasher);
        hasher.finish()
    }

    /// Ends the sandbox; gives all that was delivered, in an order of its own.
    fn finish(mut self) -> Vec<String> {
        self.handle(facts::parse(self.now, "shutdown spindown"), true);
        while !self.flying.is_empty() {
            self.answer();
            self.drain(true);
        }
        while let Some(deadline) = self.engine.deadline() {
            self.now = deadline;
            self.engine.tick(deadline);
            self.drain(true);
        }
        assert!(self.exited, "did not leave");
        canonical(&self.delivered)
    }
}

fn hash(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What was delivered, whatever the batches: values of the same ten seconds are put together. No two counts have the same
/// time.
fn canonical(batches: &[Batch]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    let mut times = BTreeSet::new();
    let mut sketches: BTreeMap<String, SketchSeries> = BTreeMap::new();
    for batch in batches {
        match batch {
            Batch::Traces(_) | Batch::Logs(_) | Batch::Stats(_) | Batch::Forwards(_) => {
                lines.extend(render::lines(batch));
            }
            Batch::Series(all) => {
                for series in all {
                    for (time, value) in &series.points {
                        let of = format!("{} {:?}", series.name, series.tags);
                        assert!(times.insert((of.clone(), *time)), "{of} twice at {time:?}");
                        let ten = UnixNanos::from_secs(time.as_secs() / 10 * 10);
                        *counts.entry(format!("{of} {ten:?}")).or_default() += value;
                    }
                }
            }
            Batch::Sketches(all) => {
                for series in all {
                    for (time, sketch) in &series.points {
                        let key = format!("{} {:?} {time:?}", series.name, series.tags);
                        let empty = || SketchSeries {
                            points: vec![(*time, model::Sketch::default())],
                            ..series.clone()
                        };
                        sketches.entry(key).or_insert_with(empty).points[0].1.merge(sketch);
                    }
                }
            }
        }
    }
    lines.extend(counts.iter().map(|(key, value)| format!("{key} {value}")));
    lines.extend(sketches.into_values().flat_map(|one| render::lines(&Batch::Sketches(vec![one]))));
    lines.sort_unstable();
    lines
}

/// Walks all orders; gives how many they are and what each gives.
fn walk(scenario: &Scenario) -> (u128, Vec<String>) {
    walk_with(scenario, scenario.facts, settings())
}

fn walk_with(scenario: &Scenario, facts: &str, settings: Settings) -> (u128, Vec<String>) {
    let (names, sources) = parse(facts);
    let instant = scenario.failures.is_none();
    let mut start = Node {
        engine: Engine::new(settings, T0),
        now: NOW,
        nexts: 0,
        positions: vec![0; sources.len()],
        flying: VecDeque::new(),
        failures: scenario.failures.unwrap_or_default(),
        delivered: Vec::new(),
        exited: false,
        path: Vec::new(),
        ways: 1,
    };
    start.drain(instant);
    let (mut orders, mut steps): (u128, usize) = (0, 0);
    // The first order's path and what it gave.
    let mut outcome: Option<(Vec<usize>, Vec<String>)> = None;
    let mut layer = vec![start];
    while !layer.is_empty() {
        let mut following: BTreeMap<u64, Node> = BTreeMap::new();
        for node in layer {
            let mut moved = false;
            for step in 0..=sources.len() {
                let Some(mut to) = advance(&node, step, &names, &sources, instant) else { continue };
                (moved, steps) = (true, steps + 1);
                to.path.push(step);
                following.entry(to.fingerprint()).and_modify(|known| known.ways += node.ways).or_insert(to);
            }
            if moved {
                continue;
            }
            let ends: Vec<usize> = sources.iter().map(Vec::len).collect();
            assert_eq!(node.positions, ends, "{}: stuck after {:?}", scenario.name, node.path);
            orders += node.ways;
            let (path, got) = (node.path.clone(), node.finish());
            let (first, expected) = outcome.get_or_insert_with(|| (path.clone(), got.clone()));
            assert!(
                got == *expected,
                "{}: orders differ (sources {names:?})\n{first:?}\n{path:?}\n--- only the first\n{}\n--- only the second\n{}",
                scenario.name,
                only_in(expected, &got),
                only_in(&got, expected),
            );
        }
        layer = following.into_values().collect();
    }
    println!("{}: {orders} orders, {steps} steps", scenario.name);
    (orders, outcome.unwrap().1)
}

fn only_in(these: &[String], those: &[String]) -> String {
    these.iter().filter(|line| !those.contains(line)).map(|line| format!("{line}\n")).collect()
}

/// The node behind a step: a source's next fact, or (behind the last source) an answer to the oldest send.
fn advance(node: &Node, step: usize, names: &[String], sources: &[Vec<Fact>], instant: bool) -> Option<Node> {
    let Some(source) = sources.get(step) else {
        if node.flying.is_empty() {
            return None;
        }
        let mut to = node.clone();
        to.answer();
        to.drain(instant);
        return Some(to);
    };
    let fact = source.get(*node.positions.get(step)?)?;
    let is_met = |(what, least): &(String, usize)| match names.iter().position(|name| name == what) {
        Some(other) => node.positions[other] >= *least,
        None => node.nexts >= *least,
    };
    if !fact.conditions.iter().all(is_met) {
        return None;
    }
    let mut to = node.clone();
    to.positions[step] += 1;
    match &fact.what {
        What::Input(input) => to.handle(input.clone(), instant),
        What::Pass(time) => {
            to.now = to.now + *time;
            to.engine.tick(to.now);
            to.drain(instant);
        }
    }
    Some(to)
}

fn parse(text: &str) -> (Vec<String>, Vec<Vec<Fact>>) {
    let (mut names, mut sources): (Vec<String>, Vec<Vec<Fact>>) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(": ").unwrap();
        let (fact, conditions) = rest.split_once('!').unwrap_or((rest, ""));
        let conditions = conditions.split_whitespace().map(|condition| {
            let (what, least) = condition.split_once('=').unwrap();
            (what.to_owned(), least.parse().unwrap())
        });
        let what = match fact.trim().strip_prefix("pass ") {
            Some(ms) => What::Pass(Duration::from_millis(ms.parse().unwrap())),
            None => What::Input(facts::parse(NOW, fact.trim())),
        };
        let fact = Fact { what, conditions: conditions.collect() };
        match names.iter().position(|known| known == name) {
            Some(at) => sources[at].push(fact),
            None => {
                names.push(name.to_owned());
                sources.push(vec![fact]);
            }
        }
    }
    (names, sources)
}

/// A library that tells of its invocations with their ids; the report, a chunk and a line of the first one
/// come while the second one runs.
const BY_ID: Scenario = Scenario {
    name: "calls with request ids",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r2 !asked=2
        telemetry: init-start on-demand at=0
        telemetry: init-report 90 at=90
        telemetry: start r1 at=100
        telemetry: log first at=110
        telemetry: done r1 success 20 at=125
        telemetry: report r1 success duration=22 billed=23 size=128 max=64 at=130 !asked=2
        telemetry: start r2 at=200 !asked=2
        telemetry: done r2 error 30 type=Boom at=235
        calls: start-call r1 trace=66a1b2c300000000000000000000000a parent=b priority=1 inferred=aws.sqs:queue:60 !asked=1
        calls: end-call r1 span=c
        calls: start-call r2 http inferred=aws.httpapi:api:150 !asked=2
        calls: end-call r2 span=d trace=e priority=2 status=500 error=Boom
        traces: traces a/1<c:first
        traces: traces a/2<c:late e/3<d:second !asked=2
        metrics: metric m:1:2|d|#t|T50
        metrics: metric m:3|d|#t|T20000
    ",
    failures: None,
};

/// A library that does not send request ids. Its start call was answered before the handler ran, and its
/// tracer's placeholder before the response was posted: both are handed over before `runtimeDone`.
const WITHOUT_ID: Scenario = Scenario {
    name: "calls without request ids",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r2 !asked=2
        telemetry: init-start on-demand at=0
        telemetry: init-report 90 at=90
        telemetry: start r1 at=100
        telemetry: done r1 success 20 at=125 !calls=1 traces=1
        telemetry: report r1 success duration=22 billed=23 size=128 max=64 at=130 !asked=2
        telemetry: start r2 at=200
        telemetry: done r2 success 30 at=235 !calls=3
        calls: start-call trace=a parent=b !asked=1
        calls: end-call span=c
        calls: start-call trace=e parent=f !asked=2
        calls: end-call span=d
        traces: traces a/7:aws.lambda:x:resource=dd-tracer-serverless-span,request_id=r1,user=me a/1<c:first !asked=1
        traces: traces e/3<d:second !asked=2
    ",
    failures: None,
};

/// A library that sends its own spans, with the time before the handler.
const OWN_SPANS: Scenario = Scenario {
    name: "own spans and a load span",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r2 !asked=2
        telemetry: init-start on-demand at=0
        telemetry: log loading at=50
        telemetry: init-report 90 at=90
        telemetry: start r1 at=100
        telemetry: done r1 success 20 at=125
        telemetry: log late at=126
        telemetry: report r1 success duration=22 billed=23 size=128 max=64 init=90 at=130 !asked=2
        telemetry: start r2 at=200
        telemetry: done r2 success 30 at=235
        traces: traces a/3<1:aws.lambda.load a/1<9:aws.lambda:orders:request_id=r1,_sampling_priority_v1=1 !asked=1
        traces: traces a/3<1:aws.lambda.load a/4<1:again
        traces: traces b/1:aws.lambda:orders:request_id=r2 !asked=2
        metrics: metric m:1|c|#t|T50
        metrics: metric m:4|c|#t|T50
        metrics: metric g:1|g|T50
    ",
    failures: None,
};

/// The runtime crashes before the library's end call; the next invocation is well.
const CRASH: Scenario = Scenario {
    name: "a crash without an end call",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r2 !asked=2
        telemetry: init-start on-demand at=0
        telemetry: init-report 90 at=90
        telemetry: start r1 at=100
        telemetry: done r1 error 20 type=Runtime.ExitError at=125
        telemetry: report r1 error duration=22 billed=23 size=128 max=128 at=130 !asked=2
        telemetry: start r2 at=200 !asked=2 time=1
        telemetry: done r2 success 30 at=235
        calls: start-call r1 trace=a parent=b !asked=1
        calls: start-call r2 trace=e parent=f !asked=2
        calls: end-call r2 span=d
        time: pass 30 !telemetry=4 calls=1
        traces: traces a/1<c:orphan
        metrics: metric m:1|d|T50
    ",
    failures: None,
};

/// An asynchronous invocation fails, and its second attempt comes to the same sandbox.
const TWICE: Scenario = Scenario {
    name: "two attempts of one invocation",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r1 !asked=2
        telemetry: init-start on-demand at=0
        telemetry: init-report 90 at=90
        telemetry: start r1 at=100
        telemetry: done r1 error 20 type=Boom at=125
        telemetry: report r1 error duration=22 billed=23 size=128 max=64 at=130 !asked=2
        telemetry: start r1 at=200 !asked=2
        telemetry: done r1 success 30 at=235
        calls: start-call r1 trace=a parent=b !asked=1
        calls: end-call r1 span=c error=Boom
        calls: start-call r1 trace=a parent=b !asked=2
        calls: end-call r1 span=d
        traces: traces a/1<c:first
        traces: traces a/2<d:second !asked=2
    ",
    failures: None,
};

/// Answers come when they like, and the first ones are no.
const FAILING: Scenario = Scenario {
    name: "an intake that fails at first",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r2 !asked=2
        telemetry: start r1 at=100
        telemetry: log first at=110
        telemetry: done r1 success 20 at=125
        telemetry: report r1 success duration=22 billed=23 size=128 max=64 at=130 !asked=2
        telemetry: done r2 success 30 at=235
        traces: traces a/1:first
        traces: traces a/2<1:second !asked=2
        metrics: metric m:1|c|T50
        metrics: metric m:3|d|T50
    ",
    failures: Some(3),
};

/// Managed instances: two invocations at once, each with a connection of its own.
const AT_ONCE: Scenario = Scenario {
    name: "two invocations at once",
    facts: r#"
        telemetry: init-start lambda-managed-instances at=0
        telemetry: start r1 at=100
        telemetry: start r2 at=110
        telemetry: json {"requestId":"r1","message":"mine"}
        telemetry: report r2 error duration=20 type=Boom at=130
        telemetry: report r1 success duration=50 at=150
        first: start-call r1 trace=a parent=b priority=1 inferred=aws.sqs:queue:60
        first: end-call r1 span=c
        second: start-call r2 trace=e parent=f http
        second: end-call r2 span=d status=502
        traces: traces a/1<c:first
        traces: traces a/2<c:late e/3<d:second
        metrics: metric m:1:2|d|T50
    "#,
    failures: None,
};

#[track_caller]
fn check(scenario: &Scenario, at_least: u128) {
    let (orders, outcome) = walk(scenario);
    assert!(orders >= at_least, "only {orders} orders");
    insta::assert_snapshot!(scenario.name.replace(' ', "_"), outcome.join("\n"));
}

/// A function behind the Runtime API proxy: first without a library, with a tracer that sees only its caller; then
/// with a library that sends its own span, before the response is posted.
const SEEN: Scenario = Scenario {
    name: "what the proxy sees",
    facts: "
        next: invoke r1 !asked=1
        next: invoke r2 !asked=2
        telemetry: init-start on-demand at=0
        telemetry: init-report 90 at=90
        telemetry: start r1 at=100
        telemetry: done r1 success 20 at=125
        telemetry: report r1 success duration=22 billed=23 size=128 max=64 at=130 !asked=2
        telemetry: start r2 at=200
        telemetry: done r2 success 30 at=235 !seen=4
        seen: event-seen r1 trace=66a1b2c300000000000000000000000a parent=b priority=1 inferred=aws.httpapi:api:60 http !asked=1
        seen: answer-seen r1 status=503
        seen: event-seen r2 trace=e parent=f !asked=2
        seen: answer-seen r2 error=Boom !traces=2
        traces: traces a/5<b:web a/6<5:db !seen=1
        traces: traces e/9<f:aws.lambda:orders:request_id=r2 e/8<9:work !seen=3
    ",
    failures: None,
};

#[test]
fn what_the_proxy_sees() {
    check(&SEEN, 10_000);
}

#[test]
fn calls_with_request_ids() {
    check(&BY_ID, 1_000_000);
}

#[test]
fn calls_without_request_ids() {
    check(&WITHOUT_ID, 10_000);
}

#[test]
fn own_spans() {
    check(&OWN_SPANS, 100_000);
}

#[test]
fn a_crash() {
    check(&CRASH, 100_000);
}

#[test]
fn two_attempts() {
    check(&TWICE, 100_000);
}

#[test]
fn two_invocations_at_once() {
    let managed = Settings { managed_instances: true, ..settings() };
    let (orders, outcome) = walk_with(&AT_ONCE, AT_ONCE.facts, managed);
    assert!(orders >= 1_000_000, "only {orders} orders");
    insta::assert_snapshot!(AT_ONCE.name.replace(' ', "_"), outcome.join("\n"));
}

#[test]
fn a_failing_intake() {
    check(&FAILING, 1000);
}

/// Where `Next` is asked when an invocation begins, its runtime is what the next one waits for: for the calls
/// and spans of its library. Whatever else is late, what leaves in the end is the same as with `end`.
#[test]
fn the_same_leaves_whatever_the_strategy() {
    let scenarios = [
        (&WITHOUT_ID, "calls=2 traces=1", 20),
        (&OWN_SPANS, "traces=1", 60_000),
        (&CRASH, "calls=1", 20),
        (&TWICE, "calls=2 traces=1", 60_000),
        (&FAILING, "traces=1", 20),
    ];
    for (scenario, runtime, every_ms) in scenarios {
        let facts = scenario.facts.replace("!asked=2", &format!("!asked=2 {runtime}"));
        let flush_strategy = FlushStrategy::Continuously(Duration::from_millis(every_ms));
        let (orders, got) = walk_with(scenario, &facts, Settings { flush_strategy, ..settings() });
        assert!(orders > 100, "{}: only {orders} orders", scenario.name);
        insta::assert_snapshot!(scenario.name.replace(' ', "_"), got.join("\n"));
    }
}
