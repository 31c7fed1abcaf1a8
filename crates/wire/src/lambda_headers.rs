//! Header names of the Runtime API, the Extensions API and the Invoke API, and the paths of the first two.
//! Lower case, as HTTP libraries compare them. Who serves them is the sandbox; who calls them, Lambda's
//! runtimes and the extension.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>

/// Runtime API, on `…/invocation/next` unless said otherwise.
pub mod runtime {
    pub const VERSION: &str = "2018-06-01";
    pub const NEXT_PATH: &str = "/2018-06-01/runtime/invocation/next";
    /// Followed by `{request id}/response` or `{request id}/error`.
    pub const INVOCATION_PATH: &str = "/2018-06-01/runtime/invocation/";
    pub const INIT_ERROR_PATH: &str = "/2018-06-01/runtime/init/error";

    pub const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
    /// Milliseconds since 1970.
    pub const DEADLINE_MS: &str = "lambda-runtime-deadline-ms";
    pub const INVOKED_FUNCTION_ARN: &str = "lambda-runtime-invoked-function-arn";
    /// `Root=…;Parent=…;Sampled=…`
    pub const TRACE_ID: &str = "lambda-runtime-trace-id";
    /// JSON, of SDK callers.
    pub const CLIENT_CONTEXT: &str = "lambda-runtime-client-context";
    pub const COGNITO_IDENTITY: &str = "lambda-runtime-cognito-identity";
    pub const TENANT_ID: &str = "lambda-runtime-aws-tenant-id";
    /// Names one attempt of a request; runtimes send it back with the response or error.
    pub const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
    /// On `/error`: `Function.…` or `Runtime.…`.
    pub const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
    /// On `/error`: JSON for X-Ray.
    pub const XRAY_ERROR_CAUSE: &str = "lambda-runtime-function-xray-error-cause";
    /// On `/response`: `streaming`.
    pub const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
    /// A trailer of a streamed response: base64.
    pub const ERROR_BODY: &str = "lambda-runtime-function-error-body";
}

/// Extensions API and Telemetry API.
pub mod extension {
    pub const REGISTER_PATH: &str = "/2020-01-01/extension/register";
    pub const NEXT_PATH: &str = "/2020-01-01/extension/event/next";
    pub const INIT_ERROR_PATH: &str = "/2020-01-01/extension/init/error";
    pub const EXIT_ERROR_PATH: &str = "/2020-01-01/extension/exit/error";
    pub const TELEMETRY_PATH: &str = "/2022-07-01/telemetry";
    pub const LOGS_PATH: &str = "/2020-08-15/logs";

    /// On register: the file name of an external extension.
    pub const NAME: &str = "lambda-extension-name";
    /// On register: `accountId`.
    pub const ACCEPT_FEATURE: &str = "lambda-extension-accept-feature";
    /// Given by register, sent with every other call.
    pub const IDENTIFIER: &str = "lambda-extension-identifier";
    /// On the answer to `event/next` for an INVOKE.
    pub const EVENT_IDENTIFIER: &str = "lambda-extension-event-identifier";
    /// On init and exit errors.
    pub const ERROR_TYPE: &str = "lambda-extension-function-error-type";
}

/// Invoke API, as SDKs call it.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
pub mod invoke {
    /// Base64 of JSON.
    pub const CLIENT_CONTEXT: &str = "x-amz-client-context";
    /// `RequestResponse`, `Event` or `DryRun`.
    pub const INVOCATION_TYPE: &str = "x-amz-invocation-type";
    /// `None` or `Tail`.
    pub const LOG_TYPE: &str = "x-amz-log-type";
    /// On answers of failed functions: `Unhandled`.
    pub const FUNCTION_ERROR: &str = "x-amz-function-error";
    /// On answers: the last 4 KB of the log, base64.
    pub const LOG_RESULT: &str = "x-amz-log-result";
    pub const EXECUTED_VERSION: &str = "x-amz-executed-version";
    pub const REQUEST_ID: &str = "x-amzn-requestid";
    /// On answers that refuse the call: the exception's name.
    pub const ERROR_TYPE: &str = "x-amzn-errortype";
    pub const TRACE_ID: &str = "x-amzn-trace-id";
    pub const TENANT_ID: &str = "x-amz-tenant-id";
}
