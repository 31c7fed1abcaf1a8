//! EventBridge: to a function, and to a queue.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use datadog_aws_sdk::client;
use opentelemetry::trace::FutureExt;
use serde_json::{Value, json};

use crate::sqs::{check_first, queue, queue_arn};
use crate::world::{Caller, boto, check, sdk_config};

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn eventbridge_put_events() {
    let url = queue("events");
    boto("events", "create_event_bus", json!({"Name": "orders"}));
    let rule = json!({"Name": "all", "EventBusName": "orders", "EventPattern": "{\"source\":[\"shop\"]}"});
    boto("events", "put_rule", rule);
    let targets = json!({"Rule": "all", "EventBusName": "orders", "Targets": [{"Id": "1", "Arn": queue_arn("events")}]});
    boto("events", "put_targets", targets);
    let caller = Caller::new();
    let events = client!(aws_sdk_eventbridge, &sdk_config());
    let entry =
        PutEventsRequestEntry::builder().source("shop").detail_type("placed").event_bus_name("orders");
    let entry = entry.detail("{ \"order\": 17, \"text\": \"a \\\"quote\\\" \u{e9}\" }\n").build();
    let sent = events.put_events().entries(entry).send().with_context(caller.context.clone()).await.unwrap();
    assert_eq!(sent.failed_entry_count(), 0);
    let ids = caller.ids("EventBridge.PutEvents");
    let message = check_first(&url, ids);
    let event: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&event["detail"]["order"], &event["detail"]["text"]),
        (&json!(17), &json!("a \"quote\" \u{e9}"))
    );
    assert_eq!(event["detail"]["_datadog"]["x-datadog-resource-name"], "orders");
    check(&event, ids);
    // Its span is that of the bus, and begins when the call did.
    let reading = trigger::read(&event, &trigger::Function::default(), &trigger::Settings::default());
    assert_eq!(reading.inferred[0].service, "orders");
    let started = caller.span("EventBridge.PutEvents").start_time;
    let started = started.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_millis();
    assert_eq!(u128::from(reading.inferred[0].start.0) / 1_000_000, started);
}
