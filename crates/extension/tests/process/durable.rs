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
    let batches = life(variables).await.into_iter();
    let logs = batches.filter_map(|batch| match batch {
        Batch::Logs(logs) => Some(logs),
        _ => None,
    });
    logs.flatten().collect()
}

/// The same; all that arrives of it.
async fn life(variables: &[(&'static str, &str)]) -> Vec<Batch> {
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
    intake.batches()
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

/// The library sends no span of its own here: the extension's says it, and so does the line of the end.
#[tokio::test]
async fn what_became_of_the_execution_is_read_from_the_answer() {
    let batches = life(&[]).await;
    let all =
        batches.iter().filter_map(|batch| if let Batch::Traces(all) = batch { Some(all) } else { None });
    let chunks = all.flatten().flat_map(|payload| &payload.chunks);
    let roots: Vec<_> =
        chunks.flat_map(|chunk| &chunk.spans).filter(|span| span.name == "aws.lambda").collect();
    assert_eq!(roots.len(), 1, "{batches:#?}");
    let tag = |name| roots[0].meta.get(name).map(|value| &**value);
    assert_eq!(tag("aws.durable.execution_status"), Some("PENDING"));
    assert_eq!(tag("aws.durable.execution_id"), Some("i-1"));
    let logs = batches.iter().filter_map(|batch| if let Batch::Logs(all) = batch { Some(all) } else { None });
    let logs: Vec<_> = logs.flatten().cloned().collect();
    let status = |line| of(&logs, line).and_then(|durable| durable.status.as_deref().map(str::to_owned));
    assert_eq!((status("END").as_deref(), status("late")), (Some("PENDING"), None));
}

/// By default none waits.
#[tokio::test]
async fn lines_that_may_not_wait_say_it_once_it_is_known() {
    let logs = lines(&[]).await;
    for (line, is_known) in [("early", false), ("START", false), ("late", true), ("END", true)] {
        assert_eq!(of(&logs, line).is_some(), is_known, "{line}");
    }
}
