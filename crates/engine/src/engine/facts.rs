//! What is done with a record of the Telemetry API and with a tracer's spans when they come. What follows from
//! them, and when, is the engine's business.

use model::{Chunk, Record, RequestId, Span, TelemetryRecord, TracerInfo, UnixNanos, keys};

use super::Engine;
use crate::drops::Reason;
use crate::flush::Telemetry;
use crate::invocation::Invocation;

impl Engine {
    pub(super) fn record(&mut self, TelemetryRecord { time, record }: TelemetryRecord) {
        self.telemetry = Telemetry::Heard;
        let now = self.now;
        let evicted = match record {
            Record::InitStart(init) => {
                self.boot.note_init_start(time, &init);
                self.stages.logs.init_start(time, &init);
                None
            }
            Record::InitReport(init) => {
                self.boot.note_init_report(time, &init);
                None
            }
            Record::Start(start) => {
                self.stages.logs.start(time, &start);
                self.invocations.start(time, &start.request_id)
            }
            Record::RuntimeDone(done) => {
                self.stages.logs.end(time, &done);
                let id = done.request_id.clone();
                self.note_record(time, &id, |one| one.note_done(now, time, done))
            }
            Record::Report(report) => {
                let id = report.request_id.clone();
                self.stages.logs.report(time, &report, self.invocations.runtime_duration(&id));
                self.boot.note_report(time, report.init_duration);
                self.note_record(time, &id, |one| one.note_report(time, report))
            }
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
            Record::InitRuntimeDone { .. }
            | Record::RestoreStart
            | Record::RestoreRuntimeDone { .. }
            | Record::RestoreReport { .. }
            | Record::Extension { .. }
            | Record::TelemetrySubscription { .. }
            | Record::Unknown { .. } => None,
        };
        self.close(evicted);
    }

    /// Notes what Lambda says of the end of an invocation.
    fn note_record(
        &mut self,
        time: UnixNanos,
        id: &RequestId,
        fact: impl FnOnce(&mut Invocation),
    ) -> Option<Invocation> {
        if time < self.born {
            self.invocations.foreign_record(id, fact)
        } else {
            self.invocations.record(id, fact)
        }
    }

    pub(super) fn traces(&mut self, tracer: &TracerInfo, chunks: Vec<Chunk>) {
        let now = self.now;
        for span in chunks.iter().flat_map(|chunk| &chunk.spans) {
            let is_root =
                span.name == keys::spans::INVOCATION && span.resource != keys::lambda::PLACEHOLDER_RESOURCE;
            if let Some(id) = request_id_of(span).filter(|_| is_root) {
                self.invocations.root_seen(now, &id);
            }
        }
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
