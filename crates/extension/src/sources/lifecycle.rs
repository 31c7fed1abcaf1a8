//! The calls by which a library tells how an invocation begins and ends. The answer to a start call needs
//! the meaning of the event, which is pure: it is worked out here, and the engine gets the same as a fact.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use engine::{EndCall, Input, InvocationError, StartCall};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response};
use propagation::{Carrier, Style};
use serde_json::Value;
use trigger::{Function, Reading, Settings};
use wire::lifecycle::{
    END_PATH, EndHeaders, HELLO_PATH, START_PATH, StartAnswer, StartHeaders, execution_status, status_code,
};

use crate::inbox::Inbox;
use crate::log::{self, Level};
use crate::sources::capture::{self, Capture};
use crate::sources::http::{Answer, BodyError, Source, not_found, ok, read_body};

/// Lambda's limit for requests and responses, and some room.
const MAX_BODY: usize = (6 << 20) + (64 << 10);

/// Libraries call it in tests, to have what is there sent at once; answered when that has begun.
const FLUSH_PATH: &str = "/lambda/flush";

pub(crate) struct Lifecycle {
    inbox: Rc<Inbox>,
    function: Function,
    settings: Settings,
    capture: Capture,
}

impl Lifecycle {
    pub(crate) fn new(inbox: Rc<Inbox>, function: Function, settings: Settings, capture: Capture) -> Self {
        Self { inbox, function, settings, capture }
    }
}

impl Source for Lifecycle {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        match (head.uri.path(), &head.method) {
            (HELLO_PATH, &Method::GET) => ok(),
            (FLUSH_PATH, _) => {
                self.tell(Input::Flush);
                ok()
            }
            (START_PATH, &Method::POST) => {
                let (body, refusal) = taken(read_body(body, MAX_BODY, &self.inbox).await);
                let answer = self.start(&head.headers, &body);
                refusal.unwrap_or(answer)
            }
            (END_PATH, &Method::POST) => {
                let (body, refusal) = taken(read_body(body, MAX_BODY, &self.inbox).await);
                let tags = self.capture.response(&body);
                self.tell(Input::EndCall(Box::new(EndCall { tags, ..end(&head.headers, &body) })));
                refusal.unwrap_or_else(ok)
            }
            _ => not_found(),
        }
    }
}

impl Lifecycle {
    fn start(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let event = capture::parse(body);
        let mut reading = read(&event, headers, &self.function, &self.settings);
        let mut answer = ok();
        if let Some(parent) = &reading.parent {
            write(&mut answer, &StartAnswer { trace_id: parent.trace_id, priority: parent.priority });
        }
        self.capture.event(&mut reading, &event);
        let StartHeaders { request_id } = StartHeaders::read(texts(headers));
        self.tell(Input::StartCall(Box::new(StartCall { request_id, reading })));
        answer
    }

    fn tell(&self, fact: Input) {
        if !self.inbox.offer(fact) {
            log::seldom(
                Level::Warn,
                "lifecycle",
                format_args!("too many start and end calls at once; some were left out"),
            );
        }
    }
}

/// The body, empty if there is none: headers alone say much. And the refusal to answer with, if any.
fn taken(body: Result<Bytes, BodyError>) -> (Bytes, Option<Answer>) {
    match body {
        Ok(body) => (body, None),
        Err(error) => {
            // A library that was frozen while it sent: it happens, and nobody can do anything about it.
            let level = if error == BodyError::Broken { Level::Debug } else { Level::Warn };
            log::seldom(
                level,
                "lifecycle-body",
                format_args!("the body of a lifecycle call could not be read: {error:?}"),
            );
            (Bytes::new(), Some(error.answer()))
        }
    }
}

/// What the event says; what its carriers do not say, the headers of the call may.
pub(crate) fn read(event: &Value, headers: &HeaderMap, function: &Function, settings: &Settings) -> Reading {
    let mut reading = trigger::read(event, function, settings);
    if reading.parent.is_none() {
        reading.adopt(trigger::context_in(&Headers(headers), settings), settings);
    }
    reading
}

fn end(headers: &HeaderMap, body: &[u8]) -> EndCall {
    let EndHeaders { request_id, span_id, error } = EndHeaders::read(texts(headers));
    EndCall {
        request_id,
        context: propagation::extract(&Headers(headers), &[Style::Datadog]),
        span_id,
        http_status_code: status_code(body),
        error: error.map(|e| InvocationError { message: e.message, kind: e.kind, stack: e.stack }),
        execution_status: execution_status(body),
        ..EndCall::default()
    }
}

fn write(answer: &mut Response<Full<Bytes>>, start: &StartAnswer) {
    for (name, value) in start.write() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    }
}

/// Headers with values that are text; others mean nothing here.
fn texts(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

struct Headers<'a>(&'a HeaderMap);

impl Carrier for Headers<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name)?.to_str().ok().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use model::{RequestId, SpanId};

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_event_says_more_than_the_headers() {
        let check = |event: Value, want: Option<u64>| {
            let headers = headers(&[("x-datadog-trace-id", "5"), ("x-datadog-parent-id", "6")]);
            let reading = read(&event, &headers, &Function::default(), &Settings::default());
            assert_eq!(reading.parent.map(|p| p.trace_id.low()), want, "{event}");
        };
        check(Value::Null, Some(5));
        check(
            serde_json::json!({"headers": {"X-Datadog-Trace-Id": "7", "X-Datadog-Parent-Id": "8"}}),
            Some(7),
        );
    }

    #[test]
    fn headers_of_the_call_keep_to_the_settings() {
        let restart = Settings { extract_behavior: propagation::Behavior::Restart, ..Settings::default() };
        let headers = headers(&[("x-datadog-trace-id", "5"), ("x-datadog-parent-id", "6")]);
        let reading = read(&Value::Null, &headers, &Function::default(), &restart);
        assert_eq!(reading.parent, None);
        let linked: Vec<_> = reading.links.iter().filter_map(|link| Some(link.trace_id?.low())).collect();
        assert_eq!(linked, [5]);
    }

    #[test]
    fn an_end_call() {
        let headers = headers(&[
            ("x-datadog-trace-id", "5"),
            ("x-datadog-parent-id", "6"),
            ("x-datadog-span-id", "9"),
            ("x-datadog-invocation-error", "true"),
            ("x-datadog-invocation-error-type", "Kaputt"),
            ("lambda-runtime-aws-request-id", "r-1"),
        ]);
        let call = end(&headers, br#"{"statusCode": 502}"#);
        assert_eq!(call.request_id.as_ref().map(RequestId::as_str), Some("r-1"));
        assert_eq!(call.span_id.map(SpanId::get), Some(9));
        assert_eq!(call.context.map(|c| c.trace_id.low()), Some(5));
        assert_eq!(call.http_status_code, Some(502));
        assert_eq!(call.error.map(|e| e.kind.into_owned()).as_deref(), Some("Kaputt"));
    }
}
