//! The trace context in what a call sends: which operations have a place for it, and the edit of the serialised
//! request that puts it there. One file per service, each with the functions of its rows.
//!
//! An edit is all or nothing, and none when in doubt: a protocol, a shape or a checksum that is not known here, a
//! size or a number that would go over what the service takes.

use std::borrow::Cow;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use model::keys::headers::PATHWAY;
use streams::Edge;

use crate::carrier::{Carrier, Headers};
use crate::data_streams::{Flow, Passed};
use crate::json_text::{Edit, Object, edited};

mod eventbridge;
mod form;
mod kinesis;
pub(crate) mod lambda;
mod sns;
mod sqs;
mod step_functions;

/// An operation that has a place for the context.
#[derive(Debug)]
pub(crate) struct Injection {
    /// As the SDK names it.
    pub(crate) service: &'static str,
    pub(crate) operation: &'static str,
    /// Where the context goes, in words. Read by the page of what is compatible with what.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) place: &'static str,
    wire: Wire,
}

/// What the request looks like, and the edit of it.
#[derive(Clone, Copy, Debug)]
enum Wire {
    /// AWS JSON: `X-Amz-Target` is this and the operation.
    Json(&'static str, for<'a> fn(&Object<'a>, &Told) -> Option<Vec<Edit<'a>>>),
    /// The query protocol: a form with `Action`.
    Form(fn(&str, &Told) -> Option<String>),
    /// A header, beside a body that is the user's.
    Header(fn(&mut HttpRequest, &Told)),
}

pub(crate) const INJECTIONS: &[Injection] = &[
    row("SQS", "SendMessage", "`MessageAttributes._datadog` (String)", Wire::Json("AmazonSQS", sqs::message)),
    row(
        "SQS",
        "SendMessageBatch",
        "`MessageAttributes._datadog` (String) of each entry",
        Wire::Json("AmazonSQS", sqs::batch),
    ),
    row(
        "SQS",
        "ReceiveMessage",
        "asked for: `_datadog` in `MessageAttributeNames`",
        Wire::Json("AmazonSQS", sqs::receive),
    ),
    row("SNS", "Publish", "`MessageAttributes._datadog` (Binary)", Wire::Form(sns::publish)),
    row("SNS", "PublishBatch", "`MessageAttributes._datadog` (Binary) of each entry", Wire::Form(sns::batch)),
    row(
        "EventBridge",
        "PutEvents",
        "`_datadog` in the `Detail` of each entry",
        Wire::Json("AWSEvents", eventbridge::put_events),
    ),
    row(
        "Kinesis",
        "PutRecord",
        "`_datadog` in `Data` that is a JSON object",
        Wire::Json("Kinesis_20131202", kinesis::record),
    ),
    row(
        "Kinesis",
        "PutRecords",
        "`_datadog` in each `Data` that is a JSON object",
        Wire::Json("Kinesis_20131202", kinesis::records),
    ),
    row("Lambda", "Invoke", "`custom` of the client context", Wire::Header(lambda::invoke)),
    row("Lambda", "InvokeWithResponseStream", "`custom` of the client context", Wire::Header(lambda::invoke)),
    row(
        "SFN",
        "StartExecution",
        "`_datadog` in `input`, unless the execution is named",
        Wire::Json("AWSStepFunctions", step_functions::start),
    ),
    row(
        "SFN",
        "StartSyncExecution",
        "`_datadog` in `input`",
        Wire::Json("AWSStepFunctions", step_functions::start_sync),
    ),
];

const fn row(service: &'static str, operation: &'static str, place: &'static str, wire: Wire) -> Injection {
    Injection { service, operation, place, wire }
}

/// What a request is to be told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) carrier: Carrier,
    /// The carrier as JSON: all of it, and the ids alone.
    texts: [String; 2],
    /// Milliseconds since 1970.
    now: u128,
    /// Where pathways of messages are monitored.
    flow: Option<Flow>,
}

impl Told {
    pub(crate) fn new(carrier: Carrier, now: u128) -> Self {
        let texts = carrier.texts();
        Self { carrier, texts, now, flow: None }
    }

    pub(crate) fn along(self, flow: Option<Flow>) -> Self {
        Self { flow, ..self }
    }

    /// What went along pathways, to be counted once the call has succeeded.
    pub(crate) fn passed(self) -> Option<Passed> {
        self.flow.map(Flow::passed)
    }

    /// The pathway that a message carries, where they are monitored. Asked for once for each message, as it counts.
    fn pathway(&self, passes: impl FnOnce() -> (Edge, usize)) -> Option<String> {
        self.flow.as_ref().map(|flow| {
            let (edge, size) = passes();
            flow.pass(edge, size)
        })
    }

    /// What a message may be told, the fullest first. It is the context that counts most.
    fn texts(&self, pathway: Option<&str>) -> Cow<'_, [String]> {
        let Some(pathway) = pathway else { return Cow::Borrowed(&self.texts) };
        let with = |text: &String| match text.strip_suffix('}') {
            Some("{") | None => format!("{{\"{PATHWAY}\":\"{pathway}\"}}"),
            Some(open) => format!("{open},\"{PATHWAY}\":\"{pathway}\"}}"),
        };
        let mut texts: Vec<String> = self.texts.iter().map(with).collect();
        texts.extend(self.texts.get(1).filter(|ids| *ids != "{}").cloned());
        Cow::Owned(texts)
    }

    /// The same, not written yet.
    fn carriers(&self, pathway: Option<&str>) -> Vec<Cow<'_, Headers>> {
        let [all, ids] = [&self.carrier.all, &self.carrier.ids];
        let Some(pathway) = pathway else { return vec![Cow::Borrowed(all), Cow::Borrowed(ids)] };
        let with = |headers: &Headers| {
            let mut headers = headers.clone();
            headers.insert(PATHWAY.to_owned(), pathway.to_owned());
            Cow::Owned(headers)
        };
        [with(all), with(ids)].into_iter().chain((!ids.is_empty()).then_some(Cow::Borrowed(ids))).collect()
    }
}

impl Injection {
    pub(crate) fn of(service: &str, operation: &str) -> Option<&'static Self> {
        INJECTIONS.iter().find(|row| row.operation == operation && row.service == service)
    }

    /// Whether it is about messages, which have pathways.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.service, "SQS" | "SNS" | "Kinesis" | "EventBridge")
    }

    /// Edits a request that is serialised and not yet signed.
    pub(crate) fn apply(&self, request: &mut HttpRequest, told: &Told) {
        let body = match self.wire {
            Wire::Header(edit) => return edit(request, told),
            Wire::Json(target, edit) => {
                let text = json_body(request, target, self.operation);
                text.and_then(|text| edited(text, edit(&Object::parse(text)?, told)?))
            }
            Wire::Form(edit) => form_body(request, self.operation).and_then(|text| edit(text, told)),
        };
        if let Some(body) = body {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = SdkBody::from(body);
        }
    }
}

/// The body of a request in AWS JSON, if it is one of that operation.
/// <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>
pub(crate) fn json_body<'a>(request: &'a HttpRequest, target: &str, operation: &str) -> Option<&'a str> {
    let (named, of) = request.headers().get("x-amz-target")?.split_once('.')?;
    let is_it = named == target && of == operation && content_type(request, "application/x-amz-json-1.");
    is_it.then(|| plain_body(request)).flatten()
}

/// The body of a request in the query protocol. <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>
pub(crate) fn form_body<'a>(request: &'a HttpRequest, operation: &str) -> Option<&'a str> {
    let text = content_type(request, "application/x-www-form-urlencoded").then(|| plain_body(request))??;
    let action = text.strip_prefix("Action=")?.split('&').next()?;
    (action == operation).then_some(text)
}

fn content_type(request: &HttpRequest, start: &str) -> bool {
    request.headers().get("content-type").is_some_and(|given| given.starts_with(start))
}

/// A body that is in memory, as it is, and that no other header speaks for.
fn plain_body(request: &HttpRequest) -> Option<&str> {
    let speaks_for = |name: &str| {
        matches!(name, "content-encoding" | "content-md5" | "x-amz-content-sha256" | "x-amz-trailer")
            || name.starts_with("x-amz-checksum-")
    };
    if request.headers().iter().any(|(name, _)| speaks_for(name)) {
        return None;
    }
    std::str::from_utf8(request.body().bytes()?).ok()
}

/// What may still be added to a request. `exact` tells what it weighs by the service's own rules. A serialised
/// request weighs no less, so most need not be weighed: that is `length`.
fn room(limit: usize, length: usize, exact: impl FnOnce() -> Option<usize>) -> Option<usize> {
    /// More than carriers take.
    const PLENTY: usize = 64 * 1024;

    limit.checked_sub(length).filter(|room| *room >= PLENTY).or_else(|| limit.checked_sub(exact()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::carrier::Headers;

    pub(crate) fn told() -> Told {
        told_more(0)
    }

    /// A carrier whose full text is that much longer than the ids alone.
    pub(crate) fn told_more(more: usize) -> Told {
        let ids: Headers = [("x-datadog-trace-id".to_owned(), "1".to_owned())].into();
        let mut all = ids.clone();
        all.insert("baggage".to_owned(), "x".repeat(more));
        Told::new(Carrier { all, ids }, 1_700_000_000_000)
    }

    pub(crate) fn json(edit: for<'a> fn(&Object<'a>, &Told) -> Option<Vec<Edit<'a>>>, body: &str) -> String {
        let object = Object::parse(body).unwrap();
        edit(&object, &told()).and_then(|edits| edited(body, edits)).unwrap_or_else(|| "untouched".to_owned())
    }

    fn request(headers: &[(&'static str, &'static str)], body: &'static str) -> HttpRequest {
        let mut request = HttpRequest::new(SdkBody::from(body));
        for (name, value) in headers {
            request.headers_mut().insert(*name, *value);
        }
        request
    }

    fn after(service: &str, operation: &str, mut request: HttpRequest) -> (String, Option<String>) {
        Injection::of(service, operation).unwrap().apply(&mut request, &told());
        let text = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        (text, request.headers().get("content-length").map(str::to_owned))
    }

    const TYPE: (&str, &str) = ("content-type", "application/x-amz-json-1.0");
    const TARGET: (&str, &str) = ("x-amz-target", "AmazonSQS.SendMessage");
    const LENGTH: (&str, &str) = ("content-length", "2");

    #[test]
    fn the_length_is_that_of_the_edited_body() {
        let (body, length) = after("SQS", "SendMessage", request(&[TYPE, TARGET, LENGTH], "{}"));
        assert!(body.contains("_datadog"), "{body}");
        assert_eq!(length, Some(body.len().to_string()));
    }

    /// Whatever is not the protocol that is known stays as it is.
    #[test]
    fn other_protocols_are_not_touched() {
        let cbor = ("content-type", "application/cbor");
        let query = ("content-type", "application/x-www-form-urlencoded");
        let checks: &[&[(&str, &str)]] = &[
            &[LENGTH],
            &[TYPE, LENGTH],
            &[TARGET, LENGTH],
            &[cbor, TARGET, LENGTH],
            &[query, TARGET, LENGTH],
            &[TYPE, ("x-amz-target", "AmazonSQS.SendMessageBatch"), LENGTH],
            &[TYPE, ("x-amz-target", "AmazonSNS.SendMessage"), LENGTH],
            &[TYPE, ("x-amz-target", "SendMessage"), LENGTH],
            &[TYPE, TARGET, LENGTH, ("content-encoding", "gzip")],
            &[TYPE, TARGET, LENGTH, ("content-md5", "x")],
            &[TYPE, TARGET, LENGTH, ("x-amz-content-sha256", "x")],
            &[TYPE, TARGET, LENGTH, ("x-amz-checksum-crc32", "x")],
        ];
        for headers in checks {
            let headers: Vec<_> = headers.to_vec();
            let expect = ("{}".to_owned(), Some("2".to_owned()));
            assert_eq!(after("SQS", "SendMessage", request(&headers, "{}")), expect, "{headers:?}");
        }
        let json = request(&[TYPE, LENGTH], "Action=Publish&Version=2010-03-31");
        assert_eq!(after("SNS", "Publish", json).0, "Action=Publish&Version=2010-03-31");
        let other = request(&[query, LENGTH], "Action=PublishBatch&Version=2010-03-31");
        assert_eq!(after("SNS", "Publish", other).0, "Action=PublishBatch&Version=2010-03-31");
    }

    #[test]
    fn bodies_that_are_not_what_they_say_are_not_touched() {
        for body in ["", "[]", "{", "7", "{\"MessageAttributes\":[]}", "{\"MessageAttributes\":7}"] {
            let (after, _) = after("SQS", "SendMessage", request(&[TYPE, TARGET], body));
            assert_eq!(after, body);
        }
        let mut bytes = request(&[TYPE, TARGET], "");
        *bytes.body_mut() = SdkBody::from(&b"\xff\xfe"[..]);
        Injection::of("SQS", "SendMessage").unwrap().apply(&mut bytes, &told());
        assert_eq!(bytes.body().bytes(), Some(&b"\xff\xfe"[..]));
    }

    #[test]
    fn only_these_operations() {
        for (service, operation) in
            [("SQS", "DeleteMessage"), ("S3", "PutObject"), ("Kinesis", "SendMessage")]
        {
            assert!(Injection::of(service, operation).is_none());
        }
    }

    proptest::proptest! {
        /// Whatever the body, nothing panics, and what was JSON stays JSON.
        #[test]
        fn any_body(
            row in 0..INJECTIONS.len(),
            body in r#"(\{)?("(Entries|Records|MessageAttributes|Detail|Data|input|_datadog)":(\[|\{|"|7|\{\}|\[\{\}\]|"\{\}"|"e30="),?)*(\})?|Action=Publish(Batch)?(&PublishBatchRequestEntries\.member\.[0-9]+\.Message(Attributes\.entry\.[0-9x]+\.Name)?=[a-z%0-9]*)*"#,
        ) {
            let injection = &INJECTIONS[row];
            let content = match injection.wire {
                Wire::Form(_) => "application/x-www-form-urlencoded",
                _ => "application/x-amz-json-1.1",
            };
            let mut request = HttpRequest::new(SdkBody::from(body.clone()));
            request.headers_mut().insert("content-type", content);
            if let Wire::Json(target, _) = injection.wire {
                request.headers_mut().insert("x-amz-target", format!("{target}.{}", injection.operation));
            }
            injection.apply(&mut request, &told());
            let after = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
            let valid = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(valid(after), valid(&body), "{body} {after}");
        }
    }
}
