//! The frame of a gRPC message: a flag that says whether it is packed, and its length. A call of the kind that there is
//! here has one.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use bytes::Bytes;

/// A flag and a length.
pub(crate) const HEAD: usize = 5;

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unframed {
    Malformed,
    UnknownEncoding,
}

/// The message in its frame, and how it is packed: empty, not at all.
pub(crate) fn message<'a>(framed: &Bytes, encoding: &'a str) -> Result<(&'a str, Bytes), Unframed> {
    let (head, _) = framed.split_first_chunk::<HEAD>().ok_or(Unframed::Malformed)?;
    let [flag, length @ ..] = *head;
    let message = framed.slice(HEAD..);
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(Unframed::Malformed);
    }
    match (flag, encoding) {
        (0, _) => Ok(("", message)),
        (1, "gzip" | "zstd") => Ok((encoding, message)),
        (1, _) => Err(Unframed::UnknownEncoding),
        _ => Err(Unframed::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let check = |framed: &'static [u8], encoding: &str, want: Result<(&str, &[u8]), Unframed>| {
            let got = message(&Bytes::from_static(framed), encoding);
            let got = got.as_ref().map(|(encoding, body)| (*encoding, &**body)).map_err(|why| *why);
            assert_eq!(got, want, "{framed:?}");
        };
        check(b"\0\0\0\0\x02ab", "", Ok(("", b"ab")));
        check(b"\0\0\0\0\0", "", Ok(("", b"")));
        check(b"\0\0\0\0\x02ab", "gzip", Ok(("", b"ab")));
        check(b"\x01\0\0\0\x02ab", "gzip", Ok(("gzip", b"ab")));
        check(b"\x01\0\0\0\x02ab", "br", Err(Unframed::UnknownEncoding));
        check(b"\x01\0\0\0\x02ab", "", Err(Unframed::UnknownEncoding));
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x01ab",
            b"\x02\0\0\0\x02ab",
            b"\0\xff\xff\xff\xff",
        ] {
            check(bad, "gzip", Err(Unframed::Malformed));
        }
    }
}
