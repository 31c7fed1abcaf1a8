//! OpenTelemetry's protocol, OTLP: traces, metrics and logs, as protobuf or as JSON.
//! <https://opentelemetry.io/docs/specs/otlp/> <https://github.com/open-telemetry/opentelemetry-proto>
//!
//! Spans become Datadog's as in the agent: [`traces`]. Metrics become points that say how they are to be
//! put together: [`metrics`]; what became of a stream before is for the caller to know. Log records become
//! JSON lines: [`logs`]. JSON is rewritten as protobuf by the tables in `schema` and read as that, so that
//! there is one reader.
//!
//! Every decoder takes any bytes without panicking, and keeps the readable siblings of what it cannot read.

mod container;
mod cut;
mod json;
pub mod logs;
pub mod metrics;
mod names;
mod schema;
#[cfg(test)]
mod tests;
pub mod traces;
mod value;

use std::fmt;

pub use cut::Cutter;
pub use json::to_protobuf;
use model::Text;

/// What a request carries: the end of its path says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// Why a whole body could not be read. The sender is answered 400; sending it again is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Protobuf(protobuf::Error),
    /// It is no JSON object.
    Json,
    /// Of a request that is cut, an element is larger than is taken.
    TooLarge,
}

impl From<protobuf::Error> for DecodeError {
    fn from(error: protobuf::Error) -> Self {
        Self::Protobuf(error)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protobuf(error) => error.fmt(f),
            Self::Json => f.write_str("the body is not a JSON object"),
            Self::TooLarge => f.write_str("an element is larger than is taken"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Whether a protobuf body is whole on its outermost level: cheap, so that garbage can be answered as such
/// before anything is decoded.
pub fn is_whole(body: &[u8]) -> bool {
    let mut reader = protobuf::Reader::new(body);
    loop {
        match reader.field() {
            Ok(None) => return true,
            Ok(Some(_)) => {}
            Err(_) => return false,
        }
    }
}

/// The body of an answer: a `google.rpc.Status` with these words, or nothing, which is a success of any kind.
pub fn status(words: &str) -> Vec<u8> {
    let mut out = protobuf::Writer::with_capacity(words.len() + 4);
    out.text(2, words);
    out.into_bytes()
}

/// A scope: the library that made the data.
#[derive(Clone, Debug, Default)]
struct Scope {
    name: Text,
    version: Text,
    attributes: value::Attributes,
}

/// The elements of a resource's scopes, each with its scope: fields 1 and 2 of `ResourceSpans` and its kin.
fn for_each<'a>(
    resource_message: protobuf::Reader<'a>,
    mut each: impl FnMut(&Scope, protobuf::Reader<'a>),
) -> u64 {
    let mut lost = 0;
    let mut fields = resource_message;
    loop {
        match fields.field() {
            Ok(Some((2, scoped))) => {
                let scope = scope(scoped.message());
                let mut elements = scoped.message();
                loop {
                    match elements.field() {
                        Ok(Some((2, element))) => each(&scope, element.message()),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => {
                            lost += 1;
                            break;
                        }
                    }
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return lost,
            Err(_) => return lost + 1,
        }
    }
}

/// The attributes of the resource in a `ResourceSpans` or its kin, wherever in it they stand.
fn resource(mut fields: protobuf::Reader<'_>) -> value::Attributes {
    let mut attributes = value::Attributes::default();
    while let Ok(Some((number, field))) = fields.field() {
        if number == 1 {
            let mut resource = field.message();
            while let Ok(Some((number, field))) = resource.field() {
                if number == 1 {
                    attributes.read(field);
                }
            }
        }
    }
    attributes
}

fn scope(mut fields: protobuf::Reader<'_>) -> Scope {
    let mut scope = Scope::default();
    while let Ok(Some((number, field))) = fields.field() {
        if number != 1 {
            continue;
        }
        let mut inner = field.message();
        while let Ok(Some((number, field))) = inner.field() {
            match number {
                1 => scope.name = field.text(),
                2 => scope.version = field.text(),
                3 => scope.attributes.read(field),
                _ => {}
            }
        }
    }
    scope
}
