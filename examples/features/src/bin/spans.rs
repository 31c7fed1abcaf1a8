//! Spans below the invocation's own: by `tracing`, by the OpenTelemetry API; tags on the invocation's span; and
//! what becomes of an error with its causes and its backtrace, and of a panic.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"id": 17, "stock": "3"}' > event.json
//! cargo run --package cli -- dev --function spans=target/debug/spans --event event.json --exit
//! ```
//! With `"stock": "none"` it fails, with `"stock": ""` it panics; `--env RUST_BACKTRACE=1` shows where.

use std::backtrace::Backtrace;
use std::error::Error as _;
use std::num::ParseIntError;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::global;
use opentelemetry::trace::{TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use serde::Deserialize;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

#[derive(Debug, Deserialize)]
struct Order {
    id: i64,
    stock: String,
}

async fn handler(event: LambdaEvent<Order>) -> Result<Value, Error> {
    let order = event.payload;
    // The active span here is `aws.lambda`.
    Context::current().span().set_attribute(KeyValue::new("order.id", order.id));
    let left = reserve(&order).await?;
    global::tracer("shop").in_span("price_order", |cx| cx.span().set_attribute(KeyValue::new("left", left)));
    Ok(json!({"order": order.id, "left": left}))
}

/// A span of its own, with a field as its tag; `err` marks it when it fails.
#[tracing::instrument(skip_all, err, fields(order.id = order.id))]
async fn reserve(order: &Order) -> Result<i64, Error> {
    tokio::task::yield_now().await;
    tracing::info_span!("ask_warehouse", shelf = "A7").in_scope(|| {
        assert!(!order.stock.is_empty(), "the warehouse is closed");
        let stock: i64 = order.stock.parse().map_err(OutOfStock::because)?;
        Ok(stock.saturating_sub(1))
    })
}

/// An error that says what caused it, and where it comes from.
#[derive(Debug)]
struct OutOfStock {
    cause: ParseIntError,
    #[expect(dead_code, reason = "seen in the Debug text, which becomes the stack of the error")]
    backtrace: Backtrace,
}

impl OutOfStock {
    fn because(cause: ParseIntError) -> Self {
        let error = Self { cause, backtrace: Backtrace::capture() };
        tracing::warn!(cause = error.source(), "no stock");
        error
    }
}

impl std::fmt::Display for OutOfStock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("out of stock")
    }
}

impl std::error::Error for OutOfStock {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
