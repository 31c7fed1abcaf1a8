//! The Runtime API. <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{HeaderMap, StatusCode};
use platform::{Body as Posted, ErrorReport, Input, MAX_PAYLOAD_BYTES, Mode, Refusal, Reply};
use wire::lambda_headers::runtime as headers;

use super::pace::Pace;
use super::{Api, Passed, Read, Target, header, json, other, pass, read, refused, set};
use crate::environment::{ACCESS_KEY, SECRET, TOKEN};

/// Largest streamed response. <https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>
const MAX_STREAM_BYTES: usize = 200 * 1024 * 1024;
const CREDENTIALS_LIFE: Duration = Duration::from_secs(6 * 3600);

pub(super) async fn next(State(api): State<Api>) -> Response {
    let delivery = match api.call(|call| Input::RuntimeNext { call }).await {
        Reply::Invocation(delivery) => delivery,
        reply => return other(&reply),
    };
    let invocation = delivery.invocation;
    let mut response = json(StatusCode::OK, Bytes::from_owner(invocation.payload));
    set(&mut response, headers::REQUEST_ID, invocation.request_id.as_str());
    set(&mut response, headers::DEADLINE_MS, &delivery.deadline.as_millis().to_string());
    set(&mut response, headers::INVOKED_FUNCTION_ARN, &invocation.arn);
    set(&mut response, headers::INVOCATION_ID, &invocation.attempt);
    if let Some(trace) = &invocation.trace_header {
        set(&mut response, headers::TRACE_ID, trace);
    }
    if let Some(tenant) = &invocation.tenant_id {
        set(&mut response, headers::TENANT_ID, tenant);
    }
    if let Some(context) = &invocation.client_context {
        set(&mut response, headers::CLIENT_CONTEXT, context);
    }
    if let Some(identity) = &invocation.cognito_identity {
        set(&mut response, headers::COGNITO_IDENTITY, identity);
    }
    response
}

pub(super) async fn response(
    State(api): State<Api>,
    Path(request_id): Path<String>,
    request: HeaderMap,
    body: Body,
) -> Response {
    let began = api.clock.now();
    let attempt = header(&request, headers::INVOCATION_ID);
    let mode = header(&request, headers::RESPONSE_MODE);
    if mode.as_deref() == Some("streaming")
        && let Some(sink) = api.stream(&request_id).await
    {
        let pace = api.about.stream_limit.map(Pace::new);
        let body = streamed(body, Target::Caller(sink, pace)).await;
        return match body {
            Ok(body) => {
                let input = |call| Input::RuntimeResponse { call, request_id, attempt, began, body };
                other(&api.call(input).await)
            }
            Err(report) => {
                let input = |call| Input::RuntimeError { call, request_id, attempt, began, report };
                other(&api.call(input).await)
            }
        };
    }
    let body = match read(body, MAX_PAYLOAD_BYTES).await {
        Read::Whole(bytes, Some(trailers)) if trailers.contains_key(headers::ERROR_TYPE) => {
            let report = failed_stream(&bytes, &trailers);
            return other(
                &api.call(|call| Input::RuntimeError { call, request_id, attempt, began, report }).await,
            );
        }
        _ if mode.is_some_and(|mode| mode != "streaming") => Posted::UnknownMode,
        Read::Whole(bytes, _) => Posted::Whole(Arc::from(&*bytes)),
        Read::TooLarge(length) => Posted::TooLarge(length),
        Read::Truncated => Posted::Truncated,
    };
    other(&api.call(|call| Input::RuntimeResponse { call, request_id, attempt, began, body }).await)
}

/// Gives the parts to the caller as they come.
async fn streamed(body: Body, mut caller: Target) -> Result<Posted, ErrorReport> {
    match pass(body, MAX_STREAM_BYTES, &mut caller).await {
        Passed::Whole(_, Some(trailers)) if trailers.contains_key(headers::ERROR_TYPE) => {
            Err(failed_stream(b"{}", &trailers))
        }
        Passed::Whole(length, _) => Ok(Posted::Streamed(length)),
        Passed::TooLarge(length) => Ok(Posted::TooLarge(length)),
        Passed::Truncated => Ok(Posted::Truncated),
    }
}

/// A stream that broke off says why in its trailers.
fn failed_stream(sent: &[u8], trailers: &HeaderMap) -> ErrorReport {
    let body = header(trailers, headers::ERROR_BODY).and_then(|body| STANDARD.decode(body).ok());
    ErrorReport {
        error_type: header(trailers, headers::ERROR_TYPE),
        body: body.map_or_else(|| Arc::from(sent), Arc::from),
    }
}

pub(super) async fn error(
    State(api): State<Api>,
    Path(request_id): Path<String>,
    request: HeaderMap,
    body: Body,
) -> Response {
    let began = api.clock.now();
    let attempt = header(&request, headers::INVOCATION_ID);
    let report = report(&request, body).await;
    other(&api.call(|call| Input::RuntimeError { call, request_id, attempt, began, report }).await)
}

pub(super) async fn init_error(State(api): State<Api>, request: HeaderMap, body: Body) -> Response {
    let report = report(&request, body).await;
    other(&api.call(|call| Input::RuntimeInitError { call, report }).await)
}

/// The point at which a snapshot is taken, and gone on from.
pub(super) async fn restore_next(State(api): State<Api>) -> Response {
    match api.call(|call| Input::RuntimeRestoreNext { call }).await {
        Reply::Restored => Response::default(),
        reply => other(&reply),
    }
}

pub(super) async fn restore_error(State(api): State<Api>, request: HeaderMap, body: Body) -> Response {
    let report = report(&request, body).await;
    other(&api.call(|call| Input::RuntimeRestoreError { call, report }).await)
}

/// What a function of a snapshot has in place of variables. Made up: nothing here asks for them.
/// <https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html>
pub(super) async fn credentials(State(api): State<Api>, request: HeaderMap) -> Response {
    if api.about.mode != Mode::SnapStart {
        return refused(&Refusal::not_found());
    }
    if header(&request, "authorization").as_deref() != Some(TOKEN) {
        let body = r#"{"errorType":"UnauthorizedError","errorMessage":"Missing or wrong authorization"}"#;
        return json(StatusCode::UNAUTHORIZED, body);
    }
    let expiration = (api.clock.now() + CREDENTIALS_LIFE).to_rfc3339_millis();
    let body = serde_json::json!({
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": SECRET,
        "Token": SECRET,
        "Expiration": expiration,
    });
    json(StatusCode::OK, body.to_string())
}

async fn report(request: &HeaderMap, body: Body) -> ErrorReport {
    let body = match read(body, MAX_PAYLOAD_BYTES).await {
        Read::Whole(bytes, _) => Arc::from(&*bytes),
        Read::TooLarge(_) | Read::Truncated => Arc::from(*b"{}"),
    };
    ErrorReport { error_type: header(request, headers::ERROR_TYPE), body }
}
