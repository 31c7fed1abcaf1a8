//! What is known of a call when it is over, as tags: its response, its error.

use std::error::Error as StdError;

use aws_smithy_runtime_api::client::interceptors::context::Error;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use opentelemetry::KeyValue;
use serde_json::Value;

/// Error bodies are short; a longer one is something else.
const MAX_BODY: usize = 64 * 1024;
const MAX_CAUSES: usize = 8;

/// Tags of a response.
pub(crate) fn response_tags(response: &HttpResponse) -> Vec<KeyValue> {
    let mut tags = vec![KeyValue::new("http.status_code", i64::from(response.status().as_u16()))];
    // S3 has a name of its own for it.
    let id = ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"];
    if let Some(id) = id.iter().find_map(|name| response.headers().get(name)) {
        tags.push(KeyValue::new("aws.request_id", id.to_owned()));
    }
    // The call of a function succeeds when the function fails.
    if let Some(error) = response.headers().get("x-amz-function-error") {
        tags.push(KeyValue::new("aws.lambda.function_error", error.to_owned()));
    }
    tags
}

/// What went wrong: the service's code and message when it gave them, else where the call failed.
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn of(error: &OrchestratorError<Error>, response: Option<&HttpResponse>) -> Self {
        let told = response.filter(|_| error.is_operation_error()).and_then(told);
        told.unwrap_or_else(|| {
            let kind = if error.is_timeout_error() {
                "TimeoutError"
            } else if error.is_connector_error() {
                "ConnectorError"
            } else if error.is_response_error() {
                "ResponseError"
            } else {
                "Error"
            };
            Self { kind: kind.to_owned(), message: with_causes(error) }
        })
    }
}

/// Code and message as the protocols of AWS have them: JSON or XML, the code perhaps in a header.
fn told(response: &HttpResponse) -> Option<Failure> {
    let body = response.body().bytes().filter(|body| body.len() <= MAX_BODY).unwrap_or_default();
    let json = serde_json::from_slice::<Value>(body).ok();
    let of_json = |keys: &[&str]| {
        let json = json.as_ref()?;
        keys.iter().find_map(|key| json.get(key)?.as_str()).map(str::to_owned)
    };
    let text = std::str::from_utf8(body).unwrap_or_default();
    let of_xml = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    };
    let header = response.headers().get("x-amzn-errortype").map(str::to_owned);
    let code = header.or_else(|| of_json(&["__type", "code", "Code"])).or_else(|| of_xml("Code"))?;
    let message = of_json(&["message", "Message", "errorMessage"]).or_else(|| of_xml("Message"));
    Some(Failure { kind: bare(&code).to_owned(), message: message.unwrap_or_default() })
}

/// `aws.protocoltests#FooError:http://…` is `FooError`.
/// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization>
fn bare(code: &str) -> &str {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    code.rsplit_once('#').map_or(code, |(_, name)| name)
}

fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..MAX_CAUSES {
        let Some(error) = cause else { break };
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn codes_and_messages() {
        let check = |header: Option<&'static str>, body: &'static str, expect: Option<(&str, &str)>| {
            let mut response = HttpResponse::new(StatusCode::try_from(400).unwrap(), SdkBody::from(body));
            if let Some(code) = header {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            let failure = told(&response);
            let got = failure.as_ref().map(|f| (f.kind.as_str(), f.message.as_str()));
            assert_eq!(got, expect, "{header:?} {body}");
        };
        check(
            Some("ThrottlingException:http://x"),
            r#"{"Message":"slow"}"#,
            Some(("ThrottlingException", "slow")),
        );
        check(None, r#"{"__type":"com.amazon#QueueMissing","message":"no"}"#, Some(("QueueMissing", "no")));
        check(
            None,
            "<ErrorResponse><Error><Code>NotFound</Code><Message>no topic</Message></Error></ErrorResponse>",
            Some(("NotFound", "no topic")),
        );
        check(None, "<Code>", None);
        check(None, "busy", None);
        check(None, "", None);
    }
}
