//! Application Load Balancer.
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>

use model::{Tags, Text};
use serde_json::Value;

use super::http::{Request, header, headers_of};
use super::{Carried, Surroundings, put_arn};
use crate::json;

/// The event does not say when the load balancer got the request: there is nothing to make a span of.
pub(super) use super::no_spans as inferred;

pub(super) fn matches(event: &Value) -> bool {
    json::has(event, "requestContext.elb")
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(event, "requestContext.elb.targetGroupArn"));
    let request = Request {
        domain: header(event, "host"),
        path: json::text(event, "path"),
        method: json::text(event, "httpMethod"),
        route: json::text(event, "path"),
        plain_http: header(event, "x-forwarded-proto").is_some_and(|proto| proto == "http"),
        ..Request::of_headers(event)
    };
    request.invocation_tags(tags);
}

/// A target group with multi-value headers on has no `headers` at all.
pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    headers_of(event)
}
