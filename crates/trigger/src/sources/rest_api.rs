//! API Gateway REST API, and HTTP API with payload format 1.0, whose events look the same.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>

use model::{Tags, Text};
use serde_json::Value;

use super::http::{Api, Request, headers_of};
use super::{Carried, Surroundings, put_arn};
use crate::{InferredSpan, authorizer, json};

pub(super) fn matches(event: &Value) -> bool {
    json::has(event, "httpMethod")
        && json::text(event, "requestContext.stage").is_some()
        && (json::has(event, "resource") || json::has(event, "requestContext.resourcePath"))
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, api(event).stage_arn(around));
    request(event).invocation_tags(tags);
}

pub(super) fn carrier<'a>(event: &'a Value, around: &Surroundings<'_>) -> Option<Carried<'a>> {
    authorizer::carrier(event, around).or_else(|| headers_of(event))
}

pub(super) fn inferred(event: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let start = json::millis(event, "requestContext.requestTimeEpoch");
    let span = api(event).span("aws.apigateway", &request(event), start, around);
    authorizer::before(event, span, around)
}

/// Only an HTTP API says which version its payload is.
fn api(event: &Value) -> Api<'_> {
    let family = if json::is(event, "version", "1.0") { "apis" } else { "restapis" };
    Api::of(event, family)
}

fn request(event: &Value) -> Request<'_> {
    let headers = Request::of_headers(event);
    let context = json::at_or_null(event, "requestContext");
    let identity = json::at_or_null(context, "identity");
    let agent = json::text(identity, "userAgent").map(Into::into);
    let path = json::text(event, "path");
    Request {
        domain: json::text(context, "domainName").map(Into::into),
        path: json::text(context, "path").or(path),
        own_path: path,
        method: json::text(event, "httpMethod"),
        route: json::text(context, "resourcePath").or_else(|| json::text(event, "resource")),
        source_ip: json::text(identity, "sourceIp"),
        protocol: json::text(context, "protocol"),
        user_agent: agent.or(headers.user_agent),
        ..headers
    }
}
