//! Messages of the Extensions API and of telemetry subscriptions, both directions.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html>
//!
//! Shapes only: whether an event name, a buffer size or a host is allowed is decided by who serves the API.
//! Paths and header names are in [`crate::lambda_headers::extension`].

use std::fmt;

use model::{Arn, RequestId, Text, UnixNanos};
use serde_json::Value;

use crate::json::{Object, text, texts, uint};

/// Event names for [`RegisterRequest::events`].
pub const INVOKE: &str = "INVOKE";
pub const SHUTDOWN: &str = "SHUTDOWN";
/// The value of the header `lambda-extension-accept-feature` that makes register tell the account.
pub const ACCOUNT_ID_FEATURE: &str = "accountId";
/// How the X-Ray header is named in events.
const XRAY: &str = "X-Amzn-Trace-Id";

/// The message is not the JSON object that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is not the JSON object that it should be")
    }
}

impl std::error::Error for Malformed {}

/// The body of `POST …/register`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RegisterRequest {
    /// As sent, known or not.
    pub events: Vec<Text>,
    /// The request has the field `configurationKeys` of an older protocol, which is refused.
    pub has_configuration_keys: bool,
}

impl RegisterRequest {
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body = object(body)?;
        Ok(Self {
            events: texts(&body, "events"),
            has_configuration_keys: body.get("configurationKeys").is_some(),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        written(|o| {
            o.texts("events", &self.events);
            if self.has_configuration_keys {
                o.texts("configurationKeys", []);
            }
        })
    }
}

/// The answer to `POST …/register`. The extension's id is in the header.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RegisterResponse {
    pub function_name: Text,
    pub function_version: Text,
    pub handler: Text,
    /// Only when asked for by [`ACCOUNT_ID_FEATURE`], and not everywhere.
    pub account_id: Option<Text>,
}

impl RegisterResponse {
    /// Fields that are missing are empty: none of them is worth failing for.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body = object(body)?;
        Ok(Self {
            function_name: text(&body, "functionName").unwrap_or_default(),
            function_version: text(&body, "functionVersion").unwrap_or_default(),
            handler: text(&body, "handler").unwrap_or_default(),
            account_id: text(&body, "accountId").filter(|id| !id.is_empty()),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        written(|o| {
            o.text("functionName", &self.function_name);
            o.text("functionVersion", &self.function_version);
            o.text("handler", &self.handler);
            o.maybe_text("accountId", self.account_id.as_deref());
        })
    }
}

/// The answer to `GET …/event/next`.
#[derive(Clone, Debug, PartialEq)]
pub enum NextEvent {
    Invoke {
        request_id: RequestId,
        /// The end of time when absent or zero, as in some emulators: then no deadline is known.
        deadline: UnixNanos,
        /// Of the function as invoked, with its alias or version.
        arn: Option<Arn>,
        /// The X-Ray header.
        trace_header: Option<Text>,
    },
    Shutdown {
        /// `spindown`, `timeout`, `failure`; emulators send other words, in any case.
        reason: Text,
        /// As for `Invoke`.
        deadline: UnixNanos,
    },
    /// An event that is not known here, or an INVOKE without a request id.
    Unknown { kind: Text },
}

impl NextEvent {
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body = object(body)?;
        let kind = text(&body, "eventType").ok_or(Malformed)?;
        let deadline = uint(&body, "deadlineMs")
            .filter(|ms| *ms > 0)
            .map_or(UnixNanos(u64::MAX), UnixNanos::from_millis);
        let request_id = body.get("requestId").and_then(Value::as_str).and_then(RequestId::new);
        Ok(match (&*kind, request_id) {
            (INVOKE, Some(request_id)) => Self::Invoke {
                request_id,
                deadline,
                arn: body.get("invokedFunctionArn").and_then(Value::as_str).and_then(Arn::new),
                trace_header: body
                    .get("tracing")
                    .and_then(|tracing| text(tracing, "value"))
                    .filter(|header| !header.is_empty()),
            },
            (SHUTDOWN, _) => {
                Self::Shutdown { reason: text(&body, "shutdownReason").unwrap_or_default(), deadline }
            }
            _ => Self::Unknown { kind },
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        written(|o| match self {
            Self::Invoke { request_id, deadline, arn, trace_header } => {
                o.text("eventType", INVOKE);
                o.uint("deadlineMs", deadline.as_millis());
                o.text("requestId", request_id.as_str());
                o.maybe_text("invokedFunctionArn", arn.as_ref().map(Arn::as_str));
                if let Some(header) = trace_header {
                    o.object("tracing", |o| {
                        o.text("type", XRAY);
                        o.text("value", header);
                    });
                }
            }
            Self::Shutdown { reason, deadline } => {
                o.text("eventType", SHUTDOWN);
                o.uint("deadlineMs", deadline.as_millis());
                o.text("shutdownReason", reason);
            }
            Self::Unknown { kind } => o.text("eventType", kind),
        })
    }
}

/// The body of `PUT …/telemetry`. Absent is `None`: the defaults are the server's.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subscription {
    /// `2022-07-01`, `2022-12-13`, `2025-01-29`. Absent in the Logs API.
    pub schema_version: Option<Text>,
    /// `platform`, `function`, `extension`; as sent.
    pub types: Vec<Text>,
    pub buffering: Buffering,
    pub destination: Destination,
}

/// When a delivery is made: as soon as one of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Buffering {
    pub max_items: Option<u64>,
    pub max_bytes: Option<u64>,
    pub timeout_ms: Option<u64>,
}

/// Where deliveries go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Destination {
    /// `HTTP` or `TCP`.
    pub protocol: Option<Text>,
    /// Of HTTP: `http://sandbox.localdomain:8999/`.
    pub uri: Option<Text>,
    /// Of TCP.
    pub port: Option<u64>,
}

impl Subscription {
    /// A subscription that is delivered by HTTP.
    pub fn http(
        schema_version: &'static str,
        types: &[&'static str],
        uri: impl Into<Text>,
        buffering: Buffering,
    ) -> Self {
        Self {
            schema_version: Some(schema_version.into()),
            types: types.iter().map(|kind| Text::Borrowed(kind)).collect(),
            buffering,
            destination: Destination { protocol: Some("HTTP".into()), uri: Some(uri.into()), port: None },
        }
    }

    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body = object(body)?;
        let buffering = body.get("buffering").unwrap_or(&Value::Null);
        let destination = body.get("destination").unwrap_or(&Value::Null);
        Ok(Self {
            schema_version: text(&body, "schemaVersion"),
            types: texts(&body, "types"),
            buffering: Buffering {
                max_items: uint(buffering, "maxItems"),
                max_bytes: uint(buffering, "maxBytes"),
                timeout_ms: uint(buffering, "timeoutMs"),
            },
            destination: Destination {
                protocol: text(destination, "protocol"),
                uri: text(destination, "URI"),
                port: uint(destination, "port"),
            },
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        let Self { schema_version, types, buffering, destination } = self;
        written(|o| {
            o.maybe_text("schemaVersion", schema_version.as_deref());
            o.texts("types", types);
            if *buffering != Buffering::default() {
                o.object("buffering", |o| {
                    o.maybe_uint("maxItems", buffering.max_items);
                    o.maybe_uint("maxBytes", buffering.max_bytes);
                    o.maybe_uint("timeoutMs", buffering.timeout_ms);
                });
            }
            o.object("destination", |o| {
                o.maybe_text("protocol", destination.protocol.as_deref());
                o.maybe_text("URI", destination.uri.as_deref());
                o.maybe_uint("port", destination.port);
            });
        })
    }
}

/// What the Runtime and Extensions APIs answer when they refuse, and what runtimes and extensions post to
/// the error calls.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ErrorBody {
    pub message: Text,
    pub kind: Text,
}

impl ErrorBody {
    /// Fields that are missing are empty.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let body = object(body)?;
        Ok(Self {
            message: text(&body, "errorMessage").unwrap_or_default(),
            kind: text(&body, "errorType").unwrap_or_default(),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        written(|o| {
            o.text("errorMessage", &self.message);
            o.text("errorType", &self.kind);
        })
    }
}

fn object(body: &[u8]) -> Result<Value, Malformed> {
    serde_json::from_slice(body).ok().filter(Value::is_object).ok_or(Malformed)
}

fn written(fields: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    Object::write(&mut out, fields);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same_json(written: &[u8], want: &str) {
        let json = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
        assert_eq!(json(written), json(want.as_bytes()));
    }

    #[test]
    fn registering() {
        let body = r#"{"events":["INVOKE","SHUTDOWN"]}"#;
        let request =
            RegisterRequest { events: vec![INVOKE.into(), SHUTDOWN.into()], has_configuration_keys: false };
        assert_eq!(RegisterRequest::decode(body.as_bytes()), Ok(request.clone()));
        same_json(&request.encode(), body);
        let odd = RegisterRequest::decode(br#"{"events":["BOGUS",5],"configurationKeys":[]}"#).unwrap();
        assert_eq!(odd, RegisterRequest { events: vec!["BOGUS".into()], has_configuration_keys: true });
        assert_eq!(RegisterRequest::decode(&odd.encode()), Ok(odd));

        let body =
            r#"{"functionName":"f","functionVersion":"$LATEST","handler":"h","accountId":"123456789012"}"#;
        let response = RegisterResponse {
            function_name: "f".into(),
            function_version: "$LATEST".into(),
            handler: "h".into(),
            account_id: Some("123456789012".into()),
        };
        assert_eq!(RegisterResponse::decode(body.as_bytes()), Ok(response.clone()));
        same_json(&response.encode(), body);
        assert_eq!(
            RegisterResponse::decode(br#"{"handler":null,"accountId":""}"#),
            Ok(RegisterResponse::default())
        );
    }

    #[test]
    fn events() {
        let check = |body: &str, want: NextEvent| {
            assert_eq!(NextEvent::decode(body.as_bytes()), Ok(want.clone()), "{body}");
            same_json(&want.encode(), body);
        };
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:orders:live";
        let request_id = RequestId::new("r1").unwrap();
        let deadline = UnixNanos::from_millis(1_700_000_003_000);
        check(
            &format!(
                r#"{{"eventType":"INVOKE","deadlineMs":1700000003000,"requestId":"r1","invokedFunctionArn":"{arn}",
                    "tracing":{{"type":"X-Amzn-Trace-Id","value":"Root=1"}}}}"#
            ),
            NextEvent::Invoke {
                request_id: request_id.clone(),
                deadline,
                arn: Arn::new(arn),
                trace_header: Some("Root=1".into()),
            },
        );
        check(
            r#"{"eventType":"INVOKE","deadlineMs":1700000003000,"requestId":"r1"}"#,
            NextEvent::Invoke { request_id: request_id.clone(), deadline, arn: None, trace_header: None },
        );
        check(
            r#"{"eventType":"SHUTDOWN","deadlineMs":1700000003000,"shutdownReason":"spindown"}"#,
            NextEvent::Shutdown { reason: "spindown".into(), deadline },
        );
        check(r#"{"eventType":"HIBERNATE"}"#, NextEvent::Unknown { kind: "HIBERNATE".into() });
    }

    /// As cargo-lambda sends them: placeholders for what it does not know.
    #[test]
    fn events_of_an_emulator() {
        let never = UnixNanos(u64::MAX);
        let body = br#"{"eventType":"INVOKE","deadlineMs":0,"requestId":"r1","invokedFunctionArn":"orders",
            "tracing":{"type":"X-Amzn-Trace-Id","value":""}}"#;
        let request_id = RequestId::new("r1").unwrap();
        let event = NextEvent::Invoke { request_id, deadline: never, arn: None, trace_header: None };
        assert_eq!(NextEvent::decode(body), Ok(event));
        let event = NextEvent::Shutdown { reason: Text::default(), deadline: never };
        assert_eq!(NextEvent::decode(br#"{"eventType":"SHUTDOWN"}"#), Ok(event));
        let event = NextEvent::Unknown { kind: INVOKE.into() };
        assert_eq!(NextEvent::decode(br#"{"eventType":"INVOKE","deadlineMs":5}"#), Ok(event));
    }

    #[test]
    fn subscribing() {
        let body = r#"{"schemaVersion":"2022-12-13","types":["platform","function"],
            "buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":25},
            "destination":{"protocol":"HTTP","URI":"http://sandbox:8999/"}}"#;
        let buffering = Buffering { max_items: Some(1000), max_bytes: Some(262_144), timeout_ms: Some(25) };
        let want =
            Subscription::http("2022-12-13", &["platform", "function"], "http://sandbox:8999/", buffering);
        assert_eq!(Subscription::decode(body.as_bytes()), Ok(want.clone()));
        same_json(&want.encode(), body);
        let body = r#"{"types":["function"],"destination":{"protocol":"TCP","port":9999}}"#;
        let tcp = Subscription::decode(body.as_bytes()).unwrap();
        assert_eq!((tcp.destination.port, tcp.buffering), (Some(9999), Buffering::default()));
        same_json(&tcp.encode(), body);
        let odd = br#"{"schemaVersion":1,"types":"platform","buffering":7,"destination":[]}"#;
        assert_eq!(Subscription::decode(odd), Ok(Subscription::default()));
    }

    #[test]
    fn errors() {
        let body =
            r#"{"errorMessage":"Extension limit (10) reached","errorType":"Extension.TooManyExtensions"}"#;
        let error = ErrorBody {
            message: "Extension limit (10) reached".into(),
            kind: "Extension.TooManyExtensions".into(),
        };
        assert_eq!(ErrorBody::decode(body.as_bytes()), Ok(error.clone()));
        same_json(&error.encode(), body);
        assert_eq!(ErrorBody::decode(b"{}"), Ok(ErrorBody::default()));
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for body in [b"".as_slice(), b"[]", b"5", b"null", b"{", b"\xff", b"\"x\""] {
            assert_eq!(RegisterRequest::decode(body), Err(Malformed));
            assert_eq!(RegisterResponse::decode(body), Err(Malformed));
            assert_eq!(NextEvent::decode(body), Err(Malformed));
            assert_eq!(Subscription::decode(body), Err(Malformed));
            assert_eq!(ErrorBody::decode(body), Err(Malformed));
        }
        assert_eq!(NextEvent::decode(b"{}"), Err(Malformed));
    }
}
