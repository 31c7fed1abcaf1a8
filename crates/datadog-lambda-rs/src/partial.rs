//! Parts of a trace on their way before the invocation is over: of one with thousands of spans neither the memory
//! nor the last message grows with their number. <https://docs.datadoghq.com/tracing/trace_collection/library_config/>
//!
//! A part is sent by a task of the function's own runtime, so the handler never waits for it; the invocation's last
//! flush does. Not here: when a part is big enough (`invocation`).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::Chunk;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::agent::{Until, lock};
use crate::datadog::Datadog;
use crate::out;

/// Bytes of spans that may be on their way at once. A handler that never awaits lets none of them go.
const MAX_WEIGHT: usize = 4 * 1024 * 1024;

/// How long a part may take. Nothing waits for it as long as the handler runs.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Parts {
    tasks: Mutex<Vec<JoinHandle<()>>>,
    weight: AtomicUsize,
}

impl Parts {
    /// Waits for those that are on their way.
    pub(crate) async fn arrive(&self, budget: Duration) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        if tasks.is_empty() {
            return;
        }
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(budget, all).await;
    }
}

impl Datadog {
    /// Sends a part of a trace without waiting for it. Where that cannot be, it goes with the next flush.
    pub(crate) fn send_part(self: &Arc<Self>, chunk: Chunk) {
        if !self.has_agent() {
            return out::trace_lines(&chunk).iter().for_each(|line| self.out.line(line));
        }
        let weight = chunk.weight();
        let before = self.parts.weight.fetch_add(weight, Ordering::Relaxed);
        match Handle::try_current() {
            Ok(runtime) if before + weight <= MAX_WEIGHT => {
                let this = self.clone();
                let task = runtime.spawn(async move {
                    this.send(vec![chunk], Until::Answered, PATIENCE).await;
                    this.parts.weight.fetch_sub(weight, Ordering::Relaxed);
                });
                let mut tasks = lock(&self.parts.tasks);
                tasks.retain(|task| !task.is_finished());
                tasks.push(task);
            }
            _ => {
                self.parts.weight.fetch_sub(weight, Ordering::Relaxed);
                self.keep(vec![chunk]);
            }
        }
    }
}
