//! A function on managed instances, which get many events at once: each keeps its own spans, also where the work
//! of one goes on in a task on another thread.
//!
//! Lambda says by `AWS_LAMBDA_MAX_CONCURRENCY` how many; without it they come one by one:
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"order": 17}' > event.json
//! cargo run --package cli -- dev --function concurrent=target/debug/concurrent --event event.json --exit
//! ```

use lambda_runtime::{Error, LambdaEvent, service_fn};
use opentelemetry::global;
use opentelemetry::trace::{FutureExt, Tracer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run_concurrent(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order = event.payload.get("order").and_then(Value::as_u64).unwrap_or_default();
    // A task has no context but the one that it is given.
    let reserved = tokio::spawn(reserve(order).with_current_context());
    let price = price(order).await;
    let left = reserved.await??;
    tracing::info!(order, "done");
    Ok(json!({"order": order, "price": price, "left": left}))
}

#[tracing::instrument]
async fn price(order: u64) -> u64 {
    tokio::task::yield_now().await;
    global::tracer("shop").in_span(format!("round_{order}"), |_| order.saturating_mul(3))
}

#[tracing::instrument(err)]
async fn reserve(order: u64) -> Result<u64, Error> {
    tracing::info_span!("find_shelf", order).in_scope(|| {});
    let left = ask_stock(order).await?;
    tracing::info_span!("take", order).in_scope(|| {});
    Ok(left)
}

/// Asks the service at `STOCK` how many are left: a number there, a number back.
#[tracing::instrument]
async fn ask_stock(order: u64) -> Result<u64, Error> {
    let Ok(address) = std::env::var("STOCK") else { return Ok(1) };
    let mut stock = TcpStream::connect(address).await?;
    stock.write_u64(order).await?;
    Ok(stock.read_u64().await?)
}
