//! Bodies that are too large, not whole, no traces at all, or come a byte at a time: a clear answer, bounded memory,
//! and no other request hurt.

use std::time::Duration;

use model::{Chunk, Span, SpanId, Tags, TraceId, TracerInfo, UnixNanos};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::agent::{Agent, http, raw};
use crate::fake_lambda::{FakeLambda, PATIENCE, millis};
use crate::records::{delivery, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);
const PATHS: [&str; 4] = ["/v0.4/traces", "/v0.5/traces", "/v0.7/traces", "/v1.0/traces"];
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
        if n == 0 {
            span.metrics.insert("_sampling_priority_v1", 1.0);
        }
        span
    };
    Chunk { spans: (0..spans).map(span).collect() }
}

/// How many spans are in a large body.
const SPANS: u64 = 155 * 50;

fn chunks() -> Vec<Chunk> {
    (1..).map(|id| trace(id, 50)).take(155).collect()
}

/// Puts a body of almost 50 MiB, and the same without its last byte. All spans arrive, each once.
async fn is_taken(path: &str, headers: &[(&str, &str)], mut body: Vec<u8>, too_short: &str) {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let sent = http(agent.ports.traces, "PUT", path, headers, &body);
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
    let answer = http(agent.ports.traces, "PUT", path, headers, &body).await;
    assert_eq!((answer.status, answer.body), (400, format!(r#"{{"error":"{too_short}"}}"#)));
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    // The end of an invocation waits only so long for what is there: the next ones take the rest with them.
    for n in 2..30 {
        if intake.store().read(|s| s.counts().spans >= SPANS + 20) {
            break;
        }
        let id = format!("r-{n}");
        lambda.invoke(&id, MINUTE);
        agent.telemetry(&delivery(&[start(&id), runtime_done(&id)])).await;
        lambda.asked(n + 1).await;
    }
    arrives(&intake, "all of it", |s| s.counts().spans >= SPANS + 20).await;
    assert!(agent.peak() < MEMORY, "{} bytes", agent.peak());
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let large = state.traces.iter().flat_map(|t| &t.spans).filter(|span| span.tag("filler").is_some());
    let copies: Vec<_> = large.map(|span| span.copies).collect();
    let once = copies.iter().filter(|copies| **copies == 1).count() as u64;
    assert_eq!((once, copies.len() as u64), (SPANS, SPANS), "{}", agent.printed());
}

fn is_large(body: &[u8]) {
    assert!((45 << 20..50 << 20).contains(&body.len()), "{}", body.len());
}

#[tokio::test]
async fn a_body_of_50_mib_is_taken_and_never_held_whole() {
    let body = wire::v04::encode(&chunks());
    is_large(&body);
    is_taken("/v0.4/traces", &[], body, "the body ends too early").await;
}

/// A quarter of it are texts, which have to be kept until the end; the rest are fields that nobody knows.
#[tokio::test]
async fn a_body_of_50_mib_with_its_texts_ahead_is_taken() {
    let now = u64::try_from(millis()).unwrap() * 1_000_000;
    let mut body = b"\x92\xdd".to_vec();
    let count = |n: u64| u32::try_from(n).unwrap().to_be_bytes();
    body.extend(count(4 + SPANS));
    body.extend(b"\xa4shop\xa4work\xa6filler\xb5_sampling_priority_v1");
    for n in 0..SPANS {
        body.extend([b"\xdb", &count(1600)[..], format!("{n:0>1600}").as_bytes()].concat());
    }
    body.extend([b"\xdd", &count(155)[..]].concat());
    for n in 0..SPANS {
        if n % 50 == 0 {
            body.extend([b"\xdd", &count(50)[..]].concat());
        }
        let id = |id: u64| [b"\xcf", &id.to_be_bytes()[..]].concat();
        let ids = [id(n / 50 + 1), id(n + 1), id(0), id(now)].concat();
        let meta = [b"\x81\x02\xce", &count(4 + n)[..]].concat();
        let metrics: &[u8] = if n % 50 == 0 { b"\x81\x03\x01" } else { b"\x80" };
        body.extend(
            [b"\x9d\x00\x01\x01", &ids[..], b"\x05\x00", &meta, metrics, b"\x00\xc6", &count(4700)].concat(),
        );
        body.resize(body.len() + 4700, 0);
    }
    is_large(&body);
    is_taken("/v0.5/traces", &[], body, "the body ends too early").await;
}

#[tokio::test]
async fn a_body_of_50_mib_of_maps_is_taken() {
    let tracer = TracerInfo { language: "go".into(), ..TracerInfo::default() };
    let body = wire::v07::encode(&tracer, &Tags::new(), &chunks());
    is_large(&body);
    is_taken("/v0.7/traces", &[], body, "the body ends too early").await;
}

#[tokio::test]
async fn a_body_of_50_mib_that_names_texts_by_number_is_taken() {
    let mut chunks = chunks();
    for (n, span) in chunks.iter_mut().flat_map(|chunk| &mut chunk.spans).enumerate() {
        span.meta.insert("filler", format!("{n:0>1600}"));
        span.meta_struct.insert("more", vec![0; 4700]);
    }
    let body = wire::v1::encode(&TracerInfo::default(), &chunks);
    is_large(&body);
    is_taken("/v1.0/traces", &[], body, "the body ends too early").await;
}

#[tokio::test]
async fn packed_bodies_that_unpack_to_50_mib_are_taken() {
    let plain = wire::v04::encode(&chunks());
    is_large(&plain);
    let why = "the body is not what its content encoding says";
    let zstd = payload::compress(&plain, payload::Encoding::Zstd).body.into_owned();
    assert!(zstd.len() < plain.len() / 4);
    is_taken("/v0.4/traces", &[("content-encoding", "zstd")], zstd, why).await;
    let gzip = payload::compress(&plain, payload::Encoding::Gzip).body.into_owned();
    is_taken("/v0.4/traces", &[("content-encoding", "gzip")], gzip, why).await;
}

#[tokio::test]
async fn bodies_that_are_no_traces_hurt_nobody() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let garbage = |bytes: usize| -> Vec<u8> { (0..bytes).map(|n| (n * 131 % 251) as u8).collect() };
    for path in PATHS {
        // A small one is answered before it is looked at.
        assert_eq!(http(agent.ports.traces, "PUT", path, &[], &garbage(1000)).await.status, 200, "{path}");
        let too_large = http(agent.ports.traces, "PUT", path, &[], &vec![0x91; 200 << 20]).await;
        assert_eq!((too_large.status, too_large.body.as_str()), (413, r#"{"error":"too large"}"#), "{path}");
    }
    for path in PATHS {
        let answer = http(agent.ports.traces, "PUT", path, &[], &garbage(20 << 20)).await;
        assert_eq!(
            (answer.status, answer.body.contains("not an array of traces")),
            (400, true),
            "{answer:?}"
        );
        let port = agent.ports.traces;
        let packed = |encoding, body: Vec<u8>| async move {
            let headers = [("content-encoding", encoding)];
            http(port, "PUT", path, &headers, &body).await.status
        };
        let bomb = payload::compress(&vec![0; 100 << 20], payload::Encoding::Zstd).body.into_owned();
        assert_eq!(packed("gzip", garbage(1000)).await, 400, "{path}");
        assert_eq!(packed("zstd", garbage(1 << 20)).await, 400, "{path}");
        assert_eq!(packed("br", garbage(1000)).await, 415, "{path}");
        assert_eq!(packed("zstd", bomb.repeat(2)).await, 400, "{path}");
    }
    // What is one long text, or one array without an end.
    let bomb = [b"\x91\x91\x81\xa1k\xdb\x06\x00\x00\x00", &vec![b'x'; 90 << 20][..]].concat();
    let bomb = payload::compress(&bomb, payload::Encoding::Zstd).body.into_owned();
    let answer =
        http(agent.ports.traces, "PUT", "/v0.4/traces", &[("content-encoding", "zstd")], &bomb).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let many = [b"\x92\xdd\x7f\xff\xff\xff", &vec![0xa0; 40 << 20][..]].concat();
    let answer = http(agent.ports.traces, "PUT", "/v0.5/traces", &[], &many).await;
    assert_eq!((answer.status, answer.body.contains("more texts than are kept")), (413, true), "{answer:?}");
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
    let port = agent.ports.traces;
    let all = PATHS.map(|path| tokio::spawn(async move { (path, dripped(port, path).await) }));
    for id in 1..21 {
        assert_eq!(agent.put_traces(&traces(id)).await.status, 200);
    }
    for one in all {
        let (path, answer) = one.await.unwrap();
        assert_eq!(answer, "HTTP/1.1 408", "{path}");
    }
}

/// How an answer begins to a body that comes two bytes a second.
async fn dripped(port: u16, path: &str) -> String {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut into) = tcp.split();
    let drips = async {
        let mut pace = interval(Duration::from_millis(500));
        // What each protocol can begin with.
        let byte = if path.contains("v0.7") || path.contains("v1") { b"\x8f" } else { b"\x92" };
        loop {
            pace.tick().await;
            if into.write_all(byte).await.is_err() {
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
    timeout(PATIENCE + MINUTE, answered).await.expect("no answer").unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}
