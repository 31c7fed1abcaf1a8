//! When data leaves, what the end of an invocation waits for, and that what is lost is counted.

use std::time::Duration;

use intake::{Fault, FaultKind, LogFilter, State};
use model::Signal;
use tokio::net::{TcpSocket, TcpStream};

use crate::agent::{Agent, http};
use crate::fake_lambda::FakeLambda;
use crate::faults::invocation;
use crate::records::{delivery, log, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);
const STRATEGY: &str = "DD_SERVERLESS_FLUSH_STRATEGY";

async fn started(lambda: &FakeLambda, url: &str, more: &[(&'static str, &str)]) -> Agent {
    let mut variables = to(url).to_vec();
    variables.extend_from_slice(more);
    let agent = Agent::start(lambda, &variables);
    lambda.asked(1).await;
    agent
}

fn has_span(span: u64) -> impl Fn(&State) -> bool {
    move |s| s.traces().iter().any(|t| t.spans.iter().any(|s| s.span_id.get() == span))
}

fn count_of(state: &State, name: &str, tags: &[&str]) -> f64 {
    let has = |m: &intake::MetricView| tags.iter().all(|tag| m.tags.iter().any(|own| own == tag));
    let sums = state.metrics(name).into_iter().filter(|m| m.name == name && has(m));
    sums.map(|m| m.points.iter().map(|p| p.value.as_f64()).sum::<f64>()).sum()
}

/// `/event/next` is asked before anything tells that the invocation is over, and its data leaves meanwhile.
#[tokio::test]
async fn continuously_no_end_is_waited_for() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = started(&lambda, &intake.url(), &[(STRATEGY, "continuously,50")]).await;
    lambda.invoke("r-1", MINUTE);
    lambda.asked(2).await;
    assert_eq!(agent.put_traces(&traces(5)).await.status, 200);
    arrives(&intake, "a span of an invocation that runs", has_span(5)).await;
    agent.telemetry(&delivery(&[start("r-1"), log("late"), runtime_done("r-1")])).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let lines =
        intake.store().read(|s| s.logs(&LogFilter::default()).iter().filter(|l| l.message == "late").count());
    assert_eq!(lines, 1);
}

/// With `end` that is not so: the test above would show nothing else.
#[tokio::test]
async fn frequent_invocations_are_not_waited_for_by_default_and_rare_ones_are() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = started(&lambda, &intake.url(), &[]).await;
    for number in 1..=30 {
        let id = format!("r-{number}");
        lambda.invoke(&id, MINUTE);
        if number <= 2 {
            // It has been read when this is answered, and nothing was asked.
            agent.telemetry(&delivery(&[start(&id)])).await;
            assert_eq!(lambda.asked_so_far(), number);
            agent.telemetry(&delivery(&[log("working"), runtime_done(&id)])).await;
            lambda.asked(number + 1).await;
        } else if number <= 19 {
            agent.telemetry(&delivery(&[start(&id), log("working"), runtime_done(&id)])).await;
            lambda.asked(number + 1).await;
        } else {
            // The deadline is a minute away.
            lambda.asked(number + 1).await;
            agent.telemetry(&delivery(&[start(&id), log("working"), runtime_done(&id)])).await;
        }
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    intake.store().read(|s| {
        let lines = s.logs(&LogFilter::default());
        let mut ids: Vec<_> =
            lines.iter().filter(|l| l.message == "working").map(|l| l.request_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 30);
        let invocations = s.metrics("aws.lambda.enhanced.invocations");
        assert_eq!(invocations.iter().map(|m| m.total.count()).sum::<u64>(), 30);
    });
}

#[tokio::test]
async fn a_library_can_ask_for_a_flush() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = started(&lambda, &intake.url(), &[(STRATEGY, "end")]).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    assert_eq!(agent.put_traces(&traces(5)).await.status, 200);
    let answer = http(agent.ports.lifecycle, "POST", "/lambda/flush", &[], b"").await;
    assert_eq!(answer.status, 200);
    arrives(&intake, "a span of an invocation that runs", has_span(5)).await;
    assert_eq!(lambda.asked_so_far(), 1);
}

/// An intake that answers with errors is tried a few times and then left alone.
#[tokio::test]
async fn an_intake_that_is_down_is_left_alone() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: None, kind: FaultKind::Status(503), count: 10_000 });
    let mut agent = started(&lambda, &intake.url(), &[]).await;
    let begun = std::time::Instant::now();
    for number in 1..=50 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    let took = begun.elapsed();
    let tried = intake.store().snapshot().counts.requests;
    // Two tries of each of three signals; with time, a try every ten seconds at most.
    let tries = 3 * (2 + took.as_secs() / 10 + 1);
    assert!(tried <= tries, "{tried} requests in {took:?}");
    intake.recover();
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let spans = intake.store().snapshot().counts.spans;
    assert_eq!(spans, 50, "what was held is sent at the end");
}

/// A host that lets nobody connect costs the time for a connection, not that for a flush.
#[tokio::test]
async fn a_host_that_cannot_be_reached_costs_little() {
    let lambda = FakeLambda::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: once these are there, the kernel does not answer to more.
    let mut full = Vec::new();
    while let Ok(Ok(tcp)) =
        tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
    {
        full.push(tcp);
    }
    let more = [("DD_FLUSH_TIMEOUT", "300"), ("DD_LAMBDA_CONNECT_TIMEOUT", "0.2")];
    let mut agent = started(&lambda, &format!("http://{address}"), &more).await;
    for number in 1..=2 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    lambda.shutdown(Duration::from_millis(900));
    assert!(agent.ended().await.success());
    assert!(agent.printed().contains("no connection within 200ms"), "{}", agent.printed());
}

#[tokio::test]
async fn what_the_intake_refuses_is_counted() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: Some(Signal::Traces), kind: FaultKind::Status(400), count: 1 });
    let agent = started(&lambda, &intake.url(), &[(STRATEGY, "end")]).await;
    for number in 1..=2 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    arrives(&intake, "the count of what was lost", |s| {
        count_of(s, "datadog.serverless.extension.dropped", &["signal:traces", "reason:refused"]) == 1.0
    })
    .await;
    arrives(&intake, "the span after it", has_span(2)).await;
    arrives(&intake, "the cost of it all", |s| {
        count_of(s, "datadog.serverless.extension.requests", &["signal:traces"]) >= 1.0
            && !s.metrics("datadog.serverless.extension.flush_duration").is_empty()
    })
    .await;
}

#[tokio::test]
async fn lines_are_masked_and_left_out() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let rules = r#"[{"type":"mask_sequences","name":"cards","replace_placeholder":"****","pattern":"\\d{16}"},
        {"type":"exclude_at_match","name":"noise","pattern":"^noise"}]"#;
    let more = [("DD_LOGS_CONFIG_PROCESSING_RULES", rules), ("DD_LAMBDA_PLATFORM_LOGS", "false")];
    let mut agent = started(&lambda, &intake.url(), &more).await;
    lambda.invoke("r-1", MINUTE);
    let lines =
        [start("r-1"), log("card 4111111111111111"), log("noise 1"), log("fine"), runtime_done("r-1")];
    agent.telemetry(&delivery(&lines)).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let logs = intake.store().snapshot().logs;
    let mut texts: Vec<_> = logs.iter().map(|l| l.message.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["card ****", "fine"]);
}

/// What a rule was to mask is not sent because the rule is broken, and the user is told so.
#[tokio::test]
async fn a_broken_mask_is_told_loudly_and_nothing_leaks() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let rules =
        r#"[{"type":"mask_sequences","name":"cards","replace_placeholder":"*","pattern":"(\\d{16}"}]"#;
    let mut agent = started(&lambda, &intake.url(), &[("DD_LOGS_CONFIG_PROCESSING_RULES", rules)]).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1"), log("card 4111111111111111"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(intake.store().snapshot().logs.len(), 0);
    let printed = agent.printed();
    let told = printed.lines().filter(|l| l.contains("DD_LOGS_CONFIG_PROCESSING_RULES")).collect::<Vec<_>>();
    assert!(
        told.len() == 1 && told[0].contains("cards") && told[0].contains("NO LOG LINE IS SENT"),
        "{printed}"
    );
}

/// More datagrams than the kernel keeps, while the process cannot read: some are lost, and it is known how many.
#[tokio::test]
async fn datagrams_that_the_kernel_lost_are_counted() {
    const SENT: u32 = 40_000;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let agent = started(&lambda, &intake.url(), &[(STRATEGY, "end")]).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let signal = |name: &str| {
        let pid = agent.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", agent.ports.dogstatsd)).unwrap();
    for _ in 0..SENT {
        socket.send(b"flood.count:1|c|#shop:berlin").unwrap();
    }
    signal("-CONT");
    let told = |s: &State| {
        let lost = count_of(s, "datadog.serverless.extension.dropped", &["signal:datagrams", "reason:inbox"]);
        (count_of(s, "flood.count", &[]), lost)
    };
    let until = std::time::Instant::now() + crate::fake_lambda::PATIENCE;
    while intake.store().read(|s| told(s).0 + told(s).1) < f64::from(SENT)
        && std::time::Instant::now() < until
    {
        http(agent.ports.lifecycle, "POST", "/lambda/flush", &[], b"").await;
        let soon = std::time::Instant::now() + Duration::from_millis(200);
        intake.store().wait_until(|s| told(s).0 + told(s).1 >= f64::from(SENT), soon).await;
    }
    let (arrived, lost) = intake.store().read(told);
    assert_eq!(arrived + lost, f64::from(SENT), "{arrived} arrived, {lost} counted as lost");
    assert!(arrived > 0.0 && lost > 0.0, "{arrived} arrived, {lost} counted as lost");
}

#[tokio::test]
async fn dogstatsd_comes_through_a_unix_socket_with_sets_events_and_service_checks() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    // A client may say when something was, however long ago.
    intake.excepts(&["metric-time"]);
    let path = std::env::temp_dir().join(format!("dsd-{}.sock", std::process::id()));
    // One that was left behind.
    drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
    let text = path.to_str().unwrap().to_owned();
    let more = [("DD_DOGSTATSD_SOCKET", text.as_str()), ("DD_STATSD_METRIC_NAMESPACE", "shop")];
    let mut agent = started(&lambda, &intake.url(), &more).await;
    lambda.invoke("r-1", MINUTE);
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let lines = [
        "users:anna:bert:anna|s|#x:1|c:abc|e:it-true",
        "_e{4,5}:sale|begun|t:success|#x:2",
        "_sc|db|2|m:gone",
        "count:1:2|c|@0.5|T1700000000",
    ];
    for line in lines {
        socket.send_to(line.as_bytes(), &path).unwrap();
    }
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    arrives(&intake, "the set", |s| count_of(s, "shop.users", &["x:1"]) == 2.0).await;
    arrives(&intake, "the count", |s| count_of(s, "shop.count", &[]) == 6.0).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let requests = intake.store().snapshot().requests;
    let body = |path: &str| {
        let found =
            requests.iter().find(|r| r.path == path).unwrap_or_else(|| panic!("no {path}: {requests:#?}"));
        serde_json::from_str::<serde_json::Value>(found.preview.as_deref().unwrap()).unwrap()
    };
    let event = body("/api/v1/events");
    assert_eq!(
        (&event["title"], &event["alert_type"], &event["tags"][0]),
        (&"sale".into(), &"success".into(), &"x:2".into())
    );
    assert!(event["tags"].as_array().unwrap().contains(&"functionname:orders".into()), "{event}");
    let check = &body("/api/v1/check_run")[0];
    assert_eq!(
        (&check["check"], &check["status"], &check["message"]),
        (&"db".into(), &2.into(), &"gone".into())
    );
    std::fs::remove_file(&path).unwrap();
}
