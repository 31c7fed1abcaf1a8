//! Amazon VPC Lattice, event versions 1 and 2.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-vpc-lattice.html>

use model::{Tags, Text};
use serde_json::Value;

use super::http::{Request, header, headers_of};
use super::{Carried, Surroundings, put_arn};
use crate::json;

pub(super) use super::no_spans as inferred;

pub(super) fn matches(event: &Value) -> bool {
    is_v2(event)
        || json::text(event, "raw_path").is_some()
            && json::text(event, "method").is_some()
            && json::has(event, "is_base64_encoded")
}

fn is_v2(event: &Value) -> bool {
    let arn = |path| json::text(event, path).is_some_and(|arn| arn.contains(":vpc-lattice:"));
    json::is(event, "version", "2.0")
        && (arn("requestContext.serviceArn") || arn("requestContext.targetGroupArn"))
}

pub(super) fn tags(event: &Value, _: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, json::text(event, "requestContext.serviceArn"));
    let path = json::text(event, "path").or_else(|| json::text(event, "raw_path")).unwrap_or_default();
    let headers = Request::of_headers(event);
    let request = Request {
        domain: header(event, "host"),
        path: path.split('?').next(),
        method: json::text(event, "method"),
        // Version 1 writes header names with underscores in AWS's own examples.
        user_agent: headers.user_agent.or_else(|| header(event, "user_agent")),
        referer: headers.referer,
        ..Request::default()
    };
    request.invocation_tags(tags);
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    headers_of(event)
}
