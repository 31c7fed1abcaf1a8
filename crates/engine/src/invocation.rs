//! One invocation: a join of facts, each written once, in any order. What is derived from them, and when
//! that is possible, is said in `enhanced` and `root`.

use model::{
    InvocationReport, Millis, PlatformSpan, RequestId, RuntimeDone, Span, Status, Tags, Text, UnixNanos,
};
use trigger::{Kind, Reading};

use crate::adopt::Nest;
use crate::flush::CALL_GRACE;
use crate::io::{EndCall, InvocationError};

/// The type of the error of a runtime that had no memory left.
const OUT_OF_MEMORY: &str = "Runtime.OutOfMemory";

#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) request_id: RequestId,
    /// The first that this sandbox was given.
    pub(crate) is_first: bool,
    /// It ended before this process was: its last records were left for us.
    pub(crate) is_foreign: bool,
    /// When INVOKE came.
    pub(crate) invoked: Option<UnixNanos>,
    /// `platform.start`, at its own time.
    pub(crate) started: Option<UnixNanos>,
    pub(crate) start_call: Option<Box<Reading>>,
    /// With when it came.
    pub(crate) end_call: Option<(UnixNanos, Box<EndCall>)>,
    /// What the Runtime API proxy saw: the event, the answer and when it was taken.
    pub(crate) event_seen: Option<Box<Reading>>,
    pub(crate) answer_seen: Option<(UnixNanos, Box<EndCall>)>,
    /// Where a tracer's spans go that knows nothing of Lambda.
    pub(crate) nest: Option<Nest>,
    pub(crate) done: Option<Done>,
    pub(crate) report: Option<Box<Reported>>,
    /// A tracer's tags for the span made here.
    pub(crate) placeholder: Option<Box<Span>>,
    /// When a tracer's own `aws.lambda` span came: the handler is over.
    pub(crate) root_seen: Option<UnixNanos>,
    /// A library counted an error: what Lambda calls a success too may be one (a 5xx answer).
    pub(crate) error_told: bool,
    /// What the kernel told of its time, until that is given.
    pub(crate) usage: Vec<(&'static str, f64)>,
    /// The first sign that memory ran out, at its own time.
    pub(crate) out_of_memory: Option<UnixNanos>,
    /// How it ended, where SHUTDOWN tells so and no record did.
    pub(crate) cut_off: Option<Status>,
    pub(crate) given: Given,
    /// Facts came since what they give was last looked at.
    pub(crate) changed: bool,
}

/// `platform.runtimeDone`
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// When it came.
    pub(crate) at: UnixNanos,
    pub(crate) time: UnixNanos,
    pub(crate) status: Status,
    pub(crate) error_type: Option<Text>,
    pub(crate) duration: Option<Millis>,
    pub(crate) produced_bytes: Option<u64>,
    pub(crate) spans: Vec<PlatformSpan>,
}

/// `platform.report`
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub(crate) time: UnixNanos,
    pub(crate) report: InvocationReport,
}

/// What was derived already: each is given once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) invocations: bool,
    pub(crate) errors: bool,
    pub(crate) timeouts: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) runtime: bool,
    pub(crate) response: bool,
    pub(crate) report: bool,
    pub(crate) post_runtime: bool,
    pub(crate) root: bool,
}

impl Invocation {
    pub(crate) fn new(request_id: RequestId) -> Self {
        Self {
            request_id,
            is_first: false,
            is_foreign: false,
            invoked: None,
            started: None,
            start_call: None,
            end_call: None,
            event_seen: None,
            answer_seen: None,
            nest: None,
            done: None,
            report: None,
            placeholder: None,
            root_seen: None,
            error_told: false,
            usage: Vec::new(),
            out_of_memory: None,
            cut_off: None,
            given: Given::default(),
            changed: true,
        }
    }

    pub(crate) fn note_done(&mut self, at: UnixNanos, time: UnixNanos, done: RuntimeDone) {
        let RuntimeDone { status, error_type, duration, produced_bytes, spans, .. } = done;
        if is_failure(&status) && error_type.as_deref() == Some(OUT_OF_MEMORY) {
            self.out_of_memory.get_or_insert(time);
        }
        self.done.get_or_insert(Done { at, time, status, error_type, duration, produced_bytes, spans });
    }

    pub(crate) fn note_report(&mut self, time: UnixNanos, report: InvocationReport) {
        let is_full = matches!((report.max_memory_used_mb, report.memory_size_mb), (Some(max), Some(size)) if max >= size);
        // Whatever Lambda calls it: where memory is short, the time runs out too.
        let is_told = report.error_type.as_deref() == Some(OUT_OF_MEMORY);
        if (is_full || is_told) && report.status.as_ref().is_some_and(is_failure) {
            self.out_of_memory.get_or_insert(time);
        }
        self.report.get_or_insert_with(|| Box::new(Reported { time, report }));
    }

    /// Keeps the first of what was told of one thing.
    pub(crate) fn note_start_call(&mut self, reading: Reading) {
        self.start_call.get_or_insert_with(|| Box::new(reading));
    }

    pub(crate) fn note_end_call(&mut self, at: UnixNanos, call: EndCall) {
        self.end_call.get_or_insert_with(|| (at, Box::new(call)));
    }

    pub(crate) fn note_event(&mut self, reading: Reading) {
        self.event_seen.get_or_insert_with(|| Box::new(reading));
    }

    pub(crate) fn note_answer(&mut self, at: UnixNanos, call: EndCall) {
        self.answer_seen.get_or_insert_with(|| (at, Box::new(call)));
    }

    /// What the event means: in the words of the library, else as the proxy read it.
    pub(crate) fn reading(&self) -> Option<&Reading> {
        self.start_call.as_deref().or(self.event_seen.as_deref())
    }

    /// When the handler was said to be over: by the library, else by its answer.
    pub(crate) fn answered(&self) -> Option<UnixNanos> {
        self.end_call.as_ref().or(self.answer_seen.as_ref()).map(|(at, _)| *at)
    }

    /// How the handler ended: what the library tells, then what its answer tells.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &EndCall> {
        [&self.end_call, &self.answer_seen].into_iter().flatten().map(|(_, call)| &**call)
    }

    /// A library began to tell of this invocation and is not done, or nobody but the proxy tells and it has not
    /// seen the answer.
    pub(crate) fn awaits_end_call(&self) -> bool {
        match (&self.start_call, &self.event_seen) {
            (Some(_), _) => self.end_call.is_none(),
            (None, Some(_)) => self.ends().next().is_none(),
            (None, None) => false,
        }
    }

    /// Someone told that the handler is over.
    pub(crate) fn is_over(&self) -> bool {
        let answered = self.answered().or(self.root_seen);
        self.done.is_some() || answered.is_some() || self.report.is_some()
    }

    /// The runtime is done, and the library has told all it will. `silent`: Lambda tells nothing here, so
    /// the library's word is the last one.
    pub(crate) fn is_settled(&self, now: UnixNanos, silent: bool) -> bool {
        match &self.done {
            Some(done) => !self.awaits_end_call() || now >= done.at + CALL_GRACE,
            None => silent && self.answered().is_some(),
        }
    }

    /// A library told of it, or the proxy did.
    pub(crate) fn has_calls(&self) -> bool {
        self.reading().is_some() || self.answered().is_some()
    }

    /// The proxy alone told of it, and the function's own tracer has sent the span.
    pub(crate) fn has_span_of_its_own(&self) -> bool {
        self.root_seen.is_some() && self.start_call.is_none() && self.end_call.is_none()
    }

    /// Lets go of what only the span needed, once that is given.
    pub(crate) fn forget_details(&mut self) {
        self.placeholder = None;
        for reading in [&mut self.start_call, &mut self.event_seen].into_iter().flatten() {
            **reading = Reading { is_http: reading.is_http, kind: reading.kind, ..Reading::default() };
        }
        for (_, call) in [&mut self.end_call, &mut self.answer_seen].into_iter().flatten() {
            call.context = None;
            call.tags = Tags::new();
            call.error = call.error.take().map(|_| InvocationError::default());
        }
    }

    /// How Lambda says that it ended: at its end, else in its report, else when the sandbox ended.
    pub(crate) fn status(&self) -> Option<&Status> {
        let reported = || self.report.as_ref().and_then(|reported| reported.report.status.as_ref());
        self.done.as_ref().map(|done| &done.status).or_else(reported).or(self.cut_off.as_ref())
    }

    /// The status code of a web response.
    pub(crate) fn http_status_code(&self) -> Option<u16> {
        let is_http = self.reading().is_none_or(|reading| reading.is_http);
        self.ends().filter(|_| is_http).find_map(|call| call.http_status_code)
    }

    /// What became of the durable execution that it is a part of, by its answer.
    pub(crate) fn execution_status(&self) -> Option<&'static str> {
        let is_durable = self.reading().is_some_and(|reading| reading.kind == Kind::Durable);
        self.ends().filter(|_| is_durable).find_map(|call| call.execution_status)
    }

    /// Lambda, the library or the response says that it failed.
    pub(crate) fn is_error(&self) -> bool {
        self.status().is_some_and(is_failure)
            || self.ends().any(|call| call.error.is_some())
            || self.http_status_code().is_some_and(|code| (500..600).contains(&code))
    }
}

pub(crate) fn is_failure(status: &Status) -> bool {
    matches!(status, Status::Error | Status::Failure | Status::Timeout)
}
