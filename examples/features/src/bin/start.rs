//! What the function's start takes, phase by phase, under the span of its cold start; and a start that fails.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{}' > event.json
//! cargo run --package cli -- dev --function start=target/debug/start --event event.json --exit
//! ```
//! With `--env DATABASE=` the start fails, with `--env POOL=0` it panics.

use std::time::Duration;

use datadog_lambda_rs::{init_failed, init_phase};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    let phase = init_phase("connect to the database");
    let database = connect().await.inspect_err(init_failed)?;
    drop(phase);
    let pool = std::env::var("POOL").unwrap_or_default();
    assert!(pool != "0", "a pool of none");
    datadog_lambda_rs::run(service_fn(|_: LambdaEvent<Value>| async {
        Ok::<_, Error>(json!({"database": database}))
    }))
    .await
}

async fn connect() -> Result<String, std::io::Error> {
    // As long as such things take.
    tokio::time::sleep(Duration::from_millis(20)).await;
    match std::env::var("DATABASE") {
        Ok(name) if name.is_empty() => Err(std::io::Error::other("no database of that name")),
        Ok(name) => Ok(name),
        Err(_) => Ok("orders".to_owned()),
    }
}
