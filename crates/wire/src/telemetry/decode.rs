//! Telemetry JSON to records.

use std::borrow::Cow;

use model::{
    InitReport, InitStart, InitializationType, InvocationReport, LogLine, Phase, PlatformSpan, Record,
    RequestId, RestoreStart, RuntimeDone, Start, Status, TelemetryRecord, Text, UnixNanos,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{NotAnArray, TelemetryBatch};
use crate::json::{millis, text, texts, uint};

/// Reads the body of a delivery.
///
/// A type that is not known, or a known one whose record lacks what makes it that record, becomes
/// [`Record::Unknown`]; an element without a time or a type is counted as malformed.
///
/// ```
/// let body = br#"[{"time":"2024-07-30T19:55:53.018Z","type":"platform.new","record":{}}, {}]"#;
/// let batch = wire::telemetry::decode(body).unwrap();
/// assert_eq!((batch.records.len(), batch.malformed), (1, 1));
/// ```
pub fn decode(body: &[u8]) -> Result<TelemetryBatch, NotAnArray> {
    // A function prints any bytes; one bad byte in a line must not cost the delivery.
    let body = String::from_utf8_lossy(body);
    let elements: Vec<&RawValue> = serde_json::from_str(&body).map_err(|_| NotAnArray)?;
    let mut batch = TelemetryBatch { records: Vec::with_capacity(elements.len()), malformed: 0 };
    for element in elements {
        match read(element.get()) {
            Some(record) => batch.records.push(record),
            None => batch.malformed += 1,
        }
    }
    Ok(batch)
}

#[derive(Deserialize)]
struct Element<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
}

fn read(element: &str) -> Option<TelemetryRecord> {
    let Element { time, kind, record } = serde_json::from_str(element).ok()?;
    let time = UnixNanos::parse_rfc3339(&time)?;
    let raw = record.map_or("null", RawValue::get);
    let record = match &*kind {
        "function" => log_line(raw).map(Record::FunctionLog),
        "extension" => log_line(raw).map(Record::ExtensionLog),
        platform => serde_json::from_str(raw).ok().and_then(|record| platform_record(platform, &record)),
    };
    Some(TelemetryRecord {
        time,
        record: record.unwrap_or(Record::Unknown { kind: Text::Owned(kind.into_owned()) }),
    })
}

/// Text as text; objects, which are lines printed in JSON, as their JSON text.
fn log_line(raw: &str) -> Option<LogLine> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok().map(LogLine::Text),
        b'{' => Some(LogLine::Json(raw.to_owned())),
        b'n' => None,
        _ => Some(LogLine::Text(raw.to_owned())),
    }
}

fn platform_record(kind: &str, record: &Value) -> Option<Record> {
    Some(match kind {
        "platform.initStart" => Record::InitStart(InitStart {
            initialization_type: initialization_type(record)?,
            phase: phase(record)?,
            function_name: text(record, "functionName"),
            function_version: text(record, "functionVersion"),
            runtime_version: text(record, "runtimeVersion"),
            runtime_version_arn: text(record, "runtimeVersionArn"),
            instance_id: text(record, "instanceId"),
            instance_max_memory_mb: uint(record, "instanceMaxMemory"),
            function_arn: text(record, "functionArn"),
        }),
        "platform.initRuntimeDone" => Record::InitRuntimeDone {
            initialization_type: initialization_type(record)?,
            phase: phase(record)?,
            status: status(record)?,
            error_type: text(record, "errorType"),
        },
        "platform.initReport" => Record::InitReport(InitReport {
            initialization_type: initialization_type(record)?,
            phase: phase(record)?,
            status: status(record),
            duration: millis(record.get("metrics")?, "durationMs")?,
            error_type: text(record, "errorType"),
        }),
        "platform.start" => Record::Start(Start {
            request_id: request_id(record)?,
            version: text(record, "version"),
            trace_header: trace_header(record),
            function_arn: text(record, "functionArn"),
            tenant_id: text(record, "tenantId"),
        }),
        "platform.runtimeDone" => Record::RuntimeDone(runtime_done(record)?),
        "platform.report" => Record::Report(report(record)?),
        "platform.restoreStart" => Record::RestoreStart(restore_start(record)?),
        "platform.restoreRuntimeDone" => {
            Record::RestoreRuntimeDone { status: status(record)?, error_type: text(record, "errorType") }
        }
        "platform.restoreReport" => Record::RestoreReport {
            status: status(record)?,
            duration: record.get("metrics").and_then(|metrics| millis(metrics, "durationMs")),
            error_type: text(record, "errorType"),
        },
        "platform.extension" => Record::Extension {
            name: text(record, "name")?,
            state: text(record, "state")?,
            events: texts(record, "events"),
            error_type: text(record, "errorType"),
        },
        "platform.telemetrySubscription" => Record::TelemetrySubscription {
            name: text(record, "name")?,
            state: text(record, "state")?,
            types: texts(record, "types"),
        },
        "platform.logsDropped" => Record::LogsDropped {
            bytes: uint(record, "droppedBytes")?,
            records: uint(record, "droppedRecords")?,
            reason: text(record, "reason").unwrap_or_default(),
        },
        _ => return None,
    })
}

fn runtime_done(record: &Value) -> Option<RuntimeDone> {
    let metrics = record.get("metrics").unwrap_or(&Value::Null);
    Some(RuntimeDone {
        request_id: request_id(record)?,
        status: status(record)?,
        error_type: text(record, "errorType"),
        duration: millis(metrics, "durationMs"),
        produced_bytes: uint(metrics, "producedBytes"),
        spans: spans(record),
        trace_header: trace_header(record),
        tenant_id: text(record, "tenantId"),
    })
}

/// On managed instances `metrics` has the duration only.
fn report(record: &Value) -> Option<InvocationReport> {
    let metrics = record.get("metrics")?;
    Some(InvocationReport {
        request_id: request_id(record)?,
        status: status(record),
        error_type: text(record, "errorType"),
        duration: millis(metrics, "durationMs")?,
        billed_ms: uint(metrics, "billedDurationMs"),
        memory_size_mb: uint(metrics, "memorySizeMB"),
        max_memory_used_mb: uint(metrics, "maxMemoryUsedMB"),
        init_duration: millis(metrics, "initDurationMs"),
        restore_duration: millis(metrics, "restoreDurationMs"),
        spans: spans(record),
        trace_header: trace_header(record),
        tenant_id: text(record, "tenantId"),
    })
}

fn spans(record: &Value) -> Vec<PlatformSpan> {
    let all = record.get("spans").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|span| {
        Some(PlatformSpan {
            name: text(span, "name")?,
            start: UnixNanos::parse_rfc3339(span.get("start")?.as_str()?)?,
            duration: millis(span, "durationMs")?,
        })
    })
    .collect()
}

fn restore_start(record: &Value) -> Option<RestoreStart> {
    record.is_object().then(|| RestoreStart {
        function_name: text(record, "functionName"),
        function_version: text(record, "functionVersion"),
        runtime_version: text(record, "runtimeVersion"),
        runtime_version_arn: text(record, "runtimeVersionArn"),
        instance_id: text(record, "instanceId"),
        instance_max_memory_mb: uint(record, "instanceMaxMemory"),
    })
}

fn trace_header(record: &Value) -> Option<Text> {
    record.get("tracing").and_then(|tracing| text(tracing, "value"))
}

fn request_id(record: &Value) -> Option<RequestId> {
    RequestId::new(record.get("requestId")?.as_str()?)
}

fn status(record: &Value) -> Option<Status> {
    record.get("status")?.as_str().map(Status::parse)
}

fn initialization_type(record: &Value) -> Option<InitializationType> {
    record.get("initializationType")?.as_str().map(InitializationType::parse)
}

fn phase(record: &Value) -> Option<Phase> {
    record.get("phase")?.as_str().map(Phase::parse)
}
