//! S3: the object that a call writes. Its bucket is known from where the request is sent, its key from the path,
//! its ETag from the response.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use model::SpanLink;
use trigger::Direction;

/// What follows the bucket in the host of a service of AWS. Access points, which have no bucket in it, go otherwise.
const HOSTS: &[&str] = &[".s3.", ".s3-accelerate.", ".s3-fips.", ".s3express-"];

#[derive(Debug)]
pub(crate) struct Object {
    key: String,
    etag: ETag,
}

#[derive(Clone, Copy, Debug)]
enum ETag {
    Header,
    Body,
}

impl Object {
    pub(crate) fn of(operation: &str, request: &HttpRequest) -> Option<Self> {
        let etag = match operation {
            "PutObject" => ETag::Header,
            "CopyObject" | "CompleteMultipartUpload" => ETag::Body,
            _ => return None,
        };
        let key = percent_decoded(path(request.uri()).strip_prefix('/')?)?;
        Some(Self { key, etag })
    }

    pub(crate) fn link(&self, bucket: Option<&str>, response: &HttpResponse) -> Option<SpanLink> {
        let etag = match self.etag {
            ETag::Header => response.headers().get("etag")?.to_owned(),
            ETag::Body => in_xml(std::str::from_utf8(response.body().bytes()?).ok()?)?,
        };
        let etag = etag.trim_matches('"');
        let known = bucket.filter(|bucket| !bucket.is_empty() && !etag.is_empty())?;
        Some(trigger::s3_pointer(known, &self.key, etag, Direction::Downstream))
    }
}

/// The bucket that a request goes to. `before` is its path without an endpoint, `base` the endpoint that the user
/// has set, if any: a bucket is a label in front of the host, or a part of the path in front of `before`.
pub(crate) fn bucket(uri: &str, before: &str, base: Option<&str>) -> Option<String> {
    let (host, whole) = host_and_path(uri)?;
    let (base_host, base_path) = base.and_then(host_and_path).unwrap_or_default();
    let whole = whole.strip_prefix(base_path.trim_end_matches('/')).unwrap_or(whole);
    let front = if before == "/" { whole } else { whole.strip_suffix(before)? };
    let front = front.trim_matches('/');
    if !front.is_empty() {
        return percent_decoded(front).filter(|bucket| !bucket.contains(['/', ':']));
    }
    let of_aws = || HOSTS.iter().find_map(|mark| Some(host.split_once(mark)?.0));
    let of_base = || host.strip_suffix(base_host)?.strip_suffix('.');
    let bucket = if base_host.is_empty() { of_aws() } else { of_base() };
    bucket.filter(|bucket| !bucket.is_empty()).map(str::to_owned)
}

pub(crate) fn path(uri: &str) -> &str {
    uri.split('?').next().unwrap_or_default()
}

fn host_and_path(uri: &str) -> Option<(&str, &str)> {
    let (_, rest) = path(uri).split_once("://")?;
    Some(rest.find('/').and_then(|slash| rest.split_at_checked(slash)).unwrap_or((rest, "")))
}

/// `<ETag>&quot;…&quot;</ETag>`, without the quotes.
fn in_xml(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("<ETag>")?;
    let (etag, _) = rest.split_once("</ETag>")?;
    Some(etag.replace("&quot;", "").replace("&#34;", ""))
}

/// Of a path: `+` is a plus there. `None` when it is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => (digit(*high)? * 16 + digit(*low)?, after),
            (byte, after) => (*byte, after),
        };
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn buckets() {
        let check = |uri: &str, before: &str, base: Option<&str>, expect: Option<&str>| {
            assert_eq!(bucket(uri, before, base).as_deref(), expect, "{uri}");
        };
        check("https://b.s3.eu-west-1.amazonaws.com/a/k?x-id=PutObject", "/a/k", None, Some("b"));
        check("https://b.s3.dualstack.eu-west-1.amazonaws.com/k", "/k", None, Some("b"));
        check("https://b.s3-accelerate.amazonaws.com/k", "/k", None, Some("b"));
        check(
            "https://b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/k",
            "/k",
            None,
            Some("b--use1-az4--x-s3"),
        );
        check("https://s3.eu-west-1.amazonaws.com/b.dotted/a/k", "/a/k", None, Some("b.dotted"));
        check("https://s3.eu-west-1.amazonaws.com/b/b", "/b", None, Some("b"));
        check("https://s3.eu-west-1.amazonaws.com/", "/", None, None);
        check("https://b.s3.eu-west-1.amazonaws.com/?list-type=2", "/", None, Some("b"));
        check("https://s3.eu-west-1.amazonaws.com/b/?list-type=2", "/", None, Some("b"));
        check("http://127.0.0.1:9000/b/k", "/k", Some("http://127.0.0.1:9000"), Some("b"));
        check("http://127.0.0.1:9000/b/k", "/k", Some("http://127.0.0.1:9000/"), Some("b"));
        check("http://h:9000/base/b/k", "/k", Some("http://h:9000/base/"), Some("b"));
        check("http://b.localhost:9000/k", "/k", Some("http://localhost:9000"), Some("b"));
        check("http://b.localhost:9000/base/k", "/k", Some("http://localhost:9000/base"), Some("b"));
        check("http://localhost:9000/k", "/k", Some("http://localhost:9000"), None);
        check("https://ap-123.s3-accesspoint.eu-west-1.amazonaws.com/k", "/k", None, None);
        check("https://example.com/k", "/k", None, None);
        check("/k", "/k", None, None);
    }

    fn hash(
        operation: &str,
        path: &'static str,
        etag: Option<&'static str>,
        body: &'static str,
    ) -> Option<String> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(path).unwrap();
        let mut response = HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from(body));
        if let Some(etag) = etag {
            response.headers_mut().insert("etag", etag);
        }
        let link = Object::of(operation, &request)?.link(Some("some-bucket"), &response)?;
        assert_eq!(link.attributes.get("ptr.dir").map(|dir| &**dir), Some("d"));
        link.attributes.get("ptr.hash").map(ToString::to_string)
    }

    #[test]
    fn objects() {
        let simple = Some("e721375466d4116ab551213fdea08413".to_owned());
        assert_eq!(hash("PutObject", "/some-key.data?x-id=PutObject", Some("\"ab12ef34\""), ""), simple);
        let copied = "<CopyObjectResult><LastModified>x</LastModified><ETag>&quot;ab12ef34&quot;</ETag></CopyObjectResult>";
        assert_eq!(hash("CopyObject", "/some-key.data", None, copied), simple);
        assert_eq!(
            hash("PutObject", "/some-key.%E4%BD%A0%E5%A5%BD", Some("ab12ef34"), "").as_deref(),
            Some("d1333a04b9928ab462b5c6cadfa401f4")
        );
        let parts = "<R><ETag>\"ab12ef34-5\"</ETag></R>";
        assert_eq!(
            hash("CompleteMultipartUpload", "/some-key.data?uploadId=1", None, parts).as_deref(),
            Some("2b90dffc37ebc7bc610152c3dc72af9f")
        );
        assert_eq!(hash("PutObject", "/some-key.data", None, ""), None);
        assert_eq!(hash("CopyObject", "/some-key.data", None, "<Error/>"), None);
        // Reading an object gives its ETag as well.
        assert_eq!(hash("GetObject", "/some-key.data", Some("ab12ef34"), ""), None);
    }
}
