//! A function made with `lambda_http`, on which axum and the like run: its adapter is a handler like others.

use lambda_http::{Adapter, Body, Request, Response, service_fn};
use lambda_runtime::Error;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;

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

/// The same of axum.
#[expect(dead_code, reason = "compiled only")]
async fn run_axum() -> Result<(), Error> {
    crate::run(Adapter::from(router())).await
}

fn router() -> Router {
    let order = |Path(id): Path<u32>| async move {
        tracing::info_span!("work").in_scope(|| {});
        format!("order {id}")
    };
    Router::new().route("/orders/{id}", get(order))
}

#[tokio::test]
async fn a_router_of_axum_is_traced() {
    let world = World::new().await;
    let answer = world.call(testkit::event("http-api"), Adapter::from(router())).await.unwrap();
    assert_eq!((&answer["statusCode"], &answer["body"]), (&200.into(), &"order 17".into()));
    assert_eq!(shown(&world), "aws.httpapi 200\n  aws.lambda 200\n    work\n");
}

#[tokio::test]
async fn a_function_of_lambda_http_is_traced() {
    let world = World::new().await;
    let response = world.call(testkit::event("http-api"), Adapter::from(service_fn(answer))).await.unwrap();
    let status = response["statusCode"].to_string();
    assert_eq!(shown(&world), format!("aws.httpapi {status}\n  aws.lambda {status}\n    work\n"));
}

/// The tree of what was sent, with status codes.
fn shown(world: &World) -> String {
    let spans = world.chunk().spans;
    let spans: Vec<_> = spans.into_iter().filter(|s| s.name != "aws.lambda.load").collect();
    let note = |s: &model::Span| s.meta.get("http.status_code").map(ToString::to_string).unwrap_or_default();
    tree(&spans, note)
}
