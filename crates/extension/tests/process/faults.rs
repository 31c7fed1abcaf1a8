//! What an intake that fails costs the function: at most one short budget, and no data that could be kept.

use std::time::Duration;

use intake::{Fault, FaultKind, Where};
use model::Signal;

use crate::agent::Agent;
use crate::fake_lambda::FakeLambda;
use crate::records::{delivery, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);

/// One invocation with one span; gives how long after its end the next event was asked for.
pub(crate) async fn invocation(lambda: &FakeLambda, agent: &Agent, number: usize, span: u64) -> Duration {
    let id = format!("r-{number}");
    lambda.invoke(&id, MINUTE);
    agent.telemetry(&delivery(&[start(&id)])).await;
    assert_eq!(agent.put_traces(&traces(span)).await.status, 200);
    let ended = std::time::Instant::now();
    agent.telemetry(&delivery(&[runtime_done(&id)])).await;
    lambda.asked(number + 1).await.saturating_duration_since(ended)
}

#[tokio::test]
async fn an_intake_that_is_down_costs_one_budget_at_most() {
    let lambda = FakeLambda::start().await;
    let intake = Intake::start().await.unwrap();
    let url = intake.url();
    intake.stop();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_FLUSH_TIMEOUT", "1"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..4 {
        let held = invocation(&lambda, &agent, number, number as u64).await;
        assert!(held < Duration::from_secs(3), "{held:?}");
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    assert_eq!(printed.matches("cannot send").count(), 1, "{printed}");
    // What does not arrive is counted, to the last: three spans, and what else there is.
    assert!(printed.contains("of its data was lost: 3 of traces, "), "{printed}");
}

#[tokio::test]
async fn an_intake_that_hangs_costs_one_budget_at_most() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: None, kind: FaultKind::Hang, count: 1000 });
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_FLUSH_TIMEOUT", "0.5"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..4 {
        let held = invocation(&lambda, &agent, number, number as u64).await;
        assert!(held < Duration::from_secs(3), "{held:?}");
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

#[tokio::test]
async fn what_failed_is_sent_again_once() {
    for kind in [FaultKind::Status(503), FaultKind::Status(429), FaultKind::Close] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        // A kept connection that dies is tried once more at once: two failures are needed to fail.
        intake.fail(Fault { signal: Some(Signal::Traces), kind, count: 2 });
        let mut agent = Agent::start(&lambda, &to(&intake.url()));
        lambda.asked(1).await;
        for number in 1..4 {
            invocation(&lambda, &agent, number, number as u64).await;
        }
        lambda.shutdown(Duration::from_secs(2));
        assert!(agent.ended().await.success());
        let traces = intake.store().snapshot().traces;
        let mut spans: Vec<_> = traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").collect();
        spans.sort_by_key(|s| s.span_id);
        let copies: Vec<_> = spans.iter().map(|s| (s.span_id.get(), s.copies)).collect();
        assert_eq!(copies, [(1, 1), (2, 1), (3, 1)], "{kind:?}");
    }
}

#[tokio::test]
async fn a_refused_key_is_told_once_and_clearly() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: None, kind: FaultKind::Status(403), count: 1000 });
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_SITE", "datadoghq.eu"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    for number in 1..4 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    assert_eq!(printed.matches("403 Forbidden").count(), 1, "{printed}");
    assert!(printed.contains("DD_API_KEY") && printed.contains("datadoghq.eu (DD_SITE)"), "{printed}");
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_and_it_says_so() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_API_KEY", ""));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(intake.store().snapshot().counts.requests, 0);
    assert_eq!(agent.printed().matches("DD_API_KEY").count(), 1, "{}", agent.printed());
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: Some(Signal::Traces), kind: FaultKind::Status(413), count: 1 });
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    for span in 1..5 {
        assert_eq!(agent.put_traces(&traces(span)).await.status, 200);
    }
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    arrives(&intake, "four spans", |s| s.counts().spans >= 4).await;
    let traces = intake.store().snapshot().traces;
    assert!(traces.iter().flat_map(|t| &t.spans).all(|s| s.copies == 1));
}

/// Of a batch that takes several requests, those that were taken are done with whatever becomes of the others.
#[tokio::test]
async fn what_was_accepted_of_a_batch_is_not_sent_again() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let fault =
        |status, count| Fault { signal: Some(Signal::Traces), kind: FaultKind::Status(status), count };
    // The first request is to be halved; of the halves the first is taken and the second is not.
    intake.fail(fault(413, 1));
    intake.fail_where(fault(503, 1), Where { path: None, probability: Some(0.5) });
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    for span in 11..15 {
        assert_eq!(agent.put_traces(&traces(span)).await.status, 200);
    }
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    for number in 2..5 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    assert_eq!(state.counts.failed_requests, 2);
    let spans = state.traces.iter().flat_map(|t| &t.spans).filter(|s| s.span_id.get() > 10);
    let mut copies: Vec<_> = spans.map(|s| (s.span_id.get(), s.copies)).collect();
    copies.sort_unstable();
    assert_eq!(copies, [(11, 1), (12, 1), (13, 1), (14, 1)]);
}
