//! What is done with a record of the Telemetry API and with a tracer's spans when they come. What follows from
//! them, and when, is the engine's business.

use model::{Chunk, InvocationReport, Record, RequestId, Span, TelemetryRecord, TracerInfo, UnixNanos, keys};

use super::Engine;
use crate::drops::Reason;
use crate::flush::Telemetry;
use crate::invocation::{Invocation, is_failure};

impl Engine {
    pub(super) fn record(&mut self, TelemetryRecord { time, record }: TelemetryRecord) {
        self.telemetry = Telemetry::Heard;
        let now = self.now;
        let evicted = match record {
            Record::InitStart(init) => {
                self.boot.note_init_start(time, &init);
                self.stages.init_start(time, &init);
                None
            }
            Record::InitReport(init) => {
                self.boot.note_init_report(time, &init);
                None
            }
            Record::Start(start) => {
                self.stages.logs.start(time, &start);
                self.invocations.start(now, time, &start.request_id)
            }
            Record::RuntimeDone(done) => {
                let id = done.request_id.clone();
                self.note_execution(&id);
                self.stages.logs.end(time, &done);
                self.note_record(time, &id, |one| one.note_done(now, time, done))
            }
            Record::Report(report) => self.report(time, report),
            Record::FunctionLog(line) | Record::ExtensionLog(line) => {
                let fatal = self.stages.line(time, line);
                fatal.and_then(|id| {
                    self.invocations.record(&id, |one| {
                        one.out_of_memory.get_or_insert(time);
                    })
                })
            }
            Record::LogsDropped { records, .. } => {
                self.stages.drops.add("logs", Reason::Platform, records);
                None
            }
            Record::RestoreStart(_) => {
                self.boot.note_restore_start(time);
                None
            }
            Record::RestoreReport { duration, .. } => {
                self.boot.note_restore_report(time, duration);
                None
            }
            Record::InitRuntimeDone { .. }
            | Record::RestoreRuntimeDone { .. }
            | Record::Extension { .. }
            | Record::TelemetrySubscription { .. }
            | Record::Unknown { .. } => None,
        };
        self.close(evicted);
    }

    fn report(&mut self, time: UnixNanos, report: InvocationReport) -> Option<Invocation> {
        let now = self.now;
        let id = report.request_id.clone();
        self.note_execution(&id);
        let done = self.mode.done_by(&report);
        let runtime = done.as_ref().and_then(|done| done.duration);
        self.stages.logs.report(time, &report, runtime.or(self.invocations.runtime_duration(&id)));
        if time >= self.born {
            self.boot.note_report(time, &report);
        }
        let failed = done.as_ref().is_some_and(|done| is_failure(&done.status));
        let told = failed && self.invocations.take_told_error();
        let evicted = self.note_record(time, &id, |one| {
            if let Some(done) = done {
                one.given.errors |= told;
                // There is nothing between the two that could be told apart.
                one.given.post_runtime = true;
                one.note_done(now, time, done);
            }
            one.note_report(time, report);
        });
        self.invocations.forget_told_errors();
        evicted
    }

    /// The line of an invocation's end says what became of the execution that it is a part of.
    fn note_execution(&mut self, id: &RequestId) {
        if let Some(status) = self.invocations.execution_status(id) {
            self.stages.logs.note_execution(id, status);
        }
    }

    /// Notes what Lambda says of the end of an invocation.
    fn note_record(
        &mut self,
        time: UnixNanos,
        id: &RequestId,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        // Our clock need not be Lambda's: its own start of the invocation is the better measure.
        if time < self.invocations.first_start(id).unwrap_or(self.born) {
            self.invocations.foreign_record(id, fact)
        } else {
            self.invocations.record(id, fact)
        }
    }

    /// Whether to hand over so much more data now: `false` while so much is on its way that the oldest of what is here
    /// would have to go.
    pub fn has_room(&self, bytes: usize) -> bool {
        !self.stages.batches.is_full_for_now(bytes)
    }

    pub(super) fn traces(&mut self, tracer: &TracerInfo, mut chunks: Vec<Chunk>) {
        let now = self.now;
        for span in chunks.iter().flat_map(|chunk| &chunk.spans) {
            let is_root =
                span.name == keys::spans::INVOCATION && span.resource != keys::lambda::PLACEHOLDER_RESOURCE;
            if let Some(id) = request_id_of(span).filter(|_| is_root) {
                self.invocations.root_seen(now, &id);
                self.stages.logs.note_span(&id, &span.meta);
            }
        }
        self.invocations.adopt(&mut chunks);
        let (loads, placeholders) = self.stages.chunks(now, tracer, chunks);
        for load in loads {
            if let Some(load) = self.boot.take_load(tracer, load) {
                self.stages.send_chunks(now, tracer, vec![load]);
            }
        }
        for placeholder in placeholders {
            self.placeholder(placeholder);
        }
    }

    fn placeholder(&mut self, span: Span) {
        let Some(id) = request_id_of(&span).or_else(|| self.invocations.live_id().cloned()) else {
            return self.stages.drop_late_span();
        };
        let mut late = false;
        let evicted = self.invocations.placeholder(&id, |one| {
            late = one.given.root || one.placeholder.is_some();
            if !late {
                one.placeholder = Some(Box::new(span));
            }
        });
        if late {
            self.stages.drop_late_span();
        }
        self.close(evicted);
    }
}

fn request_id_of(span: &Span) -> Option<RequestId> {
    span.meta.get(keys::lambda::REQUEST_ID).and_then(|id| RequestId::new(id))
}
