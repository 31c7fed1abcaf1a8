//! The web page: files that are part of the program, and what it asks for beside the intake's query API. It asks
//! `/local/…` of the address it came from, and nobody else.
//!
//! | request | answer |
//! |---|---|
//! | `GET /local/run` | the functions, their invocations as the local Lambda saw them, what the demo misses |
//! | `GET /local/invocations/{id}` | what the caller of one of them sent, and what it was answered |
//! | `GET /local/sandboxes` | every execution environment in short |
//! | `GET /local/sandboxes/{id}` | one of them, cycle by cycle |
//! | `GET /local/changes?run=N&store=V` | waits until there is something newer: the numbers to wait with next |

mod files;
mod journal;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use intake::Store;
use serde::Deserialize;
use serde_json::json;

use crate::run::{Board, json_or_text};
use journal::Environment;

/// How long a question for changes is held at most.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// No script, style, image or request from or to anywhere else, whatever a log line holds.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone, Debug)]
struct Page {
    board: Board,
    store: Store,
}

/// The page, and beside it what else is answered at its address.
pub(crate) fn router(board: Board, store: Store, beside: Router) -> Router {
    Router::new()
        .route("/", get(|| file(Path("index.html".to_owned()))))
        .route("/page/{*name}", get(file))
        .route("/local/run", get(run))
        .route("/local/invocations/{id}", get(invocation))
        .route("/local/sandboxes", get(sandboxes))
        .route("/local/sandboxes/{id}", get(sandbox))
        .route("/local/changes", get(changes))
        .with_state(Page { board, store })
        .merge(beside)
        .layer(middleware::from_fn(only_from_here))
}

/// Refuses what a web site asks for. Its name may point to this machine, and then the browser takes what is here for
/// a part of it; or it sends without reading the answer. Addresses and `localhost` belong to nobody else.
async fn only_from_here(request: Request, next: Next) -> Response {
    if asked_from_here(request.headers()) {
        return next.run(request).await;
    }
    let why = "this is only for this machine: open it as 127.0.0.1 or localhost";
    (StatusCode::FORBIDDEN, Json(json!({ "error": why }))).into_response()
}

fn asked_from_here(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = value(header::HOST);
    let is_ours = host.is_none_or(|host| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
    });
    // Browsers leave the origin out when a page asks where it came from, or name just that.
    let origin = value(header::ORIGIN).map(|origin| origin.split_once("://").map(|(_, origin)| origin));
    is_ours && origin.is_none_or(|origin| origin == host)
}

async fn file(Path(name): Path<String>) -> Response {
    let Some(found) = files::find(&name) else {
        return (StatusCode::NOT_FOUND, "the page has no such file").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, found.kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, found.text).into_response()
}

async fn run(State(page): State<Page>) -> Response {
    Json(page.board.run()).into_response()
}

async fn invocation(State(page): State<Page>, Path(id): Path<String>) -> Response {
    let Some(asked) = page.board.recorded(&id) else {
        let why = json!({ "error": format!("the event of {id} is not held") });
        return (StatusCode::NOT_FOUND, Json(why)).into_response();
    };
    let told = json!({
        "event": json_or_text(&asked.payload),
        "bytes": asked.payload.len(),
        "client_context": asked.client_context.map(|text| json_or_text(text.as_bytes())),
        "trace_header": asked.trace_header,
        "tenant_id": asked.tenant_id,
        "answer": asked.answer.map(|answer| json!({
            "payload": json_or_text(&answer.payload),
            "bytes": answer.bytes,
            "is_cut": answer.bytes > answer.payload.len(),
            "streamed": answer.streamed,
            "function_error": answer.function_error,
        })),
    });
    Json(told).into_response()
}

async fn sandboxes(State(page): State<Page>) -> Response {
    let all = journal::environments(&page.board.timeline());
    Json(all.into_iter().map(Environment::in_short).collect::<Vec<_>>()).into_response()
}

async fn sandbox(State(page): State<Page>, Path(id): Path<String>) -> Response {
    let events: Vec<_> = page.board.timeline().into_iter().filter(|event| *event.sandbox == id).collect();
    match journal::environments(&events).pop() {
        Some(environment) => Json(environment).into_response(),
        None => {
            let why = json!({ "error": format!("no execution environment {id} is remembered") });
            (StatusCode::NOT_FOUND, Json(why)).into_response()
        }
    }
}

/// What the page has seen.
#[derive(Debug, Default, Deserialize)]
struct Seen {
    #[serde(default)]
    run: u64,
    #[serde(default)]
    store: u64,
}

async fn changes(State(page): State<Page>, Query(seen): Query<Seen>) -> Response {
    let deadline = Instant::now() + MAX_WAIT;
    let moved = async { page.board.newer(seen.run).await };
    tokio::select! {
        _ = moved => {}
        _ = page.store.wait_until(|state| state.version() != seen.store, deadline) => {}
    }
    let run = page.board.newer(0).await;
    Json(json!({ "run": run, "store": page.store.read(intake::State::version) })).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::asked_from_here;

    #[test]
    fn only_this_machine_is_answered() {
        let check = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            asked_from_here(&headers)
        };
        assert!(asked_from_here(&HeaderMap::new()));
        for host in
            ["127.0.0.1:8080", "localhost", "localhost:1", "a.localhost:1", "[::1]:9", "192.168.0.7:1"]
        {
            assert!(check(host, None), "{host}");
            assert!(check(host, Some(&format!("http://{host}"))), "{host}");
            for other in
                ["https://example.org", "null", "http://127.0.0.1:99", "http://localhost:99", "\u{e9}"]
            {
                assert!(!check(host, Some(other)), "{host} {other}");
            }
        }
        for host in
            ["example.org", "example.org:8080", "localhost.example.org", "127.0.0.1.example.org:1", "", "["]
        {
            assert!(!check(host, None), "{host}");
        }
    }
}
