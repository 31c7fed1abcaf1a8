//! CloudWatch Logs subscription: compressed log lines, of which only the name of their group is read.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-cloudwatchlogs.html>

use base64::Engine as _;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use model::{Arn, Tags, Text};
use serde_json::Value;

use super::{Surroundings, put_arn};
use crate::carrier::BASE64;
use crate::json;

pub(super) use super::{no_carrier as carrier, no_spans as inferred};

/// The name of the group is at the start of what can be megabytes.
const MAX_TEXT: usize = 32 * 1024;
const MAX_COMPRESSED: usize = 64 * 1024;

pub(super) fn matches(event: &Value) -> bool {
    json::text(event, "awslogs.data").is_some()
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    let function = around.function;
    let arn = json::text(event, "awslogs.data").and_then(start_of_logs).and_then(|text| {
        let group = string_after(&text, "\"logGroup\"")?;
        let account = Some(function.account.clone()).filter(|a| !a.is_empty());
        let account = account.or_else(|| string_after(&text, "\"owner\""))?;
        let partition = Arn::partition_of(&function.region);
        Some(format!("arn:{partition}:logs:{}:{account}:log-group:{group}", function.region))
    });
    put_arn(tags, arn);
}

/// The first kilobytes of the text.
fn start_of_logs(data: &str) -> Option<String> {
    let whole = data.len() - data.len() % 4;
    let data = data.get(..whole.min(MAX_COMPRESSED))?;
    let gzip = BASE64.decode(data).ok()?;
    let deflated = behind_gzip_header(&gzip)?;
    let bytes = match decompress_to_vec_with_limit(deflated, MAX_TEXT) {
        Ok(bytes) => bytes,
        // Cut here by the limit, or above with the compressed data.
        Err(error) => error.output,
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// <https://www.rfc-editor.org/rfc/rfc1952#section-2.3>
fn behind_gzip_header(gzip: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = gzip.split_at_checked(10)?;
    let [0x1f, 0x8b, 8, flags, ..] = header else { return None };
    if flags & 4 != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // File name and comment.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|b| *b == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & 2 != 0 { rest.get(2..) } else { Some(rest) }
}

/// The string that is the value of a key, in JSON that may be cut short.
fn string_after(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(key)?;
    let rest = rest.trim_start().strip_prefix(':')?;
    serde_json::Deserializer::from_str(rest).into_iter::<String>().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = miniz_oxide::deflate::compress_to_vec(&vec![b' '; 50_000_000], 9);
        let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &bomb].concat();
        assert!(start_of_logs(&BASE64.encode(gzip)).unwrap().len() <= MAX_TEXT);
    }

    #[test]
    fn gzip_headers() {
        let check =
            |bytes: &[u8], expect: Option<&[u8]>| assert_eq!(behind_gzip_header(bytes), expect, "{bytes:?}");
        let with = |flags: u8, rest: &[u8]| [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0][..], rest].concat();
        check(&with(0, b"x"), Some(b"x"));
        check(&with(4, b"\x02\0abx"), Some(b"x"));
        check(&with(8 | 16 | 2, b"name\0comment\0crx"), Some(b"x"));
        check(&with(4, b"\xff\xffx"), None);
        check(&with(8, b"endless"), None);
        check(b"not gzip at all", None);
        check(b"", None);
    }

    #[test]
    fn text_may_be_cut_anywhere() {
        let text = r#"{"owner":"1","logGroup" : "/aws/\"x\"","logEvents":[{"mess"#;
        assert_eq!(string_after(text, "\"logGroup\"").as_deref(), Some("/aws/\"x\""));
        assert_eq!(string_after(r#"{"logGroup":"/aws/la"#, "\"logGroup\""), None);
        assert_eq!(string_after(r#"{"logGroup"#, "\"logGroup\""), None);
    }
}
