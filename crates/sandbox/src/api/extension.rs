//! The Extensions API and the Telemetry API.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html>

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::{HeaderMap, StatusCode};
use model::Arn;
use platform::{AgentId, Input, Refusal, Registration, Reply};
use wire::extensions::{ACCOUNT_ID_FEATURE, ErrorBody, NextEvent, RegisterRequest, RegisterResponse};
use wire::lambda_headers::extension as headers;

use super::{Api, Read, header, json, other, read, refused, set};
use crate::ids;
use crate::telemetry::Subscription;

/// Far more than any of these bodies needs.
const MAX_BODY_BYTES: usize = 64 * 1024;

pub(super) async fn register(State(api): State<Api>, request: HeaderMap, body: Body) -> Response {
    let Some(name) = header(&request, headers::NAME).filter(|name| !name.is_empty()) else {
        return refused(&Refusal::empty_extension_name());
    };
    let events = match RegisterRequest::decode(&whole(body).await) {
        Ok(RegisterRequest { has_configuration_keys: false, events }) => events,
        Ok(_) => {
            let why = "configurationKeys are deprecated; use environment variables instead";
            return refused(&Refusal::invalid_format(why.to_owned()));
        }
        Err(e) => return refused(&Refusal::invalid_format(e.to_string())),
    };
    let registration = Registration {
        id: AgentId(ids::uuid().into()),
        name,
        events: events.into_iter().map(Into::into).collect(),
    };
    let agent = match api.call(|call| Input::Register { call, registration }).await {
        Reply::Registered { agent } => agent,
        reply => return other(&reply),
    };
    let features = header(&request, headers::ACCEPT_FEATURE).unwrap_or_default();
    let wants_account = features.split(',').any(|feature| feature.trim() == ACCOUNT_ID_FEATURE);
    let body = RegisterResponse {
        function_name: api.about.function_name.clone().into(),
        function_version: api.about.function_version.clone().into(),
        handler: api.about.handler.clone().into(),
        account_id: wants_account.then(|| api.about.account.clone().into()),
    };
    let mut response = json(StatusCode::OK, body.encode());
    set(&mut response, headers::IDENTIFIER, &agent.0);
    response
}

pub(super) async fn next(State(api): State<Api>, request: HeaderMap) -> Response {
    let agent = match identify(&request) {
        Ok(agent) => agent,
        Err(refusal) => return refused(&refusal),
    };
    match api.call(|call| Input::AgentNext { call, agent }).await {
        Reply::Invoke(delivery) => {
            let event = NextEvent::Invoke {
                request_id: delivery.invocation.request_id,
                deadline: delivery.deadline,
                arn: Arn::new(&delivery.invocation.arn),
                trace_header: delivery.invocation.trace_header,
            };
            let mut response = json(StatusCode::OK, event.encode());
            set(&mut response, headers::EVENT_IDENTIFIER, &ids::uuid());
            response
        }
        Reply::Shutdown { reason, deadline } => {
            let event = NextEvent::Shutdown { reason: reason.as_str().into(), deadline };
            let mut response = json(StatusCode::OK, event.encode());
            // So does Lambda.
            set(&mut response, "content-type", "text/plain; charset=utf-8");
            response
        }
        reply => other(&reply),
    }
}

pub(super) async fn init_error(State(api): State<Api>, request: HeaderMap) -> Response {
    match reports(&request) {
        Ok((agent, error_type)) => {
            other(&api.call(|call| Input::AgentInitError { call, agent, error_type }).await)
        }
        Err(refusal) => refused(&refusal),
    }
}

pub(super) async fn exit_error(State(api): State<Api>, request: HeaderMap) -> Response {
    match reports(&request) {
        Ok((agent, error_type)) => {
            other(&api.call(|call| Input::AgentExitError { call, agent, error_type }).await)
        }
        Err(refusal) => refused(&refusal),
    }
}

pub(super) async fn subscribe(State(api): State<Api>, request: HeaderMap, body: Body) -> Response {
    let agent = match identify(&request) {
        Ok(agent) => agent,
        Err(refusal) => return refused(&refusal),
    };
    let subscription = Subscription::read(&whole(body).await, api.about.mode);
    let types = subscription.as_ref().map(Subscription::types).map_err(Clone::clone);
    let input = |call| Input::Subscribe { call, agent, types };
    match api.call_with(subscription.ok(), input).await {
        Reply::Subscribed => json(StatusCode::OK, "\"OK\""),
        reply => other(&reply),
    }
}

/// The Telemetry API's forerunner is not here; answered as Lambda's own emulator answers.
pub(super) async fn logs(State(api): State<Api>) -> Response {
    if api.about.mode.concurrency().is_some() {
        return refused(&Refusal::not_found());
    }
    let body = ErrorBody { message: "Logs API is not supported".into(), kind: "Logs.NotSupported".into() };
    json(StatusCode::ACCEPTED, body.encode())
}

fn identify(request: &HeaderMap) -> Result<AgentId, Refusal> {
    match header(request, headers::IDENTIFIER) {
        None => Err(Refusal::missing_identifier()),
        Some(id) if ids::is_uuid(&id) => Ok(AgentId(id.into())),
        Some(_) => Err(Refusal::invalid_identifier()),
    }
}

fn reports(request: &HeaderMap) -> Result<(AgentId, String), Refusal> {
    let agent = identify(request)?;
    let error_type = header(request, headers::ERROR_TYPE).filter(|kind| !kind.is_empty());
    Ok((agent, error_type.ok_or_else(Refusal::missing_error_type)?))
}

/// A body that is too large or breaks off is as good as none: it is not valid JSON.
async fn whole(body: Body) -> bytes::Bytes {
    match read(body, MAX_BODY_BYTES).await {
        Read::Whole(bytes, _) => bytes,
        Read::TooLarge(_) | Read::Truncated => bytes::Bytes::new(),
    }
}
