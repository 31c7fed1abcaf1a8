//! How the process starts: in which order, and what a bad surrounding does to it.

use std::time::Duration;

use crate::agent::{Agent, http, raw};
use crate::fake_lambda::{FakeLambda, NEXT, REGISTER, SUBSCRIBE};
use crate::ports::Ports;
use crate::to;
use crate::watched::Intake;

#[tokio::test]
async fn it_registers_subscribes_and_asks_for_the_first_event() {
    let lambda = FakeLambda::start().await;
    let mut agent = Agent::start(&lambda, &[]);
    lambda.asked(1).await;
    let calls = lambda.calls();
    let lines: Vec<_> = calls.iter().map(|call| call.line.as_str()).collect();
    assert_eq!(lines, [REGISTER, SUBSCRIBE, NEXT]);

    let header =
        |n: usize, name: &str| calls[n].headers.iter().find(|(h, _)| h == name).map(|(_, v)| v.as_str());
    assert_eq!(header(0, "lambda-extension-name"), Some("datadog-agent"));
    assert_eq!(header(0, "lambda-extension-accept-feature"), Some("accountId"));
    assert_eq!(calls[0].body, r#"{"events":["INVOKE","SHUTDOWN"]}"#);
    assert_eq!(header(1, "lambda-extension-identifier"), Some("ext-1"));
    assert_eq!(header(2, "lambda-extension-identifier"), Some("ext-1"));
    let subscription: serde_json::Value = serde_json::from_str(&calls[1].body).unwrap();
    assert_eq!(
        subscription,
        serde_json::json!({
            "schemaVersion": "2022-12-13",
            "types": ["platform", "function", "extension"],
            "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25},
            "destination": {
                "protocol": "HTTP", "URI": format!("http://sandbox.localdomain:{}/", agent.ports.telemetry)
            }
        })
    );
    assert!(agent.is_alive());
    assert_eq!(agent.printed(), "");
}

#[tokio::test]
async fn without_logs_it_subscribes_to_the_platform_alone() {
    let lambda = FakeLambda::start().await;
    let _agent = Agent::start(&lambda, &[("DD_SERVERLESS_LOGS_ENABLED", "false")]);
    lambda.asked(1).await;
    assert!(lambda.calls()[1].body.contains(r#""types":["platform"]"#), "{:?}", lambda.calls());
}

#[tokio::test]
async fn bad_settings_are_told_and_not_fatal() {
    let lambda = FakeLambda::start().await;
    let variables = [
        ("DD_SITE", "not a site"),
        ("DD_DD_URL", "ftp://x"),
        ("DD_FLUSH_TIMEOUT", "soon"),
        ("DD_API_KEY", "very\u{7f}secret"),
        ("DD_TAGS", "nonsense"),
    ];
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    assert!(agent.is_alive());
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    for (name, _) in variables {
        assert_eq!(printed.matches(&format!("| WARN | {name}: ")).count(), 1, "{name} in\n{printed}");
    }
    assert!(!printed.contains("secret"), "{printed}");
    for line in printed.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let level = line["status"].as_str().unwrap();
        assert!(
            line["message"].as_str().unwrap().starts_with(&format!("DD_EXTENSION | {level} | ")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_taken_port_turns_one_source_off() {
    let lambda = FakeLambda::start().await;
    let ports = Ports::free();
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports.traces)).unwrap();
    let also_taken = std::net::UdpSocket::bind(("127.0.0.1", ports.dogstatsd)).unwrap();
    let mut agent = Agent::start_on(&lambda, ports, &[]);
    lambda.asked(1).await;
    assert_eq!(http(ports.lifecycle, "GET", "/lambda/hello", &[], b"").await.body, "{}");
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    assert!(printed.contains("DD_APM_RECEIVER_PORT") && printed.contains("DD_DOGSTATSD_PORT"), "{printed}");
    drop((taken, also_taken));
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_not_fatal() {
    let lambda = FakeLambda::start().await;
    lambda.refuse_telemetry();
    let mut agent = Agent::start(&lambda, &[]);
    lambda.asked(1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert!(
        agent.printed().contains("no telemetry: it answers 400 Bad Request: ValidationError no"),
        "{}",
        agent.printed()
    );
}

#[tokio::test]
async fn without_lambda_it_says_so() {
    let lambda = FakeLambda::start().await;
    let mut agent = Agent::start(&lambda, &[("AWS_LAMBDA_RUNTIME_API", "")]);
    assert_eq!(agent.ended().await.code(), Some(1));
    assert!(agent.printed().contains("AWS_LAMBDA_RUNTIME_API is not set"), "{}", agent.printed());
}

#[tokio::test]
async fn an_extensions_api_that_is_gone_is_an_end_and_not_a_crash() {
    let lambda = FakeLambda::start().await;
    let mut agent = Agent::start(&lambda, &[]);
    lambda.asked(1).await;
    lambda.refuse_next();
    assert_eq!(agent.ended().await.code(), Some(0));
    assert!(agent.printed().contains("gives no events any more"), "{}", agent.printed());
}

#[tokio::test]
async fn garbage_on_every_port_does_not_end_it() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    let ports = agent.ports;
    let noise: Vec<u8> = (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for port in [ports.traces, ports.lifecycle, ports.telemetry] {
        raw(port, &noise).await;
        raw(port, b"GET / HTTP/9.9\r\n\r\n").await;
        raw(port, b"POST / HTTP/1.1\r\ncontent-length: 18446744073709551615\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(http(port, "GET", "/nothing/here", &[], b"").await.status, 404);
    }
    for path in ["/lambda/start-invocation", "/lambda/end-invocation"] {
        for body in [&noise[..], b"", b"[1,2", b"\"text\"", b"{\"headers\":7,\"Records\":[null]}"] {
            assert_eq!(
                http(ports.lifecycle, "POST", path, &[("x-datadog-trace-id", "-1")], body).await.status,
                200
            );
        }
    }
    for body in [&noise[..], b"", b"\xc1", b"\x93\x01\x02\x03", b"\xdd\xff\xff\xff\xff"] {
        assert_eq!(agent.put_traces(body).await.status, 200);
    }
    for body in
        [&noise[..], b"", b"{}", b"[1,null,{}]", br#"[{"time":"x","type":"platform.new","record":{}}]"#]
    {
        assert_eq!(http(ports.telemetry, "POST", "/", &[], body).await.status, 200);
    }
    for line in ["", "x", ":|", "a:b|c", "_e{1,1}:a|b", "a:1|c|@0", "\u{0}\u{1}"] {
        agent.metric(line);
    }
    assert_eq!(http(ports.traces, "GET", "/info", &[], b"").await.status, 200);
    assert!(agent.is_alive());
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.is_alive() || agent.ended().await.success());
}
