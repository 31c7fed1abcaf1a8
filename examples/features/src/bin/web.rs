//! An HTTP function with axum: its route and status are on the span, event and response too, without secrets;
//! outgoing requests have spans and carry the trace on.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! cargo run --package cli -- dev --function web=target/debug/web --env STOCK_URL=http://127.0.0.1:8000 \
//!     --event crates/testkit/events/http-api.json --exit
//! ```

use std::env;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use datadog_lambda_rs::{HttpLayer, HttpService};
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_http::Adapter;
use lambda_runtime::Error;
use serde_json::json;
use tower::{Layer, Service, ServiceExt};

type Http = HttpService<Client<HttpConnector, axum::body::Body>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // As tags, which a function with personal data may not want.
    datadog_lambda_rs::builder().set("DD_CAPTURE_LAMBDA_PAYLOAD", "true").init();
    let http = HttpLayer::new().layer(Client::builder(TokioExecutor::new()).build_http());
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .route("/health", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "no database") }))
        .with_state(http);
    datadog_lambda_rs::run(Adapter::from(app)).await
}

#[tracing::instrument(skip_all)]
async fn order(State(http): State<Http>, Path(id): Path<u64>) -> Response {
    match stock(http, id).await {
        Ok(status) => Json(json!({"order": id, "stock": status.as_u16(), "token": "t0p"})).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Asks another service, whose spans become children of this request's.
async fn stock(mut http: Http, id: u64) -> Result<StatusCode, Error> {
    let url = env::var("STOCK_URL").unwrap_or_else(|_| "http://127.0.0.1:8000".to_owned());
    let request = Request::get(format!("{url}/stock/{id}")).body(axum::body::Body::empty())?;
    Ok(http.ready().await?.call(request).await?.status())
}
