//! A function made with `lambda_http`, on which axum and the like run: its adapter is a handler like others.

use lambda_http::{Adapter, Body, Request, Response, service_fn};
use lambda_runtime::Error;

use super::agent::tree;
use super::world::World;

async fn answer(request: Request) -> Result<Response<Body>, Error> {
    tracing::info_span!("work").in_scope(|| {});
    let status = if request.uri().path().ends_with("17") { 200 } else { 404 };
    Ok(Response::builder().status(status).body("hello".into())?)
}

/// That it can be run as the documentation says.
#[expect(dead_code, reason = "compiled only")]
async fn run() -> Result<(), Error> {
    crate::run(Adapter::from(service_fn(answer))).await
}

#[tokio::test]
async fn a_function_of_lambda_http_is_traced() {
    let world = World::new().await;
    let response = world.call(testkit::event("http-api"), Adapter::from(service_fn(answer))).await.unwrap();
    let status = response["statusCode"].to_string();
    let spans = world.chunk().spans;
    let spans: Vec<_> = spans.into_iter().filter(|s| s.name != "aws.lambda.load").collect();
    let note = |s: &model::Span| s.meta.get("http.status_code").map(ToString::to_string).unwrap_or_default();
    assert_eq!(tree(&spans, note), format!("aws.httpapi {status}\n  aws.lambda {status}\n    work\n"));
}
