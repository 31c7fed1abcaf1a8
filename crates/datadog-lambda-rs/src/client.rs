//! Outgoing HTTP: a tower layer around any client of `http` requests, and what it shares with the middleware for
//! `reqwest` (`middleware`).

use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use lambda_runtime::Service;
use opentelemetry::propagation::Injector;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use tower::Layer;

use crate::datadog::datadog;
use crate::propagator::inject;
use crate::settings::Settings;

/// Gives each request of an HTTP client a span, and the trace context as headers:
///
/// ```
/// # use std::convert::Infallible;
/// use datadog_lambda_rs::HttpLayer;
/// use tower::{Layer, Service, ServiceExt, service_fn};
///
/// # async fn call() -> Result<(), Infallible> {
/// # let client = service_fn(|_: http::Request<()>| async { Ok::<_, Infallible>(http::Response::new(())) });
/// let mut client = HttpLayer::new().layer(client);
/// let request = http::Request::get("https://example.com/orders/17").body(()).unwrap();
/// let response = client.ready().await?.call(request).await?;
/// # Ok(())
/// # }
/// ```
///
/// A request that is signed for AWS has a span, and is sent as it is: another header would make its signature
/// wrong. Requests to Lambda itself and to the extension pass untouched.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HttpLayer;

impl HttpLayer {
    /// The layer, with the settings of the environment.
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = HttpService<S>;

    fn layer(&self, inner: S) -> HttpService<S> {
        HttpService { inner }
    }
}

/// Made by [`HttpLayer`].
#[derive(Clone, Debug)]
pub struct HttpService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for HttpService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = HttpFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let Some(call) = Call::begin(&method, &uri, request.headers_mut()) else {
            return HttpFuture { inner: Box::pin(self.inner.call(request)), call: None };
        };
        let inner = {
            let _entered = call.context.clone().attach();
            self.inner.call(request)
        };
        HttpFuture { inner: Box::pin(inner), call: Some(call) }
    }
}

/// One request, until its response's headers are there.
pub struct HttpFuture<F> {
    inner: Pin<Box<F>>,
    call: Option<Call>,
}

/// Nothing in it is pinned in place: the inner future is boxed.
impl<F> Unpin for HttpFuture<F> {}

impl<F, R, E> Future for HttpFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Display,
{
    type Output = Result<Response<R>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _entered = this.call.as_ref().map(|call| call.context.clone().attach());
        let result = ready!(this.inner.as_mut().poll(cx));
        if let Some(call) = this.call.take() {
            match &result {
                Ok(response) => call.answered(response.status()),
                Err(error) => call.failed(std::any::type_name::<E>(), error.to_string()),
            }
        }
        Poll::Ready(result)
    }
}

impl<F> Debug for HttpFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFuture").finish_non_exhaustive()
    }
}

/// One request on its way.
#[derive(Debug)]
pub(crate) struct Call {
    /// With the request's span, which ends when this is dropped.
    pub(crate) context: Context,
}

impl Call {
    /// Begins its span and adds the headers that it may have. `None` for one that is to pass untouched.
    pub(crate) fn begin(method: &Method, uri: &Uri, headers: &mut HeaderMap) -> Option<Self> {
        let settings = &datadog().settings;
        if !settings.tracing || is_internal(settings, uri, headers) {
            return None;
        }
        let context = begin(method.as_str(), uri);
        if !is_signed(uri, headers) {
            inject(&context, &mut Headers(headers));
        }
        Some(Self { context })
    }

    pub(crate) fn answered(self, status: StatusCode) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.status_code", i64::from(status.as_u16())));
        if status.is_client_error() || status.is_server_error() {
            span.set_status(Status::error(status.to_string()));
        }
        span.end();
    }

    pub(crate) fn failed(self, kind: &'static str, message: String) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(message));
        span.end();
    }
}

/// The query may hold secrets, and is left out.
fn begin(method: &str, uri: &Uri) -> Context {
    let host = uri.host().unwrap_or_default();
    let scheme = uri.scheme_str().map_or_else(String::new, |scheme| format!("{scheme}://"));
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // A password before the host is none of Datadog's business.
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let tags = vec![
        KeyValue::new("operation.name", "http.request"),
        KeyValue::new("resource.name", method.to_owned()),
        KeyValue::new("span.type", "http"),
        KeyValue::new("http.method", method.to_owned()),
        KeyValue::new("http.url", format!("{scheme}{authority}{}", uri.path())),
        KeyValue::new("out.host", host.to_owned()),
    ];
    let tracer = global::tracer(env!("CARGO_CRATE_NAME"));
    let builder = tracer.span_builder("http.request").with_kind(SpanKind::Client).with_attributes(tags);
    let parent = Context::current();
    parent.with_span(tracer.build_with_context(builder, &parent))
}

/// Signature version 4 covers the headers, in a header or in the query.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
fn is_signed(uri: &Uri, headers: &HeaderMap) -> bool {
    let by_header = headers.get_all(AUTHORIZATION).iter().any(|value| value.as_bytes().starts_with(b"AWS4-"));
    by_header || uri.query().is_some_and(|query| query.to_ascii_lowercase().contains("x-amz-signature="))
}

/// To Lambda's Runtime API, or to the extension.
fn is_internal(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> bool {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = uri.authority().map(http::uri::Authority::as_str).or(host) else { return false };
    let to_lambda = !settings.runtime_api.is_empty() && authority == settings.runtime_api;
    to_lambda || settings.agent.as_ref().is_some_and(|agent| agent.is(authority))
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Address;

    #[test]
    fn signed_requests_are_known() {
        let check = |uri: &str, authorization: Option<&'static str>, expect| {
            let mut headers = HeaderMap::new();
            headers.extend(authorization.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))));
            assert_eq!(is_signed(&uri.parse().unwrap(), &headers), expect, "{uri} {authorization:?}");
        };
        check("https://x/", None, false);
        check("https://x/?a=b", Some("Bearer AWS4"), false);
        check("https://x/", Some("AWS4-HMAC-SHA256 Credential=a"), true);
        check("https://x/", Some("AWS4-ECDSA-P256-SHA256 Credential=a"), true);
        check("https://x/?X-Amz-Algorithm=a&X-Amz-Signature=b", None, true);
    }

    #[test]
    fn internal_requests_are_known() {
        let settings = Settings {
            runtime_api: "127.0.0.1:9001".to_owned(),
            agent: Some(Address::local(8126)),
            ..Settings::default()
        };
        let check = |uri: &str, expect| {
            assert_eq!(is_internal(&settings, &uri.parse().unwrap(), &HeaderMap::new()), expect, "{uri}");
        };
        check("http://127.0.0.1:9001/2018-06-01/runtime/invocation/next", true);
        check("http://127.0.0.1:8126/v0.4/traces", true);
        check("http://127.0.0.1:8080/", false);
        check("/", false);
        assert!(!is_internal(&Settings::default(), &Uri::from_static("http://x/"), &HeaderMap::new()));
    }
}
