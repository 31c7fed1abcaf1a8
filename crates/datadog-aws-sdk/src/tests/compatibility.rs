//! The page of what is compatible with what: made from the table of injections, and from the tests that prove it. Every
//! test that it names is there, and every injection has one.

use std::path::Path;

use crate::inject::INJECTIONS;

/// A test on real parts: the operation, the way to those who read it, who those are, and the test.
const TESTS: &[(&str, &str, Readers, &str)] = &[
    ("SQS SendMessage", "boto3 receives it", Readers::All, "sqs_send_message"),
    ("SQS SendMessageBatch", "boto3 receives all ten", Readers::All, "sqs_send_message_batch"),
    (
        "SQS ReceiveMessage",
        "the SDK receives it in a service: links of the poll, the parent of the work",
        Readers::Service,
        "sqs_receive_message",
    ),
    ("SNS Publish", "SNS to a function; SNS to SQS to a function", Readers::All, "sns_publish"),
    ("SNS Publish", "SNS to SQS to a function, raw delivery", Readers::All, "sns_publish_raw"),
    ("SNS PublishBatch", "SNS to a function, of each entry", Readers::All, "sns_publish_batch"),
    (
        "EventBridge PutEvents",
        "EventBridge to a function; EventBridge to SQS to a function",
        Readers::All,
        "eventbridge_put_events",
    ),
    ("Kinesis PutRecord", "boto3 reads the stream", Readers::All, "kinesis_put_record"),
    ("Kinesis PutRecords", "boto3 reads the stream", Readers::All, "kinesis_put_records"),
    ("Lambda Invoke", "the client context", Readers::All, "lambda_invoke"),
    (
        "Lambda InvokeWithResponseStream",
        "the client context",
        Readers::All,
        "lambda_invoke_with_response_stream",
    ),
    (
        "SFN StartExecution",
        "the context object of a task: `Execution.Input`",
        Readers::All,
        "step_functions_start_execution",
    ),
    (
        "SFN StartExecution",
        "a named one is started twice: it is the same execution",
        Readers::None,
        "step_functions_named_executions_stay",
    ),
    (
        "SFN StartSyncExecution",
        "the context object of a task: `Execution.Input`",
        Readers::All,
        "step_functions_start_sync_execution",
    ),
];

/// Who continues the trace in a test.
#[derive(Clone, Copy, PartialEq)]
enum Readers {
    /// Functions with our library and with Datadog's for Python, and the extension for a function without either.
    All,
    /// A service with this crate.
    Service,
    /// Nothing is told.
    None,
}

impl Readers {
    fn cells(self) -> &'static str {
        match self {
            Self::All => "yes | yes | yes",
            Self::Service => "yes | - | -",
            Self::None => "- | - | -",
        }
    }
}

/// Pairs of a Rust and a Python function, with their way and the test that runs them.
const PAIRS: &[(&str, &str, &str)] = &[
    ("SQS-Lambda", "Python, SQS, Rust", "sqs_lambda_here"),
    ("Rust-SQS-Producer", "Rust, SQS, Python", "rust_sqs_producer_here"),
    ("SNS-Lambda", "Python, SNS, Rust", "sns_lambda_here"),
    ("Rust-SNS-Producer", "Rust, SNS, Python", "rust_sns_producer_here"),
    ("EventBridge-Lambda", "Python, EventBridge, Rust", "eventbridge_lambda_here"),
    ("Rust-EventBridge-Producer", "Rust, EventBridge, Python", "rust_eventbridge_producer_here"),
];

/// Writes that are linked to: the operation, where the other side reads it, who agrees, and the test.
const POINTERS: &[(&str, &str, &str, &str)] = &[
    ("S3 PutObject", "S3's notification", "Rust, Python", "s3_put_object"),
    ("S3 PutObject, a key with escapes", "S3's notification", "Rust", "s3_put_object_escaped_key"),
    ("S3 CopyObject", "S3's notification", "Rust, Python", "s3_copy_object"),
    ("S3 CompleteMultipartUpload", "S3's notification", "Rust, Python", "s3_complete_multipart_upload"),
    ("DynamoDB PutItem, UpdateItem, DeleteItem", "the table's stream", "Rust, Python", "dynamodb_items"),
    (
        "DynamoDB PutItem, of a table that is described for it",
        "the table's stream",
        "Rust, Python",
        "dynamodb_tables_are_described",
    ),
    ("DynamoDB BatchWriteItem", "the table's stream", "Rust, Python", "dynamodb_batch_write_item"),
    ("DynamoDB TransactWriteItems", "the table's stream", "Rust, Python", "dynamodb_transact_write_items"),
    ("DynamoDB, binary keys", "the table's stream", "Rust", "dynamodb_binary_keys"),
];

/// What boto3 with Datadog's tracer sends.
const FROM_PYTHON: &[(&str, &str)] = &[
    ("SQS to a function, and to a service that polls", "python_sqs_to_rust"),
    ("SNS to SQS to a function", "python_sns_to_rust"),
    ("EventBridge to SQS to a function", "python_eventbridge_to_rust"),
    ("Kinesis to a function", "python_kinesis_to_rust"),
    ("batches of SQS, of SNS by SQS, and of Kinesis to a function", "python_batches_to_rust"),
    ("Lambda Invoke of a function, in the local Lambda", "python_invoke_to_rust"),
    ("Step Functions to a task", "python_step_functions_to_rust"),
];

/// What comes by event source mappings, to a Rust function with our library and a Python function with Datadog's.
const WAYS: &[(&str, &str, &str)] = &[
    ("SQS SendMessage", "a queue", "way_of_sqs"),
    ("SNS Publish", "SNS to SQS; SNS to a function", "way_of_sns"),
    ("EventBridge PutEvents", "EventBridge to SQS; EventBridge to a function", "way_of_eventbridge"),
    ("Kinesis PutRecord", "a stream", "way_of_kinesis"),
    ("DynamoDB PutItem", "the table's stream: span pointers", "way_of_dynamodb"),
    ("S3 PutObject", "S3's notification: span pointers", "way_of_s3"),
];

/// Checkpoints of Data Streams Monitoring: the operation, the tags, and the test.
const STREAMS: &[(&str, &str, &str)] = &[
    ("SQS SendMessage, SendMessageBatch", "`topic:<queue>`, `type:sqs`", "streams_sqs"),
    ("SNS Publish, PublishBatch", "`topic:<topic ARN>`, `type:sns`", "streams_sns"),
    ("Kinesis PutRecord, PutRecords", "`topic:<stream, as it is named>`, `type:kinesis`", "streams_kinesis"),
    (
        "EventBridge PutEvents",
        "`exchange:<bus>`, `topic:<detail type>`, `type:eventbridge`",
        "streams_eventbridge",
    ),
    ("the same by Datadog's tracer for Python, which our library continues", "the same", "streams_of_python"),
    (
        "a function with both libraries: from what it was invoked by to what it sends",
        "`topic:<queue>`, `type:sqs`",
        "streams_through_a_function",
    ),
    ("latencies, in the bytes of Datadog's tracer for Python", "-", "streams_sketches"),
];

const HEAD: &str = "# Compatibility of the AWS SDK interceptor

<!-- Made by crates/datadog-aws-sdk/src/tests/compatibility.rs from the code. To change it, change that, and run
     UPDATE_DOCS=1 cargo test -p datadog-aws-sdk --lib -->

What to do for it is in [aws-sdk.md](aws-sdk.md); what functions are told by events is in [compatibility.md](compatibility.md).

Each row is a test in `crates/aws-sdk-checks` that runs with `cargo xtask test --only 'real parts'`: the AWS SDK for Rust
with the interceptor sends to moto's AWS API server; boto3 reads what arrived. Of that the event is made that Lambda would
make. It is given to three functions in the local Lambda, each beside the extension: one with `datadog-lambda-rs`, one with
Datadog's library for Python, and one for which the extension makes the span of the invocation. In the local Datadog all
three spans have to be in the caller's trace, below the call's span. moto neither runs functions without Docker nor
express workflows: those calls go to a listener, and what it got goes the same way.

## What calls tell

| Operation | Injected where | The way | Rust library | Python library | Extension | Test |
|---|---|---|---|---|---|---|
";

const POINTERS_HEAD: &str = "
## What calls link to

A call that writes an object or an item links to it, as does the function that is invoked by it: the hashes are the same.

| Operation | The other side | The same hash | Test |
|---|---|---|---|
";

const FROM_PYTHON_HEAD: &str = "
## Messages of Datadog's tracer for Python

Sent by boto3 with `ddtrace`, they continue in Rust.

| Way | Test |
|---|---|
";

const WAYS_HEAD: &str = "
## By event source mappings

Nothing of these ways is made by hand: the mappings of the local Lambda poll moto's queues and streams, and drive both functions. Both
are in the caller's trace, or point to what it wrote.

| Operation | The way | Test |
|---|---|---|
";

const STREAMS_HEAD: &str = "
## Data Streams Monitoring

The pathway that the interceptor writes is continued by Datadog's library for Python, which counts the hash that ours would for a
service of its name; and the other way round. What the function counts comes to the local Datadog by the extension.

| Sent by | Tags of the checkpoint, beside `direction:out` | Test |
|---|---|---|
";

const PAIRS_HEAD: &str = "
## Whole ways

Pairs of functions, one in Rust and one in Python with Datadog's library, each with the extension, and moto between them.
Both functions and the work in the second have to be in one trace with one root.

| Example | Way | Test |
|---|---|---|
";

const DIFFERENCES: &str = "
## Where Datadog's own differ

| Where | Datadog's tracers | Here | Why |
|---|---|---|---|
| JSON that a member is added to | parsed and written anew (Python, Node), or spliced after the first brace (Go) | the text stays, but for the member | numbers, escapes and order are the user's; `{}` and trailing space are JSON too |
| Sizes | of the message before, or none | after, of each entry and of the batch, by the service's own limit | a call must not fail because of it |
| No room for the whole context | nothing | the ids alone, if there is room for them | baggage may be long |
| Named executions of Step Functions | the input is changed | left alone | starting one again with the same input is no error, with another it is |
| An SNS message with ten attributes | an eleventh | left alone | raw delivery loses messages with more than ten |
| `_datadog` that is the user's own, no object | replaced | left alone | it is not ours |
| Items that are put into DynamoDB | need the table's keys set | learnt as well, from calls that name a key or describe the table, and by describing it where that is allowed | nothing to set |
| A table or stream given as ARN | the ARN is the name, or none | reduced to the name | pointers and tags are to agree |
| Buckets in span pointers | Go: the first label of the host | host or path, as the request was sent | path-style and endpoints of one's own |
";

#[test]
fn the_page_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut tests = String::new();
    // The published crate comes without them.
    let Ok(folder) = std::fs::read_dir(root.join("crates/aws-sdk-checks/tests/real")) else { return };
    for entry in folder {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            tests.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    let named = |test: &str| {
        assert!(tests.contains(&format!("fn {test}(")), "there is no test {test}");
        format!("`{test}`")
    };
    let mut page = HEAD.to_owned();
    for injection in INJECTIONS {
        let operation = format!("{} {}", injection.service, injection.operation);
        let of: Vec<_> = TESTS.iter().filter(|(of, ..)| *of == operation).collect();
        assert!(!of.is_empty(), "{operation} has no test on real parts");
        for (_, way, readers, test) in of {
            // Who is said to read it is asked in the test itself.
            let body = tests.split_once(&format!("fn {test}(")).map(|(_, rest)| rest);
            let body =
                body.and_then(|rest| rest.split_once("\n}\n")).map(|(body, _)| body).unwrap_or_default();
            assert_eq!(*readers == Readers::All, body.contains("check"), "{test}");
            let (place, cells, test) = (injection.place, readers.cells(), named(test));
            page.push_str(&format!("| {operation} | {place} | {way} | {cells} | {test} |\n"));
        }
    }
    page.push_str(POINTERS_HEAD);
    for (operation, side, who, test) in POINTERS {
        page.push_str(&format!("| {operation} | {side} | {who} | {} |\n", named(test)));
    }
    page.push_str(FROM_PYTHON_HEAD);
    for (way, test) in FROM_PYTHON {
        page.push_str(&format!("| {way} | {} |\n", named(test)));
    }
    for (head, rows) in [(WAYS_HEAD, WAYS), (STREAMS_HEAD, STREAMS)] {
        page.push_str(head);
        for (operation, what, test) in rows {
            page.push_str(&format!("| {operation} | {what} | {} |\n", named(test)));
        }
    }
    page.push_str(PAIRS_HEAD);
    for (pair, way, test) in PAIRS {
        page.push_str(&format!("| [{pair}](../examples/{pair}) | {way} | {} |\n", named(test)));
    }
    page.push_str(DIFFERENCES);
    let path = root.join("docs/compatibility-aws-sdk.md");
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&*page) {
        let update = "stale: UPDATE_DOCS=1 cargo test -p datadog-aws-sdk --lib";
        assert!(std::env::var_os("UPDATE_DOCS").is_some(), "{update}");
        std::fs::write(&path, page).unwrap();
    }
}
