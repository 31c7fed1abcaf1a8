//! What all sources of HTTP requests share. Not a source.

use std::borrow::Cow;

use model::keys::trace;
use model::{Arn, Tags, Text, UnixNanos};
use serde_json::Value;

use super::{Carried, Surroundings, bounded, carried, put};
use crate::{InferredEnd, InferredSpan, json, resource};

/// Names of headers whose values are tags.
const USER_AGENT: &str = "user-agent";
const REFERER: &str = "referer";

/// A request, from wherever a source keeps its parts.
#[derive(Default)]
pub(super) struct Request<'a> {
    pub(super) domain: Option<Cow<'a, str>>,
    /// As the caller sees it: with the stage, where it is part of the address.
    pub(super) path: Option<&'a str>,
    pub(super) method: Option<&'a str>,
    /// The path without the stage, where the event says both.
    pub(super) own_path: Option<&'a str>,
    /// The template that the path matched.
    pub(super) route: Option<&'a str>,
    pub(super) user_agent: Option<Cow<'a, str>>,
    pub(super) referer: Option<Cow<'a, str>>,
    pub(super) source_ip: Option<&'a str>,
    pub(super) protocol: Option<&'a str>,
    pub(super) plain_http: bool,
}

impl<'a> Request<'a> {
    /// What the headers of an event say.
    pub(super) fn of_headers(event: &'a Value) -> Self {
        Self { user_agent: header(event, USER_AGENT), referer: header(event, REFERER), ..Self::default() }
    }

    /// The tags of the invocation's span.
    pub(super) fn invocation_tags(&self, tags: &mut Tags<Text>) {
        put(tags, trace::HTTP_URL, self.url());
        put(tags, "http.url_details.path", self.path);
        put(tags, trace::HTTP_METHOD, self.method);
        put(tags, trace::HTTP_ROUTE, self.route);
        put(tags, "http.referer", self.referer.as_deref());
        self.user_agent_tags(tags);
    }

    /// The tags of the service's own span.
    pub(super) fn span_tags(&self, tags: &mut Tags<Text>) {
        put(tags, "endpoint", self.path);
        put(tags, trace::HTTP_URL, self.url());
        put(tags, trace::HTTP_METHOD, self.method);
        put(tags, trace::HTTP_ROUTE, self.route);
        put(tags, "http.protocol", self.protocol);
        put(tags, "http.source_ip", self.source_ip);
        self.user_agent_tags(tags);
    }

    pub(super) fn url(&self) -> Option<String> {
        let domain = self.domain.as_deref()?;
        let scheme = if self.plain_http { "http" } else { "https" };
        Some(format!("{scheme}://{domain}{}", self.path.unwrap_or_default()))
    }

    /// `GET /orders/{id}`: by the route, where it tells requests apart, else by the path with its ids replaced.
    pub(super) fn resource(&self) -> String {
        let is_telling =
            |route: &&str| route.starts_with('/') && !route.contains("+}") && *route != "/$default";
        let path = self.own_path.or(self.path).unwrap_or_default();
        let shown =
            self.route.filter(is_telling).map_or_else(|| resource::parameterised(path), Cow::Borrowed);
        format!("{} {shown}", self.method.unwrap_or_default())
    }

    /// By the extension's name, and by that of the libraries and of Datadog's standard attributes.
    fn user_agent_tags(&self, tags: &mut Tags<Text>) {
        put(tags, "http.user_agent", self.user_agent.as_deref());
        put(tags, "http.useragent", self.user_agent.as_deref());
    }
}

/// One API of API Gateway, from the event's `requestContext`.
pub(super) struct Api<'a> {
    event: &'a Value,
    context: &'a Value,
    /// `apis` or `restapis`, as ARNs have it.
    family: &'static str,
    pub(super) id: Option<&'a str>,
    pub(super) stage: Option<&'a str>,
}

impl<'a> Api<'a> {
    pub(super) fn of(event: &'a Value, family: &'static str) -> Self {
        let context = json::at_or_null(event, "requestContext");
        Self { event, context, family, id: json::text(context, "apiId"), stage: json::text(context, "stage") }
    }

    /// `arn:aws:apigateway:eu-west-1::/restapis/a1b2c3d4e5`
    pub(super) fn arn(&self, around: &Surroundings<'_>) -> Option<String> {
        let region = &around.function.region;
        Some(format!("arn:{}:apigateway:{region}::/{}/{}", Arn::partition_of(region), self.family, self.id?))
    }

    pub(super) fn stage_arn(&self, around: &Surroundings<'_>) -> Option<String> {
        Some(format!("{}/stages/{}", self.arn(around)?, self.stage?))
    }

    /// The API's span. An API that is asked to is asynchronous.
    pub(super) fn span(
        &self,
        name: &'static str,
        request: &Request<'_>,
        start: Option<UnixNanos>,
        around: &Surroundings<'_>,
    ) -> InferredSpan {
        let domain = request.domain.as_deref().unwrap_or_default();
        let id = self.id.unwrap_or_default();
        let mut span = request_span(name, (id, "lambda_api_gateway", domain), start, around);
        request.span_tags(&mut span.tags);
        span.resource = bounded(request.resource()).into();
        put(&mut span.tags, "apiid", self.id);
        put(&mut span.tags, "stage", self.stage);
        put(&mut span.tags, "request_id", json::text(self.context, "requestId"));
        put(&mut span.tags, "dd_resource_key", self.arn(around));
        span.end = end(self.event);
        span
    }
}

/// A caller may ask API Gateway not to wait for the function.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-integration-async.html>
pub(super) fn end(event: &Value) -> InferredEnd {
    match header(event, "x-amz-invocation-type") {
        Some(kind) if kind == "Event" => InferredEnd::InvocationStart,
        _ => InferredEnd::InvocationEnd,
    }
}

/// The span of a service that answers requests.
pub(super) fn request_span(
    name: &'static str,
    (specific, generic, domain): (&str, &str, &str),
    start: Option<UnixNanos>,
    around: &Surroundings<'_>,
) -> InferredSpan {
    let mut tags = Tags::with_capacity(24);
    tags.insert(trace::OPERATION_NAME, name);
    InferredSpan {
        name: name.into(),
        service: bounded(resource::service(around.settings, specific, generic, domain, domain)).into(),
        resource: Text::default(),
        kind: "web".into(),
        start: start.unwrap_or_default(),
        end: InferredEnd::InvocationEnd,
        tags,
    }
}

/// Headers as an object of strings, or, where the event has several values per name, of lists. Either may
/// be null.
pub(super) fn headers_of(event: &Value) -> Option<Carried<'_>> {
    let filled = |place| {
        let headers = json::object(event, place).filter(|headers| !headers.is_empty())?;
        Some(carried(place, Cow::Borrowed(headers)))
    };
    filled("headers").or_else(|| filled("multiValueHeaders"))
}

/// One header of an event, whatever its case.
pub(super) fn header<'a>(event: &'a Value, name: &str) -> Option<Cow<'a, str>> {
    let value = |headers: &'a Value| {
        let headers = headers.as_object()?;
        let other_case = || headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        let value = headers.get(name).or_else(other_case)?;
        value.as_str().or_else(|| value.get(0)?.as_str()).filter(|v| !v.is_empty())
    };
    let in_lists = || value(event.get("multiValueHeaders")?);
    event.get("headers").and_then(value).or_else(in_lists).map(Cow::Borrowed)
}
