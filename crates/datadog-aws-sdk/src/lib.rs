//! An interceptor for the AWS SDK for Rust: a span for every call, and the trace context in what it sends, so
//! that the next function's trace continues this one.
//!
//! ```no_run
//! use aws_sdk_lambda::config::Builder;
//! use datadog_aws_sdk::DatadogInterceptor;
//!
//! # let sdk_config = aws_types::SdkConfig::builder().build();
//! let config = Builder::from(&sdk_config).interceptor(DatadogInterceptor::new()).build();
//! let client = aws_sdk_lambda::Client::from_conf(config);
//! ```
//!
//! One interceptor serves the clients of all services: it needs none of their crates. Spans are made with the
//! global OpenTelemetry tracer, as children of what is active where the call is awaited.
//!
//! | operation | where the context goes |
//! |---|---|
//! | Lambda `Invoke`, `InvokeWithResponseStream` | the client context |
//! | all others | nowhere yet: the call has its span |
//!
//! A call never fails, waits or changes its meaning because of it: what cannot be added is left out.

mod client_context;
mod interceptor;
mod outcome;

pub use interceptor::DatadogInterceptor;

#[cfg(test)]
mod tests;
