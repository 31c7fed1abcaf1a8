//! The services that invoke functions: one file each, with the same four functions in the same order, and
//! one table of them (`table`) in the order in which they are tried.
//!
//! - `matches`: whether an event is from this source: told from its first record where there are records,
//! - `tags`: what one record (or the event, where there are none) says about the invocation,
//! - `carrier`: the object in which it keeps the caller's context,
//! - `inferred`: the spans of the service itself, outermost first: none, or one, or one with its authorizer's.
//!
//! Adding a source is adding a file and a row.

use std::borrow::Cow;

use model::keys::{headers, lambda, trace};
use model::{Tags, Text, UnixNanos};
use serde_json::{Map, Value};

use crate::carrier::{carrier_of, from_base64};
use crate::{Function, InferredEnd, InferredSpan, Settings, json, resource};

mod api_authorizer;
mod appsync;
mod cloudfront;
mod cognito;
mod documentdb;
mod durable;
mod dynamodb;
mod eventbridge;
mod firehose;
mod function_url;
mod http;
mod http_api;
mod iot;
mod kafka;
mod kinesis;
mod lattice;
mod load_balancer;
mod logs;
mod mq;
mod rest_api;
mod s3;
mod schedule;
mod ses;
mod sns;
mod sqs;
mod step_functions;
mod table;
mod websocket_api;

pub(crate) use durable::initial_input;
pub(crate) use step_functions::context as step_functions_context;
pub(crate) use table::SOURCES;

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    StepFunctions,
    /// A function whose execution survives its sandboxes.
    Durable,
    /// An API Gateway Lambda authorizer: headers as in a request, but no web response.
    ApiAuthorizer,
    FunctionUrl,
    /// API Gateway HTTP API, payload format 2.0.
    HttpApi,
    WebSocketApi,
    /// API Gateway REST API, and HTTP API with payload format 1.0.
    RestApi,
    LoadBalancer,
    /// VPC Lattice, both versions.
    Lattice,
    AppSync,
    /// Amazon MSK.
    Kafka,
    SelfManagedKafka,
    Sqs,
    Sns,
    DynamoDb,
    Kinesis,
    S3,
    CloudFront,
    Ses,
    Schedule,
    EventBridge,
    CloudWatchLogs,
    Firehose,
    Cognito,
    Iot,
    DocumentDb,
    /// Amazon MQ, both brokers.
    Mq,
    /// Nothing known: a direct call, a test event, a service that is new.
    #[default]
    Unknown,
}

/// One row: what there is to know of a source.
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) about: About,
    /// The value of `function_trigger.event_source`, where there is one.
    pub(crate) event_source: Option<&'static str>,
    /// The caller waits for a web response.
    pub(crate) is_http: bool,
    pub(crate) shape: Shape,
    /// Where a record holds what another service sent, as text of JSON: the first of these paths that is there.
    pub(crate) message: &'static [&'static str],
    /// Whether its events are found as messages of other services.
    pub(crate) is_message: bool,
    pub(crate) matches: fn(&Value) -> bool,
    pub(crate) tags: fn(&Value, &Surroundings<'_>, &mut Tags<Text>),
    pub(crate) carrier: for<'a> fn(&'a Value, &Surroundings<'_>) -> Option<Carried<'a>>,
    pub(crate) inferred: fn(&Value, &Surroundings<'_>) -> Vec<InferredSpan>,
}

/// What the compatibility page says of a source.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub name: &'static str,
    pub recognised: &'static str,
    pub context: &'static str,
    /// `None` where nothing in an event of this source can be pointed to.
    pub pointers: Option<&'static str>,
}

/// What a source's functions look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The event.
    Whole,
    /// One of `Records`, or of a list, as EventBridge Pipes send it.
    Records,
    /// One of `records`, lists by topic and partition.
    Partitions,
}

/// What is not in the record.
pub(crate) struct Surroundings<'a> {
    /// The event that the record is of.
    pub(crate) event: &'a Value,
    pub(crate) function: &'a Function,
    pub(crate) settings: &'a Settings,
}

/// A carrier, borrowed from the event where it lies there in the open, and where it was found.
pub(crate) struct Carried<'a> {
    pub(crate) place: &'static str,
    pub(crate) headers: Cow<'a, Map<String, Value>>,
}

fn carried<'a>(place: &'static str, headers: Cow<'a, Map<String, Value>>) -> Carried<'a> {
    Carried { place, headers }
}

/// The longest value of a tag that Datadog keeps, in bytes.
const MAX_VALUE: usize = 5000;

/// Sets a tag that the event may lack.
fn put<'a>(tags: &mut Tags<Text>, key: &'static str, value: Option<impl Into<Cow<'a, str>>>) {
    if let Some(value) = value {
        tags.insert(key, Text::Owned(bounded(value.into().into_owned())));
    }
}

/// The text, cut where it is too long: it comes from the event, and goes into every span.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_VALUE {
        text.truncate((0..=MAX_VALUE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    }
    text
}

fn put_arn<'a>(tags: &mut Tags<Text>, arn: Option<impl Into<Cow<'a, str>>>) {
    put(tags, lambda::EVENT_SOURCE_ARN, arn);
}

/// The carrier in a message attribute, by the keys of SQS or of SNS. A data type may have a suffix of the
/// user's: `String.json`.
fn attribute<'a>(
    found: &'a Value,
    data_type: &str,
    string: &str,
    binary: &str,
) -> Option<Cow<'a, Map<String, Value>>> {
    let data_type = json::text(found, data_type)?;
    if data_type.starts_with("String") {
        carrier_of(json::at(found, string)?)
    } else if data_type.starts_with("Binary") {
        from_base64(json::text(found, binary)?).map(Cow::Owned)
    } else {
        None
    }
}

/// The object `_datadog` at a path.
fn datadog_object<'a>(value: &'a Value, path: &'static str) -> Option<Carried<'a>> {
    carrier_of(json::at(value, path)?).map(|headers| carried(path, headers))
}

/// The span of a service that holds messages: queue, topic, stream, bucket.
fn message_span(
    name: &'static str,
    (instance, generic, fallback): (&str, &str, &str),
    start: Option<UnixNanos>,
    around: &Surroundings<'_>,
) -> InferredSpan {
    let mut tags = Tags::with_capacity(16);
    tags.insert(trace::OPERATION_NAME, name);
    InferredSpan {
        name: name.into(),
        service: bounded(resource::service(around.settings, instance, generic, instance, fallback)).into(),
        resource: Text::Owned(bounded(instance.to_owned())),
        kind: "web".into(),
        start: start.unwrap_or_default(),
        end: InferredEnd::InvocationStart,
        tags,
    }
}

/// The last part of an ARN.
fn last_part(arn: &str, separator: char) -> &str {
    arn.rsplit(separator).next().unwrap_or(arn)
}

fn no_carrier<'a>(_: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    None
}

fn no_spans(_: &Value, _: &Surroundings<'_>) -> Vec<InferredSpan> {
    Vec::new()
}

const CARRIER_KEY: &str = headers::CARRIER;
