//! Step Functions: the input of an execution, which its tasks are told of as `Execution.Input`.

use datadog_aws_sdk::client;
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};

use crate::world::{Caller, boto, python, rust, sdk_config, tags};

pub(crate) fn machine(name: &str) -> String {
    let definition = json!({"StartAt": "a", "States": {"a": {"Type": "Pass", "End": true}}}).to_string();
    let role = "arn:aws:iam::123456789012:role/r";
    let made = json!({"name": name, "definition": definition, "roleArn": role});
    boto("stepfunctions", "create_state_machine", made)["stateMachineArn"].as_str().unwrap().to_owned()
}

/// The event of a task that is given the context object.
pub(crate) fn event(execution: &str, input: &Value) -> Value {
    json!({
        "Execution": {"Id": execution, "Input": input, "Name": "n", "RoleArn": "r", "StartTime": "2026-01-01T00:00:00.000Z", "RedriveCount": 0},
        "State": {"Name": "a", "EnteredTime": "2026-01-01T00:00:01.000Z", "RetryCount": 0},
        "StateMachine": {"Id": "arn:aws:states:eu-west-1:123456789012:stateMachine:m", "Name": "m"},
    })
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn step_functions_start_execution() {
    let arn = machine("start");
    let caller = Caller::new();
    let sfn = client!(aws_sdk_sfn, &sdk_config());
    let start = sfn.start_execution().state_machine_arn(&arn).input("{ \"order\": 1.00 } ");
    let started = start.send().with_context(caller.context.clone()).await.unwrap();
    let execution = started.execution_arn();
    let described = boto("stepfunctions", "describe_execution", json!({"executionArn": execution}));
    let text = described["input"].as_str().unwrap();
    assert!(text.starts_with("{\"_datadog\":{") && text.ends_with("}, \"order\": 1.00 } "), "{text}");
    let input: Value = serde_json::from_str(text).unwrap();
    assert_eq!(input["_datadog"]["x-datadog-parent-id"].as_str().unwrap(), parent_id(&caller));
    // The tasks' parent is their state's span; the trace is the caller's.
    let event = event(execution, &input);
    let (ours, theirs) = (rust(&event).unwrap(), python(&event).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(ours.trace, caller.trace());
    crate::chain::check(&event, None, ours);
    assert_eq!(tags(&caller.span("SFN.StartExecution"))["statemachinename"], "start");
}

fn parent_id(caller: &Caller) -> String {
    u64::from_be_bytes(caller.ids("SFN.StartExecution").span.to_bytes()).to_string()
}

/// An application that starts a named execution once more means the same execution.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn step_functions_named_executions_stay() {
    let arn = machine("named");
    let caller = Caller::new();
    let sfn = client!(aws_sdk_sfn, &sdk_config());
    let mut started = Vec::new();
    for _ in 0..2 {
        let start = sfn.start_execution().state_machine_arn(&arn).name("order-17").input("{\"order\":17}");
        let execution = start.send().with_context(caller.context.clone()).await.unwrap();
        started.push(execution.execution_arn().to_owned());
    }
    assert_eq!(started[0], started[1]);
    let described = boto("stepfunctions", "describe_execution", json!({"executionArn": started[0]}));
    assert_eq!(described["input"], "{\"order\":17}");
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn step_functions_start_sync_execution() {
    let (address, served) =
        crate::lambda::listener(r#"{"executionArn":"arn","startDate":1.0,"status":"SUCCEEDED"}"#);
    let caller = Caller::new();
    let sfn = client!(aws_sdk_sfn, &sdk_config());
    // moto does not run express workflows; their address has a prefix, which a test has no name for.
    let config = sfn.config().to_builder().endpoint_url(address).build();
    let sfn = aws_sdk_sfn::Client::from_conf(config);
    let start = sfn.start_sync_execution().state_machine_arn("arn:aws:states:eu-west-1:1:stateMachine:m");
    let start = start.name("n").input("{}").customize().interceptor(NoPrefix);
    start.send().with_context(caller.context.clone()).await.unwrap();
    let request = served.join().unwrap();
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    let input: Value = serde_json::from_str(body["input"].as_str().unwrap()).unwrap();
    let event = event("arn:aws:states:eu-west-1:1:express:m:n:1", &input);
    let (ours, theirs) = (rust(&event).unwrap(), python(&event).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(ours.trace, caller.trace());
    crate::chain::check(&event, None, ours);
}

/// Sends the call to the address that was set, as it is.
#[derive(Debug)]
struct NoPrefix;

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl aws_smithy_runtime_api::client::interceptors::Intercept for NoPrefix {
    fn name(&self) -> &'static str {
        "NoPrefix"
    }

    fn modify_before_transmit(
        &self,
        context: &mut aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut<'_>,
        _: &aws_smithy_runtime_api::client::runtime_components::RuntimeComponents,
        _: &mut aws_smithy_types::config_bag::ConfigBag,
    ) -> Result<(), aws_smithy_runtime_api::box_error::BoxError> {
        let uri = context.request().uri().replace("://sync-", "://");
        context.request_mut().set_uri(uri)?;
        Ok(())
    }
}
