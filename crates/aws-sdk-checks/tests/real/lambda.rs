//! Lambda: the client context of a call. moto runs functions in Docker only, so the call goes to a listener of ours;
//! what reads it is AWS's runtime client and Datadog's library.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use datadog_aws_sdk::client;
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};

use crate::world::{Caller, ids, python_with, sdk_config};

/// Answers one request, and gives it.
pub(crate) fn listener(body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let n = stream.read(&mut part).unwrap();
            assert!(n > 0, "no whole request came");
            bytes.extend_from_slice(&part[..n]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, got)) = text.split_once("\r\n\r\n")
                && got.len() >= header(head, "content-length").map_or(0, |n| n.parse().unwrap())
            {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
                .unwrap();
                return text;
            }
        }
    });
    (address, served)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The client context as the invoked function is given it.
fn check(request: &str, caller: &Caller, name: &str) {
    let value = header(request, "x-amz-client-context").unwrap();
    let context: Value = serde_json::from_slice(&BASE64_STANDARD.decode(value).unwrap()).unwrap();
    let ours = trigger::client_context(&context["custom"], &trigger::Settings::default()).and_then(ids);
    assert_eq!(ours, Some(caller.ids(name)));
    assert_eq!(python_with(&json!({"order": 17}), &context), Some(caller.ids(name)));
    crate::chain::check(&json!({"order": 17}), Some(&context), caller.ids(name));
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn lambda_invoke() {
    let (address, served) = listener("{}");
    let caller = Caller::new();
    let lambda = client!(aws_sdk_lambda, &sdk_config().to_builder().endpoint_url(address).build());
    lambda.invoke().function_name("f").send().with_context(caller.context.clone()).await.unwrap();
    check(&served.join().unwrap(), &caller, "Lambda.Invoke");
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn lambda_invoke_with_response_stream() {
    let (address, served) = listener("");
    let caller = Caller::new();
    let lambda = client!(aws_sdk_lambda, &sdk_config().to_builder().endpoint_url(address).build());
    let invoke = lambda.invoke_with_response_stream().function_name("f").send();
    // What it answers is no event stream: the request counts.
    invoke.with_context(caller.context.clone()).await.ok();
    check(&served.join().unwrap(), &caller, "Lambda.InvokeWithResponseStream");
}
