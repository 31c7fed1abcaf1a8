//! The web page: files that are part of the program, and what it asks for beside the intake's query API. It asks
//! `/local/…` of the address it came from, and nobody else.
//!
//! | request | answer |
//! |---|---|
//! | `GET /local/run` | the functions, their invocations as the local Lambda saw them, what the demo misses |
//! | `GET /local/sandboxes` | every execution environment in short |
//! | `GET /local/sandboxes/{id}` | one of them, cycle by cycle |
//! | `GET /local/changes?run=N&store=V` | waits until there is something newer: the numbers to wait with next |

mod files;
mod journal;

use std::time::{Duration, Instant};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use intake::Store;
use serde::Deserialize;
use serde_json::json;

use crate::run::Board;
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

pub(crate) fn router(board: Board, store: Store) -> Router {
    Router::new()
        .route("/", get(|| file(Path("index.html".to_owned()))))
        .route("/page/{*name}", get(file))
        .route("/local/run", get(run))
        .route("/local/sandboxes", get(sandboxes))
        .route("/local/sandboxes/{id}", get(sandbox))
        .route("/local/changes", get(changes))
        .with_state(Page { board, store })
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
