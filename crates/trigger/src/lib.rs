//! What a Lambda event means: which service sent it, the trace context that it carries, the tags that it
//! gives the invocation, and the spans of managed services that it implies. Pure: reads a parsed event,
//! keeps no state, never panics, whatever the event.
//!
//! Called by the library for its own handler's event, and by the extension for the event of a
//! start-invocation call, so that both say the same of it.
//!
//! ```
//! let event = serde_json::json!({"Records": [{"eventSource": "aws:sqs",
//!     "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders"}]});
//! let reading = trigger::read(&event, &trigger::Function::default(), &trigger::Settings::default());
//! assert_eq!(reading.event_source, Some("sqs"));
//! assert_eq!(reading.inferred[0].resource, "orders");
//! ```

use model::{SpanId, SpanLink, Tags, Text, TraceId, UnixNanos};
use propagation::TraceContext;

mod assemble;
mod authorizer;
mod capture;
mod carrier;
mod explain;
mod json;
mod pointer;
mod read;
mod resource;
mod settings;
mod sources;
mod streams;

pub use assemble::assemble;
pub use authorizer::encode_authorizer;
pub use capture::{MAX_CAPTURE_DEPTH, payload_tags};
pub use carrier::{JsonCarrier, carrier_of, client_context, client_context_found, context_in};
pub use pointer::{Direction, KeyValue, dynamodb_item_pointer, dynamodb_pointer, s3_pointer};
pub use read::{identify, read, record_context, records, sources};
pub use settings::{ServiceMapping, Settings};
pub use sources::{About, Kind};
pub use streams::{Consumed, consumed, record_consumed};

/// All that one event says, owned.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Reading {
    pub kind: Kind,
    /// `function_trigger.event_source`: `api-gateway`, `sqs`. `None` for an event of unknown shape.
    pub event_source: Option<&'static str>,
    pub event_source_arn: Option<String>,
    /// The context that the invocation continues.
    pub parent: Option<TraceContext>,
    /// Where in the event the parent was found: `body > MessageAttributes._datadog`.
    pub found_in: Option<String>,
    /// Baggage that came without a trace to continue.
    pub baggage: Tags<Text>,
    /// What else the invocation was caused by, for links from its span: the contexts of the other records of
    /// a batch and those that the parent's carrier held beside it (distinct traces, bounded). Then
    /// span pointers, links without a trace id: the objects and items that the event is about.
    pub links: Vec<SpanLink>,
    /// Tags for the `aws.lambda` span, event source and ARN included.
    pub tags: Tags<Text>,
    /// Spans of the services the event came through, outermost first.
    pub inferred: Vec<InferredSpan>,
    /// The caller waits for a web response: its `statusCode` is tagged, 5xx is an error.
    pub is_http: bool,
}

/// A span of a managed service, made from what the event tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct InferredSpan {
    pub name: Text,
    pub service: Text,
    pub resource: Text,
    pub kind: Text,
    pub start: UnixNanos,
    pub end: InferredEnd,
    pub tags: Tags<Text>,
}

/// When an inferred span ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InferredEnd {
    /// Asynchronous: when the function takes over.
    InvocationStart,
    /// Synchronous: when the function is done.
    InvocationEnd,
    /// When the next inner service took over.
    At(UnixNanos),
}

/// What is known of the function that got the event.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Function {
    pub name: String,
    pub region: String,
    pub account: String,
}

/// The facts of a finished invocation that its inferred spans need.
#[derive(Clone, Debug)]
pub struct Invocation<'a> {
    pub trace_id: TraceId,
    /// The caller's span: parent of the outermost inferred span.
    pub parent_id: Option<SpanId>,
    pub request_id: &'a str,
    pub service: &'a str,
    pub start: UnixNanos,
    pub end: UnixNanos,
    pub error: bool,
    pub http_status_code: Option<&'a str>,
}

#[cfg(test)]
mod tests;
