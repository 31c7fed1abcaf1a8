//! The handler's response on its way to the runtime: the same bytes, watched. A body is what it was, but for
//! an authorizer's policy, which gets the trace context for the function behind it; a stream is polled in the
//! invocation's context, and tells when its first bytes are there and when it ends.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use futures_core::Stream;
use model::UnixNanos;
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

use crate::agent::Until;
use crate::datadog::{Datadog, Flush};
use crate::failure::Failure;
use crate::handler::Run;
use crate::invocation::Invocation;
use crate::{enhanced, ids};

/// The body of a response: serialises as what the handler has returned.
#[derive(Debug)]
pub struct ResponseBody<B>(Body<B>);

#[derive(Debug)]
enum Body<B> {
    Own(B),
    /// An authorizer's policy with the trace context in it.
    Policy(Value),
}

impl<B: Serialize> ResponseBody<B> {
    pub(crate) fn of(body: B, invocation: &Invocation, now: UnixNanos) -> Self {
        match policy(&body, invocation, now) {
            Some(policy) => Self(Body::Policy(policy)),
            None => Self(Body::Own(body)),
        }
    }

    pub(crate) fn to_json(&self) -> Option<Vec<u8>> {
        catch_unwind(AssertUnwindSafe(|| serde_json::to_vec(self).ok())).ok().flatten()
    }

    pub(crate) fn to_value(&self) -> Option<Value> {
        catch_unwind(AssertUnwindSafe(|| serde_json::to_value(self).ok())).ok().flatten()
    }
}

impl<B: Serialize> Serialize for ResponseBody<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Body::Own(body) => body.serialize(serializer),
            Body::Policy(policy) => policy.serialize(serializer),
        }
    }
}

/// The answer of an authorizer with the context of its span in it. `None` for every other answer.
fn policy(body: &impl Serialize, invocation: &Invocation, now: UnixNanos) -> Option<Value> {
    let event = invocation.authorizer.as_ref()?;
    let encode = || {
        let mut answer = serde_json::to_value(body).ok()?;
        let mut context = invocation.context.clone();
        context.span_id = Some(invocation.span_id);
        let styles = &invocation.datadog.settings.inject_styles;
        trigger::encode_authorizer(&mut answer, event, &context, now, styles).then_some(answer)
    };
    catch_unwind(AssertUnwindSafe(encode)).ok().flatten()
}

/// The stream of a response: gives what the handler's own stream gives.
pub struct ResponseStream<S> {
    inner: S,
    /// With a context in any case: the runtime polls the stream in a task of its own.
    run: Run,
    /// There is no layer that sends.
    alone: bool,
    has_bytes: bool,
    is_over: bool,
    flush: Option<Flush>,
}

impl<S> ResponseStream<S> {
    pub(crate) fn new(inner: S, mut run: Run) -> Self {
        let alone = run.alone.is_some();
        run.alone.get_or_insert_with(|| run.invocation.otel_context());
        Self { inner, run, alone, has_bytes: false, is_over: false, flush: None }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.run.invocation.finished(ids::now());
        if self.alone {
            self.flush = Some(Datadog::flushing(&self.run.invocation, Until::Written));
        }
    }

    fn failed(&mut self, failure: Failure) {
        self.run.invocation.with_root(|root| failure.apply(root));
    }
}

impl<S, D, E> Stream for ResponseStream<S>
where
    S: Stream<Item = Result<D, E>> + Unpin,
    E: Debug,
{
    type Item = Result<D, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<D, E>>> {
        let this = &mut *self;
        if !this.is_over {
            let polled = this.run.within(|| Pin::new(&mut this.inner).poll_next(cx));
            match polled {
                Ok(polled) => match ready!(polled) {
                    Some(item) => {
                        if !std::mem::replace(&mut this.has_bytes, true) {
                            enhanced::first_byte(
                                &this.run.invocation,
                                ids::now().since(this.run.invocation.start_time()),
                            );
                        }
                        if let Err(error) = &item {
                            let kind = std::any::type_name::<E>().to_owned();
                            this.failed(Failure {
                                kind,
                                message: format!("{error:?}"),
                                stack: String::new(),
                            });
                        }
                        return Poll::Ready(Some(item));
                    }
                    None => this.end(),
                },
                Err(panic) => {
                    this.failed(Failure::of_panic(&*panic));
                    this.is_over = true;
                    this.run.invocation.finished(ids::now());
                    resume_unwind(panic)
                }
            }
        }
        if let Some(flush) = &mut this.flush {
            ready!(Pin::new(flush).poll(cx));
            this.flush = None;
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

impl<S> Debug for ResponseStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream").field("run", &self.run).finish_non_exhaustive()
    }
}
