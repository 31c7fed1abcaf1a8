//! The edge of the intake as Datadog's is: TLS and both versions of HTTP, every encoding, keys, limits of rate, refused
//! connections, and what strict mode says of what arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use intake::{Fault, FaultKind, Intake, Limits, RateLimit, Settings};
use model::{Batch, Series, SeriesKind, UnixNanos};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(settings: Settings) -> Intake {
    Intake::start_with(([127, 0, 0, 1], 0).into(), settings).await.unwrap()
}

fn now() -> UnixNanos {
    UnixNanos::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let host = format!("http://127.0.0.1{path}");
    let request =
        headers.iter().fold(Request::builder().method(method).uri(host), |b, (k, v)| b.header(*k, *v));
    request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()
}

type Connection = Box<dyn Both>;

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

async fn connect(intake: &Intake) -> TcpStream {
    let url = intake.url();
    TcpStream::connect(url.split("://").nth(1).unwrap()).await.unwrap()
}

/// Speaks TLS, trusts that authority alone, offers these protocols; gives the one agreed on.
async fn secure(intake: &Intake, authority: &str, offered: &[&str]) -> std::io::Result<(Connection, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|one| one.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, connect(intake).await).await?;
    let agreed = stream.get_ref().1.alpn_protocol().map(|one| String::from_utf8(one.to_vec()).unwrap());
    Ok((Box::new(stream), agreed.unwrap_or_default()))
}

async fn over(stream: Connection, version: Version, request: Request<Full<Bytes>>) -> (u16, Value) {
    let io = TokioIo::new(stream);
    let answer = async {
        match version {
            Version::HTTP_2 => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                let task = tokio::spawn(connection);
                let answer = read(sender.send_request(request).await.unwrap()).await;
                task.abort();
                answer
            }
            _ => {
                let (mut sender, connection) = http1::handshake(io).await.unwrap();
                let task = tokio::spawn(connection);
                let answer = read(sender.send_request(request).await.unwrap()).await;
                task.abort();
                answer
            }
        }
    };
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
}

async fn read(answer: Response<hyper::body::Incoming>) -> (u16, Value) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Without TLS, over HTTP/1.1.
async fn call(
    intake: &Intake,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Value) {
    over(Box::new(connect(intake).await), Version::HTTP_11, request(method, path, headers, body)).await
}

const LOGS: [(&str, &str); 2] = [("dd-api-key", KEY), ("content-type", "application/json")];
const LOG: &[u8] = br#"[{"message":"hi","ddsource":"lambda","service":"orders"}]"#;

#[tokio::test]
async fn both_versions_of_http_are_spoken_with_and_without_tls() {
    let secured = start(Settings { tls: true, ..Settings::default() }).await;
    assert!(secured.url().starts_with("https://127.0.0.1:"));
    let authority = secured.authority().unwrap().to_owned();
    let log = || request("POST", "/api/v2/logs", &LOGS, LOG);
    for (offered, agreed, version) in [
        (&["h2", "http/1.1"][..], "h2", Version::HTTP_2),
        (&["http/1.1"], "http/1.1", Version::HTTP_11),
        (&[], "", Version::HTTP_11),
    ] {
        let (stream, found) = secure(&secured, &authority, offered).await.unwrap();
        assert_eq!(found, agreed);
        assert_eq!(over(stream, version, log()).await.0, 202, "{offered:?}");
    }
    assert_eq!(secured.store().snapshot().counts.logs, 3);

    // Of another run it is another authority; without TLS there is no answer.
    let other = start(Settings { tls: true, ..Settings::default() }).await;
    let why = secure(&secured, other.authority().unwrap(), &[]).await.err().unwrap().to_string();
    assert!(why.contains("invalid peer certificate"), "{why}");
    let mut plain = connect(&secured).await;
    plain.write_all(b"GET /local/state HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    let plain = start(Settings::default()).await;
    assert_eq!(plain.authority(), None);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(over(Box::new(connect(&plain).await), version, log()).await.0, 202);
    }
    assert_eq!(plain.store().snapshot().counts.logs, 2);
}

#[tokio::test]
async fn every_encoding_is_taken_and_another_is_not() {
    let intake = start(Settings::default()).await;
    // The same two log entries, as zlib and as gzip write them without squeezing: a stored block.
    let stored = |text: &[u8]| {
        let length = u16::try_from(text.len()).unwrap();
        [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), text].concat()
    };
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in LOG {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let zlib = [&[0x78, 0x01][..], &stored(LOG), &(b << 16 | a).to_be_bytes()].concat();
    let [gzip, zstd] = [payload::Encoding::Gzip, payload::Encoding::Zstd]
        .map(|encoding| payload::compress(LOG, encoding).body.into_owned());
    for path in ["/api/v2/logs", "/v1/input"] {
        let want = if path == "/v1/input" { 200 } else { 202 };
        for (encoding, body, status) in [
            ("identity", LOG, want),
            ("gzip", &gzip, want),
            ("deflate", &zlib, want),
            ("zstd", &zstd, want),
            ("br", LOG, 415),
            ("gzip", LOG, 400),
        ] {
            let headers = [LOGS[0], LOGS[1], ("content-encoding", encoding)];
            assert_eq!(call(&intake, "POST", path, &headers, body).await.0, status, "{path} {encoding}");
        }
    }
    let state = intake.store().snapshot();
    assert_eq!(state.counts.logs, 8);
    let rules: Vec<_> = state.violations.iter().map(|one| one.rule).collect();
    let [other, broken] = [["content-encoding", "body"].as_slice(), &["body"]];
    assert_eq!(rules, [other, broken, other, broken].concat());
}

#[tokio::test]
async fn keys_that_are_not_good_are_refused() {
    let keys = vec![KEY.to_owned()];
    let intake = start(Settings { keys, ..Settings::default() }).await;
    let other = [("dd-api-key", "ffffffffffffffffffffffffffffffff"), LOGS[1]];
    for (path, method) in [("/api/v2/logs", "POST"), ("/api/v1/validate", "GET")] {
        let body = if method == "POST" { LOG } else { b"" };
        assert_eq!(call(&intake, method, path, &other, body).await.0, 403, "{path}");
        assert!(call(&intake, method, path, &LOGS, body).await.0 < 300, "{path}");
    }
    let said = intake.store().snapshot().requests[0].error.clone().unwrap();
    assert!(said.contains("key") && !said.contains("ffff"), "{said}");
}

#[tokio::test]
async fn more_requests_than_the_limit_are_told_when_to_come_again() {
    let intake = start(Settings::default()).await;
    // A period that does not end while this runs, whenever it does: as long as there is time.
    let period = u64::from(u32::MAX);
    let limit = json!({ "requests": 2, "period_secs": period, "path": "/api/v2/" });
    let (status, _) = call(&intake, "PUT", "/local/rate", &[], limit.to_string().as_bytes()).await;
    assert_eq!(status, 200);
    assert_eq!(call(&intake, "GET", "/local/rate", &[], b"").await.1, limit);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&intake).await;
        let length = LOG.len();
        let head = format!(
            "POST /api/v2/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ndd-api-key: {KEY}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), LOG].concat()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let header = |name: &str| {
            let line = answer.lines().find_map(|line| line.strip_prefix(&format!("x-ratelimit-{name}: ")));
            line.unwrap_or_else(|| panic!("{name}: {answer}")).to_owned()
        };
        assert_eq!(
            (header("limit"), header("period"), header("name")),
            ("2".into(), period.to_string(), "local".into())
        );
        assert!(header("reset").parse::<u64>().unwrap() <= period);
        answers.push((answer.split(' ').nth(1).unwrap().to_owned(), header("remaining")));
    }
    let want = [("202", "1"), ("202", "0"), ("429", "0")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(answers, want);
    // Another path is not meant; a limit that is taken away is none.
    assert_eq!(call(&intake, "POST", "/v1/input", &LOGS, LOG).await.0, 200);
    assert_eq!(call(&intake, "DELETE", "/local/rate", &[], b"").await.0, 204);
    assert_eq!(call(&intake, "POST", "/api/v2/logs", &LOGS, LOG).await.0, 202);
    assert_eq!(intake.store().snapshot().counts.logs, 4);
    for wrong in ["", "{}", r#"{"requests":1,"period_secs":0}"#] {
        assert_eq!(call(&intake, "PUT", "/local/rate", &[], wrong.as_bytes()).await.0, 400, "{wrong}");
    }
    intake.limit_rate(Some(RateLimit { requests: 0, period: Duration::from_secs(period), path: None }));
    assert_eq!(call(&intake, "POST", "/api/v2/logs", &LOGS, LOG).await.0, 429);
}

#[tokio::test]
async fn a_connection_may_be_refused() {
    let intake = start(Settings::default()).await;
    intake.fail(Fault { signal: None, kind: FaultKind::Refuse, count: 2 });
    for _ in 0..2 {
        let mut stream = connect(&intake).await;
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(ended.is_err() || answer.is_empty(), "{answer:?}");
    }
    assert_eq!(call(&intake, "POST", "/api/v2/logs", &LOGS, LOG).await.0, 202);
    // Nothing was read, so there was no request.
    assert_eq!(intake.store().snapshot().counts.requests, 1);
    let asked = |body: &'static str| call(&intake, "POST", "/local/faults", &[], body.as_bytes());
    assert_eq!(asked(r#"{"refuse":true,"path":"/x"}"#).await.0, 400);
    assert_eq!(asked(r#"{"refuse":true,"probability":0.5,"count":3}"#).await.0, 201);
    // Every second one: this is the first.
    let (status, faults) = call(&intake, "GET", "/local/faults", &[], b"").await;
    assert_eq!((status, &faults[0]["refuse"], &faults[0]["count"]), (200, &true.into(), &3.into()));
}

/// As our own extension packs it.
async fn send(intake: &Intake, batch: &Batch) -> u16 {
    let endpoint = payload::endpoint(batch.signal());
    let plain = payload::encode(batch);
    let packed = payload::compress(&plain, payload::Encoding::Zstd);
    let headers =
        [("dd-api-key", KEY), ("content-encoding", "zstd"), ("content-type", endpoint.content_type)];
    call(intake, "POST", endpoint.path, &headers, &packed.body).await.0
}

fn count(value: f64, time: UnixNanos) -> Batch {
    let (tags, points) = (vec!["env:test".into()], vec![(time, value)]);
    let name = "orders.made".into();
    Batch::Series(vec![Series { name, kind: SeriesKind::Count, tags, points, interval_secs: Some(10) }])
}

#[tokio::test]
async fn what_is_not_as_datadog_wants_it_is_listed() {
    let intake = start(Settings::default()).await;
    let time = now();
    assert_eq!(send(&intake, &count(3.0, time)).await, 202);
    assert_eq!(call(&intake, "POST", "/api/v2/logs", &LOGS, LOG).await.0, 202);
    assert_eq!(intake.store().snapshot().violations, []);

    // Far too old; and the same second again, which loses what was counted first.
    assert_eq!(send(&intake, &count(1.0, UnixNanos::from_secs(1))).await, 202);
    assert_eq!(send(&intake, &count(4.0, time)).await, 202);
    assert_eq!(call(&intake, "POST", "/api/v2/logs", &LOGS[..1], b"[{}]").await.0, 202);
    let (_, all) = call(&intake, "GET", "/local/violations", &[], b"").await;
    let told: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["request"].as_u64().unwrap(), one["rule"].as_str().unwrap()))
        .collect();
    let logs = ["content-type", "log-message", "log-source", "log-service"].map(|rule| (5, rule));
    assert_eq!(told, [[(3, "metric-time"), (4, "metric-again")].as_slice(), &logs].concat());
    assert_eq!(all[0]["endpoint"], "/api/v2/series");
    assert_eq!((&all[0]["field"], &all[0]["value"]), (&"series[0].points[0].timestamp".into(), &"1".into()));
    assert_eq!((&all[0]["effect"], &all[0]["times"]), (&"dropped".into(), &1.into()));
    let (_, last) = call(&intake, "GET", "/local/violations?request=5&last=1", &[], b"").await;
    assert_eq!((last.as_array().unwrap().len(), &last[0]["rule"]), (1, &"log-service".into()));
    let (_, request) = call(&intake, "GET", "/local/requests/5", &[], b"").await;
    assert_eq!(
        request["request"]["violations"],
        json!(["content-type", "log-message", "log-source", "log-service"])
    );
    assert_eq!(request["violations"].as_array().unwrap().len(), 4);
    let (_, state) = call(&intake, "GET", "/local/state", &[], b"").await;
    assert_eq!(
        (&state["counts"]["violations"], state["violations"].as_array().unwrap().len()),
        (&6.into(), 6)
    );
    assert_eq!(call(&intake, "DELETE", "/local/state", &[], b"").await.0, 204);
    assert_eq!(intake.store().snapshot().violations, []);
}

#[tokio::test]
async fn violations_are_bounded() {
    let intake =
        start(Settings { limits: Limits { requests: 2, ..Limits::default() }, ..Settings::default() }).await;
    for _ in 0..260 {
        assert_eq!(call(&intake, "POST", "/api/v2/logs", &LOGS[..1], b"[{}]").await.0, 202);
    }
    let state = intake.store().snapshot();
    assert_eq!((state.counts.violations, state.violations.len()), (1040, 1000));
    assert_eq!(state.violations[0].request, 11);
}
