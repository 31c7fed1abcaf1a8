//! DynamoDB: a call that writes items links to what the table's stream says of them.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, DeleteRequest, Put, PutRequest, TransactWriteItem, WriteRequest,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use datadog_aws_sdk::{DatadogInterceptor, client, describe_with};
use opentelemetry::trace::FutureExt;
use serde_json::{Map, Value, json};

use crate::world::{Caller, boto, pointers, python_pointers, rust_pointers, sdk_config, tags};

/// A table with one or two key attributes, each `name:type`, and a stream.
fn table(name: &str, keys: &[&str]) {
    let keys: Vec<_> = keys.iter().map(|key| key.split_once(':').unwrap()).collect();
    let definitions: Vec<_> =
        keys.iter().map(|(name, kind)| json!({"AttributeName": name, "AttributeType": kind})).collect();
    let role = |n: usize| if n == 0 { "HASH" } else { "RANGE" };
    let schema: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(n, (name, _))| json!({"AttributeName": name, "KeyType": role(n)}))
        .collect();
    let table = json!({
        "TableName": name,
        "AttributeDefinitions": definitions,
        "KeySchema": schema,
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "KEYS_ONLY"},
    });
    boto("dynamodb", "create_table", table);
}

/// The event that Lambda makes of all that a table's stream has.
fn event(table: &str) -> Value {
    let streams = boto("dynamodbstreams", "list_streams", json!({"TableName": table}));
    let arn = streams["Streams"][0]["StreamArn"].clone();
    let described = boto("dynamodbstreams", "describe_stream", json!({"StreamArn": arn}));
    let shard = &described["StreamDescription"]["Shards"][0]["ShardId"];
    let from = json!({"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = boto("dynamodbstreams", "get_shard_iterator", from)["ShardIterator"].clone();
    let got = boto("dynamodbstreams", "get_records", json!({"ShardIterator": iterator}));
    let key = |(name, value): (&String, &Value)| {
        let text = |value: &Value| value.get("base64").cloned().unwrap_or_else(|| value.clone());
        let value: Map<_, _> =
            value.as_object().unwrap().iter().map(|(kind, v)| (kind.clone(), text(v))).collect();
        (name.clone(), Value::Object(value))
    };
    let record = |record: &Value| {
        let keys: Map<_, _> = record["dynamodb"]["Keys"].as_object().unwrap().iter().map(key).collect();
        json!({
            "eventSource": "aws:dynamodb",
            "eventName": record["eventName"],
            "eventSourceARN": arn,
            "dynamodb": {"Keys": keys, "StreamViewType": "KEYS_ONLY"},
        })
    };
    json!({"Records": got["Records"].as_array().unwrap().iter().map(record).collect::<Vec<_>>()})
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: &str) -> AttributeValue {
    AttributeValue::N(value.to_owned())
}

/// The pointers that the calls made are those of the stream, which tells of an item that an update makes twice.
fn check(caller: &Caller, table: &str, expect: usize) {
    let made: Vec<_> = caller.spans().iter().flat_map(pointers).collect();
    let event = event(table);
    assert_eq!(made.len(), expect, "{made:?}");
    let set = |hashes: Vec<String>| hashes.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set(made.clone()), set(rust_pointers(&event)), "{event}");
    assert_eq!(set(made), set(python_pointers(&event)), "{event}");
}

/// The first item that is put is not known to have which key; the update tells.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn dynamodb_items() {
    table("items", &["customer:S", "number:N"]);
    let caller = Caller::new();
    let db = client!(aws_sdk_dynamodb, &sdk_config());
    let update =
        db.update_item().table_name("items").key("customer", text("ada")).key("number", number("1.50"));
    let update = update.update_expression("SET price = :p").expression_attribute_values(":p", number("3"));
    update.send().with_context(caller.context.clone()).await.unwrap();
    let put = db.put_item().table_name("arn:aws:dynamodb:eu-west-1:123456789012:table/items");
    let put = put.item("customer", text("b\u{e9}a")).item("number", number("2")).item("price", number("7"));
    put.send().with_context(caller.context.clone()).await.unwrap();
    let delete =
        db.delete_item().table_name("items").key("number", number("2")).key("customer", text("b\u{e9}a"));
    delete.send().with_context(caller.context.clone()).await.unwrap();
    check(&caller, "items", 3);
    assert_eq!(tags(&caller.span("DynamoDB.PutItem"))["tablename"], "items");
}

/// Where the program lets tables be described, an item that is put tells its key without any other call: as soon as the
/// table has been described, which no call waits for.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn dynamodb_tables_are_described() {
    table("described", &["id:S"]);
    let plain = aws_sdk_dynamodb::Client::new(&sdk_config());
    let interceptor = DatadogInterceptor::new().learn_table_keys(describe_with!(plain));
    let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config()).interceptor(interceptor).build();
    let db = aws_sdk_dynamodb::Client::from_conf(config);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    let made = loop {
        let caller = Caller::new();
        let put = db.put_item().table_name("described").item("id", text("a")).item("n", number("1"));
        put.send().with_context(caller.context.clone()).await.unwrap();
        let made = pointers(&caller.span("DynamoDB.PutItem"));
        assert_eq!(caller.spans().len(), 1, "the table is not described in the caller's trace");
        if !made.is_empty() {
            break made;
        }
        assert!(tokio::time::Instant::now() < deadline, "the table is not described");
    };
    let event = event("described");
    assert!(
        rust_pointers(&event).iter().chain(&python_pointers(&event)).all(|hash| *hash == made[0]),
        "{event}"
    );
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn dynamodb_batch_write_item() {
    table("batches", &["id:S"]);
    let caller = Caller::new();
    let db = client!(aws_sdk_dynamodb, &sdk_config());
    // What describes the table tells its key.
    db.describe_table().table_name("batches").send().with_context(caller.context.clone()).await.unwrap();
    let put = |id: &str| {
        let put = PutRequest::builder().item("id", text(id)).item("n", number("1")).build().unwrap();
        WriteRequest::builder().put_request(put).build()
    };
    let write = |request| {
        let call = db.batch_write_item().request_items("batches", request);
        call.send().with_context(caller.context.clone())
    };
    write(vec![put("a"), put("b")]).await.unwrap();
    let delete = DeleteRequest::builder().key("id", text("a")).build().unwrap();
    write(vec![WriteRequest::builder().delete_request(delete).build(), put("c")]).await.unwrap();
    check(&caller, "batches", 4);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn dynamodb_transact_write_items() {
    table("transactions", &["id:S"]);
    let caller = Caller::new();
    let config = sdk_config();
    let interceptor = DatadogInterceptor::new().table_keys("transactions", ["id"]);
    let config = aws_sdk_dynamodb::config::Builder::from(&config).interceptor(interceptor).build();
    let db = aws_sdk_dynamodb::Client::from_conf(config);
    let put = |id: &str| {
        let put = Put::builder().table_name("transactions").item("id", text(id)).build().unwrap();
        TransactWriteItem::builder().put(put).build()
    };
    let both = db.transact_write_items().transact_items(put("a")).transact_items(put("b"));
    both.send().with_context(caller.context.clone()).await.unwrap();
    let delete = Delete::builder().table_name("transactions").key("id", text("a")).build().unwrap();
    let one = db.transact_write_items().transact_items(TransactWriteItem::builder().delete(delete).build());
    one.send().with_context(caller.context.clone()).await.unwrap();
    check(&caller, "transactions", 3);
}

/// Datadog's library for Python hashes the base64 of binary keys that it reads in events, where it hashes the bytes
/// as a writer. Ours are the bytes on both sides.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn dynamodb_binary_keys() {
    table("binary", &["id:B"]);
    let caller = Caller::new();
    let interceptor = DatadogInterceptor::new().table_keys("binary", ["id"]);
    let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config()).interceptor(interceptor).build();
    let db = aws_sdk_dynamodb::Client::from_conf(config);
    // moto cannot update items with such a key.
    let put = db.put_item().table_name("binary").item("id", AttributeValue::B(Blob::new(b"\x00\xffkey")));
    put.send().with_context(caller.context.clone()).await.unwrap();
    let mut event = event("binary");
    // moto's streams encode bytes twice.
    let key = &mut event["Records"][0]["dynamodb"]["Keys"]["id"]["B"];
    *key = String::from_utf8(BASE64_STANDARD.decode(key.as_str().unwrap()).unwrap()).unwrap().into();
    let made = pointers(&caller.span("DynamoDB.PutItem"));
    assert_eq!((made.len(), &made), (1, &rust_pointers(&event)), "{event}");
}

/// A call that failed has written nothing.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn dynamodb_failed_writes_have_no_pointers() {
    table("failing", &["id:S"]);
    let caller = Caller::new();
    let db = client!(aws_sdk_dynamodb, &sdk_config());
    let delete = db.delete_item().table_name("failing").key("id", text("a"));
    let delete = delete.condition_expression("attribute_exists(id)");
    delete.send().with_context(caller.context.clone()).await.unwrap_err();
    let span = caller.span("DynamoDB.DeleteItem");
    assert_eq!(pointers(&span), [""; 0]);
    assert_eq!(tags(&span)["error.type"], "ConditionalCheckFailedException");
}
