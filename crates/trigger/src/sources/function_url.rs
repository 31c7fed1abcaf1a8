//! Lambda function URL. Its events have the shape of an HTTP API's.
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>

use model::{Arn, Tags, Text};
use serde_json::Value;

use super::http::{end, headers_of, request_span};
use super::http_api::request;
use super::{Carried, Surroundings, bounded, put, put_arn};
use crate::{InferredSpan, json};

pub(super) fn matches(event: &Value) -> bool {
    let domain = json::text(event, "requestContext.domainName");
    domain.is_some_and(|domain| domain.split('.').nth(1) == Some("lambda-url"))
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, arn(event, around));
    let mut request = request(event);
    // The route key is `$default` whatever the request.
    request.route = None;
    request.invocation_tags(tags);
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    headers_of(event)
}

pub(super) fn inferred(event: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let mut request = request(event);
    request.route = None;
    let api = json::text(event, "requestContext.apiId");
    let domain = request.domain.as_deref().unwrap_or_default();
    let start = json::millis(event, "requestContext.timeEpoch");
    let keys = (api.unwrap_or_default(), "lambda_url", domain);
    let mut span = request_span("aws.lambda.url", keys, start, around);
    span.kind = "http".into();
    let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    span.resource = bounded(format!("{method} {path}")).into();
    span.end = end(event);
    request.span_tags(&mut span.tags);
    put(&mut span.tags, "apiid", api);
    put(&mut span.tags, "request_id", json::text(event, "requestContext.requestId"));
    vec![span]
}

fn arn(event: &Value, around: &Surroundings<'_>) -> Option<String> {
    let function = around.function;
    let known = Some(function.account.as_str()).filter(|account| !account.is_empty());
    let account = known.or_else(|| json::text(event, "requestContext.accountId"))?;
    let partition = Arn::partition_of(&function.region);
    Some(format!("arn:{partition}:lambda:{}:{account}:url:{}", function.region, function.name))
}
