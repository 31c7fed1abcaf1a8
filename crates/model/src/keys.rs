//! Tag, metric and header names that more than one crate speaks. A name is written out here and nowhere else.

/// Tags of Datadog's trace protocol.
pub mod trace {
    /// The high 64 bits of the trace id: exactly 16 lower-case hex digits, on the first span of a chunk.
    pub const TID: &str = "_dd.p.tid";
    /// Who decided to keep the trace.
    pub const DECISION_MAKER: &str = "_dd.p.dm";
    /// What starts each tag that travels to the next service.
    pub const PROPAGATED_PREFIX: &str = "_dd.p.";
    pub const ORIGIN: &str = "_dd.origin";
    /// Metric: the sampling priority of the trace.
    pub const SAMPLING_PRIORITY: &str = "_sampling_priority_v1";
    /// Metric: 1 on a span whose service differs from its parent's.
    pub const TOP_LEVEL: &str = "_top_level";
    /// Metric: the tracer's own mark of a top-level span.
    pub const DD_TOP_LEVEL: &str = "_dd.top_level";
    /// Metric: 1 on a span to compute statistics for.
    pub const MEASURED: &str = "_dd.measured";
    /// `1` when the backend has to compute trace statistics.
    pub const COMPUTE_STATS: &str = "_dd.compute_stats";
    pub const BASE_SERVICE: &str = "_dd.base_service";
    /// The last span of a Datadog tracer upstream, 16 hex digits, when the parent is another vendor's.
    pub const PARENT_ID: &str = "_dd.parent_id";
    /// `xray` on a root span whose parent is X-Ray's.
    pub const PARENT_SOURCE: &str = "_dd.parent_source";
    pub const HOSTNAME: &str = "_dd.hostname";
    /// The point of a pathway of messages that the span is at, in decimal.
    pub const PATHWAY_HASH: &str = "pathway.hash";
    /// Metric: the rate of the sampling rule that decided.
    pub const RULE_RATE: &str = "_dd.rule_psr";
    /// Metric: the share that the rate limit let through.
    pub const LIMIT_RATE: &str = "_dd.limit_psr";
    /// Why tags of the caller were lost on the way: `extract_max_size`.
    pub const PROPAGATION_ERROR: &str = "_dd.propagation_error";
    /// JSON list of span links, for encodings without a field for them.
    pub const SPAN_LINKS: &str = "_dd.span_links";
    /// Comma-separated function tags on a tracer payload.
    pub const FUNCTION_TAGS: &str = "_dd.tags.function";
    /// The same of a container.
    pub const CONTAINER_TAGS: &str = "_dd.tags.container";
    pub const SPAN_KIND: &str = "span.kind";
    pub const ERROR_MESSAGE: &str = "error.message";
    /// The extension's name for the message in universal instrumentation.
    pub const ERROR_MSG: &str = "error.msg";
    pub const ERROR_TYPE: &str = "error.type";
    pub const ERROR_STACK: &str = "error.stack";
    pub const HTTP_STATUS_CODE: &str = "http.status_code";
    pub const HTTP_METHOD: &str = "http.method";
    /// The same two as OpenTelemetry names them.
    pub const OTEL_HTTP_METHOD: &str = "http.request.method";
    pub const OTEL_HTTP_STATUS_CODE: &str = "http.response.status_code";
    pub const HTTP_URL: &str = "http.url";
    pub const HTTP_ROUTE: &str = "http.route";
    pub const PEER_SERVICE: &str = "peer.service";
    pub const OPERATION_NAME: &str = "operation_name";
    pub const RESOURCE_NAMES: &str = "resource_names";
    pub const LANGUAGE: &str = "language";
    pub const RUNTIME_ID: &str = "runtime-id";
    pub const ENV: &str = "env";
    pub const VERSION: &str = "version";
    pub const SERVICE: &str = "service";
}

/// Tags of Lambda telemetry.
pub mod lambda {
    pub const COLD_START: &str = "cold_start";
    pub const PROACTIVE_INITIALIZATION: &str = "proactive_initialization";
    pub const REQUEST_ID: &str = "request_id";
    pub const FUNCTION_ARN: &str = "function_arn";
    pub const FUNCTION_VERSION: &str = "function_version";
    pub const FUNCTION_NAME: &str = "functionname";
    pub const REGION: &str = "region";
    pub const ACCOUNT_ID: &str = "account_id";
    pub const AWS_ACCOUNT: &str = "aws_account";
    pub const RESOURCE: &str = "resource";
    pub const EXECUTED_VERSION: &str = "executedversion";
    pub const MEMORY_SIZE: &str = "memorysize";
    pub const ARCHITECTURE: &str = "architecture";
    pub const RUNTIME: &str = "runtime";
    pub const INIT_TYPE: &str = "init_type";
    pub const DURABLE_FUNCTION: &str = "durable_function";
    pub const EXTENSION_VERSION: &str = "dd_extension_version";
    pub const DATADOG_LAMBDA: &str = "datadog_lambda";
    /// Metric on `aws.lambda`: spans that the library lost since it last said so.
    pub const DROPPED_SPANS: &str = "datadog_lambda.dropped_spans";
    /// Every span of a function carries it with the value `lambda`, beside `_dd.origin`.
    pub const ORIGIN: &str = "origin";
    pub const ORIGIN_LAMBDA: &str = "lambda";
    pub const EVENT_SOURCE: &str = "function_trigger.event_source";
    pub const EVENT_SOURCE_ARN: &str = "function_trigger.event_source_arn";
    /// What became of the durable execution that an invocation is a part of.
    pub const DURABLE_STATUS: &str = "aws.durable.execution_status";
    /// The same as some of Datadog's libraries name it.
    pub const DURABLE_STATUS_BY_OTHERS: &str = "aws_lambda.durable_function.execution_status";
    /// Whose part an invocation is, by both names.
    pub const DURABLE_EXECUTION_ID: [&str; 2] =
        ["aws.durable.execution_id", "aws_lambda.durable_function.execution_id"];
    pub const DURABLE_EXECUTION_NAME: [&str; 2] =
        ["aws.durable.execution_name", "aws_lambda.durable_function.execution_name"];
    pub const DURABLE_FIRST_INVOCATION: [&str; 2] =
        ["aws.durable.first_invocation", "aws_lambda.durable_function.first_invocation"];
    pub const INFERRED_TAG_SOURCE: &str = "_inferred_span.tag_source";
    pub const INFERRED_SYNCHRONICITY: &str = "_inferred_span.synchronicity";
    /// Metric: 1 on an inferred span.
    pub const INFERRED_SPAN: &str = "_dd._inferred_span";
    /// The resource of the span by which a tracer hands its tags to the extension's own `aws.lambda` span.
    pub const PLACEHOLDER_RESOURCE: &str = "dd-tracer-serverless-span";
}

/// Names of the spans that Lambda functions have.
pub mod spans {
    pub const INVOCATION: &str = "aws.lambda";
    pub const COLD_START: &str = "aws.lambda.cold_start";
    /// Sent by a library that makes its own root span: the extension answers it with the cold start span.
    pub const LOAD: &str = "aws.lambda.load";
    /// A part of the start that the user has marked, below the load span.
    pub const LOAD_PHASE: &str = "aws.lambda.load.phase";
    pub const SNAPSTART_RESTORE: &str = "aws.lambda.snapstart_restore";
    /// The span type of all of them.
    pub const SERVERLESS: &str = "serverless";
}

/// Stretches of an invocation that Lambda measures and tells in its records.
pub mod measured {
    pub const RESPONSE_LATENCY: &str = "responseLatency";
    pub const RESPONSE_DURATION: &str = "responseDuration";
    pub const RUNTIME_OVERHEAD: &str = "runtimeOverhead";
    pub const EXTENSION_OVERHEAD: &str = "extensionOverhead";
}

/// Names of the metrics that Lambda functions have.
pub mod metrics {
    pub const ENHANCED_PREFIX: &str = "aws.lambda.enhanced.";
    pub const INVOCATIONS: &str = "aws.lambda.enhanced.invocations";
    pub const ERRORS: &str = "aws.lambda.enhanced.errors";
    pub const TIMEOUTS: &str = "aws.lambda.enhanced.timeouts";
    pub const OUT_OF_MEMORY: &str = "aws.lambda.enhanced.out_of_memory";
    /// Seconds.
    pub const DURATION: &str = "aws.lambda.enhanced.duration";
    /// Seconds.
    pub const BILLED_DURATION: &str = "aws.lambda.enhanced.billed_duration";
    /// Megabytes.
    pub const MAX_MEMORY_USED: &str = "aws.lambda.enhanced.max_memory_used";
    /// Megabytes.
    pub const MEMORY_SIZE: &str = "aws.lambda.enhanced.memorysize";
    /// Milliseconds.
    pub const RUNTIME_DURATION: &str = "aws.lambda.enhanced.runtime_duration";
    /// Milliseconds.
    pub const POST_RUNTIME_DURATION: &str = "aws.lambda.enhanced.post_runtime_duration";
    /// Bytes.
    pub const PRODUCED_BYTES: &str = "aws.lambda.enhanced.produced_bytes";
    /// Milliseconds until the runtime began to answer.
    pub const RESPONSE_LATENCY: &str = "aws.lambda.enhanced.response_latency";
    /// Milliseconds that the answer took from its first to its last byte.
    pub const RESPONSE_DURATION: &str = "aws.lambda.enhanced.response_duration";
    /// Seconds.
    pub const INIT_DURATION: &str = "aws.lambda.enhanced.init_duration";
    /// Seconds.
    pub const RESTORE_DURATION: &str = "aws.lambda.enhanced.snapstart_restore_duration";
    /// Dollars.
    pub const ESTIMATED_COST: &str = "aws.lambda.enhanced.estimated_cost";
    pub const SHUTDOWNS: &str = "aws.lambda.enhanced.shutdowns";
    /// Bytes.
    pub const RX_BYTES: &str = "aws.lambda.enhanced.rx_bytes";
    pub const TX_BYTES: &str = "aws.lambda.enhanced.tx_bytes";
    pub const TOTAL_NETWORK: &str = "aws.lambda.enhanced.total_network";
    /// Milliseconds.
    pub const CPU_USER_TIME: &str = "aws.lambda.enhanced.cpu_user_time";
    pub const CPU_SYSTEM_TIME: &str = "aws.lambda.enhanced.cpu_system_time";
    pub const CPU_TOTAL_TIME: &str = "aws.lambda.enhanced.cpu_total_time";
    pub const NUM_CORES: &str = "aws.lambda.enhanced.num_cores";
    /// Per cent of all processors, of the busiest and of the idlest.
    pub const CPU_TOTAL_UTILIZATION_PCT: &str = "aws.lambda.enhanced.cpu_total_utilization_pct";
    pub const CPU_MAX_UTILIZATION: &str = "aws.lambda.enhanced.cpu_max_utilization";
    pub const CPU_MIN_UTILIZATION: &str = "aws.lambda.enhanced.cpu_min_utilization";
    /// Processors.
    pub const CPU_TOTAL_UTILIZATION: &str = "aws.lambda.enhanced.cpu_total_utilization";
    pub const FD_MAX: &str = "aws.lambda.enhanced.fd_max";
    pub const FD_USE: &str = "aws.lambda.enhanced.fd_use";
    pub const THREADS_MAX: &str = "aws.lambda.enhanced.threads_max";
    pub const THREADS_USE: &str = "aws.lambda.enhanced.threads_use";
    /// Bytes.
    pub const TMP_USED: &str = "aws.lambda.enhanced.tmp_used";
    pub const TMP_MAX: &str = "aws.lambda.enhanced.tmp_max";
    pub const TMP_FREE: &str = "aws.lambda.enhanced.tmp_free";
    pub const UNUSED_INIT: &str = "aws.lambda.enhanced.unused_init";
    /// Records of a batch that the function gave back.
    pub const BATCH_ITEM_FAILURES: &str = "aws.lambda.enhanced.batch_item_failures";
    /// Milliseconds from the handler's start to the first bytes of a streamed response.
    pub const TIME_TO_FIRST_BYTE: &str = "aws.lambda.enhanced.time_to_first_byte";
    /// Requests that the extension made, by the tag `signal`. A count.
    pub const EXTENSION_REQUESTS: &str = "datadog.serverless.extension.requests";
    /// Bytes of their bodies, by the tag `signal`. A count.
    pub const EXTENSION_BYTES: &str = "datadog.serverless.extension.bytes";
    /// Milliseconds that the end of an invocation waited for its data to be sent.
    pub const EXTENSION_FLUSH_DURATION: &str = "datadog.serverless.extension.flush_duration";
    /// What the extension lost, by the tags `signal` and `reason`. A count.
    pub const EXTENSION_DROPPED: &str = "datadog.serverless.extension.dropped";
}

/// Header names of trace context and of the lifecycle calls, lower case.
pub mod headers {
    pub const TRACE_ID: &str = "x-datadog-trace-id";
    pub const PARENT_ID: &str = "x-datadog-parent-id";
    pub const SPAN_ID: &str = "x-datadog-span-id";
    pub const SAMPLING_PRIORITY: &str = "x-datadog-sampling-priority";
    pub const ORIGIN: &str = "x-datadog-origin";
    pub const TAGS: &str = "x-datadog-tags";
    pub const TRACEPARENT: &str = "traceparent";
    pub const TRACESTATE: &str = "tracestate";
    pub const BAGGAGE: &str = "baggage";
    pub const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
    pub const INVOCATION_ERROR: &str = "x-datadog-invocation-error";
    pub const INVOCATION_ERROR_MSG: &str = "x-datadog-invocation-error-msg";
    pub const INVOCATION_ERROR_TYPE: &str = "x-datadog-invocation-error-type";
    pub const INVOCATION_ERROR_STACK: &str = "x-datadog-invocation-error-stack";
    /// Milliseconds since 1970 at which a producer sent an EventBridge entry.
    pub const START_TIME: &str = "x-datadog-start-time";
    /// The bus to which a producer sent an EventBridge entry.
    pub const RESOURCE_NAME: &str = "x-datadog-resource-name";
    /// The attribute or field under which a message carries its context.
    pub const CARRIER: &str = "_datadog";
    /// Where a message has come from, for Data Streams Monitoring.
    pub const PATHWAY: &str = "dd-pathway-ctx-base64";
}
