//! Managed instances: one environment, several invocations at a time. Each of the runtime's open calls for an event is
//! room for one invocation. Nothing is frozen, nothing is reset: an invocation that takes too long is given up alone,
//! and an environment whose process ends is at its end.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html>

use std::collections::VecDeque;

use model::keys::measured;
use model::{InvocationReport, PlatformSpan, Record, RequestId, Status, Text, UnixNanos};

use crate::invocation::{Outcome, Response, span};
use crate::io::{Answer, CallId, Delivery, Invocation, Rejection, Reply, ShutdownReason};
use crate::machine::{Cause, Platform, Stage, Timer};
use crate::refusal::Refusal;

/// Open calls of a runtime for an event.
pub(crate) const MAX_WORKERS: usize = 10_000;
/// Ids of invocations that were given up, kept to tell their late answers.
const MAX_GIVEN_UP: usize = 1000;

/// What runs in an environment that is initialised.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    live: Vec<Shared>,
    given_up: VecDeque<RequestId>,
}

/// One of the invocations that run.
#[derive(Debug)]
struct Shared {
    invocation: Invocation,
    began: UnixNanos,
    deadline: UnixNanos,
}

impl Serving {
    pub(crate) fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    fn deadline(&self) -> Option<UnixNanos> {
        self.live.iter().map(|one| one.deadline).min()
    }

    fn take(&mut self, request_id: &str) -> Option<Shared> {
        let at = self.live.iter().position(|one| one.invocation.request_id.as_str() == request_id)?;
        Some(self.live.swap_remove(at))
    }
}

impl Platform {
    /// Takes an invocation, or refuses it: none ever waits here.
    pub(crate) fn serve(&mut self, now: UnixNanos, invocation: Invocation) {
        let rejection = match &mut self.stage {
            _ if self.closing => Some(Rejection::Unhealthy),
            Stage::Serving(serving) => {
                let taken = |one: &Shared| one.invocation.request_id == invocation.request_id;
                if serving.live.iter().any(taken) {
                    Some(Rejection::Duplicated)
                } else if let Some(call) = self.workers.pop_front() {
                    let deadline = now + self.config.timeout;
                    let delivery = Delivery { invocation: invocation.clone(), deadline };
                    serving.live.push(Shared { invocation: invocation.clone(), began: now, deadline });
                    self.record_start(now, &invocation);
                    self.reply(call, Reply::Invocation(delivery));
                    self.await_next_timeout();
                    return;
                } else {
                    Some(Rejection::Unavailable)
                }
            }
            Stage::Stopping(_) | Stage::Gone => Some(Rejection::Unhealthy),
            _ => Some(Rejection::InitIncomplete),
        };
        if let Some(why) = rejection {
            self.answer(invocation.request_id, Answer::Rejected(why));
        }
    }

    /// One more call of the runtime for an event.
    pub(crate) fn worker_next(&mut self, now: UnixNanos, call: CallId) {
        if self.workers.len() >= MAX_WORKERS {
            return self.refuse(call, Refusal::internal());
        }
        self.workers.push_back(call);
        self.advance_init(now);
    }

    /// Calls for an event that wait for one, and would get it: none before all is initialised.
    pub fn idle_workers(&self) -> usize {
        match self.stage {
            Stage::Serving(_) => self.workers.len(),
            _ => 0,
        }
    }

    /// The runtime's word on one of the invocations.
    pub(crate) fn respond_shared(
        &mut self,
        now: UnixNanos,
        call: CallId,
        (request_id, attempt): (&str, Option<&str>),
        began: UnixNanos,
        outcome: Outcome,
    ) {
        let Stage::Serving(serving) = &mut self.stage else {
            return self.refuse(call, Refusal::invalid_request_id());
        };
        if serving.given_up.iter().any(|id| id.as_str() == request_id) {
            return self.refuse(call, Refusal::given_up());
        }
        let is_meant = |one: &&Shared| attempt.is_none_or(|attempt| attempt == one.invocation.attempt);
        let known = serving.live.iter().filter(|one| one.invocation.request_id.as_str() == request_id);
        if !known.clone().any(|one| is_meant(&one)) {
            return self.refuse(call, Refusal::invalid_request_id());
        }
        let Some(one) = serving.take(request_id) else { return };
        let response = Response { began: began.min(now).max(one.began), ended: now, bytes: outcome.bytes };
        self.reply(call, outcome.reply);
        self.answer(one.invocation.request_id.clone(), outcome.answer);
        self.report_shared(now, &one, Some(response), outcome.status, outcome.error_type);
        self.settle_serving(now);
    }

    /// Gives up those whose time is over; the rest goes on.
    pub(crate) fn serving_timeout(&mut self, now: UnixNanos) {
        let Stage::Serving(serving) = &mut self.stage else { return };
        let (over, live) = std::mem::take(&mut serving.live).into_iter().partition(|one| one.deadline <= now);
        serving.live = live;
        let over: Vec<Shared> = over;
        for one in &over {
            if serving.given_up.len() == MAX_GIVEN_UP {
                serving.given_up.pop_front();
            }
            serving.given_up.push_back(one.invocation.request_id.clone());
        }
        for one in over {
            let message = format!("Task timed out after {:.2} seconds", self.config.timeout.as_secs_f64());
            let answer = Answer::Failure { error_type: "Sandbox.Timedout".into(), message };
            self.answer(one.invocation.request_id.clone(), answer);
            self.report_shared(now, &one, None, Status::Timeout, None);
        }
        self.settle_serving(now);
    }

    /// A process ended: so does the environment, and nobody is answered any more.
    pub(crate) fn fail_serving(&mut self, now: UnixNanos, serving: Serving, cause: &Cause) {
        for one in serving.live {
            let answer = self.failure(&one.invocation, cause);
            self.answer(one.invocation.request_id.clone(), answer);
            self.report_shared(now, &one, None, cause.status(), cause.error_type());
        }
        self.workers.clear();
        self.stop(now, ShutdownReason::Failure, None);
    }

    fn settle_serving(&mut self, now: UnixNanos) {
        self.await_next_timeout();
        let Stage::Serving(serving) = &self.stage else { return };
        if self.closing && serving.is_idle() {
            self.workers.clear();
            self.stop(now, ShutdownReason::Spindown, None);
        }
    }

    fn await_next_timeout(&mut self) {
        let Stage::Serving(serving) = &self.stage else { return };
        match serving.deadline() {
            Some(deadline) => drop(self.timers.insert(Timer::Invoke, deadline)),
            None => drop(self.timers.remove(&Timer::Invoke)),
        }
    }

    /// Of all that a report can hold, only how long it took and how long the response took.
    fn report_shared(
        &mut self,
        now: UnixNanos,
        one: &Shared,
        response: Option<Response>,
        status: Status,
        error_type: Option<Text>,
    ) {
        let spans: Vec<PlatformSpan> = response.map_or_else(Vec::new, |response| {
            vec![
                span(measured::RESPONSE_LATENCY, one.began, response.began),
                span(measured::RESPONSE_DURATION, response.began, response.ended),
            ]
        });
        let report = InvocationReport {
            request_id: one.invocation.request_id.clone(),
            status: Some(status),
            error_type,
            duration: now.since(one.began).into(),
            billed_ms: None,
            memory_size_mb: None,
            max_memory_used_mb: None,
            init_duration: None,
            restore_duration: None,
            spans,
            trace_header: one.invocation.trace_header.clone(),
            tenant_id: one.invocation.tenant_id.clone(),
        };
        self.record(now, Record::Report(report));
    }
}
