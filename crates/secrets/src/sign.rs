//! Signature version 4, with which AWS knows who asks.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! For requests without a query, whose paths need no encoding: no other is made here.

use std::fmt::Write;

use model::UnixNanos;
use sha2::{Digest, Sha256};

use crate::request::Request;
use crate::settings::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Bytes that SHA-256 works on at a time.
const BLOCK: usize = 64;

/// Adds the date, the session and the signature to a request that has all its other headers.
pub(crate) fn sign(
    request: &mut Request,
    credentials: &Credentials,
    service: &str,
    region: &str,
    now: UnixNanos,
) {
    let moment = moment(now);
    let day: String = moment.chars().take(8).collect();
    request.headers.push(("x-amz-date", moment.clone()));
    if !credentials.session_token.is_empty() {
        request.headers.push(("x-amz-security-token", credentials.session_token.clone()));
    }
    let mut headers = request.headers.clone();
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical = format!("{}\n{}\n\n", request.method, request.path);
    for (name, value) in &headers {
        let _ = writeln!(canonical, "{name}:{}", value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let _ = write!(canonical, "\n{names}\n{}", hex(&Sha256::digest(&request.body)));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("{ALGORITHM}\n{moment}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let secret = format!("AWS4{}", credentials.secret_access_key);
    let key = [day.as_str(), region, service, "aws4_request", &text]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()).to_vec());
    let value = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={}",
        credentials.access_key_id,
        hex(&key)
    );
    request.headers.push(("authorization", value));
}

/// `20150830T123600Z`
fn moment(now: UnixNanos) -> String {
    let text = now.to_rfc3339_millis();
    let text = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    let mut moment: String = text.chars().filter(|c| !"-:".contains(*c)).collect();
    moment.push('Z');
    moment
}

/// RFC 2104 with SHA-256: a dozen lines, and one crate less.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = Sha256::digest(key);
        &hashed[..]
    } else {
        key
    };
    let padded = |with: u8| {
        let mut block = [with; BLOCK];
        for (to, from) in block.iter_mut().zip(key) {
            *to ^= from;
        }
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Base;

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn codes() {
        let check = |key: &[u8], text: &[u8], want| assert_eq!(hex(&hmac(key, text)), want);
        check(&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    fn signed(
        method: &'static str,
        url: &str,
        service: &str,
        region: &str,
        token: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> (String, String) {
        let base = Base::parse(url).unwrap();
        let mut request = Request::new(method, &base, "/", body.as_bytes().to_vec());
        request.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: token.to_owned(),
            ..Credentials::default()
        };
        let now = UnixNanos::parse_rfc3339("2015-08-30T12:36:00Z").unwrap();
        sign(&mut request, &credentials, service, region, now);
        let value = request.header("authorization").unwrap();
        let part = |name: &str| value.split_once(name).unwrap().1.split(',').next().unwrap().to_owned();
        assert!(value.starts_with(&format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/{region}/{service}/aws4_request, "
        )));
        (part("SignedHeaders="), part("Signature="))
    }

    /// `get-vanilla` and `post-vanilla` of the suite that AWS has published.
    #[test]
    fn the_published_examples() {
        let check = |method, want: &str| {
            let got = signed(method, "https://example.amazonaws.com", "service", "us-east-1", "", &[], "");
            assert_eq!(got, ("host;x-amz-date".to_owned(), want.to_owned()), "{method}");
        };
        check("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        check("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
    }

    /// What botocore signs alike.
    #[test]
    fn requests_as_they_are_made_here() {
        let token = "session/token+==";
        let got = signed(
            "POST",
            "https://secretsmanager.eu-west-1.amazonaws.com",
            "secretsmanager",
            "eu-west-1",
            token,
            &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", "secretsmanager.GetSecretValue"),
            ],
            r#"{"SecretId":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:dd-AbCdEf"}"#,
        );
        assert_eq!(got.0, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
        assert_eq!(got.1, "f79e9e27aaa07db482e68243dd057bed1f049cf736ce90c79fb4fcd712373857");
        let got = signed(
            "POST",
            "https://sts.eu-west-1.amazonaws.com",
            "sts",
            "eu-west-1",
            token,
            &[("x-ddog-org-id", "abc"), ("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            "Action=GetCallerIdentity&Version=2011-06-15",
        );
        assert_eq!(got.0, "content-type;host;x-amz-date;x-amz-security-token;x-ddog-org-id");
        assert_eq!(got.1, "828ca204149d9aa0808f8e4835b56d3350ff36dda82215976ef8dcd7cbbeb531");
    }
}
