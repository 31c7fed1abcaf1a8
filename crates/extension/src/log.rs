//! Lines about ourselves on stdout, one JSON object each. Not for the function's logs, and never one line
//! per event, record or log line: Lambda hands what we print back to us as telemetry.
//!
//! The field is `status` and not `level`, because Lambda filters lines with a `level` when a function uses
//! its JSON log format. The process has one thread, so the state is a thread local.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// How many lines may come at once, and how long one more takes to be allowed.
const BURST: u32 = 60;
const REFILL: Duration = Duration::from_secs(5);
/// Between two lines of one topic.
const QUIET: Duration = Duration::from_secs(60);
const MAX_TOPICS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }

    /// The words of `DD_LOG_LEVEL`, in any case. `trace` says no more than `debug` here.
    pub fn parse(word: &str) -> Option<Self> {
        const WORDS: [(&str, Level); 8] = [
            ("off", Level::Error),
            ("critical", Level::Error),
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("warning", Level::Warn),
            ("info", Level::Info),
            ("debug", Level::Debug),
            ("trace", Level::Debug),
        ];
        WORDS.iter().find(|(w, _)| word.eq_ignore_ascii_case(w)).map(|(_, level)| *level)
    }
}

thread_local! {
    static LOG: RefCell<Log> = RefCell::new(Log::new(Level::Info, Instant::now()));
}

/// Sets what is printed from now on.
pub fn set_level(level: Level) {
    LOG.with_borrow_mut(|log| log.level = level);
}

/// Whether a line of this level would be printed: for what takes some work to say.
pub fn is_wanted(level: Level) -> bool {
    LOG.with_borrow(|log| level <= log.level)
}

pub fn error(text: fmt::Arguments<'_>) {
    print(Level::Error, None, text);
}

pub fn warn(text: fmt::Arguments<'_>) {
    print(Level::Warn, None, text);
}

pub fn info(text: fmt::Arguments<'_>) {
    print(Level::Info, None, text);
}

pub fn debug(text: fmt::Arguments<'_>) {
    print(Level::Debug, None, text);
}

/// For what may happen again and again: at most one line a minute for each topic.
pub fn seldom(level: Level, topic: &'static str, text: fmt::Arguments<'_>) {
    print(level, Some(topic), text);
}

fn print(level: Level, topic: Option<&'static str>, text: fmt::Arguments<'_>) {
    let line = LOG.with_borrow_mut(|log| log.line(Instant::now(), level, topic, text));
    if let Some(line) = line {
        // A closed stdout is nothing to stop for.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

struct Log {
    level: Level,
    /// Lines that may still be printed.
    left: u32,
    refilled: Instant,
    suppressed: u64,
    topics: Vec<(&'static str, Instant)>,
}

impl Log {
    fn new(level: Level, now: Instant) -> Self {
        Self { level, left: BURST, refilled: now, suppressed: 0, topics: Vec::new() }
    }

    /// The line to print, its newline included; `None` when it is not wanted or too many came before it.
    fn line(
        &mut self,
        now: Instant,
        level: Level,
        topic: Option<&'static str>,
        text: fmt::Arguments<'_>,
    ) -> Option<String> {
        if level > self.level || topic.is_some_and(|topic| self.is_quiet(topic, now)) {
            return None;
        }
        self.refill(now);
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        let missing = std::mem::take(&mut self.suppressed);
        let mut message = format!("DD_EXTENSION | {} | {text}", level.as_str());
        if missing > 0 {
            message.push_str(&format!(" ({missing} lines before this one were left out)"));
        }
        Some(format!(
            "{{\"status\":\"{}\",\"message\":{}}}\n",
            level.as_str(),
            serde_json::Value::from(message)
        ))
    }

    fn is_quiet(&mut self, topic: &'static str, now: Instant) -> bool {
        if let Some((_, last)) = self.topics.iter_mut().find(|(t, _)| *t == topic) {
            let is_quiet = now.saturating_duration_since(*last) < QUIET;
            if !is_quiet {
                *last = now;
            }
            return is_quiet;
        }
        let has_room = self.topics.len() < MAX_TOPICS;
        if has_room {
            self.topics.push((topic, now));
        }
        !has_room
    }

    fn refill(&mut self, now: Instant) {
        let periods = now.saturating_duration_since(self.refilled).as_secs() / REFILL.as_secs().max(1);
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.left = self.left.saturating_add(periods).min(BURST);
            self.refilled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let now = Instant::now();
        let mut log = Log::new(Level::Info, now);
        let line = log.line(now, Level::Warn, None, format_args!("a \"b\"\nc")).unwrap();
        assert_eq!(line, "{\"status\":\"WARN\",\"message\":\"DD_EXTENSION | WARN | a \\\"b\\\"\\nc\"}\n");
        assert_eq!(log.line(now, Level::Debug, None, format_args!("x")), None);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let now = Instant::now();
        let mut log = Log::new(Level::Info, now);
        let printed = (0..1000).filter_map(|n| log.line(now, Level::Info, None, format_args!("{n}"))).count();
        assert_eq!(printed, BURST as usize);
        let later = log.line(now + REFILL, Level::Info, None, format_args!("on")).unwrap();
        assert!(later.contains("(940 lines before this one were left out)"), "{later}");
        assert_eq!(log.line(now + REFILL, Level::Info, None, format_args!("x")), None);
    }

    #[test]
    fn a_topic_speaks_once_a_minute() {
        let now = Instant::now();
        let mut log = Log::new(Level::Info, now);
        let mut at = |secs| {
            log.line(now + Duration::from_secs(secs), Level::Error, Some("403"), format_args!("x")).is_some()
        };
        assert_eq!([at(0), at(1), at(59), at(60), at(61)], [true, false, false, true, false]);
    }

    #[test]
    fn levels() {
        let check = |word, want| assert_eq!(Level::parse(word), want, "{word}");
        check("INFO", Some(Level::Info));
        check("Warning", Some(Level::Warn));
        check("trace", Some(Level::Debug));
        check("loud", None);
    }
}
