//! One invocation: a join of facts, each written once, in any order. What is derived from them, and when
//! that is possible, is said in `enhanced` and `root`.

use model::{InvocationReport, Millis, RequestId, RuntimeDone, Span, Status, Text, UnixNanos};
use trigger::Reading;

use crate::flush::CALL_GRACE;
use crate::io::{EndCall, InvocationError};

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
    pub(crate) done: Option<Done>,
    pub(crate) report: Option<Box<Reported>>,
    /// A tracer's tags for the span made here.
    pub(crate) placeholder: Option<Box<Span>>,
    /// When a tracer's own `aws.lambda` span came: the handler is over.
    pub(crate) root_seen: Option<UnixNanos>,
    /// A library counted an error: what Lambda calls a success too may be one (a 5xx answer).
    pub(crate) error_told: bool,
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
            done: None,
            report: None,
            placeholder: None,
            root_seen: None,
            error_told: false,
            out_of_memory: None,
            cut_off: None,
            given: Given::default(),
            changed: true,
        }
    }

    pub(crate) fn note_done(&mut self, at: UnixNanos, time: UnixNanos, done: RuntimeDone) {
        let RuntimeDone { status, error_type, duration, produced_bytes, .. } = done;
        if status == Status::Error && error_type.as_deref() == Some("Runtime.OutOfMemory") {
            self.out_of_memory.get_or_insert(time);
        }
        self.done.get_or_insert(Done { at, time, status, error_type, duration, produced_bytes });
    }

    pub(crate) fn note_report(&mut self, time: UnixNanos, report: InvocationReport) {
        let is_full = matches!((report.max_memory_used_mb, report.memory_size_mb), (Some(max), Some(size)) if max >= size);
        if is_full && report.status.as_ref().is_some_and(is_failure) {
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

    /// A library began to tell of this invocation and is not done.
    pub(crate) fn awaits_end_call(&self) -> bool {
        self.start_call.is_some() && self.end_call.is_none()
    }

    /// Someone told that the handler is over.
    pub(crate) fn is_over(&self) -> bool {
        self.done.is_some() || self.end_call.is_some() || self.root_seen.is_some() || self.report.is_some()
    }

    /// The runtime is done, and the library has told all it will. `silent`: Lambda tells nothing here, so
    /// the library's word is the last one.
    pub(crate) fn is_settled(&self, now: UnixNanos, silent: bool) -> bool {
        match &self.done {
            Some(done) => !self.awaits_end_call() || now >= done.at + CALL_GRACE,
            None => silent && self.end_call.is_some(),
        }
    }

    /// A library told of it.
    pub(crate) fn has_calls(&self) -> bool {
        self.start_call.is_some() || self.end_call.is_some()
    }

    /// Lets go of what only the span needed, once that is given.
    pub(crate) fn forget_details(&mut self) {
        self.placeholder = None;
        if let Some(reading) = &mut self.start_call {
            **reading = Reading { is_http: reading.is_http, ..Reading::default() };
        }
        if let Some((_, call)) = &mut self.end_call {
            call.context = None;
            call.error = call.error.take().map(|_| InvocationError::default());
        }
    }

    /// How Lambda says that it ended.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.done.as_ref().map(|done| &done.status).or(self.cut_off.as_ref())
    }

    /// The status code of a web response.
    pub(crate) fn http_status_code(&self) -> Option<u16> {
        let is_http = self.start_call.as_ref().is_none_or(|reading| reading.is_http);
        self.end_call.as_ref().filter(|_| is_http)?.1.http_status_code
    }

    /// Lambda, the library or the response says that it failed.
    pub(crate) fn is_error(&self) -> bool {
        self.status().is_some_and(is_failure)
            || self.end_call.as_ref().is_some_and(|(_, call)| call.error.is_some())
            || self.http_status_code().is_some_and(|code| (500..600).contains(&code))
    }
}

pub(crate) fn is_failure(status: &Status) -> bool {
    matches!(status, Status::Error | Status::Failure | Status::Timeout)
}
