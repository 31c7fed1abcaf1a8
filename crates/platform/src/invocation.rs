//! One invocation: the event goes out, the response comes back, the runtime and every agent that wanted the event
//! ask for the next one. The caller has its answer as soon as the response is there; time runs, and is billed,
//! until all have asked.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-invoke>

use std::sync::Arc;

use model::keys::measured;
use model::{InvocationReport, Millis, PlatformSpan, Record, RuntimeDone, Start, Status, Text, UnixNanos};

use crate::agent::AgentState;
use crate::io::{Answer, Body, CallId, Delivery, ErrorReport, Invocation, Reply};
use crate::machine::{Cause, Platform, Stage, Timer};
use crate::refusal::{MAX_PAYLOAD_BYTES, Refusal};
use crate::runtime::{self, RuntimeState};

/// The invocation that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) invocation: Invocation,
    /// When its time began: before a suppressed initialisation.
    pub(crate) began: UnixNanos,
    pub(crate) deadline: UnixNanos,
    /// When the event went out.
    pub(crate) released: Option<UnixNanos>,
    pub(crate) answered: bool,
    response: Option<Response>,
    status: Status,
    error_type: Option<Text>,
    runtime_done: Option<UnixNanos>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Response {
    pub(crate) began: UnixNanos,
    pub(crate) ended: UnixNanos,
    pub(crate) bytes: u64,
}

/// What the runtime said, judged.
pub(crate) struct Outcome {
    pub(crate) reply: Reply,
    pub(crate) answer: Answer,
    pub(crate) status: Status,
    pub(crate) error_type: Option<Text>,
    pub(crate) bytes: u64,
}

impl Live {
    pub(crate) fn new(began: UnixNanos, invocation: Invocation, deadline: UnixNanos) -> Self {
        Self {
            invocation,
            began,
            deadline,
            released: None,
            answered: false,
            response: None,
            status: Status::Success,
            error_type: None,
            runtime_done: None,
        }
    }

    fn delivery(&self) -> Delivery {
        Delivery { invocation: self.invocation.clone(), deadline: self.deadline }
    }
}

impl Platform {
    pub(crate) fn begin_invocation(&mut self, now: UnixNanos, invocation: Invocation) {
        self.thaw();
        let live = Live::new(now, invocation, now + self.config.timeout);
        self.timers.insert(Timer::Invoke, live.deadline);
        self.start_invocation(now, Box::new(live));
    }

    /// Gives the event to the agents, then to the runtime.
    pub(crate) fn start_invocation(&mut self, now: UnixNanos, mut live: Box<Live>) {
        self.record_start(now, &live.invocation);
        live.released = Some(now);
        let delivery = live.delivery();
        let mut calls = Vec::new();
        for agent in self.agents.iter_mut().filter(|a| a.wants_invoke && a.state == AgentState::Ready) {
            agent.state = AgentState::Running;
            calls.extend(agent.waiting.take());
        }
        for call in calls {
            self.reply(call, Reply::Invoke(delivery.clone()));
        }
        if let Some(runtime) = &mut self.runtime {
            runtime.state = RuntimeState::Running;
            if let Some(call) = runtime.waiting.take() {
                self.reply(call, Reply::Invocation(delivery));
            }
        }
        self.stage = Stage::Invoke(live);
    }

    pub(crate) fn record_start(&mut self, now: UnixNanos, invocation: &Invocation) {
        self.record(
            now,
            Record::Start(Start {
                request_id: invocation.request_id.clone(),
                version: Some(self.config.function_version.clone()),
                trace_header: invocation.trace_header.clone(),
                function_arn: self.managed_arn(),
                tenant_id: invocation.tenant_id.clone(),
            }),
        );
    }

    /// Records name the function where several share a machine.
    pub(crate) fn managed_arn(&self) -> Option<Text> {
        self.config.function_arn.clone().filter(|_| self.config.mode.is_managed())
    }

    pub(crate) fn runtime_next(&mut self, now: UnixNanos, call: CallId) {
        let Some(runtime) = &mut self.runtime else { return self.refuse(call, Refusal::internal()) };
        let Some(state) = runtime.state.next() else {
            let refusal = Refusal::runtime_transition(runtime.state.name(), RuntimeState::Ready.name());
            return self.refuse(call, refusal);
        };
        runtime.state = state;
        if self.config.mode.is_managed() {
            return self.worker_next(now, call);
        }
        if let (RuntimeState::Running, Stage::Invoke(live)) = (state, &self.stage) {
            let delivery = live.delivery();
            return self.reply(call, Reply::Invocation(delivery));
        }
        // Of two open calls the younger gets the event: the older one's client has most likely given up.
        if let Some(older) = runtime.waiting.replace(call) {
            self.refuse(older, Refusal::internal());
        }
        match self.stage {
            Stage::Init(_) => self.advance_init(now),
            Stage::Invoke(_) => self.advance_invocation(now),
            Stage::Restore(_) => self.advance_restore(now),
            Stage::Cold | Stage::Idle | Stage::Serving(_) | Stage::Stopping(_) | Stage::Gone => {}
        }
    }

    pub(crate) fn runtime_response(
        &mut self,
        now: UnixNanos,
        call: CallId,
        request_id: &str,
        attempt: Option<&str>,
        began: UnixNanos,
        body: Body,
    ) {
        let failed = |error_type: &'static str, message: String, refusal| Outcome {
            reply: Reply::Refused(refusal),
            answer: Answer::Failure { error_type: error_type.into(), message },
            status: Status::Error,
            error_type: Some(error_type.into()),
            bytes: 0,
        };
        let outcome = match body {
            Body::Whole(bytes) => Outcome {
                reply: Reply::Accepted,
                bytes: bytes.len() as u64,
                answer: Answer::Response(bytes),
                status: Status::Success,
                error_type: None,
            },
            Body::Streamed(bytes) => Outcome {
                reply: Reply::Accepted,
                bytes,
                answer: Answer::Response(Arc::from([])),
                status: Status::Success,
                error_type: None,
            },
            Body::TooLarge(n) => {
                let why = format!(
                    "Response payload size ({n} bytes) exceeded maximum allowed payload size \
                     ({MAX_PAYLOAD_BYTES} bytes)."
                );
                failed("Function.ResponseSizeTooLarge", why, Refusal::too_large())
            }
            Body::Truncated => {
                let why = format!("RequestId: {request_id} Error: Truncated response");
                failed("Runtime.TruncatedResponse", why, Refusal::truncated())
            }
            Body::UnknownMode => {
                let why = format!("RequestId: {request_id} Error: Invalid response mode header");
                failed("Runtime.InvalidResponseModeHeader", why, Refusal::invalid_response_mode())
            }
        };
        self.respond(now, call, (request_id, attempt), began, "InvocationResponse", outcome);
    }

    pub(crate) fn runtime_error(
        &mut self,
        now: UnixNanos,
        call: CallId,
        request_id: &str,
        attempt: Option<&str>,
        began: UnixNanos,
        report: ErrorReport,
    ) {
        let outcome = Outcome {
            reply: Reply::Accepted,
            status: Status::Error,
            error_type: Some(runtime::error_type(report.error_type.as_deref()).into()),
            bytes: report.body.len() as u64,
            answer: Answer::Error(report.body),
        };
        self.respond(now, call, (request_id, attempt), began, "InvocationErrorResponse", outcome);
    }

    /// The runtime's word on the invocation: the first counts, the id has to be right.
    fn respond(
        &mut self,
        now: UnixNanos,
        call: CallId,
        (request_id, attempt): (&str, Option<&str>),
        began: UnixNanos,
        to: &str,
        outcome: Outcome,
    ) {
        if self.config.mode.is_managed() {
            return self.respond_shared(now, call, (request_id, attempt), began, outcome);
        }
        let Stage::Invoke(live) = &mut self.stage else {
            return self.refuse(call, Refusal::invalid_request_id());
        };
        let invocation = &live.invocation;
        let right_attempt = attempt.is_none_or(|a| a == invocation.attempt);
        if invocation.request_id.as_str() != request_id || !right_attempt || live.runtime_done.is_some() {
            return self.refuse(call, Refusal::invalid_request_id());
        }
        let Some(runtime) = &mut self.runtime else { return self.refuse(call, Refusal::internal()) };
        let Some(state) = runtime.state.respond() else {
            let refusal = Refusal::runtime_transition(runtime.state.name(), to);
            return self.refuse(call, refusal);
        };
        runtime.state = state;
        live.response = Some(Response { began: began.min(now), ended: now, bytes: outcome.bytes });
        live.status = outcome.status;
        live.error_type = outcome.error_type;
        live.answered = true;
        let request_id = invocation.request_id.clone();
        self.reply(call, outcome.reply);
        self.answer(request_id, outcome.answer);
        self.advance_invocation(now);
    }

    /// Ends the invocation when all have asked for the next event.
    pub(crate) fn advance_invocation(&mut self, now: UnixNanos) {
        let Stage::Invoke(live) = &mut self.stage else { return };
        let asked = self.runtime.as_ref().is_some_and(|r| r.state == RuntimeState::Ready);
        if live.response.is_some() && live.runtime_done.is_none() && asked {
            live.runtime_done = Some(now);
            let record = runtime_done(now, live, live.status.clone(), live.error_type.clone());
            self.record(now, record);
        }
        let Stage::Invoke(live) = &self.stage else { return };
        let ready = self.agents.iter().all(|a| !a.wants_invoke || a.state == AgentState::Ready);
        if live.runtime_done.is_some() && ready {
            let Stage::Invoke(live) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
            self.timers.remove(&Timer::Invoke);
            let duration = now.since(live.began).into();
            let report = self.report(now, &live, duration, live.status.clone(), live.error_type.clone());
            self.record(now, Record::Report(report));
            self.pump(now);
        }
    }

    /// Answers the caller if nobody did and ends the environment; the report follows when it is gone.
    pub(crate) fn fail_invocation(&mut self, now: UnixNanos, mut live: Live, cause: &Cause) {
        self.timers.remove(&Timer::Invoke);
        if live.released.is_none() {
            self.record_start(now, &live.invocation);
            live.released = Some(now);
        }
        if !live.answered {
            let answer = self.failure(&live.invocation, cause);
            self.answer(live.invocation.request_id.clone(), answer);
            live.answered = true;
        }
        if live.runtime_done.is_none() {
            let record = runtime_done(now, &live, cause.status(), cause.error_type());
            self.record(now, record);
        }
        let duration = match cause {
            Cause::Timeout => self.config.timeout,
            Cause::Fatal(_) => now.since(live.began),
        };
        let report = self.report(now, &live, duration.into(), cause.status(), cause.error_type());
        self.suppress_init = true;
        self.stop(now, cause.shutdown_reason(), Some(Box::new(report)));
    }

    pub(crate) fn failure(&self, invocation: &Invocation, cause: &Cause) -> Answer {
        let id = &invocation.request_id;
        let (error_type, message) = match cause {
            Cause::Timeout => {
                let seconds = self.config.timeout.as_secs_f64();
                ("Sandbox.Timedout".into(), format!("Task timed out after {seconds:.2} seconds"))
            }
            Cause::Fatal(fatal) => match &fatal.body {
                Some(body) => return Answer::Error(body.clone()),
                None => (fatal.error_type.clone(), fatal.message.clone()),
            },
        };
        Answer::Failure { error_type, message: format!("RequestId: {id} Error: {message}") }
    }

    fn report(
        &mut self,
        now: UnixNanos,
        live: &Live,
        duration: Millis,
        status: Status,
        error_type: Option<Text>,
    ) -> InvocationReport {
        let init_duration = self.init_duration.take();
        // Since August 2025 the initialisation is billed for every kind of function.
        // https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        let billed = duration.get() + init_duration.unwrap_or_default().get();
        let overhead = live.runtime_done.filter(|_| self.agents.iter().any(|a| a.wants_invoke));
        let overhead = overhead.map(|start| span(measured::EXTENSION_OVERHEAD, start, now));
        InvocationReport {
            request_id: live.invocation.request_id.clone(),
            status: Some(status),
            error_type,
            duration,
            billed_ms: Some(billed.ceil() as u64),
            memory_size_mb: Some(self.config.memory_mb),
            max_memory_used_mb: Some(self.memory_used_mb),
            init_duration,
            restore_duration: self.restore_duration.take(),
            spans: overhead.into_iter().collect(),
            trace_header: live.invocation.trace_header.clone(),
            tenant_id: live.invocation.tenant_id.clone(),
        }
    }
}

fn runtime_done(now: UnixNanos, live: &Live, status: Status, error_type: Option<Text>) -> Record {
    let released = live.released.unwrap_or(live.began);
    let spans = live.response.map(|r| {
        vec![
            span(measured::RESPONSE_LATENCY, released, r.began),
            span(measured::RESPONSE_DURATION, r.began, r.ended),
            span(measured::RUNTIME_OVERHEAD, r.ended, now),
        ]
    });
    Record::RuntimeDone(RuntimeDone {
        request_id: live.invocation.request_id.clone(),
        status,
        error_type,
        duration: Some(now.since(released).into()),
        produced_bytes: live.response.map(|r| r.bytes),
        spans: spans.unwrap_or_default(),
        trace_header: live.invocation.trace_header.clone(),
        tenant_id: live.invocation.tenant_id.clone(),
    })
}

pub(crate) fn span(name: &'static str, start: UnixNanos, end: UnixNanos) -> PlatformSpan {
    PlatformSpan { name: name.into(), start, duration: end.since(start).into() }
}
