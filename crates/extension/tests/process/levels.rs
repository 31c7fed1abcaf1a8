//! How hard data is compressed: for each signal as it is set, and what becomes of values that are no level.

use std::time::Duration;

use model::{Batch, Signal};
use payload::{Compressor, Encoding};

use crate::agent::Agent;
use crate::fake_lambda::FakeLambda;
use crate::late::{Gate, Gated, Taken};
use crate::records::{chunk, delivery, log, runtime_done, start};
use crate::to;

/// Enough of each signal that levels differ in what they make of it, in more than one request of lines.
const LINES: usize = 1200;
const SPANS: u64 = 300;
const METRICS: usize = 25;

const WORDS: [&str; 8] = ["order", "basket", "customer", "paid", "left", "item", "price", "street"];

/// A text that is neither all the same nor without any order.
fn text(n: u64) -> String {
    let word = |at: u32| WORDS[(n.wrapping_mul(2_654_435_761).rotate_left(at * 7) % 8) as usize];
    (0..12).map(|at| format!("{} {} ", word(at), n.wrapping_mul(u64::from(at) + 7) % 997)).collect()
}

/// What arrives of one invocation that has much to tell.
async fn requests(variables: &[(&'static str, &str)]) -> (Vec<Taken>, String) {
    let (lambda, intake) = (FakeLambda::start().await, Gated::start().await);
    intake.is(Gate::Accept);
    let mut all = to(&intake.url).to_vec();
    all.extend([("DD_SERVERLESS_FLUSH_STRATEGY", "end"), ("DD_FLUSH_TIMEOUT", "60")]);
    all.extend_from_slice(variables);
    let mut agent = Agent::start(&lambda, &all);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(120));
    let lines = (0..LINES as u64).map(|n| log(&text(n)));
    agent.telemetry(&delivery(&std::iter::once(start("r-1")).chain(lines).collect::<Vec<_>>())).await;
    let mut chunks: Vec<_> = (1..=SPANS).map(chunk).collect();
    for (n, span) in chunks.iter_mut().flat_map(|chunk| &mut chunk.spans).enumerate() {
        span.meta.insert("note", text(n as u64));
    }
    assert_eq!(agent.put_traces(&wire::v04::encode(&chunks)).await.status, 200);
    let metrics = (0..METRICS).map(|n| format!("orders.{n}:1|c|#note:{}", text(n as u64).replace(' ', "_")));
    agent.metric(&metrics.collect::<Vec<_>>().join("\n"));
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    (intake.requests(), agent.printed())
}

/// The levels, of a few, that make of a body what came.
fn levels(taken: &Taken) -> Vec<i32> {
    let is_made = |level: &i32| {
        let made = Compressor::new().at(*level).compress(&taken.plain, Encoding::Zstd).body.into_owned();
        made == taken.packed
    };
    [1, 3, 6, 9].into_iter().filter(is_made).collect()
}

/// The level of traces, series and logs, and for each bad setting the words that it is told with.
async fn check(variables: &[(&'static str, &str)], want: [i32; 3], told: &[&str]) {
    let (requests, printed) = requests(variables).await;
    for (signal, level) in [Signal::Traces, Signal::Series, Signal::Logs].into_iter().zip(want) {
        let largest = requests.iter().filter(|one| one.batch.signal() == signal);
        let largest = largest.max_by_key(|one| one.plain.len()).unwrap();
        assert_eq!(levels(largest), [level], "{signal:?}, {variables:?}");
    }
    let is_text = |line: &str| WORDS.iter().any(|word| line.starts_with(word));
    let (mut spans, mut lines, mut metrics) = (0, 0, 0);
    for Taken { batch, .. } in &requests {
        match batch {
            Batch::Traces(_) => spans += batch.count(),
            Batch::Series(all) => metrics += all.iter().filter(|one| one.name.starts_with("orders.")).count(),
            Batch::Logs(all) => lines += all.iter().filter(|line| is_text(&line.message)).count(),
            _ => {}
        }
    }
    assert_eq!((spans, lines, metrics), (SPANS, LINES, METRICS), "{printed}");
    // Lines of its log are JSON.
    let printed = printed.replace('\\', "");
    for line in told {
        assert_eq!(printed.matches(line).count(), 1, "{line} in {printed}");
    }
    assert_eq!(printed.lines().count(), told.len(), "{printed}");
}

#[tokio::test]
async fn all_is_compressed_fast_unless_told_otherwise() {
    check(&[], [1, 1, 1], &[]).await;
}

#[tokio::test]
async fn each_signal_has_a_level_of_its_own_or_that_of_all() {
    let variables = [
        ("DD_COMPRESSION_LEVEL", "3"),
        ("DD_APM_CONFIG_COMPRESSION_LEVEL", "6"),
        ("DD_LOGS_CONFIG_COMPRESSION_LEVEL", "9"),
    ];
    check(&variables, [6, 3, 9], &[]).await;
}

#[tokio::test]
async fn what_is_no_level_is_told_and_another_used() {
    let variables = [
        ("DD_COMPRESSION_LEVEL", "3"),
        ("DD_APM_CONFIG_COMPRESSION_LEVEL", "0"),
        ("DD_METRICS_CONFIG_COMPRESSION_LEVEL", "23"),
        ("DD_LOGS_CONFIG_COMPRESSION_LEVEL", "fast"),
    ];
    let told = [
        r#"DD_APM_CONFIG_COMPRESSION_LEVEL: "0" is not a level of zstd, 1 to 22; DD_COMPRESSION_LEVEL is used"#,
        r#"DD_METRICS_CONFIG_COMPRESSION_LEVEL: "23" is not a level of zstd, 1 to 22; DD_COMPRESSION_LEVEL is used"#,
        r#"DD_LOGS_CONFIG_COMPRESSION_LEVEL: "fast" is not a level of zstd, 1 to 22; DD_COMPRESSION_LEVEL is used"#,
    ];
    check(&variables, [3, 3, 3], &told).await;
    let told = [r#"DD_COMPRESSION_LEVEL: "-1" is not a level of zstd, 1 to 22; 1 is used"#];
    check(&[("DD_COMPRESSION_LEVEL", "-1")], [1, 1, 1], &told).await;
}
