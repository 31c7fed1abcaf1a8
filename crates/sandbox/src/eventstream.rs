//! The framing in which `InvokeWithResponseStream` answers. Written only; callers read it with their SDK.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html>,
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use bytes::{BufMut as _, Bytes, BytesMut};

pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// Lengths and their checksum.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// Type of a header value: text.
const STRING: u8 = 7;

/// A part of what the function returned.
pub(crate) fn chunk(payload: &[u8]) -> Bytes {
    message("PayloadChunk", "application/octet-stream", payload)
}

/// The last message: with what went wrong, if anything, and the end of the log, if asked for.
pub(crate) fn complete(error: Option<(&str, &str)>, log: Option<&str>) -> Bytes {
    let mut fields = serde_json::Map::new();
    if let Some((code, details)) = error {
        fields.insert("ErrorCode".to_owned(), code.into());
        fields.insert("ErrorDetails".to_owned(), details.into());
    }
    if let Some(log) = log {
        fields.insert("LogResult".to_owned(), log.into());
    }
    let body = serde_json::Value::Object(fields).to_string();
    message("InvokeComplete", "application/json", body.as_bytes())
}

fn message(event: &str, content: &str, payload: &[u8]) -> Bytes {
    let mut headers = BytesMut::new();
    for (name, value) in [(":message-type", "event"), (":event-type", event), (":content-type", content)] {
        // All of them are constants, far shorter than their length fields can say.
        headers.put_u8(name.len() as u8);
        headers.put_slice(name.as_bytes());
        headers.put_u8(STRING);
        headers.put_u16(value.len() as u16);
        headers.put_slice(value.as_bytes());
    }
    let total = PRELUDE + headers.len() + payload.len() + CHECKSUM;
    let mut out = BytesMut::with_capacity(total);
    out.put_u32(total as u32);
    out.put_u32(headers.len() as u32);
    out.put_u32(crc32(&out));
    out.put_slice(&headers);
    out.put_slice(payload);
    out.put_u32(crc32(&out));
    out.freeze()
}

/// CRC-32 as in gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let update = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, update)
}

#[cfg(test)]
mod tests {
    use super::{chunk, complete, crc32};

    #[test]
    fn messages_have_their_lengths_and_checksums() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let message = chunk(b"hello");
        let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!(word(0) as usize, message.len());
        assert_eq!(word(8), crc32(&message[..8]));
        let end = message.len() - 4;
        assert_eq!(word(end), crc32(&message[..end]));
        let headers = word(4) as usize;
        assert_eq!(&message[12 + headers..end], b"hello");
        assert!(
            message[12..]
                .starts_with(b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x07\x00\x0cPayloadChunk")
        );
        let last = complete(Some(("Unhandled", "no")), None);
        assert!(last[..last.len() - 4].ends_with(br#"{"ErrorCode":"Unhandled","ErrorDetails":"no"}"#));
        assert!(complete(None, None).windows(2).any(|w| w == b"{}"));
    }
}
