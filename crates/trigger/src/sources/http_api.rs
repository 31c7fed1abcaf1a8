//! API Gateway HTTP API with payload format 2.0.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use model::{Tags, Text};
use serde_json::Value;

use super::http::{Api, Request, headers_of};
use super::{Carried, Surroundings, put_arn};
use crate::{InferredSpan, authorizer, json};

/// A function URL's event has the same shape but for its domain, a VPC Lattice one has no domain.
pub(super) fn matches(event: &Value) -> bool {
    json::is(event, "version", "2.0")
        && json::has(event, "routeKey")
        && json::has(event, "requestContext.http")
        && json::text(event, "requestContext.domainName").is_some()
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, Api::of(event, "apis").stage_arn(around));
    request(event).invocation_tags(tags);
}

pub(super) fn carrier<'a>(event: &'a Value, around: &Surroundings<'_>) -> Option<Carried<'a>> {
    authorizer::carrier(event, around).or_else(|| headers_of(event))
}

pub(super) fn inferred(event: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let start = json::millis(event, "requestContext.timeEpoch");
    let span = Api::of(event, "apis").span("aws.httpapi", &request(event), start, around);
    authorizer::before(event, span, around)
}

/// Also of a function URL, whose events have this shape.
pub(super) fn request(event: &Value) -> Request<'_> {
    let context = json::at_or_null(event, "requestContext");
    let http = json::at_or_null(context, "http");
    Request {
        domain: json::text(context, "domainName").map(Into::into),
        path: json::text(http, "path").or_else(|| json::text(event, "rawPath")),
        method: json::text(http, "method"),
        // `/orders/{id}` of the route key `GET /orders/{id}`, or `$default`.
        route: json::text(event, "routeKey").and_then(|key| key.split_whitespace().last()),
        user_agent: json::text(http, "userAgent").map(Into::into),
        source_ip: json::text(http, "sourceIp"),
        protocol: json::text(http, "protocol"),
        ..Request::of_headers(event)
    }
}
