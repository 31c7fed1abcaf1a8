//! The middleware for `reqwest` with a real client, server and agent. One test: the library is set up once for a
//! process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use datadog_lambda_rs::{HttpMiddleware, create_root_span, end_root_span};
use model::Span;
use opentelemetry::trace::FutureExt;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::json;
use tokio::net::TcpListener;

#[derive(Default)]
struct Seen {
    requests: Vec<(Uri, HeaderMap)>,
    spans: Vec<Span>,
}

type Shared = Arc<Mutex<Seen>>;

async fn serve(
    State(seen): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let mut seen = seen.lock().unwrap();
    match uri.path() {
        "/v0.4/traces" => {
            let chunks = wire::v04::decode(&body).unwrap().chunks;
            seen.spans.extend(chunks.into_iter().flat_map(|chunk| chunk.spans));
            (StatusCode::OK, "{}")
        }
        path => {
            let status = if path == "/lost" { StatusCode::NOT_FOUND } else { StatusCode::OK };
            seen.requests.push((uri, headers));
            (status, "an answer")
        }
    }
}

async fn listen(seen: &Shared) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().fallback(serve).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    port
}

async fn calls(client: ClientWithMiddleware, port: u16, agent: u16) {
    let base = format!("http://user:pw@127.0.0.1:{port}");
    let found = client.get(format!("{base}/orders/17?secret=1")).send().await.unwrap();
    assert_eq!((found.status().as_u16(), found.text().await.unwrap().as_str()), (200, "an answer"));
    let lost = client.post(format!("{base}/lost")).body("order").send().await.unwrap();
    assert_eq!(lost.status(), 404);
    let signed =
        client.get(format!("{base}/signed")).header("authorization", "AWS4-HMAC-SHA256 Credential=a");
    signed.send().await.unwrap();
    let presigned = format!("{base}/presigned?X-Amz-Signature=b");
    client.get(presigned).send().await.unwrap();
    client.get(format!("http://127.0.0.1:{agent}/info")).send().await.unwrap();
    // Nobody listens at port 1, and nobody can be given it.
    let gone = client.get("http://127.0.0.1:1/gone?secret=1").send().await;
    assert!(gone.unwrap_err().is_connect());
}

fn tag<'a>(span: &'a Span, key: &str) -> &'a str {
    span.meta.get(key).map(AsRef::as_ref).unwrap_or_default()
}

#[tokio::test]
async fn requests_have_spans_and_headers() {
    let seen = Shared::default();
    let (port, agent) = (listen(&seen).await, listen(&seen).await);
    datadog_lambda_rs::builder()
        .service("orders")
        .set("DD_TRACE_AGENT_PORT", agent.to_string())
        .set("DD_ENHANCED_METRICS", "false")
        .init();
    let client = ClientBuilder::new(reqwest::Client::new()).with(HttpMiddleware::new()).build();
    let root = create_root_span(&json!({}), &lambda_runtime::Context::default());
    calls(client, port, agent).with_context(root.context()).await;
    end_root_span(root, &Ok::<_, std::fmt::Error>(json!({}))).await;
    // It was written before, and may arrive after: the next one finds it there.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while seen.lock().unwrap().spans.is_empty() {
        assert!(std::time::Instant::now() < deadline, "no spans have arrived");
        tokio::task::yield_now().await;
    }

    let Seen { requests, spans } = std::mem::take(&mut *seen.lock().unwrap());
    let root = spans.iter().find(|span| span.name == "aws.lambda").unwrap();
    let calls: Vec<_> = spans.iter().filter(|span| span.name == "http.request").collect();
    let shown: Vec<_> = calls
        .iter()
        .map(|span| {
            assert_eq!((span.parent_id, tag(span, "span.kind")), (Some(root.span_id), "client"));
            let url = tag(span, "http.url").replace(&port.to_string(), "PORT");
            format!("{} {url} {} {}", tag(span, "http.method"), tag(span, "http.status_code"), span.error)
        })
        .collect();
    let expect = [
        "GET http://127.0.0.1:PORT/orders/17 200 false",
        "POST http://127.0.0.1:PORT/lost 404 true",
        "GET http://127.0.0.1:PORT/signed 200 false",
        "GET http://127.0.0.1:PORT/presigned 200 false",
        "GET http://127.0.0.1:1/gone  true",
    ];
    assert_eq!(shown, expect);
    let message = tag(calls[4], "error.message");
    assert!(
        message.contains("/gone") && message.contains("refused") && !message.contains("secret"),
        "{message}"
    );

    let parents: Vec<_> = requests
        .iter()
        .map(|(uri, headers)| {
            let parent = headers.get("x-datadog-parent-id").map(|id| id.to_str().unwrap().to_owned());
            assert_eq!(parent.is_some(), headers.contains_key("traceparent"), "{uri}");
            (uri.path(), parent)
        })
        .collect();
    let of = |n: usize| Some(calls[n].span_id.get().to_string());
    let expect =
        [("/orders/17", of(0)), ("/lost", of(1)), ("/signed", None), ("/presigned", None), ("/info", None)];
    assert_eq!(parents, expect);
}
