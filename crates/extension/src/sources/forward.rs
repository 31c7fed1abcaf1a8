//! What tracers send to the agent for it to pass on: to which intake each path goes. Nothing is read of it.

use bytes::Bytes;
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts;
use model::{Forward, Text};

/// Where a path of the agent goes: what stands before the site, and the path there.
const ROUTES: [(&str, &str, &str); 7] = [
    ("/v0.1/pipeline_stats", "trace.agent", "/api/v0.1/pipeline_stats"),
    ("/profiling/v1/input", "intake.profile", "/api/v2/profile"),
    ("/debugger/v1/input", "http-intake.logs", "/api/v2/logs"),
    ("/debugger/v1/diagnostics", "debugger-intake", "/api/v2/debugger"),
    ("/debugger/v2/input", "debugger-intake", "/api/v2/debugger"),
    ("/symdb/v1/input", "debugger-intake", "/api/v2/debugger"),
    ("/telemetry/proxy/api/v2/apmtelemetry", "instrumentation-telemetry-intake", "/api/v2/apmtelemetry"),
];

/// The intakes of paths behind `/evp_proxy/vN` whose senders may leave the header out that names it.
const EVP_DEFAULTS: [(&str, &str); 2] = [("api/v2/llmobs", "llmobs-intake"), ("api/intake/llm-obs/", "api")];
/// Names the intake of what comes through `/evp_proxy/`.
const EVP_SUBDOMAIN: &str = "x-datadog-evp-subdomain";

/// Of this connection, or ours to say.
const NOT_PASSED_ON: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("dd-api-key"),
];

/// The intake and path that a request goes on to. `None`: nothing is passed on from there.
pub(crate) fn route(head: &Parts) -> Option<(Text, String)> {
    let path = head.uri.path();
    let (subdomain, at): (Text, String) = match ROUTES.iter().find(|(from, ..)| *from == path) {
        Some((_, subdomain, at)) => (Text::Borrowed(subdomain), (*at).to_owned()),
        None => evp(head, path)?,
    };
    Some((subdomain, head.uri.query().map_or(at.clone(), |query| format!("{at}?{query}"))))
}

fn evp(head: &Parts, path: &str) -> Option<(Text, String)> {
    let (version, rest) = path.strip_prefix("/evp_proxy/v")?.split_once('/')?;
    if !matches!(version, "1" | "2" | "3" | "4") {
        return None;
    }
    let named = head.headers.get(EVP_SUBDOMAIN).and_then(|value| value.to_str().ok());
    let subdomain: Text = match named {
        Some(name) => is_subdomain(name).then(|| name.to_owned())?.into(),
        None => EVP_DEFAULTS.iter().find(|(prefix, _)| rest.starts_with(prefix))?.1.into(),
    };
    Some((subdomain, format!("/{rest}")))
}

/// Our key goes there: it must not be able to name another host.
fn is_subdomain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !name.is_empty() && name.len() <= 100 && name.chars().all(is_plain) && !name.starts_with(['.', '-'])
}

/// A request as it goes on. `tags` tells the intake whose it is.
pub(crate) fn forward(head: &Parts, (subdomain, path): (Text, String), tags: &str, body: Bytes) -> Forward {
    let passed = head.headers.iter().filter(|(name, _)| !NOT_PASSED_ON.contains(name));
    let text = |(name, value): (&HeaderName, &header::HeaderValue)| {
        Some((Text::Owned(name.as_str().to_owned()), Text::Owned(value.to_str().ok()?.to_owned())))
    };
    let mut headers: Vec<(Text, Text)> = passed.filter_map(text).collect();
    headers.push(("x-datadog-additional-tags".into(), tags.to_owned().into()));
    Forward { subdomain, path: path.into(), headers, body: body.into() }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn routes() {
        let check = |path: &str, subdomain: Option<&str>, want: Option<&str>| {
            let mut request = Request::post(path);
            if let Some(name) = subdomain {
                request = request.header(EVP_SUBDOMAIN, name);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let got = route(&head).map(|(subdomain, path)| format!("{subdomain} {path}"));
            assert_eq!(got.as_deref(), want, "{path}");
        };
        check("/profiling/v1/input", None, Some("intake.profile /api/v2/profile"));
        check("/debugger/v1/input?ddtags=a%3Ab", None, Some("http-intake.logs /api/v2/logs?ddtags=a%3Ab"));
        check("/symdb/v1/input?a", None, Some("debugger-intake /api/v2/debugger?a"));
        check(
            "/telemetry/proxy/api/v2/apmtelemetry",
            None,
            Some("instrumentation-telemetry-intake /api/v2/apmtelemetry"),
        );
        check("/evp_proxy/v2/api/v2/llmobs", None, Some("llmobs-intake /api/v2/llmobs"));
        check(
            "/evp_proxy/v2/api/intake/llm-obs/v1/eval-metric",
            None,
            Some("api /api/intake/llm-obs/v1/eval-metric"),
        );
        check(
            "/evp_proxy/v4/api/v2/x?y=1",
            Some("citestcycle-intake"),
            Some("citestcycle-intake /api/v2/x?y=1"),
        );
        check("/evp_proxy/v4/api/v2/x", None, None);
        check("/evp_proxy/v9/api/v2/llmobs", None, None);
        check("/evp_proxy/v2/api/v2/x", Some("evil.example/"), None);
        check("/evp_proxy/v2/api/v2/x", Some("a@b"), None);
        check("/evp_proxy/v2/api/v2/x", Some(""), None);
        check("/profiling/v1/other", None, None);
        check("/", None, None);
    }

    #[test]
    fn headers_of_the_connection_stay() {
        let request = Request::post("/x")
            .header("host", "127.0.0.1:8126")
            .header("content-length", "3")
            .header("dd-api-key", "theirs")
            .header("content-type", "multipart/form-data; boundary=b")
            .header("dd-evp-origin", "python");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let forward =
            forward(&head, ("api".into(), "/y".into()), "_dd.origin:lambda", Bytes::from_static(b"abc"));
        let headers: Vec<_> = forward.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        assert_eq!(
            headers,
            [
                "content-type: multipart/form-data; boundary=b",
                "dd-evp-origin: python",
                "x-datadog-additional-tags: _dd.origin:lambda"
            ]
        );
        assert_eq!(forward.body, b"abc");
    }
}
