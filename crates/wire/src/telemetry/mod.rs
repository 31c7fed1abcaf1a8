//! Telemetry API deliveries: a JSON array of `{"time", "type", "record"}`.
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>
//!
//! [`decode`] serves the extension, [`encode`] the sandbox. Lambda adds types and words without notice, so
//! an element that cannot be read costs that element and nothing else.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::fmt;

use model::TelemetryRecord;

pub use decode::decode;
pub use encode::{encode, encode_record};

/// What one delivery held.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TelemetryBatch {
    /// In the order delivered.
    pub records: Vec<TelemetryRecord>,
    /// Elements without a readable time or type.
    pub malformed: u64,
}

/// The body as a whole is no JSON array: nothing in it can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnArray;

impl fmt::Display for NotAnArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is not a JSON array of telemetry records")
    }
}

impl std::error::Error for NotAnArray {}
