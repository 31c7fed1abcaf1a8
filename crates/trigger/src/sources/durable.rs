//! Lambda durable functions: an execution that is replayed from checkpoints. The library leaves its context in
//! a step of its own, `_datadog_<n>`, of which the last counts.
//! <https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html>

use std::borrow::Cow;

use model::{Tags, Text};
use serde_json::Value;

use super::{Carried, Surroundings, carried, put};
use crate::carrier::from_text;
use crate::json;

pub(super) use super::no_spans as inferred;

const STEP_PREFIX: &str = "_datadog_";

pub(super) fn matches(event: &Value) -> bool {
    json::text(event, "DurableExecutionArn").is_some() && json::has(event, "InitialExecutionState")
}

/// The execution's ARN is `arn:aws:lambda:eu-west-1:123456789012:function:orders:1/durable-execution/name/id`. Who
/// started it is not said.
pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    let arn = json::text(event, "DurableExecutionArn").unwrap_or_default();
    if let Some((_, execution)) = arn.split_once("/durable-execution/") {
        let mut parts = execution.split('/');
        put(tags, "aws.durable.execution_name", parts.next());
        put(tags, "aws.durable.execution_id", parts.next());
    }
    let first = operations(event).len() <= 1;
    put(tags, "aws.durable.first_invocation", Some(if first { "true" } else { "false" }));
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    let number = |op: &Value| json::text(op, "Name")?.strip_prefix(STEP_PREFIX)?.parse::<u64>().ok();
    let operations = operations(event).into_iter();
    let (_, last) = operations.filter_map(|op| Some((number(op)?, op))).max_by_key(|(n, _)| *n)?;
    let result = json::text(last, "StepDetails.Result").or_else(|| json::text(last, "Payload"))?;
    Some(carried("InitialExecutionState", Cow::Owned(from_text(result)?)))
}

/// What the execution was started with: the event of whatever started it.
pub(crate) fn initial_input(event: &Value) -> Option<&str> {
    operations(event).into_iter().find_map(|op| json::text(op, "ExecutionDetails.InputPayload"))
}

fn operations(event: &Value) -> Vec<&Value> {
    json::at(event, "InitialExecutionState.Operations").map(json::elements).unwrap_or_default()
}
