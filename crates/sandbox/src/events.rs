//! Asynchronous invocations: tried again when the function fails, and at the end told to a destination. One task owns
//! all that are under way. Used by [`crate::functions::Functions`].
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use model::RequestId;
use platform::Invocation;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Destination;
use crate::functions::{Functions, Outcome, failure};
use crate::ids;
use crate::invoke::InvokeError;

/// Events that may be under way or wait to be tried again.
pub(crate) const MAX_EVENTS: usize = 1000;
/// Records kept; the oldest go first.
const MAX_RECORDS: usize = 1000;

/// What became of an event whose function keeps such records ([`Destination::Kept`]).
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    pub function: String,
    pub request_id: RequestId,
    /// `Success` or `RetriesExhausted`.
    pub condition: &'static str,
    /// How often it was tried.
    pub attempts: u32,
    /// JSON, as Lambda gives it to a destination.
    pub record: Bytes,
}

/// An event on its way.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) function: String,
    pub(crate) invocation: Invocation,
}

/// The records that are kept. The lock is held for one push or one copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(Arc<Mutex<VecDeque<EventRecord>>>);

impl Records {
    fn push(&self, record: EventRecord) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == MAX_RECORDS {
            records.pop_front();
        }
        records.push_back(record);
    }

    pub(crate) fn all(&self) -> Vec<EventRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Runs until it is dropped, and all events with it.
pub(crate) async fn run(functions: Arc<Functions>, mut inbox: mpsc::Receiver<Event>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            event = inbox.recv(), if open.len() < MAX_EVENTS => match event {
                Some(event) => {
                    let functions = functions.clone();
                    open.spawn(async move {
                        see_through(&functions, event).await;
                        functions.event_is_over();
                    });
                }
                None => return,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

/// Runs an event until it succeeds or was tried often enough.
async fn see_through(functions: &Functions, event: Event) {
    let Some(function) = functions.find(&event.function) else { return };
    let config = &function.config;
    let mut attempts = 0;
    let outcome = loop {
        attempts += 1;
        let invocation = Invocation { attempt: ids::uuid().into(), ..event.invocation.clone() };
        let outcome = match functions.run(function, invocation, false, None).await {
            Ok(outcome) => outcome,
            Err(InvokeError::ShuttingDown) => return,
            // Nobody had room for it: it has failed this time.
            Err(refused) => Outcome {
                payload: failure(refused.error_type(), &refused.to_string()),
                error: Some("Unhandled"),
                log: None,
            },
        };
        if outcome.error.is_none() || attempts > config.retries {
            break outcome;
        }
        tokio::time::sleep(config.retry_delay * attempts).await;
    };
    let failed = outcome.error.is_some();
    let destination = if failed { &config.on_failure } else { &config.on_success };
    let Some(destination) = destination else { return };
    let condition = if failed { "RetriesExhausted" } else { "Success" };
    let record = record(functions, &event.invocation, &config.version, &outcome, condition, attempts);
    let (function, request_id) = (event.function, event.invocation.request_id);
    let record = EventRecord { function, request_id, condition, attempts, record };
    match destination {
        Destination::Kept => functions.records.push(record),
        // That the destination fails is seen there.
        Destination::Function(name) => drop(functions.send(name, record.record)),
    }
}

fn record(
    functions: &Functions,
    invocation: &Invocation,
    version: &str,
    outcome: &Outcome,
    condition: &str,
    attempts: u32,
) -> Bytes {
    let arn = match invocation.arn.matches(':').count() {
        7.. => invocation.arn.to_string(),
        _ => format!("{}:{version}", invocation.arn),
    };
    let record = json!({
        "version": "1.0",
        "timestamp": functions.clock.now().to_rfc3339_millis(),
        "requestContext": {
            "requestId": invocation.request_id.as_str(),
            "functionArn": arn,
            "condition": condition,
            "approximateInvokeCount": attempts,
        },
        "requestPayload": value(&invocation.payload),
        "responseContext": {
            "statusCode": 200,
            "executedVersion": version,
            "functionError": outcome.error,
        },
        "responsePayload": value(&outcome.payload),
    });
    Bytes::from(record.to_string())
}

/// JSON as it is, anything else as text.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}
