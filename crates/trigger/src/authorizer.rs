//! The context that a Lambda authorizer hands to the function it lets requests through to. API Gateway passes
//! only strings on, so it is an object in base64: headers, and when and for which request it was made.
//!
//! `encode` is called in the authorizer, with its answer; the rest where API events are read.

use std::borrow::Cow;

use base64::Engine as _;
use model::keys::{headers, lambda, trace};
use model::{Text, UnixNanos};
use propagation::{CarrierMut, Style, TraceContext, inject};
use serde_json::{Map, Value};

use crate::carrier::{BASE64, from_base64};
use crate::sources::{Carried, Surroundings};
use crate::{InferredEnd, InferredSpan, json};

/// When the authorizer's span ended, nanoseconds since 1970, a JSON number.
const FINISH_TIME: &str = "x-datadog-parent-span-finish-time";
/// The request that was authorised.
const REQUEST_ID: &str = "x-datadog-authorizing-requestid";

/// Adds the context to an authorizer's answer: `context` is that of the authorizer's own span, which ends at
/// `finish`; `event` is what the authorizer was called with. An answer that is no policy, such as the simple
/// one of an HTTP API, is left as it is, and so is what the user put into its `context`. Says whether it was
/// added.
pub fn encode_authorizer(
    answer: &mut Value,
    event: &Value,
    context: &TraceContext,
    finish: UnixNanos,
    styles: &[Style],
) -> bool {
    let Some(answer) = answer.as_object_mut() else { return false };
    if !answer.contains_key("principalId") || !answer.contains_key("policyDocument") {
        return false;
    }
    let mut carrier = JsonCarrierMut(Map::new());
    inject(context, styles, &mut carrier);
    carrier.0.insert(FINISH_TIME.to_owned(), finish.as_nanos().into());
    if let Some(id) = json::text(event, "requestContext.requestId") {
        carrier.0.insert(REQUEST_ID.to_owned(), id.into());
    }
    let encoded = BASE64.encode(Value::Object(carrier.0).to_string());
    match answer.entry("context").or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(theirs) => theirs.insert(headers::CARRIER.to_owned(), encoded.into()).is_none(),
        // Null, as some write an absent one.
        other if other.is_null() => {
            *other = serde_json::json!({headers::CARRIER: encoded});
            true
        }
        _ => false,
    }
}

/// The carrier that the authorizer of this request left.
pub(crate) fn carrier<'a>(event: &'a Value, around: &Surroundings<'_>) -> Option<Carried<'a>> {
    let headers = decode(event, around)?;
    Some(Carried { place: "requestContext.authorizer", headers: Cow::Owned(headers) })
}

/// The span of an API, behind that of its authorizer if it had one for this request. REST and WebSocket APIs
/// tell how long they waited for it, which is a span of its own.
pub(crate) fn before(event: &Value, mut api: InferredSpan, around: &Surroundings<'_>) -> Vec<InferredSpan> {
    let finish = decode(event, around).and_then(|headers| headers.get(FINISH_TIME).and_then(nanos));
    let Some(finish) = finish else { return vec![api] };
    if is_http_api(event) {
        api.start = finish;
        return vec![api];
    }
    let waited = integration_latency(event).unwrap_or(0);
    let end = UnixNanos(api.start.0.saturating_add(waited.saturating_mul(1_000_000))).max(finish);
    let mut span = api.clone();
    span.name = "aws.apigateway.authorizer".into();
    span.start = finish;
    span.end = InferredEnd::At(end);
    span.tags.insert(trace::OPERATION_NAME, Text::Borrowed("aws.apigateway.authorizer"));
    span.tags.insert(lambda::INFERRED_SYNCHRONICITY, "sync");
    api.start = end;
    vec![span, api]
}

/// A policy is cached, and its context with it: that of another request says nothing of this one.
fn decode(event: &Value, around: &Surroundings<'_>) -> Option<Map<String, Value>> {
    if !around.settings.decode_authorizer {
        return None;
    }
    let authorizer = json::at(event, "requestContext.authorizer")?;
    let http_api = is_http_api(event);
    let encoded = json::text(authorizer, if http_api { "lambda._datadog" } else { headers::CARRIER })?;
    let found = from_base64(encoded)?;
    let this = json::text(event, "requestContext.requestId");
    let of_this = this.is_some() && this == json::text_in(&found, REQUEST_ID);
    let was_called = !http_api && integration_latency(event).is_some_and(|ms| ms > 0);
    (of_this || was_called).then_some(found)
}

fn is_http_api(event: &Value) -> bool {
    json::is(event, "version", "2.0")
}

/// Milliseconds.
fn integration_latency(event: &Value) -> Option<u64> {
    let value = json::at(event, "requestContext.authorizer.integrationLatency")?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// A number or its text. Some versions of the libraries wrote milliseconds.
fn nanos(value: &Value) -> Option<UnixNanos> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    let in_millis = number < 100_000_000_000_000;
    let moment = if in_millis { UnixNanos::from_millis(number) } else { UnixNanos(number) };
    (number > 0).then_some(moment)
}

struct JsonCarrierMut(Map<String, Value>);

impl CarrierMut for JsonCarrierMut {
    fn set(&mut self, name: &'static str, value: String) {
        self.0.insert(name.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use model::{SpanId, TraceId};
    use propagation::DEFAULT_STYLES;
    use serde_json::json;

    use super::*;
    use crate::{Function, Settings};

    fn context() -> TraceContext {
        TraceContext::new(
            TraceId::new(1, 13_478_705_995_797_221_209).unwrap(),
            SpanId::new(8_471_288_263_384_216_896),
        )
    }

    fn answer(event: &Value) -> Value {
        let mut answer = json!({"principalId": "u", "policyDocument": {}, "context": {"user": "17"}});
        let finish = UnixNanos(1_663_295_021_827_521_000);
        assert!(encode_authorizer(&mut answer, event, &context(), finish, DEFAULT_STYLES));
        answer
    }

    fn request(authorizing: &str, authorizer: Value, version: Option<&str>) -> Value {
        let encoded =
            answer(&json!({"requestContext": {"requestId": authorizing}}))["context"]["_datadog"].clone();
        let mut event =
            json!({"requestContext": {"requestId": "this", "requestTimeEpoch": 1_663_295_019_935u64}});
        event["requestContext"]["authorizer"] = authorizer;
        match version {
            Some(version) => {
                event["version"] = json!(version);
                event["requestContext"]["authorizer"]["lambda"] = json!({"_datadog": encoded});
            }
            None => event["requestContext"]["authorizer"]["_datadog"] = encoded,
        }
        event
    }

    fn is_used(event: &Value) -> bool {
        let (function, settings) = (Function::default(), Settings::default());
        carrier(event, &Surroundings { event, function: &function, settings: &settings }).is_some()
    }

    #[test]
    fn the_users_own_context_is_kept() {
        let answer = answer(&json!({}));
        assert_eq!(answer["context"]["user"], "17");
        let carrier = from_base64(answer["context"]["_datadog"].as_str().unwrap()).unwrap();
        assert_eq!(carrier["x-datadog-trace-id"], "13478705995797221209");
        assert_eq!(carrier["x-datadog-parent-id"], "8471288263384216896");
        assert_eq!(carrier[FINISH_TIME], json!(1_663_295_021_827_521_000u64));
    }

    #[test]
    fn what_is_no_policy_is_left_alone() {
        for other in [
            json!({"isAuthorized": true}),
            json!(null),
            json!([]),
            json!({"principalId": "u"}),
            json!({"principalId": "u", "policyDocument": {}, "context": "text"}),
        ] {
            let mut answer = other.clone();
            assert!(!encode_authorizer(&mut answer, &json!({}), &context(), UnixNanos(1), DEFAULT_STYLES));
            assert_eq!(answer, other);
        }
        let mut null = json!({"principalId": "u", "policyDocument": {}, "context": null});
        assert!(encode_authorizer(&mut null, &json!({}), &context(), UnixNanos(1), DEFAULT_STYLES));
    }

    #[test]
    fn a_cached_policy_says_nothing_of_this_request() {
        let latency = |ms: Value| json!({"integrationLatency": ms});
        assert!(is_used(&request("this", json!({}), None)));
        assert!(!is_used(&request("another", json!({}), None)));
        assert!(!is_used(&request("another", latency(json!(0)), None)));
        assert!(is_used(&request("another", latency(json!(1897)), None)));
        assert!(is_used(&request("another", latency(json!("1897")), None)));
        assert!(is_used(&request("this", json!({}), Some("2.0"))));
        assert!(!is_used(&request("another", latency(json!(1897)), Some("2.0"))));
    }

    #[test]
    fn the_worked_example() {
        let event = request("another", json!({"integrationLatency": 1897}), None);
        let (function, settings) = (Function::default(), Settings::default());
        let around = Surroundings { event: &event, function: &function, settings: &settings };
        let api = InferredSpan {
            name: "aws.apigateway".into(),
            service: "s".into(),
            resource: "r".into(),
            kind: "web".into(),
            start: UnixNanos::from_millis(1_663_295_019_935),
            end: InferredEnd::InvocationEnd,
            tags: model::Tags::new(),
        };
        let spans = before(&event, api, &around);
        let times: Vec<_> = spans.iter().map(|s| (s.name.as_ref(), s.start.0, s.end)).collect();
        let end = UnixNanos::from_millis(1_663_295_019_935 + 1897);
        assert_eq!(
            times,
            [
                ("aws.apigateway.authorizer", 1_663_295_021_827_521_000, InferredEnd::At(end)),
                ("aws.apigateway", end.0, InferredEnd::InvocationEnd),
            ]
        );
    }
}
