//! An extension that fails: the function gives the same answers, and takes the time that it takes beside one that
//! is well.
//!
//! The extension is acted by a server of this test, since one that fails in earnest is Lambda's to notice: it
//! ends the whole sandbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig};
use tokio::net::TcpSocket;

use crate::agent::{Request, Server, serve};
use crate::world::PATIENCE;

/// What it may cost to have remembered a failure.
const REMEMBERED: Duration = Duration::from_millis(5);

/// What the first failure may cost: the library's deadline for telemetry after the response.
const DEADLINE: Duration = Duration::from_millis(500);

/// As long as the library leaves an agent alone that has failed.
const REST: Duration = Duration::from_secs(10);

/// Requests without an answer, written ahead of the response, that it takes for the agent to be one that failed.
const SILENCE: u32 = 4;

/// How many invocations are compared at a time, and how many in a row are of the same function.
const ROUND: usize = 21;
const ROW: usize = 7;
const ROUNDS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It takes every request, and answers none.
    Hangs,
    /// It answers 500.
    Fails,
    /// Nothing listens.
    Refuses,
    /// It is well for some invocations, and then its process is killed.
    Killed,
}

/// Sends after the response.
const RUN: (&str, &str) = (env!("CARGO_BIN_EXE_spans"), r#"{"id": 17, "stock": "3"}"#);
/// Sends before it.
const WRAPPED: (&str, &str) = (env!("CARGO_BIN_EXE_own-provider"), "[1]");

#[tokio::test]
async fn an_extension_that_hangs() {
    check(RUN, Fault::Hangs).await;
    check(WRAPPED, Fault::Hangs).await;
}

#[tokio::test]
async fn an_extension_that_answers_500() {
    check(RUN, Fault::Fails).await;
    check(WRAPPED, Fault::Fails).await;
}

#[tokio::test]
async fn an_extension_that_is_not_there() {
    check(RUN, Fault::Refuses).await;
    check(WRAPPED, Fault::Refuses).await;
}

#[tokio::test]
async fn an_extension_that_is_killed() {
    check(RUN, Fault::Killed).await;
    check(WRAPPED, Fault::Killed).await;
}

async fn check((program, event): (&str, &'static str), fault: Fault) {
    let begin = Instant::now();
    let asked = Arc::new(AtomicU32::new(0));
    let well = serve(|request| Some(taken(&request))).await;
    // Bound, and never made to listen: refused connections, and nobody else's port.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut ill = ill(fault, asked.clone()).await;
    let port = match fault {
        Fault::Refuses => nobody.local_addr().unwrap().port(),
        _ => ill.port,
    };
    let function = |name: &str, port: u16| {
        // One sandbox: who comes while it is busy with what follows a response has to wait, and is measured so.
        let config = FunctionConfig::new(name, [program]).timeout(PATIENCE).init_limit(PATIENCE);
        config.max_sandboxes(1).env("DD_TRACE_AGENT_PORT", port.to_string())
    };
    let functions = vec![function("well", well.port), function("ill", port)];
    let lambda = Lambda::start(functions, LambdaConfig::default()).await.unwrap();

    // The second has to wait for all that the first one costs.
    let (first_well, answers_well) = row(&lambda, "well", event, 2).await;
    let (first_ill, answers_ill) = row(&lambda, "ill", event, 2).await;
    assert_eq!(answers_well, answers_ill);
    let (well_took, ill_took): (Duration, Duration) = (first_well.iter().sum(), first_ill.iter().sum());
    // A machine may be busy with other things for a while: without a deadline it would not end at all.
    let busy = well_took * 3 + Duration::from_secs(5);
    assert!(ill_took <= DEADLINE + busy, "{fault:?}: {ill_took:?}, and {well_took:?} beside a good one");

    if fault == Fault::Killed {
        ill.kill().await;
        row(&lambda, "ill", event, 2).await;
    }
    compare(&lambda, event, fault).await;

    if fault == Fault::Hangs {
        // It was left alone.
        let rests = u32::try_from(begin.elapsed().as_secs() / REST.as_secs()).unwrap();
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked > 0 && asked <= SILENCE * (1 + rests), "{asked} requests");
    }
    drop(lambda);
}

/// Compares the medians of a round, the two functions by turns so that both have the same share of whatever else
/// this machine does. That may still fall upon one of them, so that a round in which it did says nothing, and the
/// next one is asked. Waiting for an agent in more than half of the invocations, for any time at all that is above
/// the limit, is in the median of every round.
async fn compare(lambda: &Lambda, event: &'static str, fault: Fault) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (mut well, mut ill) = (Vec::new(), Vec::new());
        for _ in 0..ROUND / ROW {
            for (name, took) in [("well", &mut well), ("ill", &mut ill)] {
                let (times, answers) = row(lambda, name, event, ROW).await;
                assert!(answers.iter().all(|answer| *answer == answers[0]));
                took.extend(times);
            }
        }
        let (well, ill) = (median(well), median(ill));
        if ill <= well + REMEMBERED {
            eprintln!("{fault:?}: an invocation takes {ill:?}, and {well:?} beside a good one");
            return;
        }
        rounds.push((well, ill));
    }
    panic!("{fault:?}: beside a good one, and beside this: {rounds:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Invokes some times in a row: how long each took, and what it answered.
async fn row(lambda: &Lambda, name: &str, event: &'static str, times: usize) -> (Vec<Duration>, Vec<Bytes>) {
    let (mut took, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let begin = Instant::now();
        let answer = lambda.invoke(name, event.into(), InvokeOptions::default());
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        took.push(begin.elapsed());
        assert_eq!(answer.function_error, None, "{answer:?}");
        answers.push(answer.payload);
    }
    (took, answers)
}

async fn ill(fault: Fault, asked: Arc<AtomicU32>) -> Server {
    serve(move |request| {
        asked.fetch_add(1, Ordering::Relaxed);
        let well = taken(&request);
        match fault {
            Fault::Hangs | Fault::Refuses => None,
            Fault::Fails => Some("500 Internal Server Error"),
            Fault::Killed => Some(well),
        }
    })
    .await
}

fn taken(request: &Request) -> &'static str {
    assert_eq!(request.line(), "POST /v0.4/traces HTTP/1.1");
    "200 OK"
}
