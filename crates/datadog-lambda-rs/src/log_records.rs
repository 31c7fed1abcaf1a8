//! Records of the `log` crate, by which many libraries log: the same lines as those of `tracing`.

use std::sync::Arc;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::Map;
use tracing_subscriber::filter::Targets;

use crate::datadog::Datadog;
use crate::log::write as write_line;

/// What one message may take.
const MAX_TEXT: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Records {
    datadog: Arc<Datadog>,
    levels: Targets,
}

impl Records {
    /// A logger that is installed already stays.
    pub(crate) fn install(datadog: &Arc<Datadog>, levels: Targets) {
        let most = most(&levels);
        if log::set_boxed_logger(Box::new(Self { datadog: datadog.clone(), levels })).is_ok() {
            log::set_max_level(most);
        }
    }
}

/// The level up to which any target is logged.
fn most(levels: &Targets) -> LevelFilter {
    let all = levels.iter().map(|(_, level)| level).chain(levels.default_level()).max();
    let most = all.and_then(|level| level.to_string().parse().ok());
    most.unwrap_or(LevelFilter::Off)
}

fn level(level: Level) -> tracing::Level {
    match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
        Level::Trace => tracing::Level::TRACE,
    }
}

impl Log for Records {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.levels.would_enable(metadata.target(), &level(metadata.level()))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut message = record.args().to_string();
            message.truncate(message.floor_char_boundary(MAX_TEXT));
            write_line(&self.datadog, record.level().as_str(), record.target(), &message, &Map::new());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::agent::lock;
    use crate::out::Out;
    use crate::settings::Settings;

    #[test]
    fn records_are_lines() {
        let datadog = Arc::new(Datadog::new(Settings::default(), Out::Memory(Mutex::default())));
        let levels: Targets = "warn,orders=debug".parse().unwrap();
        assert_eq!(most(&levels), LevelFilter::Debug);
        let records = Records { datadog: datadog.clone(), levels };
        let log = |level, target, text: &str| {
            records.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
        };
        log(Level::Warn, "hyper", "slow");
        log(Level::Info, "hyper", "fast");
        log(Level::Debug, "orders::db", "asked");
        let Out::Memory(lines) = &datadog.out else { unreachable!() };
        let lines: Vec<serde_json::Value> =
            lock(lines).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let shown: Vec<_> =
            lines.iter().map(|l| format!("{} {} {}", l["level"], l["target"], l["message"])).collect();
        assert_eq!(shown, [r#""WARN" "hyper" "slow""#, r#""DEBUG" "orders::db" "asked""#]);
        assert_eq!(lines[0]["dd.service"], "aws.lambda");
    }
}
