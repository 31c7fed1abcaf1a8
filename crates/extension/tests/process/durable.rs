//! Log lines of a durable function say which execution they are a part of.

use std::time::Duration;

use model::{Batch, DurableExecution, Log};

use crate::agent::{Agent, http};
use crate::fake_lambda::FakeLambda;
use crate::late::{Gate, Gated};
use crate::records::{delivery, log, runtime_done, start};
use crate::to;

const MINUTE: Duration = Duration::from_secs(60);
const HELD: &str = "DD_LAMBDA_DURABLE_FUNCTION_LOG_BUFFER_SIZE";
const INIT: &str = r#"{"time":"2026-01-01T00:00:00.000Z","type":"platform.initStart","record":{"initializationType":"on-demand","phase":"init","runtimeVersion":"python:3.13.DurableFunction.v6","runtimeVersionArn":"arn"}}"#;

fn event(name: &str, id: &str) -> String {
    let function = "arn:aws:lambda:eu-west-1:123456789012:function:orders:1";
    format!(
        r#"{{"DurableExecutionArn":"{function}/durable-execution/{name}/{id}","InitialExecutionState":{{"Operations":[{{"Id":"0"}}]}}}}"#
    )
}

/// One invocation whose library tells of it, after its first lines were printed; what arrives of its lines.
async fn lines(variables: &[(&'static str, &str)]) -> Vec<Log> {
    let (lambda, intake) = (FakeLambda::start().await, Gated::start().await);
    intake.is(Gate::Accept);
    let mut all = to(&intake.url).to_vec();
    all.extend_from_slice(variables);
    let mut agent = Agent::start(&lambda, &all);
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    agent.telemetry(&delivery(&[INIT.to_owned(), start("r-1"), log("early")])).await;
    let header = [("lambda-runtime-aws-request-id", "r-1")];
    let begun = event("order-7", "i-1");
    let calls =
        [("/lambda/start-invocation", &*begun), ("/lambda/end-invocation", r#"{"Status":"PENDING"}"#)];
    for (path, body) in calls {
        assert_eq!(http(agent.ports.lifecycle, "POST", path, &header, body.as_bytes()).await.status, 200);
    }
    agent.telemetry(&delivery(&[log("late"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert!(!agent.printed().contains("WARN"), "{}", agent.printed());
    let logs = intake.batches().into_iter().filter_map(|batch| match batch {
        Batch::Logs(logs) => Some(logs),
        _ => None,
    });
    logs.flatten().collect()
}

fn of<'a>(logs: &'a [Log], line: &str) -> Option<&'a DurableExecution> {
    let found: Vec<_> = logs.iter().filter(|log| log.message.starts_with(line)).collect();
    assert_eq!(found.len(), 1, "{line} in {logs:#?}");
    found[0].durable.as_deref()
}

#[tokio::test]
async fn lines_that_may_wait_say_which_execution_they_are_a_part_of() {
    let logs = lines(&[(HELD, "10")]).await;
    for line in ["early", "late", "START", "END", "INIT_START"] {
        let durable = of(&logs, line).unwrap_or_else(|| panic!("{line} in {logs:#?}"));
        assert_eq!((&*durable.name, &*durable.id), ("order-7", "i-1"), "{line}");
        let is_told = ["START", "END"].contains(&line);
        assert_eq!(durable.first_invocation, is_told.then_some(true), "{line}");
    }
}

/// By default none waits.
#[tokio::test]
async fn lines_that_may_not_wait_say_it_once_it_is_known() {
    let logs = lines(&[]).await;
    for (line, is_known) in [("early", false), ("START", false), ("late", true), ("END", true)] {
        assert_eq!(of(&logs, line).is_some(), is_known, "{line}");
    }
}
