//! The process beside a real function in a local Lambda: with freezing, timeouts and a true order of records.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use intake::LogFilter;
use sandbox::{FunctionConfig, InvokeOptions, InvokeResult, Lambda, LambdaConfig, What};

use crate::fake_lambda::PATIENCE;
use crate::records::traces;
use crate::watched::Intake;
use crate::{arrives, to};

/// This test binary again, as the function.
fn function(intake: &Intake) -> FunctionConfig {
    let this = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let command =
        [&this, "--exact", "sandboxed::the_function", "--ignored", "--nocapture", "--test-threads=1"];
    let config = FunctionConfig::new("orders", command.map(str::to_owned))
        .extension(env!("CARGO_BIN_EXE_datadog-agent"))
        .timeout(Duration::from_secs(2))
        .env("DD_API_KEY", "0123456789abcdef0123456789abcdef");
    to(&intake.url()).into_iter().fold(config, |config, (name, value)| config.env(name, value))
}

async fn invoke(lambda: &Lambda, event: &'static str) -> InvokeResult {
    let answer = lambda.invoke("orders", event.into(), InvokeOptions::default());
    tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap()
}

/// Waits for the end of all that was invoked: Lambda ends no sandbox before.
async fn until_frozen(lambda: &Lambda) {
    let mut watch = lambda.watch();
    let frozen = async {
        while !lambda.timeline().last().is_some_and(|event| event.what == What::Frozen) {
            watch.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, frozen).await.unwrap();
}

fn total(state: &intake::State, name: &str) -> u64 {
    let name = format!("aws.lambda.enhanced.{name}");
    state.metrics(&name).iter().filter(|m| m.name == name).map(|m| m.total.count()).sum()
}

#[tokio::test]
async fn two_invocations_give_all_that_they_should_once() {
    let intake = Intake::start().await.unwrap();
    let lambda = Lambda::start(vec![function(&intake)], LambdaConfig::default()).await.unwrap();
    for event in [r#"{"span":1}"#, r#"{"span":2}"#] {
        let answer = invoke(&lambda, event).await;
        assert_eq!((answer.status, &answer.payload[..]), (200, event.as_bytes()), "{:#?}", lambda.timeline());
    }
    arrives(&intake, "two spans", |s| s.counts().spans >= 2).await;
    until_frozen(&lambda).await;
    lambda.shutdown().await;
    // The last report is there at the end of the sandbox at the latest.
    arrives(&intake, "two reports", |s| total(s, "duration") == 2).await;
    let state = intake.store().snapshot();
    intake.store().read(|s| {
        let names = ["invocations", "billed_duration", "runtime_duration", "max_memory_used"];
        for name in names {
            assert_eq!(total(s, name), 2, "{name}");
        }
        assert_eq!(total(s, "init_duration"), 1);
        let logs = s.logs(&LogFilter::default());
        let ids: Vec<_> =
            logs.iter().filter(|l| l.message.contains("working")).map(|l| &l.request_id).collect();
        assert!(ids.len() == 2 && ids[0].is_some() && ids[0] != ids[1], "{logs:#?}");
    });
    let work = state.traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work");
    assert_eq!(work.map(|s| (s.span_id.get(), s.copies)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    assert_eq!(state.counts.failed_requests, 0);
}

#[tokio::test]
async fn a_timeout_still_gives_its_metrics_and_logs() {
    let intake = Intake::start().await.unwrap();
    let lambda = Lambda::start(vec![function(&intake)], LambdaConfig::default()).await.unwrap();
    let answer = invoke(&lambda, r#"{"hang":true}"#).await;
    assert!(answer.function_error.is_some(), "{answer:?}");
    arrives(&intake, "its log line", |s| {
        s.logs(&LogFilter::default()).iter().any(|l| l.message.contains("working") && l.request_id.is_some())
    })
    .await;
    arrives(&intake, "the invocation", |s| total(s, "invocations") == 1 && total(s, "timeouts") == 1).await;
    lambda.shutdown().await;
}

#[tokio::test]
async fn a_dead_intake_does_not_change_answers() {
    let intake = Intake::start().await.unwrap();
    let config = function(&intake).env("DD_FLUSH_TIMEOUT", "0.3");
    intake.stop();
    let lambda = Lambda::start(vec![config], LambdaConfig::default()).await.unwrap();
    for _ in 0..3 {
        let answer = invoke(&lambda, r#"{"span":1}"#).await;
        assert_eq!((answer.status, answer.function_error), (200, None));
    }
    lambda.shutdown().await;
}

/// Not a test: the function of the tests above, a runtime of its own.
#[test]
#[ignore = "run by the tests of this file, as a process of its own"]
fn the_function() {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let traces_port = std::env::var("DD_APM_RECEIVER_PORT").unwrap();
    let base = "/2018-06-01/runtime/invocation";
    loop {
        let (head, event) = call(&api, "GET", &format!("{base}/next"), b"");
        let id = head.lines().find_map(|line| line.strip_prefix("lambda-runtime-aws-request-id: ")).unwrap();
        println!("working on {event}");
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        if event["hang"] == true {
            std::thread::park();
        }
        let span = event["span"].as_u64().unwrap();
        call(&format!("127.0.0.1:{traces_port}"), "PUT", "/v0.4/traces", &traces(span));
        call(&api, "POST", &format!("{base}/{id}/response"), event.to_string().as_bytes());
    }
}

/// One request; the answer's head in lower case, and its body.
fn call(address: &str, method: &str, path: &str, body: &[u8]) -> (String, String) {
    let mut tcp = TcpStream::connect(address).unwrap();
    write!(tcp, "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
    tcp.write_all(body).unwrap();
    let mut reader = BufReader::new(tcp);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "the connection ends");
    }
    let head = head.to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}
