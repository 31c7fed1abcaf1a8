//! The Invoke API, as SDKs and `aws lambda invoke --endpoint-url` call it. Signatures are not looked at.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use hyper::{HeaderMap, StatusCode};
use tokio::sync::mpsc;
use wire::lambda_headers::invoke as headers;

use crate::api::{Read, header, json, read, set};
use crate::eventstream::{CONTENT_TYPE, chunk, complete};
use crate::functions::Functions;
use crate::invoke::{
    InvocationType, InvokeError, InvokeOptions, InvokeResult, MAX_CLIENT_CONTEXT_BYTES, MAX_EVENT_BYTES,
};

/// Parts of a streamed response that may wait for the caller.
const PARTS: usize = 16;

pub(crate) fn router(functions: Arc<Functions>) -> Router {
    Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .route("/2021-11-15/functions/{name}/response-streaming-invocations", post(invoke_streaming))
        .with_state(functions)
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html>
async fn invoke_streaming(
    State(functions): State<Arc<Functions>>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    request: HeaderMap,
    body: Body,
) -> Response {
    let qualifier = query.into_iter().find(|(key, _)| key == "Qualifier").map(|(_, value)| value);
    let payload = match read(body, MAX_EVENT_BYTES).await {
        Read::Whole(bytes, _) => bytes,
        Read::TooLarge(_) => return refused(&InvokeError::TooLarge { limit: MAX_EVENT_BYTES }),
        Read::Truncated => return refused(&InvokeError::InvalidEvent("the request broke off".to_owned())),
    };
    let options = match options(&request) {
        Ok(options) => options,
        Err(e) => return refused(&e),
    };
    let (parts, mut incoming) = mpsc::channel(PARTS);
    let mut result = tokio::spawn(async move {
        functions.invoke(&name, qualifier.as_deref(), payload, options, Some(parts)).await
    });
    // What is refused before anything came is refused as HTTP does it.
    let first = tokio::select! {
        biased;
        Some(part) = incoming.recv() => Some(part),
        ended = &mut result => return match ended {
            Ok(Ok(result)) => {
                let mut whole = chunk(&result.payload).to_vec();
                whole.extend_from_slice(&last(&result));
                stream(Body::from(whole))
            }
            Ok(Err(e)) => refused(&e),
            Err(_) => refused(&InvokeError::ShuttingDown),
        },
    };
    let (sender, messages) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(PARTS);
    tokio::spawn(async move {
        let mut part = first;
        while let Some(bytes) = part {
            if sender.send(Ok(Frame::data(chunk(&bytes)))).await.is_err() {
                return;
            }
            part = incoming.recv().await;
        }
        if let Ok(Ok(result)) = result.await {
            let _ = sender.send(Ok(Frame::data(last(&result)))).await;
        }
    });
    stream(Body::new(Parts(messages)))
}

/// The body of a streamed answer.
struct Parts(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx)
    }
}

fn last(result: &InvokeResult) -> Bytes {
    let details = String::from_utf8_lossy(&result.payload);
    let log = result.log_tail.as_ref().map(|log| STANDARD.encode(log));
    complete(result.function_error.as_deref().map(|error| (error, &*details)), log.as_deref())
}

fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    set(&mut response, "content-type", CONTENT_TYPE);
    response
}

async fn invoke(
    State(functions): State<Arc<Functions>>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    request: HeaderMap,
    body: Body,
) -> Response {
    let qualifier = query.iter().find(|(key, _)| key == "Qualifier").map(|(_, value)| value.as_str());
    let payload = match read(body, MAX_EVENT_BYTES).await {
        Read::Whole(bytes, _) => bytes,
        Read::TooLarge(_) => return refused(&InvokeError::TooLarge { limit: MAX_EVENT_BYTES }),
        Read::Truncated => return refused(&InvokeError::InvalidEvent("the request broke off".to_owned())),
    };
    let result = match options(&request) {
        Ok(options) => functions.invoke(&name, qualifier, payload, options, None).await,
        Err(e) => Err(e),
    };
    match result {
        Ok(result) => answered(result),
        Err(e) => refused(&e),
    }
}

fn options(request: &HeaderMap) -> Result<InvokeOptions, InvokeError> {
    let client_context = match header(request, headers::CLIENT_CONTEXT) {
        None => None,
        Some(text) if text.len() > MAX_CLIENT_CONTEXT_BYTES => {
            return Err(InvokeError::TooLarge { limit: MAX_CLIENT_CONTEXT_BYTES });
        }
        Some(text) => {
            let bytes = STANDARD.decode(text).map_err(|_| InvokeError::InvalidClientContext)?;
            Some(String::from_utf8(bytes).map_err(|_| InvokeError::InvalidClientContext)?)
        }
    };
    Ok(InvokeOptions {
        client_context,
        trace_header: header(request, headers::TRACE_ID),
        invocation_type: match header(request, headers::INVOCATION_TYPE).as_deref() {
            Some("Event") => InvocationType::Event,
            Some("DryRun") => InvocationType::DryRun,
            _ => InvocationType::RequestResponse,
        },
        log_tail: header(request, headers::LOG_TYPE).as_deref() == Some("Tail"),
        cognito_identity: None,
        tenant_id: header(request, headers::TENANT_ID),
    })
}

fn answered(result: InvokeResult) -> Response {
    let status = StatusCode::from_u16(result.status).unwrap_or(StatusCode::OK);
    let mut response = json(status, result.payload);
    set(&mut response, headers::REQUEST_ID, result.request_id.as_str());
    set(&mut response, headers::TRACE_ID, &result.trace_header);
    if status == StatusCode::OK {
        set(&mut response, headers::EXECUTED_VERSION, &result.executed_version);
    }
    if let Some(error) = &result.function_error {
        set(&mut response, headers::FUNCTION_ERROR, error);
    }
    if let Some(log) = &result.log_tail {
        set(&mut response, headers::LOG_RESULT, &STANDARD.encode(log));
    }
    response
}

fn refused(error: &InvokeError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({ "Type": "User", "Message": error.to_string() });
    let mut response = json(status, body.to_string());
    set(&mut response, headers::ERROR_TYPE, error.error_type());
    response
}
