//! Metrics of one's own: distributions with tags, and with the time at which they were measured.
//!
//! ```sh
//! cargo build --package features --package extension --bins
//! echo '{"amounts": [12.5, 99]}' > event.json
//! cargo run --package cli -- dev --function metrics=target/debug/metrics --event event.json --exit
//! ```

use std::time::{Duration, SystemTime};

use datadog_lambda_rs::metric;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Deserialize;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    datadog_lambda_rs::init();
    datadog_lambda_rs::run(service_fn(handler)).await
}

#[derive(Debug, Deserialize)]
struct Orders {
    amounts: Vec<f64>,
}

async fn handler(event: LambdaEvent<Orders>) -> Result<(), Error> {
    for amount in event.payload.amounts {
        metric("orders.amount", amount).tag("currency", "EUR").tag("channel", "web shop").send();
    }
    // What was counted elsewhere, an hour ago.
    let measured = SystemTime::now() - Duration::from_secs(3600);
    metric("orders.backlog", 42.0).at(measured).send();
    Ok(())
}
