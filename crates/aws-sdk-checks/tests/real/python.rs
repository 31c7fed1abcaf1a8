//! The other direction: messages sent by AWS's client for Python with Datadog's tracer in it continue here.

use datadog_aws_sdk::{client, received};
use opentelemetry::trace::{FutureExt, TraceContextExt};
use serde_json::{Value, json};

use crate::sqs::{event, first, queue};
use crate::world::{Caller, boto, rust, sdk_config, traced_boto, traced_boto_at};

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn python_sqs_to_rust() {
    let url = queue("from-python");
    let sent = traced_boto("sqs", "send_message", json!({"QueueUrl": url, "MessageBody": "x"}));
    // To a function: it is left in the queue for the next.
    let peek = json!({"QueueUrl": url, "VisibilityTimeout": 0, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]});
    let message = boto("sqs", "receive_message", peek)["Messages"][0].clone();
    assert_eq!(rust(&event(&[message])).unwrap().trace, sent);
    // To a service.
    let poller = Caller::new();
    let sqs = client!(aws_sdk_sqs, &sdk_config());
    let poll = sqs.receive_message().queue_url(&url).wait_time_seconds(20);
    let got = poll.send().with_context(poller.context.clone()).await.unwrap();
    let context = received!(got.messages()[0]).context();
    assert_eq!(context.span().span_context().trace_id(), sent);
    assert_eq!(poller.span("SQS.ReceiveMessage").links.links[0].span_context.trace_id(), sent);
}

/// Datadog's tracer tells each message of a batch.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn python_batches_to_rust() {
    let url = queue("from-python-batch");
    let entry = |id: &str| json!({"Id": id, "MessageBody": "x"});
    let batch = json!({"QueueUrl": url, "Entries": [entry("a"), entry("b")]});
    let sent = traced_boto("sqs", "send_message_batch", batch);
    let got = crate::sqs::messages(&url);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|message| rust(&event(std::slice::from_ref(message))).unwrap().trace == sent));

    let url = queue("from-python-sns-batch");
    let topic = boto("sns", "create_topic", json!({"Name": "from-python-batch"}))["TopicArn"].clone();
    let endpoint = crate::sqs::queue_arn("from-python-sns-batch");
    boto("sns", "subscribe", json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": endpoint}));
    let entries = [json!({"Id": "a", "Message": "x"})];
    let sent = traced_boto(
        "sns",
        "publish_batch",
        json!({"TopicArn": topic, "PublishBatchRequestEntries": entries}),
    );
    assert_eq!(rust(&event(&[first(&url)])).unwrap().trace, sent);

    boto("kinesis", "create_stream", json!({"StreamName": "from-python-batch", "ShardCount": 1}));
    let record = json!({"PartitionKey": "k", "Data": {"base64": "e30="}});
    let put = json!({"StreamName": "from-python-batch", "Records": [record]});
    let sent = traced_boto("kinesis", "put_records", put);
    let (_, event) = crate::kinesis::records("from-python-batch").remove(0);
    assert_eq!(rust(&event).unwrap().trace, sent);
}

/// By the Invoke API of the local Lambda: a Rust function is a part of the Python caller's trace.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn python_invoke_to_rust() {
    let invoke = json!({"FunctionName": "rust", "Payload": {"base64": "e30="}});
    let sent = traced_boto_at(&crate::chain::endpoint(), "lambda", "invoke", invoke);
    crate::chain::has_root(sent, "rust");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn python_step_functions_to_rust() {
    let arn = crate::step_functions::machine("from-python");
    let start = json!({"stateMachineArn": arn, "input": "{\"order\":17}"});
    let sent = traced_boto("stepfunctions", "start_execution", start);
    let all = boto("stepfunctions", "list_executions", json!({"stateMachineArn": arn}));
    let execution = all["executions"][0]["executionArn"].as_str().unwrap();
    let described = boto("stepfunctions", "describe_execution", json!({"executionArn": execution}));
    let input: Value = serde_json::from_str(described["input"].as_str().unwrap()).unwrap();
    let event = crate::step_functions::event(execution, &input);
    assert_eq!(rust(&event).unwrap().trace, sent);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn python_sns_to_rust() {
    let url = queue("from-python-sns");
    let topic = boto("sns", "create_topic", json!({"Name": "from-python-sns"}))["TopicArn"].clone();
    let endpoint = crate::sqs::queue_arn("from-python-sns");
    boto("sns", "subscribe", json!({"TopicArn": topic, "Protocol": "sqs", "Endpoint": endpoint}));
    let sent = traced_boto("sns", "publish", json!({"TopicArn": topic, "Message": "x"}));
    assert_eq!(rust(&event(&[first(&url)])).unwrap().trace, sent);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn python_kinesis_to_rust() {
    boto("kinesis", "create_stream", json!({"StreamName": "from-python", "ShardCount": 1}));
    let data = json!({"base64": "eyJvcmRlciI6MTd9"});
    let put = json!({"StreamName": "from-python", "PartitionKey": "k", "Data": data});
    let sent = traced_boto("kinesis", "put_record", put);
    let (_, event) = crate::kinesis::records("from-python").remove(0);
    assert_eq!(rust(&event).unwrap().trace, sent);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn python_eventbridge_to_rust() {
    let url = queue("from-python-events");
    boto("events", "put_rule", json!({"Name": "from-python", "EventPattern": "{\"source\":[\"python\"]}"}));
    let target = json!({"Id": "1", "Arn": crate::sqs::queue_arn("from-python-events")});
    boto("events", "put_targets", json!({"Rule": "from-python", "Targets": [target]}));
    let entry = json!({"Source": "python", "DetailType": "t", "Detail": "{\"order\":17}"});
    let sent = traced_boto("events", "put_events", json!({"Entries": [entry]}));
    assert_eq!(rust(&event(&[first(&url)])).unwrap().trace, sent);
}
