//! An interceptor for the AWS SDK for Rust: a span for every call, and the trace context in what it sends, so
//! that the next function's trace continues this one.
//!
//! ```no_run
//! # fn made(sdk_config: aws_types::SdkConfig) {
//! let (sqs, lambda) = datadog_aws_sdk::clients!(&sdk_config, aws_sdk_sqs, aws_sdk_lambda);
//! # }
//! ```
//!
//! [`client!`] makes one. Both are short for an interceptor in a client's configuration:
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
//! | SQS `SendMessage`, `SendMessageBatch` | the attribute `_datadog` of each message |
//! | SQS `ReceiveMessage` | the attribute is asked for; the span links to the messages' |
//! | SNS `Publish`, `PublishBatch` | the binary attribute `_datadog` of each message |
//! | EventBridge `PutEvents` | `_datadog` in each event's detail |
//! | Kinesis `PutRecord`, `PutRecords` | `_datadog` in data that is a JSON object |
//! | Step Functions `StartExecution`, `StartSyncExecution` | `_datadog` in the input |
//! | Lambda `Invoke`, `InvokeWithResponseStream` | the client context |
//! | all others | nowhere: the call has its span |
//!
//! The rest of what is sent stays as it is, byte for byte. Nothing is added where a limit of the service would be
//! passed, where the data is no JSON object, and to a named execution of Step Functions, which could not be started
//! again. Calls that write S3 objects and DynamoDB items link to them.
//!
//! A call never fails, waits or changes its meaning because of it: what cannot be added is left out. Calls that are to
//! have no span are made with OpenTelemetry's telemetry suppressed:
//! `call.with_context(Context::current().with_telemetry_suppressed())`.
//!
//! What a service receives on its own is read with [`received!`], [`trace_message`] and [`trace_messages`].

mod call;
mod carrier;
mod data_streams;
mod inject;
mod interceptor;
mod json_text;
mod outcome;
mod pointers;
mod receive;
mod resource;
mod settings;

pub use data_streams::flush_data_streams;
pub use interceptor::DatadogInterceptor;
pub use receive::{Received, trace_message, trace_messages};

/// The client of a service's crate with a [`DatadogInterceptor`], from what `aws_config` has loaded.
///
/// ```no_run
/// # fn made(sdk_config: aws_types::SdkConfig) {
/// let sqs: aws_sdk_sqs::Client = datadog_aws_sdk::client!(aws_sdk_sqs, &sdk_config);
/// # }
/// ```
#[macro_export]
macro_rules! client {
    ($service:ident, $sdk_config:expr) => {
        $service::Client::from_conf(
            $service::config::Builder::from($sdk_config)
                .interceptor($crate::DatadogInterceptor::new())
                .build(),
        )
    };
}

/// What [`DatadogInterceptor::learn_table_keys`] takes, of a client of `aws-sdk-dynamodb`, which needs the permission
/// `dynamodb:DescribeTable`.
///
/// ```no_run
/// # fn made(sdk_config: aws_types::SdkConfig) -> aws_sdk_dynamodb::Client {
/// use datadog_aws_sdk::{DatadogInterceptor, describe_with};
///
/// let plain = aws_sdk_dynamodb::Client::new(&sdk_config);
/// let interceptor = DatadogInterceptor::new().learn_table_keys(describe_with!(plain));
/// let config = aws_sdk_dynamodb::config::Builder::from(&sdk_config).interceptor(interceptor).build();
/// aws_sdk_dynamodb::Client::from_conf(config)
/// # }
/// ```
#[macro_export]
macro_rules! describe_with {
    ($client:expr) => {{
        let client = $client.clone();
        move |table: ::std::string::String| {
            let describe = client.describe_table().table_name(table);
            async move {
                let described = describe.send().await.ok()?;
                let keys = described.table()?.key_schema().iter();
                Some(keys.map(|key| key.attribute_name().to_owned()).collect())
            }
        }
    }};
}

/// The clients of several services' crates, as [`client!`] makes each: a tuple in the order of the crates.
///
/// ```no_run
/// # fn made(sdk_config: aws_types::SdkConfig) {
/// let (sqs, lambda) = datadog_aws_sdk::clients!(&sdk_config, aws_sdk_sqs, aws_sdk_lambda);
/// # let _: (aws_sdk_sqs::Client, aws_sdk_lambda::Client) = (sqs, lambda);
/// # }
/// ```
#[macro_export]
macro_rules! clients {
    ($sdk_config:expr, $($service:ident),+ $(,)?) => {{
        let sdk_config = $sdk_config;
        ($($crate::client!($service, sdk_config),)+)
    }};
}

#[cfg(test)]
mod tests;
