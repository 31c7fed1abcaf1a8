//! DogStatsD clients: all that they can tell, and what is at the intake then.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use intake::{Intake, MetricType, MetricValue, Snapshot, State};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::agent::Agent;
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::records::{delivery, runtime_done, start};

/// What arrives of all that a program sends to the port that it is given.
pub(crate) async fn sent(folder: &Path, command: &[&str], variables: &[(&str, String)]) -> Snapshot {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let urls = ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map(|name| (name, &*url));
    let mut agent = Agent::start(&lambda, &urls);
    lambda.asked(1).await;
    lambda.invoke("r-1", 10 * PATIENCE);
    let mut client = Command::new(command[0]);
    client.current_dir(folder).args(&command[1..]).arg(agent.ports.dogstatsd.to_string());
    client.envs(variables.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
    client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = tokio::time::timeout(10 * PATIENCE, client.output()).await.expect("no end").unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(agent.printed(), "");
    let all = |state: &State| {
        !state.metrics("orders.users").is_empty() && !state.metrics("orders.taken").is_empty()
    };
    let arrived = intake.store().wait_until(all, Instant::now() + PATIENCE).await;
    let state = intake.store().snapshot();
    if let Some(path) = std::env::var_os("REAL_STATE") {
        std::fs::write(path, serde_json::to_string(&state).unwrap()).unwrap();
    }
    assert!(arrived, "{state:#?}");
    state
}

/// Both clients tell the same.
pub(crate) fn check(state: &Snapshot) {
    let metric = |name: &str| {
        let mut named = state.metrics.iter().filter(|metric| metric.name == name);
        let metric = named.next().unwrap_or_else(|| panic!("no {name} in {:#?}", state.metrics));
        assert!(named.next().is_none(), "{name} with other tags");
        assert_eq!(
            (metric.tag("team"), metric.tag("functionname")),
            (Some("orders"), Some("orders")),
            "{name}"
        );
        metric
    };
    let numbers = [
        ("orders.taken", MetricType::Count, 5.0),
        ("orders.stock", MetricType::Count, -4.0),
        ("orders.past", MetricType::Count, 6.0),
        ("orders.open", MetricType::Gauge, 4.5),
        ("orders.level", MetricType::Gauge, 7.0),
        // How many different ones.
        ("orders.users", MetricType::Gauge, 2.0),
    ];
    for (name, kind, value) in numbers {
        let metric = metric(name);
        assert_eq!((metric.kind, metric.total), (kind, MetricValue::Number { value }), "{name}");
    }
    assert_eq!(metric("orders.taken").tag("shop"), Some("a"));
    for name in ["orders.value", "orders.size", "orders.took"] {
        let MetricValue::Distribution { count, sum, min, max, .. } = metric(name).total else {
            panic!("{name}")
        };
        assert_eq!((count, sum, min, max), (3, 60.0, 10.0, 30.0), "{name}");
    }
    // What was told of ten minutes ago is of then.
    let time = |name: &str| metric(name).points[0].time.as_nanos();
    for name in ["orders.past", "orders.level"] {
        let before = time("orders.taken").saturating_sub(time(name)) / 1_000_000_000;
        assert!((480..=720).contains(&before), "{name}: {before}");
    }
    let told = |path: &str| {
        let mut requests = state.requests.iter().filter(|request| request.path == path);
        let told = requests.next().and_then(|request| request.preview.clone());
        assert!(requests.next().is_none(), "{path} twice");
        serde_json::from_str::<Value>(&told.unwrap_or_else(|| panic!("no {path}"))).unwrap()
    };
    let event = told("/api/v1/events");
    assert_eq!(
        (&event["title"], &event["text"], &event["alert_type"]),
        (&json!("deployed"), &json!("to\ntest"), &json!("warning"))
    );
    let checked = told("/api/v1/check_run");
    let checked = &checked[0];
    assert_eq!(
        (&checked["check"], &checked["status"], &checked["message"]),
        (&json!("database"), &json!(1), &json!("slow"))
    );
    for tags in [&event["tags"], &checked["tags"]] {
        let tags = tags.as_array().unwrap();
        assert!(
            ["by:me", "team:orders", "functionname:orders"].iter().all(|tag| tags.contains(&json!(tag))),
            "{tags:?}"
        );
    }
}
