//! `docs/compatibility.md` says what the code does: it is made here, from the table of sources and from the
//! readings of the corpus. `UPDATE_DOCS=1` writes it anew.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use trigger::{Function, InferredEnd, Kind, Reading, Settings, sources};

#[test]
fn the_page_is_fresh() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(file, page).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(known == page, "docs/compatibility.md is stale: run the tests of `trigger` with UPDATE_DOCS=1");
}

fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    let _ = writeln!(
        out,
        "| Source | `event_source` | Recognised by | Context from | Inferred spans | ARN | HTTP | Span pointers |"
    );
    let _ = writeln!(out, "|---|---|---|---|---|---|---|---|");
    let readings = readings();
    for (kind, event_source, about) in sources() {
        let of_kind =
            || readings.iter().filter(|(_, reading)| reading.kind == kind).map(|(_, reading)| reading);
        let spans: BTreeSet<_> = of_kind().map(chain).filter(|chain| !chain.is_empty()).collect();
        let spans = if spans.is_empty() {
            "none".to_owned()
        } else {
            spans.into_iter().collect::<Vec<_>>().join("; ")
        };
        let arn = of_kind().any(|reading| reading.event_source_arn.is_some());
        let http = of_kind().any(|reading| reading.is_http);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {spans} | {} | {} | {} |",
            about.name,
            event_source.map_or("-".to_owned(), |name| format!("`{name}`")),
            about.recognised,
            about.context,
            if arn { "yes" } else { "-" },
            if http { "yes" } else { "-" },
            about.pointers.unwrap_or("-"),
        );
    }
    out += AFTER_SOURCES;
    for (name, what, ours, why) in DIFFERENCES {
        let _ = writeln!(out, "| {name} | {what} | {ours} | {why} |");
    }
    out + EXAMPLES + &examples(&readings)
}

fn readings() -> Vec<(&'static str, Reading)> {
    let function = Function { name: "f".into(), region: "eu-west-1".into(), account: "123456789012".into() };
    let read =
        |text| trigger::read(&serde_json::from_str::<Value>(text).unwrap(), &function, &Settings::default());
    testkit::events().iter().map(|(name, text)| (*name, read(text))).collect()
}

/// `aws.sns` > `aws.sqs` (async)
fn chain(reading: &Reading) -> String {
    let names: Vec<_> = reading.inferred.iter().map(|span| format!("`{}`", span.name)).collect();
    let Some(last) = reading.inferred.last() else { return String::new() };
    let sync = if last.end == InferredEnd::InvocationEnd { "sync" } else { "async" };
    format!("{} ({sync})", names.join(" > "))
}

fn examples(readings: &[(&'static str, Reading)]) -> String {
    let mut by_kind: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, reading) in readings {
        let name_of = |kind| sources().find(|(k, ..)| *k == kind).map(|(.., about)| about.name.to_owned());
        let kind = if reading.kind == Kind::Unknown { None } else { name_of(reading.kind) };
        by_kind.entry(kind.unwrap_or("Unknown".to_owned())).or_default().push(name);
    }
    let lines = by_kind.into_iter().map(|(kind, names)| format!("- {kind}: {}\n", names.join(", ")));
    lines.collect()
}

const INTRODUCTION: &str = "# Compatibility

<!-- Made by crates/trigger/tests/compatibility.rs from the code. To change it, change that, and run
     UPDATE_DOCS=1 cargo test -p trigger --test compatibility -->

What is done for the event of each service, by the library and by the extension alike. The first row that
matches counts. Every record of a batch is looked at: the first context that is valid is the parent of the
invocation, those of other traces become span links, at most 100.

An event that no row matches is unknown: its parent is looked for in `_datadog`, `request.headers` and `headers`,
then in the client context of a direct call (`custom`, flat or in `_datadog`).

A message that another service sent (SNS, EventBridge, S3) is followed to any depth that occurs; each service
on the way has its span, the parent of the next. A carrier that holds a Step Functions context object
(`Execution` and `State`) stands for the state machine's span.

What calls of the AWS SDK tell, and who reads it, is in [compatibility-aws-sdk.md](compatibility-aws-sdk.md).
What tracers, exporters and DogStatsD clients send, and every difference from Datadog's own trace agent with its reason, is in
[compatibility-tracers.md](compatibility-tracers.md).

## Sources

";

const AFTER_SOURCES: &str = "
Header styles: `datadog`, `tracecontext`, `b3`, `b3multi`, `xray`, `baggage`; default `datadog,tracecontext,baggage`. They are
tried in order; a context of another trace than the first becomes a link.

## Where Datadog's own differ

The Python and Node libraries and the extension do not agree in everything. What the extension does comes
first here, since that is what it does for functions today; where dashboards know the libraries' name, both
are set.

| Where | Libraries and extension | Here | Why |
|---|---|---|---|
";

const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    ("HTTP", "Python, Node `http.useragent`; extension `http.user_agent`", "both", "dashboards"),
    (
        "Kinesis span",
        "Python, Node `streamname`, `shardid`; extension `stream_name`, `shard_id`",
        "both",
        "dashboards",
    ),
    (
        "Kinesis `shardid`",
        "Python, extension: before the colon of `eventID`; Node: behind it",
        "before",
        "it is the shard",
    ),
    ("DynamoDB span", "Python, Node `tablename`; extension `table_name`", "both", "dashboards"),
    ("DynamoDB resource", "Python: table; Node, extension: event and table", "event and table", "extension"),
    (
        "SQS span",
        "Python, Node `queuename`, `event_source_arn`; extension `source_arn`",
        "both",
        "dashboards",
    ),
    ("SQS `retry_count`", "`ApproximateReceiveCount` in all", "the same", "-"),
    ("EventBridge ARN", "Python: `resources[0]`; Node, extension: `source`", "`source`", "extension"),
    (
        "EventBridge service and resource",
        "Python, Node: `source`; extension: the bus when the producer names it",
        "the bus, else `source`",
        "extension",
    ),
    (
        "EventBridge start",
        "Python, Node: `time`; extension: `x-datadog-start-time`, else `time`",
        "extension's; of a state machine `State.EnteredTime`",
        "`time` has seconds only",
    ),
    ("S3 ARN", "Python, Node: the bucket's; extension: `aws:s3`", "the bucket's", "it is to be an ARN"),
    ("HTTP API ARN", "`/restapis/…` in all", "`/apis/…`", "`/restapis/` names another API"),
    ("HTTP API 1.0 ARN", "`/restapis/…` in all", "`/apis/…`", "the same"),
    (
        "`dd_resource_key`",
        "Python: event source ARN; Node, extension: API's ARN; none for messages in the extension",
        "API's ARN; of messages the event source ARN",
        "links to the resource",
    ),
    (
        "WebSocket span",
        "Python `aws.apigateway.websocket`; Node, extension `aws.apigateway`",
        "`aws.apigateway`",
        "extension",
    ),
    ("WebSocket synchronicity", "Python, Node: sync; extension: async", "async", "extension"),
    (
        "WebSocket `http.url`",
        "domain and route key, without a slash, in all",
        "with a slash",
        "it is to be a URL",
    ),
    (
        "HTTP resource",
        "Python: the route; extension: the path with its ids replaced",
        "the route, but for `{proxy+}` and `$default` the path with its ids replaced",
        "a greedy route tells nothing",
    ),
    (
        "ALB span",
        "Python `aws.alb`, starting with the function; Node, extension: none",
        "none",
        "extension; the event has no time",
    ),
    ("`apiname`", "Python, Node: the API's id", "not set", "it is not the name"),
    ("Kafka span", "extension `aws.msk`; Python, Node: none", "`aws.msk`", "extension"),
    (
        "Self-managed Kafka",
        "extension: `msk` as MSK",
        "`msk`, service `msk`",
        "extension; there is no cluster's name",
    ),
    ("Step Functions origin", "extension `states`; Python, Node: none", "`states`", "extension"),
    (
        "Step Functions `_dd.p.tid`",
        "not padded to 16 digits in all",
        "padded",
        "a short one is discarded by tracers",
    ),
    (
        "Step Functions `Execution.Input._datadog`",
        "Python, Node: read; extension: not",
        "read",
        "the starter's trace goes on",
    ),
    (
        "Order",
        "extension: Step Functions last; Python: by carrier",
        "Step Functions first",
        "a machine passes the event of an API on",
    ),
    (
        "`AWSTraceHeader`",
        "Python, Node: with eight zeros only; extension: any",
        "with eight zeros only",
        "others are ids of X-Ray",
    ),
    (
        "SNS within SQS without attributes",
        "extension: no SNS span",
        "SNS span",
        "the key is absent when there are none",
    ),
    ("EventBridge within SNS within SQS", "extension: two spans", "three spans", "each is a hop"),
    ("S3 within SQS or SNS", "none", "`aws.s3` span and pointer", "it is a hop, and the object is known"),
    (
        "Data types of attributes",
        "Python, Node: equal to `String`, `Binary`; extension: prefix",
        "prefix",
        "users add suffixes",
    ),
    (
        "Context without priority",
        "Python, Node: dropped; extension: kept",
        "kept",
        "the parent is known all the same",
    ),
    ("Batches", "the first record", "all records: parent and links", "the first may carry nothing"),
    ("S3 pointer", "key as in the event", "key URL-decoded", "the writer hashed the key itself"),
    (
        "DynamoDB pointer of bytes",
        "Python, Node: base64 text; extension: bytes as UTF-8",
        "bytes",
        "the writer hashed bytes",
    ),
    ("`traceparent`, `tracestate` as tags", "extension: on spans", "not set", "they are no tags"),
    (
        "Authorizer of an API",
        "inferred span of the API in the authorizer too",
        "only in the function that the request is for",
        "one request, one span",
    ),
];

const EXAMPLES: &str = "
## Events tested

Of `crates/testkit/events`, with a snapshot of each in `crates/trigger/src/snapshots`.

";
