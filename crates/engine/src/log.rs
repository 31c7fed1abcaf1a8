//! The log stage: turns printed lines and platform records into log entries, and finds whose they are.
//!
//! A line that names its request (Lambda's JSON log format) belongs to that; any other to the invocation
//! that started last; lines of the initialisation wait for the first START. Knows telemetry only, which
//! comes in order.

use std::collections::VecDeque;

use model::{
    DurableExecution, InitStart, InvocationReport, Log, LogLevel, LogLine, Millis, RequestId, RuntimeDone,
    Start, Status, Tags, Text, UnixNanos,
};
use serde_json::{Map, Value};

use crate::durable::{self, Durable};
use crate::io::Settings;
use crate::labels::Labels;
use crate::log_rules::{Fate, LogRules, Rules};
use crate::mode::{Mode, Owner};
use crate::runtime;

/// Lines of the initialisation that wait for the first START, in number and in bytes of their messages.
const MAX_ORPHANS: usize = 1000;
const MAX_ORPHAN_BYTES: usize = 1 << 20;

#[derive(Clone, Debug)]
pub(crate) struct LogStage {
    enabled: bool,
    /// Whether lines are made of what the platform tells.
    platform_lines: bool,
    set: LogRules,
    /// Compiled with the first line.
    rules: Option<Rules>,
    /// Lines that may not be sent, not counted yet.
    withheld: u64,
    mode: Mode,
    started_last: Option<RequestId>,
    orphans: VecDeque<Entry>,
    orphan_bytes: usize,
    durable: Durable,
    ready: Vec<Entry>,
}

/// A log entry before the function's names and tags are on it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) message: String,
    level: LogLevel,
    time: UnixNanos,
    pub(crate) request_id: Option<RequestId>,
    /// The function's own `ddtags`.
    tags: Option<String>,
    /// As OpenTelemetry's resource names it, which many loggers do, too.
    service: Option<Text>,
    pub(crate) kind: Kind,
    pub(crate) durable: Option<Box<DurableExecution>>,
}

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    Printed,
    /// Of what the platform tells of an invocation.
    Told,
    /// The one of these that tells its end.
    End,
}

impl LogStage {
    pub(crate) fn new(settings: &Settings, mode: Mode) -> Self {
        Self {
            enabled: settings.logs,
            platform_lines: settings.platform_logs,
            set: settings.log_rules.clone(),
            rules: None,
            withheld: 0,
            mode,
            started_last: None,
            orphans: VecDeque::new(),
            orphan_bytes: 0,
            durable: Durable::new(settings.durable_hold),
            ready: Vec::new(),
        }
    }

    /// Takes a printed line; gives whose it is, if that is known.
    pub(crate) fn line(&mut self, time: UnixNanos, line: LogLine) -> Option<RequestId> {
        let entry = Entry::read(time, line)?;
        let owner = match &entry.request_id {
            Some(id) => Owner::Invocation(id.clone()),
            None => self.mode.owner_of_line(self.started_last.as_ref()),
        };
        match owner {
            Owner::Invocation(id) => {
                self.push(Entry { request_id: Some(id.clone()), ..entry });
                Some(id)
            }
            Owner::Next => {
                self.adopt_later(entry);
                None
            }
            Owner::Unknown => {
                self.push(entry);
                None
            }
        }
    }

    /// `INIT_START`
    pub(crate) fn init_start(&mut self, time: UnixNanos, init: &InitStart) {
        self.ready.extend(self.durable.note_kind(runtime::is_durable(init)));
        let known = |text: &Option<Text>| text.clone().unwrap_or(Text::Borrowed("?"));
        let (version, arn) = (known(&init.runtime_version), known(&init.runtime_version_arn));
        let message = format!("INIT_START Runtime Version: {version} Runtime Version ARN: {arn}");
        if self.platform_lines {
            let entry = Entry::new(message, time);
            match self.mode.owner_of_line(None) {
                Owner::Next | Owner::Invocation(_) => self.adopt_later(entry),
                Owner::Unknown => self.push(entry),
            }
        }
    }

    /// `START`: from here on lines belong to this invocation, and so do those that waited.
    pub(crate) fn start(&mut self, time: UnixNanos, start: &Start) {
        self.started_last = Some(start.request_id.clone());
        self.release(Some(&start.request_id));
        let version = start.version.as_deref().unwrap_or("$LATEST");
        let message = format!("START RequestId: {} Version: {version}", start.request_id);
        self.platform(time, LogLevel::Info, &start.request_id, message, Kind::Told);
    }

    /// `END`
    pub(crate) fn end(&mut self, time: UnixNanos, done: &RuntimeDone) {
        let id = &done.request_id;
        let (level, tail) = match (&done.status, &done.error_type, done.duration) {
            (Status::Timeout, _, Some(d)) => {
                (LogLevel::Error, format!(" Task timed out after {:.2} seconds", d.as_secs()))
            }
            (Status::Timeout, _, None) => (LogLevel::Error, " Task timed out".to_owned()),
            (Status::Error, Some(kind), _) => (LogLevel::Error, format!(" Task failed: {kind:?}")),
            (Status::Error, None, _) => (LogLevel::Error, " Task failed".to_owned()),
            (Status::Success | Status::Failure | Status::Other(_), _, _) => (LogLevel::Info, String::new()),
        };
        self.platform(time, level, id, format!("END RequestId: {id}{tail}"), Kind::End);
    }

    /// `REPORT`. `runtime`: the duration that `platform.runtimeDone` told.
    pub(crate) fn report(&mut self, time: UnixNanos, report: &InvocationReport, runtime: Option<Millis>) {
        use std::fmt::Write;
        if let (None, None, Some(runtime)) = (report.billed_ms, report.memory_size_mb, runtime) {
            return self.short_report(time, report, runtime);
        }
        let duration = report.duration.get();
        let mut message = format!("REPORT RequestId: {} Duration: {duration:.2} ms", report.request_id);
        // Writing to a String cannot fail.
        if let Some(runtime) = runtime.map(Millis::get) {
            let post = (duration - runtime).max(0.0);
            let _ = write!(message, " Runtime Duration: {runtime:.2} ms Post Runtime Duration: {post:.2} ms");
        }
        let whole = [
            (" Billed Duration: ", report.billed_ms, " ms"),
            (" Memory Size: ", report.memory_size_mb, " MB"),
            (" Max Memory Used: ", report.max_memory_used_mb, " MB"),
        ];
        for (name, value, unit) in whole {
            if let Some(value) = value {
                let _ = write!(message, "{name}{value}{unit}");
            }
        }
        if let Some(init) = report.init_duration {
            let _ = write!(message, " Init Duration: {:.2} ms", init.get());
        }
        self.platform(time, LogLevel::Info, &report.request_id, message, Kind::Told);
    }

    /// `REPORT` of managed instances, where nothing is billed by the invocation and no `END` is told.
    fn short_report(&mut self, time: UnixNanos, report: &InvocationReport, runtime: Millis) {
        let id = &report.request_id;
        let tail = match (&report.status, &report.error_type) {
            (Some(Status::Timeout), _) => {
                format!(" Task timed out after {:.2} seconds", report.duration.as_secs())
            }
            (Some(Status::Error | Status::Failure), Some(kind)) => format!(" Task failed: {kind}"),
            (Some(Status::Error | Status::Failure), None) => " Task failed with an unknown error".to_owned(),
            (Some(Status::Success | Status::Other(_)) | None, _) => String::new(),
        };
        let level = if tail.is_empty() { LogLevel::Info } else { LogLevel::Error };
        let message = format!("REPORT RequestId: {id} Runtime Duration: {:.2} ms{tail}", runtime.get());
        self.platform(time, level, id, message, Kind::End);
    }

    /// The tags of an invocation's span, which may say whose part it is.
    pub(crate) fn note_span(&mut self, id: &RequestId, tags: &Tags<Text>) {
        self.ready.extend(self.durable.note_tags(id, tags));
    }

    /// What became of the execution that an invocation is a part of.
    pub(crate) fn note_execution(&mut self, id: &RequestId, status: &'static str) {
        self.durable.note_status(id, status);
    }

    /// Gives up waiting: the lines that no START came for go without a request id.
    pub(crate) fn release_all(&mut self) {
        self.release(None);
        self.ready.extend(self.durable.release());
    }

    /// Gives the entries that are ready.
    pub(crate) fn take(&mut self, labels: &Labels) -> Vec<Log> {
        let entries = std::mem::take(&mut self.ready);
        entries.into_iter().map(|entry| entry.into_log(labels)).collect()
    }

    fn platform(&mut self, time: UnixNanos, level: LogLevel, id: &RequestId, message: String, kind: Kind) {
        if self.platform_lines {
            self.push(Entry { level, request_id: Some(id.clone()), kind, ..Entry::new(message, time) });
        }
    }

    fn push(&mut self, mut entry: Entry) {
        if !self.enabled {
            return;
        }
        let rules = self.rules.get_or_insert_with(|| Rules::compile(&self.set));
        match rules.apply(&mut entry.message) {
            Fate::Sent => self.ready.extend(self.durable.place(entry)),
            Fate::LeftOut => {}
            Fate::Withheld => self.withheld += 1,
        }
    }

    /// How many lines were withheld since the last time.
    pub(crate) fn take_withheld(&mut self) -> u64 {
        std::mem::take(&mut self.withheld)
    }

    /// Holds a line for the next START; the oldest go without a request id when there are too many.
    fn adopt_later(&mut self, entry: Entry) {
        if !self.enabled {
            return;
        }
        if let Some(last) = self.started_last.clone() {
            return self.push(Entry { request_id: Some(last), ..entry });
        }
        self.orphan_bytes += entry.message.len();
        self.orphans.push_back(entry);
        while self.orphans.len() > MAX_ORPHANS || self.orphan_bytes > MAX_ORPHAN_BYTES {
            let Some(oldest) = self.orphans.pop_front() else { break };
            self.orphan_bytes = self.orphan_bytes.saturating_sub(oldest.message.len());
            self.push(oldest);
        }
    }

    fn release(&mut self, id: Option<&RequestId>) {
        self.orphan_bytes = 0;
        for entry in std::mem::take(&mut self.orphans) {
            self.push(Entry { request_id: id.cloned(), ..entry });
        }
    }

    /// Entries that wait for a START, for whose part they are, or to be taken.
    pub(crate) fn held(&self) -> u64 {
        (self.orphans.len() + self.durable.held() + self.ready.len()) as u64
    }
}

impl Entry {
    fn new(message: String, time: UnixNanos) -> Self {
        let (level, kind) = (LogLevel::Info, Kind::Printed);
        Self { message, level, time, request_id: None, tags: None, service: None, kind, durable: None }
    }

    /// `None` for a line with nothing on it.
    fn read(time: UnixNanos, line: LogLine) -> Option<Self> {
        let (LogLine::Text(mut message) | LogLine::Json(mut message)) = line;
        message.truncate(message.trim_end().len());
        if message.is_empty() {
            return None;
        }
        let looks_json = message.trim_start().starts_with('{');
        let object = looks_json.then(|| serde_json::from_str::<Map<String, Value>>(&message).ok()).flatten();
        let Some(mut object) = object else { return Some(Self::new(message, time)) };

        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let level = text("level").or_else(|| text("status")).and_then(LogLevel::parse).unwrap_or_default();
        let request_id = text("requestId").or_else(|| text("AWSRequestId")).and_then(RequestId::new);
        let durable = text("executionArn").and_then(durable::of_arn);
        let service =
            text("service.name").filter(|name| !name.is_empty()).map(|name| Text::from(name.to_owned()));
        let (message, tags) = match take_tags(&mut object) {
            Some((rest, tags)) => (rest, Some(tags)),
            None => (message, None),
        };
        Some(Self { level, request_id, tags, service, durable, ..Self::new(message, time) })
    }

    fn into_log(self, labels: &Labels) -> Log {
        let tags = match self.tags {
            Some(own) if labels.log.is_empty() => own,
            Some(own) => format!("{},{own}", labels.log),
            None => labels.log.clone(),
        };
        Log {
            message: self.message,
            level: self.level,
            time: self.time,
            request_id: self.request_id,
            arn: labels.function_arn.clone(),
            service: self.service.unwrap_or_else(|| labels.service.clone()),
            tags: tags.into(),
            durable: self.durable,
        }
    }
}

/// Takes the text `ddtags` out of a JSON line, or of the object under `message`, which then is the whole
/// message. Gives what the message becomes, and the tags.
fn take_tags(object: &mut Map<String, Value>) -> Option<(String, String)> {
    let is_tags = |value: Option<&Value>| value.is_some_and(Value::is_string);
    let inner = if is_tags(object.get("ddtags")) {
        object
    } else {
        object.get_mut("message")?.as_object_mut().filter(|inner| is_tags(inner.get("ddtags")))?
    };
    let Some(Value::String(tags)) = inner.remove("ddtags") else { return None };
    Some((serde_json::to_string(inner).ok()?, tags))
}

/// What runtimes print when they run out of memory.
pub(crate) fn tells_out_of_memory(line: &str) -> bool {
    const SIGNS: [&str; 7] = [
        "fatal error: runtime: out of memory",
        "java.lang.OutOfMemoryError",
        "JavaScript heap out of memory",
        "Runtime exited with error: signal: killed",
        "[ERROR] MemoryError",
        "failed to allocate memory (NoMemoryError)",
        "OutOfMemoryException",
    ];
    SIGNS.iter().any(|sign| line.contains(sign))
}
