//! Managed instances: SHUTDOWN is the only event, many invocations run at once, and nothing is ever frozen.

use std::time::Duration;

use intake::State;

use crate::agent::{Agent, http};
use crate::fake_lambda::FakeLambda;
use crate::records::{delivery, managed_report, start};
use crate::watched::Intake;
use crate::{arrives, to};

const MANAGED: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");

#[tokio::test]
async fn it_registers_for_shutdown_alone_and_takes_the_schema_of_managed_instances() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(MANAGED);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    let calls = lambda.calls();
    assert_eq!(calls[0].body, r#"{"events":["SHUTDOWN"]}"#);
    assert!(calls[1].body.contains(r#""schemaVersion":"2025-01-29""#), "{}", calls[1].body);
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(agent.printed(), "");
}

/// Two invocations overlap: each span is in its caller's trace, and all leaves while the sandbox lives.
#[tokio::test]
async fn invocations_at_once_are_kept_apart_and_leave_without_an_end() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.extend([MANAGED, ("DD_SERVERLESS_FLUSH_STRATEGY", "continuously,20")]);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    let ids = [("r-1", "101"), ("r-2", "102")];
    agent.telemetry(&delivery(&[start("r-1"), start("r-2")])).await;
    for (id, trace) in ids {
        let headers = [
            ("lambda-runtime-aws-request-id", id),
            ("x-datadog-trace-id", trace),
            ("x-datadog-parent-id", "7"),
            ("x-datadog-sampling-priority", "1"),
        ];
        let answer = http(agent.ports.lifecycle, "POST", "/lambda/start-invocation", &headers, b"{}").await;
        assert_eq!(answer.status, 200);
    }
    for (id, trace) in ids.into_iter().rev() {
        let headers = [
            ("lambda-runtime-aws-request-id", id),
            ("x-datadog-trace-id", trace),
            ("x-datadog-parent-id", "7"),
            ("x-datadog-span-id", trace),
            ("x-datadog-sampling-priority", "1"),
        ];
        let answer = http(agent.ports.lifecycle, "POST", "/lambda/end-invocation", &headers, b"{}").await;
        assert_eq!(answer.status, 200);
    }
    agent.telemetry(&delivery(&[managed_report("r-2"), managed_report("r-1")])).await;
    for (id, trace) in ids {
        arrives(&intake, id, |s| {
            s.traces()
                .iter()
                .filter(|t| t.trace_id.low().to_string() == trace)
                .any(|t| t.spans.iter().any(|s| s.name == "aws.lambda" && s.tag("request_id") == Some(id)))
        })
        .await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let seen = intake.store().snapshot();
    let roots = seen.traces.iter().flat_map(|t| &t.spans).filter(|s| s.name == "aws.lambda");
    assert_eq!(roots.count(), 2);
    assert!(seen.traces.iter().flat_map(|t| &t.spans).all(|s| s.tag("cold_start").is_none()));
    assert_eq!(seen.logs.iter().filter(|l| l.message.starts_with("REPORT RequestId: r-")).count(), 2);
}

/// What the kernel tells belongs to no one invocation there: it is of the sandbox, once, at its end.
#[tokio::test]
async fn the_kernels_figures_are_of_the_sandbox() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(MANAGED);
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    agent.telemetry(&delivery(&[start("r-1"), start("r-2")])).await;
    agent.telemetry(&delivery(&[managed_report("r-2"), managed_report("r-1")])).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let count = |s: &State, name: &str| {
        let name = format!("aws.lambda.enhanced.{name}");
        s.metrics(&name).iter().filter(|m| m.name == name).map(|m| m.total.count()).sum::<u64>()
    };
    intake.store().read(|s| {
        for name in ["fd_use", "fd_max", "threads_use", "threads_max", "cpu_total_time", "num_cores"] {
            assert_eq!(count(s, name), 1, "{name}");
        }
        assert_eq!(count(s, "invocations"), 2);
    });
}
