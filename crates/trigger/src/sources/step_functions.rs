//! AWS Step Functions. A state machine has no tracer: the ids of its spans are made from the names of
//! execution and state, here and by Datadog's intake alike.
//! <https://docs.datadoghq.com/serverless/step_functions/merge-step-functions-lambda/>
//!
//! Its context comes as the event itself (`States.JsonMerge($$, $, false)`), as `_datadog`, within `Payload`, as
//! `BatchInput` of a distributed map, and in the carrier of a message that a task sends.

use std::borrow::Cow;

use model::keys::{headers, trace};
use model::{SamplingPriority, SpanId, Tags, Text, TraceId};
use propagation::{Carrier, Style, TraceContext, extract};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{CARRIER_KEY, Carried, Surroundings, carried, put_arn};
use crate::carrier::JsonCarrier;
use crate::json;

/// The tasks of a state machine have no span of their own here: the intake makes them.
pub(super) use super::no_spans as inferred;

const ROOT_EXECUTION: &str = "RootExecutionId";

pub(super) fn matches(event: &Value) -> bool {
    found(event).is_some()
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    let machine = found(event).and_then(|(_, context)| context.get("StateMachine"));
    put_arn(tags, machine.and_then(|machine| json::text(machine, "Id")));
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    found(event).map(|(place, context)| carried(place, Cow::Borrowed(context)))
}

/// The context that a state machine's context object stands for. `None` for any other object.
pub(crate) fn context(object: &Map<String, Value>) -> Option<TraceContext> {
    let parent = parent_id(object);
    if parent.is_none() && !is_batch(object) {
        return None;
    }
    let started_by = object.get("Execution").and_then(|e| json::object(e, "Input._datadog"));
    let mut context = given_trace(object)
        .or_else(|| hashed_trace(json::text_in(object, ROOT_EXECUTION)?))
        .or_else(|| given_trace(started_by?))
        .or_else(|| hashed_trace(json::text(object.get("Execution")?, "Id")?))?;
    context.span_id = parent.or(context.span_id);
    context.priority = Some(SamplingPriority::AutoKeep);
    context.origin = Some("states".into());
    Some(context)
}

/// The context object in an event, and where it lies.
fn found(event: &Value) -> Option<(&'static str, &Map<String, Value>)> {
    let places: [(&str, &str); 5] = [
        ("the event", ""),
        (CARRIER_KEY, CARRIER_KEY),
        ("Payload", "Payload"),
        ("Payload._datadog", "Payload._datadog"),
        ("BatchInput._datadog", "BatchInput._datadog"),
    ];
    places.into_iter().find_map(|(place, path)| {
        let object = if path.is_empty() { event.as_object() } else { json::object(event, path) }?;
        let is_context = is_state(object) || path.starts_with("BatchInput") && is_batch(object);
        is_context.then_some((place, object))
    })
}

fn is_state(object: &Map<String, Value>) -> bool {
    let (Some(execution), Some(state)) = (object.get("Execution"), object.get("State")) else { return false };
    json::text(execution, "Id").is_some()
        && json::text(state, "Name").is_some()
        && json::text(state, "EnteredTime").is_some()
}

/// What a distributed map gives each batch: the trace, and no state to be the parent.
fn is_batch(object: &Map<String, Value>) -> bool {
    let names_trace = object.contains_key(ROOT_EXECUTION) || object.contains_key(headers::TRACE_ID);
    names_trace && object.contains_key("serverless-version")
}

/// The trace of the function or service that started the execution.
fn given_trace(object: &Map<String, Value>) -> Option<TraceContext> {
    let carrier = JsonCarrier(object);
    carrier.get(headers::TRACE_ID)?;
    let mut context = extract(&carrier, &[Style::Datadog])?;
    context.tags =
        context.tags.into_iter().filter(|(k, _)| k.starts_with(trace::PROPAGATED_PREFIX)).collect();
    Some(context)
}

fn hashed_trace(execution: &str) -> Option<TraceContext> {
    let hash: [u8; 32] = Sha256::digest(execution.as_bytes()).into();
    let id = TraceId::new(positive(hash.get(..8)?)?, positive(hash.get(8..16)?)?)?;
    Some(TraceContext::new(id, None))
}

fn parent_id(object: &Map<String, Value>) -> Option<SpanId> {
    let (execution, state) = (object.get("Execution")?, object.get("State")?);
    let mut text =
        [json::text(execution, "Id")?, json::text(state, "Name")?, json::text(state, "EnteredTime")?]
            .join("#");
    let count = |value: &Value, key| json::at(value, key).and_then(Value::as_u64).unwrap_or(0);
    let (retries, redrives) = (count(state, "RetryCount"), count(execution, "RedriveCount"));
    if retries > 0 || redrives > 0 {
        text.push_str(&format!("#{retries}#{redrives}"));
    }
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    SpanId::new(positive(hash.get(..8)?)?)
}

/// 63 bits, never zero.
fn positive(bytes: &[u8]) -> Option<u64> {
    Some((u64::from_be_bytes(bytes.try_into().ok()?) & (u64::MAX >> 1)).max(1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> (u64, u64, Option<u64>) {
        let context = context(value.as_object().unwrap()).unwrap();
        (context.trace_id.high(), context.trace_id.low(), context.span_id.map(SpanId::get))
    }

    fn state(execution: &str, name: &str, entered: &str) -> Value {
        json!({"Execution": {"Id": execution}, "State": {"Name": name, "EnteredTime": entered}})
    }

    #[test]
    fn the_worked_examples() {
        let id = "arn:aws:states:us-east-1:425362996713:execution:agocsTestSF:bc9f281c-3daa-4e5a-9a60-471a3810bf44";
        let mut event = state(id, "agocsTest1", "2024-07-30T19:55:53.018Z");
        let trace = (0x1914_fe77_89eb_32be, 5_744_042_798_732_701_615);
        assert_eq!(read(event.clone()), (trace.0, trace.1, Some(2_902_498_116_043_018_663)));
        // Counts of zero change nothing, a retry does.
        event["State"]["RetryCount"] = json!(0);
        event["Execution"]["RedriveCount"] = json!(0);
        assert_eq!(read(event.clone()), (trace.0, trace.1, Some(2_902_498_116_043_018_663)));
        event["State"]["RetryCount"] = json!(1);
        assert_eq!(read(event), (trace.0, trace.1, Some(441_787_108_535_285_652)));

        let express = "arn:aws:states:sa-east-1:601427271234:express:DatadogStateMachine:acaf1a67-336a-e854-1599-2a627eb2dd8a:c8baf081-31f1-464d-971f-70cb17d01111";
        assert_eq!(
            read(state(express, "step-one", "2022-12-08T21:08:19.224Z")).2,
            Some(4_340_734_536_022_949_921)
        );
    }

    #[test]
    fn a_root_machine_gives_the_trace() {
        let id = "arn:aws:states:us-east-1:425362996713:execution:agocsTestSF:aa6c9316-713a-41d4-9c30-61131716744f";
        let mut event = state(id, "agocsTest1", "2024-07-30T20:46:20.824Z");
        event["serverless-version"] = json!("v1");
        event["RootExecutionId"] = json!(
            "arn:aws:states:sa-east-1:425362996713:execution:invokeJavaLambda:4875aba4-ae31-4a4c-bf8a-63e9eee31dad"
        );
        let parent = Some(8_947_638_978_974_359_093);
        assert_eq!(read(event), (0x579d_19b3_ee21_6ee9, 1_322_229_001_489_018_110, parent));
    }

    #[test]
    fn a_function_that_started_the_execution_gives_the_trace() {
        let id = "arn:aws:states:us-east-1:425362996713:execution:agocsTestSF:aa6c9316-713a-41d4-9c30-61131716744f";
        let trace = json!({"x-datadog-trace-id": "5821803790426892636",
            "x-datadog-tags": "_dd.p.dm=-0,_dd.p.tid=672a7cb100000000"});
        let expect = (0x672a_7cb1_0000_0000, 5_821_803_790_426_892_636, Some(8_947_638_978_974_359_093));
        let mut v1 = state(id, "agocsTest1", "2024-07-30T20:46:20.824Z");
        for (key, value) in trace.as_object().unwrap() {
            v1[key] = value.clone();
        }
        assert_eq!(read(v1.clone()), expect);
        let context = context(v1.as_object().unwrap()).unwrap();
        assert_eq!(context.tags.get("_dd.p.dm").unwrap(), "-0");
        assert_eq!(context.priority, Some(SamplingPriority::AutoKeep));
        // The older form, where the input of the execution has it.
        let mut legacy = state(id, "agocsTest1", "2024-07-30T20:46:20.824Z");
        legacy["Execution"]["Input"] = json!({"_datadog": trace});
        assert_eq!(read(legacy), expect);
    }

    /// One execution in sixteen has a high half that begins with zeros.
    #[test]
    fn a_short_high_half_is_padded() {
        let short = (0..).map(|n| state(&format!("arn:aws:states:r:1:execution:m:{n}"), "s", "t"));
        let short = short.map(|event| context(event.as_object().unwrap()).unwrap());
        let context = short.take(1000).find(|context| context.trace_id.high() < 1 << 56).unwrap();
        let mut headers: Vec<(String, String)> = Vec::new();
        propagation::inject(&context, &[Style::Datadog], &mut headers);
        assert_eq!(extract(&headers, &[Style::Datadog]).map(|c| c.trace_id), Some(context.trace_id));
        assert!(headers.iter().any(|(_, tags)| tags.starts_with("_dd.p.tid=00")));
    }

    #[test]
    fn what_is_no_state_has_no_context() {
        for value in [
            json!({}),
            json!({"Execution": 1, "State": 2}),
            json!({"Execution": {"Id": "a"}, "State": {"Name": "b"}}),
        ] {
            assert_eq!(context(value.as_object().unwrap()), None, "{value}");
            assert!(!matches(&value));
        }
    }
}
