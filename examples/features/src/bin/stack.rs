//! A function of `lambda_http` with tower layers of one's own on both sides: around the handler, and around the
//! runtime, where the events are bytes. The `Runtime` is built by hand, so its hooks for SnapStart are too.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! cargo run --package cli -- dev --function stack=target/debug/stack \
//!     --event crates/testkit/events/rest-api.json --exit
//! ```

use datadog_lambda_rs::{DatadogLayer, TracedHandler, snapstart_resource};
use http::header::SERVER;
use http::{HeaderValue, StatusCode};
use lambda_http::{Adapter, Body, Request, Response};
use lambda_runtime::{Error, LambdaInvocation, Runtime};
use tower::ServiceBuilder;
use tower::util::MapRequestLayer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    let app = ServiceBuilder::new().map_response(signed).service(lambda_http::service_fn(handler));
    Runtime::new(TracedHandler::new(Adapter::from(app)))
        .register_snapstart_resource(snapstart_resource())
        .layer(MapRequestLayer::new(measured))
        // The last one is the outermost: what the others do is part of the invocation.
        .layer(DatadogLayer::new())
        .run()
        .await
}

fn measured(invocation: LambdaInvocation) -> LambdaInvocation {
    tracing::info_span!("measure").in_scope(|| tracing::info!(bytes = invocation.body.len(), "event"));
    invocation
}

fn signed(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(SERVER, HeaderValue::from_static("shop"));
    response
}

#[tracing::instrument(skip_all)]
async fn handler(request: Request) -> Result<Response<Body>, Error> {
    let path = request.uri().path();
    let status = if path.contains("/orders") { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok(Response::builder().status(status).body(path.into())?)
}
