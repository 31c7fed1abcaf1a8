//! Records to telemetry JSON, field for field as Lambda writes it.

use model::{
    InitReport, InitStart, InvocationReport, LogLine, Phase, PlatformSpan, Record, RestoreStart, RuntimeDone,
    Start, Status, TelemetryRecord, Text,
};
use serde_json::value::RawValue;

use crate::json::{self, Object};

/// Writes the body of a delivery.
pub fn encode(records: &[TelemetryRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * 256 + 2);
    json::array(&mut out, records, write);
    out
}

/// Writes one element of a delivery: for senders that count bytes before they put a delivery together
/// (elements joined by `,` between `[` and `]`).
pub fn encode_record(record: &TelemetryRecord) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(&mut out, record);
    out
}

fn write(out: &mut Vec<u8>, TelemetryRecord { time, record }: &TelemetryRecord) {
    Object::write(out, |o| {
        o.text("time", &time.to_rfc3339_millis());
        o.text("type", kind(record));
        match record {
            Record::FunctionLog(line) | Record::ExtensionLog(line) => log_line(o.key("record"), line),
            platform => o.object("record", |o| fields(o, platform)),
        }
    });
}

fn kind(record: &Record) -> &str {
    match record {
        Record::InitStart(_) => "platform.initStart",
        Record::InitRuntimeDone { .. } => "platform.initRuntimeDone",
        Record::InitReport(_) => "platform.initReport",
        Record::Start(_) => "platform.start",
        Record::RuntimeDone(_) => "platform.runtimeDone",
        Record::Report(_) => "platform.report",
        Record::RestoreStart(_) => "platform.restoreStart",
        Record::RestoreRuntimeDone { .. } => "platform.restoreRuntimeDone",
        Record::RestoreReport { .. } => "platform.restoreReport",
        Record::Extension { .. } => "platform.extension",
        Record::TelemetrySubscription { .. } => "platform.telemetrySubscription",
        Record::LogsDropped { .. } => "platform.logsDropped",
        Record::FunctionLog(_) => "function",
        Record::ExtensionLog(_) => "extension",
        Record::Unknown { kind } => kind,
    }
}

/// JSON that is none is sent as the text that it is.
fn log_line(out: &mut Vec<u8>, line: &LogLine) {
    match line {
        LogLine::Json(line) if serde_json::from_str::<&RawValue>(line).is_ok() => {
            out.extend_from_slice(line.as_bytes());
        }
        LogLine::Json(line) | LogLine::Text(line) => json::string(out, line),
    }
}

fn fields(o: &mut Object<'_>, record: &Record) {
    match record {
        Record::InitStart(start) => init_start(o, start),
        Record::InitRuntimeDone { initialization_type, phase, status, error_type } => {
            init(o, initialization_type.as_str(), phase);
            outcome(o, Some(status), error_type.as_ref());
        }
        Record::InitReport(InitReport { initialization_type, phase, status, duration, error_type }) => {
            init(o, initialization_type.as_str(), phase);
            outcome(o, status.as_ref(), error_type.as_ref());
            o.object("metrics", |o| o.millis("durationMs", *duration));
        }
        Record::Start(Start { request_id, version, trace_header, function_arn, tenant_id }) => {
            o.text("requestId", request_id.as_str());
            o.maybe_text("version", version.as_deref());
            o.maybe_text("functionArn", function_arn.as_deref());
            whose(o, trace_header.as_ref(), tenant_id.as_ref());
        }
        Record::RuntimeDone(done) => runtime_done(o, done),
        Record::Report(report) => invocation_report(o, report),
        Record::RestoreRuntimeDone { status, error_type } => outcome(o, Some(status), error_type.as_ref()),
        Record::RestoreStart(start) => restore_start(o, start),
        Record::RestoreReport { status, duration, error_type } => {
            outcome(o, Some(status), error_type.as_ref());
            if let Some(duration) = duration {
                o.object("metrics", |o| o.millis("durationMs", *duration));
            }
        }
        Record::Extension { name, state, events, error_type } => {
            o.text("name", name);
            o.text("state", state);
            o.texts("events", events);
            o.maybe_text("errorType", error_type.as_deref());
        }
        Record::TelemetrySubscription { name, state, types } => {
            o.text("name", name);
            o.text("state", state);
            o.texts("types", types);
        }
        Record::LogsDropped { bytes, records, reason } => {
            o.uint("droppedBytes", *bytes);
            o.uint("droppedRecords", *records);
            o.text("reason", reason);
        }
        Record::Unknown { .. } | Record::FunctionLog(_) | Record::ExtensionLog(_) => {}
    }
}

fn init_start(o: &mut Object<'_>, start: &InitStart) {
    init(o, start.initialization_type.as_str(), &start.phase);
    o.maybe_text("functionName", start.function_name.as_deref());
    o.maybe_text("functionVersion", start.function_version.as_deref());
    o.maybe_text("runtimeVersion", start.runtime_version.as_deref());
    o.maybe_text("runtimeVersionArn", start.runtime_version_arn.as_deref());
    o.maybe_text("instanceId", start.instance_id.as_deref());
    o.maybe_uint("instanceMaxMemory", start.instance_max_memory_mb);
    o.maybe_text("functionArn", start.function_arn.as_deref());
}

fn restore_start(o: &mut Object<'_>, start: &RestoreStart) {
    o.maybe_text("functionName", start.function_name.as_deref());
    o.maybe_text("functionVersion", start.function_version.as_deref());
    o.maybe_text("runtimeVersion", start.runtime_version.as_deref());
    o.maybe_text("runtimeVersionArn", start.runtime_version_arn.as_deref());
    o.maybe_text("instanceId", start.instance_id.as_deref());
    o.maybe_uint("instanceMaxMemory", start.instance_max_memory_mb);
}

/// Whose invocation it is: the caller's trace and tenant.
fn whose(o: &mut Object<'_>, trace_header: Option<&Text>, tenant_id: Option<&Text>) {
    if let Some(header) = trace_header {
        o.object("tracing", |o| {
            o.text("type", "X-Amzn-Trace-Id");
            o.text("value", header);
        });
    }
    o.maybe_text("tenantId", tenant_id.map(|id| &**id));
}

fn runtime_done(o: &mut Object<'_>, done: &RuntimeDone) {
    o.text("requestId", done.request_id.as_str());
    outcome(o, Some(&done.status), done.error_type.as_ref());
    if done.duration.is_some() || done.produced_bytes.is_some() {
        o.object("metrics", |o| {
            o.maybe_millis("durationMs", done.duration);
            o.maybe_uint("producedBytes", done.produced_bytes);
        });
    }
    spans(o, &done.spans);
    whose(o, done.trace_header.as_ref(), done.tenant_id.as_ref());
}

fn invocation_report(o: &mut Object<'_>, report: &InvocationReport) {
    o.text("requestId", report.request_id.as_str());
    outcome(o, report.status.as_ref(), report.error_type.as_ref());
    o.object("metrics", |o| {
        o.millis("durationMs", report.duration);
        o.maybe_uint("billedDurationMs", report.billed_ms);
        o.maybe_uint("memorySizeMB", report.memory_size_mb);
        o.maybe_uint("maxMemoryUsedMB", report.max_memory_used_mb);
        o.maybe_millis("initDurationMs", report.init_duration);
        o.maybe_millis("restoreDurationMs", report.restore_duration);
    });
    spans(o, &report.spans);
    whose(o, report.trace_header.as_ref(), report.tenant_id.as_ref());
}

fn init(o: &mut Object<'_>, initialization_type: &str, phase: &Phase) {
    o.text("initializationType", initialization_type);
    o.text("phase", phase.as_str());
}

fn outcome(o: &mut Object<'_>, status: Option<&Status>, error_type: Option<&Text>) {
    o.maybe_text("status", status.map(Status::as_str));
    o.maybe_text("errorType", error_type.map(|text| &**text));
}

fn spans(o: &mut Object<'_>, spans: &[PlatformSpan]) {
    if spans.is_empty() {
        return;
    }
    o.list("spans", spans, |out, span| {
        Object::write(out, |o| {
            o.text("name", &span.name);
            o.text("start", &span.start.to_rfc3339_millis());
            o.millis("durationMs", span.duration);
        });
    });
}
