//! Events that nobody waits for, and the log for those who ask.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Record;
use sandbox::{Destination, EventRecord, InvocationType, InvokeOptions, Lambda, LambdaConfig, What};
use serde_json::{Value, json};

use super::{PATIENCE, function, start, story};

async fn send(lambda: &Lambda, name: &str, event: Value) -> String {
    let options = InvokeOptions { invocation_type: InvocationType::Event, ..InvokeOptions::default() };
    let queued = lambda.invoke(name, Bytes::from(event.to_string()), options).await.unwrap();
    assert_eq!((queued.status, queued.payload.len()), (202, 0));
    queued.request_id.to_string()
}

/// Waits for so many records of events, of the function of this name.
async fn told(lambda: &Lambda, name: &str, count: usize) -> Vec<EventRecord> {
    let of = || lambda.event_records().into_iter().filter(|r| r.function == name).collect::<Vec<_>>();
    let end = Instant::now() + PATIENCE;
    while of().len() < count {
        assert!(Instant::now() < end, "{:#?}", story(lambda));
        tokio::task::yield_now().await;
    }
    of()
}

#[tokio::test]
async fn an_event_that_fails_is_tried_again_and_then_told_to_another_function() {
    let quick = |name| function(name).retries(2, Duration::from_millis(1)).on_success(Destination::Kept);
    let failing = quick("f").on_failure(Destination::Function("sink".to_owned()));
    let lambda = start(vec![failing, quick("sink")]).await;
    let bad = send(&lambda, "f", json!({ "do": "error", "type": "Function.Bad" })).await;
    let sink = told(&lambda, "sink", 1).await;
    let record: Value = serde_json::from_slice(&sink[0].record).unwrap();
    let record = &record["requestPayload"];
    let context = json!({
        "requestId": bad,
        "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    });
    assert_eq!(record["requestContext"], context);
    assert_eq!(record["requestPayload"], json!({ "do": "error", "type": "Function.Bad" }));
    assert_eq!(record["responsePayload"]["errorType"], "Function.Bad");
    let response = json!({ "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled" });
    assert_eq!(record["responseContext"], response);
    let tries = lambda.timeline().into_iter().filter(
        |e| matches!(&e.what, What::Record(Record::Start(start)) if start.request_id.as_str() == bad),
    );
    assert_eq!(tries.count(), 3);

    let good = send(&lambda, "f", json!({ "n": 1 })).await;
    let kept = told(&lambda, "f", 1).await;
    assert_eq!((kept[0].request_id.as_str(), kept[0].condition, kept[0].attempts), (&*good, "Success", 1));
    lambda.shutdown().await;

    let lost = function("f").on_failure(Destination::Function("nobody".to_owned()));
    let refused = Lambda::start(vec![lost], LambdaConfig::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), r#"there is no function "nobody" to tell events to"#);
}

#[tokio::test]
async fn the_end_of_the_log_comes_with_the_answer_when_asked_for() {
    let lambda = start(vec![function("f").timeout(Duration::from_millis(300))]).await;
    let check = async |event: Value, lines: &[&str]| {
        let options = InvokeOptions { log_tail: true, ..InvokeOptions::default() };
        let result = lambda.invoke("f", Bytes::from(event.to_string()), options).await.unwrap();
        let log = result.log_tail.unwrap();
        let id = result.request_id.as_str();
        let found: Vec<String> =
            log.lines().map(|l| l.replace(id, "ID").split("\tDuration").next().unwrap().to_owned()).collect();
        assert_eq!(found, lines, "{log}");
        log
    };
    let hello = json!({ "do": "print", "text": "hello" });
    let start = "START RequestId: ID Version: $LATEST";
    let (end, report) = ("END RequestId: ID", "REPORT RequestId: ID");
    let log = check(hello.clone(), &[start, "hello", end, report]).await;
    assert!(log.contains("Memory Size: 128 MB\t") && log.contains("Init Duration: "), "{log}");
    let log = check(json!({ "do": "sleep" }), &[start, end, report]).await;
    assert!(log.contains("\tStatus: timeout\t"), "{log}");
    check(hello, &[start, "hello", end, report]).await;
    lambda.shutdown().await;
}
