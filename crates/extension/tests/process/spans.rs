//! Of the ways in that tracers, adapters and profilers use: what they tell arrives whole and is said once, and nobody
//! outside the sandbox has a way in.

use std::collections::BTreeMap;
use std::time::Duration;

use intake::{Snapshot, SpanView};
use model::SpanId;

use crate::agent::{Agent, http};
use crate::fake_lambda::FakeLambda;
use crate::ports::Ports;
use crate::records::{TRACE, delivery, runtime_done, start};
use crate::runtime_api::{ACCEPTED, RuntimeApi, Side, event};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);

fn root<'s>(state: &'s Snapshot, id: &str) -> &'s SpanView {
    let spans = state.traces.iter().flat_map(|trace| &trace.spans);
    let mut roots = spans.filter(|span| span.name == "aws.lambda" && span.tag("request_id") == Some(id));
    let root = roots.next().unwrap_or_else(|| panic!("{id}: {:#?}", state.traces));
    assert!(roots.next().is_none(), "{id}: {:#?}", state.traces);
    root
}

fn errors(state: &Snapshot) -> u64 {
    let named = state.metrics.iter().filter(|metric| metric.name == "aws.lambda.enhanced.errors");
    named.map(|metric| metric.total.count()).sum()
}

/// Where sockets of these ports are bound, by what the kernel says: `address` as it writes it.
fn bound(table: &str, ports: &[u16]) -> BTreeMap<u16, String> {
    let text = std::fs::read_to_string(table).unwrap();
    let local = |line: &str| {
        let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
        Some((u16::from_str_radix(port, 16).ok()?, address.to_owned()))
    };
    // What only came out of a port or is closing is not what takes calls: 0A listens, 07 takes datagrams.
    let takes = |line: &&str| matches!(line.split_whitespace().nth(3), Some("0A" | "07"));
    text.lines().filter(takes).filter_map(local).filter(|(port, _)| ports.contains(port)).collect()
}

/// All but Lambda's own way in, which names the host by another name.
#[tokio::test]
async fn only_telemetry_is_taken_from_beyond_the_loopback() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let (ports, others, url) = (Ports::free(), Ports::free(), intake.url());
    // What exporters are told to listen on in a container is not meant for a sandbox.
    let (otlp_http, otlp_grpc) =
        (format!("0.0.0.0:{}", others.traces), format!("0.0.0.0:{}", others.lifecycle));
    let mut variables = to(&url).to_vec();
    variables.extend([
        ("DD_EXPERIMENTAL_ENABLE_PROXY", "true"),
        ("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT", &otlp_http),
        ("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_ENDPOINT", &otlp_grpc),
    ]);
    let _agent = Agent::start_on(&lambda, ports, &variables);
    lambda.asked(1).await;
    let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
    let own = [ports.lifecycle, ports.traces, ports.runtime, others.traces, others.lifecycle];
    let all = bound("/proc/net/tcp", &[&own[..], &[ports.telemetry]].concat());
    assert_eq!(all.get(&ports.telemetry).map(String::as_str), Some("00000000"));
    for port in own {
        assert_eq!(all.get(&port), Some(&loopback), "{port} of {all:?}");
    }
    let datagrams = bound("/proc/net/udp", &[ports.dogstatsd]);
    assert_eq!(datagrams.get(&ports.dogstatsd), Some(&loopback));
}

/// Its names are written as a gateway passes them on, it decided, and the function fails by all accounts.
#[tokio::test]
async fn a_w3c_callers_trace_goes_on_and_its_headers_are_no_tags() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let request = ("lambda-runtime-aws-request-id", "r-1");
    let event = format!(
        r#"{{"headers":{{"TraceParent":"00-66a1b2c300000000{TRACE:016x}-000000000000004d-01",
            "TraceState":"dd=s:2;t.dm:-4,other=1"}}}}"#
    );
    let port = agent.ports.lifecycle;
    let answer = http(port, "POST", "/lambda/start-invocation", &[request], event.as_bytes()).await;
    assert_eq!(answer.header("x-datadog-trace-id"), Some(TRACE.to_string().as_str()));
    assert_eq!(answer.header("x-datadog-sampling-priority"), Some("2"));
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let failed = [
        request,
        ("x-datadog-span-id", "99"),
        ("x-datadog-invocation-error", "true"),
        ("x-datadog-invocation-error-msg", "no such order"),
    ];
    let answer = http(port, "POST", "/lambda/end-invocation", &failed, br#"{"statusCode":502}"#).await;
    assert_eq!(answer.status, 200);
    let done = runtime_done("r-1").replace(r#""status":"success""#, r#""status":"error""#);
    agent.telemetry(&delivery(&[done])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let span = root(&state, "r-1");
    assert_eq!((span.span_id.get(), span.parent_id.map(SpanId::get)), (99, Some(0x4d)));
    assert_eq!((span.priority, span.error), (Some(2), true));
    assert_eq!((span.tag("_dd.p.dm"), span.tag("error.message")), (Some("-4"), Some("no such order")));
    for header in ["traceparent", "tracestate"] {
        let told = span.meta.iter().find(|(key, _)| key.eq_ignore_ascii_case(header));
        assert_eq!(told, None, "{:?}", span.meta);
    }
    assert_eq!(errors(&state), 1);
}

/// Anybody who may send to a queue writes that attribute.
#[tokio::test]
async fn a_trace_header_that_is_none_ends_nothing() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[start("r-1")])).await;
    let request = ("lambda-runtime-aws-request-id", "r-1");
    for header in ["Root=", "Root=1", "Root=1-65eb7350", "Root=1-65eb7350-0000", "Root=1-é;Parent=é"] {
        let event = format!(
            r#"{{"Records":[{{"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-west-1:1:q",
                "attributes":{{"AWSTraceHeader":"{header}"}},"body":"x"}}]}}"#
        );
        let path = "/lambda/start-invocation";
        let answer = http(agent.ports.lifecycle, "POST", path, &[request], event.as_bytes()).await;
        assert_eq!((answer.status, answer.header("x-datadog-trace-id")), (200, None), "{header}");
    }
    let own = [request, ("x-datadog-trace-id", "7"), ("x-datadog-sampling-priority", "1")];
    let answer = http(agent.ports.lifecycle, "POST", "/lambda/end-invocation", &own, b"{}").await;
    assert_eq!(answer.status, 200);
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    assert!(agent.is_alive());
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    root(&intake.store().snapshot(), "r-1");
}

/// Those of a busy function are larger than what HTTP servers take unless told otherwise.
#[tokio::test]
async fn a_profile_of_9_mib_is_passed_on_whole() {
    const BYTES: usize = 9 << 20;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let profiles = format!("{url}/api/v2/profile");
    let mut variables = to(&url).to_vec();
    variables.push(("DD_APM_PROFILING_DD_URL", &profiles));
    let agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let body: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
    let answer = http(agent.ports.traces, "POST", "/profiling/v1/input", &[], &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    let is_it = |r: &intake::RequestView| r.path == "/api/v2/profile" && r.encoded_bytes == BYTES;
    arrives(&intake, "the profile", |s| s.requests(false).iter().any(is_it)).await;
}

/// The Lambda Web Adapter asks for events and answers them in place of a runtime.
#[tokio::test]
async fn an_adapters_answers_are_of_their_invocations_and_tell_the_status() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut api = RuntimeApi::start(&lambda).await;
    let (ports, url, address) = (Ports::free(), intake.url(), api.address.clone());
    let adapter = format!("127.0.0.1:{}", ports.runtime);
    let mut variables = to(&url).to_vec();
    variables.extend([
        ("AWS_LWA_LAMBDA_RUNTIME_API_PROXY", adapter.as_str()),
        ("AWS_LAMBDA_RUNTIME_API", &address),
    ]);
    let mut agent = Agent::start_on(&lambda, ports, &variables);
    lambda.asked(1).await;
    let mut runtime = Side::connect(ports.runtime).await;
    let mut behind = None;
    let answers = [
        ("r-1", "response", r#"{"statusCode":503,"headers":{"content-type":"text/plain"},"body":"busy"}"#),
        ("r-2", "error", r#"{"errorMessage":"the server is gone","errorType":"Adapter"}"#),
        ("r-3", "response", r#"{"statusCode":200,"headers":{},"body":"{\"statusCode\":500}"}"#),
    ];
    for (n, (id, what, body)) in answers.into_iter().enumerate() {
        runtime.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
        if behind.is_none() {
            behind = Some(api.called().await);
        }
        let api = behind.as_mut().unwrap();
        api.head().await;
        lambda.invoke(id, MINUTE);
        let caller = format!(
            r#"{{"headers":{{"x-datadog-trace-id":"{TRACE}","x-datadog-parent-id":"{}",
                "x-datadog-sampling-priority":"1"}},"httpMethod":"GET","path":"/","requestContext":{{
                "elb":{{"targetGroupArn":"arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/web/1"}}}}}}"#,
            70 + n
        );
        let event = event(id, caller.as_bytes());
        api.send(&event).await;
        assert!(runtime.bytes(event.len()).await == event);
        agent.telemetry(&delivery(&[start(id)])).await;
        let request = format!(
            "POST /2018-06-01/runtime/invocation/{id}/{what} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        runtime.send(request.as_bytes()).await;
        api.head().await;
        assert_eq!(api.bytes(body.len()).await, body.as_bytes());
        api.send(ACCEPTED).await;
        runtime.bytes(ACCEPTED.len()).await;
        agent.telemetry(&delivery(&[runtime_done(id)])).await;
        lambda.asked(n + 2).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let state = intake.store().snapshot();
    let told = |id: &str| {
        let root = root(&state, id);
        let parent = root.parent_id.map(SpanId::get);
        (parent, root.error, root.tag("http.status_code"), root.tag("error.message"))
    };
    assert_eq!(told("r-1"), (Some(70), true, Some("503"), None));
    assert_eq!(told("r-2"), (Some(71), true, None, Some("the server is gone")));
    assert_eq!(told("r-3"), (Some(72), false, Some("200"), None));
}
