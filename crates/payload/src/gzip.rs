//! Gzip around deflate, for the one intake that wants it: RFC 1952.

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::{
    DecompressError as Inflate, TINFLStatus, decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit,
};

use crate::DecompressError;

/// Magic, deflate, no flags, no time, no further flags, Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
/// The fast level.
const LEVEL: u8 = 1;
/// Behind the data: checksum and length.
pub(crate) const TRAILER: usize = 8;

pub(crate) fn pack(body: &[u8]) -> Vec<u8> {
    let mut packed = HEADER.to_vec();
    packed.extend(compress_to_vec(body, LEVEL));
    packed.extend(checksum(body).to_le_bytes());
    // The length modulo 2^32, as the format has it.
    packed.extend((body.len() as u32).to_le_bytes());
    packed
}

/// Reads one member.
pub(crate) fn unpack(body: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let malformed = DecompressError::Malformed;
    let data = data(body).ok_or(malformed)?;
    let (data, trailer) = data.split_at_checked(data.len().saturating_sub(TRAILER)).ok_or(malformed)?;
    let plain = decompress_to_vec_with_limit(data, max).map_err(why)?;
    let told = trailer.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    if told == Some(checksum(&plain)) { Ok(plain) } else { Err(malformed) }
}

/// Reads what HTTP calls `deflate`: zlib, RFC 1950.
pub(crate) fn unpack_zlib(body: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    decompress_to_vec_zlib_with_limit(body, max).map_err(why)
}

fn why(error: Inflate) -> DecompressError {
    match error.status {
        TINFLStatus::HasMoreOutput => DecompressError::TooLarge,
        _ => DecompressError::Malformed,
    }
}

/// What stands behind the header.
pub(crate) fn data(body: &[u8]) -> Option<&[u8]> {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const HEADER_CHECKSUM: u8 = 2;
    let ([0x1f, 0x8b, 8, flags, ..], mut rest) = body.split_at_checked(HEADER.len())? else { return None };
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

/// CRC-32 as in ISO 3309.
fn checksum(bytes: &[u8]) -> u32 {
    checksum_on(0, bytes)
}

/// The checksum of all bytes, when `sum` is that of those before.
pub(crate) fn checksum_on(sum: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| {
        let at = usize::from(sum.to_le_bytes()[0] ^ byte);
        TABLE.get(at).copied().unwrap_or_default() ^ (sum >> 8)
    };
    !bytes.iter().fold(!sum, step)
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(body in vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(unpack(&pack(&body), body.len()), Ok(body));
        }

        #[test]
        fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..100), flags in any::<u8>()) {
            let _ = unpack(&body, 1000);
            let _ = unpack(&[&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], &body[..]].concat(), 1000);
        }
    }

    #[test]
    fn checksums() {
        // The check value of the standard.
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn what_zlib_makes_is_read() {
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(b"hello", 6);
        assert_eq!(unpack_zlib(&packed, 5), Ok(b"hello".to_vec()));
        assert_eq!(unpack_zlib(&packed, 4), Err(DecompressError::TooLarge));
        assert_eq!(unpack_zlib(b"no zlib", 99), Err(DecompressError::Malformed));
    }

    #[test]
    fn what_gzip_makes_is_read() {
        // printf hi | gzip -9, with the name `n` in its header.
        let named = b"\x1f\x8b\x08\x08\0\0\0\0\x02\x03n\0\xcb\xc8\x04\0\xac\x2a\x93\xd8\x02\0\0\0";
        assert_eq!(unpack(named, 10), Ok(b"hi".to_vec()));
        assert_eq!(unpack(named, 1), Err(DecompressError::TooLarge));
        assert_eq!(unpack(&named[..20], 10), Err(DecompressError::Malformed));
    }
}
