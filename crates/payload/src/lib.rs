//! The REMOTE protocols, both directions: what the extension sends to Datadog's intake, and what the local
//! intake reads.
//!
//! [`pack`] turns a batch into requests that the intake takes; [`encode`] and [`decode`] are the plain
//! codec behind it; [`endpoint`] says where each signal goes and with which headers; [`compress`] and
//! [`decompress`] are the content encoding. No socket, no address, no API key.
//!
//! Every decoder takes any bytes without panicking and allocates in proportion to what is really there.

mod compression;
mod endpoint;
pub mod events;
mod gzip;
pub mod logs;
mod origin;
pub mod series;
pub mod sketches;
mod split;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod traces;
mod unpack;

use std::fmt;

use model::{Batch, Forward, Signal};

pub use compression::{Compressed, Compressor, DecompressError, Encoding, FAST, compress, decompress};
pub use endpoint::{Endpoint, endpoint, signal_of};
pub use split::{Packed, Split, append, pack, split};
pub use unpack::Unpacker;

/// Writes the body of a request, before compression. Whether the intake takes one of that size is not looked
/// at: see [`pack`].
pub fn encode(batch: &Batch) -> Vec<u8> {
    match batch {
        Batch::Traces(all) => traces::encode(all),
        Batch::Series(all) => series::encode(all),
        Batch::Sketches(all) => sketches::encode(all),
        Batch::Logs(all) => logs::encode(all),
        Batch::Stats(all) => stats::encode(all),
        Batch::Forwards(all) => all.iter().flat_map(|one| &one.body).copied().collect(),
    }
}

/// Reads the body of a request, after decompression.
pub fn decode(signal: Signal, body: &[u8]) -> Result<Batch, DecodeError> {
    Ok(match signal {
        Signal::Traces => Batch::Traces(traces::decode(body)?),
        Signal::Series => Batch::Series(series::decode(body)?),
        Signal::Sketches => Batch::Sketches(sketches::decode(body)?),
        Signal::Logs => Batch::Logs(logs::decode(body)?),
        Signal::Stats => Batch::Stats(stats::decode(body)?),
        Signal::Forwards => Batch::Forwards(vec![Forward { body: body.to_vec(), ..Forward::default() }]),
    })
}

/// Why a body could not be read. The sender is answered 400; sending it again is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It ends before what it announces.
    Truncated,
    /// It is not the protobuf or JSON that it should be.
    Malformed,
    /// A span has no trace id or no span id.
    ZeroId,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the body ends too early",
            Self::Malformed => "the body has another shape",
            Self::ZeroId => "a span has no trace id or no span id",
        })
    }
}

impl std::error::Error for DecodeError {}

impl From<protobuf::Error> for DecodeError {
    fn from(error: protobuf::Error) -> Self {
        match error {
            protobuf::Error::Truncated => Self::Truncated,
            protobuf::Error::Malformed => Self::Malformed,
        }
    }
}
