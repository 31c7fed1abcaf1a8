//! The log of a function: which lines get into it, and the end of an invocation's part, as `X-Amz-Log-Result` carries
//! it: what its processes printed between Lambda's own START, END and REPORT lines. Pure.
//! <https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>

use std::fmt::Write as _;

use model::{InvocationReport, LogLine, Record, Status, TelemetryRecord};
use serde_json::Value;

/// As much as Lambda gives. <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
const MAX_BYTES: usize = 4 * 1024;

/// `AWS_LAMBDA_LOG_LEVEL`, of the JSON log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    /// What is no level is taken for INFO, in a setting as in a line.
    pub(crate) fn parse(word: &str) -> Self {
        let levels = [
            ("trace", Self::Trace),
            ("debug", Self::Debug),
            ("warn", Self::Warn),
            ("error", Self::Error),
            ("fatal", Self::Fatal),
        ];
        let found = levels.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map_or(Self::Info, |(_, level)| level)
    }
}

/// A line of the function as it gets into the log; `None` when it is below the level of the JSON log format. Without
/// that format every line does, as text.
pub(crate) fn line(text: String, json: Option<Level>) -> Option<LogLine> {
    let Some(least) = json else { return Some(LogLine::Text(text)) };
    let parsed = serde_json::from_str::<Value>(&text).ok().filter(Value::is_object);
    let level =
        parsed.as_ref().and_then(|line| line.get("level")?.as_str()).map_or(Level::Info, Level::parse);
    if level < least {
        return None;
    }
    Some(if parsed.is_some() { LogLine::Json(text) } else { LogLine::Text(text) })
}

#[derive(Debug, Default)]
pub(crate) struct Tail(String);

impl Tail {
    pub(crate) fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
        let mut excess = self.0.len().saturating_sub(MAX_BYTES);
        while !self.0.is_char_boundary(excess) {
            excess += 1;
        }
        self.0.drain(..excess);
    }

    /// Begins anew with each invocation.
    pub(crate) fn record(&mut self, record: &TelemetryRecord) {
        match &record.record {
            Record::Start(start) => {
                self.0.clear();
                let version = start.version.as_deref().unwrap_or("$LATEST");
                self.line(&format!("START RequestId: {} Version: {version}", start.request_id));
            }
            Record::RuntimeDone(done) => self.line(&format!("END RequestId: {}", done.request_id)),
            Record::Report(report) => self.line(&report_line(report)),
            _ => {}
        }
    }

    pub(crate) fn text(&self) -> String {
        self.0.clone()
    }
}

fn report_line(report: &InvocationReport) -> String {
    let mut line =
        format!("REPORT RequestId: {}\tDuration: {:.2} ms\t", report.request_id, report.duration.get());
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string never fails.
            let _ = write!(line, "{name}: {value}\t");
        }
    };
    field("Billed Duration", report.billed_ms.map(|ms| format!("{ms} ms")));
    field("Memory Size", report.memory_size_mb.map(|mb| format!("{mb} MB")));
    field("Max Memory Used", report.max_memory_used_mb.map(|mb| format!("{mb} MB")));
    field("Init Duration", report.init_duration.map(|ms| format!("{:.2} ms", ms.get())));
    let failed = report.status.as_ref().filter(|status| **status != Status::Success);
    field("Restore Duration", report.restore_duration.map(|ms| format!("{:.2} ms", ms.get())));
    field("Billed Restore Duration", report.restore_duration.map(|ms| format!("{:.0} ms", ms.get().ceil())));
    field("Status", failed.map(|status| status.as_str().to_owned()));
    field("Error Type", report.error_type.as_ref().map(ToString::to_string));
    field("XRAY TraceId", report.trace_header.as_deref().and_then(sampled).map(ToOwned::to_owned));
    line
}

/// The trace id of an X-Ray header, if the trace is kept.
fn sampled(header: &str) -> Option<&str> {
    let part = |name: &str| header.split(';').find_map(|part| part.trim().strip_prefix(name));
    part("Root=").filter(|_| part("Sampled=") == Some("1"))
}

#[cfg(test)]
mod tests {
    use super::{Level, MAX_BYTES, Tail};
    use model::{
        InvocationReport, LogLine, Millis, Record, RequestId, Start, Status, TelemetryRecord, UnixNanos,
    };

    fn tell(tail: &mut Tail, record: Record) {
        tail.record(&TelemetryRecord { time: UnixNanos::default(), record });
    }

    fn start(tail: &mut Tail, id: &str) {
        let request_id = RequestId::new(id).unwrap();
        tell(
            tail,
            Record::Start(Start {
                request_id,
                version: None,
                trace_header: None,
                function_arn: None,
                tenant_id: None,
            }),
        );
    }

    #[test]
    fn it_is_what_came_between_start_and_report() {
        let mut tail = Tail::default();
        tail.line("before");
        start(&mut tail, "a");
        tail.line("hello");
        let report = InvocationReport {
            request_id: RequestId::new("a").unwrap(),
            status: Some(Status::Timeout),
            error_type: None,
            duration: Millis::new(1.234).unwrap(),
            billed_ms: Some(2),
            memory_size_mb: Some(128),
            max_memory_used_mb: Some(40),
            init_duration: Millis::new(5.0),
            restore_duration: Millis::new(7.2),
            spans: Vec::new(),
            trace_header: Some("Root=1-2-3;Parent=4;Sampled=1".into()),
            tenant_id: None,
        };
        tell(&mut tail, Record::Report(report));
        let expect = "START RequestId: a Version: $LATEST\nhello\nREPORT RequestId: a\tDuration: 1.23 ms\t\
                      Billed Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: 5.00 ms\t\
                      Restore Duration: 7.20 ms\tBilled Restore Duration: 8 ms\tStatus: timeout\t\
                      XRAY TraceId: 1-2-3\t\n";
        assert_eq!(tail.text(), expect);
        assert_eq!(super::sampled("Root=1-2-3;Sampled=0"), None);
    }

    #[test]
    fn lines_below_the_level_are_left_out_of_the_json_format() {
        let check = |text: &str, level: Option<Level>, expect: Option<LogLine>| {
            assert_eq!(super::line(text.to_owned(), level), expect, "{text} {level:?}");
        };
        let (json, text) = (|t: &str| Some(LogLine::Json(t.into())), |t: &str| Some(LogLine::Text(t.into())));
        let debug = r#"{"level":"DEBUG","message":"x"}"#;
        check(debug, None, text(debug));
        check(debug, Some(Level::parse("info")), None);
        check(debug, Some(Level::parse("Trace")), json(debug));
        check(r#"{"level":"error"}"#, Some(Level::Warn), json(r#"{"level":"error"}"#));
        check(r#"{"level":"error"}"#, Some(Level::Fatal), None);
        // Without a level, or with one that there is not, a line is INFO.
        for line in [r#"{"level":7}"#, r#"{"level":"loud"}"#, "{}"] {
            check(line, Some(Level::default()), json(line));
            check(line, Some(Level::Warn), None);
        }
        for line in ["plain", "{broken", "[1]", ""] {
            check(line, Some(Level::parse("no such level")), text(line));
        }
    }

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::default();
        start(&mut tail, "a");
        for _ in 0..3 {
            tail.line(&"é".repeat(1000));
        }
        let text = tail.text();
        assert!(text.len() <= MAX_BYTES && text.len() > MAX_BYTES - 4, "{}", text.len());
        assert!(text.starts_with('é') && text.ends_with("é\n"));
    }
}
