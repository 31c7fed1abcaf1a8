//! What came in, counted by who sent it, and the line that says what became of it all: for whoever misses data and wants
//! to know where it ends. Counted always, said at the level `debug` alone. Not the metrics that the extension sends of
//! itself: those are the engine's. Called by the driver, which sees all that comes.

use engine::{Engine, Input};
use model::{Record, Signal};

use crate::inbox::Arrival;

/// Who sends something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Tracers,
    Statistics,
    PassedOn,
    DogStatsd,
    Otlp,
    Platform,
    Lines,
    Calls,
    Runtime,
    /// The extension itself, and the Extensions API.
    Own,
}

/// Each with what is counted of it, in the order of the line.
const SOURCES: [(Source, &str); 9] = [
    (Source::Tracers, "spans of tracers"),
    (Source::Statistics, "statistics of tracers"),
    (Source::PassedOn, "requests to pass on"),
    (Source::DogStatsd, "values of DogStatsD"),
    (Source::Otlp, "spans, values and lines of OTLP"),
    (Source::Platform, "platform records"),
    (Source::Lines, "log lines"),
    (Source::Calls, "lifecycle calls"),
    (Source::Runtime, "calls of the runtime"),
];

impl Source {
    pub(crate) fn of(arrival: &Arrival) -> Self {
        match arrival {
            Arrival::Traces(_) => Self::Tracers,
            Arrival::Stats(_) => Self::Statistics,
            Arrival::Forward(_) => Self::PassedOn,
            Arrival::Datagrams(_) => Self::DogStatsd,
            Arrival::Otlp(_) => Self::Otlp,
            Arrival::Telemetry(_) => Self::Platform,
            Arrival::Seen(_) => Self::Runtime,
            Arrival::Fact(Input::StartCall(_) | Input::EndCall(_)) => Self::Calls,
            Arrival::Fact(Input::Telemetry(_)) => Self::Platform,
            Arrival::Fact(_) => Self::Own,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    counts: [(Source, u64); SOURCES.len()],
}

impl Default for Ledger {
    fn default() -> Self {
        Self { counts: SOURCES.map(|(source, _)| (source, 0)) }
    }
}

impl Ledger {
    /// Counts what a source sent.
    pub(crate) fn note(&mut self, source: Source, fact: &Input) {
        let all = items(fact);
        let lines = match fact {
            Input::Telemetry(records) => {
                let is_line =
                    |record: &Record| matches!(record, Record::FunctionLog(_) | Record::ExtensionLog(_));
                records.iter().filter(|record| is_line(&record.record)).count() as u64
            }
            _ => 0,
        };
        self.add(source, all.saturating_sub(lines));
        self.add(Source::Lines, lines);
    }

    fn add(&mut self, source: Source, count: u64) {
        if let Some((_, sum)) = self.counts.iter_mut().find(|(of, _)| *of == source) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Nothing came in.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.iter().all(|(_, count)| *count == 0)
    }

    /// All of it in one line. What is zero is said too: that nothing came is what is looked for.
    pub(crate) fn line(&self, engine: &mut Engine) -> String {
        let came = self.counts.iter().zip(SOURCES).map(|((_, count), (_, what))| format!("{what} {count}"));
        let came: Vec<_> = came.collect();
        let delivered = Signal::ALL.map(|signal| format!("{} {}", signal.as_str(), engine.delivered(signal)));
        let waiting = Signal::ALL.map(|signal| (signal.as_str(), engine.held(signal)));
        let waiting = waiting.iter().filter(|(_, count)| *count > 0);
        let waiting: Vec<_> = waiting.map(|(signal, count)| format!("{signal} {count}")).collect();
        let lost = engine.drops().map(|(what, why, count)| format!("{what} {count} ({why})"));
        let lost: Vec<_> = lost.collect();
        format!(
            "so far came in: {}; delivered: {}; waiting: {}; lost: {}",
            came.join(", "),
            delivered.join(", "),
            or_nothing(&waiting),
            or_nothing(&lost),
        )
    }
}

fn or_nothing(all: &[String]) -> String {
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

/// Spans, values, lines, records: whatever it is made of.
fn items(fact: &Input) -> u64 {
    match fact {
        Input::Traces { chunks, .. } => chunks.iter().map(|chunk| chunk.spans.len() as u64).sum(),
        Input::Metrics(all) => all.iter().map(|metric| metric.values.len() as u64).sum(),
        Input::Sketches(all) => {
            all.iter().flat_map(|one| &one.points).map(|(_, sketch)| sketch.count()).sum()
        }
        Input::Lines(all) => all.len() as u64,
        Input::Telemetry(records) => records.len() as u64,
        Input::Stats(_)
        | Input::Forward(_)
        | Input::StartCall(_)
        | Input::EndCall(_)
        | Input::EventSeen(_)
        | Input::AnswerSeen(_) => 1,
        Input::Invoke { .. }
        | Input::Shutdown { .. }
        | Input::Usage { .. }
        | Input::Flush
        | Input::Sent { .. }
        | Input::Late { .. }
        | Input::Dropped { .. } => 0,
    }
}
