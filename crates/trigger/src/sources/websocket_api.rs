//! API Gateway WebSocket API. Only the event of `$connect` has headers.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html>

use model::keys::trace;
use model::{Tags, Text};
use serde_json::Value;

use super::http::{Api, Request, headers_of};
use super::{Carried, Surroundings, bounded, put, put_arn};
use crate::{InferredEnd, InferredSpan, authorizer, json, resource};

pub(super) fn matches(event: &Value) -> bool {
    json::has(event, "requestContext.messageDirection") && json::has(event, "requestContext.connectionId")
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    put_arn(tags, Api::of(event, "apis").stage_arn(around));
    let request = request(event);
    put(tags, trace::HTTP_URL, url(event));
    put(tags, "http.url_details.path", route(event));
    put(tags, "http.referer", request.referer.as_deref());
}

pub(super) fn carrier<'a>(event: &'a Value, around: &Surroundings<'_>) -> Option<Carried<'a>> {
    authorizer::carrier(event, around).or_else(|| headers_of(event))
}

pub(super) fn inferred(event: &Value, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let start = json::millis(event, "requestContext.requestTimeEpoch");
    let api = Api::of(event, "apis");
    let mut span = api.span("aws.apigateway", &request(event), start, around);
    let domain = json::text(event, "requestContext.domainName").unwrap_or_default();
    let (id, fallback) = (api.id.unwrap_or_default(), "api_gateway_websocket");
    let service = resource::service(around.settings, id, "lambda_api_gateway", domain, fallback);
    span.service = bounded(service).into();
    // What the function answers is not what the sender waits for.
    span.end = InferredEnd::InvocationStart;
    let route = route(event).unwrap_or_default();
    span.resource = Text::Owned(bounded(route.to_owned()));
    put(&mut span.tags, "endpoint", Some(route));
    put(&mut span.tags, trace::HTTP_URL, url(event));
    for (tag, path) in [
        ("connection_id", "requestContext.connectionId"),
        ("event_type", "requestContext.eventType"),
        ("message_direction", "requestContext.messageDirection"),
    ] {
        put(&mut span.tags, tag, json::text(event, path));
    }
    authorizer::before(event, span, around)
}

fn request(event: &Value) -> Request<'_> {
    Request {
        domain: json::text(event, "requestContext.domainName").map(Into::into),
        source_ip: json::text(event, "requestContext.identity.sourceIp"),
        ..Request::of_headers(event)
    }
}

fn route(event: &Value) -> Option<&str> {
    json::text(event, "requestContext.routeKey")
}

/// A message has no address: the API's, and the route it took there.
fn url(event: &Value) -> Option<String> {
    let domain = json::text(event, "requestContext.domainName")?;
    Some(format!("https://{domain}/{}", route(event).unwrap_or_default()))
}
