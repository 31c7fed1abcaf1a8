//! Bodies that are too large, not whole, no traces at all, or come a byte at a time: a clear answer, bounded memory,
//! and no other request hurt.

use std::time::Duration;

use intake::Intake;
use model::{Chunk, Span, SpanId, TraceId, UnixNanos};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::agent::{Agent, http, raw};
use crate::fake_lambda::{FakeLambda, PATIENCE, millis};
use crate::records::{delivery, runtime_done, start, traces};
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);
/// What the process may take unless told otherwise.
const MEMORY: usize = 64 << 20;

impl Agent {
    /// The most that it ever had in memory.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }
}

/// A trace whose spans are large enough that few of them make a large body.
fn trace(id: u64, spans: u64) -> Chunk {
    let now = UnixNanos::from_millis(u64::try_from(millis()).unwrap());
    let span = |n| {
        let (trace, own) = (TraceId::new(0, id).unwrap(), SpanId::new(id * 1000 + n).unwrap());
        let mut span = Span::new("work", trace, own, SpanId::new(id * 1000).filter(|_| n > 0));
        (span.service, span.start) = ("shop".into(), now);
        span.meta.insert("filler", format!("{id} {n} ").repeat(1000));
        span
    };
    Chunk { spans: (0..spans).map(span).collect() }
}

#[tokio::test]
async fn a_body_of_50_mib_is_taken_and_never_held_whole() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let chunks: Vec<Chunk> = (1..).map(|id| trace(id, 50)).take(155).collect();
    let mut body = wire::v04::encode(&chunks);
    assert!((45 << 20..50 << 20).contains(&body.len()), "{}", body.len());
    let sent = agent.put_traces(&body);
    // Others are answered meanwhile.
    let others = async {
        for id in 0..20 {
            assert_eq!(agent.put_traces(&traces(100 + id)).await.status, 200);
        }
    };
    let (answer, ()) = tokio::join!(sent, others);
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"rate_by_service":{}}"#));
    // With the last byte gone it is no body; what came before is known and not sent twice.
    body.pop();
    let answer = agent.put_traces(&body).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, r#"{"error":"the body ends too early"}"#));
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    assert!(agent.peak() < MEMORY, "{} bytes", agent.peak());
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let large = state.traces.iter().flat_map(|t| &t.spans).filter(|span| span.tag("filler").is_some());
    assert_eq!(large.filter(|span| span.copies == 1).count(), 155 * 50);
}

#[tokio::test]
async fn bodies_that_are_no_traces_hurt_nobody() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let garbage = |bytes: usize| -> Vec<u8> { (0..bytes).map(|n| (n * 131 % 251) as u8).collect() };
    for path in ["/v0.4/traces", "/v0.5/traces", "/v0.7/traces", "/v1.0/traces"] {
        // A small one is answered before it is looked at.
        assert_eq!(http(agent.ports.traces, "PUT", path, &[], &garbage(1000)).await.status, 200, "{path}");
        let too_large = http(agent.ports.traces, "PUT", path, &[], &vec![0x91; 200 << 20]).await;
        assert_eq!((too_large.status, too_large.body.as_str()), (413, r#"{"error":"too large"}"#), "{path}");
    }
    let answer = agent.put_traces(&garbage(20 << 20)).await;
    assert_eq!((answer.status, answer.body.contains("not an array of traces")), (400, true), "{answer:?}");
    let endless = [b"\x91\x91\x81\xa1k\xdb\xff\xff\xff\xff", &vec![b'x'; 40 << 20][..]].concat();
    assert_eq!(agent.put_traces(&endless).await.status, 413);
    // Cut off, with and without a length.
    let port = agent.ports.traces;
    for head in ["content-length: 5000000", "transfer-encoding: chunked"] {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.write_all(format!("PUT /v0.4/traces HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        tcp.write_all(b"10000\r\n\x91\x91").await.unwrap();
    }
    let chunked = b"PUT /v0.4/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n";
    assert!(raw(port, chunked).await.starts_with(b"HTTP/1.1 400"));
    assert_eq!(agent.put_traces(&traces(9)).await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "the span", |s| s.counts().spans == 1).await;
    assert!(agent.is_alive());
    assert!(agent.peak() < MEMORY, "{} bytes", agent.peak());
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let dropped = intake.store().snapshot().metrics;
    assert!(
        dropped.iter().any(|m| m.name.ends_with("extension.dropped") && m.tag("signal") == Some("traces"))
    );
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    let mut tcp = TcpStream::connect(("127.0.0.1", agent.ports.traces)).await.unwrap();
    tcp.write_all(b"PUT /v0.4/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n").await.unwrap();
    let (mut from, mut into) = tcp.split();
    let drips = async {
        let mut pace = interval(Duration::from_millis(500));
        loop {
            pace.tick().await;
            if into.write_all(b"\x91").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = [0; 12];
    let answered = async {
        tokio::select! {
            read = from.read_exact(&mut answer) => read.map(drop),
            () = drips => Ok(()),
        }
    };
    let others = async {
        for id in 1..21 {
            assert_eq!(agent.put_traces(&traces(id)).await.status, 200);
        }
    };
    let (answered, ()) = tokio::join!(timeout(PATIENCE + MINUTE, answered), others);
    answered.expect("no answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
