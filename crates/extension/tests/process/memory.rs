//! The memory that the extension may take is a setting: what does not fit is turned away or pushed out, and counted.

use std::time::{Duration, Instant};

use intake::{Fault, FaultKind, State};
use model::{Chunk, Span, SpanId, TraceId, UnixNanos};

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, millis};
use crate::faults::invocation;
use crate::records::{TRACE, delivery, runtime_done, start};
use crate::to;
use crate::watched::Intake;

const MINUTE: Duration = Duration::from_secs(60);
const REQUESTS: u64 = 4;
const SPANS: u64 = 30;
/// Of each of a span's five tags. All requests together are 12 MB: more than of 32 MB is for what waits.
const BYTES: usize = 20_000;

/// Text that does not compress, another for each seed.
fn noise(mut seed: u64, bytes: usize) -> String {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from(seed >> 58).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

fn request(number: u64) -> Vec<u8> {
    let span = |id| {
        let id = number * SPANS + id + 1;
        let ids = (TraceId::new(0, TRACE).unwrap(), SpanId::new(id).unwrap());
        let mut span = Span::new("large", ids.0, ids.1, SpanId::new(77_777));
        (span.service, span.resource) = ("shop".into(), "r".into());
        span.start = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
        for (n, key) in (1..).zip(["a", "b", "c", "d", "e"]) {
            span.meta.insert(key, noise(id * 10 + n, BYTES));
        }
        span.metrics.insert("_sampling_priority_v1", 1.0);
        span
    };
    wire::v04::encode(&[Chunk { spans: (0..SPANS).map(span).collect() }])
}

/// With so many megabytes, and an intake that takes nothing at first: of the spans that were taken, how many arrive, and of
/// how many the extension says that there was no room.
async fn live(megabytes: &str) -> (u64, u64, u64) {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 100_000 });
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([("DD_LAMBDA_EXTENSION_MEMORY", megabytes), ("DD_SERVERLESS_FLUSH_STRATEGY", "end")]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let mut taken = 0;
    for number in 0..REQUESTS {
        match agent.put_traces(&request(number)).await.status {
            200 => taken += SPANS,
            status => assert_eq!(status, 429),
        }
    }
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    intake.recover();
    // It is left alone for some seconds after it failed, and what a slow machine does not send with one event leaves with
    // a later one.
    let all = |state: &State| {
        let (arrived, dropped) = counts(state);
        arrived + dropped == taken
    };
    let (end, mut number) = (Instant::now() + 2 * MINUTE, 2);
    while !intake.store().wait_until(all, Instant::now() + Duration::from_secs(2)).await {
        assert!(Instant::now() < end, "{:?} of {taken}: {}", intake.store().read(counts), agent.printed());
        invocation(&lambda, &agent, number, 1_000_000 + number as u64).await;
        number += 1;
    }
    let (arrived, dropped) = intake.store().read(counts);
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    (taken, arrived, dropped)
}

fn counts(state: &State) -> (u64, u64) {
    let traces = state.traces();
    let arrived = traces.iter().flat_map(|trace| &trace.spans).filter(|span| span.name == "large").count();
    let told = state.metrics("datadog.serverless.extension.dropped");
    let of_traces = told.iter().filter(|metric| metric.tag("signal") == Some("traces"));
    let dropped: f64 = of_traces.flat_map(|metric| &metric.points).map(|point| point.value.as_f64()).sum();
    (arrived as u64, dropped as u64)
}

#[tokio::test]
async fn what_does_not_fit_into_the_memory_is_counted_and_with_more_of_it_all_is_kept() {
    let (much, little) = tokio::join!(live("256"), live("32"));
    assert_eq!(much, (REQUESTS * SPANS, REQUESTS * SPANS, 0));
    let (taken, arrived, dropped) = little;
    assert!(arrived > 0 && dropped > 0, "{arrived} and {dropped} of {taken}");
}
