//! Outgoing HTTP of `reqwest` clients, by way of `reqwest-middleware`. What is done with a request is `client`'s.

use std::error::Error as StdError;

use async_trait::async_trait;
use http::{Extensions, Uri};
use opentelemetry::trace::FutureExt;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::client::Call;

/// Causes that are told of an error.
const MAX_CAUSES: usize = 8;

/// Gives each request of a `reqwest` client a span, and the trace context as headers. With the feature
/// `reqwest-middleware`:
///
/// ```
/// use datadog_lambda_rs::HttpMiddleware;
/// use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
///
/// # fn client() -> ClientWithMiddleware {
/// let client = ClientBuilder::new(reqwest::Client::new()).with(HttpMiddleware::new()).build();
/// # client
/// # }
/// # async fn call(client: ClientWithMiddleware) -> reqwest_middleware::Result<()> {
/// let order = client.get("https://example.com/orders/17").send().await?;
/// # Ok(())
/// # }
/// ```
///
/// It is [`HttpLayer`](crate::HttpLayer) for another kind of client: a request that is signed for AWS has a span
/// and is sent as it is; those to Lambda itself and to the extension pass untouched. Behind a middleware that
/// repeats requests it makes a span of each attempt, before it one of all.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HttpMiddleware;

impl HttpMiddleware {
    /// The middleware, with the settings of the environment.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Middleware for HttpMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        // A URL that is no URI is reqwest's to refuse.
        let uri: Option<Uri> = request.url().as_str().parse().ok();
        let method = request.method().clone();
        let Some(call) = uri.and_then(|uri| Call::begin(&method, &uri, request.headers_mut())) else {
            return next.run(request, extensions).await;
        };
        let result = next.run(request, extensions).with_context(call.context.clone()).await;
        match &result {
            Ok(response) => call.answered(response.status()),
            Err(error) => call.failed(std::any::type_name::<Error>(), message(error)),
        }
        result
    }
}

/// What went wrong and why. The error's own words have the whole URL, with a query that may hold secrets.
fn message(error: &Error) -> String {
    let url = match error {
        Error::Reqwest(error) => error.url(),
        Error::Middleware(_) => None,
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..MAX_CAUSES {
        let Some(because) = cause else { break };
        let words = because.to_string();
        // A transparent error says what its cause says.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = because.source();
    }
    let Some(url) = url else { return text };
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username("").and_then(|()| shown.set_password(None));
    text.replace(url.as_str(), shown.as_str())
}
