//! Records on their way to one subscriber. Pure.

use bytes::{BufMut as _, Bytes, BytesMut};
use model::UnixNanos;

use super::subscription::Buffering;

const SLOW: &str =
    "Some logs were dropped because the downstream consumer is slower than the logs production rate";

#[derive(Debug)]
pub(crate) struct Buffer {
    limits: Buffering,
    records: Vec<Bytes>,
    bytes: usize,
    /// When the oldest record came.
    since: Option<UnixNanos>,
    flush: bool,
    dropped: Option<Dropped>,
}

/// What a subscriber did not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) reason: String,
}

/// The body of one delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) body: Bytes,
    pub(crate) records: usize,
}

impl Buffer {
    pub(crate) fn new(limits: Buffering) -> Self {
        Self { limits, records: Vec::new(), bytes: 0, since: None, flush: false, dropped: None }
    }

    /// Adds a record, or counts it as dropped: while one batch is under way, another is held, no more.
    pub(crate) fn push(&mut self, now: UnixNanos, record: Bytes) {
        let fits = self.bytes + record.len() <= 2 * self.limits.max_bytes
            && self.records.len() < 2 * self.limits.max_items;
        if fits || self.records.is_empty() {
            self.bytes += record.len();
            self.records.push(record);
            self.since.get_or_insert(now);
        } else {
            self.lost(now, 1, record.len(), SLOW.to_owned());
        }
    }

    /// Counts records that the subscriber will not get; it will be told.
    pub(crate) fn lost(&mut self, now: UnixNanos, records: usize, bytes: usize, reason: String) {
        let dropped = self.dropped.get_or_insert(Dropped { records: 0, bytes: 0, reason });
        dropped.records += records;
        dropped.bytes += bytes;
        self.since.get_or_insert(now);
    }

    /// Sends what is there without waiting for more.
    pub(crate) fn flush(&mut self) {
        self.flush = true;
    }

    /// When the batch has to go; `None` when there is nothing to send.
    pub(crate) fn due(&self) -> Option<UnixNanos> {
        let since = self.since?;
        let full = self.records.len() >= self.limits.max_items || self.bytes >= self.limits.max_bytes;
        if full || self.flush { Some(UnixNanos::default()) } else { Some(since + self.limits.timeout) }
    }

    /// Takes all there is. `note` writes the record that tells what was dropped.
    pub(crate) fn take(&mut self, note: impl FnOnce(&Dropped) -> Option<Bytes>) -> Batch {
        let mut records = std::mem::take(&mut self.records);
        records.extend(self.dropped.take().as_ref().and_then(note));
        self.since = None;
        let mut body = BytesMut::with_capacity(std::mem::take(&mut self.bytes) + records.len() + 256);
        body.put_u8(b'[');
        for (n, record) in records.iter().enumerate() {
            if n > 0 {
                body.put_u8(b',');
            }
            body.put_slice(record);
        }
        body.put_u8(b']');
        Batch { body: body.freeze(), records: records.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Buffer, Buffering, Bytes, UnixNanos};
    use std::time::Duration;

    fn buffer() -> Buffer {
        Buffer::new(Buffering { max_items: 3, max_bytes: 100, timeout: Duration::from_millis(25) })
    }

    fn at(ms: u64) -> UnixNanos {
        UnixNanos::from_millis(ms)
    }

    fn body(batch: &Batch) -> &str {
        std::str::from_utf8(&batch.body).unwrap()
    }

    #[test]
    fn a_batch_is_due_by_time_by_items_or_by_bytes() {
        let mut b = buffer();
        assert_eq!(b.due(), None);
        b.push(at(10), Bytes::from_static(b"1"));
        b.push(at(20), Bytes::from_static(b"2"));
        assert_eq!(b.due(), Some(at(35)));
        b.push(at(20), Bytes::from_static(b"3"));
        assert_eq!(b.due(), Some(at(0)));
        assert_eq!(body(&b.take(|_| None)), "[1,2,3]");
        assert_eq!(b.due(), None);
        b.push(at(40), Bytes::from(vec![b'x'; 100]));
        assert_eq!(b.due(), Some(at(0)));
        let mut b = buffer();
        b.push(at(10), Bytes::from_static(b"1"));
        b.flush();
        assert_eq!(b.due(), Some(at(0)));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told() {
        let mut b = buffer();
        for n in 0..10 {
            b.push(at(n), Bytes::from(vec![b'0' + n as u8; 50]));
        }
        let batch = b.take(|d| Some(Bytes::from(format!("{}/{}", d.records, d.bytes))));
        assert_eq!(batch.records, 5);
        assert!(body(&batch).ends_with(",6/300]"), "{}", body(&batch));
        b.lost(at(50), 2, 20, "gone".to_owned());
        assert_eq!(b.due(), Some(at(75)));
        assert_eq!(body(&b.take(|d| Some(Bytes::from(d.reason.clone())))), "[gone]");
    }
}
