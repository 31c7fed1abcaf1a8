//! What a service receives on its own: counted when it arrives, and remembered, so that work on a message goes on from
//! it.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use opentelemetry::Context;
use serde_json::{Value, json};
use streams::{Edge, Pathway, Scope, Streams};

use super::{now, scope, topic};
use crate::json_text::Object;
use crate::receive::{Received, sqs_record};

/// Messages that are remembered from when they arrive until they are worked on.
const MAX_REMEMBERED: usize = 10_000;

/// What a call receives from.
#[derive(Debug)]
pub(crate) struct Source {
    streams: Arc<Streams>,
    kind: &'static str,
    topic: String,
}

impl Source {
    pub(crate) fn of(
        service: &str,
        operation: &str,
        request: &HttpRequest,
        context: &Context,
    ) -> Option<Self> {
        if !matches!(operation, "ReceiveMessage" | "GetRecords") {
            return None;
        }
        let scope = scope(context)?;
        let (kind, topic) = topic(request, service, operation)?;
        Some(Self { streams: scope.streams().clone(), kind, topic })
    }

    /// Counts what is in a response.
    pub(crate) fn received(&self, response: &str) {
        let list = if self.kind == "sqs" { "Messages" } else { "Records" };
        let all = Object::parse(response).and_then(|response| response.list(list)).unwrap_or_default();
        let now = now();
        for message in all.into_iter().filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
            let mut record = match self.kind {
                "sqs" => sqs_record(&message),
                _ => json!({"eventSource": "aws:kinesis", "kinesis": {"data": message.get("Data")}}),
            };
            let key = key(&record);
            if let Some(record) = record.as_object_mut() {
                record.insert("eventSourceARN".to_owned(), self.topic.as_str().into());
            }
            let Some(taken) = trigger::record_consumed(&record) else { continue };
            let mut pathway = Pathway::received(taken.pathway.as_deref(), now);
            let edge = Edge::consume(self.kind, &self.topic);
            self.streams.count(&pathway.pass(self.streams.node(), edge, taken.size, now));
            remembered().add(key, Scope::new(self.streams.clone(), pathway));
        }
    }
}

/// A context in which what is sent goes on from a message, if that is one that was counted.
pub(crate) fn with_received(context: Context, message: &Received<'_>) -> Context {
    if !Streams::any() {
        return context;
    }
    let known = remembered().scopes.get(&key(&message.record())).cloned();
    match known {
        Some(scope) => context.with_value(scope),
        None => context,
    }
}

/// The oldest make room.
#[derive(Default)]
struct Remembered {
    scopes: HashMap<u64, Scope>,
    order: VecDeque<u64>,
}

fn remembered() -> MutexGuard<'static, Remembered> {
    static REMEMBERED: OnceLock<Mutex<Remembered>> = OnceLock::new();
    REMEMBERED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remembered {
    fn add(&mut self, key: u64, scope: Scope) {
        if self.scopes.insert(key, scope).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.scopes.remove(&oldest);
        }
    }
}

/// What tells a message: what is in it, and what it carries. Two that are alike have come the same way.
fn key(record: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    let attribute = |name: &str| record.pointer("/messageAttributes/_datadog").and_then(|all| all.get(name));
    let parts = [
        record.get("body"),
        record.pointer("/kinesis/data"),
        attribute("stringValue"),
        attribute("binaryValue"),
    ];
    for part in parts {
        part.and_then(Value::as_str).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use model::PipelineStats;

    use super::*;

    fn scope() -> Scope {
        Scope::new(Arc::new(Streams::new(PipelineStats::default())), Pathway::new(now()))
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut all, scope) = (Remembered::default(), scope());
        for key in 0..MAX_REMEMBERED as u64 + 5 {
            all.add(key, scope.clone());
            all.add(key, scope.clone());
        }
        assert_eq!((all.scopes.len(), all.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert!(all.scopes.contains_key(&(MAX_REMEMBERED as u64 + 4)) && !all.scopes.contains_key(&4));
    }
}
