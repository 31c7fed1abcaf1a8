//! What holds whatever a body says. Called by the fuzz target and by the test that replays its corpus.

use payload::{DecompressError, Unpacker, decompress};

const ENCODINGS: [&str; 3] = ["gzip", "zstd", "deflate"];
/// Bytes that a body may unpack to.
const MOST: usize = 1 << 20;

/// A first byte that chooses the encoding and how large the parts are in which the rest comes.
pub(crate) fn unpack(bytes: &[u8]) {
    let Some((choice, packed)) = bytes.split_first() else { return };
    let encoding = ENCODINGS[usize::from(*choice) % ENCODINGS.len()];
    let part = 1 + usize::from(*choice / 3);
    let (parts, at_once) =
        (unpacked(encoding, packed, part), unpacked(encoding, packed, packed.len().max(1)));
    // It does not matter in what parts it came.
    assert_eq!(parts, at_once, "{encoding} {part}");
    let whole = decompress(packed, encoding, MOST);
    if let (Ok(parts), Ok(whole)) = (&parts, &whole) {
        assert_eq!(parts, whole, "{encoding}");
    }
}

fn unpacked(encoding: &str, packed: &[u8], part: usize) -> Result<Vec<u8>, DecompressError> {
    let (mut unpacker, mut plain) = (Unpacker::new(encoding, MOST)?, Vec::new());
    for mut part in packed.chunks(part) {
        loop {
            let (before, made) = (part.len(), unpacker.next(&mut part)?);
            plain.extend_from_slice(made);
            assert!(plain.len() <= MOST);
            // Every turn goes on: else a body would keep the reader for ever.
            if made.is_empty() && part.len() == before {
                break;
            }
        }
        assert!(part.is_empty(), "{encoding}: {} bytes are not taken", part.len());
    }
    if unpacker.is_whole() { Ok(plain) } else { Err(DecompressError::Malformed) }
}
