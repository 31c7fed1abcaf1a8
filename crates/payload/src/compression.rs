//! The content encodings of requests: zstd, gzip, or none.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use zstd::stream::raw::CParameter;

use crate::gzip;

/// The fast level: on the JSON and protobuf sent here a higher one gains a few per cent for many times the
/// work.
pub const FAST: i32 = 1;
/// 128 KiB of look-back: a seventh of the memory of the default at about the same size.
const WINDOW_LOG: u32 = 17;
/// The most look-back that a sender may ask of us: 16 MiB. Level 19 needs 8.
const MAX_WINDOW_LOG: u32 = 24;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Identity,
    Zstd,
    Gzip,
}

impl Encoding {
    /// The value of `content-encoding`; `None` when the header is to be left out.
    pub fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Zstd => Some("zstd"),
            Self::Gzip => Some("gzip"),
        }
    }
}

/// A body as it goes out, with the encoding that it really has: the one asked for, or identity should
/// compression fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed<'b> {
    pub body: Cow<'b, [u8]>,
    pub encoding: Encoding,
}

impl<'b> Compressed<'b> {
    /// What zstd made of it; as it was when that failed.
    fn of(body: &'b [u8], packed: io::Result<Vec<u8>>) -> Self {
        match packed {
            Ok(packed) => Self { body: Cow::Owned(packed), encoding: Encoding::Zstd },
            Err(_) => Self { body: Cow::Borrowed(body), encoding: Encoding::Identity },
        }
    }
}

/// Compresses many bodies with one working memory, which it keeps between them (some hundred KB once used).
pub struct Compressor {
    level: i32,
    context: Option<zstd::bulk::Compressor<'static>>,
}

/// Fast, and without any memory yet.
impl Default for Compressor {
    fn default() -> Self {
        Self { level: FAST, context: None }
    }
}

impl Compressor {
    pub fn new() -> Self {
        Self::default()
    }

    /// From here on at this level of zstd, 1 to 22.
    pub fn at(&mut self, level: i32) -> &mut Self {
        if self.level != level {
            (self.level, self.context) = (level, None);
        }
        self
    }

    /// Never fails: what cannot be compressed is sent as it is, and says so.
    pub fn compress<'b>(&mut self, body: &'b [u8], encoding: Encoding) -> Compressed<'b> {
        let identity = Compressed { body: Cow::Borrowed(body), encoding: Encoding::Identity };
        match encoding {
            Encoding::Identity => identity,
            Encoding::Gzip => Compressed { body: Cow::Owned(gzip::pack(body)), encoding },
            Encoding::Zstd => Compressed::of(body, self.zstd(body)),
        }
    }

    fn zstd(&mut self, body: &[u8]) -> io::Result<Vec<u8>> {
        let context = match &mut self.context {
            Some(context) => context,
            none => none.insert(context(self.level)?),
        };
        let mut packed = context.compress(body)?;
        // It was given room for the worst case.
        packed.shrink_to_fit();
        Ok(packed)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("used", &self.context.is_some()).finish()
    }
}

fn context(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut context = zstd::bulk::Compressor::new(level)?;
    context.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    Ok(context)
}

/// Compresses one body; the working memory is given back. For many bodies keep a [`Compressor`].
pub fn compress(body: &[u8], encoding: Encoding) -> Compressed<'_> {
    Compressor::new().compress(body, encoding)
}

/// Unpacks a body by its `content-encoding` (empty: none). Never makes more than `max` bytes of it.
pub fn decompress(body: &[u8], content_encoding: &str, max: usize) -> Result<Vec<u8>, DecompressError> {
    match content_encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" if body.len() > max => Err(DecompressError::TooLarge),
        "" | "identity" => Ok(body.to_vec()),
        "zstd" => unzstd(body, max),
        "gzip" => gzip::unpack(body, max),
        "deflate" => gzip::unpack_zlib(body, max),
        _ => Err(DecompressError::UnknownEncoding),
    }
}

fn unzstd(body: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let malformed = |_: io::Error| DecompressError::Malformed;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(malformed)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(malformed)?;
    let mut out = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut out).map_err(malformed)?;
    if out.len() > max { Err(DecompressError::TooLarge) } else { Ok(out) }
}

/// Why a body could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecompressError {
    /// It unpacks to more than the limit: 413.
    TooLarge,
    /// It is not what its encoding says: 400.
    Malformed,
    /// 415.
    UnknownEncoding,
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body unpacks to more than is taken",
            Self::Malformed => "the body is not what its content encoding says",
            Self::UnknownEncoding => "the content encoding is not known",
        })
    }
}

impl std::error::Error for DecompressError {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(bodies in vec(vec(any::<u8>(), 0..3000), 1..4)) {
            let mut compressor = Compressor::new();
            for body in bodies {
                let packed = compressor.compress(&body, Encoding::Zstd);
                prop_assert_eq!(packed.encoding, Encoding::Zstd);
                prop_assert_eq!(decompress(&packed.body, "zstd", body.len()), Ok(body));
            }
        }

        #[test]
        fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..300)) {
            let _ = decompress(&body, "zstd", 1000);
            let _ = decompress(&[b"\x28\xb5\x2f\xfd".as_slice(), &body].concat(), "zstd", 1000);
        }
    }

    /// A body that is said to be packed and is not is lost.
    #[test]
    fn what_cannot_be_packed_says_so() {
        let as_it_is = Compressed { body: Cow::Borrowed(&b"body"[..]), encoding: Encoding::Identity };
        assert_eq!(Compressed::of(b"body", Err(io::ErrorKind::OutOfMemory.into())), as_it_is);
        assert_eq!(Compressed::of(b"body", Ok(vec![1])).encoding, Encoding::Zstd);
    }

    #[test]
    fn a_large_body_is_packed_well_and_the_same_each_time() {
        let body: Vec<u8> =
            (0..400_000u32).flat_map(|n| format!("{{\"n\":{}}},", n % 977).into_bytes()).collect();
        let mut compressor = Compressor::new();
        let packed = compressor.compress(&body, Encoding::Zstd).body.into_owned();
        assert!(packed.len() < body.len() / 20, "{} of {}", packed.len(), body.len());
        assert_eq!(compressor.compress(&body, Encoding::Zstd).body, packed);
        assert_eq!(compress(&body, Encoding::Zstd).body, packed);
        assert_eq!(decompress(&packed, "zstd", usize::MAX), Ok(body));
        for end in [0, 1, 4, 9, packed.len() / 2, packed.len() - 1] {
            let unpacked = decompress(&packed[..end], "zstd", usize::MAX);
            assert_eq!(unpacked, Err(DecompressError::Malformed), "cut at {end}");
        }
    }

    #[test]
    fn a_higher_level_makes_less_of_it() {
        let words = ["order", "customer", "basket", "price", "warehouse", "delivery", "refund"];
        let text: String =
            (0..20_000_usize).map(|n| format!("{} {} ", words[n * n % 7], n * 7919 % 1013)).collect();
        let mut compressor = Compressor::new();
        let size = |compressor: &mut Compressor, level| {
            let packed = compressor.at(level).compress(text.as_bytes(), Encoding::Zstd).body.into_owned();
            assert_eq!(decompress(&packed, "zstd", usize::MAX), Ok(text.clone().into_bytes()));
            packed.len()
        };
        let sizes = [1, 9, 19, 1].map(|level| size(&mut compressor, level));
        assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2] && sizes[0] == sizes[3], "{sizes:?}");
    }

    #[test]
    fn no_more_than_the_limit_is_made() {
        let bomb = compress(&vec![0; 50_000_000], Encoding::Zstd).body.into_owned();
        assert!(bomb.len() < 10_000);
        assert_eq!(decompress(&bomb, "zstd", 1_000_000), Err(DecompressError::TooLarge));
        assert_eq!(decompress(b"12345", "", 4), Err(DecompressError::TooLarge));
        assert_eq!(decompress(b"12345", "", 5), Ok(b"12345".to_vec()));
        let exact = compress(&[7; 1000], Encoding::Zstd).body.into_owned();
        assert_eq!(decompress(&exact, "zstd", 1000).map(|body| body.len()), Ok(1000));
        assert_eq!(decompress(&exact, "zstd", 999), Err(DecompressError::TooLarge));
    }

    #[test]
    fn a_window_that_is_too_large_is_refused() {
        let mut wide = zstd::bulk::Compressor::new(1).unwrap();
        wide.set_parameter(CParameter::WindowLog(26)).unwrap();
        wide.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        let body: Vec<u8> = (0..40_000_000u32).map(|n| (n >> 7) as u8).collect();
        let packed = wide.compress(&body).unwrap();
        assert_eq!(decompress(&packed, "zstd", usize::MAX), Err(DecompressError::Malformed));
    }

    #[test]
    fn encodings_by_name() {
        let packed = compress(b"body", Encoding::Zstd).body.into_owned();
        for (name, body) in
            [("", b"body".as_slice()), ("identity", b"body"), ("Identity", b"body"), (" ZSTD ", &packed)]
        {
            assert_eq!(decompress(body, name, 10), Ok(b"body".to_vec()), "{name}");
        }
        let zlib = miniz_oxide::deflate::compress_to_vec_zlib(b"body", 6);
        assert_eq!(decompress(&zlib, "Deflate", 10), Ok(b"body".to_vec()));
        for name in ["compress", "br", "zstd, gzip"] {
            assert_eq!(decompress(&packed, name, 10), Err(DecompressError::UnknownEncoding));
        }
        assert_eq!((Encoding::Zstd.header(), Encoding::Identity.header()), (Some("zstd"), None));
        let same = Compressor::new().compress(b"body", Encoding::Identity);
        assert_eq!((same.body.as_ref(), same.encoding), (b"body".as_slice(), Encoding::Identity));
    }
}
