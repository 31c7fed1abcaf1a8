//! Responses: too large ones, and those that come part by part.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox::{InvokeOptions, Lambda, StreamLimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{PATIENCE, body, frozen, function, invoke, start, story, until};

/// A file that a function waits for.
struct Gate(std::path::PathBuf);

impl Gate {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sandbox-stream-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn open(&self) {
        std::fs::write(&self.0, "").unwrap();
    }

    fn event(&self) -> Value {
        json!({ "do": "stream", "path": self.0.to_str().unwrap() })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn lambda() -> Lambda {
    start(vec![function("f").timeout(PATIENCE)]).await
}

#[tokio::test]
async fn parts_reach_the_caller_before_the_function_is_done() {
    let (lambda, gate) = (lambda().await, Gate::new("parts"));
    let check = async |event: Value, more: &[&str], error: Option<&str>, payload: &str| {
        let _ = std::fs::remove_file(&gate.0);
        let (sender, mut parts) = mpsc::channel(1);
        let event = Bytes::from(event.to_string());
        let invoked = lambda.invoke_streaming("f", event, InvokeOptions::default(), sender);
        let (result, ()) = tokio::join!(invoked, async {
            assert_eq!(parts.recv().await.unwrap(), "first");
            gate.open();
            for part in more {
                assert_eq!(parts.recv().await.unwrap(), *part);
            }
            assert_eq!(parts.recv().await, None);
        });
        let result = result.unwrap();
        assert_eq!((result.function_error.as_deref(), &*result.payload), (error, payload.as_bytes()));
    };
    check(gate.event(), &["second"], None, "").await;
    let mut broken = gate.event();
    broken["fail"] = true.into();
    check(broken, &[], Some("Unhandled"), r#"{"errorType":"Function.Bad"}"#).await;
    // One who does not take it so gets it whole.
    let whole = invoke(&lambda, "f", gate.event()).await;
    assert_eq!(whole.payload, "firstsecond");
    assert_eq!(body(&invoke(&lambda, "f", json!({ "n": 1 })).await), json!({ "n": 1 }));
    until(&lambda, 4, frozen).await;
    // What they were answered is kept, in one piece.
    let answers = lambda.recorded(0).into_iter().filter_map(|invocation| invocation.answer);
    let told = |answer: sandbox::RecordedAnswer| {
        let payload = String::from_utf8(answer.payload.to_vec()).unwrap();
        (answer.streamed, answer.bytes, payload, answer.function_error)
    };
    assert_eq!(
        answers.map(told).collect::<Vec<_>>(),
        [
            (true, 11, "firstsecond".to_owned(), None),
            (true, 5, "first".to_owned(), Some("Unhandled".to_owned())),
            (false, 11, "firstsecond".to_owned(), None),
            (false, 7, r#"{"n":1}"#.to_owned(), None),
        ]
    );
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_stream_is_slow_after_its_burst_on_request() {
    let gate = Gate::new("slow");
    gate.open();
    let slow = function("f").timeout(PATIENCE).stream_limit(StreamLimit { burst: 5, rate: 20 });
    let lambda = start(vec![slow]).await;
    let (sender, mut parts) = mpsc::channel(1);
    let event = Bytes::from(gate.event().to_string());
    let began = Instant::now();
    let invoked = lambda.invoke_streaming("f", event, InvokeOptions::default(), sender);
    let (result, text) = tokio::join!(invoked, async {
        let mut text = Vec::new();
        while let Some(part) = parts.recv().await {
            text.extend_from_slice(&part);
        }
        text
    });
    assert_eq!((result.unwrap().function_error, &*text), (None, &b"firstsecond"[..]));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    lambda.shutdown().await;
}

#[tokio::test]
async fn sdks_get_an_event_stream() {
    let (lambda, gate) = (lambda().await, Gate::new("sdk"));
    gate.open();
    let check = async |event: Value, parts: &[&str]| {
        let host = lambda.endpoint().trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&host).await.unwrap();
        let event = event.to_string();
        let head = format!(
            "POST /2021-11-15/functions/f/response-streaming-invocations HTTP/1.1\r\nhost: {host}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{event}",
            event.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let mut rest = answer.as_str();
        for part in parts {
            (_, rest) = rest.split_once(part).unwrap_or_else(|| panic!("{part:?} in {answer:?}"));
        }
    };
    let kind = "content-type: application/vnd.amazon.eventstream";
    check(gate.event(), &["200 OK", kind, "PayloadChunk", "first", "second", "InvokeComplete", "{}"]).await;
    check(json!({ "n": 1 }), &["200 OK", kind, "PayloadChunk", r#"{"n":1}"#, "InvokeComplete", "{}"]).await;
    let failed = json!({ "do": "error", "type": "Function.Bad" });
    check(
        failed,
        &["200 OK", "PayloadChunk", "Function.Bad", "InvokeComplete", r#""ErrorCode":"Unhandled""#],
    )
    .await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_response_that_is_too_large_is_refused() {
    let lambda = start(vec![function("f")]).await;
    let most = 6 * 1024 * 1024 + 100;
    let fits = invoke(&lambda, "f", json!({ "do": "big", "bytes": most })).await;
    assert_eq!((fits.payload.len(), fits.function_error), (most, None));
    until(&lambda, 1, frozen).await;
    let large = invoke(&lambda, "f", json!({ "do": "big", "bytes": most + 1 })).await;
    let expect = r#"{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size (6291557 bytes) exceeded maximum allowed payload size (6291556 bytes)."}"#;
    assert_eq!(large.payload, expect);
    until(&lambda, 2, frozen).await;
    let lines = story(&lambda);
    let told = r#"function: response 413 {"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}"#;
    assert!(lines.contains(&told.to_owned()), "{lines:#?}");
    lambda.shutdown().await;
}
