//! The web page: three files that are part of the program. It asks `/local/…` of the address it came from, and
//! nothing else. Beside the intake's query API there is `GET /local/run`: the functions, their invocations as the
//! local Lambda saw them, and what the demo misses.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::run::Board;

const HTML: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/page.js");

/// No script, style, image or request from or to anywhere else, whatever a log line holds.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn router(board: Board) -> Router {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/page.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/local/run", get(run))
        .with_state(board)
}

async fn run(State(board): State<Board>) -> Response {
    Json(board.run()).into_response()
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::{HTML, SCRIPT, STYLE};

    #[test]
    fn the_page_asks_nobody_else() {
        let text = HTML.replace("http://www.w3.org/2000/svg", "") + STYLE + SCRIPT;
        for elsewhere in ["http:", "https:", "//cdn", "@import", "url("] {
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
        // What arrived is text, whatever it holds.
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(markup), "{markup}");
        }
    }
}
