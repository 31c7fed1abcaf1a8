//! A Lambda authorizer's own event, from API Gateway or AppSync. It has the headers of the request that is to
//! be authorised, but its answer is a policy and not a web response.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html>

use model::{Tags, Text};
use serde_json::Value;

use super::http::{Api, headers_of};
use super::{Carried, Surroundings, put_arn};
use crate::json;

/// The API's span is left to the function that the request is for: it waits for this one too.
pub(super) use super::no_spans as inferred;

pub(super) fn matches(event: &Value) -> bool {
    matches!(json::text(event, "type"), Some("REQUEST" | "TOKEN"))
        && (json::text(event, "methodArn").is_some() || json::text(event, "routeArn").is_some())
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    let family = if json::has(event, "routeArn") || json::has(event, "requestContext.connectionId") {
        "apis"
    } else {
        "restapis"
    };
    put_arn(tags, Api::of(event, family).stage_arn(around).or_else(|| of_method(event, around)));
}

pub(super) fn carrier<'a>(event: &'a Value, _: &Surroundings<'_>) -> Option<Carried<'a>> {
    headers_of(event)
}

/// The event of a TOKEN authorizer has the method's ARN alone,
/// `arn:aws:execute-api:eu-west-1:123456789012:a1b2c3d4e5/prod/GET/orders`.
fn of_method(event: &Value, around: &Surroundings<'_>) -> Option<String> {
    let mut parts = json::text(event, "methodArn")?.split(':').nth(5)?.split('/');
    let (id, stage) = (parts.next()?, parts.next()?);
    let region = &around.function.region;
    let partition = model::Arn::partition_of(region);
    Some(format!("arn:{partition}:apigateway:{region}::/restapis/{id}/stages/{stage}"))
}
