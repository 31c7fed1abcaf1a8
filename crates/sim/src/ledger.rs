//! What must always hold, and the books that show it: what went into the extension, what came out at the
//! intake, and what is excused because its process was killed.

use std::collections::{BTreeMap, BTreeSet};

use engine::Input;
use model::{Batch, Log, Record, Signal, Span, keys};

use crate::script::{VALUES, trace_id};

/// The books of one extension process.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    spans_in: BTreeSet<u64>,
    lines_in: BTreeSet<String>,
    values_in: u64,
    invoked: u64,
    /// Managed instances: what announces an invocation.
    started: BTreeSet<String>,
    reports_in: BTreeSet<String>,
    spans_out: BTreeMap<u64, u64>,
    lines_out: BTreeMap<String, u64>,
    roots_out: BTreeMap<u64, u64>,
    counts_out: BTreeMap<String, u64>,
    /// Spans and lines that further intakes got.
    copies: BTreeSet<String>,
    pub(crate) broken: Vec<String>,
}

impl Ledger {
    /// A fact that the engine is told.
    pub(crate) fn put_in(&mut self, input: &Input) {
        match input {
            Input::Invoke { .. } => self.invoked += 1,
            Input::Traces { chunks, .. } => {
                self.spans_in.extend(chunks.iter().flat_map(|c| &c.spans).map(|s| s.span_id.get()));
            }
            Input::Metrics(metrics) => {
                self.values_in += metrics.iter().filter(|m| m.name == VALUES).count() as u64;
            }
            Input::Telemetry(records) => {
                for record in records {
                    match &record.record {
                        Record::FunctionLog(line) => drop(self.lines_in.insert(line.as_str().to_owned())),
                        Record::Start(start) => {
                            self.started.insert(start.request_id.as_str().to_owned());
                        }
                        Record::Report(report) => {
                            self.reports_in.insert(report.request_id.as_str().to_owned());
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// A batch that the intake took.
    pub(crate) fn take_out(&mut self, batch: &Batch) {
        match batch {
            Batch::Traces(payloads) => {
                for span in payloads.iter().flat_map(|p| &p.chunks).flat_map(|c| &c.spans) {
                    self.span_out(span);
                }
            }
            Batch::Logs(logs) => logs.iter().for_each(|log| self.line_out(log)),
            Batch::Sketches(sketches) => {
                for sketch in sketches {
                    let count: u64 = sketch.points.iter().map(|(_, sketch)| sketch.count()).sum();
                    *self.counts_out.entry(sketch.name.to_string()).or_default() += count;
                }
            }
            Batch::Series(_) | Batch::Stats(_) | Batch::Forwards(_) => {}
        }
    }

    /// A batch that further intakes get.
    pub(crate) fn copy(&mut self, batch: &Batch) {
        let items: Vec<String> = match batch {
            Batch::Traces(payloads) => {
                let chunks = payloads.iter().flat_map(|p| &p.chunks);
                chunks.flat_map(|c| &c.spans).map(|span| span_name(span.span_id.get())).collect()
            }
            Batch::Logs(logs) => logs.iter().map(|log| log.message.clone()).collect(),
            Batch::Series(_) | Batch::Sketches(_) | Batch::Stats(_) | Batch::Forwards(_) => Vec::new(),
        };
        // Lines that the platform makes are not numbered: those of one attempt are the same as those of another.
        for item in items.into_iter().filter(|item| item.starts_with("span ") || item.contains(" prints ")) {
            if self.copies.contains(&item) {
                self.broken.push(format!("{item:?} was copied twice"));
            }
            self.copies.insert(item);
        }
    }

    fn span_out(&mut self, span: &Span) {
        let id = span.span_id.get();
        let times = self.spans_out.entry(id).or_default();
        *times += 1;
        if *times == 2 {
            self.broken.push(format!("span {id} ({}) was delivered twice", span.name));
        }
        let request =
            span.meta.get(keys::lambda::REQUEST_ID).and_then(|id| id.trim_start_matches('r').parse().ok());
        let Some(request) = request.filter(|_| span.name == keys::spans::INVOCATION) else { return };
        let roots = self.roots_out.entry(request).or_default();
        *roots += 1;
        if *roots == 2 {
            self.broken.push(format!("r{request} has two spans {}", keys::spans::INVOCATION));
        }
        let told = self.spans_in.contains(&id) || span.parent_id.is_some_and(|parent| parent.get() == 7);
        if told && Some(span.trace_id) != trace_id(request) {
            self.broken.push(format!("the span of r{request} is in another's trace"));
        }
    }

    fn line_out(&mut self, log: &Log) {
        let Some((request, _)) = log.message.split_once(" prints ") else { return };
        let times = self.lines_out.entry(log.message.clone()).or_default();
        *times += 1;
        if *times == 2 {
            self.broken.push(format!("the line {:?} was delivered twice", log.message));
        }
        if let Some(id) = log.request_id.as_ref().filter(|id| id.as_str() != request) {
            self.broken.push(format!("the line {:?} is said to be of {}", log.message, id.as_str()));
        }
    }

    /// The process left by itself: all that went in came out, or is counted as lost.
    pub(crate) fn balance(&mut self, mut lost: impl FnMut(Signal) -> u64) {
        let spans = self.spans_in.iter().filter(|id| !self.spans_out.contains_key(id)).count() as u64;
        let lines = self.lines_in.iter().filter(|line| !self.lines_out.contains_key(*line)).count() as u64;
        let values = self.values_in.saturating_sub(self.counts_out.get(VALUES).copied().unwrap_or(0));
        for (signal, missing) in [(Signal::Traces, spans), (Signal::Logs, lines), (Signal::Sketches, values)]
        {
            let counted = lost(signal);
            if counted < missing {
                self.broken.push(format!("{}: {missing} are missing, {counted} counted", signal.as_str()));
            }
        }
    }

    /// The process left by itself, and the intake always worked: nothing may be missing.
    pub(crate) fn close(&mut self, silent: bool, managed: bool, copied: bool) {
        if copied {
            let spans = self.spans_out.keys().map(|id| span_name(*id));
            let all = spans.chain(self.lines_out.keys().cloned());
            let missing: Vec<_> = all.filter(|item| !self.copies.contains(item)).collect();
            if !missing.is_empty() {
                self.broken.push(format!("further intakes did not get: {missing:?}"));
            }
        }
        let missing: Vec<_> = self.spans_in.iter().filter(|id| !self.spans_out.contains_key(id)).collect();
        if !missing.is_empty() {
            self.broken.push(format!("spans that never arrived: {missing:?}"));
        }
        let missing: Vec<_> =
            self.lines_in.iter().filter(|line| !self.lines_out.contains_key(*line)).collect();
        if !missing.is_empty() {
            self.broken.push(format!("lines that never arrived: {missing:?}"));
        }
        let count = |name: &str| self.counts_out.get(name).copied().unwrap_or(0);
        let reports = self.reports_in.len() as u64;
        let invoked = if managed { self.started.len() as u64 } else { self.invoked };
        let mut wrong = Vec::new();
        for (name, want) in [
            (VALUES, self.values_in),
            ("aws.lambda.enhanced.invocations", invoked),
            ("aws.lambda.enhanced.duration", reports),
        ] {
            let is = count(name);
            if is != want && !(silent && name != VALUES) {
                wrong.push(format!("{name}: {is} arrived of {want}"));
            }
        }
        self.broken.append(&mut wrong);
    }
}

fn span_name(id: u64) -> String {
    format!("span {id}")
}
