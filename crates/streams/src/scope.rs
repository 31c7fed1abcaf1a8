//! The pathway that the work at hand goes on, in the OpenTelemetry context: what was taken decides where what is sent
//! comes from. Both libraries look there, so that a send in a Lambda function goes on from the event.

use std::sync::{Arc, Mutex};

use model::UnixNanos;
use opentelemetry::Context;

use crate::buckets::lock;
use crate::{Checkpoint, Edge, Pathway, Streams};

/// A pathway, and who counts what passes along it. Clones share it.
#[derive(Clone, Debug)]
pub struct Scope {
    streams: Arc<Streams>,
    pathway: Arc<Mutex<Pathway>>,
}

impl Scope {
    pub fn new(streams: Arc<Streams>, pathway: Pathway) -> Self {
        Self { streams, pathway: Arc::new(Mutex::new(pathway)) }
    }

    /// That of a context. Costs nothing where nothing is monitored.
    pub fn of(context: &Context) -> Option<Self> {
        Streams::any().then(|| context.get::<Self>().cloned())?
    }

    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// Goes over an edge: what is to be counted, and what a message that is sent is to carry.
    pub fn pass(&self, edge: Edge, size: usize, now: UnixNanos) -> (Checkpoint, String) {
        let mut pathway = lock(&self.pathway);
        let checkpoint = pathway.pass(self.streams.node(), edge, size, now);
        (checkpoint, pathway.encode())
    }
}

#[cfg(test)]
mod tests {
    use model::PipelineStats;

    use super::*;

    #[test]
    fn it_travels_with_the_context() {
        let streams = Arc::new(Streams::new(PipelineStats::default()));
        let now = UnixNanos::from_secs(1000);
        let scope = Scope::new(streams, Pathway::new(now));
        let context = Context::new().with_value(scope.clone());
        let (first, _) = Scope::of(&context).unwrap().pass(Edge::consume("sqs", "a"), 1, now);
        let (second, text) = scope.pass(Edge::produce("sqs", "b"), 1, now);
        assert_eq!(second.parent_hash, first.hash);
        assert_eq!(Pathway::decode(&text).unwrap().hash(), second.hash);
        assert!(Scope::of(&Context::new()).is_none());
    }
}
