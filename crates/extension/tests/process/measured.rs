//! What was measured of Datadog's extension, and is not so here: ten behaviours, ten tests.
//!
//! | there | here |
//! |---|---|
//! | after one request of 8.6 MB no later trace arrives | `after_a_request_of_8_6_mb_all_traces_arrive` |
//! | memory grows by 2.7 kB an invocation | `memory_stays_where_it_is` |
//! | SHUTDOWN before any INVOKE hangs | `promises::a_sandbox_that_was_never_used_ends_at_once` |
//! | wrong parents of invocations that follow each other closely | `invocations_that_follow_each_other_closely_have_their_own_parents` |
//! | what an intake refuses for a while is lost | `what_an_intake_does_not_take_for_a_while_arrives_with_every_strategy` |
//! | no connection is used twice | `secure::all_signals_of_all_invocations_share_one_tls_connection` |
//! | 115 wake-ups a second | `ready::it_is_ready_soon_and_costs_nothing_while_it_waits` |
//! | each flush waits for `platform.runtimeDone` | `a_librarys_word_is_enough_to_go_on` |
//! | histograms, timers and sets never arrive, nor do newer traces | `histograms_timers_and_sets_arrive`, `tracers::the_younger_protocols_of_tracers` |
//! | the span is lost when the record of the end is close behind the end call | `no_span_is_lost_however_close_the_record_of_the_end_is` |

use std::collections::BTreeMap;
use std::time::Duration;

use intake::{Fault, FaultKind, State};
use model::{Chunk, Span, SpanId, TraceId, UnixNanos};

use crate::agent::{Agent, http};
use crate::fake_lambda::{FakeLambda, millis};
use crate::faults::invocation;
use crate::records::{TRACE, delivery, log, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);
const STRATEGY: &str = "DD_SERVERLESS_FLUSH_STRATEGY";
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";

fn works(state: &State) -> Vec<(u64, usize)> {
    let traces = state.traces();
    let spans = traces.iter().flat_map(|t| &t.spans).filter(|span| span.name == "work");
    let mut works: Vec<_> = spans.map(|span| (span.span_id.get(), span.copies as usize)).collect();
    works.sort_unstable();
    works
}

#[tokio::test]
async fn after_a_request_of_8_6_mb_all_traces_arrive() {
    const SPANS: u64 = 4300;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let span = |id| {
        let mut span =
            Span::new("work", TraceId::new(0, TRACE).unwrap(), SpanId::new(id).unwrap(), SpanId::new(77_777));
        (span.service, span.resource) = ("shop".into(), "r".into());
        span.start = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
        span.duration = Duration::from_millis(1);
        span.meta.insert("filler", "x".repeat(1920));
        if id == 1 {
            span.metrics.insert("_sampling_priority_v1", 1.0);
        }
        span
    };
    let body = wire::v04::encode(&[Chunk { spans: (1..=SPANS).map(span).collect() }]);
    assert!(body.len() > 8_600_000, "{}", body.len());
    assert_eq!(agent.put_traces(&body).await.status, 200);
    assert_eq!(agent.put_traces(&traces(SPANS + 1)).await.status, 200);
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    invocation(&lambda, &agent, 2, SPANS + 2).await;
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    let want: Vec<_> = (1..=SPANS + 2).map(|id| (id, 1)).collect();
    let lost = intake.store().read(|s| s.metrics("datadog.serverless.extension.dropped"));
    assert!(intake.store().read(works) == want, "{}\n{lost:#?}", agent.printed());
}

fn resident_kb(agent: &Agent) -> u64 {
    let path = format!("/proc/{}/status", agent.child.id().unwrap());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// At the pace measured there it would be 2.7 MB more.
#[tokio::test]
async fn memory_stays_where_it_is() {
    const SOME: usize = 500;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    let mut resident = Vec::new();
    for number in 1..=3 * SOME {
        invocation(&lambda, &agent, number, number as u64).await;
        if number % SOME == 0 {
            resident.push(resident_kb(&agent));
        }
    }
    assert!(resident[2] < resident[0] + 1500, "{resident:?} kB");
}

/// The default strategy, no pause at all: what Lambda tells of one comes while the next one runs.
#[tokio::test]
async fn invocations_that_follow_each_other_closely_have_their_own_parents() {
    const INVOCATIONS: usize = 60;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    let mut late = Vec::new();
    for number in 1..=INVOCATIONS {
        let id = format!("r-{number}");
        lambda.invoke(&id, MINUTE);
        let (trace, parent) = ((1000 + number).to_string(), (5000 + number).to_string());
        let headers = [
            (REQUEST_ID, &*id),
            ("x-datadog-trace-id", &*trace),
            ("x-datadog-parent-id", &*parent),
            ("x-datadog-sampling-priority", "1"),
        ];
        let begun = http(agent.ports.lifecycle, "POST", "/lambda/start-invocation", &headers, b"{}").await;
        assert_eq!(begun.header("x-datadog-trace-id"), Some(&*trace));
        if !late.is_empty() {
            agent.telemetry(&delivery(&late)).await;
        }
        let span = (9000 + number).to_string();
        let headers = [(REQUEST_ID, &*id), ("x-datadog-trace-id", &*trace), ("x-datadog-span-id", &*span)];
        assert_eq!(
            http(agent.ports.lifecycle, "POST", "/lambda/end-invocation", &headers, b"{}").await.status,
            200
        );
        late = vec![start(&id), log("working"), runtime_done(&id)];
        lambda.asked(number + 1).await;
    }
    agent.telemetry(&delivery(&late)).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let mut parents = BTreeMap::new();
    intake.store().read(|s| {
        for trace in s.traces() {
            for span in trace.spans.iter().filter(|span| span.name == "aws.lambda") {
                parents.insert(span.span_id.get(), (trace.trace_id.low(), span.parent_id.map(SpanId::get)));
            }
        }
    });
    let want: BTreeMap<_, _> =
        (1..=INVOCATIONS as u64).map(|n| (9000 + n, (1000 + n, Some(5000 + n)))).collect();
    assert_eq!(parents, want);
}

#[tokio::test]
async fn what_an_intake_does_not_take_for_a_while_arrives_with_every_strategy() {
    for strategy in ["end", "continuously,10", "default"] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        intake.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 10_000 });
        let url = intake.url();
        let mut variables = to(&url).to_vec();
        variables.push((STRATEGY, strategy));
        let mut agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        for number in 1..=15 {
            if number == 6 {
                intake.recover();
            }
            invocation(&lambda, &agent, number, number as u64).await;
        }
        lambda.shutdown(Duration::from_secs(2));
        assert!(agent.ended().await.success());
        let want: Vec<_> = (1..=15).map(|id| (id, 1)).collect();
        assert_eq!(intake.store().read(works), want, "{strategy}");
    }
}

/// Lambda keeps the record of the end back, for ever here.
#[tokio::test]
async fn a_librarys_word_is_enough_to_go_on() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    for number in 1..=6 {
        let id = format!("r-{number}");
        lambda.invoke(&id, Duration::from_secs(900));
        agent.telemetry(&delivery(&[start(&id), log("working")])).await;
        for path in ["/lambda/start-invocation", "/lambda/end-invocation"] {
            assert_eq!(
                http(agent.ports.lifecycle, "POST", path, &[(REQUEST_ID, &*id)], b"{}").await.status,
                200
            );
        }
        lambda.asked(number + 1).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

#[tokio::test]
async fn histograms_timers_and_sets_arrive() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    for (name, line) in [("h", "h:1|h"), ("ms", "ms:2|ms"), ("s", "s:a|s"), ("d", "d:3|d")] {
        agent.metric(line);
        assert_eq!(name, line.split(':').next().unwrap());
    }
    // A datagram has no answer: those are read before a request that comes after them.
    assert_eq!(http(agent.ports.traces, "GET", "/info", &[], b"").await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    arrives(&intake, "all four", |s| ["h", "ms", "s", "d"].iter().all(|name| !s.metrics(name).is_empty()))
        .await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

/// Both are on their way at the same time, on two connections.
#[tokio::test]
async fn no_span_is_lost_however_close_the_record_of_the_end_is() {
    const INVOCATIONS: usize = 40;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push((STRATEGY, "end"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..=INVOCATIONS {
        let id = format!("r-{number}");
        lambda.invoke(&id, MINUTE);
        let header = [(REQUEST_ID, &*id)];
        let begun = http(agent.ports.lifecycle, "POST", "/lambda/start-invocation", &header, b"{}").await;
        assert_eq!(begun.status, 200);
        let records = delivery(&[start(&id), runtime_done(&id)]);
        let end = http(agent.ports.lifecycle, "POST", "/lambda/end-invocation", &header, b"{}");
        let (ended, ()) = tokio::join!(end, agent.telemetry(&records));
        assert_eq!(ended.status, 200);
        lambda.asked(number + 1).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let spans = intake
        .store()
        .read(|s| s.traces().iter().flat_map(|t| &t.spans).filter(|s| s.name == "aws.lambda").count());
    assert_eq!(spans, INVOCATIONS);
}
