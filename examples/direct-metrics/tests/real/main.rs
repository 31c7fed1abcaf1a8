//! The real function and the key in all the places that it may be in, of an AWS that checks signatures and
//! permissions. Not in a local Lambda, since the function's role has to be one that this AWS knows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(dead_code, reason = "shared with the extension's tests, which use all of it")]

#[path = "../../../../crates/secrets/tests/aws/mod.rs"]
mod aws;
#[path = "../../../../crates/extension/tests/process/cloud.rs"]
mod cloud;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

use aws::{Aws, KEY};
use cloud::Cloud;

const PATH: &str = "/api/v1/distribution_points";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the function over one event, until it asks for another; gives what it printed.
async fn live(aws: &Aws, role: &BTreeMap<String, String>, way: (&str, &str), cloud: &Cloud) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (ended, mut end) = mpsc::unbounded_channel();
    let api = tokio::spawn(serve(listener, ended));
    let mut command = Command::new(env!("CARGO_BIN_EXE_direct-metrics"));
    command.env_clear().envs(aws.variables(role, way.0, way.1)).env("DD_DD_URL", &cloud.url);
    command.envs([("AWS_REGION", "eu-west-1"), ("AWS_LAMBDA_FUNCTION_NAME", "orders")]);
    command.envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")]);
    command.env("AWS_LAMBDA_RUNTIME_API", address).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    tokio::time::timeout(PATIENCE, end.recv()).await.expect("the function asks for another event");
    child.start_kill().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).await.unwrap();
    child.wait().await.unwrap();
    api.abort();
    printed
}

/// The Runtime API: one event; the request for a second one is the end.
async fn serve(listener: TcpListener, ended: mpsc::UnboundedSender<()>) {
    let (asked, ended) = (std::sync::atomic::AtomicUsize::new(0), &ended);
    let asked = &asked;
    while let Ok((tcp, _)) = listener.accept().await {
        let service = service_fn(|request: Request<Incoming>| async move {
            if !request.uri().path().ends_with("/invocation/next") {
                let _ = request;
                return Ok::<_, Infallible>(Response::builder().status(202).body(Full::default()).unwrap());
            }
            if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
                let _ = ended.send(());
                std::future::pending::<()>().await;
            }
            let deadline = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let response = Response::builder()
                .header("lambda-runtime-aws-request-id", "r-1")
                .header("lambda-runtime-deadline-ms", (deadline.as_millis() + 60_000).to_string())
                .header(
                    "lambda-runtime-invoked-function-arn",
                    "arn:aws:lambda:eu-west-1:123456789012:function:orders",
                );
            Ok(response.body(Full::new(Bytes::from_static(b"{}"))).unwrap())
        });
        // The runtime's client uses one connection at a time.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
    }
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn every_way_leads_to_the_key() {
    let aws = Aws::start();
    assert_eq!(aws.ways.len(), 9);
    let plain = ("a plain key".to_owned(), "DD_API_KEY".to_owned(), KEY.to_owned());
    for (name, variable, value) in aws.ways.iter().chain([&plain]) {
        let cloud = Cloud::start(&[], KEY).await;
        let printed = live(&aws, &aws.allowed, (variable, value), &cloud).await;
        cloud.until(name, |cloud| !cloud.taken(PATH).is_empty()).await;
        assert!(!printed.contains(r#""m":"orders.received""#), "{name}: {printed}");
        assert!(!printed.contains("DD_"), "{name}: {printed}");
    }
}

/// Nothing is lost: what there is no key for is printed.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn a_role_that_may_not_is_told_and_the_metrics_are_printed() {
    let aws = Aws::start();
    for (name, variable, value) in &aws.ways {
        let cloud = Cloud::start(&[], KEY).await;
        let printed = live(&aws, &aws.denied, (variable, value), &cloud).await;
        assert!(cloud.taken(PATH).is_empty(), "{name}");
        assert!(printed.contains(&format!("{variable}: ")), "{name}: {printed}");
        assert!(printed.contains(r#"{"m":"orders.received","v":1.0,"#), "{name}: {printed}");
    }
}
