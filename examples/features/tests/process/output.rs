//! What a function says of itself: metrics and log lines.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::seen::{Seen, Span};
use crate::world::{SERVICE, World, with_env};

#[tokio::test]
async fn metrics_of_ones_own() {
    for world in World::both(env!("CARGO_BIN_EXE_metrics"), &[]).await {
        let answer = world.invoke(r#"{"amounts": [12.5, 99, -1]}"#).await;
        assert_eq!(&answer.payload[..], b"null");
        let there = |seen: &Seen| seen.total("orders.amount").0 == 3 && seen.total("orders.backlog").0 == 1;
        let seen = world.end(there).await;
        let one = |name: &str| {
            let all: Vec<_> = seen.metrics.iter().filter(|metric| metric.name == name).collect();
            assert_eq!(all.len(), 1, "{seen:#?}");
            all[0]
        };
        let amount = one("orders.amount");
        assert_eq!((amount.count, amount.sum), (3, 110.5));
        for tag in ["currency:EUR", "channel:web_shop"] {
            assert!(amount.tags.iter().any(|t| t == tag), "{tag} in {amount:?}");
        }
        let backlog = one("orders.backlog");
        assert_eq!(backlog.sum, 42.0);
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - backlog.time;
        assert!((3590..4500).contains(&age), "{age} s old");
    }
}

#[tokio::test]
async fn log_lines_name_their_span() {
    let env = [
        ("RUST_LOG", "info,logs=info"),
        ("DD_ENV", "test"),
        ("DD_VERSION", "7"),
        ("DD_MERGE_XRAY_TRACES", "perhaps"),
    ];
    for world in World::both(env!("CARGO_BIN_EXE_logs"), &env).await {
        let answer = world.invoke(r#"{"order": 17}"#).await;
        let messages = ["starting", "order received", "only 2 left"];
        let there = |seen: &Seen| {
            seen.count("reserve") == 1 && messages.iter().all(|message| seen.log(message).is_some())
        };
        let seen = world.end(there).await;
        let root = seen.root(answer.request_id.as_str());
        let tied = |line: &Value, span: &Span, level: &str| {
            let expect = json!({
                "dd.trace_id": span.trace, "dd.span_id": span.id.to_string(), "dd.service": SERVICE,
                "dd.env": "test", "dd.version": "7", "requestId": answer.request_id.as_str(), "level": level,
            });
            for (key, value) in expect.as_object().unwrap() {
                assert_eq!(&line[key], value, "{key} in {line}");
            }
            assert!(line["timestamp"].is_string(), "{line}");
        };
        let received = seen.log("order received").unwrap();
        tied(received, root, "INFO");
        assert_eq!(received["fields"], json!({"order": 17, "channel": "web"}));
        tied(seen.log("only 2 left").unwrap(), seen.one("reserve"), "WARN");
        // Nothing runs there that it could name.
        let starting = seen.log("starting").unwrap();
        assert!(starting["dd.trace_id"].is_null() && starting["dd.service"] == SERVICE, "{starting}");
        assert!(seen.log("for those who look closely").is_none());
        // What could not be used is said once.
        let about = |line: &&Value| line.to_string().contains("DD_MERGE_XRAY_TRACES");
        let told: Vec<_> = seen.logs.iter().filter(about).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0]["level"] == "WARN" && told[0].to_string().contains("perhaps"), "{told:?}");
    }
}

#[tokio::test]
async fn a_log_format_of_ones_own() {
    for world in World::both(env!("CARGO_BIN_EXE_own-logs"), &[("DD_ENV", "test")]).await {
        world.invoke(r#"{"order":17}"#).await;
        let there = |seen: &Seen| seen.count("handler") == 1 && seen.log("order received").is_some();
        let seen = world.end(there).await;
        let handler = seen.one("handler");
        let line = seen.log("order received").unwrap();
        let expect = json!({
            "severity": "INFO", "message": "order received", "order": r#"{"order":17}"#, "dd.env": "test",
            "dd.service": SERVICE, "dd.trace_id": handler.trace, "dd.span_id": handler.id.to_string(),
        });
        assert_eq!(line, &expect);
        assert_eq!(seen.tree(seen.one("aws.lambda"), |_| String::new()), "aws.lambda\n  handler\n");
    }
}

#[tokio::test]
async fn traces_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("datadog-features-{}.sock", std::process::id()));
    let address = format!("unix://{}", path.display());
    let env = [("DD_APM_RECEIVER_SOCKET", path.to_str().unwrap()), ("DD_TRACE_AGENT_URL", &address)];
    let world = World::beside(env!("CARGO_BIN_EXE_logs"), |config| with_env(config, &env)).await;
    world.invoke("{}").await;
    let seen = world.end(|seen| seen.count("reserve") == 1).await;
    assert_eq!(seen.tree(seen.one("aws.lambda"), |_| String::new()), "aws.lambda\n  reserve\n");
    let _ = std::fs::remove_file(&path);
}
