//! Unpacks a body while it comes in: what a few bytes unpack to is never here as a whole. For a body that is here already
//! there is [`crate::decompress`].

use std::fmt;

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::DecompressError;
use crate::gzip;

/// Bytes that are given at once.
const PART: usize = 64 << 10;
/// The most look-back that a sender may ask of us: 8 MiB, as level 19 of zstd does.
const MAX_WINDOW_LOG: u32 = 23;
/// The longest name and comment that a gzip header may have.
const MAX_HEADER: usize = 4 << 10;

/// A body on its way in.
///
/// ```
/// let packed = payload::compress(b"spans", payload::Encoding::Gzip);
/// let mut unpacker = payload::Unpacker::new("gzip", 100).unwrap();
/// let (mut rest, mut plain) = (&*packed.body, Vec::new());
/// while !rest.is_empty() {
///     plain.extend_from_slice(unpacker.next(&mut rest).unwrap());
/// }
/// assert_eq!((plain.as_slice(), unpacker.is_whole()), (b"spans".as_slice(), true));
/// ```
#[derive(Debug)]
pub struct Unpacker {
    kind: Kind,
    part: Vec<u8>,
    /// Bytes that may still be made.
    left: usize,
}

enum Kind {
    Zstd {
        decoder: Decoder<'static>,
        /// Nothing of a frame is missing.
        is_whole: bool,
    },
    Zlib(Box<InflateState>),
    Gzip(Gzip),
    End,
}

/// Where in a gzip file the next byte is.
enum Gzip {
    Header(Vec<u8>),
    Data { state: Box<InflateState>, checksum: u32 },
    Trailer { bytes: Vec<u8>, checksum: u32 },
}

impl Unpacker {
    /// For a `content-encoding` other than none; it makes no more than `max` bytes.
    ///
    /// # Errors
    /// The encoding is not known.
    pub fn new(content_encoding: &str, max: usize) -> Result<Self, DecompressError> {
        let kind = match content_encoding.trim().to_ascii_lowercase().as_str() {
            "zstd" => {
                let mut decoder = Decoder::new().map_err(|_| DecompressError::Malformed)?;
                let limit = DParameter::WindowLogMax(MAX_WINDOW_LOG);
                decoder.set_parameter(limit).map_err(|_| DecompressError::Malformed)?;
                Kind::Zstd { decoder, is_whole: false }
            }
            "gzip" => Kind::Gzip(Gzip::Header(Vec::new())),
            "deflate" => Kind::Zlib(InflateState::new_boxed(DataFormat::Zlib)),
            _ => return Err(DecompressError::UnknownEncoding),
        };
        Ok(Self { kind, part: vec![0; PART], left: max })
    }

    /// Unpacks the next part, and takes what that took from the beginning of `packed`. Empty: more has to come.
    ///
    /// # Errors
    /// It is not what the encoding says, or unpacks to too much.
    pub fn next(&mut self, packed: &mut &[u8]) -> Result<&[u8], DecompressError> {
        loop {
            let (read, written) = self.kind.step(packed, &mut self.part)?;
            *packed = packed.get(read..).unwrap_or_default();
            self.left = self.left.checked_sub(written).ok_or(DecompressError::TooLarge)?;
            if written > 0 || read == 0 || packed.is_empty() {
                return Ok(self.part.get(..written).unwrap_or_default());
            }
        }
    }

    /// Whether nothing is missing: asked when all has come and the last part was empty or the input used up.
    pub fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::End | Kind::Zstd { is_whole: true, .. })
    }
}

impl Kind {
    /// How many bytes were read and written. When it could write as much as it was given room for, there may be more.
    fn step(&mut self, packed: &[u8], part: &mut [u8]) -> Result<(usize, usize), DecompressError> {
        match self {
            Self::Zstd { decoder, is_whole } => {
                let (mut from, mut to) = (InBuffer::around(packed), OutBuffer::around(part));
                let left = decoder.run(&mut from, &mut to).map_err(|_| DecompressError::Malformed)?;
                let (read, written) = (from.pos(), to.pos());
                if read > 0 || written > 0 {
                    *is_whole = left == 0;
                }
                Ok((read, written))
            }
            Self::Zlib(state) => {
                let (read, written, is_end) = step(state, packed, part)?;
                if is_end {
                    *self = Self::End;
                }
                Ok((read, written))
            }
            Self::Gzip(gzip) => {
                let (read, written, is_end) = gzip.step(packed, part)?;
                if is_end {
                    *self = Self::End;
                }
                Ok((read, written))
            }
            // What stands behind it is nothing.
            Self::End => Ok((packed.len(), 0)),
        }
    }
}

impl Gzip {
    fn step(&mut self, packed: &[u8], part: &mut [u8]) -> Result<(usize, usize, bool), DecompressError> {
        match self {
            Self::Header(bytes) => {
                let before = bytes.len();
                bytes.extend_from_slice(packed.get(..packed.len().min(MAX_HEADER)).unwrap_or_default());
                let is_gzip = bytes.iter().zip([0x1f, 0x8b, 8]).all(|(byte, want)| *byte == want);
                let Some(data) = gzip::data(bytes) else {
                    if !is_gzip || bytes.len() >= MAX_HEADER {
                        return Err(DecompressError::Malformed);
                    }
                    return Ok((packed.len(), 0, false));
                };
                let header = bytes.len() - data.len();
                *self = Self::Data { state: InflateState::new_boxed(DataFormat::Raw), checksum: 0 };
                Ok((header.saturating_sub(before), 0, false))
            }
            Self::Data { state, checksum } => {
                let (read, written, is_end) = step(state, packed, part)?;
                *checksum = gzip::checksum_on(*checksum, part.get(..written).unwrap_or_default());
                if is_end {
                    *self = Self::Trailer { bytes: Vec::new(), checksum: *checksum };
                }
                Ok((read, written, false))
            }
            Self::Trailer { bytes, checksum } => {
                let missing = gzip::TRAILER - bytes.len();
                let taken = packed.get(..missing.min(packed.len())).unwrap_or_default();
                bytes.extend_from_slice(taken);
                let told = bytes.first_chunk::<4>().map(|told| u32::from_le_bytes(*told));
                let is_end = bytes.len() == gzip::TRAILER;
                if is_end && told != Some(*checksum) {
                    return Err(DecompressError::Malformed);
                }
                Ok((taken.len(), 0, is_end))
            }
        }
    }
}

fn step(
    state: &mut InflateState,
    packed: &[u8],
    part: &mut [u8],
) -> Result<(usize, usize, bool), DecompressError> {
    let result = inflate(state, packed, part, MZFlush::None);
    let is_end = match result.status {
        Ok(MZStatus::StreamEnd) => true,
        // Nothing to be done before there is more.
        Ok(MZStatus::Ok) | Err(MZError::Buf) => false,
        Ok(MZStatus::NeedDict) | Err(_) => return Err(DecompressError::Malformed),
    };
    Ok((result.bytes_consumed, result.bytes_written, is_end))
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd { .. } => "Zstd",
            Self::Zlib(_) => "Zlib",
            Self::Gzip(_) => "Gzip",
            Self::End => "End",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::{Encoding, compress, decompress};

    const ENCODINGS: [&str; 3] = ["gzip", "zstd", "deflate"];

    fn packed(encoding: &str, body: &[u8]) -> Vec<u8> {
        match encoding {
            "gzip" => compress(body, Encoding::Gzip).body.into_owned(),
            "zstd" => compress(body, Encoding::Zstd).body.into_owned(),
            _ => miniz_oxide::deflate::compress_to_vec_zlib(body, 6),
        }
    }

    fn unpacked(encoding: &str, body: &[u8], part: usize, max: usize) -> Result<Vec<u8>, DecompressError> {
        let (mut unpacker, mut plain) = (Unpacker::new(encoding, max)?, Vec::new());
        for mut part in body.chunks(part.max(1)) {
            loop {
                let made = unpacker.next(&mut part)?;
                plain.extend_from_slice(made);
                if made.is_empty() && part.is_empty() {
                    break;
                }
            }
        }
        if unpacker.is_whole() { Ok(plain) } else { Err(DecompressError::Malformed) }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(mut body in vec(any::<u8>(), 0..500), times in 1..900usize, part in 1..5000usize, cut in 0..200usize) {
            body = body.repeat(times);
            for encoding in ENCODINGS {
                let packed = packed(encoding, &body);
                prop_assert_eq!(unpacked(encoding, &packed, part, body.len()), Ok(body.clone()));
                if !body.is_empty() {
                    prop_assert_eq!(unpacked(encoding, &packed, part, body.len() - 1), Err(DecompressError::TooLarge));
                }
                let short = &packed[..packed.len() - 1 - cut.min(packed.len() - 1)];
                prop_assert_eq!(unpacked(encoding, short, part, body.len()), Err(DecompressError::Malformed));
            }
        }

        /// Any bytes unpack to what they unpack to as a whole.
        #[test]
        fn any_bytes_do_no_harm(noise in vec(any::<u8>(), 0..100), keep in 0..100usize, part in 1..60usize) {
            for encoding in ENCODINGS {
                let packed = packed(encoding, b"some body that is packed, and packed, and packed");
                let noisy = [&packed[..keep.min(packed.len())], &noise].concat();
                let (got, whole) = (unpacked(encoding, &noisy, part, 1000), decompress(&noisy, encoding, 1000));
                if let (Ok(got), Ok(whole)) = (&got, &whole) {
                    prop_assert_eq!(got, whole);
                }
            }
        }
    }

    #[test]
    fn what_gzip_makes_is_read() {
        // printf hi | gzip -9, with the name `n` in its header, and something behind it.
        let named = b"\x1f\x8b\x08\x08\0\0\0\0\x02\x03n\0\xcb\xc8\x04\0\xac\x2a\x93\xd8\x02\0\0\0behind";
        for part in 1..named.len() {
            assert_eq!(unpacked("gzip", named, part, 10), Ok(b"hi".to_vec()), "{part}");
        }
        let mut wrong = named.to_vec();
        wrong[16] ^= 1;
        assert_eq!(unpacked("gzip", &wrong, 5, 10), Err(DecompressError::Malformed));
        let endless = [&named[..11], &[b'n'; 2 * MAX_HEADER]].concat();
        assert_eq!(unpacked("gzip", &endless, 100, 10), Err(DecompressError::Malformed));
        assert_eq!(unpacked("br", b"", 1, 1), Err(DecompressError::UnknownEncoding));
        assert_eq!(unpacked("deflate", b"", 1, 1), Err(DecompressError::Malformed));
    }

    /// A bomb goes off in small parts, and only so far.
    #[test]
    fn little_may_unpack_to_much() {
        let packed = packed("zstd", &vec![0; 40 << 20]);
        assert!(packed.len() < 100_000, "{}", packed.len());
        let mut unpacker = Unpacker::new("zstd", 30 << 20).unwrap();
        let (mut rest, mut made) = (&*packed, 0);
        let end = loop {
            match unpacker.next(&mut rest) {
                Ok(part) => made += part.len(),
                Err(error) => break error,
            }
        };
        assert_eq!(end, DecompressError::TooLarge);
        assert!(((30 << 20) - PART..=30 << 20).contains(&made), "{made}");
    }
}
