//! The interceptor in the clients of the services, against an AWS API server, read by AWS's own Python client, by
//! Datadog's Python library, and by our own. One file per service; which test stands for which cell of the table of
//! what is compatible is in `docs/compatibility-aws-sdk.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod chain;
mod dynamodb;
mod eventbridge;
mod examples;
#[path = "../../../datadog-aws-sdk/src/tests/kept.rs"]
mod kept;
mod kinesis;
mod lambda;
mod mapped;
mod python;
mod s3;
mod sns;
mod spans;
mod sqs;
mod step_functions;
mod streams;
mod ways;
mod world;
