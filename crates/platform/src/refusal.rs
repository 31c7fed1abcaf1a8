//! What Lambda's APIs say to calls that they do not accept: one function per answer, word for word as Lambda
//! answers. Those that need no state are used by the shell too.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>

use model::Text;

use crate::AgentId;

/// Agents of one environment, external and internal together.
pub const MAX_AGENTS: usize = 10;
/// Largest body of an event or a response: 6 MiB and 100 bytes.
pub const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024 + 100;

/// An HTTP status and the two fields of the JSON body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub error_type: &'static str,
    pub message: Text,
}

const INVALID_STATE: &str = "Extension.InvalidExtensionState";

impl Refusal {
    fn new(status: u16, error_type: &'static str, message: impl Into<Text>) -> Self {
        Self { status, error_type, message: message.into() }
    }

    fn forbidden(error_type: &'static str, message: impl Into<Text>) -> Self {
        Self::new(403, error_type, message)
    }

    // Runtime API

    pub(crate) fn runtime_transition(from: &str, to: &str) -> Self {
        let why = format!(
            "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed"
        );
        Self::forbidden("InvalidStateTransition", why)
    }

    pub(crate) fn invalid_request_id() -> Self {
        Self::new(400, "InvalidRequestID", "Invalid request ID")
    }

    /// The answer to an invocation that was given up.
    pub(crate) fn given_up() -> Self {
        Self::new(410, "InvokeTimeout", "Invoke timeout")
    }

    pub(crate) fn invalid_response_mode() -> Self {
        Self::new(400, "InvalidFunctionResponseMode", "Invalid function response mode")
    }

    pub(crate) fn truncated() -> Self {
        Self::new(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
    }

    pub(crate) fn too_large() -> Self {
        let why = format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).");
        Self::new(413, "RequestEntityTooLarge", why)
    }

    /// There is no such call in this mode.
    pub fn not_found() -> Self {
        Self::new(404, "NotFound", "404 page not found")
    }

    /// Lambda itself cannot answer.
    pub fn internal() -> Self {
        Self::new(500, "InternalServerError", "Internal Server Error")
    }

    // Extensions API

    pub fn empty_extension_name() -> Self {
        Self::forbidden("Extension.InvalidExtensionName", "Empty extension name")
    }

    /// The body of a registration cannot be read.
    pub fn invalid_format(why: String) -> Self {
        Self::forbidden("InvalidRequestFormat", why)
    }

    pub fn missing_identifier() -> Self {
        Self::forbidden("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
    }

    /// The identifier is not a UUID.
    pub fn invalid_identifier() -> Self {
        Self::forbidden("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
    }

    /// An error report without its type.
    pub fn missing_error_type() -> Self {
        Self::forbidden("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
    }

    pub(crate) fn unknown_agent(agent: &AgentId) -> Self {
        Self::forbidden("Extension.UnknownExtensionIdentifier", format!("Unknown extension {agent}"))
    }

    pub(crate) fn unknown_agent_reports() -> Self {
        Self::forbidden("Extension.UnknownExtensionIdentifier", "Unknown Lambda-Extension-Identifier")
    }

    pub(crate) fn agent_transition(from: &str, to: &str, who: &str) -> Self {
        let why = format!(
            "State transition from {from} to {to} failed for extension {who}. \
             Error: State transition is not allowed"
        );
        Self::forbidden(INVALID_STATE, why)
    }

    pub(crate) fn invalid_event(event: &str, fault: &str) -> Self {
        Self::forbidden("Extension.InvalidEventType", format!("{event}: {fault}"))
    }

    pub(crate) fn name_taken() -> Self {
        Self::forbidden(INVALID_STATE, "Extension with this name already registered")
    }

    pub(crate) fn registration_closed() -> Self {
        Self::forbidden("Extension.RegistrationClosed", "Extension registration closed already")
    }

    pub(crate) fn too_many_agents() -> Self {
        Self::forbidden("Extension.TooManyExtensions", format!("Extension limit ({MAX_AGENTS}) reached"))
    }

    // Telemetry API

    /// The body of a subscription is not valid.
    pub(crate) fn invalid_subscription(why: String) -> Self {
        Self::new(400, "ValidationError", why)
    }

    pub(crate) fn subscription_closed() -> Self {
        Self::forbidden("Telemetry.SubscriptionClosed", "Telemetry API subscription is closed")
    }
}
