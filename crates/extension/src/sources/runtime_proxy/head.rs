//! A body on its way, of which the beginning is kept. Nothing is done with it here but the keeping.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderValue;
use model::RequestId;

use crate::inbox::Inbox;

/// Bytes kept of one body: more than events have before their large parts.
const MAX_HEAD: usize = 512 << 10;
/// Bytes kept of all bodies, those included that are not read yet.
const MAX_HEADS: usize = 8 << 20;

/// What passed and tells of an invocation.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The answer to `/invocation/next`, with its headers.
    Event { request_id: RequestId, headers: HeaderMap, body: Head },
    /// What was posted to `/response`, `/error` or `/init/error`, and Lambda took.
    Answer(Answer),
}

#[derive(Debug)]
pub(crate) struct Answer {
    /// `None`: the initialisation failed.
    pub(crate) request_id: Option<RequestId>,
    /// It is the handler's error, or the initialisation's.
    pub(crate) is_error: bool,
    /// `Lambda-Runtime-Function-Error-Type`
    pub(crate) error_type: Option<HeaderValue>,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Head,
}

impl Seen {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Event { body, .. } => body.bytes.len(),
            Self::Answer(answer) => answer.body.bytes.len(),
        }
    }
}

/// The beginning of a body, and its trailers.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    /// There is more of it than is kept.
    pub(crate) is_cut: bool,
    pub(crate) trailers: HeaderMap,
    kept_by_all: Rc<Cell<usize>>,
}

impl Head {
    /// Of the bodies that share a bound.
    pub(crate) fn new(kept_by_all: Rc<Cell<usize>>) -> Self {
        Self { bytes: Vec::new(), is_cut: false, trailers: HeaderMap::new(), kept_by_all }
    }

    fn keep(&mut self, data: &[u8]) {
        let all = self.kept_by_all.get();
        let room = MAX_HEAD.saturating_sub(self.bytes.len()).min(MAX_HEADS.saturating_sub(all));
        let part = data.get(..room.min(data.len())).unwrap_or_default();
        // Bytes after a gap would not be a beginning.
        if !self.is_cut {
            self.bytes.extend_from_slice(part);
            self.kept_by_all.set(all + part.len());
        }
        self.is_cut |= part.len() < data.len();
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.kept_by_all.set(self.kept_by_all.get().saturating_sub(self.bytes.len()));
    }
}

/// A body that passes through: frames go on as they are.
pub(crate) struct Passing {
    body: Incoming,
    /// What of it had come before its message went on.
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    head: Option<Rc<RefCell<Head>>>,
    at_end: Option<Told>,
}

/// Leaves in the inbox that an event has passed.
pub(crate) struct Told {
    pub(crate) inbox: Rc<Inbox>,
    pub(crate) request_id: RequestId,
    pub(crate) headers: HeaderMap,
}

impl Passing {
    /// Of which nothing is kept.
    pub(crate) fn unseen(body: Incoming) -> Self {
        Self { body, first: None, head: None, at_end: None }
    }

    /// Of which the beginning is kept for who gave `head`.
    pub(crate) fn seen(body: Incoming, head: Rc<RefCell<Head>>) -> Self {
        Self { body, first: None, head: Some(head), at_end: None }
    }

    /// Of which the beginning is told once all of it has passed.
    pub(crate) fn told(body: Incoming, head: Head, told: Told) -> Self {
        let head = Some(Rc::new(RefCell::new(head)));
        let mut passing = Self { body, first: None, head, at_end: Some(told) };
        if passing.body.is_end_stream() {
            passing.end();
        }
        passing
    }

    /// Takes what has come already, without waiting for it: it leaves with the head of its message in one write, and
    /// wakes the other side once.
    pub(crate) async fn primed(mut self) -> Self {
        if self.body.is_end_stream() {
            return self;
        }
        let (body, mut is_last) = (&mut self.body, false);
        // Whoever reads the connection hands it over when it is asked for: in its next turn.
        let first = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending if is_last => Poll::Ready(None),
            Poll::Pending => {
                is_last = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        });
        self.first = first.await;
        self
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(head) = &self.head else { return };
        let mut head = head.borrow_mut();
        if let Some(data) = frame.data_ref() {
            head.keep(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            head.trailers = trailers.clone();
        }
    }

    fn end(&mut self) {
        let Some((head, told)) = self.head.as_ref().zip(self.at_end.take()) else { return };
        let Told { inbox, request_id, headers } = told;
        inbox.offer_seen(Seen::Event { request_id, headers, body: mem::take(&mut *head.borrow_mut()) });
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        match &frame {
            Some(Ok(frame)) => self.note(frame),
            Some(Err(_)) => self.at_end = None,
            None => {}
        }
        // Whoever writes it need not ask again after the last part.
        if frame.is_none() || self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(|first| first.as_ref().ok()).and_then(Frame::data_ref);
        let first = first.map_or(0, |data| data.len() as u64);
        match self.body.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_kept_within_two_bounds() {
        let all = Rc::new(Cell::new(0));
        let mut one = Head::new(all.clone());
        one.keep(&[1; 10]);
        assert_eq!((one.bytes.len(), one.is_cut, all.get()), (10, false, 10));
        one.keep(&vec![2; MAX_HEAD]);
        assert_eq!((one.bytes.len(), one.is_cut, all.get()), (MAX_HEAD, true, MAX_HEAD));
        let mut others: Vec<Head> = (0..20).map(|_| Head::new(all.clone())).collect();
        for other in &mut others {
            other.keep(&vec![3; MAX_HEAD - 1]);
        }
        assert_eq!(all.get(), MAX_HEADS);
        assert!(others[0].bytes.len() == MAX_HEAD - 1 && !others[0].is_cut);
        assert!(others[19].bytes.is_empty() && others[19].is_cut);
        // What comes after a gap is not kept, though there is room again.
        others.truncate(1);
        one.keep(&[4; 10]);
        assert_eq!(one.bytes.len(), MAX_HEAD);
        drop(one);
        drop(others);
        assert_eq!(all.get(), 0);
    }
}
