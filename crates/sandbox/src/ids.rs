//! Made-up ids in the forms that Lambda uses.

use model::UnixNanos;

/// A random UUID (version 4), lower case.
pub(crate) fn uuid() -> String {
    let n = (random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let (a, b, c) = (n >> 96, (n >> 80) & 0xffff, (n >> 64) & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", (n >> 48) & 0xffff, n & 0xffff_ffff_ffff)
}

pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, b)| match n {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// The id of an execution environment: the end of its log stream's name.
pub(crate) fn environment() -> String {
    format!("{:032x}", random::<u128>())
}

/// `X-Amzn-Trace-Id` of a request that nobody traces.
/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>
pub(crate) fn trace_header(now: UnixNanos) -> String {
    let root = random::<u128>() & ((1 << 96) - 1);
    format!("Root=1-{:08x}-{root:024x};Parent={:016x};Sampled=0", now.as_secs(), random::<u64>().max(1))
}

/// A random number below `n`.
pub(crate) fn below(n: u16) -> u16 {
    (random::<u64>() % u64::from(n.max(1))) as u16
}

trait FromBytes {
    fn from_bytes(bytes: [u8; 16]) -> Self;
}

impl FromBytes for u128 {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl FromBytes for u64 {
    fn from_bytes(bytes: [u8; 16]) -> Self {
        u128::from_le_bytes(bytes) as Self
    }
}

fn random<T: FromBytes>() -> T {
    let mut bytes = [0; 16];
    // Without the system's randomness ids would repeat within a process, not fail.
    let _ = getrandom::fill(&mut bytes);
    T::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::{environment, is_uuid, trace_header, uuid};
    use model::UnixNanos;

    #[test]
    fn ids_have_their_forms() {
        let id = uuid();
        assert!(is_uuid(&id) && id.as_bytes()[14] == b'4', "{id}");
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        assert_ne!(id, uuid());
        assert!(!is_uuid("x") && !is_uuid(&id.replace('-', "0")));
        assert_eq!(environment().len(), 32);
        let header = trace_header(UnixNanos::from_secs(0x6553_f100));
        assert!(header.starts_with("Root=1-6553f100-") && header.ends_with(";Sampled=0"), "{header}");
    }
}
