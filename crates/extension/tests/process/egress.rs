//! The way out: over a proxy, and to further places than Datadog's main intakes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use intake::{Fault, FaultKind, LogFilter};
use model::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::cloud::Cloud;
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::faults::invocation;
use crate::file::Root;
use crate::records::{chunk, delivery, log, runtime_done, start};
use crate::secure::{Terminator, file};
use crate::watched::Intake;
use crate::{arrives, to};

/// A proxy that leads every tunnel to one server, and notes what it is asked.
pub(crate) struct Proxy {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// `answer`: what it says to every question; a tunnel is open when it begins with 200.
    pub(crate) async fn start(behind: &str, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (notes, behind) = (asked.clone(), behind.replace("https://", ""));
        let task = tokio::spawn(async move {
            while let Ok((mut front, _)) = listener.accept().await {
                let (notes, behind) = (notes.clone(), behind.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = front.read_u8().await else { return };
                        head.push(byte);
                    }
                    notes.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let answer = format!("HTTP/1.1 {answer}\r\nvia: us\r\n\r\n");
                    // In two parts, as networks do.
                    let (first, rest) = answer.split_at(7);
                    for part in [first, rest] {
                        front.write_all(part.as_bytes()).await.unwrap();
                        front.flush().await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    if answer.contains(" 200 ") {
                        let mut back = TcpStream::connect(behind).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
                    }
                });
            }
        });
        Self { address, asked, task }
    }

    /// First lines and credentials, each once, sorted.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let line = |head: &String| {
            let credentials = head.lines().find_map(|line| line.strip_prefix("proxy-authorization: "));
            format!("{} {}", head.lines().next().unwrap(), credentials.unwrap_or("-"))
        };
        let mut lines: Vec<_> = asked.iter().map(line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One invocation with a span, a metric and a log line, and the end.
pub(crate) async fn live(lambda: &FakeLambda, agent: &mut Agent) {
    lambda.asked(1).await;
    agent.metric("orders:1|c");
    agent.telemetry(&delivery(&[log("hello")])).await;
    invocation(lambda, agent, 1, 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

pub(crate) fn hellos(state: &intake::State) -> usize {
    state.logs(&LogFilter::default()).iter().filter(|log| log.message == "hello").count()
}

pub(crate) async fn all_arrives(intake: &Intake, agent: &Agent) {
    arrives(intake, "a span, a metric and a line", |s| {
        s.counts().spans > 0 && hellos(s) > 0 && !s.metrics("orders").is_empty()
    })
    .await;
    assert_eq!(intake.store().snapshot().metrics.iter().filter(|m| m.name == "orders").count(), 1);
    assert!(!agent.printed().contains("ERROR"), "{}", agent.printed());
}

/// Names are for the proxy to look up: these do not exist.
#[tokio::test]
async fn all_signals_go_over_the_proxy() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let terminator = Terminator::start(&intake.url()).await;
    let proxy = Proxy::start(&terminator.url, "200 Connection established").await;
    let (authority, way) = (file("authority.pem"), format!("http://me:s%3Acret@{}", proxy.address));
    let variables =
        [("DD_SITE", "datadog.test"), ("DD_PROXY_HTTPS", &*way), ("DD_TLS_CERT_FILE", &*authority)];
    let mut agent = Agent::start(&lambda, &variables);
    live(&lambda, &mut agent).await;
    all_arrives(&intake, &agent).await;
    // `me:s:cret`
    let question = |host: &str| format!("CONNECT {host}.datadog.test:443 HTTP/1.1 Basic bWU6czpjcmV0");
    assert_eq!(proxy.asked(), [question("api"), question("http-intake.logs"), question("trace.agent")]);
    assert_eq!(agent.printed(), "");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_and_the_function_runs() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let proxy = Proxy::start("", "407 Proxy Authentication Required").await;
    let variables = [("DD_SITE", "datadog.test"), ("HTTPS_PROXY", &*proxy.address)];
    let mut agent = Agent::start(&lambda, &variables);
    live(&lambda, &mut agent).await;
    let printed = agent.printed();
    assert_eq!(intake.store().snapshot().counts.requests, 0);
    let told =
        format!("the proxy {} answers 407 Proxy Authentication Required: it wants a user", proxy.address);
    assert_eq!(printed.matches(&told).count(), 1, "{printed}");
}

/// The address 0.0.0.0 is this machine too, but not one that is never asked over a proxy.
#[tokio::test]
async fn what_is_excepted_goes_directly() {
    for (no_proxy, is_direct) in [("a.b,0.0.0.0/8", true), ("0.0.0.0:1", false)] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let terminator = Terminator::start(&intake.url()).await;
        let proxy = Proxy::start(&terminator.url, "200 OK").await;
        let (authority, url) = (file("authority.pem"), terminator.url.replace("127.0.0.1", "0.0.0.0"));
        let mut variables = to(&url).to_vec();
        variables.extend([("https_proxy", &*proxy.address), ("NO_PROXY", no_proxy)]);
        variables.push(("DD_TLS_CERT_FILE", &authority));
        let mut agent = Agent::start(&lambda, &variables);
        live(&lambda, &mut agent).await;
        all_arrives(&intake, &agent).await;
        assert_eq!(proxy.asked().is_empty(), is_direct, "{no_proxy}: {:?}", proxy.asked());
    }
}

/// As `datadog.yaml` and the agent's variables say it. That of plain HTTP leads nowhere: nothing is sent over it, which
/// is told.
#[tokio::test]
async fn the_proxy_of_the_file_and_its_exceptions_are_used() {
    for (name, exceptions, variable, is_direct) in [
        ("all", "", "", false),
        ("some", "\n  no_proxy:\n  - a.b\n  - 0.0.0.0/8", "", true),
        ("variable", "\n  no_proxy: [a.b]", "c.d 0.0.0.0", true),
    ] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let terminator = Terminator::start(&intake.url()).await;
        let proxy = Proxy::start(&terminator.url, "200 OK").await;
        let nowhere = "http://127.0.0.1:1";
        let yaml = format!("proxy:\n  http: {nowhere}\n  https: http://{}{exceptions}\n", proxy.address);
        let root = Root::new(&format!("proxy-{name}"), &yaml);
        let (authority, url) = (file("authority.pem"), terminator.url.replace("127.0.0.1", "0.0.0.0"));
        let mut variables = to(&url).to_vec();
        variables.extend([
            ("LAMBDA_TASK_ROOT", root.0.to_str().unwrap()),
            ("DD_TLS_CERT_FILE", &authority),
            ("DD_PROXY_HTTP", nowhere),
            ("DD_PROXY_NO_PROXY", variable),
        ]);
        let mut agent = Agent::start(&lambda, &variables);
        live(&lambda, &mut agent).await;
        all_arrives(&intake, &agent).await;
        assert_eq!(proxy.asked().is_empty(), is_direct, "{name}: {:?}", proxy.asked());
        let printed = agent.printed();
        for told in ["DD_PROXY_HTTP: has no effect here: ", "not known here, and ignored: proxy.http\""] {
            assert_eq!(printed.matches(told).count(), 1, "{name}: {told} in {printed}");
        }
    }
}

#[tokio::test]
async fn the_key_is_asked_for_over_the_proxy() {
    let lambda = FakeLambda::start().await;
    let key = "0123456789abcdef0123456789abcdef";
    let cloud = Cloud::start(&[key], key).await;
    let terminator = Terminator::start(&cloud.url).await;
    let proxy = Proxy::start(&terminator.url, "200 OK").await;
    let (authority, way) = (file("authority.pem"), format!("http://{}", proxy.address));
    let mut variables = to(&cloud.url).to_vec();
    variables.extend([
        ("DD_API_KEY", ""),
        ("DD_API_KEY_SECRET_ARN", "dd"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://secrets.datadog.test"),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("DD_PROXY_HTTPS", &way),
        ("DD_TLS_CERT_FILE", &authority),
    ]);
    let mut agent = Agent::start(&lambda, &variables);
    live(&lambda, &mut agent).await;
    cloud.until("traces", |c| !c.taken("/api/v0.2/traces").is_empty()).await;
    // Data goes to an http address here: directly.
    assert_eq!(proxy.asked(), ["CONNECT secrets.datadog.test:443 HTTP/1.1 -"]);
    assert_eq!(agent.printed(), "");
}

/// The settings that send a copy of everything to another place.
pub(crate) fn also_to(url: &str, key: &str) -> [(&'static str, String); 3] {
    let map = format!(r#"{{"{url}": ["{key}"]}}"#);
    let list = format!(r#"[{{"api_key": "{key}", "Host": "{url}", "is_reliable": true}}]"#);
    [
        ("DD_ADDITIONAL_ENDPOINTS", map.clone()),
        ("DD_APM_ADDITIONAL_ENDPOINTS", map),
        ("DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS", list),
    ]
}

#[tokio::test]
async fn further_places_get_everything_once() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    let (url, own) = (intake.url(), "ffffffffffffffffffffffffffffffff");
    let also = also_to(&other.url(), own);
    let mut variables = to(&url).to_vec();
    variables.extend(also.iter().map(|(name, value)| (*name, &**value)));
    // What has to be tried again is not copied twice.
    intake.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 1 });
    let mut agent = Agent::start(&lambda, &variables);
    live(&lambda, &mut agent).await;
    for place in [&intake, &other] {
        all_arrives(place, &agent).await;
        let seen = place.store().snapshot();
        let spans: Vec<_> = seen.traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").collect();
        assert_eq!(spans.iter().map(|span| span.copies).collect::<Vec<_>>(), [1]);
        assert_eq!(place.store().read(hellos), 1);
    }
    assert!(!agent.printed().contains(own));
}

/// A name, and how much of it arrived.
fn sums(intake: &Intake, prefix: &str) -> Vec<(String, f64)> {
    let metrics = intake.store().read(|s| s.metrics(prefix));
    let sum = |m: &intake::MetricView| m.points.iter().map(|point| point.value.as_f64()).sum();
    let mut sums: Vec<_> = metrics.iter().map(|m| (m.name.clone(), sum(m))).collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    sums
}

/// One invocation with eight of each signal, of which none leaves alone.
async fn live_with_eight(lambda: &FakeLambda, agent: &mut Agent) {
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    let lines = (1..=8).map(|n| log(&format!("line {n}")));
    agent.telemetry(&delivery(&std::iter::once(start("r-1")).chain(lines).collect::<Vec<_>>())).await;
    let body = wire::v04::encode(&(1..=8).map(chunk).collect::<Vec<_>>());
    assert_eq!(agent.put_traces(&body).await.status, 200);
    let metrics = (1..=8).map(|n| format!("orders.{n}:{n}|c\nsizes.{n}:{n}|d"));
    agent.metric(&metrics.collect::<Vec<_>>().join("\n"));
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

/// Nothing else is in these requests.
const BARE: [(&str, &str); 3] = [
    ("DD_ENHANCED_METRICS", "false"),
    ("DD_LAMBDA_PLATFORM_LOGS", "false"),
    ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
];

/// For it alone, that is: the main intake takes them whole.
#[tokio::test]
async fn what_is_too_large_for_a_further_place_is_halved_for_it() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    let signals = [Signal::Traces, Signal::Logs, Signal::Series, Signal::Sketches];
    for signal in signals {
        // The whole, and its first half.
        other.fail(Fault { signal: Some(signal), kind: FaultKind::Status(413), count: 2 });
    }
    let (url, also) = (intake.url(), also_to(&other.url(), "ffffffffffffffffffffffffffffffff"));
    let mut variables = [&to(&url)[..], &BARE, &[("DD_FLUSH_TIMEOUT", "20")]].concat();
    variables.extend(also.iter().map(|(name, value)| (*name, &**value)));
    let mut agent = Agent::start(&lambda, &variables);
    live_with_eight(&lambda, &mut agent).await;
    for (place, refused) in [(&intake, 0), (&other, 2)] {
        let seen = place.store().snapshot();
        let mut spans: Vec<_> =
            seen.traces.iter().flat_map(|t| &t.spans).map(|span| (span.span_id.get(), span.copies)).collect();
        spans.sort_unstable();
        assert_eq!(spans, (1..=8).map(|id| (id, 1)).collect::<Vec<_>>(), "{}", agent.printed());
        let mut lines: Vec<_> = seen.logs.iter().map(|line| line.message.clone()).collect();
        lines.sort_unstable();
        assert_eq!(lines, (1..=8).map(|n| format!("line {n}")).collect::<Vec<_>>());
        assert_eq!(
            sums(place, "orders."),
            (1..=8).map(|n| (format!("orders.{n}"), f64::from(n))).collect::<Vec<_>>()
        );
        let sizes: Vec<_> =
            seen.metrics.iter().filter(|m| m.name.starts_with("sizes.")).map(|m| m.total.count()).collect();
        assert_eq!(sizes, [1; 8]);
        for signal in signals {
            let of =
                seen.requests.iter().filter(|r| r.signal == Some(signal.as_str()) && r.status == Some(413));
            assert_eq!(of.count(), refused, "{signal:?}: {:#?}", seen.requests);
        }
    }
    assert_eq!(agent.printed(), "");
}

/// What cannot be cut is lost there, which is told, and holds back nothing.
#[tokio::test]
async fn what_is_too_large_alone_is_lost_in_a_further_place_only() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    other.fail(Fault { signal: Some(Signal::Traces), kind: FaultKind::Status(413), count: 1000 });
    let (url, also) = (intake.url(), also_to(&other.url(), "ffffffffffffffffffffffffffffffff"));
    let mut variables = [&to(&url)[..], &BARE, &[("DD_FLUSH_TIMEOUT", "20")]].concat();
    variables.push((also[1].0, &also[1].1));
    let mut agent = Agent::start(&lambda, &variables);
    live_with_eight(&lambda, &mut agent).await;
    // One whole, two halves, four quarters, eight alone.
    assert_eq!(other.store().snapshot().counts.failed_requests, 15);
    assert_eq!(intake.store().snapshot().counts.spans, 8);
    let told = "(additional endpoint) does not take traces, which are lost there: it finds them too large";
    assert_eq!(agent.printed().matches(told).count(), 1, "{}", agent.printed());
}

/// It waits until the place takes it, the main intake has all meanwhile, and no invocation waits for either.
#[tokio::test]
async fn a_further_place_that_fails_holds_back_nothing_else() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    other.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 2 });
    let (url, also) = (intake.url(), also_to(&other.url(), "ffffffffffffffffffffffffffffffff"));
    let mut variables = to(&url).to_vec();
    variables.push((also[1].0, &also[1].1));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    let (begun, mut number) = (Instant::now(), 0);
    let works = |intake: &Intake| {
        let traces = intake.store().snapshot().traces;
        let spans = traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work");
        let mut spans: Vec<_> = spans.map(|span| (span.span_id.get(), span.copies)).collect();
        spans.sort_unstable();
        spans
    };
    while works(&other).is_empty() {
        assert!(begun.elapsed() < PATIENCE * 2, "{number}: {}", agent.printed());
        number += 1;
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let all: Vec<_> = (1..=number as u64).map(|id| (id, 1)).collect();
    arrives(&intake, "all spans", |s| s.counts().spans >= number as u64).await;
    arrives(&other, "all spans", |s| s.counts().spans >= number as u64).await;
    assert_eq!(works(&intake), all);
    assert_eq!(works(&other), all);
}

/// Its own key, that is: not the one of the main intake. A bad one is told.
#[tokio::test]
async fn a_further_place_gets_its_own_key() {
    let own = "ffffffffffffffffffffffffffffffff";
    for good in [own, "another"] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let other = Cloud::start(&[], good).await;
        let (url, also) = (intake.url(), also_to(&other.url, own));
        let mut variables = to(&url).to_vec();
        variables.push((also[1].0, &also[1].1));
        let mut agent = Agent::start(&lambda, &variables);
        live(&lambda, &mut agent).await;
        arrives(&intake, "a span", |s| s.counts().spans > 0).await;
        let (taken, printed) = (other.taken("/api/v0.2/traces"), agent.printed());
        assert_eq!(taken.contains(&own.to_owned()), good == own, "{:#?}", other.seen());
        assert_eq!(printed.contains("(additional endpoint) does not take traces"), good != own, "{printed}");
        assert_eq!(printed.matches("403 Forbidden").count(), usize::from(good != own), "{printed}");
        assert!(!printed.contains(own), "{printed}");
    }
}

/// As it is: no compression, no protocol of the agent, nothing behind the address.
#[tokio::test]
async fn logs_go_to_a_worker_of_observability_pipelines() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let worker = Intake::start().await.unwrap();
    let (url, own) = (intake.url(), format!("{}/api/v2/logs", worker.url()));
    let mut variables = to(&url).to_vec();
    variables.extend([
        ("DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED", "true"),
        ("DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_URL", &own),
    ]);
    let mut agent = Agent::start(&lambda, &variables);
    live(&lambda, &mut agent).await;
    arrives(&worker, "a line", |s| hellos(s) == 1).await;
    arrives(&intake, "a span", |s| s.counts().spans > 0).await;
    let requests = worker.store().snapshot().requests;
    for request in &requests {
        assert_eq!(request.path, "/api/v2/logs");
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        for absent in ["content-encoding", "dd-protocol"] {
            assert!(!names.contains(&absent), "{names:?}");
        }
        assert_eq!(Some(request.encoded_bytes), request.decoded_bytes);
    }
    assert!(!requests.is_empty());
    assert!(intake.store().read(|s| s.logs(&LogFilter::default()).is_empty()));
}
