//! From the bytes of a request to what is in them, within the sizes that Datadog takes.

use axum::http::StatusCode;
use model::{Batch, Signal};

/// Bytes of one request once unpacked.
pub(crate) const MAX_PLAIN_BYTES: usize = 64 << 20;

/// Why a request is not taken.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) why: String,
    /// The unpacked body, when it could be unpacked.
    pub(crate) plain: Option<Vec<u8>>,
}

/// Which signal is sent to this path.
pub(crate) fn signal(path: &str) -> Option<Signal> {
    payload::signal_of(path.strip_suffix('/').unwrap_or(path))
}

/// A body without its packing.
pub(crate) fn unpack(encoding: &str, body: &[u8]) -> Result<Vec<u8>, Refused> {
    let refused = |status, why| Refused { status, why, plain: None };
    payload::decompress(body, encoding, MAX_PLAIN_BYTES).map_err(|why| match why {
        payload::DecompressError::TooLarge => {
            let why = format!("more than {MAX_PLAIN_BYTES} bytes unpacked");
            refused(StatusCode::PAYLOAD_TOO_LARGE, why)
        }
        why => refused(StatusCode::BAD_REQUEST, format!("content-encoding {encoding:?}: {why}")),
    })
}

/// What is in a request, and how many bytes it has unpacked.
pub(crate) fn decode(signal: Signal, encoding: &str, body: &[u8]) -> Result<(Batch, usize), Refused> {
    let refused = |status, why, plain| Refused { status, why, plain };
    let plain = unpack(encoding, body)?;
    let max = payload::endpoint(signal).max_bytes;
    if plain.len() > max {
        let why = format!("{} bytes unpacked are more than the {max} that this intake takes", plain.len());
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, why, Some(plain)));
    }
    match payload::decode(signal, &plain) {
        Ok(batch) => Ok((batch, plain.len())),
        Err(why) => {
            let why = format!("not readable as {}: {why}", signal.as_str());
            Err(refused(StatusCode::BAD_REQUEST, why, Some(plain)))
        }
    }
}
