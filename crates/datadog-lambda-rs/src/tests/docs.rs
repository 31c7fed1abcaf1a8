//! The table of settings in the documentation is what the code reads.

use std::path::Path;

const BEGIN: &str = "<!-- library:begin -->\n";
const END: &str = "<!-- library:end -->\n";

const HEADING: &str = "
## The library

`datadog-lambda-rs` reads its settings from the environment of the function, or from its `builder`, which goes before it.
It reads them once, and reports each value that it cannot use in one line of the function's log.

";

const ABSENT_HEADING: &str = "
Settings of Datadog's libraries for other languages that mean nothing here:

| Variable | Why it is not read |
|---|---|
";

/// What Datadog's libraries for Lambda are configured by.
const KNOWN: &str = "
    DD_TRACE_ENABLED DD_SERVICE DD_ENV DD_VERSION DD_TAGS DD_SERVICE_MAPPING DD_TRACE_MANAGED_SERVICES
    DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED DD_TRACE_EXTRACTOR DD_ENCODE_AUTHORIZER_CONTEXT
    DD_DECODE_AUTHORIZER_CONTEXT DD_COLD_START_TRACING DD_MIN_COLD_START_DURATION DD_COLD_START_TRACE_SKIP_LIB
    DD_CAPTURE_LAMBDA_PAYLOAD DD_CAPTURE_LAMBDA_PAYLOAD_MAX_DEPTH DD_MERGE_XRAY_TRACES DD_FLUSH_TO_LOG
    DD_FLUSH_IN_THREAD DD_SITE DD_API_KEY DATADOG_API_KEY DD_KMS_API_KEY DD_API_KEY_SSM_NAME
    DD_API_KEY_SECRET_ARN DD_LAMBDA_FIPS_MODE DD_LOGS_INJECTION DD_ENHANCED_METRICS DD_LOG_LEVEL DD_LAMBDA_HANDLER
    DD_BOTOCORE_ADD_SPAN_POINTERS DD_TRACE_AWS_ADD_SPAN_POINTERS DD_BOTOCORE_DYNAMODB_TABLE_PRIMARY_KEYS
    DD_TRACE_DYNAMODB_TABLE_PRIMARY_KEYS DD_DATA_STREAMS_ENABLED DD_APM_FLUSH_DEADLINE_MILLISECONDS
    DD_TRACE_OTEL_ENABLED DD_APPSEC_ENABLED DD_APPSEC_SCA_ENABLED DD_PROFILING_ENABLED DD_LLMOBS_ENABLED
    DD_EXCEPTION_REPLAY_ENABLED DD_REMOTE_CONFIGURATION_ENABLED DD_TRACE_STATS_COMPUTATION_ENABLED
    DD_INSTRUMENTATION_TELEMETRY_ENABLED DD_UNIVERSAL_INSTRUMENTATION DD_LOCAL_TEST DD_LOCAL_TESTING
    DD_INTEGRATION_TEST DD_TRACE_PROPAGATION_STYLE DD_TRACE_PROPAGATION_STYLE_EXTRACT
    DD_TRACE_PROPAGATION_STYLE_INJECT DD_TRACE_PROPAGATION_EXTRACT_FIRST DD_TRACE_SAMPLE_RATE
    DD_TRACE_SAMPLING_RULES DD_TRACE_RATE_LIMIT DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED
    DD_TRACE_128_BIT_TRACEID_LOGGING_ENABLED DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH DD_TRACE_PARTIAL_FLUSH_ENABLED
    DD_TRACE_PARTIAL_FLUSH_MIN_SPANS AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_REGION AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_MAX_CONCURRENCY
    AWS_LAMBDA_LOG_FORMAT AWS_LAMBDA_LOG_LEVEL _X_AMZN_TRACE_ID AWS_XRAY_DAEMON_ADDRESS AWS_LAMBDA_RUNTIME_API";

#[test]
fn every_setting_of_datadogs_libraries_is_read_or_explained() {
    let is_read = |key: &str| crate::settings().iter().any(|setting| setting.key == key);
    let absent = crate::settings::absent::ABSENT;
    let is_explained = |key: &str| absent.iter().any(|(keys, _)| keys.split(", ").any(|one| one == key));
    for key in KNOWN.split_whitespace() {
        assert!(
            is_read(key) != is_explained(key),
            "{key}: read {}, explained {}",
            is_read(key),
            is_explained(key)
        );
    }
}

#[test]
fn the_table_of_settings_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    // The published crate comes without it.
    let Ok(before) = std::fs::read_to_string(&path) else { return };
    let mut table = "| Variable | Default | Meaning |\n|---|---|---|\n".to_owned();
    for setting in crate::settings() {
        let default =
            if setting.default.is_empty() { "none".to_owned() } else { format!("`{}`", setting.default) };
        let doc = setting.doc.replace('|', "\\|");
        table.push_str(&format!("| `{}` | {default} | {doc} |\n", setting.key));
    }
    table.push_str(ABSENT_HEADING);
    for (key, why) in crate::settings::absent::ABSENT {
        let keys: Vec<_> = key.split(", ").map(|key| format!("`{key}`")).collect();
        table.push_str(&format!("| {} | {why} |\n", keys.join(", ")));
    }
    let parts = before.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let after = match parts {
        Some((head, tail)) => format!("{head}{BEGIN}{table}{END}{tail}"),
        None => format!("{}\n{HEADING}{BEGIN}{table}{END}", before.trim_end()),
    };
    if before != after {
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "stale: UPDATE_DOCS=1 cargo test -p datadog-lambda-rs"
        );
        std::fs::write(&path, after).unwrap();
    }
}
