//! What passed, as the facts that a library would have told. Runs where the driver takes things from the inbox,
//! so that nobody waits for it. Whatever was there, a fact comes out: an event that cannot be read is still the
//! begin of an invocation.

use std::borrow::Cow;

use engine::{EndCall, Input, InvocationError, StartCall};
use hyper::header::HeaderValue;
use wire::lambda_headers::runtime as names;
use wire::lifecycle::{execution_status, status_code};
use wire::runtime_api::{RuntimeError, prelude};

use super::head::{Answer, Head, Seen};
use super::mend::mend;
use crate::sources::capture::{self, Capture};
use crate::sources::lifecycle;

/// Reads what passed as the settings say.
pub(crate) struct Reader {
    pub(crate) function: trigger::Function,
    pub(crate) settings: trigger::Settings,
    pub(crate) capture: Capture,
}

impl Reader {
    pub(crate) fn read(&self, seen: Seen) -> Input {
        match seen {
            Seen::Event { request_id, headers, body } => {
                let event = capture::parse(&whole(&body));
                let mut reading = lifecycle::read(&event, &headers, &self.function, &self.settings);
                if let Some(context) = text(headers.get(names::CLIENT_CONTEXT)) {
                    let context = capture::parse(context.as_bytes());
                    reading.adopt(trigger::client_context_found(&context, &self.settings), &self.settings);
                }
                self.capture.event(&mut reading, &event);
                Input::EventSeen(Box::new(StartCall { request_id: Some(request_id), reading }))
            }
            Seen::Answer(answer) => Input::AnswerSeen(Box::new(self.end(answer))),
        }
    }

    fn end(&self, answer: Answer) -> EndCall {
        let Answer { request_id, is_error, error_type, content_type, body } = answer;
        let kind = text(error_type.as_ref());
        let end = EndCall { request_id, ..EndCall::default() };
        if is_error {
            let error = RuntimeError::decode(&whole(&body), kind);
            return EndCall { error: Some(told(error)), ..end };
        }
        let response = prelude(text(content_type.as_ref()), &body.bytes);
        let response = response.map_or_else(|| whole(&body), Cow::Borrowed);
        let trailer = |name: &str| text(body.trailers.get(name));
        EndCall {
            http_status_code: status_code(&response),
            execution_status: execution_status(&response),
            error: RuntimeError::in_trailers(trailer(names::ERROR_TYPE), trailer(names::ERROR_BODY))
                .map(told),
            tags: self.capture.response(&response),
            ..end
        }
    }
}

/// A body's text, mended where it is cut.
fn whole(body: &Head) -> Cow<'_, [u8]> {
    let mended = body.is_cut.then(|| mend(&body.bytes)).flatten();
    mended.map_or(Cow::Borrowed(&body.bytes), Cow::Owned)
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

fn told(RuntimeError { message, kind, stack }: RuntimeError) -> InvocationError {
    InvocationError { message, kind, stack }
}
