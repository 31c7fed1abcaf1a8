//! What a caller of a function gives and gets.

use std::fmt;

use bytes::Bytes;
use model::RequestId;

/// Largest event of an invocation, in bytes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MAX_EVENT_BYTES: usize = 6 * 1024 * 1024;
/// Largest event of an invocation that nobody waits for, in bytes.
pub const MAX_ASYNC_EVENT_BYTES: usize = 1024 * 1024;
/// Largest client context, in bytes of base64.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
pub const MAX_CLIENT_CONTEXT_BYTES: usize = 3583;

/// How a function is invoked, `X-Amz-Invocation-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InvocationType {
    /// Wait for the answer.
    #[default]
    RequestResponse,
    /// Queue the event and do not wait.
    Event,
    /// Only check that it could be invoked.
    DryRun,
}

/// What goes beside the event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct InvokeOptions {
    /// JSON text, not base64. Lambda gives it to the function for [`InvocationType::RequestResponse`] only.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id`; one that is not sampled is made when absent.
    pub trace_header: Option<String>,
    pub invocation_type: InvocationType,
    /// `X-Amz-Log-Type: Tail`: the answer comes with the end of the log, so not before the invocation is over.
    pub log_tail: bool,
    /// JSON text, `{"cognitoIdentityId":…,"cognitoIdentityPoolId":…}`: no caller of the Invoke API can pass it, a mobile SDK
    /// does.
    pub cognito_identity: Option<String>,
    /// `X-Amz-Tenant-Id`.
    pub tenant_id: Option<String>,
}

/// What Lambda answers to a caller. An error of the function is an answer, not an [`InvokeError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokeResult {
    pub request_id: RequestId,
    /// 200; 202 for an event, 204 for a dry run.
    pub status: u16,
    /// The function's response, or the JSON object that describes its error.
    pub payload: Bytes,
    /// `X-Amz-Function-Error`: `Unhandled` when the function failed, timed out or crashed.
    pub function_error: Option<String>,
    pub executed_version: String,
    /// The trace header that the function saw.
    pub trace_header: String,
    /// The last 4 KB of the log of this invocation, if asked for; not base64.
    pub log_tail: Option<String>,
}

/// Why Lambda did not run a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvokeError {
    /// There is no function of that name. Carries the ARN that was looked for.
    UnknownFunction(String),
    /// The event is not JSON.
    InvalidEvent(String),
    /// The event or the client context is larger than Lambda takes.
    TooLarge { limit: usize },
    /// The client context is not a base64 JSON object.
    InvalidClientContext,
    /// Too many invocations of the function wait already.
    Throttled,
    /// An environment of managed instances did not take it: why, in Lambda's word.
    Refused(&'static str),
    /// This Lambda is shutting down.
    ShuttingDown,
}

impl InvokeError {
    /// The HTTP status that the Invoke API answers with.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownFunction(_) => 404,
            Self::InvalidEvent(_) | Self::InvalidClientContext | Self::Refused(_) => 400,
            Self::TooLarge { .. } => 413,
            Self::Throttled => 429,
            Self::ShuttingDown => 503,
        }
    }

    /// The name of the exception, `x-amzn-ErrorType`.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::UnknownFunction(_) => "ResourceNotFoundException",
            Self::InvalidEvent(_) | Self::InvalidClientContext => "InvalidRequestContentException",
            Self::TooLarge { .. } => "RequestTooLargeException",
            Self::Refused(why) => why,
            Self::Throttled => "TooManyRequestsException",
            Self::ShuttingDown => "ServiceException",
        }
    }
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFunction(arn) => write!(f, "Function not found: {arn}"),
            Self::InvalidEvent(why) => write!(f, "Could not parse request body into json: {why}"),
            Self::TooLarge { limit } => {
                write!(f, "Request must be smaller than {limit} bytes for the InvokeFunction operation")
            }
            Self::InvalidClientContext => {
                f.write_str("Client context must be a valid Base64-encoded JSON object.")
            }
            Self::Refused(why) => f.write_str(why),
            Self::Throttled => f.write_str("Rate Exceeded."),
            Self::ShuttingDown => f.write_str("The local Lambda is shutting down."),
        }
    }
}

impl std::error::Error for InvokeError {}
