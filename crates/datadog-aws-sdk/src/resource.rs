//! What a call is about, as tags: the queue, table, stream or bucket, read from the serialised request.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use model::Arn;
use opentelemetry::KeyValue;

use crate::json_text::Object;

/// Tags that the request's body or path gives, before it has its endpoint.
pub(crate) fn of_request(
    service: &str,
    operation: &str,
    request: &HttpRequest,
    region: Option<&str>,
) -> Vec<KeyValue> {
    let mut tags = Tags(Vec::new());
    match service {
        "Lambda" => tags.put("functionname", function_name(request.uri())),
        "SNS" => sns(request, operation, &mut tags),
        "Redshift" => tags.put("clusteridentifier", of_form(request, "ClusterIdentifier")),
        "SQS" | "Kinesis" | "DynamoDB" | "EventBridge" | "SFN" | "CloudWatch Logs" => {
            if let Some(body) = json(request) {
                of_json(service, operation, &body, region, &mut tags);
            }
        }
        _ => {}
    }
    tags.0
}

/// The service's host, as maps of services name it. Told by functions only, elsewhere its own agent knows.
pub(crate) fn peer_service(service: &str, region: &str, bucket: Option<&str>) -> Option<String> {
    let name = match service {
        "EventBridge" => "events",
        "SQS" => "sqs",
        "SNS" => "sns",
        "Kinesis" => "kinesis",
        "DynamoDB" => "dynamodb",
        "S3" => "s3",
        _ => return None,
    };
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let bucket = bucket.map(|bucket| format!("{bucket}.")).unwrap_or_default();
    Some(format!("{bucket}{name}.{region}.{domain}"))
}

/// The body of a request in any version of AWS JSON.
pub(crate) fn json(request: &HttpRequest) -> Option<Object<'_>> {
    let is_json = request.headers().get("content-type")?.starts_with("application/x-amz-json-1.");
    is_json.then(|| Object::parse(std::str::from_utf8(request.body().bytes()?).ok()?)).flatten()
}

struct Tags(Vec<KeyValue>);

impl Tags {
    fn put(&mut self, key: &'static str, value: Option<impl Into<String>>) {
        if let Some(value) = value.map(Into::into).filter(|value| !value.is_empty()) {
            self.0.push(KeyValue::new(key, value));
        }
    }
}

fn of_json(service: &str, operation: &str, body: &Object<'_>, region: Option<&str>, tags: &mut Tags) {
    let text = |name: &str| body.string(name).map(std::borrow::Cow::into_owned);
    match service {
        "SQS" => {
            if let Some(url) = text("QueueUrl") {
                queue(&url, region, tags);
            }
            if matches!(operation, "SendMessage" | "SendMessageBatch" | "ReceiveMessage") {
                tags.put("messaging.system", Some("aws_sqs"));
            }
            if let Some(entries) = body.list("Entries") {
                tags.0.push(KeyValue::new("messaging.batch.message_count", count(entries.len())));
            }
        }
        "Kinesis" => {
            let of_arn = || Some(text("StreamARN")?.rsplit_once('/')?.1.to_owned());
            let name = text("StreamName").or_else(of_arn);
            tags.put("streamname", name.clone());
            tags.put("aws.kinesis.stream_name", name);
            if matches!(operation, "PutRecord" | "PutRecords") {
                tags.put("messaging.system", Some("aws_kinesis"));
            }
        }
        "DynamoDB" => {
            let name = text("TableName").or_else(|| only_table(body));
            let name = name.map(|table| table_name(&table).to_owned());
            tags.put("tablename", name.clone());
            tags.put("aws.dynamodb.table_name", name);
        }
        "EventBridge" if operation == "PutEvents" => tags.put("messaging.system", Some("aws_eventbridge")),
        "EventBridge" if operation.ends_with("Rule") => tags.put("rulename", text("Name")),
        "EventBridge" => tags.put("rulename", text("Rule")),
        "SFN" => {
            let arn = text("stateMachineArn");
            let name = arn.as_deref().and_then(|arn| arn.split_once(":stateMachine:")?.1.split(':').next());
            tags.put("statemachinename", name);
            tags.put("statemachinearn", arn);
        }
        _ => tags.put("loggroupname", text("logGroupName")),
    }
}

/// `https://sqs.eu-west-1.amazonaws.com/123456789012/orders`
fn queue(url: &str, region: Option<&str>, tags: &mut Tags) {
    let mut parts = url.rsplit('/');
    let (name, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    tags.put("queuename", Some(name));
    tags.put("aws.sqs.queue_name", Some(name));
    tags.put("aws.queue.url", Some(url));
    if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) {
        tags.put("aws_account", Some(account));
        let arn = |region| format!("arn:{}:sqs:{region}:{account}:{name}", Arn::partition_of(region));
        tags.put("cloud.resource_id", region.map(arn));
    }
}

fn sns(request: &HttpRequest, operation: &str, tags: &mut Tags) {
    let last = |arn: &String| arn.rsplit_once(':').map(|(_, name)| name.to_owned());
    let (topic, target) = (of_form(request, "TopicArn"), of_form(request, "TargetArn"));
    tags.put("topicname", topic.as_ref().and_then(last));
    tags.put("targetname", target.as_ref().and_then(last));
    let arn = topic.or(target);
    tags.put("aws_account", arn.as_deref().and_then(|arn| arn.split(':').nth(4)));
    tags.put("aws.sns.topic_arn", arn);
    if matches!(operation, "Publish" | "PublishBatch") {
        tags.put("messaging.system", Some("aws.sns"));
    }
}

/// Of names that need no escapes, the value, in which only `:` and `/` are escaped.
fn of_form(request: &HttpRequest, name: &str) -> Option<String> {
    let is_form = request.headers().get("content-type")?.starts_with("application/x-www-form-urlencoded");
    let text = is_form.then(|| std::str::from_utf8(request.body().bytes()?).ok()).flatten()?;
    let pair = text.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    Some(pair.1.replace("%3A", ":").replace("%2F", "/"))
}

/// The table of a batch, when it is one. More are not named.
fn only_table(body: &Object<'_>) -> Option<String> {
    let tables = body.object("RequestItems")?;
    let (name, _) = tables.iter().next().filter(|_| tables.len() == 1)?;
    Some(name.to_owned())
}

/// A table's name may be given as its ARN.
pub(crate) fn table_name(table: &str) -> &str {
    let named = table.split_once(":table/").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    named.unwrap_or(table)
}

/// Of `…/functions/{name, or name:alias, or ARN}/…`.
fn function_name(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/functions/")?;
    let given = rest.split(['/', '?']).next()?.replace("%3A", ":").replace("%3a", ":");
    let mut parts = given.split(':').skip_while(|part| *part != "function").skip(1);
    let name = parts.next().or_else(|| given.split(':').next())?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn check(
        service: &str,
        operation: &str,
        kind: &'static str,
        body: &'static str,
        expect: &[(&str, &str)],
    ) {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.headers_mut().insert("content-type", kind);
        let got = of_request(service, operation, &request, Some("eu-west-1"));
        let got: Vec<_> = got.iter().map(|kv| (kv.key.to_string(), kv.value.to_string())).collect();
        let expect: Vec<_> = expect.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(got, expect, "{service} {body}");
    }

    const JSON: &str = "application/x-amz-json-1.0";
    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn what_calls_are_about() {
        check(
            "SQS",
            "SendMessageBatch",
            JSON,
            r#"{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/123456789012/orders","Entries":[{},{}]}"#,
            &[
                ("queuename", "orders"),
                ("aws.sqs.queue_name", "orders"),
                ("aws.queue.url", "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"),
                ("aws_account", "123456789012"),
                ("cloud.resource_id", "arn:aws:sqs:eu-west-1:123456789012:orders"),
                ("messaging.system", "aws_sqs"),
                ("messaging.batch.message_count", "2"),
            ],
        );
        let topic = "arn:aws:sns:eu-west-1:123456789012:orders";
        check(
            "SNS",
            "Publish",
            FORM,
            "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3Aorders",
            &[
                ("topicname", "orders"),
                ("aws_account", "123456789012"),
                ("aws.sns.topic_arn", topic),
                ("messaging.system", "aws.sns"),
            ],
        );
        let stream = [
            ("streamname", "orders"),
            ("aws.kinesis.stream_name", "orders"),
            ("messaging.system", "aws_kinesis"),
        ];
        check("Kinesis", "PutRecord", JSON, r#"{"StreamName":"orders"}"#, &stream);
        check(
            "Kinesis",
            "PutRecord",
            JSON,
            r#"{"StreamARN":"arn:aws:kinesis:eu-west-1:1:stream/orders"}"#,
            &stream,
        );
        let table = [("tablename", "orders"), ("aws.dynamodb.table_name", "orders")];
        check("DynamoDB", "GetItem", JSON, r#"{"TableName":"orders"}"#, &table);
        check(
            "DynamoDB",
            "GetItem",
            JSON,
            r#"{"TableName":"arn:aws:dynamodb:eu-west-1:1:table/orders"}"#,
            &table,
        );
        check("DynamoDB", "BatchWriteItem", JSON, r#"{"RequestItems":{"orders":[]}}"#, &table);
        check("DynamoDB", "BatchWriteItem", JSON, r#"{"RequestItems":{"orders":[],"other":[]}}"#, &[]);
        check("EventBridge", "PutRule", JSON, r#"{"Name":"r"}"#, &[("rulename", "r")]);
        check("EventBridge", "PutTargets", JSON, r#"{"Rule":"r"}"#, &[("rulename", "r")]);
        check("EventBridge", "CreateEventBus", JSON, r#"{"Name":"r"}"#, &[]);
        let arn = "arn:aws:states:eu-west-1:1:stateMachine:orders";
        check(
            "SFN",
            "StartExecution",
            JSON,
            r#"{"stateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:orders"}"#,
            &[("statemachinename", "orders"), ("statemachinearn", arn)],
        );
        check("CloudWatch Logs", "PutLogEvents", JSON, r#"{"logGroupName":"g"}"#, &[("loggroupname", "g")]);
        check("Redshift", "X", FORM, "Action=X&ClusterIdentifier=c", &[("clusteridentifier", "c")]);
    }

    #[test]
    fn what_is_not_known_gives_nothing() {
        check("SQS", "ListQueues", JSON, "{}", &[]);
        check("DynamoDB", "GetItem", JSON, "{", &[]);
        check("DynamoDB", "GetItem", "application/cbor", r#"{"TableName":"orders"}"#, &[]);
        check("SNS", "ListTopics", JSON, "", &[]);
        check("STS", "AssumeRole", FORM, "Action=AssumeRole", &[]);
    }

    #[test]
    fn functions_are_named_in_many_ways() {
        let check =
            |url: &str, expect: Option<&str>| assert_eq!(function_name(url).as_deref(), expect, "{url}");
        check("/2015-03-31/functions/orders/invocations", Some("orders"));
        check("/2015-03-31/functions/orders?Qualifier=1", Some("orders"));
        check("/2015-03-31/functions/orders%3Alive/invocations", Some("orders"));
        check(
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu%3A1%3Afunction%3Aorders%3A7/code",
            Some("orders"),
        );
        check("/2015-03-31/functions/1%3Afunction%3Aorders/invocations", Some("orders"));
        check("/2015-03-31/functions/", None);
        check("/2015-03-31/layers", None);
    }

    #[test]
    fn peers() {
        let check = |service, region, bucket, expect: Option<&str>| {
            assert_eq!(peer_service(service, region, bucket).as_deref(), expect);
        };
        check("SQS", "eu-west-1", None, Some("sqs.eu-west-1.amazonaws.com"));
        check("EventBridge", "cn-north-1", None, Some("events.cn-north-1.amazonaws.com.cn"));
        check("S3", "eu-west-1", Some("b"), Some("b.s3.eu-west-1.amazonaws.com"));
        check("S3", "eu-west-1", None, Some("s3.eu-west-1.amazonaws.com"));
        check("SFN", "eu-west-1", None, None);
    }
}
