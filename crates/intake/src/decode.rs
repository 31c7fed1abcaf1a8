//! From the bytes of a request to what is in them, within the sizes that Datadog takes.

use axum::http::StatusCode;
use model::{Batch, Signal};

use crate::strict::Sent;
use crate::{metric_payload, strict};

/// Bytes of one request once unpacked.
pub(crate) const MAX_PLAIN_BYTES: usize = 64 << 20;
/// Bytes of series, packed. <https://docs.datadoghq.com/api/latest/metrics/#submit-metrics>
const MAX_PACKED_SERIES: usize = 512_000;

/// Why a request is not taken.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) why: String,
}

/// Which signal is sent to this path.
pub(crate) fn signal(path: &str) -> Option<Signal> {
    payload::signal_of(path.strip_suffix('/').unwrap_or(path))
}

/// A body without its packing.
pub(crate) fn unpack(encoding: &str, body: &[u8]) -> Result<Vec<u8>, Refused> {
    let refused = |status, why| Refused { status, why };
    payload::decompress(body, encoding, MAX_PLAIN_BYTES).map_err(|why| match why {
        payload::DecompressError::TooLarge => {
            let why = format!("more than {MAX_PLAIN_BYTES} bytes unpacked");
            refused(StatusCode::PAYLOAD_TOO_LARGE, why)
        }
        payload::DecompressError::UnknownEncoding => {
            refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("content-encoding {encoding:?}: {why}"))
        }
        why => refused(StatusCode::BAD_REQUEST, format!("content-encoding {encoding:?}: {why}")),
    })
}

/// What is in an unpacked request.
pub(crate) fn decode(signal: Signal, sent: &Sent<'_>, plain: &[u8]) -> Result<Batch, Refused> {
    let refused = |status, why| Refused { status, why };
    let max = payload::endpoint(signal).max_bytes;
    if plain.len() > max {
        let why = format!("{} bytes unpacked are more than the {max} that this intake takes", plain.len());
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    if signal == Signal::Series && sent.packed > MAX_PACKED_SERIES {
        let why =
            format!("{} bytes are more than the {MAX_PACKED_SERIES} that this intake takes", sent.packed);
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let read = match signal {
        Signal::Series if strict::is_protobuf(sent.headers) => {
            metric_payload::decode(plain).map(Batch::Series).map_err(|why| why.to_string())
        }
        signal => payload::decode(signal, plain).map_err(|why| why.to_string()),
    };
    read.map_err(|why| {
        refused(StatusCode::BAD_REQUEST, format!("not readable as {}: {why}", signal.as_str()))
    })
}
