//! Data Streams Monitoring: what the event was taken from is counted, what the handler sends goes on from there, and the
//! counts go to the extension at the end of the invocation. Not here: pathways and counting (`streams`), what records
//! carry (`trigger`), and sends (`datadog-aws-sdk`). <https://docs.datadoghq.com/data_streams/>

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use model::{PipelineStats, Span, UnixNanos};
use opentelemetry::Context;
use serde_json::Value;
use streams::{Checkpoint, Edge, Pathway, Scope, Streams};
use trigger::Consumed;

use crate::agent::{Lost, Until};
use crate::datadog::Datadog;
use crate::ids;
use crate::settings::Settings;

/// Where counts cannot be sent, nothing is counted.
pub(crate) fn of(settings: &Settings) -> Option<Arc<Streams>> {
    if !settings.data_streams || settings.agent.is_none() {
        return None;
    }
    Some(Arc::new(Streams::new(PipelineStats {
        service: settings.service(&settings.function_name).into(),
        env: settings.env.clone().map(Into::into),
        version: settings.version.clone().map(Into::into),
        language: "rust".into(),
        tracer_version: env!("CARGO_PKG_VERSION").into(),
        ..PipelineStats::default()
    })))
}

/// Counts the records of an event. Gives the pathway that the handler is on, which is that of the first.
pub(crate) fn consumed(datadog: &Datadog, event: &Value, root: &mut Span, now: UnixNanos) -> Option<Scope> {
    let streams = datadog.streams.as_ref()?;
    let read = || trigger::consumed(event);
    let mut first = None;
    for record in catch_unwind(AssertUnwindSafe(read)).unwrap_or_default() {
        let (pathway, checkpoint) = taken(datadog, streams, &record, now);
        streams.count(&checkpoint);
        if first.is_none() {
            root.meta.insert(model::keys::trace::PATHWAY_HASH, checkpoint.hash.to_string());
            first = Some(pathway);
        }
    }
    Some(Scope::new(streams.clone(), first.unwrap_or_else(|| Pathway::new(now))))
}

/// The context for work on one record, whose pathway what is sent in it goes on.
pub(crate) fn with_record(datadog: &Datadog, context: Context, record: &Value) -> Context {
    let Some(streams) = &datadog.streams else { return context };
    let read = || trigger::record_consumed(record);
    match catch_unwind(AssertUnwindSafe(read)).ok().flatten() {
        Some(record) => {
            let (pathway, _) = taken(datadog, streams, &record, ids::now());
            context.with_value(Scope::new(streams.clone(), pathway))
        }
        None => context,
    }
}

fn taken(datadog: &Datadog, streams: &Streams, record: &Consumed, now: UnixNanos) -> (Pathway, Checkpoint) {
    let edge = Edge::consume(record.kind, &record.topic);
    let edge = match datadog.settings.exchange.as_deref() {
        Some(bus) if record.kind == "eventbridge" => edge.through(bus),
        _ => edge,
    };
    let mut pathway = Pathway::received(record.pathway.as_deref(), now);
    let checkpoint = pathway.pass(streams.node(), edge, record.size, now);
    (pathway, checkpoint)
}

impl Datadog {
    /// What was counted so far, as bodies of requests: the sandbox may be frozen or gone before its ten seconds are over.
    fn take_streams(&self) -> Vec<Vec<u8>> {
        let Some(streams) = &self.streams else { return Vec::new() };
        let new = streams.take(UnixNanos(u64::MAX));
        let bodies = streams.take_kept().into_iter();
        let bodies = bodies.chain(new.iter().map(wire::pipeline_stats::encode)).collect();
        let dropped = streams.take_dropped();
        if dropped > 0 {
            self.debug(|| format!("{dropped} checkpoints of data streams were dropped"));
        }
        bodies
    }

    /// Sends what was counted, or keeps it for the next time.
    pub(crate) async fn send_streams(&self, until: Until, budget: Duration) {
        let (Some(agent), Some(streams)) = (&self.agent, &self.streams) else { return };
        if budget.is_zero() {
            return;
        }
        for body in self.take_streams() {
            let sent =
                agent.deliver(&agent.request(wire::pipeline_stats::PATH, GZIP, &body), until, budget).await;
            match sent {
                Ok(()) => {}
                Err(Lost::Refused(status)) => {
                    self.debug(|| format!("the extension does not take data streams: {status}"));
                }
                Err(Lost::Resting | Lost::Unreachable | Lost::Slow) => streams.keep(body),
            }
        }
    }

    /// The same on a thread that may block, for a process that is about to end.
    pub(crate) fn send_streams_now(&self, budget: Duration) {
        let Some(agent) = self.agent.as_ref().filter(|_| !budget.is_zero()) else { return };
        for body in self.take_streams() {
            let request = agent.request(wire::pipeline_stats::PATH, GZIP, &body);
            let _ = agent.deliver_now(&request, budget);
        }
    }
}

const GZIP: &str = "Content-Encoding: gzip\r\n";
