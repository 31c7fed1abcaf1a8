//! What holds whatever a gRPC message says. Called by the fuzz target, which has these modules as its own, and by the
//! test that replays its corpus.

use bytes::Bytes;
use wire::otlp::{is_whole, traces};

use super::frame::{self, HEAD, Unframed};

/// A first byte that says how the message is packed, and what comes: it is what its frame says, or no message.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((choice, framed)) = bytes.split_first() else { return };
    let encoding = ["", "gzip", "zstd", "identity", "br"][usize::from(*choice) % 5];
    match frame::message(&Bytes::copy_from_slice(framed), encoding) {
        Ok((packed, message)) => {
            assert_eq!(message, framed[HEAD..]);
            assert!(packed.is_empty() || packed == encoding && framed[0] == 1);
            if packed.is_empty() {
                read(&message);
            } else {
                let plain = payload::decompress(&message, packed, 1 << 20);
                plain.iter().for_each(|plain| read(plain));
            }
        }
        Err(why) => assert!(why == Unframed::Malformed || framed[0] == 1),
    }
    // In a frame of its own it is a message.
    let length = u32::try_from(framed.len()).unwrap_or_default().to_be_bytes();
    let whole = [&[0], &length[..], framed].concat();
    assert_eq!(frame::message(&whole.into(), encoding), Ok(("", Bytes::copy_from_slice(framed))));
}

/// What is no protobuf is refused before it is read.
fn read(message: &[u8]) {
    let is_whole = is_whole(message);
    let read = traces::decode(message, &traces::Settings::default());
    assert!(is_whole || read.is_err());
}
