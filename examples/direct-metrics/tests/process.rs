//! The real function in a local Lambda, without an extension, and a local Datadog.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::time::{Duration, Instant};

use intake::Intake;
use sandbox::{FunctionConfig, InvokeOptions, Lambda, LambdaConfig, Process, What};
use serde_json::{Value, json};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const PATH: &str = "/api/v1/distribution_points";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Runs the function over some events; gives what it printed.
async fn run(env: &[(&str, &str)], events: &[Value]) -> Vec<String> {
    let mut config = FunctionConfig::new("orders", [env!("CARGO_BIN_EXE_direct-metrics")]);
    config.timeout = Duration::from_secs(30);
    let config = env.iter().fold(config, |config, (name, value)| config.env(*name, *value));
    let lambda = Lambda::start(vec![config], LambdaConfig::default()).await.unwrap();
    for event in events {
        let answer = lambda.invoke("orders", event.to_string().into(), InvokeOptions::default());
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        assert_eq!((answer.status, &answer.payload[..]), (200, &br#"{"statusCode":200}"#[..]));
    }
    let lines = lambda.timeline().into_iter().filter_map(|event| match event.what {
        What::Line { process: Process::Function, text } => Some(text),
        _ => None,
    });
    let lines = lines.collect();
    lambda.shutdown().await;
    lines
}

fn metrics(lines: &[String]) -> Vec<Value> {
    let all = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter_map(|line| line.get("m").cloned()).collect()
}

#[tokio::test]
async fn metrics_go_straight_to_datadog() {
    let intake = Intake::start().await.unwrap();
    let url = intake.url();
    let events = [json!({"channel": "web"}), json!({"channel": "shop"})];
    let lines = run(&[("DD_API_KEY", KEY), ("DD_DD_URL", &url), ("DD_ENV", "dev")], &events).await;
    let series = |state: &intake::State| state.metrics("orders.received");
    let arrived =
        intake.store().wait_until(|state| series(state).len() >= 2, Instant::now() + PATIENCE).await;
    assert!(arrived, "{lines:#?}\n{:#?}", intake.store().snapshot());
    let library = concat!("dd_lambda_layer:datadog-rust_", env!("CARGO_PKG_VERSION"));
    for channel in ["shop", "web"] {
        let all = intake.store().read(series);
        let own = all.iter().find(|metric| metric.tag("channel") == Some(channel)).unwrap();
        for tag in [library, "env:dev", "functionname:orders"] {
            assert!(own.tags.iter().any(|own| own == tag), "{tag} in {:?}", own.tags);
        }
        assert_eq!(own.total.count(), 1);
    }
    let paths: Vec<_> = intake.store().snapshot().requests.into_iter().map(|request| request.path).collect();
    assert!(paths.iter().all(|path| path == PATH), "{paths:?}");
    let names = metrics(&lines);
    assert!(!names.contains(&json!("orders.received")), "{names:?}");
    assert!(names.contains(&json!("aws.lambda.enhanced.invocations")), "{names:?}");
    assert!(lines.iter().any(|line| line.starts_with(r#"{"traces":"#)), "{lines:#?}");
}

/// Without a key, or when lines are asked for, the forwarder gets all.
#[tokio::test]
async fn metrics_are_printed_where_they_cannot_be_sent() {
    let intake = Intake::start().await.unwrap();
    let url = intake.url();
    let to_log = [("DD_API_KEY", KEY), ("DD_DD_URL", &url), ("DD_FLUSH_TO_LOG", "true")];
    let no_key = [("DD_DD_URL", &*url)];
    for env in [&to_log[..], &no_key[..]] {
        let names = metrics(&run(env, &[json!({})]).await);
        assert!(names.contains(&json!("orders.received")), "{names:?}");
    }
    assert_eq!(intake.store().snapshot().counts.requests, 0);
}

#[tokio::test]
async fn a_datadog_that_is_not_there_changes_no_answer() {
    let intake = Intake::start().await.unwrap();
    let url = intake.url();
    intake.stop();
    let lines = run(&[("DD_API_KEY", KEY), ("DD_DD_URL", &url)], &[json!({}), json!({}), json!({})]).await;
    let told = lines.iter().filter(|line| line.contains("could not be sent"));
    assert!(told.count() <= 1, "{lines:#?}");
}
