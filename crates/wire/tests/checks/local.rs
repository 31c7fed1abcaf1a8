//! What holds of the calls that Lambda, runtimes and libraries make, whatever they say.

use model::LogLine;
use wire::extensions::{ErrorBody, NextEvent, RegisterRequest, RegisterResponse, Subscription};
use wire::lifecycle::{EndHeaders, StartAnswer, StartHeaders, status_code};
use wire::runtime_api::{RuntimeError, prelude};
use wire::telemetry::TelemetryBatch;

/// Bytes of a text that a span gets of an error.
const MAX_TEXT: usize = 16 << 10;

/// Headers of a start or an end call, one a line, an empty line, and the body.
pub(crate) fn lifecycle(call: &[u8]) {
    let (headers, body) = head_and_body(call);
    let headers = || headers.iter().copied();
    let start = StartHeaders::read(headers());
    assert_eq!(StartHeaders::read(refs(&start.write())), start);
    let end = EndHeaders::read(headers());
    assert_eq!(EndHeaders::read(refs(&end.write())), end);
    if let Some(answer) = StartAnswer::read(headers()) {
        assert_eq!(StartAnswer::read(refs(&answer.write())), Some(answer));
    }
    assert!(status_code(body).is_none_or(|code| (100..1000).contains(&code)));
}

/// The same of what a runtime posts: the first two headers are what it says in trailers.
pub(crate) fn runtime_api(call: &[u8]) {
    let (headers, body) = head_and_body(call);
    let said = |at: usize| headers.get(at).map(|(_, value)| *value);
    let short = |error: &RuntimeError| {
        assert!([&error.message, &error.kind, &error.stack].iter().all(|text| text.len() <= MAX_TEXT));
    };
    short(&RuntimeError::decode(body, said(0)));
    let behind = RuntimeError::in_trailers(said(0), said(1));
    assert_eq!(behind.is_some(), !headers.is_empty());
    behind.iter().for_each(short);
    let head = prelude(said(0), body);
    assert!(head.is_none_or(|head| body.starts_with(head) && !head.contains(&0)));
}

/// A delivery of the Telemetry API: what is read of it is written so that the same is read.
pub(crate) fn telemetry(body: &[u8]) {
    let Ok(batch) = wire::telemetry::decode(body) else { return };
    let json = |record: &model::TelemetryRecord| {
        let (model::Record::FunctionLog(line) | model::Record::ExtensionLog(line)) = &record.record else {
            return true;
        };
        !matches!(line, LogLine::Json(text) if serde_json::from_str::<serde_json::Value>(text).is_err())
    };
    assert!(batch.records.iter().all(json));
    let written = wire::telemetry::encode(&batch.records);
    let again = wire::telemetry::decode(&written).unwrap();
    assert_eq!((again.malformed, again.records.len()), (0, batch.records.len()));
    // Times are written in milliseconds: once written, nothing changes any more.
    let TelemetryBatch { records, .. } = again;
    assert_eq!(wire::telemetry::decode(&wire::telemetry::encode(&records)).unwrap().records, records);
}

/// Each message of the Extensions API.
pub(crate) fn extensions(body: &[u8]) {
    if let Ok(event) = NextEvent::decode(body) {
        // No deadline is written as one that is far away: once written, nothing changes any more.
        let event = NextEvent::decode(&event.encode()).unwrap();
        assert_eq!(NextEvent::decode(&event.encode()).as_ref(), Ok(&event));
    }
    if let Ok(request) = RegisterRequest::decode(body) {
        assert_eq!(RegisterRequest::decode(&request.encode()).as_ref(), Ok(&request));
    }
    if let Ok(response) = RegisterResponse::decode(body) {
        assert_eq!(RegisterResponse::decode(&response.encode()).as_ref(), Ok(&response));
    }
    if let Ok(subscription) = Subscription::decode(body) {
        assert_eq!(Subscription::decode(&subscription.encode()).as_ref(), Ok(&subscription));
    }
    if let Ok(error) = ErrorBody::decode(body) {
        assert_eq!(ErrorBody::decode(&error.encode()).as_ref(), Ok(&error));
    }
}

pub(crate) fn dogstatsd(datagram: &[u8]) {
    let parsed = wire::dogstatsd::parse_datagram(datagram);
    let lines = datagram.split(|b| *b == b'\n').count() as u64;
    let all = parsed.metrics.len() + parsed.events.len() + parsed.checks.len();
    assert!(all as u64 + parsed.dropped <= lines);
    for metric in &parsed.metrics {
        assert!(!metric.name.is_empty() && metric.sample_rate > 0.0 && metric.sample_rate <= 1.0);
        let again = wire::dogstatsd::parse_datagram(wire::dogstatsd::format(metric).as_bytes());
        let values = again.metrics.iter().map(|metric| metric.values.len()).sum::<usize>();
        assert_eq!((values, again.dropped), (metric.values.len(), 0), "{metric:?}");
    }
}

fn head_and_body(call: &[u8]) -> (Vec<(&str, &str)>, &[u8]) {
    let end = call.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((call, &[][..]), |end| (&call[..end], &call[end + 2..]));
    let head = std::str::from_utf8(head).unwrap_or_default();
    // As HTTP lets headers be.
    let visible = |line: &&str| line.chars().all(|c| (' '..='~').contains(&c));
    (head.lines().filter(visible).filter_map(|line| line.split_once(':')).collect(), body)
}

fn refs<'h>(headers: &'h [(&'static str, String)]) -> impl Iterator<Item = (&'h str, &'h str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str()))
}
