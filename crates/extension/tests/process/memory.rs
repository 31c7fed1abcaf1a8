//! The memory that the extension may take is a setting: what does not fit is turned away or pushed out, and counted.

use std::time::Duration;

use intake::{Fault, FaultKind};
use model::{Chunk, Span, SpanId, TraceId, UnixNanos};

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, millis};
use crate::faults::invocation;
use crate::records::{TRACE, delivery, runtime_done, start};
use crate::to;
use crate::watched::Intake;

const MINUTE: Duration = Duration::from_secs(60);
const REQUESTS: u64 = 14;
const SPANS: u64 = 30;
/// Of each of a span's five tags. All requests together are more than the lesser memory.
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

/// With so many megabytes, and an intake that takes nothing at first: spans that arrive in the end, and what the extension
/// tells of it.
async fn live(megabytes: &str) -> (usize, String) {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 100_000 });
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_LAMBDA_EXTENSION_MEMORY", megabytes));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    for number in 0..REQUESTS {
        let status = agent.put_traces(&request(number)).await.status;
        assert!([200, 429].contains(&status), "{status}");
    }
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    intake.recover();
    invocation(&lambda, &agent, 2, REQUESTS * SPANS + 1).await;
    lambda.shutdown(Duration::from_secs(20));
    assert!(agent.ended().await.success());
    let (spans, dropped) = intake.store().read(|state| {
        let spans =
            state.traces().iter().flat_map(|trace| &trace.spans).filter(|span| span.name == "large").count();
        (spans, format!("{:?}", state.metrics("datadog.serverless.extension.dropped")))
    });
    (spans, format!("{dropped}\n{}", agent.printed()))
}

#[tokio::test]
async fn what_does_not_fit_into_the_memory_is_counted_and_with_more_of_it_all_is_kept() {
    let all = usize::try_from(REQUESTS * SPANS).unwrap();
    let (arrived, told) = live("256").await;
    assert_eq!(arrived, all, "{told}");
    assert!(!told.contains("signal:traces") && !told.contains("was lost"), "{told}");
    let (arrived, told) = live("32").await;
    assert!((1..all).contains(&arrived), "{arrived} of {all}: {told}");
    assert!(told.contains("extension.dropped") || told.contains("of its data was lost"), "{told}");
}
