//! What goes wrong in extensions, shown on the real process: strange telemetry, keys that come late, clients that break
//! off. The page `docs/traps-lifecycle.md` names these.

use std::time::{Duration, Instant};

use intake::{LogFilter, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::agent::{Agent, http};
use crate::cloud::Cloud;
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::faults::invocation;
use crate::records::{delivery, log, record, report, runtime_done, start, traces};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any test: nothing ends by it.
const LONG: Duration = Duration::from_secs(900);
const GOOD: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "ffffffffffffffffffffffffffffffff";
const TRACES: &str = "/api/v0.2/traces";

fn total(state: &State, name: &str) -> u64 {
    let name = format!("aws.lambda.enhanced.{name}");
    state.metrics(&name).iter().filter(|m| m.name == name).map(|m| m.total.count()).sum()
}

fn works(state: &State) -> usize {
    state.traces().iter().flat_map(|t| &t.spans).filter(|s| s.name == "work").count()
}

async fn shut_down(lambda: &FakeLambda, agent: &mut Agent) {
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

/// A process whose key is a secret, and whose world is a cloud.
fn with_secret(lambda: &FakeLambda, cloud: &Cloud, more: &[(&'static str, &str)]) -> Agent {
    let mut variables = vec![
        ("DD_API_KEY", ""),
        ("DD_API_KEY_SECRET_ARN", "dd"),
        ("AWS_ENDPOINT_URL", &cloud.url),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ];
    variables.extend(to(&cloud.url));
    variables.extend_from_slice(more);
    Agent::start(lambda, &variables)
}

/// 3 MB of lines in one delivery, with the end of the invocation behind them.
#[tokio::test]
async fn a_delivery_of_many_megabytes_is_taken_whole() {
    const LINES: usize = 2000;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([("DD_FLUSH_TIMEOUT", "20"), ("DD_LAMBDA_PLATFORM_LOGS", "false")]);
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", LONG);
    let lines: Vec<String> = (0..LINES).map(|n| log(&format!("{n} {}", "x".repeat(1600)))).collect();
    let body = delivery(&[vec![start("r-1")], lines, vec![runtime_done("r-1")]].concat());
    assert!(body.len() > 3 << 20, "{}", body.len());
    agent.telemetry(&body).await;
    lambda.asked(2).await;
    arrives(&intake, "all lines", |s| s.counts().logs >= LINES as u64).await;
    arrives(&intake, "the invocation", |s| total(s, "runtime_duration") == 1).await;
}

/// Types and phases of tomorrow, records that lack what they should have: each costs itself.
#[tokio::test]
async fn odd_records_hold_nothing_up() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", LONG);
    let odd = [
        record("platform.initStart", r#"{"initializationType":"on-a-whim","phase":"renewal"}"#),
        record("platform.initReport", r#"{"initializationType":"on-demand","phase":"renewal","metrics":{}}"#),
        record("platform.somethingNew", "[[7]]"),
        "{}".to_owned(),
        record("platform.report", r#"{"requestId":7}"#),
        start("r-1"),
        // The end has a status that nobody knows and no figures.
        record("platform.runtimeDone", r#"{"requestId":"r-1","status":"napping"}"#),
    ];
    agent.telemetry(&delivery(&odd)).await;
    lambda.asked(2).await;
    shut_down(&lambda, &mut agent).await;
    intake.store().read(|s| assert_eq!(total(s, "invocations"), 1));
}

/// Lambda refuses the subscription: what there is without telemetry works, and no invocation waits.
#[tokio::test]
async fn without_telemetry_at_all_invocations_run_and_spans_arrive() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    lambda.refuse_telemetry();
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    for number in 1..=5 {
        lambda.invoke(&format!("r-{number}"), LONG);
        assert_eq!(agent.put_traces(&traces(number)).await.status, 200);
        lambda.asked(number as usize + 1).await;
    }
    shut_down(&lambda, &mut agent).await;
    intake.store().read(|s| assert_eq!((works(s), total(s, "invocations")), (5, 5)));
}

/// After the next event was asked for, and no other ever comes.
#[tokio::test]
async fn what_lambda_tells_behind_the_end_leaves_without_another_event() {
    for logs in ["true", "false"] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let url = intake.url();
        let mut variables = to(&url).to_vec();
        variables.extend([("DD_SERVERLESS_FLUSH_STRATEGY", "end"), ("DD_SERVERLESS_LOGS_ENABLED", logs)]);
        let agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        invocation(&lambda, &agent, 1, 1).await;
        agent.telemetry(&delivery(&[report("r-1")])).await;
        arrives(&intake, "the report", |s| total(s, "billed_duration") == 1).await;
    }
}

/// One refusal is not for the life of the sandbox.
#[tokio::test]
async fn a_key_that_was_not_to_be_had_at_first_is_used_later() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    // As often as one search asks.
    cloud.deny_first(3, "ThrottlingException");
    let mut agent = with_secret(&lambda, &cloud, &[]);
    lambda.asked(1).await;
    let (begun, mut number) = (Instant::now(), 0);
    let is_taken = |c: &Cloud| !c.taken(TRACES).is_empty();
    while !is_taken(&cloud) {
        assert!(begun.elapsed() < PATIENCE * 3, "{:#?}", cloud.seen());
        number += 1;
        invocation(&lambda, &agent, number, number as u64).await;
        let _ = timeout(Duration::from_millis(300), cloud.until("traces", is_taken)).await;
    }
    assert!(cloud.searches("dd") > 3);
    shut_down(&lambda, &mut agent).await;
    assert_eq!(agent.printed().matches("ThrottlingException").count(), 1, "{}", agent.printed());
}

/// All signals are sent with what the search after a refusal has found.
#[tokio::test]
async fn every_signal_gets_the_new_key() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[OLD, GOOD], GOOD).await);
    let mut agent = with_secret(&lambda, &cloud, &[]);
    lambda.asked(1).await;
    for number in 1..=2 {
        agent.metric("orders:1|c");
        http(agent.ports.traces, "POST", "/evp_proxy/v4/api/v2/llmobs", &[], b"{}").await;
        invocation(&lambda, &agent, number, number as u64).await;
    }
    shut_down(&lambda, &mut agent).await;
    for path in [TRACES, "/api/v2/logs", "/api/v2/series", "/api/beta/sketches"] {
        cloud.until(path, |c| !c.taken(path).is_empty()).await;
    }
    assert!(cloud.searches("dd") <= 3, "{:#?}", cloud.seen());
}

/// User and system time that a process has taken, in hundredths of a second.
fn processor_time(agent: &Agent) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.child.id().unwrap())).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let words: Vec<&str> = rest.split_whitespace().collect();
    words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
}

/// Four seconds of waiting are hardly any work.
#[tokio::test]
async fn waiting_for_a_key_takes_no_processor() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    cloud.hold(true);
    let agent = with_secret(&lambda, &cloud, &[("DD_FLUSH_TIMEOUT", "4")]);
    lambda.asked(1).await;
    let before = processor_time(&agent);
    let waited = invocation(&lambda, &agent, 1, 1).await;
    let taken = processor_time(&agent) - before;
    assert!(waited >= Duration::from_secs(3), "{waited:?}: nobody waited");
    assert!(taken < 50, "{taken} hundredths of a second in {waited:?}");
}

/// A library that was frozen while it sent: it happens with every long pause. Whoever looks for it finds it.
#[tokio::test]
async fn a_client_that_breaks_off_is_no_news() {
    for level in ["info", "debug"] {
        let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
        let url = intake.url();
        let mut variables = to(&url).to_vec();
        variables.push(("DD_LOG_LEVEL", level));
        let mut agent = Agent::start(&lambda, &variables);
        lambda.asked(1).await;
        lambda.invoke("r-1", MINUTE);
        let ports = agent.ports;
        let calls = [
            (ports.lifecycle, "POST /lambda/start-invocation"),
            (ports.lifecycle, "POST /lambda/end-invocation"),
            (ports.traces, "PUT /v0.4/traces"),
            (ports.traces, "POST /profiling/v1/input"),
            (ports.telemetry, "POST /"),
        ];
        for (port, call) in calls {
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let head = format!("{call} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n[");
            tcp.write_all(head.as_bytes()).await.unwrap();
            tcp.shutdown().await.unwrap();
            let mut answer = Vec::new();
            timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.expect("it is not seen").ok();
        }
        agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
        lambda.asked(2).await;
        shut_down(&lambda, &mut agent).await;
        let printed = agent.printed();
        if level == "info" {
            assert_eq!(printed, "");
        } else {
            assert!(
                printed.contains("| DEBUG | the body of a lifecycle call could not be read"),
                "{printed}"
            );
        }
    }
}

/// It alone is more than the intake takes: it is counted and goes, the others arrive.
#[tokio::test]
async fn a_line_too_large_for_the_intake_holds_up_none_behind_it() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([("DD_SERVERLESS_FLUSH_STRATEGY", "end"), ("DD_FLUSH_TIMEOUT", "20")]);
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", LONG);
    let lines = [start("r-1"), log(&"x".repeat(6 << 20)), log("behind it"), runtime_done("r-1")];
    agent.telemetry(&delivery(&lines)).await;
    lambda.asked(2).await;
    arrives(&intake, "the line behind it", |s| {
        s.logs(&LogFilter::default()).iter().any(|line| line.message == "behind it")
    })
    .await;
    invocation(&lambda, &agent, 2, 1).await;
    arrives(&intake, "the count of what was lost", |s| {
        let told = s.metrics("datadog.serverless.extension.dropped");
        told.iter()
            .any(|m| ["signal:logs", "reason:too_large"].iter().all(|t| m.tags.iter().any(|own| own == t)))
    })
    .await;
}

/// Packed as for the main intake: whoever pays for what leaves pays twice else.
#[tokio::test]
async fn what_goes_to_a_further_place_is_packed_too() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let other = Intake::start().await.unwrap();
    let (url, further) = (intake.url(), format!(r#"{{"{}":["{OLD}"]}}"#, other.url()));
    let mut variables = to(&url).to_vec();
    variables.push(("DD_APM_ADDITIONAL_ENDPOINTS", &further));
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    arrives(&other, "the span", |s| works(s) == 1).await;
    for request in other.store().snapshot().requests.iter().filter(|request| request.path == TRACES) {
        let encoding = request.headers.iter().find(|(name, _)| name == "content-encoding");
        assert_eq!(encoding.map(|(_, value)| value.as_str()), Some("zstd"), "{request:#?}");
    }
}

/// Nothing of a trace leaves, all else does, and tracers see no difference.
#[tokio::test]
async fn with_traces_off_all_else_arrives() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_TRACE_ENABLED", "false"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let header = [("lambda-runtime-aws-request-id", "r-1")];
    for path in ["/lambda/start-invocation", "/lambda/end-invocation"] {
        assert_eq!(http(agent.ports.lifecycle, "POST", path, &header, b"{}").await.status, 200);
    }
    assert_eq!(agent.put_traces(&traces(1)).await.status, 200);
    agent.telemetry(&delivery(&[start("r-1"), log("hello"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    shut_down(&lambda, &mut agent).await;
    intake.store().read(|s| {
        assert_eq!((s.counts().spans, total(s, "runtime_duration")), (0, 1));
        assert!(s.logs(&LogFilter::default()).iter().any(|line| line.message == "hello"));
    });
    assert_eq!(agent.printed(), "");
}

/// Who misses data sees from where something came and where it ended; and nothing of what is in it.
#[tokio::test]
async fn at_the_level_debug_it_says_what_came_from_where_and_what_became_of_it() {
    const SECRET: &str = "hunter2";
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_LOG_LEVEL", "debug"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let headers = [
        ("lambda-runtime-aws-request-id", "r-1"),
        ("x-datadog-trace-id", "1234"),
        ("x-datadog-parent-id", "77"),
        ("x-datadog-sampling-priority", "1"),
        ("authorization", SECRET),
    ];
    let event = format!(r#"{{"headers":{{"authorization":"{SECRET}"}},"password":"{SECRET}"}}"#);
    for path in ["/lambda/start-invocation", "/lambda/end-invocation"] {
        let answer = http(agent.ports.lifecycle, "POST", path, &headers, event.as_bytes()).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(agent.put_traces(&traces(1)).await.status, 200);
    assert_eq!(agent.put_traces(SECRET.as_bytes()).await.status, 200);
    agent.metric("own:1:2|d");
    agent.telemetry(&delivery(&[start("r-1"), log(SECRET), runtime_done("r-1")])).await;
    arrives(&intake, "the metric", |s| !s.metrics("own").is_empty()).await;
    lambda.asked(2).await;
    shut_down(&lambda, &mut agent).await;
    let printed = agent.printed();
    let last = printed.lines().rfind(|line| line.contains("so far came in")).expect(&printed);
    for part in [
        "| DEBUG | so far came in: spans of tracers 1, ",
        "requests to pass on 0, ",
        "values of DogStatsD 2, ",
        "platform records 2, log lines 1, lifecycle calls 2, ",
        "delivered: traces 2, ",
        "waiting: nothing; lost: traces 1 (malformed)",
    ] {
        assert!(last.contains(part), "{part} in\n{printed}");
    }
    assert!(!printed.contains(SECRET), "{printed}");
}
