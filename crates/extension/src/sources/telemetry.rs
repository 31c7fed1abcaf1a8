//! Deliveries of the Telemetry API: platform records and the function's log lines.
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html>

use std::rc::Rc;

use engine::{Dropped, Input};
use hyper::body::Incoming;
use hyper::{Method, Request};
use model::Record;

use crate::inbox::Inbox;
use crate::log::{self, Level};
use crate::sources::http::{Answer, BodyError, Source, not_found, ok, read_body};

/// Many times what a subscription's buffer makes a delivery be.
const MAX_BODY: usize = 16 << 20;

pub(crate) struct Telemetry {
    inbox: Rc<Inbox>,
}

impl Telemetry {
    pub(crate) fn new(inbox: Rc<Inbox>) -> Self {
        Self { inbox }
    }
}

impl Source for Telemetry {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != "/" || request.method() != Method::POST {
            return not_found();
        }
        match read_body(request.into_body(), MAX_BODY, &self.inbox).await {
            Ok(body) => {
                if !self.inbox.offer_telemetry(body.clone()) {
                    self.keep_platform_records(&body);
                }
                ok()
            }
            Err(error) => {
                if error != BodyError::Broken {
                    self.inbox.count(Dropped::Records, 1);
                }
                error.answer()
            }
        }
    }
}

impl Telemetry {
    /// There is no room: log lines are left out, what decides about phases is not.
    fn keep_platform_records(&self, body: &[u8]) {
        let Some(Input::Telemetry(mut records)) = decode(body, &self.inbox) else { return };
        let all = records.len();
        records.retain(|r| !matches!(r.record, Record::FunctionLog(_) | Record::ExtensionLog(_)));
        let kept = records.len();
        let is_taken = kept == 0 || self.inbox.offer(Input::Telemetry(records));
        let lost = if is_taken { all - kept } else { all };
        self.inbox.count(Dropped::Records, lost as u64);
    }
}

/// Reads a delivery; what cannot be read is counted.
pub(crate) fn decode(body: &[u8], inbox: &Inbox) -> Option<Input> {
    let (records, lost) = match wire::telemetry::decode(body) {
        Ok(batch) => (batch.records, batch.malformed),
        Err(_) => (Vec::new(), 1),
    };
    if lost > 0 {
        inbox.count(Dropped::Records, lost);
        log::seldom(Level::Warn, "telemetry", format_args!("{lost} telemetry records could not be read"));
    }
    (!records.is_empty()).then_some(Input::Telemetry(records))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::inbox::Arrival;

    /// A flood of lines costs lines: what decides about phases is never among what is left out.
    #[test]
    fn without_room_lines_are_left_out_and_records_stay() {
        let inbox = Rc::new(Inbox::new(60));
        let telemetry = Telemetry::new(inbox.clone());
        assert!(inbox.offer_telemetry(Bytes::from_static(b"[]")));
        let time = "2024-07-30T19:55:53.018Z";
        let done = r#"{"requestId":"r1","status":"success"}"#;
        let line = format!(r#"{{"time":"{time}","type":"function","record":"a line"}}"#);
        let record = format!(r#"{{"time":"{time}","type":"platform.runtimeDone","record":{done}}}"#);
        let body = format!("[{line},{record},{line}]");
        assert!(!inbox.offer_telemetry(Bytes::from(body.clone())));
        telemetry.keep_platform_records(body.as_bytes());
        assert!(matches!(inbox.take(false), Some(Arrival::Telemetry(_))));
        let Some(Arrival::Fact(Input::Telemetry(records))) = inbox.take(false) else { panic!("no records") };
        assert!(matches!(records.as_slice(), [one] if matches!(one.record, Record::RuntimeDone(_))));
        assert_eq!(inbox.take_dropped(), Some(Input::Dropped { what: Dropped::Records, count: 2 }));
    }
}
