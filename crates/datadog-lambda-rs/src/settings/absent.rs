//! Settings of Datadog's other libraries for Lambda that mean nothing here, and why: for those who look for them in
//! the documentation. Nothing reads them.

/// A variable, or several of one kind, and why it is not read.
pub(crate) const ABSENT: &[(&str, &str)] = &[
    ("DD_LAMBDA_HANDLER", "a compiled function calls its handler itself"),
    (
        "DD_TRACE_EXTRACTOR",
        "the name of a function cannot be looked up: `builder().extractor(…)` takes the function",
    ),
    ("DD_TRACE_OTEL_ENABLED", "OpenTelemetry is what the library is made of, and always on"),
    (
        "DD_COLD_START_TRACE_SKIP_LIB",
        "there are no imports at run time: `init_phase` marks what is worth a span",
    ),
    ("DD_FLUSH_IN_THREAD", "nothing that is sent blocks the handler"),
    (
        "DD_TRACE_STATS_COMPUTATION_ENABLED",
        "the extension computes statistics: what a frozen function keeps is lost",
    ),
    (
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED",
        "the library sends nothing about itself but what is on the spans",
    ),
    ("DD_REMOTE_CONFIGURATION_ENABLED", "a sandbox has no background process to be told of changes"),
    ("DD_APPSEC_ENABLED", "App and API Protection is not supported"),
    ("DD_APPSEC_SCA_ENABLED", "as DD_APPSEC_ENABLED"),
    ("DD_PROFILING_ENABLED", "the profiler is not supported"),
    ("DD_LLMOBS_ENABLED", "LLM Observability is not supported"),
    ("DD_EXCEPTION_REPLAY_ENABLED", "local variables of a compiled function cannot be read back"),
    ("DD_LOCAL_TEST", "all is sent at the end of each invocation, here as in Lambda"),
    ("DD_LOCAL_TESTING", "as DD_LOCAL_TEST"),
    ("DD_INTEGRATION_TEST", "it is for the tests of another library"),
    ("DD_BOTOCORE_ADD_SPAN_POINTERS", "Python's name of DD_TRACE_AWS_ADD_SPAN_POINTERS"),
    ("DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS", "it is about AWS SDK calls, which `datadog-aws-sdk` traces"),
    ("DD_BOTOCORE_DYNAMODB_TABLE_PRIMARY_KEYS", "as DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS"),
    (
        "DD_BOTOCORE_*, DD_TRACE_AWS_SDK_*, DD_AWS_TAG_NO_PARAMS",
        "they are about the AWS SDKs of Python and JavaScript",
    ),
    (
        "DD_TRACE_CLOUD_REQUEST_PAYLOAD_TAGGING, DD_TRACE_CLOUD_RESPONSE_PAYLOAD_TAGGING, DD_TRACE_CLOUD_PAYLOAD_TAGGING_*",
        "as these",
    ),
    ("AWS_LAMBDA_MAX_CONCURRENCY", "`lambda_runtime` reads it"),
    ("AWS_LAMBDA_LOG_FORMAT", "log lines are JSON with Lambda's keys in any case"),
    ("_X_AMZN_TRACE_ID", "the header of each event says it, and alone is right with several at once"),
];
