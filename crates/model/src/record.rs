//! What Lambda reports through the Telemetry API: the platform's own records and the lines that the
//! function and the extensions print. Field for field after
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>; what is optional there, or
//! was seen to be missing, is `Option` here.

use crate::{Millis, RequestId, Text, UnixNanos};

/// One element of a Telemetry API delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryRecord {
    pub time: UnixNanos,
    pub record: Record,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// `platform.initStart`
    InitStart(InitStart),
    /// `platform.initRuntimeDone`
    InitRuntimeDone {
        initialization_type: InitializationType,
        phase: Phase,
        status: Status,
        error_type: Option<Text>,
    },
    /// `platform.initReport`
    InitReport(InitReport),
    /// `platform.start`
    Start(Start),
    /// `platform.runtimeDone`
    RuntimeDone(RuntimeDone),
    /// `platform.report`
    Report(InvocationReport),
    /// `platform.restoreStart`
    RestoreStart(RestoreStart),
    /// `platform.restoreRuntimeDone`
    RestoreRuntimeDone { status: Status, error_type: Option<Text> },
    /// `platform.restoreReport`
    RestoreReport { status: Status, duration: Option<Millis>, error_type: Option<Text> },
    /// `platform.extension`
    Extension { name: Text, state: Text, events: Vec<Text>, error_type: Option<Text> },
    /// `platform.telemetrySubscription`
    TelemetrySubscription { name: Text, state: Text, types: Vec<Text> },
    /// `platform.logsDropped`
    LogsDropped { bytes: u64, records: u64, reason: Text },
    /// `function`: a line of the function's output.
    FunctionLog(LogLine),
    /// `extension`: a line of an extension's output, ours included.
    ExtensionLog(LogLine),
    /// A type that is not known here, or a known one whose record has another shape.
    Unknown { kind: Text },
}

/// A printed line: as text, or as the JSON object that Lambda made of it with the JSON log format.
#[derive(Clone, Debug, PartialEq)]
pub enum LogLine {
    Text(String),
    /// The JSON text of the record.
    Json(String),
}

impl LogLine {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(line) | Self::Json(line) => line,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct InitStart {
    pub initialization_type: InitializationType,
    pub phase: Phase,
    pub function_name: Option<Text>,
    pub function_version: Option<Text>,
    pub runtime_version: Option<Text>,
    pub runtime_version_arn: Option<Text>,
    /// Names the environment, as the log stream does.
    pub instance_id: Option<Text>,
    pub instance_max_memory_mb: Option<u64>,
    pub function_arn: Option<Text>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct RestoreStart {
    pub function_name: Option<Text>,
    pub function_version: Option<Text>,
    pub runtime_version: Option<Text>,
    pub runtime_version_arn: Option<Text>,
    pub instance_id: Option<Text>,
    pub instance_max_memory_mb: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InitReport {
    pub initialization_type: InitializationType,
    pub phase: Phase,
    pub status: Option<Status>,
    pub duration: Millis,
    pub error_type: Option<Text>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    pub request_id: RequestId,
    pub version: Option<Text>,
    /// The X-Ray header of the invocation.
    pub trace_header: Option<Text>,
    /// Of managed instances.
    pub function_arn: Option<Text>,
    pub tenant_id: Option<Text>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeDone {
    pub request_id: RequestId,
    pub status: Status,
    pub error_type: Option<Text>,
    pub duration: Option<Millis>,
    pub produced_bytes: Option<u64>,
    pub spans: Vec<PlatformSpan>,
    pub trace_header: Option<Text>,
    pub tenant_id: Option<Text>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InvocationReport {
    pub request_id: RequestId,
    pub status: Option<Status>,
    pub error_type: Option<Text>,
    pub duration: Millis,
    /// Whole milliseconds that are paid for. Absent on managed instances, as are the memory figures.
    pub billed_ms: Option<u64>,
    pub memory_size_mb: Option<u64>,
    pub max_memory_used_mb: Option<u64>,
    pub init_duration: Option<Millis>,
    pub restore_duration: Option<Millis>,
    pub spans: Vec<PlatformSpan>,
    pub trace_header: Option<Text>,
    pub tenant_id: Option<Text>,
}

/// A stretch of time that Lambda measured: `responseLatency`, `responseDuration`, `runtimeOverhead`,
/// `extensionOverhead`.
#[derive(Clone, Debug, PartialEq)]
pub struct PlatformSpan {
    pub name: Text,
    pub start: UnixNanos,
    pub duration: Millis,
}

/// How a phase or an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    /// The function failed: a handled error, or a crash of its runtime.
    Error,
    /// Lambda failed.
    Failure,
    Timeout,
    /// A word that is not known here.
    Other(Text),
}

impl Status {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Other(word) => word,
        }
    }

    pub fn parse(word: &str) -> Self {
        match word {
            "success" => Self::Success,
            "error" => Self::Error,
            "failure" => Self::Failure,
            "timeout" => Self::Timeout,
            other => Self::Other(other.to_owned().into()),
        }
    }
}

/// Why a sandbox was made, `AWS_LAMBDA_INITIALIZATION_TYPE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitializationType {
    OnDemand,
    ProvisionedConcurrency,
    SnapStart,
    ManagedInstances,
    /// A word that is not known here; treated as on demand.
    Other(Text),
}

impl InitializationType {
    pub fn as_str(&self) -> &str {
        match self {
            Self::OnDemand => "on-demand",
            Self::ProvisionedConcurrency => "provisioned-concurrency",
            Self::SnapStart => "snap-start",
            Self::ManagedInstances => "lambda-managed-instances",
            Self::Other(word) => word,
        }
    }

    pub fn parse(word: &str) -> Self {
        match word {
            "on-demand" => Self::OnDemand,
            "provisioned-concurrency" => Self::ProvisionedConcurrency,
            "snap-start" => Self::SnapStart,
            "lambda-managed-instances" => Self::ManagedInstances,
            other => Self::Other(other.to_owned().into()),
        }
    }
}

/// Which phase an initialisation ran in: its own, or inside an invocation (suppressed init).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Init,
    Invoke,
    SnapStart,
    /// A word that is not known here.
    Other(Text),
}

impl Phase {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Init => "init",
            Self::Invoke => "invoke",
            Self::SnapStart => "snap-start",
            Self::Other(word) => word,
        }
    }

    pub fn parse(word: &str) -> Self {
        match word {
            "init" => Self::Init,
            "invoke" => Self::Invoke,
            "snap-start" => Self::SnapStart,
            other => Self::Other(other.to_owned().into()),
        }
    }
}
