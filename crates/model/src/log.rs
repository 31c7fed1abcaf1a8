//! Log entries as the logs intake takes them.

use crate::{RequestId, Text, UnixNanos};

/// One log line of a function with what places it.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The line: text, or the text of a JSON object.
    pub message: String,
    pub level: LogLevel,
    pub time: UnixNanos,
    /// The invocation it belongs to, when known.
    pub request_id: Option<RequestId>,
    /// The function's ARN, lower case.
    pub arn: Text,
    pub service: Text,
    /// Comma-separated `key:value`.
    pub tags: Text,
    /// The durable execution that it is a part of, when known.
    pub durable: Option<Box<DurableExecution>>,
}

/// Many invocations that together run one function to its end.
/// <https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html>
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DurableExecution {
    pub id: Text,
    pub name: Text,
    /// Whether the line is of the execution's first invocation, where that is told.
    pub first_invocation: Option<bool>,
    /// What became of it so far, on the line that tells the end of an invocation: `PENDING`, `SUCCEEDED`, …
    pub status: Option<Text>,
}

impl Log {
    /// About how many bytes this entry takes once encoded, before compression.
    pub fn weight(&self) -> usize {
        // The ARN stands twice: as the host name and in `lambda.arn`.
        let durable = self.durable.as_ref().map_or(0, |durable| durable.weight());
        160 + self.message.len() + 2 * self.arn.len() + self.service.len() + self.tags.len() + durable
    }
}

impl DurableExecution {
    /// About how many bytes it takes once encoded.
    pub fn weight(&self) -> usize {
        190 + self.id.len() + self.name.len() + self.status.as_ref().map_or(0, |status| status.len())
    }
}

/// Datadog's log status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum LogLevel {
    Trace,
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    Critical,
}

impl LogLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Reads the words that loggers use, in any case; `None` for other words.
    pub fn parse(word: &str) -> Option<Self> {
        const WORDS: [(&str, LogLevel); 11] = [
            ("trace", LogLevel::Trace),
            ("debug", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("information", LogLevel::Info),
            ("warn", LogLevel::Warn),
            ("warning", LogLevel::Warn),
            ("error", LogLevel::Error),
            ("err", LogLevel::Error),
            ("critical", LogLevel::Critical),
            ("fatal", LogLevel::Critical),
            ("panic", LogLevel::Critical),
        ];
        WORDS.iter().find(|(w, _)| word.eq_ignore_ascii_case(w)).map(|(_, level)| *level)
    }
}
