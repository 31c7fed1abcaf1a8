//! The calls by which a library tells the extension of an invocation (port 8124): paths, headers, and the
//! little of the bodies that is read without knowing triggers.
//!
//! The body of a start call is the event, whose meaning is `trigger`'s; trace context in the headers is
//! `propagation`'s, which reads it through a carrier over the same headers. Header names are in
//! `model::keys::headers`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{RequestId, SamplingPriority, SpanId, Text, TraceId, keys};
use serde::Deserialize;

use keys::headers;

pub const HELLO_PATH: &str = "/lambda/hello";
pub const START_PATH: &str = "/lambda/start-invocation";
pub const END_PATH: &str = "/lambda/end-invocation";
/// The body of every answer.
pub const EMPTY_ANSWER: &str = "{}";

/// What the headers of a start call say, trace context aside.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StartHeaders {
    /// `None` from libraries that do not send it.
    pub request_id: Option<RequestId>,
}

/// What the headers of an end call say, trace context aside.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EndHeaders {
    /// `None` from libraries that do not send it.
    pub request_id: Option<RequestId>,
    /// The id that the library gave the invocation's span.
    pub span_id: Option<SpanId>,
    /// `None` unless the handler failed.
    pub error: Option<ErrorHeaders>,
}

/// How a handler failed. Empty texts were not given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ErrorHeaders {
    pub message: Text,
    pub kind: Text,
    pub stack: Text,
}

/// What the extension answers a start call with. Written only when the event had a trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartAnswer {
    pub trace_id: TraceId,
    pub priority: Option<SamplingPriority>,
}

impl StartHeaders {
    /// Names are compared without regard to case.
    pub fn read<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        let mut start = Self::default();
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(headers::REQUEST_ID) {
                start.request_id = RequestId::new(value.trim());
            }
        }
        start
    }

    pub fn write(&self) -> Vec<(&'static str, String)> {
        self.request_id.iter().map(|id| (headers::REQUEST_ID, id.to_string())).collect()
    }
}

impl EndHeaders {
    /// Names are compared without regard to case. There is an error when the flag says so, or when there is
    /// no flag but something that describes an error.
    pub fn read<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Self {
        let (mut end, mut flag, mut error) = (Self::default(), None, ErrorHeaders::default());
        for (name, value) in headers {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                headers::REQUEST_ID => end.request_id = RequestId::new(value),
                headers::SPAN_ID => end.span_id = value.parse().ok().and_then(SpanId::new),
                headers::INVOCATION_ERROR => flag = Some(value.eq_ignore_ascii_case("true")),
                headers::INVOCATION_ERROR_MSG => error.message = plain(value),
                headers::INVOCATION_ERROR_TYPE => error.kind = plain(value),
                headers::INVOCATION_ERROR_STACK => error.stack = plain(value),
                _ => {}
            }
        }
        end.error = flag.unwrap_or(error != ErrorHeaders::default()).then_some(error);
        end
    }

    /// The texts of an error are written in base64, which takes any of them through HTTP.
    pub fn write(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        all.extend(self.request_id.iter().map(|id| (headers::REQUEST_ID, id.to_string())));
        all.extend(self.span_id.map(|id| (headers::SPAN_ID, id.get().to_string())));
        let Some(error) = &self.error else { return all };
        all.push((headers::INVOCATION_ERROR, "true".to_owned()));
        for (name, text) in [
            (headers::INVOCATION_ERROR_MSG, &error.message),
            (headers::INVOCATION_ERROR_TYPE, &error.kind),
            (headers::INVOCATION_ERROR_STACK, &error.stack),
        ] {
            if !text.is_empty() {
                all.push((name, STANDARD.encode(text.as_bytes())));
            }
        }
        all
    }
}

impl StartAnswer {
    /// `None` when the answer names no trace.
    pub fn read<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Option<Self> {
        let (mut low, mut high, mut priority) = (0, 0, None);
        for (name, value) in headers {
            match name.to_ascii_lowercase().as_str() {
                headers::TRACE_ID => low = value.trim().parse().unwrap_or(0),
                headers::SAMPLING_PRIORITY => {
                    priority = value.trim().parse().ok().map(SamplingPriority::from_i64);
                }
                headers::TAGS => high = tid(value).unwrap_or(0),
                _ => {}
            }
        }
        Some(Self { trace_id: TraceId::new(high, low)?, priority })
    }

    pub fn write(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![(headers::TRACE_ID, self.trace_id.low().to_string())];
        all.extend(self.priority.map(|priority| (headers::SAMPLING_PRIORITY, priority.as_i8().to_string())));
        if self.trace_id.high() != 0 {
            all.push((headers::TAGS, format!("{}={:016x}", keys::trace::TID, self.trace_id.high())));
        }
        all
    }
}

/// The status code in a handler's response (`{"statusCode": 502, …}`), from 100 to 999. `None` when the
/// response is of another shape.
pub fn status_code(response: &[u8]) -> Option<u16> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(rename = "statusCode")]
        status_code: serde_json::Value,
    }
    let code = serde_json::from_slice::<Response>(response).ok()?.status_code;
    let code = code.as_u64().or_else(|| code.as_str()?.parse().ok()).or_else(|| whole(code.as_f64()?))?;
    u16::try_from(code).ok().filter(|code| (100..1000).contains(code))
}

/// What became of the durable execution that an invocation is a part of (`{"Status": "PENDING", …}`), as the handler's
/// response says. `None` when it says something else.
/// <https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html>
pub fn execution_status(response: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(rename = "Status")]
        status: serde_json::Value,
    }
    let status = serde_json::from_slice::<Response>(response).ok()?.status;
    ["SUCCEEDED", "FAILED", "PENDING"].into_iter().find(|known| status.as_str() == Some(known))
}

fn whole(n: f64) -> Option<u64> {
    (n.fract() == 0.0 && (0.0..1e9).contains(&n)).then_some(n as u64)
}

fn tid(tags: &str) -> Option<u64> {
    let tid = tags.split(',').find_map(|tag| tag.trim().strip_prefix(keys::trace::TID)?.strip_prefix('='))?;
    (tid.len() == 16 && tid.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(tid, 16).ok())?
}

/// A text that most libraries send in base64 and some as it is. What decodes to something unprintable was
/// no base64, only a word that looks like it.
fn plain(value: &str) -> Text {
    let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let printable = |text: &String| text.chars().all(|c| !c.is_control() || "\n\r\t\u{1b}".contains(c));
    Text::Owned(decoded.filter(printable).unwrap_or_else(|| value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::*;

    fn refs<'h>(headers: &'h [(&'static str, String)]) -> impl Iterator<Item = (&'h str, &'h str)> {
        headers.iter().map(|(name, value)| (*name, value.as_str()))
    }

    #[test]
    fn start_calls() {
        let check = |headers: &[(&str, &str)], want: Option<&str>| {
            let start = StartHeaders::read(headers.iter().copied());
            assert_eq!(start.request_id.as_ref().map(RequestId::as_str), want);
            assert_eq!(StartHeaders::read(refs(&start.write())), start);
        };
        check(&[], None);
        check(&[("host", "x"), ("Lambda-Runtime-Aws-Request-Id", " r1 ")], Some("r1"));
        check(&[("lambda-runtime-aws-request-id", "")], None);
    }

    #[test]
    fn errors_in_base64_or_as_they_are() {
        let check = |sent: &str, want: &str| {
            let end = EndHeaders::read([("X-Datadog-Invocation-Error-Msg", sent)]);
            assert_eq!(end.error.unwrap_or_default().message, want, "{sent}");
        };
        check("Ym9vbQ==", "boom");
        check("Ym9vbTogZMOpasOgIHZ1Cg==", "boom: déjà vu\n");
        check("boom", "boom"); // base64 of bytes that are no UTF-8
        check("aaaa", "aaaa"); // the same
        check("AAAA", "AAAA"); // base64 of zeroes
        check("division by zero", "division by zero");
        check("Ym9vbQ", "Ym9vbQ"); // no padding: nobody sends that
        check("", "");
    }

    #[test]
    fn whether_it_failed() {
        let check = |headers: &[(&str, &str)], want: bool| {
            assert_eq!(EndHeaders::read(headers.iter().copied()).error.is_some(), want, "{headers:?}");
        };
        let (flag, kind) = (headers::INVOCATION_ERROR, headers::INVOCATION_ERROR_TYPE);
        check(&[], false);
        check(&[(flag, "true")], true);
        check(&[(flag, "True")], true);
        check(&[(flag, "false")], false);
        check(&[(flag, "false"), (kind, "E")], false);
        check(&[(kind, "E")], true);
        check(&[(kind, "")], false);
    }

    #[test]
    fn start_answers() {
        let check = |headers: &[(&str, &str)], want: Option<StartAnswer>| {
            assert_eq!(StartAnswer::read(headers.iter().copied()), want, "{headers:?}");
        };
        let answer = |high, priority| StartAnswer { trace_id: TraceId::new(high, 7).unwrap(), priority };
        check(&[], None);
        check(&[("x-datadog-trace-id", "0")], None);
        check(&[("x-datadog-trace-id", "-7")], None);
        check(&[("X-Datadog-Trace-Id", "7")], Some(answer(0, None)));
        check(
            &[
                ("x-datadog-trace-id", "7"),
                ("x-datadog-sampling-priority", "-1"),
                ("x-datadog-tags", "_dd.p.dm=-1,_dd.p.tid=00000000000000ff"),
            ],
            Some(answer(255, Some(SamplingPriority::UserReject))),
        );
        check(&[("x-datadog-trace-id", "7"), ("x-datadog-tags", "_dd.p.tid=ff")], Some(answer(0, None)));
        let written = answer(255, Some(SamplingPriority::AutoKeep)).write();
        let written: Vec<_> = refs(&written).collect();
        assert_eq!(
            written,
            [
                ("x-datadog-trace-id", "7"),
                ("x-datadog-sampling-priority", "1"),
                ("x-datadog-tags", "_dd.p.tid=00000000000000ff")
            ]
        );
    }

    #[test]
    fn status_codes() {
        let check = |response: &str, want| assert_eq!(status_code(response.as_bytes()), want, "{response}");
        check(r#"{"statusCode":502,"body":"{\"statusCode\":1}"}"#, Some(502));
        check(r#"{"body":{"deep":[1]},"statusCode":"404"}"#, Some(404));
        check(r#"{"statusCode":200.0}"#, Some(200));
        for none in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"statusCode":null}"#,
            r#"{"statusCode":99}"#,
            r#"{"statusCode":65736}"#,
            r#"{"statusCode":-5}"#,
            r#"{"statusCode":200.5}"#,
        ] {
            check(none, None);
        }
    }

    #[test]
    fn what_became_of_durable_executions() {
        let check = |response: &str, want| {
            assert_eq!(execution_status(response.as_bytes()), want, "{response}");
        };
        check(r#"{"Result":"{\"Status\":\"FAILED\"}","Status":"SUCCEEDED"}"#, Some("SUCCEEDED"));
        check(r#"{"Status":"FAILED","Error":{}}"#, Some("FAILED"));
        check(r#"{"Status":"PENDING"}"#, Some("PENDING"));
        for none in [
            "",
            "null",
            "[]",
            r#""PENDING""#,
            "{}",
            r#"{"Status":7}"#,
            r#"{"Status":"perhaps"}"#,
            r#"{"status":"PENDING"}"#,
        ] {
            check(none, None);
        }
    }

    proptest! {
        /// Texts that look like base64 are written in base64, so they come back too.
        #[test]
        fn what_is_written_is_read(id in proptest::option::of("[0-9a-f-]{1,36}"), span in any::<u64>(), error in proptest::option::of(("\\PC{0,40}", "[A-Za-z.]{0,20}", "(\\PC{0,20}\n){0,5}"))) {
            let end = EndHeaders {
                request_id: id.and_then(|id| RequestId::new(&id)),
                span_id: SpanId::new(span),
                error: error.map(|(message, kind, stack)| ErrorHeaders { message: message.into(), kind: kind.into(), stack: stack.into() }),
            };
            prop_assert_eq!(EndHeaders::read(refs(&end.write())), end);
        }

        #[test]
        fn any_answer_is_read_back(low in 1..=u64::MAX, high in any::<u64>(), priority in proptest::option::of((-1i64..=2).prop_map(SamplingPriority::from_i64))) {
            let answer = StartAnswer { trace_id: TraceId::new(high, low).unwrap(), priority };
            prop_assert_eq!(StartAnswer::read(refs(&answer.write())), Some(answer));
        }

        #[test]
        fn any_headers_do_no_harm(name in "x-datadog-(invocation-error(-msg|-type)?|span-id|tags|trace-id)", value in any::<String>()) {
            EndHeaders::read([(name.as_str(), value.as_str())]);
            StartAnswer::read([(name.as_str(), value.as_str())]);
            status_code(value.as_bytes());
            execution_status(value.as_bytes());
        }
    }
}
