//! HTTP/2 to intakes: when it is spoken, and that everything arrives once whatever the server does with requests and
//! connections.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use intake::{Fault, FaultKind, Settings, Snapshot};
use model::{Chunk, Signal, Span, SpanId, TraceId};

use crate::agent::Agent;
use crate::egress::{Proxy, all_arrives, also_to, hellos, live};
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::faults::invocation;
use crate::frames::{Allows, Frames, Place, Say};
use crate::late::{Gate, Gated};
use crate::records::{TRACE, delivery, runtime_done, start};
use crate::secure::{Terminator, file};
use crate::watched::Intake;
use crate::{arrives, to};

const HTTP2: (&str, &str) = ("DD_HTTP_PROTOCOL", "http2");
/// Every end of an invocation waits for all that was sent, on a slow machine too.
const EACH: [(&str, &str); 3] = [
    ("DD_SERVERLESS_FLUSH_STRATEGY", "end"),
    ("DD_FLUSH_TIMEOUT", "20"),
    ("DD_LAMBDA_CONNECT_TIMEOUT", "20"),
];
const OLD: &str = "does not speak HTTP/2, which DD_HTTP_PROTOCOL is set to; HTTP/1.1 is used for it";

/// HTTP/2 has the host in a place of its own, and nothing of one connection.
fn is_http2(seen: &Snapshot) -> bool {
    assert!(!seen.requests.is_empty());
    let has = |name: &str| {
        let with = seen.requests.iter().filter(|r| r.headers.iter().any(|(own, _)| own == name));
        with.count()
    };
    assert_eq!(has("content-length"), seen.requests.len());
    assert_eq!((has("connection"), has("transfer-encoding")), (0, 0));
    assert!([0, seen.requests.len()].contains(&has("host")), "{:#?}", seen.requests);
    has("host") == 0
}

fn started(lambda: &FakeLambda, url: &str, more: &[(&str, &str)]) -> Agent {
    Agent::start(lambda, &[&to(url)[..], &EACH, more].concat())
}

#[tokio::test]
async fn it_is_spoken_as_set_and_as_the_server_has_it() {
    for (set, with_tls, wanted) in [
        ("http1", true, false),
        ("auto", true, true),
        ("http2", true, true),
        ("auto", false, false),
        ("http2", false, true),
    ] {
        let settings = Settings { tls: with_tls, ..Settings::default() };
        let intake = Intake::start_with(([127, 0, 0, 1], 0).into(), settings).await.unwrap();
        let lambda = FakeLambda::start().await;
        let folder = std::env::temp_dir().join(format!("http2-{}-{set}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, intake.authority().unwrap_or_default()).unwrap();
        let mut more = vec![("DD_HTTP_PROTOCOL", set)];
        if with_tls {
            more.push(("DD_TLS_CERT_FILE", authority.to_str().unwrap()));
        }
        let mut agent = started(&lambda, &intake.url(), &more);
        live(&lambda, &mut agent).await;
        all_arrives(&intake, &agent).await;
        assert_eq!(is_http2(&intake.store().snapshot()), wanted, "{set}, TLS {with_tls}");
        assert_eq!(agent.printed(), "", "{set}, TLS {with_tls}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[tokio::test]
async fn all_signals_share_one_connection_of_http2() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let terminator = Terminator::offering(&intake.url(), &["h2"]).await;
    let authority = file("authority.pem");
    let more = [("DD_HTTP_PROTOCOL", "auto"), ("DD_TLS_CERT_FILE", &authority)];
    let mut agent = started(&lambda, &terminator.url, &more);
    lambda.asked(1).await;
    for number in 1..4 {
        agent.metric("orders:1|c");
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    arrives(&intake, "three spans", |s| s.counts().spans == 3).await;
    assert!(!intake.store().snapshot().metrics.is_empty());
    assert!(is_http2(&intake.store().snapshot()));
    assert_eq!(terminator.connections(), 1, "{}", agent.printed());
}

/// One line, where HTTP/2 is what is set.
#[tokio::test]
async fn a_server_without_it_is_told_of_once_and_gets_everything() {
    for (set, protocols, lines) in [("http2", &[][..], 1), ("http2", &["http/1.1"][..], 1), ("auto", &[], 0)]
    {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let terminator = Terminator::offering(&intake.url(), protocols).await;
        let authority = file("authority.pem");
        let more = [("DD_HTTP_PROTOCOL", set), ("DD_TLS_CERT_FILE", &authority)];
        let mut agent = started(&lambda, &terminator.url, &more);
        live(&lambda, &mut agent).await;
        all_arrives(&intake, &agent).await;
        assert!(!is_http2(&intake.store().snapshot()));
        assert_eq!(agent.printed().matches(OLD).count(), lines, "{}", agent.printed());
    }
}

/// Without TLS nothing is agreed on first. Servers without HTTP/2 end the connection, or say in HTTP/1.1 that they do not
/// understand; and there is a way to say it in HTTP/2.
#[tokio::test]
async fn a_server_without_tls_and_without_it_is_told_of_once_and_gets_everything() {
    let lambda = FakeLambda::start().await;
    let silent = Gated::start().await;
    silent.is(Gate::Accept);
    let mut agent = started(&lambda, &silent.url, &[HTTP2]);
    lambda.asked(1).await;
    for number in 1..4 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(PATIENCE);
    assert!(agent.ended().await.success());
    assert_eq!(silent.taken(), [1, 2, 3], "{}", agent.printed());
    assert_eq!(agent.printed().matches(OLD).count(), 1, "{}", agent.printed());
    for is_old in [true, false] {
        let frames = Frames::start(Allows { is_old, ..Allows::default() }, |_| Say::Downgrade).await;
        let printed = three_arrive(&frames, async |_, _| {}).await;
        assert_eq!(printed.matches(OLD).count(), 1, "{printed}");
        assert!(frames.connections() > 1);
    }
}

/// The proxy sees one tunnel for each server, and nothing of what is spoken in it.
#[tokio::test]
async fn it_goes_over_a_proxy() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let terminator = Terminator::offering(&intake.url(), &["h2", "http/1.1"]).await;
    let proxy = Proxy::start(&terminator.url, "200 Connection established").await;
    let (authority, way) = (file("authority.pem"), format!("http://{}", proxy.address));
    let mut agent = Agent::start(
        &lambda,
        &[
            ("DD_SITE", "datadog.test"),
            ("DD_PROXY_HTTPS", &way),
            ("DD_TLS_CERT_FILE", &authority),
            ("DD_HTTP_PROTOCOL", "auto"),
        ],
    );
    live(&lambda, &mut agent).await;
    all_arrives(&intake, &agent).await;
    assert!(is_http2(&intake.store().snapshot()));
    let question = |host: &str| format!("CONNECT {host}.datadog.test:443 HTTP/1.1 -");
    assert_eq!(proxy.asked(), [question("api"), question("http-intake.logs"), question("trace.agent")]);
    assert_eq!(agent.printed(), "");
}

#[tokio::test]
async fn further_places_get_everything_once_over_http2() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    let also = also_to(&other.url(), "ffffffffffffffffffffffffffffffff");
    let mut more = vec![HTTP2];
    more.extend(also.iter().map(|(name, value)| (*name, &**value)));
    // What has to be tried again is not copied twice.
    intake.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 1 });
    let mut agent = started(&lambda, &intake.url(), &more);
    live(&lambda, &mut agent).await;
    for place in [&intake, &other] {
        all_arrives(place, &agent).await;
        let seen = place.store().snapshot();
        let spans: Vec<_> = seen.traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").collect();
        assert_eq!(spans.iter().map(|span| span.copies).collect::<Vec<_>>(), [1]);
        assert_eq!(place.store().read(hellos), 1);
        assert!(is_http2(&seen));
    }
}

#[tokio::test]
async fn what_failed_over_http2_is_sent_again_once() {
    for kind in [FaultKind::Status(503), FaultKind::Status(429), FaultKind::Close] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        intake.fail(Fault { signal: Some(Signal::Traces), kind, count: 2 });
        let mut agent = Agent::start(&lambda, &[&to(&intake.url())[..], &[HTTP2]].concat());
        lambda.asked(1).await;
        for number in 1..4 {
            invocation(&lambda, &agent, number, number as u64).await;
        }
        lambda.shutdown(PATIENCE);
        assert!(agent.ended().await.success());
        let traces = intake.store().snapshot().traces;
        let mut spans: Vec<_> = traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").collect();
        spans.sort_by_key(|s| s.span_id);
        let copies: Vec<_> = spans.iter().map(|s| (s.span_id.get(), s.copies)).collect();
        assert_eq!(copies, [(1, 1), (2, 1), (3, 1)], "{kind:?}: {}", agent.printed());
    }
}

/// Four hundred milliseconds for every answer, two hundred for every flush: what is late is answered on its own
/// connection, beside others, and is not made again.
#[tokio::test]
async fn a_slow_intake_gets_everything_once_over_http2() {
    const SPANS: u64 = 8;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let kind = FaultKind::Delay(Duration::from_millis(400));
    intake.fail(Fault { signal: None, kind, count: 100_000 });
    let more = [HTTP2, ("DD_FLUSH_TIMEOUT", "0.2"), ("DD_SERVERLESS_FLUSH_STRATEGY", "end")];
    let mut agent = Agent::start(&lambda, &[&to(&intake.url())[..], &more].concat());
    lambda.asked(1).await;
    for number in 1..=SPANS {
        invocation(&lambda, &agent, usize::try_from(number).unwrap(), number).await;
    }
    lambda.shutdown(PATIENCE);
    assert!(agent.ended().await.success());
    let seen = intake.store().snapshot();
    let mut spans: Vec<_> = seen.traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").collect();
    spans.sort_by_key(|s| s.span_id);
    let copies: Vec<_> = spans.iter().map(|s| (s.span_id.get(), s.copies)).collect();
    assert_eq!(copies, (1..=SPANS).map(|id| (id, 1)).collect::<Vec<_>>(), "{}", agent.printed());
    assert!(is_http2(&seen));
    assert!(agent.printed().contains("did not answer"), "{}", agent.printed());
}

#[tokio::test]
async fn an_intake_that_is_down_loses_what_is_told_and_nothing_else() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    intake.stop();
    let more = [HTTP2, ("DD_FLUSH_TIMEOUT", "1")];
    let mut agent = Agent::start(&lambda, &[&to(&url)[..], &more].concat());
    lambda.asked(1).await;
    for number in 1..4 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    assert_eq!(printed.matches("cannot send").count(), 1, "{printed}");
    assert!(printed.contains("of its data was lost: 3 of traces, "), "{printed}");
}

/// Three invocations; at the end of each its span is there, and each once. Gives what was printed.
async fn three_arrive(frames: &Frames, between: impl AsyncFn(usize, &Agent)) -> String {
    let lambda = FakeLambda::start().await;
    let mut agent = started(&lambda, &frames.url, &[HTTP2]);
    lambda.asked(1).await;
    for number in 1..=3 {
        agent.metric("orders:1|c");
        invocation(&lambda, &agent, number, number as u64).await;
        let all: Vec<_> = (1..=number as u64).collect();
        assert_eq!(frames.spans(), all, "{}", agent.printed());
        between(number, &agent).await;
    }
    lambda.shutdown(PATIENCE);
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    assert_eq!(frames.spans(), [1, 2, 3], "{printed}");
    assert!(!printed.contains("was lost"), "{printed}");
    printed
}

/// It leaves once it has answered some, with the next one under way: that, and what is behind it, goes over another
/// connection, at once.
#[tokio::test]
async fn what_a_server_that_leaves_has_not_looked_at_goes_over_another_connection() {
    let leaves = Arc::new(AtomicBool::new(false));
    let told = leaves.clone();
    let say = move |at: Place| {
        if at.connection == 1 && told.load(Ordering::SeqCst) { Say::Leave } else { Say::Accept }
    };
    let frames = Frames::start(Allows::default(), say).await;
    three_arrive(&frames, async |_, _| leaves.store(true, Ordering::SeqCst)).await;
    assert_eq!(frames.connections(), 2);
}

/// The first request is the last one of the first connection: it was taken, and is not sent again.
#[tokio::test]
async fn what_a_server_that_leaves_has_taken_is_not_sent_again() {
    let say = |at: Place| if at.connection == 1 { Say::AcceptAsLast } else { Say::Accept };
    let frames = Frames::start(Allows::default(), say).await;
    three_arrive(&frames, async |_, _| {}).await;
    assert_eq!(frames.connections(), 2);
}

#[tokio::test]
async fn what_a_server_refuses_is_sent_again_on_the_same_connection() {
    let say = |at: Place| if at.request == 1 { Say::Refuse } else { Say::Accept };
    let frames = Frames::start(Allows::default(), say).await;
    three_arrive(&frames, async |_, _| {}).await;
    assert_eq!(frames.connections(), 1);
}

/// It is kept and dies with the next request: nobody has that.
#[tokio::test]
async fn a_kept_connection_that_dies_is_replaced() {
    let dies = Arc::new(AtomicBool::new(false));
    let told = dies.clone();
    let say = move |at: Place| {
        if at.connection == 1 && told.load(Ordering::SeqCst) { Say::Vanish } else { Say::Accept }
    };
    let frames = Frames::start(Allows::default(), say).await;
    three_arrive(&frames, async |_, _| dies.store(true, Ordering::SeqCst)).await;
    assert_eq!(frames.connections(), 2);
}

/// What the server says meanwhile is read when the sandbox goes on, with the next request already under way.
#[tokio::test]
async fn a_connection_that_ends_while_the_sandbox_is_frozen_is_replaced() {
    let frames = Frames::start(Allows::default(), |_| Say::Accept).await;
    three_arrive(&frames, async |number, agent| {
        if number > 1 {
            return;
        }
        let process = agent.child.id().unwrap().to_string();
        let signal = |name: &str| {
            assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
        };
        signal("-STOP");
        frames.hang_up().await;
        signal("-CONT");
    })
    .await;
    assert_eq!(frames.connections(), 2);
}

/// Nothing is answered before two requests are there: they do not wait for each other.
#[tokio::test]
async fn requests_go_beside_each_other() {
    let met = AtomicBool::new(false);
    let say = move |at: Place| {
        if met.fetch_or(at.open > 1, Ordering::SeqCst) || at.open > 1 { Say::Accept } else { Say::Wait }
    };
    let frames = Frames::start(Allows::default(), say).await;
    three_arrive(&frames, async |_, _| {}).await;
    assert!(frames.most_open() > 1);
    assert_eq!(frames.connections(), 1);
}

/// What goes out before the server has said so is refused by it, and waits then.
#[tokio::test]
async fn no_more_requests_are_made_at_once_than_the_server_takes() {
    let has_begun = Arc::new(AtomicBool::new(false));
    let (told, too_many) = (has_begun.clone(), Arc::new(AtomicBool::new(false)));
    let seen = too_many.clone();
    let say = move |at: Place| {
        if at.open > 1 && told.load(Ordering::SeqCst) {
            seen.store(true, Ordering::SeqCst);
        }
        if at.open > 1 { Say::Refuse } else { Say::Accept }
    };
    let frames = Frames::start(Allows { streams: Some(1), ..Allows::default() }, say).await;
    three_arrive(&frames, async |_, _| has_begun.store(true, Ordering::SeqCst)).await;
    assert_eq!(frames.connections(), 1);
    assert!(!too_many.load(Ordering::SeqCst));
}

/// A body that is much larger than what the server takes at once.
#[tokio::test]
async fn a_large_body_goes_as_the_server_takes_it() {
    let lambda = FakeLambda::start().await;
    let frames = Frames::start(Allows { window: Some(1000), ..Allows::default() }, |_| Say::Accept).await;
    let mut agent = started(&lambda, &frames.url, &[HTTP2]);
    lambda.asked(1).await;
    // The server's settings are known after this one.
    invocation(&lambda, &agent, 1, 1).await;
    lambda.invoke("r-2", Duration::from_secs(60));
    agent.telemetry(&delivery(&[start("r-2")])).await;
    assert_eq!(agent.put_traces(&many(2..=20)).await.status, 200);
    agent.telemetry(&delivery(&[runtime_done("r-2")])).await;
    lambda.asked(3).await;
    assert_eq!(frames.spans(), (1..=20).collect::<Vec<_>>(), "{}", agent.printed());
    lambda.shutdown(PATIENCE);
    assert!(agent.ended().await.success());
    assert_eq!(frames.spans(), (1..=20).collect::<Vec<_>>(), "{}", agent.printed());
    assert!(frames.most_pieces() > 20, "{}", frames.most_pieces());
}

/// Spans with texts that cannot be compressed to nothing.
fn many(numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut spans = Vec::new();
    for number in numbers {
        let mut span =
            Span::new("work", TraceId::new(0, TRACE).unwrap(), SpanId::new(number).unwrap(), SpanId::new(77));
        span.service = "shop".into();
        let mut resource = String::new();
        while resource.len() < 4000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            resource.push_str(&format!("{state:x}"));
        }
        span.resource = resource.into();
        span.duration = Duration::from_millis(3);
        spans.push(span);
    }
    wire::v04::encode(&[Chunk { spans }])
}
