//! Readings of whole events.

use std::collections::HashSet;

use model::{Arn, TraceId};
use propagation::{Behavior, Style};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use serde_json::{Value, json};

use super::*;

fn function() -> Function {
    Function { name: "orders".into(), region: "eu-west-1".into(), account: "123456789012".into() }
}

fn reading(name: &str) -> Reading {
    let event: Value = serde_json::from_str(testkit::event(name)).unwrap();
    read(&event, &function(), &Settings::default())
}

fn first_trace() -> Option<TraceId> {
    TraceId::from_u128(0x66a1b2c300000000112210f47de98115)
}

#[test]
fn an_http_api_request() {
    let found = reading("http-api");
    assert_eq!((found.kind, found.event_source, found.is_http), (Kind::HttpApi, Some("api-gateway"), true));
    let arn = "arn:aws:apigateway:eu-west-1::/apis/a1b2c3d4e5/stages/$default";
    assert_eq!(found.event_source_arn.as_deref(), Some(arn));
    let parent = found.parent.unwrap();
    assert_eq!((Some(parent.trace_id), parent.span_id), (first_trace(), SpanId::new(987_654_321)));
    let [span] = &found.inferred[..] else { panic!("{:?}", found.inferred) };
    assert_eq!((span.name.as_ref(), span.resource.as_ref()), ("aws.httpapi", "GET /orders/{id}"));
    assert_eq!(span.service, "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com");
    assert_eq!(
        (span.start, span.end),
        (UnixNanos::from_millis(1_721_873_123_456), InferredEnd::InvocationEnd)
    );
    assert_eq!(found.tags.get("http.route").unwrap(), "/orders/{id}");
}

#[test]
fn an_sqs_message() {
    for name in ["sqs", "sqs-binary"] {
        let found = reading(name);
        assert_eq!((found.kind, found.event_source, found.is_http), (Kind::Sqs, Some("sqs"), false));
        assert_eq!(found.event_source_arn.as_deref(), Some("arn:aws:sqs:eu-west-1:123456789012:orders"));
        assert_eq!(found.parent.map(|p| p.trace_id), first_trace(), "{name}");
        let [span] = &found.inferred[..] else { panic!("{:?}", found.inferred) };
        assert_eq!(
            (span.name.as_ref(), span.service.as_ref(), span.resource.as_ref()),
            ("aws.sqs", "orders", "orders")
        );
        assert_eq!(span.end, InferredEnd::InvocationStart);
    }
}

#[test]
fn every_record_of_a_batch_counts() {
    let found = reading("sqs-batch");
    // The first record carries nothing, and does not hide the others.
    assert_eq!(found.parent.map(|p| p.trace_id), first_trace());
    assert_eq!(found.inferred[0].start, UnixNanos::from_millis(1_721_873_123_476));
    let links: Vec<_> = found.links.iter().map(|l| l.span_id.unwrap().get()).collect();
    assert_eq!(links, [187_654_321]);
    let event: Value = serde_json::from_str(testkit::event("sqs-batch")).unwrap();
    let each: Vec<_> = records(&event)
        .map(|r| record_context(r, &Settings::default()).and_then(|c| c.span_id).map(SpanId::get))
        .collect();
    let (a, b) = (Some(987_654_321), Some(187_654_321));
    assert_eq!(each, [None, a, b, a, b, None]);
}

/// Not only the first record was written by somebody.
#[test]
fn every_record_of_a_batch_has_its_pointer() {
    let check = |name: &str, change: fn(&mut Value, usize)| {
        let mut event: Value = serde_json::from_str(testkit::event(name)).unwrap();
        let first = event["Records"][0].clone();
        event["Records"] = (0..3)
            .map(|n| {
                let mut record = first.clone();
                change(&mut record, n);
                record
            })
            .collect();
        let links = read(&event, &function(), &Settings::default()).links;
        let hashes: HashSet<_> =
            links.iter().filter_map(|link| link.attributes.get("ptr.hash").cloned()).collect();
        assert_eq!(hashes.len(), 3, "{name}: {links:?}");
    };
    check("s3", |record, n| record["s3"]["object"]["key"] = format!("orders/{n}.json").into());
    check("dynamodb", |record, n| {
        record["eventName"] = "INSERT".into();
        record["dynamodb"]["Keys"] = json!({"id": {"N": n.to_string()}});
    });
}

/// China and the US government have their own.
#[test]
fn arns_are_of_the_partition_of_the_region() {
    let check = |name: &str, region: &str, want: &str| {
        let event: Value = serde_json::from_str(testkit::event(name)).unwrap();
        let found = read(&event, &Function { region: region.into(), ..function() }, &Settings::default());
        assert_eq!(found.event_source_arn.as_deref(), Some(want));
    };
    let url = "function-url";
    check(url, "cn-north-1", "arn:aws-cn:lambda:cn-north-1:123456789012:url:orders");
    check(url, "us-gov-west-1", "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:url:orders");
    check(url, "eu-west-1", "arn:aws:lambda:eu-west-1:123456789012:url:orders");
    let api = "http-api";
    check(api, "cn-north-1", "arn:aws-cn:apigateway:cn-north-1::/apis/a1b2c3d4e5/stages/$default");
    check(api, "us-gov-west-1", "arn:aws-us-gov:apigateway:us-gov-west-1::/apis/a1b2c3d4e5/stages/$default");
}

#[test]
fn a_kinesis_span_has_all_of_its_tags() {
    let found = reading("kinesis");
    let [span] = &found.inferred[..] else { panic!("{:?}", found.inferred) };
    for key in [
        "operation_name",
        "stream_name",
        "shard_id",
        "event_source_arn",
        "event_id",
        "event_name",
        "event_version",
        "partition_key",
    ] {
        assert!(span.tags.get(key).is_some_and(|value| !value.is_empty()), "{key}: {:?}", span.tags);
    }
}

/// SNS leaves the attributes out of a message that has none.
#[test]
fn a_notification_without_attributes_has_its_span() {
    let found = reading("sqs-sns-no-attributes");
    let spans: Vec<_> = found.inferred.iter().map(|span| (&*span.name, &*span.resource)).collect();
    assert_eq!(spans, [("aws.sns", "order-events"), ("aws.sqs", "orders")]);
}

/// Anybody who may send to a queue writes this.
#[test]
fn a_trace_header_of_any_length_is_read_or_left() {
    let check = |header: &str, want: Option<u64>| {
        let event = json!({"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:r:1:q",
            "attributes": {"AWSTraceHeader": header}}]});
        let parent = read(&event, &function(), &Settings::default()).parent;
        assert_eq!(parent.map(|parent| parent.trace_id.low()), want, "{header}");
    };
    let whole = "Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1";
    check(whole, Some(0x6dfd_06bf_489a_a4e5));
    for end in 0.."Root=1-65eb7350-000000006dfd06bf489aa4e5".len() {
        check(whole.get(..end).unwrap(), None);
    }
    check("Root=1-65eb7350-00000000;Parent=1", None);
    check("Root=1-65eb7350-0000000ö6dfd06bf489aa4e;Parent=1", None);
}

#[test]
fn links_are_bounded() {
    let record = |n: usize| {
        let carrier =
            json!({"x-datadog-trace-id": (n + 1).to_string(), "x-datadog-parent-id": "1"}).to_string();
        json!({"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:r:1:q",
            "messageAttributes": {"_datadog": {"dataType": "String", "stringValue": carrier}}})
    };
    let event = json!({"Records": (0..1000).map(record).collect::<Vec<_>>()});
    assert_eq!(read(&event, &function(), &Settings::default()).links.len(), 100);
}

#[test]
fn a_payload_of_the_users_own_is_unknown() {
    let found = reading("direct");
    assert_eq!(found, Reading::default());
    // Headers of a request that was passed on are worth a look wherever they lie.
    for path in ["/headers", "/request/headers"] {
        let headers = json!({"X-Datadog-Trace-Id": "5"});
        let event = if path == "/headers" {
            json!({"headers": headers})
        } else {
            json!({"request": {"headers": headers}})
        };
        let found = read(&event, &function(), &Settings::default());
        assert_eq!((found.kind, found.parent.map(|p| p.trace_id.low())), (Kind::Unknown, Some(5)));
    }
}

#[test]
fn managed_services_can_be_switched_off() {
    let event: Value = serde_json::from_str(testkit::event("sqs")).unwrap();
    let settings = Settings { managed_services: false, ..Settings::default() };
    let found = read(&event, &function(), &settings);
    assert!(found.inferred.is_empty() && found.parent.is_some() && found.event_source_arn.is_some());
}

#[test]
fn every_arn_of_the_corpus_is_one() {
    for (name, _) in testkit::events() {
        let found = reading(name);
        // Of EventBridge it is the event's source, as the extension has it.
        let arn = found.event_source_arn.filter(|_| found.kind != Kind::EventBridge);
        if let Some(arn) = arn {
            assert!(Arn::new(&arn).is_some(), "{name}: {arn}");
        }
    }
}

#[test]
fn the_corpus() {
    for (name, _) in testkit::events() {
        insta::assert_snapshot!(*name, reading(name).to_string());
    }
}

#[test]
fn every_source_is_in_the_corpus() {
    let seen: HashSet<_> = testkit::events().iter().map(|(name, _)| reading(name).kind).collect();
    for (kind, _, about) in sources() {
        assert!(seen.contains(&kind), "{}", about.name);
    }
}

#[test]
fn a_new_trace_can_be_asked_for() {
    let event: Value = serde_json::from_str(testkit::event("http-api-w3c")).unwrap();
    let with = |behavior| Settings { extract_behavior: behavior, ..Settings::default() };
    let restarted = read(&event, &function(), &with(Behavior::Restart));
    assert_eq!(restarted.parent, None);
    let [link] = &restarted.links[..] else { panic!("{:?}", restarted.links) };
    assert_eq!((link.trace_id, link.span_id), (first_trace(), SpanId::new(0xaa)));
    assert_eq!(link.attributes.get("reason").unwrap(), "propagation_behavior_extract");
    assert_eq!(restarted.baggage.get("user.id").unwrap(), "17");
    let ignored = read(&event, &function(), &with(Behavior::Ignore));
    assert_eq!((&ignored.parent, ignored.links.len(), ignored.baggage.len()), (&None, 0, 0));
    // What is found elsewhere is treated alike, and a caller that knows nothing of this gets nothing.
    let custom = json!({"x-datadog-trace-id": "5", "x-datadog-parent-id": "6"});
    for (behavior, parent, links) in
        [(Behavior::Continue, true, 0), (Behavior::Restart, false, 1), (Behavior::Ignore, false, 0)]
    {
        let settings = with(behavior);
        let mut reading = Reading::default();
        reading.adopt(client_context_found(&custom, &settings), &settings);
        assert_eq!((reading.parent.is_some(), reading.links.len()), (parent, links), "{behavior:?}");
        assert_eq!(client_context(&custom, &settings).is_some(), parent);
    }
}

#[test]
fn a_batch_that_is_not_to_be_continued_is_linked_to() {
    let event: Value = serde_json::from_str(testkit::event("sqs-batch")).unwrap();
    let links = |behavior| {
        let settings = Settings { extract_behavior: behavior, ..Settings::default() };
        let found = read(&event, &function(), &settings);
        assert_eq!(found.parent.is_some(), behavior == Behavior::Continue);
        found.links.iter().filter_map(|l| l.span_id.map(SpanId::get)).collect::<Vec<_>>()
    };
    assert_eq!(links(Behavior::Continue), [187_654_321]);
    assert_eq!(links(Behavior::Restart), [987_654_321, 187_654_321]);
    assert_eq!(links(Behavior::Ignore), [0; 0]);
}

#[test]
fn baggage_needs_no_trace() {
    let event = json!({"version": "2.0", "routeKey": "$default", "headers": {"baggage": "a=1"},
        "requestContext": {"http": {}, "domainName": "d"}});
    let found = read(&event, &function(), &Settings::default());
    assert_eq!((found.parent, found.baggage.get("a").map(AsRef::as_ref)), (None, Some("1")));
}

#[test]
fn pointers_and_authorizers_can_be_switched_off() {
    let with = |name: &str, settings: &Settings| {
        let event: Value = serde_json::from_str(testkit::event(name)).unwrap();
        read(&event, &function(), settings)
    };
    let settings = Settings { span_pointers: false, decode_authorizer: false, ..Settings::default() };
    assert_eq!(with("s3", &settings).links, []);
    let found = with("http-api-authorizer", &settings);
    assert_eq!(
        (found.found_in.as_deref(), found.parent.map(|p| p.trace_id)),
        (Some("headers"), TraceId::from_u128(0x66a1b2c40000000072470fde11a58115))
    );
}

#[test]
fn only_the_first_style_when_asked() {
    let event: Value = serde_json::from_str(testkit::event("http-api")).unwrap();
    let first = |styles: &[Style]| {
        let settings =
            Settings { extract_first: true, extract_styles: styles.to_vec(), ..Settings::default() };
        read(&event, &function(), &settings).parent
    };
    assert!(first(&[Style::Datadog, Style::TraceContext]).is_some_and(|p| p.tags.contains("_dd.p.dm")));
    assert_eq!(first(&[Style::B3]), None);
    assert_eq!(first(&[]), None);
}

#[test]
fn services_of_a_chain() {
    let event: Value = serde_json::from_str(testkit::event("sqs-sns-eventbridge")).unwrap();
    let services = |mapping: &str, representation: bool| {
        let settings = Settings {
            service_mapping: ServiceMapping::parse(mapping),
            service_representation: representation,
            ..Settings::default()
        };
        let found = read(&event, &function(), &settings);
        found.inferred.iter().map(|s| s.service.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(services("", true), ["orders-bus", "order-events", "orders"]);
    assert_eq!(services("", false), ["eventbridge", "sns", "sqs"]);
    assert_eq!(
        services("lambda_sns:topics,order-events:t,lambda_sqs:queues", true),
        ["orders-bus", "t", "queues"]
    );
}

/// EventBridge tells its time in seconds, SQS and the function in milliseconds.
#[test]
fn no_span_of_a_chain_is_longer_than_it_was() {
    let mut event: Value = serde_json::from_str(testkit::event("sqs-eventbridge")).unwrap();
    let body = r#"{"detail-type":"a","source":"b","time":"2024-07-25T02:05:24Z","detail":{}}"#;
    event["Records"][0]["body"] = json!(body);
    let found = read(&event, &function(), &Settings::default());
    let invocation = Invocation {
        trace_id: first_trace().unwrap(),
        parent_id: None,
        request_id: "r",
        service: "orders",
        start: UnixNanos::from_millis(1_721_873_123_460),
        end: UnixNanos::from_millis(1_721_873_123_900),
        error: false,
        http_status_code: None,
    };
    let ids: Vec<_> = [1, 2].into_iter().filter_map(SpanId::new).collect();
    let spans = assemble(&found.inferred, &ids, &invocation);
    let shown: Vec<_> = spans.iter().map(|s| (s.name.as_ref(), s.duration.as_millis())).collect();
    assert_eq!(shown, [("aws.eventbridge", 0), ("aws.sqs", 0)]);
}

#[test]
fn a_record_of_any_batch_has_its_own_context() {
    for (name, expect) in [
        ("kinesis", vec![true, false, true]),
        ("msk", vec![false, true, true]),
        ("sqs-sns-eventbridge", vec![true]),
        ("sqs-aws-trace-header", vec![true]),
        ("sqs-aws-trace-header-xray", vec![false]),
        ("pipes-sqs", vec![false, true]),
        ("http-api", vec![false]),
    ] {
        let event: Value = serde_json::from_str(testkit::event(name)).unwrap();
        let found: Vec<_> =
            records(&event).map(|r| record_context(r, &Settings::default()).is_some()).collect();
        assert_eq!(found, expect, "{name}");
    }
}

/// Messages within messages end somewhere.
#[test]
fn depth_and_size_are_bounded() {
    let mut text = r#"{"order":17}"#.to_owned();
    for _ in 0..8 {
        text = json!({"Type": "Notification", "TopicArn": "arn:aws:sns:r:1:t", "Message": text}).to_string();
    }
    let event =
        json!({"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:r:1:q", "body": text}]});
    assert_eq!(read(&event, &function(), &Settings::default()).inferred.len(), 5);
    let large = format!(r#"{{"detail-type":"a","source":"b","detail":{{"x":"{}"}}}}"#, "y".repeat(5_000_000));
    let event = json!({"Records": [{"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:r:1:q", "body": large}]});
    assert_eq!(read(&event, &function(), &Settings::default()).inferred.len(), 1);
}

#[test]
fn values_are_cut() {
    let long = "ö".repeat(5000);
    let sns = json!({"TopicArn": format!("arn:aws:sns:r:1:{long}"), "Subject": long});
    let event = json!({"Records": [{"EventSource": "aws:sns", "Sns": sns}]});
    let found = read(&event, &function(), &Settings::default());
    let span = &found.inferred[0];
    assert_eq!(span.tags.get("subject").map(|s| s.len()), Some(5000));
    assert!(span.resource.len() <= 5000 && span.service.len() <= 5000);
    assert!(found.event_source_arn.is_some_and(|arn| arn.len() <= 5000));
}

/// Any JSON.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,8}", inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Every place in a value, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(list) => list.iter().enumerate().for_each(|(n, v)| places(v, &format!("{at}/{n}"), out)),
        Value::Object(map) => map.iter().for_each(|(k, v)| places(v, &format!("{at}/{}", escape(k)), out)),
        _ => {}
    }
}

fn check_bounds(event: &Value) {
    let found = read(event, &function(), &Settings::default());
    assert!(found.links.len() <= 300 && found.inferred.len() <= 6);
    let _ = (found.to_string(), identify(event));
    records(event).take(20).for_each(|record| drop(record_context(record, &Settings::default())));
    client_context(event, &Settings::default());
}

proptest! {
    #[test]
    fn no_json_panics(value in json_value()) {
        check_bounds(&value);
    }

    /// What is nearly right goes deeper into the code than what is all wrong.
    #[test]
    fn no_damaged_event_panics(which in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), value in json_value()) {
        let (_, text) = which.get(testkit::events());
        let mut event: Value = serde_json::from_str(text).unwrap();
        let mut all = Vec::new();
        places(&event, "", &mut all);
        *event.pointer_mut(&all[place.index(all.len())]).unwrap() = value;
        check_bounds(&event);
    }

    #[test]
    fn no_damaged_message_panics(at in any::<prop::sample::Index>(), with in ".{0,3}") {
        for name in ["sqs-sns-eventbridge", "sqs", "sqs-binary", "kinesis", "cloudwatch-logs", "rest-api-authorizer"] {
            let mut event: Value = serde_json::from_str(testkit::event(name)).unwrap();
            let mut all = Vec::new();
            places(&event, "", &mut all);
            for place in all {
                if let Some(Value::String(text)) = event.pointer_mut(&place) {
                    let cut = at.index(text.len() + 1);
                    if text.is_char_boundary(cut) {
                        text.insert_str(cut, &with);
                    }
                }
            }
            check_bounds(&event);
        }
    }
}
