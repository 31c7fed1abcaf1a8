//! Datadog tracing, logs and metrics for AWS Lambda functions in Rust.
//!
//! ```no_run
//! use lambda_runtime::{Error, LambdaEvent, service_fn};
//! use serde_json::{Value, json};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Error> {
//!     datadog_lambda_rs::init();
//!     datadog_lambda_rs::run(service_fn(handler)).await
//! }
//!
//! async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
//!     tracing::info!("order received");
//!     datadog_lambda_rs::metric("orders.received", 1.0).tag("channel", "web").send();
//!     Ok(json!({"statusCode": 200}))
//! }
//! ```
//!
//! Each invocation becomes the span `aws.lambda`, as a child of whatever the event came from: the trace
//! context in its headers, message attributes or client context, and a span for each managed service on its
//! way. Spans made with `tracing` or with the OpenTelemetry API become its children; log lines carry its ids.
//!
//! All of it goes to the Datadog extension beside the function, after the response and before the next event.
//! Without an extension, traces and metrics become log lines for the Datadog Forwarder.
//!
//! # Metrics without an extension
//! With the feature `api-metrics`, metrics go straight to Datadog's API where there is no extension and a key is set: in
//! `DD_API_KEY`, or where `DD_API_KEY_SECRET_ARN` (Secrets Manager), `DD_API_KEY_SSM_NAME` (Parameter Store) or
//! `DD_KMS_API_KEY` say. The handler is the same:
//!
//! ```
//! # use lambda_runtime::{Error, LambdaEvent};
//! # use serde_json::Value;
//! async fn handler(event: LambdaEvent<Value>) -> Result<(), Error> {
//!     datadog_lambda_rs::metric("orders.received", 1.0).tag("channel", "web").send();
//!     Ok(())
//! }
//! ```
//!
//! The key is asked for beside the first handler that has a metric, and again when Datadog refuses it. What is sent leaves
//! after the response, within a bound; what there is no key for is printed for the Forwarder. A proxy is used where
//! `DD_PROXY_HTTPS` or `HTTPS_PROXY` names one.
//!
//! | to | use |
//! |---|---|
//! | have it all | [`init`], then [`run`] in place of `lambda_runtime::run` |
//! | set things in code | [`builder`] |
//! | run on managed instances | `run_concurrent`, with the feature `concurrency` |
//! | keep `lambda_runtime::run` | [`wrap_handler`] |
//! | build the `Runtime` yourself | [`TracedHandler`] and [`DatadogLayer`], with SnapStart [`snapstart_resource`] |
//! | make the root span yourself | [`create_root_span`], [`end_root_span`] |
//! | see what the start takes, and when it fails | [`init_phase`], [`init_failed`] |
//! | trace each record of a batch | [`trace_record`], [`record_context`] |
//! | trace outgoing HTTP | [`HttpLayer`]; `HttpMiddleware` for `reqwest`, with the feature `reqwest-middleware`; the AWS SDK has an interceptor of its own |
//! | pass the trace on in a payload | [`current_trace_context`] |
//! | keep your own log format | [`log_fields`] |
//! | keep your own `tracing` subscriber | [`log_layer`], [`trace_layer`] |
//! | keep your own OpenTelemetry provider | [`span_processor`], [`set_tracer_provider`], [`propagator`] |
//!
//! What the function does and answers is never changed by it: no error of telemetry is passed on, every wait
//! has a bound, and what has to be dropped is counted.

mod agent;
#[cfg(any(feature = "api-metrics", test))]
mod api;
mod batch;
mod builder;
mod capture;
mod client;
mod cold_start;
mod convert;
mod data_streams;
mod datadog;
mod describe;
mod enhanced;
mod event;
mod failure;
mod handler;
mod ids;
mod init;
mod invocation;
mod layer;
mod lifecycle;
mod log;
mod log_records;
mod metric;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod out;
mod panics;
mod parent;
mod partial;
mod propagator;
mod response;
mod root;
mod sampling;
mod settings;
mod spans;
mod start;
mod status;
mod watchdog;
mod xray;

pub use batch::{record_context, trace_record};
pub use builder::{Builder, builder};
pub use client::{HttpFuture, HttpLayer, HttpService};
pub use handler::{HandlerError, HandlerFuture, TracedHandler, wrap_handler};
#[cfg(any(feature = "concurrency", test))]
pub use init::run_concurrent;
pub use init::{init, run, set_tracer_provider, trace_layer, tracer_provider};
pub use layer::{DatadogLayer, DatadogService, InvocationFuture};
pub use log::{LogLayer, log_fields, log_layer};
pub use metric::{Distribution, metric};
#[cfg(feature = "reqwest-middleware")]
pub use middleware::HttpMiddleware;
pub use propagator::{DatadogPropagator, current_trace_context, propagator};
pub use response::{ResponseBody, ResponseStream};
pub use root::{Root, create_root_span, end_root_span};
pub use settings::{Setting, settings};
pub use spans::{DatadogSpans, span_processor};
pub use start::{InitPhase, init_failed, init_phase, snapstart_resource};

#[cfg(test)]
mod tests;

/// The README's lines compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Those of the guide as well.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/library.md")]
struct Guide;
