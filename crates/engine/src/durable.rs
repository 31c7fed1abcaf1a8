//! Durable functions: many invocations that together are one execution. Whose part an invocation is, its own span says,
//! which comes after its lines; those can wait for it here, to say so too.
//!
//! Knows nothing of where entries come from and where they go.

use std::collections::VecDeque;

use model::{DurableExecution, RequestId, Tags, Text, keys::lambda};

use crate::log::{Entry, Kind};

/// Invocations whose execution is remembered.
const MAX_KNOWN: usize = 500;
/// Bytes of messages that may wait; beyond, the oldest invocation's go as they are.
const MAX_BYTES: usize = 1 << 20;
/// What stands between the ARN of a function and the name and the id of an execution.
const EXECUTION: &str = "/durable-execution/";

#[derive(Clone, Debug)]
pub(crate) struct Durable {
    /// Invocations whose entries may wait at the same time. 0: none waits.
    max_waiting: usize,
    /// Whether this is such a function, when that is known.
    is_durable: Option<bool>,
    known: VecDeque<(RequestId, DurableExecution)>,
    /// Entries of invocations whose execution is not known, the oldest invocation first.
    waiting: VecDeque<(RequestId, Vec<Entry>)>,
    /// Of all that waits.
    bytes: usize,
}

impl Durable {
    pub(crate) fn new(max_waiting: usize) -> Self {
        let (known, waiting) = (VecDeque::new(), VecDeque::new());
        Self { max_waiting, is_durable: None, known, waiting, bytes: 0 }
    }

    /// What Lambda says of the function. Gives what need not wait any more.
    pub(crate) fn note_kind(&mut self, is_durable: bool) -> Vec<Entry> {
        // A span that says whose part it is knows better.
        let is_durable = *self.is_durable.insert(is_durable || self.is_durable == Some(true));
        if is_durable { Vec::new() } else { self.release() }
    }

    /// The tags of an invocation's span. Gives what waited for them.
    pub(crate) fn note_tags(&mut self, id: &RequestId, tags: &Tags<Text>) -> Vec<Entry> {
        let Some(told) = execution(tags) else { return Vec::new() };
        self.is_durable = Some(true);
        match self.known.iter_mut().find(|(known, _)| known == id) {
            Some((_, known)) => {
                known.first_invocation = known.first_invocation.or(told.first_invocation);
                known.status = known.status.take().or(told.status);
            }
            None => {
                if self.known.len() == MAX_KNOWN {
                    self.known.pop_front();
                }
                self.known.push_back((id.clone(), told));
            }
        }
        let at = self.waiting.iter().position(|(waits, _)| waits == id);
        let Some((_, entries)) = at.and_then(|at| self.waiting.remove(at)) else { return Vec::new() };
        self.count_out(&entries);
        entries.into_iter().map(|entry| self.told(entry)).collect()
    }

    /// What became of the execution that an invocation is a part of.
    pub(crate) fn note_status(&mut self, id: &RequestId, status: &'static str) {
        if let Some((_, known)) = self.known.iter_mut().find(|(known, _)| known == id) {
            known.status.get_or_insert(status.into());
        }
    }

    /// Takes an entry; gives what goes now.
    pub(crate) fn place(&mut self, entry: Entry) -> Vec<Entry> {
        let entry = self.told(entry);
        let waits = self.max_waiting > 0 && self.is_durable != Some(false) && entry.durable.is_none();
        let Some(id) = entry.request_id.clone().filter(|_| waits) else { return vec![entry] };
        self.bytes += entry.message.len();
        match self.waiting.iter_mut().find(|(waits, _)| *waits == id) {
            Some((_, entries)) => entries.push(entry),
            None => self.waiting.push_back((id, vec![entry])),
        }
        let mut out = Vec::new();
        while self.waiting.len() > self.max_waiting || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.waiting.pop_front() else { break };
            self.count_out(&oldest);
            out.extend(oldest);
        }
        out
    }

    /// All that waits, as it is.
    pub(crate) fn release(&mut self) -> Vec<Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_iter().flat_map(|(_, entries)| entries).collect()
    }

    pub(crate) fn held(&self) -> usize {
        self.waiting.iter().map(|(_, entries)| entries.len()).sum()
    }

    fn count_out(&mut self, entries: &[Entry]) {
        let bytes: usize = entries.iter().map(|entry| entry.message.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The entry with whose part it is, if that is known.
    fn told(&self, mut entry: Entry) -> Entry {
        if entry.durable.is_some() {
            return entry;
        }
        let known = self.known.iter().rev().find(|(known, _)| Some(known) == entry.request_id.as_ref());
        entry.durable = known.map(|(_, known)| {
            let is_told = entry.kind != Kind::Printed;
            let status = known.status.clone().filter(|_| entry.kind == Kind::End);
            let first_invocation = known.first_invocation.filter(|_| is_told);
            Box::new(DurableExecution { first_invocation, status, ..known.clone() })
        });
        entry
    }
}

/// Whose part the invocation of a span is. Libraries have two names for each.
fn execution(tags: &Tags<Text>) -> Option<DurableExecution> {
    let value = |names: [&str; 2]| names.iter().find_map(|name| tags.get(name)).cloned();
    Some(DurableExecution {
        id: value(lambda::DURABLE_EXECUTION_ID)?,
        name: value(lambda::DURABLE_EXECUTION_NAME)?,
        first_invocation: value(lambda::DURABLE_FIRST_INVOCATION).map(|first| first == "true"),
        status: value([lambda::DURABLE_STATUS, lambda::DURABLE_STATUS_BY_OTHERS]),
    })
}

/// The execution that a line of the SDK for durable functions names:
/// `arn:aws:lambda:eu-west-1:123456789012:function:orders:1/durable-execution/NAME/ID`.
pub(crate) fn of_arn(arn: &str) -> Option<Box<DurableExecution>> {
    let (name, id) = arn.split_once(EXECUTION)?.1.split_once('/')?;
    if name.is_empty() || id.is_empty() {
        return None;
    }
    let (id, name) = (id.to_owned().into(), name.to_owned().into());
    Some(Box::new(DurableExecution { id, name, ..DurableExecution::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns() {
        let check = |arn: &str, want: Option<(&str, &str)>| {
            let got = of_arn(arn);
            assert_eq!(got.as_ref().map(|d| (&*d.name, &*d.id)), want, "{arn}");
        };
        let function = "arn:aws:lambda:eu-west-1:123456789012:function:orders:1";
        check(&format!("{function}/durable-execution/order-7/i-1"), Some(("order-7", "i-1")));
        check(&format!("{function}/durable-execution/order-7/"), None);
        check(&format!("{function}/durable-execution/order-7"), None);
        check(function, None);
        check("", None);
    }
}
